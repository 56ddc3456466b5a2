#!/usr/bin/env python3
"""The soak: kills of a site under a client's ledger, then system tests in random order, over and over, for a time in seconds.

Stops at the first failure and names its seed. UNDERSTUDY_SEED=N UNDERSTUDY_KILLS=N: the same kills again, or so many of them.
"""
import inspect
import os
import random
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
os.environ['UNDERSTUDY_SOAK'] = '1'        # before they are read: also the combinations that are left out of `make test`
import test_agent_death  # noqa: E402
import test_gateway  # noqa: E402
import test_gateway_frames  # noqa: E402
import test_link  # noqa: E402
import test_partition  # noqa: E402
import test_takeover  # noqa: E402
import test_witness  # noqa: E402


LEDGER_KILLS = 100
MODULES = (test_agent_death, test_gateway, test_gateway_frames, test_link, test_partition, test_takeover, test_witness)


def ledger_kills(kills, seed):
    """Each with its own seed, by which it can be had again alone."""
    outages, entries = [], 0
    for kill in range(1, kills + 1):
        outage, total = test_gateway.kill_under_load(seed + kill)
        outages.append(outage * 1000)
        entries += total
        print(f'kill {kill:4d} of {kills}: {total:6d} entries kept, {outages[-1]:5.0f} ms without an answer (seed {seed + kill})', flush=True)
    outages.sort()
    print(f'{kills} kills: {entries} acknowledged entries, none missing, none twice, none out of order, every connection went on; '
          f'longest silence p50 {outages[len(outages) // 2]:.0f} ms, worst {outages[-1]:.0f} ms')


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3600
    seed = int(os.environ.get('UNDERSTUDY_SEED', '0')) or random.randrange(1 << 30)
    choice = random.Random(seed)
    tests = [function for module in MODULES for name, function in inspect.getmembers(module, inspect.isfunction)
             if name.startswith('test_')]
    end, rounds = time.monotonic() + seconds, 0
    print(f'soak: {seconds:.0f} s, UNDERSTUDY_SEED={seed}')
    ledger_kills(int(os.environ.get('UNDERSTUDY_KILLS', LEDGER_KILLS)), seed)
    while time.monotonic() < end:
        test = choice.choice(tests)
        os.environ['UNDERSTUDY_KILLS'] = '3'
        os.environ['UNDERSTUDY_SEED'] = str(choice.randrange(1, 1 << 30))
        started = time.monotonic()
        chosen = [choice.choice(mark.args[1]) for mark in getattr(test, 'pytestmark', ()) if mark.name == 'parametrize']
        try:
            test(*chosen)
        except BaseException:
            print(f'FAILED in round {rounds + 1}: {test.__name__} {chosen}, UNDERSTUDY_SEED={seed}')
            raise
        rounds += 1
        print(f'{rounds:5d}  {time.monotonic() - started:6.1f} s  {test.__name__} {chosen}', flush=True)
    print(f'{rounds} passed, 0 failed')


if __name__ == '__main__':
    main()

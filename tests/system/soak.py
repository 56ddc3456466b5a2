#!/usr/bin/env python3
"""The soak: kills of a site under a client's ledger, random epochs of five minutes, takeovers of a database under load, power cuts of the
appliance's image, containers whose files change at random, a million changes of a watched tree, then system tests, each in every mode it
has, over and over, for a time in seconds.

Each round has them all, in another order. Stops at the first failure and names its seed. UNDERSTUDY_SEED=N UNDERSTUDY_KILLS=N: the
same kills again, or so many of them.
"""
import inspect
import itertools
import os
import random
import sys
import time

import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import test_agent_death  # noqa: E402
import test_containers  # noqa: E402
import test_database  # noqa: E402
import test_disk_targets  # noqa: E402
import test_disks  # noqa: E402
import test_first_copy  # noqa: E402
import test_gateway  # noqa: E402
import test_gateway_frames  # noqa: E402
import test_journal  # noqa: E402
import test_link  # noqa: E402
import test_partition  # noqa: E402
import test_power_cut  # noqa: E402
import test_rewind  # noqa: E402
import test_rewind_serve  # noqa: E402
import test_takeover  # noqa: E402
import test_watch  # noqa: E402
import test_witness  # noqa: E402


LEDGER_KILLS = 100
DATABASE_TAKEOVERS = 10
POWER_CUTS = 10
WATCHED_OPERATIONS = 1_000_000
CONTAINERS = 100
MODULES = (test_agent_death, test_database, test_disk_targets, test_disks, test_first_copy, test_gateway, test_gateway_frames,
           test_journal, test_link, test_partition, test_rewind, test_rewind_serve, test_takeover, test_witness)


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


def cases():
    """(test, arguments): every combination that pytest would run."""
    for module in MODULES:
        if getattr(module, 'MISSING', False):
            continue
        for name, test in inspect.getmembers(module, inspect.isfunction):
            if not name.startswith('test_'):
                continue
            marks = [mark for mark in getattr(test, 'pytestmark', ()) if mark.name == 'parametrize']
            for values in itertools.product(*(mark.args[1] for mark in marks)):
                yield test, dict(zip((mark.args[0] for mark in marks), values))


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3600
    seed = int(os.environ.get('UNDERSTUDY_SEED', '0')) or random.randrange(1 << 30)
    choice = random.Random(seed)
    end, passed, waiting = time.monotonic() + seconds, 0, []
    print(f'soak: {seconds:.0f} s, UNDERSTUDY_SEED={seed}')
    ledger_kills(int(os.environ.get('UNDERSTUDY_KILLS', LEDGER_KILLS)), seed)
    test_rewind.random_epochs(300, 20, seed)
    print('rewound to 20 random epochs of 300 s: each was what it had been; and served from one', flush=True)
    if not test_database.MISSING:
        test_database.takeovers(DATABASE_TAKEOVERS, seed)
    if not test_power_cut.MISSING:
        test_power_cut.power_cuts(POWER_CUTS, seed)
    if not test_containers.missing():
        test_containers.soak(seed, CONTAINERS, 1000)
    test_watch.long_torture(WATCHED_OPERATIONS, seed)
    while time.monotonic() < end:
        if not waiting:
            waiting = list(cases())
            choice.shuffle(waiting)
        test, arguments = waiting.pop()
        os.environ['UNDERSTUDY_KILLS'], os.environ['UNDERSTUDY_SOAK'] = '3', '1'
        os.environ['UNDERSTUDY_SEED'] = str(choice.randrange(1, 1 << 30))
        started = time.monotonic()
        try:
            test(**arguments)
        except pytest.skip.Exception as missing:
            print(f'{test.__name__}: {missing}', flush=True)
            continue
        except BaseException:
            print(f'FAILED after {passed}: {test.__name__} {arguments}, UNDERSTUDY_SEED={seed}')
            raise
        passed += 1
        print(f'{passed:5d}  {time.monotonic() - started:6.1f} s  {test.__name__} {arguments}', flush=True)
    print(f'{passed} passed, 0 failed, {len(waiting)} of the last round left')


if __name__ == '__main__':
    main()

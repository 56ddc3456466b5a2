#!/usr/bin/env python3
"""The soak: system tests in random order, over and over, for a time in seconds; stops at the first failure and names its seed."""
import inspect
import os
import random
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import test_agent_death  # noqa: E402
import test_link  # noqa: E402
import test_takeover  # noqa: E402


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3600
    seed = int(os.environ.get('UNDERSTUDY_SEED', '0')) or random.randrange(1 << 30)
    choice = random.Random(seed)
    tests = [function for module in (test_agent_death, test_link, test_takeover)
             for name, function in inspect.getmembers(module, inspect.isfunction) if name.startswith('test_')]
    end, rounds = time.monotonic() + seconds, 0
    print(f'soak: {seconds:.0f} s, UNDERSTUDY_SEED={seed}')
    while time.monotonic() < end:
        test = choice.choice(tests)
        os.environ['UNDERSTUDY_KILLS'] = '3'
        os.environ['UNDERSTUDY_SEED'] = str(choice.randrange(1, 1 << 30))
        started = time.monotonic()
        try:
            test()
        except BaseException:
            print(f'FAILED in round {rounds + 1}: {test.__name__}, UNDERSTUDY_SEED={seed}')
            raise
        rounds += 1
        print(f'{rounds:5d}  {time.monotonic() - started:6.1f} s  {test.__name__}', flush=True)
    print(f'{rounds} passed, 0 failed')


if __name__ == '__main__':
    main()

"""From the decision to take over to the guest running, through the whole product: two sites, one is killed.

The time is the standby's own (`activate_ms` of its status). The guest of 8 GiB is sparse: it has touched as much memory as the small
one, and what is compared is whether the size of the machine costs anything. Sizes take turns, in changing order.
"""
import statistics
import time

import lab
from measure import DIRTY_PER_S, say, summary

SIZES_MIB = (256, 8192)
ROUNDS_MIN, ROUNDS_MAX = 3, 7
ENOUGH_S = 75               # no further round after this
LIMIT_MS, SPREAD = 15, 1.2


def activate(memory_mib):
    with lab.Lab(memory_mib=memory_mib, dirty=DIRTY_PER_S) as world:
        world.protect()
        epoch = world.status('primary')['epoch']
        lab.wait_for('some epochs', lambda: world.status('primary').get('epoch', 0) >= epoch + 5)
        world.kill_site_a()
        standby = world.wait_state('standby', 'serving')
        answer = lab.wait_for('the replica answers', lambda: world.ask('sum', 5), 30)
        if not answer.endswith('ok'):
            raise RuntimeError(f'the replica is not whole: {answer}')
        return standby['activate_ms']


def row():
    taken, start = {size: [] for size in SIZES_MIB}, time.monotonic()
    for turn in range(ROUNDS_MAX):
        if turn >= ROUNDS_MIN and time.monotonic() - start > ENOUGH_S:
            break
        for size in SIZES_MIB if turn % 2 == 0 else reversed(SIZES_MIB):
            taken[size].append(activate(size))
            say(f'activation, round {turn + 1} of {ROUNDS_MIN} to {ROUNDS_MAX}: {size} MiB: {taken[size][-1]:.2f} ms')
    small, large = (statistics.median(taken[size]) for size in SIZES_MIB)
    ratio = large / small
    return {'what': 'activation, 256 MiB and 8 GiB', 'target': f'<= {LIMIT_MS} ms, within 20 %', 'ours': f'{small:.2f} and {large:.2f} ms',
            'beside': f'limit {LIMIT_MS} ms', 'ratio': ratio, 'passed': max(small, large) <= LIMIT_MS and 1 / SPREAD <= ratio <= SPREAD,
            'numbers': {f'{size}_mib': summary(taken[size]) | {'samples': taken[size]} for size in SIZES_MIB}}

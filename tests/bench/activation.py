"""From the decision to take over to the guest running, through the whole product: two sites, one falls silent.

The time is the standby's own (`activate_ms` of its status). The guest of 8 GiB is sparse: it has touched as much memory as the small
one, and what is compared is whether the size of the machine costs anything. Both guests are booted once. In each round each of them,
in changing order, has the machine to itself (the other is stopped): it is protected from nothing, its site is stopped in the middle of
its work, its replica takes over and answers; then the replica is thrown away and the guest goes on. So the two sizes see the same
neighbours, and a slow minute of the machine is in both rows of samples.
"""
import os
import shutil
import signal
import statistics
import time

import lab
from measure import DIRTY_PER_S, Unmeasured, say, summary

SIZES_MIB = (256, 8192)
ROUNDS_MIN, ROUNDS_MAX = 3, 31
ENOUGH_S = 200              # no further round after this
LIMIT_MS, SPREAD = 15, 1.2


def forget_replica(world):
    """The standby site as it was before: no appliance, no replica, no image."""
    world.appliance.kill()
    lab.end_descendants_of(world.appliance.log)
    shutil.rmtree(world.path('state-b'))
    for image in os.scandir(world.memory_dir()):
        shutil.rmtree(image.path)


def activate(world):
    """In ms; of a lab whose guest runs. It is stopped afterwards."""
    world.start_appliance()
    world.start_agent()
    epoch = world.wait_state('primary', 'protected')['epoch']
    world.wait_state('standby', 'protected')
    lab.wait_for('some epochs', lambda: world.status('primary').get('epoch', 0) >= epoch + 5)
    world.qemu.signal(signal.SIGSTOP)
    world.agent.kill()
    standby = world.wait_state('standby', 'serving')
    answer = lab.wait_for('the replica answers', lambda: world.ask('sum', 5), 30)
    if not answer.endswith('ok'):
        raise Unmeasured(f'the replica is not whole: {answer}')
    forget_replica(world)
    return standby['activate_ms']


def one_round(worlds, order, taken):
    for size in order:
        worlds[size].qemu.signal(signal.SIGCONT)
        taken[size].append(activate(worlds[size]))


def measured(worlds):
    taken, start = {size: [] for size in SIZES_MIB}, time.monotonic()
    for world in worlds.values():
        world.start_guest(wait=False)
    for world in worlds.values():
        lab.wait_for('the guest answers', lambda w=world: w.ask('get', 1), 60)
        world.qemu.signal(signal.SIGSTOP)
    for turn in range(ROUNDS_MAX):
        if turn >= ROUNDS_MIN and time.monotonic() - start > ENOUGH_S:
            break
        one_round(worlds, SIZES_MIB if turn % 2 == 0 else SIZES_MIB[::-1], taken)
        say(f'activation, round {turn + 1} of at most {ROUNDS_MAX}: '
            + ', '.join(f'{size} MiB {samples[-1]:.2f} ms' for size, samples in taken.items()))
    return taken


def row():
    with lab.Lab(memory_mib=SIZES_MIB[0], dirty=DIRTY_PER_S) as first, lab.Lab(memory_mib=SIZES_MIB[1], dirty=DIRTY_PER_S) as second:
        taken = measured(dict(zip(SIZES_MIB, (first, second))))
    small, large = (statistics.median(taken[size]) for size in SIZES_MIB)
    ratio, numbers = large / small, {f'{size}_mib': summary(taken[size]) | {'samples': taken[size]} for size in SIZES_MIB}
    return {'what': 'activation, 256 MiB and 8 GiB', 'target': f'<= {LIMIT_MS} ms, within 20 %',
            'ours': ' and '.join('{median:.2f} ({p25:.2f} to {p75:.2f})'.format(**n) for n in numbers.values()) + ' ms',
            'beside': f'limit {LIMIT_MS} ms', 'ratio': ratio, 'passed': max(small, large) <= LIMIT_MS and 1 / SPREAD <= ratio <= SPREAD,
            'numbers': numbers}

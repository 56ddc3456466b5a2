"""How long a checkpoint holds the guest: understudy against native COLO, with the same guest, load, interval and QEMU, in turns.

Both are measured alike, from the timestamps of the STOP and RESUME events of the QEMU that is protected, on a QMP connection of our own.
Both sites are on this machine, which is harder on native COLO in one respect: its secondary runs the guest too.
"""
import contextlib
import statistics
import time

import lab
import native_colo
from delay import delayed
from measure import DIRTY_PER_S, EVERY_100_MS, Monitor, Unmeasured, once, say, summary

ROUNDS = 3
CHECKPOINTS = 40            # of each round
WARM_UP = 5
ATTEMPTS = 4                # for native COLO, whose secondary sometimes loses its guest to a panic under TCG
DELAY_MS = 50               # one way; 100 ms there and back
PROXY_PORT = 7499


def understudy(world, checkpoints, delay_ms, progress):
    """As native_colo.measure(), with the agent and the appliance."""
    with contextlib.ExitStack() as stack:
        target = f'{lab.LINK_B}:{lab.LINK_PORT}'
        address = stack.enter_context(delayed(world, f'{lab.LINK_A}:{PROXY_PORT}', target, delay_ms))
        world.extra['primary']['link'] = {'connect': address}
        world.start_appliance()
        world.start_agent()
        world.wait_state('primary', 'protected')
        monitor = stack.enter_context(contextlib.closing(Monitor(world.path('vm.qmp.lab'))))
        monitor.watch(WARM_UP, 30)
        epoch = world.status('standby')['epoch']
        pauses = monitor.watch(checkpoints, 120, progress)
        status = world.status('primary')
        if status.get('state') != 'protected' or world.status('standby')['epoch'] <= epoch:
            raise Unmeasured(f'the instance did not stay protected: {status}\n{world.logs()}')
        if status['link']['round_trip_ms'] < 2 * delay_ms:
            raise Unmeasured(f"the link has no delay: its round trip is {status['link']['round_trip_ms']} ms")
        return pauses


NATIVE, UNDERSTUDY = 'native COLO', 'understudy'
METHODS = {NATIVE: native_colo.measure, UNDERSTUDY: understudy}


def one_round(method, delay_ms):
    """Pauses in ms of one guest, checkpoints per second, and how many writes its load made in a second."""
    with lab.Lab(dirty=DIRTY_PER_S, instance=EVERY_100_MS) as world:
        world.start_guest()
        moments = []
        before, start = writes(world), time.monotonic()
        pauses = method(world, CHECKPOINTS, delay_ms, lambda count: moments.append(time.monotonic()))
        per_s = (writes(world) - before) / (time.monotonic() - start)
        return pauses, (CHECKPOINTS - 1) / (moments[-1] - moments[0]), per_s


def writes(world):
    answer = lab.wait_for('the guest counts its writes', lambda: world.ask('sum', 5), 20)
    if not answer.endswith('ok'):
        raise Unmeasured(f"the guest's memory is not what it should be: {answer}")
    return int(answer.split()[0])


def attempt(name, delay_ms, label):
    """One round, anew when it is native COLO that did not last; and how often that was."""
    for ended in range(ATTEMPTS):
        try:
            return *one_round(METHODS[name], delay_ms), ended
        except native_colo.Ended as e:
            say(f'{label}: {e}; again')
    raise Unmeasured(f'native COLO did not stay up in {ATTEMPTS} attempts')


@once
def measure():
    """By (name, delay in ms): the pauses of all rounds together, and what they came from."""
    kinds = [(name, delay_ms) for delay_ms in (0, DELAY_MS) for name in METHODS]
    samples, medians, rates, loads, ends = ({kind: [] for kind in kinds} for _ in range(5))
    for turn in range(ROUNDS):
        for number, kind in enumerate(kinds if turn % 2 == 0 else reversed(kinds), 1):
            name, delay_ms = kind
            label = f'pause, {turn * len(kinds) + number} of {ROUNDS * len(kinds)}: {name}, {delay_ms} ms of delay'
            pauses, rate, load, ended = attempt(name, delay_ms, label)
            samples[kind] += pauses
            medians[kind].append(round(statistics.median(pauses), 3))
            rates[kind].append(rate)
            loads[kind].append(load)
            ends[kind].append(ended)
            say(f'{label}: {len(pauses)} checkpoints, median {medians[kind][-1]:.2f} ms')
    return {kind: summary(samples[kind]) | {'median_of_round': medians[kind],
                                            'checkpoints_per_s': round(statistics.median(rates[kind]), 2),
                                            'guest_writes_per_s': round(statistics.median(loads[kind])),
                                            'rounds_repeated': sum(ends[kind])} for kind in kinds}


def against_native():
    measured = {name: measure()[name, 0] for name in METHODS}
    ours, native = (measured[name]['median'] for name in (UNDERSTUDY, NATIVE))
    return {'what': 'pause per checkpoint, median', 'target': '<= 1.2 x native COLO', 'ours': f'{ours:.2f} ms',
            'beside': f'native COLO {native:.2f} ms', 'ratio': ours / native, 'passed': ours <= 1.2 * native, 'numbers': measured}


def with_delay():
    measured = {name: measure()[name, DELAY_MS] for name in METHODS}
    ours, native, near = measured[UNDERSTUDY]['median'], measured[NATIVE]['median'], measure()[UNDERSTUDY, 0]['median']
    return {'what': f'the same, link of {DELAY_MS} ms each way', 'target': '<= 1.2 x without delay', 'ours': f'{ours:.2f} ms',
            'beside': f'without {near:.2f} ms; native COLO {native:.2f} ms', 'ratio': ours / near, 'passed': ours <= 1.2 * near,
            'numbers': measured | {'delay_ms_one_way': DELAY_MS}}

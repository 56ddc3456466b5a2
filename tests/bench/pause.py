"""How long a checkpoint holds the guest: understudy against native COLO, with the same guest, load, interval and QEMU, in turns.

Both are measured alike, from the timestamps of the STOP and RESUME events of the QEMU that is protected, on a QMP connection of our own. What
the agent says in its status is noted beside it.
"""
import contextlib
import functools
import statistics
import time

import lab
import native_colo
from delay import delayed
from measure import DIRTY_PER_S, INTERVAL_MS, Monitor, Unmeasured, say, summary

ROUNDS = 2
CHECKPOINTS = 60            # of each round
WARM_UP = 5
ATTEMPTS = 3                # for native COLO, whose secondary sometimes ends
DELAY_MS = 50               # one way; 100 ms there and back
PROXY_PORT = 7499
EVERY_100_MS = {'checkpoint': {'target_ms': INTERVAL_MS, 'min_ms': INTERVAL_MS, 'max_ms': INTERVAL_MS}}


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
        return pauses


def one_round(name, method, delay_ms, label):
    """Pauses in ms of one guest, checkpoints per second, and how many writes its load made in a second."""
    with lab.Lab(dirty=DIRTY_PER_S, instance=EVERY_100_MS) as world:
        world.start_guest()
        moments = []

        def progress(count):
            if count in (1, CHECKPOINTS):
                moments.append(time.monotonic())
            if count in (CHECKPOINTS // 2, CHECKPOINTS):
                say(f'{label}: {name}: {count} of {CHECKPOINTS} checkpoints')

        before, start = writes(world), time.monotonic()
        pauses = method(world, CHECKPOINTS, delay_ms, progress)
        per_s = (writes(world) - before) / (time.monotonic() - start)
        return pauses, (CHECKPOINTS - 1) / (moments[1] - moments[0]), per_s


def writes(world):
    answer = lab.wait_for('the guest counts its writes', lambda: world.ask('sum', 5), 20)
    if not answer.endswith('ok'):
        raise Unmeasured(f"the guest's memory is not what it should be: {answer}")
    return int(answer.split()[0])


@functools.cache
def measure(delay_ms):
    """{'native': ..., 'understudy': ...}: the pauses of all rounds together, and what they came from."""
    methods = [('native COLO', native_colo.measure), ('understudy', understudy)]
    samples, rates, loads = ({name: [] for name, _ in methods} for _ in range(3))
    failures = 0
    for turn in range(ROUNDS):
        for name, method in methods if turn % 2 == 0 else reversed(methods):
            label = f'pause, {delay_ms} ms of delay, round {turn + 1} of {ROUNDS}'
            for attempt in range(ATTEMPTS if method is native_colo.measure else 1):
                try:
                    pauses, rate, load = one_round(name, method, delay_ms, label)
                    break
                except native_colo.Ended as e:
                    failures += 1
                    say(f'{label}: {e}; again')
            else:
                raise Unmeasured(f'native COLO did not stay up in {ATTEMPTS} attempts')
            samples[name] += pauses
            rates[name].append(rate)
            loads[name].append(load)
    result = {}
    for name, _ in methods:
        result[name] = summary(samples[name])
        result[name]['checkpoints_per_s'] = round(statistics.median(rates[name]), 2)
        result[name]['guest_writes_per_s'] = round(statistics.median(loads[name]))
    return result | {'native_colo_ended': failures}


def against_native():
    measured = measure(0)
    ours, native = (measured[name]['median'] for name in ('understudy', 'native COLO'))
    return {'what': 'pause per checkpoint, median', 'target': '<= 1.2 x native COLO', 'ours': f'{ours:.2f} ms',
            'beside': f'native COLO {native:.2f} ms', 'ratio': ours / native, 'passed': ours <= 1.2 * native, 'numbers': measured}


def with_delay():
    near, far = measure(0), measure(DELAY_MS)
    ours, native = ((near[name]['median'], far[name]['median']) for name in ('understudy', 'native COLO'))
    return {'what': f'the same, link of {DELAY_MS} ms each way', 'target': '<= 1.2 x without delay', 'ours': f'{ours[1]:.2f} ms',
            'beside': f'without {ours[0]:.2f} ms; native COLO {native[1]:.2f} ms', 'ratio': ours[1] / ours[0],
            'passed': ours[1] <= 1.2 * ours[0], 'numbers': far | {'delay_ms_one_way': DELAY_MS}}

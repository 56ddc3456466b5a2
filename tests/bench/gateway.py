"""What the gateway costs: the time an answer waits for its epoch's commit, and the throughput from the guest to a client.

Latency: a client sends requests at random moments (Poisson), whether or not earlier ones were answered; a request's time counts from
the moment it was due. Beside it, in turns: the same guest on a tap, without understudy.

Throughput: the guest sends as fast as TCP lets it. Beside it the same guest with the same `-netdev dgram` into a minimal forwarder
(bench_forward), which is the same path without understudy; and on a tap, where the guest hands segmentation to the host.
"""
import contextlib
import os
import random
import select
import socket
import statistics
import threading
import time

import lab
from measure import Unmeasured, once, program, say, summary

DIRTY_PER_S = 500
RATE_PER_S = 60
SECONDS = 12                    # of each round
EPOCHS_MS = (10, 20, 50, 100)
ROUNDS = 2
STREAM_BYTES = 44 * (6 << 20)   # a multiple of the guest's text; several seconds, because a congestion window takes one or two to grow
SEGMENT = 1448                  # bytes of it in a frame
STREAM_ROUNDS = 3
STREAM_GUEST_MIB = 512          # a guest's TCP takes its largest window from its memory: 128 MiB would allow half a megabyte on its way


def every(ms):
    return {'checkpoint': {'target_ms': ms, 'min_ms': ms, 'max_ms': ms}}


def small(**options):
    return lab.Lab(**{'memory_mib': 128, 'working_set_mib': 16, 'dirty': DIRTY_PER_S} | options)


# Latency -------------------------------------------------------------------------------------------------------------


def poisson(world, seconds, seed):
    """The latencies in ms of an open loop of requests on one connection."""
    chance, due, latencies = random.Random(seed), [], []
    connection = world.connect()
    # Else a request waits for the acknowledgement of the one before, which output commit holds as well.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stop = time.monotonic() + seconds

    def answers():
        rest = b''
        while True:
            data = connection.recv(1 << 16)
            now = time.monotonic()
            if not data:
                return
            *lines, rest = (rest + data).split(b'\n')
            for _ in lines:
                latencies.append((now - due[len(latencies)]) * 1e3)

    reader = threading.Thread(target=answers, daemon=True)
    connection.settimeout(None)
    reader.start()
    moment = time.monotonic()
    while moment < stop:
        moment += chance.expovariate(RATE_PER_S)
        time.sleep(max(0.0, moment - time.monotonic()))
        due.append(moment)
        connection.sendall(b'inc\n')
    lab.wait_for('the last answers', lambda: len(latencies) == len(due), 20)
    connection.shutdown(2)
    reader.join(5)
    connection.close()
    return latencies


def protected_latency(epoch_ms, seed):
    with small(gateway=True, instance=every(epoch_ms)) as world:
        world.protect()
        latencies = poisson(world, SECONDS, seed)
        status = world.status('primary')
        if status.get('state') != 'protected':
            raise Unmeasured(f'the instance did not stay protected: {status}')
        return latencies, status['pause_ms']['median']


def unprotected_latency(seed):
    with small() as world:
        world.start_guest()
        return poisson(world, SECONDS, seed)


@once
def latency():
    plain, held, pauses = [], {ms: [] for ms in EPOCHS_MS}, {ms: [] for ms in EPOCHS_MS}
    for turn in range(ROUNDS):
        plain += unprotected_latency(turn)
        for ms in EPOCHS_MS:
            latencies, pause = protected_latency(ms, turn)
            held[ms] += latencies
            pauses[ms].append(pause)
        say(f'latency: round {turn + 1} of {ROUNDS}: unprotected p50 {statistics.median(plain):.2f} ms, '
            + ', '.join(f'{ms} ms epochs {statistics.median(held[ms]):.1f}' for ms in EPOCHS_MS))
    base = statistics.median(plain)
    return {'unprotected_ms': summary(plain),
            'epochs': {ms: {'latency_ms': summary(held[ms]), 'pause_ms': statistics.median(pauses[ms]),
                            'added_p50_ms': round(statistics.median(held[ms]) - base, 3),
                            'expected_ms': round(ms / 2 + statistics.median(pauses[ms]), 3)} for ms in EPOCHS_MS}}


def added_latency():
    numbers = latency()
    at_20 = numbers['epochs'][20]
    ratio = at_20['added_p50_ms'] / at_20['expected_ms']
    return {'what': 'added latency of output commit, 20 ms epochs, p50', 'target': '<= 1.3 x (epoch/2 + pause)',
            'ours': f"{at_20['added_p50_ms']:.1f} ms", 'beside': f"{at_20['expected_ms']:.1f} ms; unprotected {numbers['unprotected_ms']['median']:.2f} ms",
            'ratio': ratio, 'passed': ratio <= 1.3, 'numbers': numbers}


# Throughput ----------------------------------------------------------------------------------------------------------


def cpu_s(daemons):
    """Seconds of processor time that these processes have used."""
    ticks = 0
    for daemon in daemons:
        with open(f'/proc/{daemon.pid}/stat') as f:
            fields = f.read().rsplit(')', 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf('SC_CLK_TCK')


def stream(world, daemons):
    """MB/s, frames/s and processor time per frame (us) of one transfer. Frames are those of the guest, which all are full."""
    with contextlib.closing(world.connect()) as connection:
        world.ask('get', connection=connection)
        cpu, start, received = cpu_s(daemons), time.monotonic(), 0
        connection.sendall(b'stream %d\n' % STREAM_BYTES)
        while received < STREAM_BYTES:
            if not select.select([connection], [], [], 20)[0]:
                raise Unmeasured(f'the stream stopped after {received} bytes')
            received += len(connection.recv(1 << 20))
        seconds = time.monotonic() - start
        frames, cpu = received / SEGMENT, cpu_s(daemons) - cpu
        return received / seconds / 1e6, frames / seconds, cpu / frames * 1e6


def streaming(**options):
    return small(memory_mib=STREAM_GUEST_MIB, **options)


def through_gateway():
    with streaming(gateway=True) as world:
        world.protect()
        result = stream(world, (world.agent, world.appliance))
        status, standby = world.status('primary'), world.status('standby')
        if status.get('state') != 'protected' or standby['term'] != 1:
            raise Unmeasured(f'the instance did not stay protected: {status}')
        return result


def through_forwarder():
    with streaming(gateway=True) as world:
        world.start_guest(wait=False)
        forwarder = world.daemon(world.a, [program('bench_forward'), world.path('net0.agent'), world.path('net0.qemu'), 'us0', 'br0'],
                                 'forward.log')
        lab.wait_for('the guest answers', lambda: world.ask('get', timeout=1), 60, 0.1)
        return stream(world, (forwarder,))


def through_tap():
    with streaming() as world:
        world.start_guest()
        return stream(world, ())


PATHS = {'gateway': through_gateway, 'forwarder': through_forwarder, 'tap': through_tap}


def throughput():
    rounds = {name: [] for name in PATHS}
    for turn in range(STREAM_ROUNDS):
        for name, path in PATHS.items():
            rounds[name].append(path())
        say(f'throughput: round {turn + 1} of {STREAM_ROUNDS}: ' + ', '.join(f'{name} {r[-1][0]:.1f} MB/s' for name, r in rounds.items()))
    numbers = {name: dict(zip(('mb_s', 'frames_s', 'cpu_us_per_frame'), (round(statistics.median(v), 2) for v in zip(*results))))
               | {'rounds_mb_s': [round(r[0], 2) for r in results]} for name, results in rounds.items()}
    ours, plain, tap = (numbers[name]['mb_s'] for name in PATHS)
    return {'what': 'gateway throughput, guest to client, output commit', 'target': '>= 0.7 x without understudy',
            'ours': f"{ours:.1f} MB/s, {numbers['gateway']['frames_s']:.0f} frames/s, {numbers['gateway']['cpu_us_per_frame']:.0f} us/frame",
            'beside': f"forwarder {plain:.1f} MB/s, {numbers['forwarder']['cpu_us_per_frame']:.0f} us/frame; tap {tap:.1f} MB/s",
            'ratio': ours / plain, 'passed': ours >= 0.7 * plain, 'numbers': numbers}

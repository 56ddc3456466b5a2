"""What tests and benchmarks that strike at an agent need: a moment inside a checkpoint, what QEMU says of it, and who the guardian is."""
import contextlib
import json
import os
import select
import time

import lab


class Events:
    """QEMU's STOP and RESUME events, as they come, on a QMP socket of the test's own."""

    def __init__(self, world):
        self.qmp = lab.Qmp(world.path('vm.qmp.lab'))
        self.buffer = b''

    def next(self, *names, timeout=10.0):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            line, newline, rest = self.buffer.partition(b'\n')
            if newline:
                self.buffer = rest
                event = json.loads(line)
                if event.get('event') in names:
                    stamp = event['timestamp']
                    return event['event'], stamp['seconds'] * 1000 + stamp['microseconds'] / 1000
            elif select.select([self.qmp.sock], [], [], 0.05)[0]:
                self.buffer += self.qmp.sock.recv(65536)
        raise AssertionError(f'no event {names} within {timeout} s')

    def seen(self, name, timeout=0.1):
        """Whether such an event comes while QEMU says nothing more: it is stopped."""
        try:
            return bool(self.next(name, timeout=timeout))
        except AssertionError:
            return False

    def drain(self):
        while select.select([self.qmp.sock], [], [], 0)[0]:
            self.qmp.sock.recv(65536)
        self.buffer = b''


def strike_inside(world, events, strike):
    """Strikes when a checkpoint has just stopped the guest. True when the guest was stopped by then, with the time until it ran again."""
    events.drain()
    _, stopped = events.next('STOP')
    strike()
    struck = time.time() * 1000
    _, resumed = events.next('RESUME')
    return resumed > struck, resumed - struck, resumed - stopped


def hit_inside(world, events, strike, again, tries=40):
    for _ in range(tries):
        inside, took, _ = strike_inside(world, events, strike)
        if inside:
            return took
        again()
    raise AssertionError(f'in {tries} tries no strike fell into a checkpoint')


def runs_on(world):
    """The guest answers, soon."""
    return lab.wait_for('the guest answers', lambda: world.ask('inc', 1), 10)


def guardian_of(world):
    """The pid of the agent's guardian, 0 when there is none."""
    with open(f'/proc/{world.agent.pid}/task/{world.agent.pid}/children', encoding='ascii') as f:
        for pid in f.read().split():
            with contextlib.suppress(OSError), open(f'/proc/{pid}/cmdline', 'rb') as cmdline:
                if cmdline.read() == b'us-guardian\0':     # empty while it is a zombie
                    return int(pid)
    return 0


def health(world):
    return lab.fetch_unix(world.path('primary.http'), '/healthz')


def another_guardian(world, before):
    """Waits until the agent has another one and is content, and nothing is left of the one before."""
    after = lab.wait_for('another guardian', lambda: (lambda pid: pid if pid != before else 0)(guardian_of(world)))
    lab.wait_for('the health endpoint is content', lambda: not health(world)['problems'])
    assert not os.path.exists(f'/proc/{before}'), 'a zombie is left'
    return after

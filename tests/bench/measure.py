"""What the rows of the benchmark share: medians, the events of a QEMU, how far along we are, the machine and what runs on it."""
import functools
import hashlib
import json
import os
import socket
import statistics
import subprocess
import time

import lab

# The load of every row with a guest: about 500 dirty pages for each checkpoint of 100 ms.
DIRTY_PER_S = 5000
INTERVAL_MS = 100
EVERY_100_MS = {'checkpoint': {'target_ms': INTERVAL_MS, 'min_ms': INTERVAL_MS, 'max_ms': INTERVAL_MS}}


class Unmeasured(Exception):
    """A row that could not be measured at all, and why."""


def program(name):
    path = os.path.join(lab.BUILD, 'bench', name)
    if not os.path.exists(path):
        raise Unmeasured(f'{os.path.relpath(path, lab.TREE)} is missing: make bench-programs')
    return path


def say(text):
    print(f'  {text}', flush=True)


def summary(samples):
    """Median, quartiles (half of all samples are between them), p99 and number; of at least one sample."""
    ordered = sorted(samples)
    p25, _, p75 = statistics.quantiles(ordered, n=4, method='inclusive') if len(ordered) > 1 else ordered * 3
    return {'median': round(statistics.median(ordered), 3), 'p25': round(p25, 3), 'p75': round(p75, 3), 'p99': round(ordered[(len(ordered) - 1) * 99 // 100], 3),
            'max': round(ordered[-1], 3), 'count': len(ordered)}


def run_json(command, timeout=120):
    """The JSON objects that a program prints, one per line."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout)
    if done.returncode != 0:
        raise Unmeasured(f'{os.path.basename(command[0])} ended with {done.returncode}: {done.stderr.strip()[-400:]}')
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{')]


def once(measurement):
    """What two rows share is measured once, and fails once."""
    @functools.cache
    def outcome():
        try:
            return measurement(), None
        except (Unmeasured, AssertionError) as e:
            return None, str(e)

    def result():
        value, failure = outcome()
        if failure is not None:
            raise Unmeasured(failure)
        return value
    return result


def programs():
    """What is measured, by the beginning of its SHA-256: in a shared tree somebody may build while we measure."""
    found = {}
    benches = (os.path.join(lab.BUILD, 'bench', f'bench_{name}')
               for name in ('capture', 'delay_proxy', 'delta', 'forward', 'journal', 'link', 'recovery', 'watch'))
    for path in (lab.UNDERSTUDY, lab.QEMU, lab.KERNEL, lab.INITRAMFS, *benches):
        try:
            with open(path, 'rb') as f:
                found[os.path.basename(path)] = hashlib.sha256(f.read()).hexdigest()[:16]
        except OSError:
            found[os.path.basename(path)] = 'missing'
    return found


def machine():
    """What the numbers of a run depend on."""
    model, flags = 'unknown', ''
    with open('/proc/cpuinfo') as f:
        for line in f:
            key, _, value = line.partition(':')
            if key.strip() == 'model name':
                model = value.strip()
            elif key.strip() == 'flags':
                flags = value
    return {'processor': model, 'processors': os.cpu_count(), 'aes_ni': ' aes ' in flags, 'kernel': os.uname().release,
            'accelerator': 'tcg', 'load_before': round(os.getloadavg()[0], 2)}


class Monitor:
    """A QMP connection of ours to a QEMU, beside whoever else has one: its commands, and how long the guest stands."""

    def __init__(self, path, timeout=20):
        self.sock = socket.socket(socket.AF_UNIX)
        lab.wait_for(f'QMP at {path}', lambda: self.sock.connect_ex(path) == 0, timeout)
        self.buffer, self.pauses, self.stopped = b'', [], None
        self.line(timeout)
        self('qmp_capabilities')

    def line(self, timeout):
        """The next line of QEMU's, None when the time is over."""
        end = time.monotonic() + timeout
        while b'\n' not in self.buffer:
            left = end - time.monotonic()
            if left <= 0:
                return None
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(65536)
            except TimeoutError:
                return None
            if not data:
                raise Unmeasured('QEMU has ended')
            self.buffer += data
        line, self.buffer = self.buffer.split(b'\n', 1)
        return json.loads(line)

    def note(self, message):
        """STOP and RESUME carry QEMU's own clock, to the microsecond."""
        stamp = message['timestamp']
        at_ms = stamp['seconds'] * 1e3 + stamp['microseconds'] / 1e3
        if message['event'] == 'STOP':
            self.stopped = at_ms
        elif message['event'] == 'RESUME' and self.stopped is not None:
            self.pauses.append(at_ms - self.stopped)
            self.stopped = None

    def __call__(self, command, **arguments):
        self.sock.sendall(json.dumps({'execute': command, 'arguments': arguments}).encode() + b'\n')
        while True:
            reply = self.line(20)
            if reply is None:
                raise Unmeasured(f'QEMU does not answer {command}')
            if 'event' in reply:
                self.note(reply)
            elif 'error' in reply:
                raise Unmeasured(f"{command}: {reply['error']['desc']}")
            elif 'return' in reply:
                return reply['return']

    def watch(self, checkpoints, timeout, progress=lambda count: None):
        """The pauses of the next checkpoints, in ms. `progress` hears how many there are."""
        self('query-status')                    # so that older events have been read
        self.pauses, self.stopped = [], None
        start, told = time.monotonic(), 0
        while len(self.pauses) < checkpoints:
            message = self.line(max(0.0, start + timeout - time.monotonic()))
            if message is None:
                raise Unmeasured(f'only {len(self.pauses)} of {checkpoints} checkpoints in {timeout} s')
            if 'event' in message:
                self.note(message)
            if len(self.pauses) != told:
                told = len(self.pauses)
                progress(told)
        return self.pauses

    def close(self):
        self.sock.close()

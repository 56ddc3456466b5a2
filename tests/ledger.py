"""A client of the test guest's ledger that holds it to its word: what was acknowledged stays, once, and in order.

It appends over one TCP connection for as long as it lives, a bounded number of entries on their way at a time, and never connects
again: a connection that breaks is a failure. Every acknowledgement is recorded with its time.
"""
import collections
import random
import select
import socket
import threading
import time

WINDOW = 16                     # entries on their way; 200 bytes each, well below what the guest takes at once
TEXT_MAX = 200


class Broken(AssertionError):
    """The service did not keep its word."""


class Ledger(threading.Thread):
    def __init__(self, world, seed, window=WINDOW, pause_s=0.0, timeout=30.0):
        super().__init__(daemon=True)
        self.random, self.window, self.pause_s, self.timeout = random.Random(seed), window, pause_s, timeout
        self.sock = world.connect()
        self.name_of_connection = self.sock.getsockname(), self.sock.getpeername()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.acked = []                         # (time, text), the entry's number is its place, from 1 on
        self.sent = collections.deque()         # not acknowledged yet
        self.out, self.input = b'', b''
        self.stopping, self.failure = False, None

    # The thread ------------------------------------------------------------------------------------------------------

    def run(self):
        try:
            while not self.stopping or self.sent:
                self._turn(self._fill() if not self.stopping else None)
        except (OSError, AssertionError) as e:
            self.failure = e

    def _text(self):
        number = len(self.acked) + len(self.sent) + 1
        return f'{number} ' + 'x' * self.random.randrange(TEXT_MAX - 20) + f' {self.random.randrange(1 << 30)}'

    def _fill(self):
        while len(self.sent) < self.window:
            text = self._text()
            self.sent.append(text)
            self.out += b'append ' + text.encode() + b'\n'
            if self.pause_s:
                return self.pause_s
        return None

    def _turn(self, pause_s=None):
        """Sends what is to be sent, takes what has come; `pause_s` later the next entry is made."""
        until = time.monotonic() + (pause_s or 0)
        while True:
            reads, writes, _ = select.select([self.sock], [self.sock] if self.out else [], [],
                                             max(0, until - time.monotonic()) if pause_s else self.timeout)
            if not reads and not writes:
                if pause_s:
                    return
                raise Broken(f'no answer for {self.timeout:.0f} s after entry {len(self.acked)}')
            if writes:
                self.out = self.out[self.sock.send(self.out):]
            if reads:
                for line in self._lines():
                    self._acknowledged(line)
            if not pause_s:
                return

    def _lines(self):
        data = self.sock.recv(1 << 16)
        if not data:
            raise Broken(f'the connection was closed after entry {len(self.acked)}')
        *lines, self.input = (self.input + data).split(b'\n')
        return [line.decode() for line in lines]

    def _acknowledged(self, line):
        if line != str(len(self.acked) + 1):
            raise Broken(f'entry {len(self.acked) + 1} was answered with "{line}"')
        self.acked.append((time.monotonic(), self.sent.popleft()))

    # For the test ------------------------------------------------------------------------------------------------------

    def wait_for(self, more, timeout=30.0):
        """Until so many more entries were acknowledged."""
        end, target = time.monotonic() + timeout, len(self.acked) + more
        while len(self.acked) < target:
            if self.failure is not None:
                raise self.failure
            if time.monotonic() > end:
                raise Broken(f'only {len(self.acked)} of {target} entries acknowledged in {timeout:.0f} s')
            time.sleep(0.01)

    def outage_s(self, since=0.0):
        """The longest time without an acknowledgement, of those that ended after `since`: what was committed may still come then."""
        times = [t for t, _ in self.acked]
        return max(b - a for a, b in zip(times, times[1:]) if b > since)

    def finish(self):
        """Stops, lets the last ones be acknowledged, and reads everything back, over the same connection; how many there are."""
        self.stopping = True
        self.join(self.timeout + 10)
        if self.failure is not None:
            raise self.failure
        assert (self.sock.getsockname(), self.sock.getpeername()) == self.name_of_connection
        read = self._read_back()
        for number, ((_, text), found) in enumerate(zip(self.acked, read), 1):
            if found != text:
                raise Broken(f'entry {number} was acknowledged as "{text}" and is "{found}"')
        self.sock.close()
        return len(read)

    def _read_back(self):
        """All entries, and that there is none beyond them."""
        read, asked, total = [], 0, len(self.acked) + 1
        while len(read) < total:
            while asked < total and asked - len(read) < self.window:
                asked += 1
                self.out += b'entry %d\n' % asked
            reads, writes, _ = select.select([self.sock], [self.sock] if self.out else [], [], self.timeout)
            if not reads and not writes:
                raise Broken(f'no answer for entry {len(read) + 1}')
            if writes:
                self.out = self.out[self.sock.send(self.out):]
            if reads:
                read += self._lines()
        if not read[-1].startswith('error'):
            raise Broken(f'there is an entry {total} that was never acknowledged: "{read[-1]}"')
        return read[:-1]

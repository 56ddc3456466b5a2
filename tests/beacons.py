"""What a client hears of the test guest's beacon: numbers, one every 10 ms, that say which history it hears.

A machine and its replica that both go on from the same moment send the same numbers. A client that gets numbers in order and none
twice therefore hears one of them only: had the other been heard as well, even once, its numbers would come a second time, or
before their turn.
"""
import socket
import threading
import time

import lab

PORT = 7001


class Beacons(threading.Thread):
    """Use as a context manager; `heard` has (time, number)."""

    def __init__(self, world):
        super().__init__(daemon=True)
        with world.client.inside():
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.sock.bind((lab.CLIENT_IP, PORT))
        self.sock.settimeout(0.2)
        self.heard, self.stopping = [], False

    def run(self):
        while not self.stopping:
            try:
                data = self.sock.recv(64)
            except TimeoutError:
                continue
            self.heard.append((time.monotonic(), int(data)))

    def check(self, at_least=10):
        """One history, and so much of it."""
        numbers = [number for _, number in self.heard]
        assert len(numbers) >= at_least, f'only {len(numbers)} beacons'
        for a, b in zip(numbers, numbers[1:]):
            assert b > a, f'after number {a} came {b}: two machines were heard'

    def count_since(self, moment):
        return sum(1 for t, _ in self.heard if t > moment)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.join()
        self.sock.close()


APPEND = f'understudy.beacon={lab.CLIENT_IP}'

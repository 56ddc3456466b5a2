"""Somebody who speaks to a rewound copy, which nobody else can: the other end of its network card, in a namespace of its own."""
import contextlib
import fcntl
import os
import select
import socket
import struct
import threading

import lab

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454ca, 2, 0x1000
FRAME_MAX = 65536


class Visitor:
    """Use as a context manager. `directory`: the copy's."""

    def __init__(self, directory):
        self.own, self.other = (os.path.join(directory, f'net0.{end}') for end in ('agent', 'qemu'))
        self.client = lab.Namespace('visitor')
        self.stop, self.stopper = os.pipe()
        with self.client.inside():
            self.tap = os.open('/dev/net/tun', os.O_RDWR)
            fcntl.ioctl(self.tap, TUNSETIFF, struct.pack('16sH22x', b'v0', IFF_TAP | IFF_NO_PI))
        self.client.run('ip', 'addr', 'add', f'{lab.CLIENT_IP}/24', 'dev', 'v0')
        self.client.run('ip', 'link', 'set', 'v0', 'up')
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.own)
        self.sock.bind(self.own)
        os.chmod(self.own, 0o666)   # whoever its QEMU runs as
        self.thread = threading.Thread(target=self._carry, daemon=True)
        self.thread.start()

    def _carry(self):
        while True:
            ready, _, _ = select.select([self.tap, self.sock, self.stop], [], [])
            if self.stop in ready:
                return
            with contextlib.suppress(OSError):
                if self.tap in ready:
                    self.sock.sendto(os.read(self.tap, FRAME_MAX), self.other)
                if self.sock in ready:
                    os.write(self.tap, self.sock.recv(FRAME_MAX))

    def ask(self, line, timeout=5.0):
        """As Lab.ask()."""
        with self.client.inside():
            sock = socket.socket()
        with sock:
            sock.settimeout(timeout)
            try:
                sock.connect((lab.GUEST_IP, lab.GUEST_PORT))
                return lab.ask_line(sock, line, timeout)
            except OSError:
                return None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.write(self.stopper, b'.')
        self.thread.join()
        self.sock.close()
        for fd in (self.tap, self.stop, self.stopper):
            os.close(fd)
        self.client.close()

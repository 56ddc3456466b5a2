"""The network between a lab's sites: cut without a word, mended, and watched.

A link that is set down tells both ends, and comes back only when the kernel has looked at it again. What happens between two
sites is another thing: packets leave and do not arrive. So a cut is a wrong hardware address at both ends."""
import contextlib
import fcntl
import queue
import socket
import struct
import threading
import time

import lab

SIOCGIFHWADDR, SIOCSARP = 0x8927, 0x8955
SO_TIMESTAMPNS = 35
NOBODY = bytes.fromhex('02000000dead')
CONTROL_PORT = 7499


class Wan:
    def __init__(self, world):
        self.ends = []
        for site, other, ip in ((world.a, world.b, lab.LINK_B), (world.b, world.a, lab.LINK_A)):
            with site.inside():
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with other.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
                mac = fcntl.ioctl(asked, SIOCGIFHWADDR, struct.pack('16s24x', b'wan'))[18:24]
            self.ends.append((sock, ip, mac))
        self.mend()

    def _send_to(self, sock, ip, mac):
        fcntl.ioctl(sock, SIOCSARP, struct.pack('HH4s8x', socket.AF_INET, 0, socket.inet_aton(ip)) +
                    struct.pack('H6s8x', 1, mac) + struct.pack('i', 6) + bytes(16) + struct.pack('16s', b'wan'))

    def cut(self):
        for sock, ip, _ in self.ends:
            self._send_to(sock, ip, NOBODY)

    def mend(self):
        for sock, ip, mac in self.ends:
            self._send_to(sock, ip, mac)

    def close(self):
        self.mend()
        for sock, _, _ in self.ends:
            sock.close()


class Delay:
    """A way to an address at site b from site a, with so many seconds of delay in each direction."""

    LISTEN = (lab.LINK_A, 7498)

    def __init__(self, world, target, seconds):
        self.world, self.target, self.seconds, self.sockets = world, target, seconds, []
        with world.a.inside():
            self.listener = socket.create_server(self.LISTEN)
        self._start(self._accept)

    @staticmethod
    def _start(function, *arguments):
        threading.Thread(target=function, args=arguments, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                try:
                    with self.world.a.inside():
                        far = socket.create_connection(self.target)
                except ConnectionRefusedError:      # nobody listens there yet
                    near.close()
                    continue
                self.sockets += [near, far]
                for source, sink in ((near, far), (far, near)):
                    due = queue.SimpleQueue()
                    self._start(self._read, source, due)
                    self._start(self._write, sink, due)

    def _read(self, source, due):
        data = b'?'
        while data:
            try:
                data = source.recv(1 << 18)
            except OSError:
                data = b''
            due.put((time.monotonic() + self.seconds, data))

    @staticmethod
    def _write(sink, due):
        data = b'?'
        with contextlib.suppress(OSError):
            while data:
                moment, data = due.get()
                time.sleep(max(0, moment - time.monotonic()))
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        for sock in [self.listener, *self.sockets]:
            sock.close()


class Watch(threading.Thread):
    """When UDP packets arrived at site b, by the kernel's clock: heartbeats, and those of a control that does nothing but send.

    The control tells what the machine itself was good for at that time."""

    def __init__(self, world):
        super().__init__(daemon=True)
        self.beats, self.control, self.stopped = [], [], False
        with world.b.inside():
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
            self.sock.bind(('wan', 0x0800))
        self.sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.sock.settimeout(0.2)
        self.sender = world.daemon(world.a, ['/usr/bin/python3', '-c', 'import socket, time\n'
                                             's = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n'
                                             f'while True: s.sendto(b"control", ("{lab.LINK_B}", {CONTROL_PORT})); time.sleep(0.004)'],
                                   'control.log')
        self.start()

    def run(self):
        while not self.stopped:
            try:
                data, more, _, source = self.sock.recvmsg(64, 256)
            except OSError:
                continue
            if source[2] != socket.PACKET_HOST or data[9] != socket.IPPROTO_UDP:
                continue
            seconds, nanoseconds = struct.unpack('qq', more[0][2][:16])
            port = struct.unpack('>H', data[22:24])[0]
            (self.control if port == CONTROL_PORT else self.beats).append(seconds + nanoseconds / 1e9)

    def stop(self):
        self.sender.kill()
        self.stopped = True
        self.join()
        self.sock.close()


def first_after(moments, moment):
    return next((m for m in moments if m >= moment), float('inf'))


def worst_gap_ms(moments, since=0.0, until=float('inf')):
    inside = [m for m in moments if since <= m <= until]
    return max((b - a for a, b in zip(inside, inside[1:])), default=float('inf')) * 1000


def now():
    return time.time()

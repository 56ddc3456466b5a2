"""All frames of the guest that reach the client, captured where they come in: by which bridge port, when, and with which beacon.

Two servers are told apart in two ways. Where a site's frames reach the client by a port of their own (announce mode, a network of the
instance's own) the port tells which site they are from. In gateway mode all come by site B's. There the beacons in the frames tell:
the guest sends numbers, one every 10 ms. A machine and its replica that both go on from the same moment send the same numbers, so a
client that gets each number once and in order hears one of them only: had the other been heard as well, even once, its numbers
would come a second time, or before their turn.
"""
import collections
import contextlib
import ctypes
import itertools
import socket
import struct
import threading
import time

import lab

PORT = 7001
APPEND = f'understudy.beacon={lab.CLIENT_IP}'
SNAP = 96                               # bytes kept of a frame: headers and a beacon
ROOM = 16 << 20                         # for frames while this process gets no processor
BEACON = struct.Struct('>H')
SO_ATTACH_FILTER, SO_RCVBUFFORCE, SO_TIMESTAMPNS, SOL_PACKET, PACKET_STATISTICS, ETH_P_ALL = 26, 33, 35, 263, 6, 3

Frame = collections.namedtuple('Frame', 'when port beacon')     # when: by the kernel's clock (time.time()); beacon: None: another frame


def _filter(mac, ports):
    """A packet filter: what this card sends, as it comes in by one of two ports (a bridge shows it again when it passes it on)."""
    ld, ldh, jeq, ret, skb = 0x20, 0x28, 0x15, 0x06, 0xfffff000        # skb: what a packet carries beside its bytes
    high, low = struct.unpack('>IH', bytes.fromhex(mac.replace(':', '')))
    code = [(ld, 0, 0, skb + 4), (jeq, 8, 0, socket.PACKET_OUTGOING),
            (ld, 0, 0, skb + 8), (jeq, 1, 0, ports[0]), (jeq, 0, 5, ports[1]),
            (ld, 0, 0, 6), (jeq, 0, 3, high), (ldh, 0, 0, 10), (jeq, 0, 1, low),
            (ret, 0, 0, SNAP), (ret, 0, 0, 0)]
    return b''.join(struct.pack('HBBI', *instruction) for instruction in code)


def _beacon(data):
    if data[12:14] != b'\x08\x00' or data[23] != socket.IPPROTO_UDP:
        return None
    udp = 14 + 4 * (data[14] & 15)
    if BEACON.unpack_from(data, udp + 2)[0] != PORT:
        return None
    return int(data[udp + 8:udp + BEACON.unpack_from(data, udp + 4)[0]])


class Capture(threading.Thread):
    """Use as a context manager: what is in it is captured, and has to pass check() if nothing else has failed."""

    def __init__(self, world):
        super().__init__(daemon=True)
        self.world, self.frames, self.stopping = world, [], False
        with world.client.inside():
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self.sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)       # so that the guest is not told that nobody listens
            ports = [socket.if_nametoindex(port) for port in ('to-a', 'to-b')]
        self.sink.bind((lab.CLIENT_IP, PORT))
        with contextlib.suppress(PermissionError):
            self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)
        self.sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._attach(_filter(lab.MAC, ports))
        self.sock.settimeout(0.1)

    def _attach(self, program):
        code = ctypes.create_string_buffer(program, len(program))
        self.sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack('HxxxxxxP', len(program) // 8, ctypes.addressof(code)))
        self.sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):      # what came in before
            while True:
                self.sock.recv(SNAP)

    def run(self):
        while not self.stopping:
            try:
                data, more, _, source = self.sock.recvmsg(SNAP, 64)
            except TimeoutError:
                continue
            seconds, nanoseconds = struct.unpack('qq', more[0][2][:16])
            self.frames.append(Frame(seconds + nanoseconds / 1e9, source[0], _beacon(data)))

    def since(self, moment):
        """The frames that came after time.time() was that."""
        return [frame for frame in self.frames if frame.when > moment]

    def worst_gap_s(self, since):
        """The longest time without a frame, from a moment on until now."""
        moments = [since] + [frame.when for frame in self.since(since)] + [time.time()]
        return max(b - a for a, b in zip(moments, moments[1:]))

    def wait_for_beacons(self, more=5):
        """The instance is heard from now on."""
        now = time.time()
        lab.wait_for('the instance is heard', lambda: sum(1 for frame in self.since(now) if frame.beacon is not None) >= more)

    def sites(self):
        """The ports by which frames came, in order, each once for all that came in a row: more than two are two servers at a time."""
        return [port for port, _ in itertools.groupby(frame.port for frame in self.frames)]

    def check(self, at_least=10):
        """One server at a time, and nothing of the first after the second was heard; and so many beacons."""
        _, dropped = struct.unpack('II', self.sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        assert dropped == 0, f'{dropped} frames were not captured'
        sites = self.sites()
        through_b, own_network = self.world.gateway and not self.world.announce, not self.world.gateway
        assert sites in ([['to-b']] if through_b else [['to-a'], ['to-b'], ['to-a', 'to-b']]), f'frames came by {sites}'
        heard = [frame for frame in self.frames if frame.beacon is not None]
        assert len(heard) >= at_least, f'only {len(heard)} beacons'
        for a, b in zip(heard, heard[1:]):
            # Without output commit the replica says again what the instance said after its last epoch.
            if not (own_network and a.port != b.port):
                assert b.beacon > a.beacon, f'after {a} came {b}: two machines were heard'

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, *_):
        self.stopping = True
        self.join()
        try:
            if kind is None:
                self.check()
        finally:
            self.sock.close()
            self.sink.close()

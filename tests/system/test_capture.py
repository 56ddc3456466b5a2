"""The judge of the partition tests is judged: two servers at a time are noticed, whichever way they can be told apart."""
import contextlib
import socket
import struct
import time

import pytest

import capture
import lab


class Servers:
    """Sends what a guest would, with its address, from either site."""

    def __init__(self, world):
        self.sockets = {}
        for site in (world.a, world.b):
            with site.inside():
                self.sockets[site.name] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
                self.sockets[site.name].bind(('lan', 0))

    def __call__(self, *said):
        """('a', 3): beacon 3 from site A."""
        for site, number in said:
            text = b'%d' % number
            udp = struct.pack('>HHHH', 7000, capture.PORT, 8 + len(text), 0) + text
            ip = struct.pack('>BBHHHBBH4s4s', 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0,
                             socket.inet_aton(lab.GUEST_IP), socket.inet_aton(lab.CLIENT_IP))
            self.sockets[site].send(b'\xff' * 6 + bytes.fromhex(lab.MAC.replace(':', '')) + b'\x08\x00' + ip + udp)
            time.sleep(0.005)

    def close(self):
        for sock in self.sockets.values():
            sock.close()


A, B = [('a', n) for n in range(1, 11)], [('b', n) for n in range(8, 21)]
CASES = {
    'one after the other': ({}, A + B, None),
    'both by turns': ({}, A + B[:2] + A[-1:] + B[2:], 'frames came by'),
    'the wrong one first': ({}, B + A, 'frames came by'),
    'one of them twice': ({}, A + A, 'two machines'),
    'with output commit, and yet said twice': ({'announce': True}, A + B, 'two machines'),
    'with output commit': ({'announce': True}, A + B[3:], None),
    'past the gateway': ({'gateway': True}, A + B[3:], 'frames came by'),
    'two behind the gateway': ({'gateway': True}, B + B[-1:], 'two machines'),
    'one behind the gateway': ({'gateway': True}, B, None),
}


def test_two_servers_at_a_time_are_noticed():
    for name, (mode, said, wrong) in CASES.items():
        expected = pytest.raises(AssertionError, match=wrong) if wrong else contextlib.nullcontext()
        with lab.Lab(**mode) as world, contextlib.closing(Servers(world)) as servers, expected:
            with capture.Capture(world) as heard:
                servers(*said)
                lab.wait_for(f'{name}: all is heard', lambda: len(heard.frames) >= len(said))

"""How a client's network is told where the test guest's addresses are, and from which site."""
import socket
import struct
import threading
import time

import lab

PORTS = {'to-a': 'a', 'to-b': 'b'}
ARP_REQUEST, ARP_REPLY, ADVERTISEMENT = 'ARP request', 'ARP reply', 'neighbour advertisement'
GUEST_IP6 = 'fe80::5054:ff:fe77:9'


def announcement(data, ip=lab.GUEST_IP, ip6=GUEST_IP6):
    """Which kind of announcement of the address this frame is; None: none."""
    ethertype, body = struct.unpack('>H', data[12:14])[0], data[14:]
    if ethertype == 0x806 and body[14:18] == body[24:28] == socket.inet_aton(ip) and data[:6] == b'\xff' * 6:
        return ARP_REQUEST if body[7] == 1 else ARP_REPLY
    if ethertype == 0x86dd and body[6] == 58 and body[40] == 136 and body[24:40] == socket.inet_pton(socket.AF_INET6, 'ff02::1'):
        return ADVERTISEMENT if body[48:64] == socket.inet_pton(socket.AF_INET6, ip6) else None
    return None


class Announcements(threading.Thread):
    """Use as a context manager; `frames` has (time, site, announcement or None) of every frame with the source address `mac`."""

    def __init__(self, world, mac=lab.MAC, **addresses):
        super().__init__(daemon=True)
        self.mac, self.addresses, self.frames, self.stopping = bytes.fromhex(mac.replace(':', '')), addresses, [], False
        with world.client.inside():
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.sock.settimeout(0.2)

    def run(self):
        while not self.stopping:
            try:
                data, (port, _, kind, *_) = self.sock.recvfrom(2048)
            except TimeoutError:
                continue
            if port in PORTS and kind != socket.PACKET_OUTGOING and data[6:12] == self.mac:
                self.frames.append((time.monotonic(), PORTS[port], announcement(data, **self.addresses)))

    def announced(self, site, since=0.0):
        """How often each kind of announcement came from there."""
        count = dict.fromkeys((ARP_REQUEST, ARP_REPLY, ADVERTISEMENT), 0)
        for moment, where, what in self.frames:
            if where == site and what and moment > since:
                count[what] += 1
        return count

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.join()
        self.sock.close()

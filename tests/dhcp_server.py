"""A DHCP server that does what a test wants of it."""
import socket
import struct
import threading

DISCOVER, OFFER, REQUEST, ACK, NAK = 1, 2, 3, 5, 6
COOKIE = b'\x63\x82\x53\x63'


def options_of(packet):
    """Of a client's message: code to value."""
    found, at = {}, 240
    while at < len(packet) and packet[at] != 255:
        if packet[at] == 0:
            at += 1
            continue
        found[packet[at]] = packet[at + 2:at + 2 + packet[at + 1]]
        at += 2 + packet[at + 1]
    return found


class DhcpServer(threading.Thread):
    """
    Use as a context manager. It gives `address` for `seconds`, with `options` (code to bytes), and is `own` itself. `behaviour`: 'answer',
    'refuse', 'silent', or 'noise', which is answering amid what no server would send. `heard`: the kinds of messages that came.
    """

    def __init__(self, namespace, device, own, address, seconds=3600, options=None):
        super().__init__(daemon=True)
        self.own, self.address, self.seconds, self.options = socket.inet_aton(own), socket.inet_aton(address), seconds, options or {}
        self.behaviour, self.heard, self.stopping = 'answer', [], False
        with namespace.inside():
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        self.sock.bind(('0.0.0.0', 67))
        self.sock.settimeout(0.1)

    def answer(self, packet, kind):
        values = {53: bytes([kind]), 54: self.own}
        if kind != NAK:
            values |= {51: struct.pack('!I', self.seconds)} | self.options
        body = b''.join(bytes([code, len(value)]) + value for code, value in values.items())
        given = bytes(4) if kind == NAK else self.address
        return b'\x02\x01\x06\x00' + packet[4:8] + bytes(4) + packet[12:16] + given + self.own + bytes(4) + packet[28:44] + bytes(192) + \
            COOKIE + body + b'\xff'

    def send(self, data):
        self.sock.sendto(data, ('255.255.255.255', 68))

    def make_noise(self, packet):
        good = self.answer(packet, OFFER)
        head = good[:240]
        for noise in (b'', b'\x02', good[:239], good[:4] + b'other' + good[9:], good[:28] + b'\x00' * 16 + good[44:], head, head + b'\x35',
                      head + b'\x35\xff\x02', head + b'\x34\x01\x03\x35\x01\x02\xff', head + b'\x35\x01\x02' * 400, bytes(1400), b'\xff' * 1400):
            self.send(noise)

    def run(self):
        while not self.stopping:
            try:
                packet, _ = self.sock.recvfrom(2048)
            except TimeoutError:
                continue
            kind = options_of(packet).get(53, b'\0')[0]
            self.heard.append(kind)
            if self.behaviour == 'noise':
                self.make_noise(packet)
            if self.behaviour != 'silent':
                answer = {DISCOVER: OFFER, REQUEST: NAK if self.behaviour == 'refuse' else ACK}.get(kind)
                if answer is not None:
                    self.send(self.answer(packet, answer))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.join()
        self.sock.close()

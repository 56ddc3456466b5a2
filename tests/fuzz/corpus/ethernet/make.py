#!/usr/bin/python3
"""Writes the seeds of fuzz_ethernet beside this script: frames of each kind, and a table (see fuzz_ethernet.c)."""
import os
import socket
import struct

here = os.path.dirname(os.path.abspath(__file__))
MAC = bytes.fromhex('525400010203')
HEAD = b'\xff' * 6 + MAC
V4 = socket.inet_aton('192.0.2.9')
V6 = socket.inet_pton(socket.AF_INET6, '2001:db8::9')
ALL = socket.inet_pton(socket.AF_INET6, 'ff02::1')


def seed(name, data):
    with open(os.path.join(here, name), 'wb') as file:
        file.write(data)


def frames(*some):
    return b'\x01' + b''.join(bytes([len(frame)]) + frame for frame in some)


def icmpv6(body):
    return struct.pack('>HIHBB', 0x86dd, 6 << 28, len(body), 58, 255) + V6 + ALL + body


arp = struct.pack('>HHHBBH', 0x0806, 1, 0x0800, 6, 4, 1) + MAC + V4 + bytes(6) + V4
ipv4 = b'\x08\x00\x45' + bytes(7) + b'\x40\x11\0\0' + V4 + V4
advertisement = icmpv6(b'\x88\0\0\0\xa0\0\0\0' + V6 + b'\x02\x01' + MAC)
solicitation = icmpv6(b'\x87\0\0\0\0\0\0\0' + V6 + b'\x01\x01' + MAC)
router = icmpv6(b'\x86' + bytes(15) + b'\x01\x01' + MAC)
vlan, service = struct.pack('>HH', 0x8100, 100), struct.pack('>HH', 0x88a8, 200)
seed('arp', frames(HEAD + arp))
seed('ipv4', frames(HEAD + ipv4))
seed('discovery', frames(HEAD + advertisement, HEAD + solicitation, HEAD + router))
seed('tagged', frames(HEAD + vlan + arp, HEAD + service + vlan + advertisement))
record = struct.pack('<BBBB6sHHHHHI16s', 4, 2, 1, 0, MAC, 0x8100, 100, 0, 0, 0, 7, V4 + bytes(12))
seed('table', b'\0' + struct.pack('<I', 2) + record
     + struct.pack('<BBBB6sHHHHHI16s', 6, 3, 2, 0, MAC, 0x88a8, 200, 0x8100, 100, 0, 0, V6))

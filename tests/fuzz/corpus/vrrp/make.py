#!/usr/bin/python3
"""Writes the seeds of fuzz_vrrp beside this script: packets with either checksum, and two histories (see fuzz_vrrp.c)."""
import os
import socket
import struct

here = os.path.dirname(os.path.abspath(__file__))
FROM, TO = socket.inet_aton('192.0.2.1'), socket.inet_aton('224.0.0.18')
START, STOP, PERMIT, FORBID, HEARD, TIME = range(6)


def seed(name, data):
    with open(os.path.join(here, name), 'wb') as file:
        file.write(data)


def checksum(data):
    total = sum(struct.unpack(f'>{len(data) // 2}H', data))
    while total > 0xffff:
        total = (total & 0xffff) + (total >> 16)
    return total ^ 0xffff


def packet(pseudo, *addresses):
    body = b''.join(socket.inet_aton(a) for a in addresses)
    head = struct.pack('>BBBBH', 0x31, 51, 200, len(addresses), 20)
    before = FROM + TO + struct.pack('>HH', 112, 8 + len(body)) if pseudo else b''
    vrrp = head + struct.pack('>H', checksum(before + head + b'\0\0' + body)) + body
    return struct.pack('>BBHHHBBH', 0x45, 0xc0, 20 + len(vrrp), 1, 0, 255, 112, 0) + FROM + TO + vrrp


seed('pseudo', b'\0' + packet(True, '192.0.2.77'))
seed('plain', b'\0' + packet(False, '192.0.2.77', '192.0.2.78'))
seed('takeover', bytes([1, START, 0, 0, 0, 0, HEARD, 1, 200, 1, 0, PERMIT, 1, 0, 0, 0, TIME, 99, 0, 0, 0,
                        HEARD, 1, 200, 1, 0, FORBID, 1, 0, 0, 0, STOP, 1, 0, 0, 0]))
seed('claim', bytes([3, START, 0, 0, 0, 0, TIME, 99, 0, 0, 0, PERMIT, 1, 0, 0, 0, HEARD, 1, 50, 1, 0,
                     HEARD, 1, 0, 1, 0, FORBID, 1, 0, 0, 0]))

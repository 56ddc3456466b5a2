#!/usr/bin/python3
"""Writes the seeds of fuzz_wire beside this script: one of each payload, and streams of frames (see fuzz_wire.c)."""
import os
import struct

here = os.path.dirname(os.path.abspath(__file__))


def hello(role):
    return (b'UNDRSTDY' + struct.pack('<HHIQB7xQQ', 1, 1, 0, 0, role, 77, 42)
            + b'\x05north' + b'\x03vm1')


def frame(kind, payload=b'', flags=0, term=1, epoch=9):
    return struct.pack('<IHHQQ', len(payload), kind, flags, term, epoch) + payload


def seed(name, data):
    with open(os.path.join(here, name), 'wb') as file:
        file.write(data)


reason = struct.pack('<H', 4) + b'busy'
heartbeat = struct.pack('<QQQQ', 1, 2, 3, 4)
commit = struct.pack('<QQQII', 3, 500, 0x1234, 60000, 0)
seed('hello', b'\0' + hello(1))
seed('reason', b'\0' + reason)
seed('heartbeat', b'\0' + heartbeat)
seed('commit', b'\0' + commit)
seed('commit_times', b'\0' + commit + struct.pack('<QQ', 5_000_000, 1_600_000))
seed('number', b'\0' + struct.pack('<Q', 1 << 40))
seed('header', b'\0' + frame(3))
seed('primary', b'\x01' + frame(1, hello(1)) + frame(5, b'{}') + frame(7, bytes(40)) + frame(8)
     + frame(10, b'\x02') + frame(11, bytes(300), 1) + frame(3, heartbeat) + frame(11, b'end')
     + frame(12, commit) + frame(15, reason) + frame(23))
seed('standby', b'\x02' + frame(1, hello(2)) + frame(4, bytes(8)) + frame(6, b'{"ok":true}')
     + frame(9, struct.pack('<QIIQ', 0, 1, 1, 5)) + frame(13, bytes(8)) + frame(14, reason)
     + frame(22) + frame(16, b'term 2') + frame(2, reason))
seed('refused', b'\x02' + frame(2, reason))

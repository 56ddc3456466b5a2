#!/usr/bin/python3
"""Makes the seeds of fuzz_delta beside itself: batches by the words of replica/delta_format.h, and scripts."""
import os
import struct

HERE = os.path.dirname(os.path.abspath(__file__))


def seed(name, mode, data):
    with open(os.path.join(HERE, name), 'wb') as f:
        f.write(bytes([mode]) + data)


def batch(pages, control, content, control_len=None, content_len=None):
    """Mode 1 makes the checksum right. Lengths given: that part is an LZ4 block."""
    return (b'USDELTA1' + bytes(8) +
            struct.pack('<IIIII', pages, control_len or len(control), len(control), content_len or len(content),
                        len(content)) + control + content)


def streams(pages, control, content):
    return struct.pack('<HH', pages - 1, len(control) - 1) + control + content


def lz4_run(byte, length):
    """An LZ4 block: one byte, repeated."""
    rest = length - 1 - 5 - 4 - 15
    block = bytes([0x1f, byte, 1, 0])
    while rest >= 255:
        block += b'\xff'
        rest -= 255
    return block + bytes([rest]) + bytes([0x50]) + bytes([byte]) * 5


PLAIN = bytes(range(256)) * 16
seed('zero-pages', 1, batch(3, b'\x00\x04\x00', b''))
seed('plain-page', 1, batch(1, b'\x05', PLAIN))
seed('runs', 1, batch(2, b'\x02\x00\x02\xfe\x1f\x03\x02\x10\x15', b'abcdefghijkl'))
seed('compressed', 1, batch(2, b'\x01\x01', lz4_run(7, 8192), content_len=8192))
seed('damaged-checksum', 0, batch(1, b'\x00', b''))
seed('streams', 2, streams(3, b'\x00\x02\x00\x09\x01', b'wxyz' + PLAIN))
seed('streams-beyond', 2, streams(1, b'\x02\xff\x1f\x05', b'ab'))
END = [bytes([0, 0, 0, n]) for n in (251, 252, 253, 254)]
seed('script', 3, bytes([3]) + END[3] + bytes([1, 2, 200, 13, 1, 9, 9, 7]) + END[3] + bytes([1, 0, 255, 2]) + END[0] +
     bytes([1, 0, 0, 4, 2, 1, 0, 1]) + END[1] + END[2] + bytes([2, 3, 100, 10, 5, 5, 50, 61, 5, 5, 50, 0]) + END[3])
seed('script-no-cache', 3, bytes([0]) + END[3] + bytes([1, 2, 200, 13, 1, 9, 9, 7]) + END[3] + END[0])
seed('script-small-cache', 3, bytes([1]) + END[3] + b''.join(bytes([i, 3 * i, 40 + i, 5]) for i in range(24)) + END[3] +
     b''.join(bytes([i, i, i, 6]) for i in range(24)) + END[3] + b''.join(bytes([i, 9, i, 6]) for i in range(24)) + END[0])

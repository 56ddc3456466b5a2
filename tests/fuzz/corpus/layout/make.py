#!/usr/bin/python3
"""Makes the seeds of fuzz_layout beside itself, by the words of replica/layout.h."""
import os
import struct

HERE = os.path.dirname(os.path.abspath(__file__))


def seed(name, configuration, blocks, disks=()):
    data = b'LAY2' + struct.pack('<IIII', 2, 0, 4, len(configuration)) + configuration + struct.pack('<I', len(blocks))
    for block, size in blocks:
        data += bytes([len(block)]) + block + struct.pack('<Q', size)
    data += struct.pack('<I', len(disks))
    for disk, size in disks:
        data += bytes([len(disk)]) + disk + struct.pack('<Q', size)
    with open(os.path.join(HERE, name), 'wb') as f:
        f.write(data)


seed('pc', b'pc-i440fx-10.0', [(b'pc.ram', 256 << 20), (b'/rom@etc/acpi/tables', 131072), (b'pc.bios', 262144),
                               (b'pc.rom', 131072), (b'/rom@etc/table-loader', 4096), (b'/rom@etc/acpi/rsdp', 4096)])
seed('one-block', b'', [(b'm', 4096)])
seed('no-block', b'q35', [])
seed('odd-size', b'q35', [(b'm', 4095)])
seed('same-name', b'q35', [(b'm', 4096), (b'm', 4096)])
seed('largest', b'q35', [(b'm', (1 << 43) - (64 << 20))])
seed('too-large', b'q35', [(b'm', 1 << 43), (b'n', 1 << 43)])
seed('disks', b'q35', [(b'm', 4096)], [(b'disk0', 8 << 30), (b'disk1', 4096)])

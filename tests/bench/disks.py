"""What a disk in the epochs costs the guest: synced writes of half a KiB to 8 KiB, one after the other, protected and not, in turns, of one guest.

And the floor, in the same turns: QEMU's mirror alone, unprotected, as the agent sets it up, but into a QEMU that serves nothing (null-co) over
the same kind of socket. QEMU makes a guest's write at the disk, then hands it to the mirror's target and waits for its answer: that
second step is there however fast the target is.
"""
import json
import statistics
import time

import lab
from measure import DIRTY_PER_S, EVERY_100_MS, Monitor, Unmeasured, say

ROUNDS, TURNS, WRITES = 3, 4, 500
DISK_MIB = 64


def writes_per_s(world):
    """The guest makes them by itself: no answer is waited for in between."""
    with world.connect(60) as connection:
        start = time.monotonic()
        if world.ask(f'write {WRITES}', 60, connection) is None:
            raise Unmeasured('the guest does not answer')
        return WRITES / (time.monotonic() - start)


class Floor:
    def __init__(self, world):
        self.monitor, self.socket = Monitor(world.path('vm.qmp.lab')), world.path('floor')
        world.daemon(world.a, [lab.QEMU, '-machine', 'none', '-nodefaults', '-display', 'none', '-L', lab.FIRMWARE, '-qmp', f'unix:{self.socket}.qmp,server=on,wait=off',
                               '-blockdev', json.dumps({'driver': 'null-co', 'node-name': 'nothing', 'size': DISK_MIB << 20})], 'floor.log')
        server = Monitor(f'{self.socket}.qmp')
        server('nbd-server-start', addr={'type': 'unix', 'data': {'path': self.socket}})
        server('block-export-add', type='nbd', id='export', name='disk', writable=True, **{'node-name': 'nothing'})

    def measure(self, world):
        self.monitor('blockdev-add', driver='nbd', export='disk', server={'type': 'unix', 'path': self.socket}, **{'node-name': 'floor', 'detect-zeroes': 'on'})
        self.monitor('blockdev-mirror', device='drive0', target='floor', sync='full', **{'job-id': 'floor', 'copy-mode': 'write-blocking'})
        lab.wait_for('it is mirrored', lambda: self.monitor('query-block-jobs')[0]['ready'])
        rate = writes_per_s(world)
        self.monitor('block-job-cancel', device='floor')
        lab.wait_for('the mirror is gone', lambda: not self.monitor('query-block-jobs'))
        self.monitor('blockdev-del', **{'node-name': 'floor'})
        return rate


def protected(world, journal):
    world.start_agent()
    world.wait_state('primary', 'protected')
    if journal:
        lab.wait_for('the journal is whole', lambda: world.status('standby').get('journal', {}).get('durable'), 120)
    rate = writes_per_s(world)
    if world.status('primary')['state'] != 'protected':
        raise Unmeasured(f'the instance did not stay protected\n{world.logs()}')
    world.agent.stop()
    return rate


def compare(what, least, **standby):
    rates = {'protected': [], 'unprotected': [], 'floor': []}
    for number in range(1, ROUNDS + 1):
        with lab.Lab(dirty=DIRTY_PER_S, disk_mib=DISK_MIB, takeover='manual', instance=EVERY_100_MS, standby_instance=standby) as world:
            world.start_guest()
            world.start_appliance()
            floor = Floor(world)
            for _ in range(TURNS):
                rates['unprotected'].append(writes_per_s(world))
                rates['floor'].append(floor.measure(world))
                rates['protected'].append(protected(world, bool(standby)))
        say(f'{what}, {number} of {ROUNDS}: ' + ', '.join(f'{name} {statistics.median(values):.0f} a second' for name, values in rates.items()))
    ours, bare, floor = (statistics.median(rates[name]) for name in ('protected', 'unprotected', 'floor'))
    return {'what': what, 'target': f'>= {least * 100:.0f} % of unprotected', 'ours': f'{ours:.0f} a second ({ours / floor:.2f} of the floor)',
            'beside': f'unprotected {bare:.0f}, mirrored into nothing {floor:.0f} ({floor / bare:.2f})',
            'ratio': ours / bare, 'passed': ours >= least * bare, 'numbers': rates}


def from_memory():
    return compare("a guest's synced writes", 0.85)


def with_journal():
    return compare("a guest's synced writes, journal", 0.7, durability='journal')

"""Bytes on the link for each byte that a guest wrote to its disk: pgbench's transactions, committed by three clients to a PostgreSQL there.

Beside it, in turns, of the same guest: QEMU's own mirror of that disk (write-blocking) over TCP to an NBD server at the other site. All
is counted by the device between the sites; what is the disk's of ours, by the agent.
"""
import json
import os
import subprocess

import lab
from measure import Monitor, Unmeasured, say

DISK = os.path.join(lab.BUILD, 'guest', 'postgres.ext4')
TURNS, SECONDS, CLIENTS = 2, 12, 3
NBD_PORT = 10809


class Database:
    def __init__(self, world):
        self.world = world
        lab.wait_for('PostgreSQL answers', lambda: self.run('psql', '-qAtc', 'select 1').returncode == 0, 90, 0.5)
        self.need('pgbench', '-i', '-q', '-s', '2', 'postgres')

    def run(self, program, *arguments):
        return subprocess.run([program, '-h', lab.GUEST_IP, '-U', 'postgres', *arguments], preexec_fn=self.world.client.enter, pass_fds=[self.world.client.fd],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=180, check=False)

    def need(self, program, *arguments):
        done = self.run(program, *arguments)
        if done.returncode != 0:
            raise Unmeasured(f'{program}: {done.stdout[-400:]}')
        return done.stdout


def on_the_link(world):
    """What site A has sent."""
    with open(f'/proc/{world.a.pid}/net/dev') as devices:
        return next(int(line.split()[9]) for line in devices if line.split()[0] == 'wan:')


class Peer:
    """QEMU's mirror to an NBD server of another QEMU at site B."""

    def __init__(self, world, monitor):
        self.world, self.monitor = world, monitor
        with open(world.path('peer.raw'), 'wb') as image:
            image.truncate(os.path.getsize(world.path('disk-a.raw')))
        world.daemon(world.b, [lab.QEMU, '-machine', 'none', '-nodefaults', '-display', 'none', '-L', lab.FIRMWARE, '-qmp', f"unix:{world.path('peer')},server=on,wait=off",
                               '-blockdev', json.dumps({'driver': 'raw', 'node-name': 'image', 'discard': 'unmap',
                                                        'file': {'driver': 'file', 'filename': world.path('peer.raw'), 'discard': 'unmap'}})], 'peer.log')
        server = Monitor(world.path('peer'))
        server('nbd-server-start', addr={'type': 'inet', 'data': {'host': lab.LINK_B, 'port': str(NBD_PORT)}})
        server('block-export-add', type='nbd', id='export', name='disk', writable=True, **{'node-name': 'image'})

    def begin(self):
        self.monitor('blockdev-add', driver='nbd', export='disk', server={'type': 'inet', 'host': lab.LINK_B, 'port': str(NBD_PORT)}, **{'node-name': 'peer'})
        self.monitor('blockdev-mirror', device='drive0', target='peer', sync='full', **{'job-id': 'peer', 'copy-mode': 'write-blocking'})
        lab.wait_for('it is mirrored', lambda: self.monitor('query-block-jobs')[0]['ready'], 120)

    def end(self):
        self.monitor('block-job-cancel', device='peer')
        lab.wait_for('the mirror is gone', lambda: not self.monitor('query-block-jobs'))
        self.monitor('blockdev-del', **{'node-name': 'peer'})

    def disk_bytes(self):
        return on_the_link(self.world)


class Ours:
    def __init__(self, world):
        self.world = world

    def begin(self):
        self.world.start_agent()
        self.world.wait_state('primary', 'protected')

    def end(self):
        if self.world.status('primary').get('state') != 'protected':
            raise Unmeasured(f'the instance did not stay protected\n{self.world.logs()}')
        self.world.agent.stop()

    def disk_bytes(self):
        return self.world.status('primary')['disk_wire_bytes']


def written(monitor):
    return next(device['stats']['wr_bytes'] for device in monitor('query-blockstats') if device.get('device') == 'drive0')


def one_turn(world, monitor, database, way):
    """Bytes written, sent for the disk, and sent."""
    way.begin()
    before = written(monitor), way.disk_bytes(), on_the_link(world)
    database.need('pgbench', '-n', '-c', str(CLIENTS), '-T', str(SECONDS), 'postgres')
    figures = [after - earlier for after, earlier in zip((written(monitor), way.disk_bytes(), on_the_link(world)), before)]
    way.end()
    return figures


def row():
    if not os.path.exists(DISK):
        raise Unmeasured('PostgreSQL is not installed here: make database')
    sums = {'ours': [0, 0, 0], 'mirror': [0, 0, 0]}
    with lab.Lab(working_set_mib=8, dirty=0, disk=DISK, takeover='manual') as world:
        world.start_guest()
        world.start_appliance()
        monitor = Monitor(world.path('vm.qmp.lab'))
        database = Database(world)
        ways = {'mirror': Peer(world, monitor), 'ours': Ours(world)}
        for turn in range(1, TURNS + 1):
            for name, way in ways.items():
                figures = one_turn(world, monitor, database, way)
                sums[name] = [total + figure for total, figure in zip(sums[name], figures)]
            say(f'{turn} of {TURNS}: ' + ', '.join(f'{name} {disk / guest:.2f} ({guest >> 20} MiB written)' for name, (guest, disk, _) in sums.items()))
    (guest, disk, sent), (peer_guest, peer_disk, _) = sums['ours'], sums['mirror']
    return {'what': 'bytes sent for the disk for each byte a database writes', 'target': '< 1.0', 'ours': f'{disk / guest:.2f} (memory and all: {sent / guest:.2f})',
            'beside': f"QEMU's NBD mirror {peer_disk / peer_guest:.2f}", 'ratio': (disk / guest) / (peer_disk / peer_guest), 'passed': disk < guest,
            'numbers': {name: dict(zip(('written', 'sent_for_disk', 'sent'), figures)) for name, figures in sums.items()}}

"""The replica's disk is a block target on a server: it is of the epoch that the memory is of, whatever ends."""
import os
import shutil
import signal
import socket
import time

import pytest

import lab
from test_disks import checked, protected_again, take_over, writes
from test_rewind import end, told

NBD = shutil.which('nbdkit')
MISSING = NBD is None
MIB = 64
PORT = 10809


class Stored(lab.Lab):
    """The disk at site B is on an NBD server there."""
    def __init__(self, **options):
        super().__init__(memory_mib=128, working_set_mib=24, disk_mib=MIB, **options)
        target = {'driver': 'nbd', 'export': 'vm1-system', 'server': {'type': 'inet', 'host': '127.0.0.1', 'port': str(PORT)}}
        self.extra_of_instance['standby'] = self.extra_of_instance['standby'] | {'disks': [{'name': 'system', 'target': target}]}
        self.server = None

    def start_server(self, mib=MIB):
        if not os.path.exists(self.path('store.raw')):
            with open(self.path('store.raw'), 'wb') as store:
                store.truncate(mib << 20)
        self.server = self.daemon(self.b, [NBD, '--foreground', '--exit-with-parent', '--ipaddr', '127.0.0.1', '--port', str(PORT),
                                           'file', self.path('store.raw')], 'nbd.log')
        lab.wait_for('the NBD server listens', self._answers)

    def _answers(self):
        with self.b.inside(), socket.socket() as probe:
            return probe.connect_ex(('127.0.0.1', PORT)) == 0

    def end(self, daemon):
        os.kill(daemon.pid, signal.SIGKILL)
        daemon.process.wait()


@pytest.fixture(autouse=True)
def server():
    if NBD is None:
        pytest.skip('nbdkit is missing: apt-get install nbdkit')


def test_a_replica_serves_from_its_target_whoever_watches_it():
    with Stored(disk_rate=300, takeover='manual') as world:
        world.start_server()
        world.protect()
        acknowledged = writes(world, 20)
        epoch = world.status('standby')['epoch']
        lab.wait_for('more epochs', lambda: world.status('standby')['epoch'] > epoch + 2)
        world.kill_site_a()
        take_over(world)
        assert checked(world) >= acknowledged
        world.end(world.appliance)
        writes(world, 5)
        world.start_appliance()
        world.wait_state('standby', 'serving')
        writes(world, 5)
        checked(world)
        assert os.stat(world.path('store.raw')).st_blocks > 0
        assert not os.path.exists(world.path('disk-b.raw'))


def test_a_server_that_ends_costs_protection_which_comes_back_with_it():
    with Stored(disk_rate=300, takeover='manual') as world:
        world.start_server()
        world.protect()
        for _ in range(2):
            epoch = world.status('standby')['epoch']
            world.end(world.server)
            lab.wait_for('it is told at both sites', lambda: all('the target of disk system' in world.status(role).get('reason', '')
                                                                 for role in ('primary', 'standby')), 30)
            assert not world.status('primary')['protected']
            writes(world, 5)
            world.start_server()
            protected_again(world, epoch)
        world.kill_site_a()
        take_over(world)
        checked(world)


def test_a_warm_qemu_that_ends_is_replaced_on_the_same_target():
    with Stored(disk_rate=300, takeover='manual') as world:
        world.start_server()
        world.protect()
        for _ in range(3):
            epoch = world.status('standby')['epoch']
            warm = world.replica()
            os.kill(warm, signal.SIGKILL)
            lab.wait_for('another one is warm', lambda: world.status('standby').get('hypervisor') == 'warm' and world.replica() != warm)
            protected_again(world, epoch)
        world.kill_site_a()
        take_over(world)
        checked(world)


@pytest.mark.calm
def test_a_server_that_answers_nothing_for_a_while_holds_up_epochs_and_nothing_else():
    with Stored(disk_rate=300, takeover='manual', instance={'checkpoint': {'pause_limit_ms': 500}}) as world:
        world.start_server()
        world.protect()
        os.kill(world.server.pid, signal.SIGSTOP)
        stopped = time.monotonic()
        lab.wait_for('epochs wait', lambda: world.status('primary').get('lag_ms', 0) > 1500, 30)
        os.kill(world.server.pid, signal.SIGCONT)
        assert time.monotonic() - stopped < 20
        protected_again(world, world.status('standby')['epoch'])
        assert 'link lost' not in world.agent.text() and 'unprotected' not in world.agent.text(), world.logs()
        world.kill_site_a()
        take_over(world)
        checked(world)


def test_with_a_journal_the_target_comes_back_and_its_past_is_a_file():
    with Stored(disk_rate=300, takeover='manual', standby_instance={'durability': 'journal', 'journal': {'history': {'mib': 512}}}) as world:
        world.start_server()
        world.protect()
        epoch = world.status('standby')['epoch']
        lab.wait_for('more epochs are durable', lambda: world.status('standby').get('journal', {}).get('epoch', 0) > epoch + 5)
        copy = told(world, 'rewind', '--to', str(world.status('standby')['journal']['epoch']))
        past = os.path.join(copy['directory'], 'system.rewound')
        assert copy['state'] == 'running' and os.stat(past).st_size == MIB << 20, copy
        end(world)
        assert not os.path.exists(past) and world.status('standby')['protected']
        world.kill_site_a()
        for daemon in (world.appliance, world.server):
            world.end(daemon)
        with open(world.path('store.raw'), 'r+b') as store:      # what a power cut may leave of it
            store.write(bytes(1 << 20))
        world.start_appliance()                                  # which waits for the server
        world.start_server()
        lab.wait_for('it is brought back', lambda: world.status('standby').get('state') == 'unattended', 60)
        take_over(world)
        checked(world)


def test_a_target_of_another_size_is_refused_with_both():
    with Stored() as world:
        world.start_server(mib=MIB // 2)
        world.start_guest()
        world.start_appliance()
        world.start_agent()
        reason = lab.wait_for('it is refused', lambda: world.status('primary').get('reason', '') if world.status('primary').get('state') == 'refused'
                              else None, 30)
        assert f'its target has {MIB // 2 << 20} bytes, the instance\'s disk {MIB << 20}' in reason, reason


class Twice(Stored):
    """A second disk, whose target at site B is the export of the first one by another name of the host."""
    def _disk(self):
        with open(self.path('second.raw'), 'wb') as second:
            second.truncate(MIB << 20)
        return super()._disk() + ['-drive', f"file={self.path('second.raw')},format=raw,if=virtio,id=second"]

    def name_it_twice(self):
        primary, standby = (self.extra_of_instance[role] for role in ('primary', 'standby'))
        primary['disks'] = [{'name': 'system', 'device': 'disk0'}, {'name': 'log', 'device': 'second'}]
        first = standby['disks'][0]
        other = first['target'] | {'server': first['target']['server'] | {'host': 'localhost'}}
        standby['disks'] = [first, {'name': 'log', 'target': other}]


def test_one_export_by_two_names_is_no_two_disks():
    with Twice() as world:
        world.name_it_twice()
        world.start_server()
        with open(world.path('store.raw'), 'r+b') as store:
            store.seek((MIB << 20) - 4096)
            store.write(b'kept' * 1024)
        world.start_guest()
        world.start_appliance()
        world.start_agent()
        reason = lab.wait_for('it is refused', lambda: world.status('primary').get('reason', '') if world.status('primary').get('state') == 'refused'
                              else None, 30)
        assert 'they are one store by two names' in reason and 'disk "system"' in reason and 'disk "log"' in reason, reason
        with open(world.path('store.raw'), 'rb') as store:
            store.seek((MIB << 20) - 4096)
            assert store.read() == b'kept' * 1024

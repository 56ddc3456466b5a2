"""A disk belongs to the epochs: after a takeover it holds exactly what the replica's memory says of it."""
import json
import os
import random
import signal
import socket
import subprocess
import time

import pytest

import lab


def checked(world, what=''):
    """The guest has read its whole disk and compared it with its memory."""
    answer = lab.wait_for('the guest answers', lambda: world.ask('disk', 20), 40)
    assert answer.startswith('ok'), f'{what}: {answer}\n{world.logs()}'
    return int(answer.split()[1].removeprefix('writes='))


def protected_again(world, epoch):
    """At an epoch some epochs after that one."""
    try:
        lab.wait_for('protected again', lambda: world.status('primary').get('protected') and world.status('standby')['epoch'] > epoch + 3)
    except AssertionError as e:
        raise AssertionError(f"{e}: {world.status('primary')}\n{world.logs()}") from None


def writes(world, times):
    with world.connect() as connection:
        for _ in range(times):
            last = world.ask('write', connection=connection)
        return int(last)


def take_over(world):
    """By the operator, who does not mind whether a loaded machine has kept up: whatever epoch that is, it is whole."""
    world.wait_state('standby', 'unattended')
    assert world.operator('takeover', 'standby').returncode == 0, world.logs()


def kills_leave_disk_and_memory_of_one_epoch(seed, kills, **options):
    moments = random.Random(seed)
    for kill in range(kills):
        with lab.Lab(memory_mib=128, working_set_mib=24, disk_mib=64, disk_rate=moments.choice((50, 300, 3000)),
                     takeover='manual', **options) as world:
            world.protect()
            time.sleep(moments.uniform(0.05, 1.5))
            world.kill_site_a()
            take_over(world)
            checked(world, f'kill {kill}, seed {seed}')


@pytest.mark.parametrize('half', (1, 2))
def test_10_kills_at_random_moments_leave_disk_and_memory_of_one_epoch(half):
    seed = int(os.environ.get('UNDERSTUDY_SEED', '0')) or random.randrange(1 << 30)
    print(f'UNDERSTUDY_SEED={seed}')
    kills_leave_disk_and_memory_of_one_epoch(seed + half, int(os.environ.get('UNDERSTUDY_KILLS', '10')) // 2)


def test_every_acknowledged_write_is_on_the_replicas_disk():
    with lab.Lab(memory_mib=128, working_set_mib=24, disk_mib=64, gateway=True) as world:
        world.protect()
        acknowledged = writes(world, 50)
        world.kill_site_a()
        world.wait_state('standby', 'serving')
        assert checked(world) == acknowledged
        assert writes(world, 5) == acknowledged + 5
        assert checked(world) == acknowledged + 5


def test_a_killed_agent_costs_the_guest_nothing_and_the_next_one_protects_again():
    with lab.Lab(memory_mib=128, working_set_mib=24, disk_mib=64, disk_rate=300, takeover='manual') as world:
        world.protect()
        for _ in range(3):
            os.kill(world.agent.pid, signal.SIGKILL)
            world.agent.process.wait()
            assert writes(world, 20) > 20
            world.start_agent()
            protected_again(world, world.status('standby')['epoch'])
        checked(world)
        world.kill_site_a()
        world.wait_state('standby', 'unattended')
        assert world.operator('takeover', 'standby').returncode == 0
        checked(world)


def test_a_mirror_that_fails_costs_protection_for_a_moment_and_the_guest_nothing():
    with lab.Lab(memory_mib=128, working_set_mib=24, disk_mib=64, disk_rate=300) as world:
        world.protect()
        qmp = lab.Qmp(world.path('vm.qmp.lab'))
        epoch = world.status('primary')['epochs']
        qmp('block-job-cancel', device='us-mirror-0', force=True)
        lab.wait_for('it is told', lambda: 'mirror of it has ended' in world.agent.text())
        protected_again(world, epoch)
        checked(world)
        world.kill_site_a()
        world.wait_state('standby', 'serving')
        checked(world)


def test_a_write_is_not_waited_for_while_the_link_is_lost():
    """Nor freed by an end of the mirror: what has been written meanwhile travels when the link is back, in the same session."""
    with lab.Lab(memory_mib=128, working_set_mib=24, disk_mib=64, takeover='manual', instance={'resync_after_ms': 60000}) as world:
        world.protect()
        qmp = lab.Qmp(world.path('vm.qmp.lab'))
        counted = writes(world, 3)
        world.lose(world.a, world.b)
        epoch = lab.wait_for('no epoch comes through', lambda: (lambda e: e if not time.sleep(0.5) and e == world.status('standby')['epoch'] else None)(
            world.status('standby')['epoch']))
        assert writes(world, 50) == counted + 50
        assert world.status('standby')['epoch'] == epoch
        assert [job['device'] for job in qmp('query-block-jobs')] == ['us-mirror-0']
        world.lose()
        protected_again(world, epoch)
        world.wait_caught_up()
        assert world.agent.text().count('copying:') == 1, world.agent.text()
        world.kill_site_a()
        take_over(world)
        assert checked(world) == counted + 50


def test_an_agent_that_ends_leaves_nothing_in_qemu():
    with lab.Lab(memory_mib=128, working_set_mib=24, disk_mib=64, disk_rate=100) as world:
        world.protect()
        qmp = lab.Qmp(world.path('vm.qmp.lab'))
        assert qmp('query-block-jobs')
        assert world.agent.stop() == 0
        lab.wait_for('no job', lambda: not qmp('query-block-jobs'))
        assert not [n for n in qmp('query-named-block-nodes') if n['node-name'].startswith('us-')]
        assert not os.path.exists(world.path('vm.qmp.system'))
        checked(world)


def test_writes_beyond_the_budget_cost_protection_and_the_guest_does_not_wait():
    options = {'takeover': 'manual', 'append': 'understudy.disk_mib=64', 'instance': {'budget': {'disk_mib': 16}, 'resync_after_ms': 60000}}
    with lab.Lab(memory_mib=128, working_set_mib=24, disk_mib=128, disk_rate=3000, **options) as world:
        world.protect()
        world.cut_link()
        lab.wait_for('there is no room any more', lambda: 'disk system: more was written to the disks' in world.status('primary').get('reason', ''), 60)
        assert 'budget.disk_mib' in world.agent.text() and not world.status('primary')['protected']
        world.mend_link()
        counted = writes(world, 10)
        assert writes(world, 10) > counted, 'it goes on writing'
        # It writes as fast as it can: what is protected again is up to luck. That the guest has all it wrote is not.
        checked(world)


def refused(world, *words):
    """A takeover is, and both sites have said why before it is asked for."""
    lab.wait_for('not protected', lambda: not world.status('primary')['protected'], 30)
    lab.wait_for('both say why', lambda: all(word in world.status(role)['reason'] for role in ('primary', 'standby') for word in words), 30)
    assert not world.status('standby')['protected'] and not world.status('standby')['healthy']
    order = world.operator('takeover', 'standby')
    told = order.stdout + order.stderr
    assert order.returncode != 0 and all(word in told for word in words), order


def test_a_disks_file_that_is_replaced_or_cut_is_told_and_never_taken_over_from():
    with lab.Lab(memory_mib=128, working_set_mib=24, disk_mib=64, disk_rate=100, takeover='manual') as world:
        world.protect()
        path, kept = world.path('disk-b.raw'), world.path('kept.raw')
        os.rename(path, kept)
        refused(world, path, 'is not there any more')
        with open(path, 'wb') as other:
            other.truncate(64 << 20)
        refused(world, path, 'is not the file that has')
        os.rename(kept, path)
        protected_again(world, world.status('standby')['epoch'])
        os.truncate(path, 4096)
        lab.wait_for('the cut is told', lambda: 'something else has written to it' in world.appliance.text() + world.agent.text(), 30)
        protected_again(world, world.status('standby')['epoch'])
        checked(world)
        os.rename(path, kept)
        world.kill_site_a()
        world.wait_state('standby', 'unattended')
        refused_here = world.operator('takeover', 'standby')
        assert refused_here.returncode != 0 and 'is not there any more' in refused_here.stderr + refused_here.stdout, refused_here
        os.rename(kept, path)
        lab.wait_for('it is seen', lambda: world.operator('takeover', 'standby').returncode == 0)
        checked(world)


def test_by_itself_a_standby_takes_over_when_it_finds_the_disk_again_and_not_before():
    with lab.Lab(memory_mib=128, working_set_mib=24, disk_mib=64, disk_rate=100, takeover='automatic') as world:
        world.protect()
        path, kept = world.path('disk-b.raw'), world.path('kept.raw')
        os.rename(path, kept)
        lab.wait_for('it is told', lambda: 'is not there any more' in world.status('standby')['reason'], 30)
        world.kill_site_a()
        waits = world.wait_state('standby', 'unattended')
        assert waits['term'] == 1 and 'is not there any more' in waits['reason'], waits
        assert 'not taking over before the replica could be brought to life' in world.appliance.text()
        os.rename(kept, path)
        world.wait_state('standby', 'serving')
        checked(world)


def test_a_full_disk_at_the_standby_costs_protection_and_nothing_else():
    with lab.Lab(memory_mib=128, working_set_mib=24, disk_mib=64, disk_rate=300) as world:
        path = world.path('images')
        os.mkdir(path)
        if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=4m', 'none', path], check=False).returncode != 0:
            pytest.skip('a tmpfs cannot be mounted here')
        try:
            world.extra_of_instance['standby'] = {'disks': [{'name': 'system', 'path': path + '/disk.raw'}]}
            world.start_guest()
            world.start_appliance()
            world.start_agent()
            lab.wait_for('it is told', lambda: 'No space left on device' in world.agent.text(), 60)
            line = next(line for line in world.agent.text().splitlines() if 'No space left' in line)
            assert f'disk image {path}/disk.raw' in line, line
            assert not world.status('primary')['healthy']
            assert world.appliance.running()
            checked(world)
            subprocess.run(['mount', '-o', 'remount,size=64m', path], check=True)
            world.wait_state('standby', 'protected')
            world.kill_site_a()
            world.wait_state('standby', 'serving')
            checked(world)
        finally:
            world.appliance.kill()
            lab.end_descendants_of(world.appliance.log)
            subprocess.run(['umount', '-l', path], check=True)


def sent_by_site_a(world):
    with open(f'/proc/{world.a.pid}/net/dev') as devices:
        return next(int(line.split()[9]) for line in devices if line.split()[0] == 'wan:')


@pytest.mark.parametrize('role', ('primary', 'standby'))
def test_a_disk_that_only_one_site_names_is_refused_with_what_to_change(role):
    with lab.Lab(memory_mib=128, working_set_mib=24, disk_mib=64) as world:
        names = ['other'] if role == 'primary' else ['system', 'more']
        world.extra_of_instance['standby'] = {'disks': [{'name': name, 'path': world.path(name)} for name in names]}
        world.start_guest()
        world.start_appliance()
        world.start_agent()
        reason = world.wait_state('primary', 'refused')['reason']
        name = 'system' if role == 'primary' else 'more'
        assert f"the {role}'s configuration has a disk {name} (disks)" in reason and 'give it one' in reason, reason


def test_with_a_journal_the_disk_comes_back_with_the_memory():
    with lab.Lab(memory_mib=128, working_set_mib=24, disk_mib=64, disk_rate=300, takeover='manual',
                 standby_instance={'durability': 'journal'}) as world:
        world.protect()
        epoch = world.status('standby')['epoch']
        lab.wait_for('more epochs are durable', lambda: world.status('standby').get('journal', {}).get('epoch', 0) > epoch + 5)
        world.kill_site_a()
        os.kill(world.appliance.pid, signal.SIGKILL)
        world.appliance.process.wait()
        with open(world.path('disk-b.raw'), 'r+b') as disk:      # what a power cut may leave of it
            disk.write(bytes(1 << 20))
        world.start_appliance()
        world.wait_state('standby', 'unattended', timeout=60)
        assert world.operator('takeover', 'standby').returncode == 0, world.logs()
        checked(world)


def test_a_frozen_agent_holds_up_writes_for_no_longer_than_a_checkpoint_may_take():
    with lab.Lab(memory_mib=128, working_set_mib=24, disk_mib=64, takeover='manual', instance={'checkpoint': {'pause_limit_ms': 500}}) as world:
        world.protect()
        counted = writes(world, 5)
        with socket.socket(socket.AF_UNIX) as stray:   # which is not the mirror
            stray.connect(world.path('vm.qmp.system'))
            assert stray.recv(18)
        time.sleep(0.5)
        os.kill(world.agent.pid, signal.SIGSTOP)
        try:
            assert int(world.ask('write', 20)) == counted + 1, 'it waits for the guardian at most'
            assert writes(world, 20) == counted + 21
        finally:
            os.kill(world.agent.pid, signal.SIGCONT)
        epoch = world.status('standby')['epoch']
        protected_again(world, epoch)
        checked(world)


class Layered(lab.Lab):
    """As libvirt has it: a node above a node; and a second disk whose size is no multiple of a page."""
    def _disk(self):
        with open(self.path('second.raw'), 'wb') as second:
            second.write(os.urandom(300000))
            second.truncate((1 << 20) + 512)
        return ['-blockdev', json.dumps({'driver': 'file', 'node-name': 'storage0', 'filename': self.path('disk-a.raw'), 'cache': {'direct': False}}),
                '-blockdev', json.dumps({'driver': 'raw', 'node-name': 'format0', 'read-only': False, 'file': 'storage0'}),
                '-device', 'virtio-blk-pci,drive=format0,id=disk0,bootindex=1',
                '-drive', f"file={self.path('second.raw')},format=raw,if=virtio,id=second"]


def test_disks_of_several_layers_and_of_any_size():
    with Layered(memory_mib=128, working_set_mib=24, disk_mib=64, disk_rate=300) as world:
        for role, own in (('instance', {'device': 'second'}), ('standby_instance', {'path': world.path('second-b.raw')})):
            side = 'primary' if role == 'instance' else 'standby'
            first = {'device': 'format0'} if side == 'primary' else {'path': world.path('disk-b.raw')}
            world.extra_of_instance[side] = {'disks': [{'name': 'system'} | first, {'name': 'log'} | own]}
        world.protect()
        states = [(disk['name'], disk['state'], disk['bytes']) for disk in world.status('primary')['disks']]
        assert states == [('system', 'mirrored', 64 << 20), ('log', 'mirrored', (1 << 20) + 512)]
        world.kill_site_a()
        world.wait_state('standby', 'serving')
        checked(world)
        with open(world.path('second.raw'), 'rb') as a, open(world.path('second-b.raw'), 'rb') as b:
            assert a.read() == b.read()

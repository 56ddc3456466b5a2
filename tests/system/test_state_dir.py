"""A state_dir without room: a standby that was there before goes on with what it has kept, and says what is wrong; a new one does not start.

And one that is taken away from a standby, or may not be written to any more: that is told before a takeover needs it."""
import contextlib
import fcntl
import os
import shutil
import struct
import subprocess

import lab
import pytest


@contextlib.contextmanager
def small_state_dir(world):
    path = world.path('state-b')
    os.mkdir(path)
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=1m,mode=700', 'none', path], check=False).returncode != 0:
        pytest.skip('a tmpfs cannot be mounted here')
    try:
        yield path
    finally:
        for daemon in world.daemons:
            daemon.kill()
        lab.end_descendants_of(world.path(''))
        subprocess.run(['umount', '-l', path], check=True)


def fill(path):
    """The last byte is taken; the file that has them."""
    name = os.path.join(path, 'ballast')
    fd = os.open(name, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(fd, bytes(4096))
    except OSError:
        return name
    finally:
        os.close(fd)


def test_a_replica_keeps_its_gateway_when_the_appliance_starts_on_a_full_disk():
    with lab.Lab(gateway=True, memory_mib=128, working_set_mib=16) as world, small_state_dir(world) as path:
        world.protect()
        world.kill_site_a()
        world.wait_state('standby', 'serving')
        with world.connect() as connection:
            counted = int(world.ask('inc', connection=connection))
            ballast = fill(path)
            world.appliance.kill()
            world.start_appliance()
            status = world.wait_state('standby', 'serving')
            assert int(world.ask('inc', timeout=30, connection=connection)) == counted + 1, 'on the same connection'
            lab.wait_for('it says so', lambda: not world.status('standby')['healthy'])
            status = world.status('standby')
            for word in ('cannot be kept', path, 'No space left on device'):
                assert word in status['reason'], status
            assert f'state_dir: {path}: writing: No space left on device; make room' in world.appliance.text()
            os.unlink(ballast)
            lab.wait_for('there is room', lambda: world.status('standby')['healthy'])
            assert world.status('standby')['term'] == status['term'] == 2


def test_a_standby_starts_on_a_full_disk_and_the_instance_is_protected_again():
    with lab.Lab(takeover='manual') as world, small_state_dir(world) as path:
        world.protect()
        world.appliance.kill()
        ballast = fill(path)
        world.start_appliance()
        status = world.wait_state('standby', 'protected')
        assert not status['healthy'] and path in status['reason'], status
        second = world.daemon(world.b, [lab.UNDERSTUDY, 'standby', '--config', world.path('standby.json')], 'second.log')
        assert second.process.wait(10) == 1 and f'process {world.appliance.pid} has it' in second.text(), second.text()
        world.kill_site_a()
        world.wait_state('standby', 'unattended')
        failed = world.operator('takeover', 'standby')
        told = failed.stdout + failed.stderr
        assert failed.returncode == 1 and 'is not serving, it is unattended' in told and path in told, failed
        os.unlink(ballast)
        assert world.operator('takeover', 'standby').returncode == 0
        assert world.status('standby')['state'] == 'serving'


def test_a_new_standby_does_not_start_on_a_full_disk():
    with lab.Lab() as world, small_state_dir(world) as path:
        fill(path)
        appliance = world.start_appliance()
        assert appliance.process.wait(10) == 1
        assert path in appliance.text() and 'No space left on device' in appliance.text(), appliance.text()


def told(world, *words):
    """What is wrong, when the status has all these words."""
    status = lab.wait_for(f'the status says {words}', lambda: (s := world.status('standby')) and all(w in s['reason'] for w in words) and s)
    assert status['state'] == 'protected' and not status['healthy'] and not status['protected'], status


def mended(world):
    lab.wait_for('all is well again', lambda: (s := world.status('standby'))['healthy'] and s['protected'])


def test_one_that_is_gone_replaced_or_read_only_is_told_before_a_takeover_needs_it():
    with lab.Lab(takeover='manual') as world:
        world.protect()
        path = world.path('state-b')
        os.rename(path, path + '.away')
        told(world, 'no takeover is possible', f'{path}/vm1', 'No such file or directory')
        shutil.copytree(path + '.away/vm1', path + '/vm1', ignore=lambda _, names: set(names) - {'term'})
        told(world, f'{path}/vm1: is not the directory that this standby began with')
        shutil.rmtree(path)
        os.rename(path + '.away', path)
        mended(world)
        if subprocess.run(['mount', '--bind', path, path], check=False).returncode == 0:
            try:
                subprocess.run(['mount', '-o', 'remount,bind,ro', path], check=True)
                told(world, f'{path}/vm1', 'Read-only file system')
            finally:
                subprocess.run(['umount', '-l', path], check=True)
            mended(world)
        world.kill_site_a()
        world.wait_state('standby', 'unattended')
        lab.fetch_unix(world.path('standby.http'), '/v1/takeover', '{"instance": "vm1"}')
        world.wait_state('standby', 'serving')


EXT4_SHUTDOWN, WITHOUT_LOG = 0x8004587d, 2      # EXT4_IOC_SHUTDOWN of fs/ext4/ext4.h: what the kernel does itself when the disk goes


@contextlib.contextmanager
def disk_for_state(world):
    """A file system of its own; a directory of it is open."""
    path, image = world.path('state-b'), world.path('state.ext4')
    os.mkdir(path)
    subprocess.run(['mke2fs', '-q', '-F', '-t', 'ext4', image, '16M'], check=True, stdout=subprocess.DEVNULL)
    if subprocess.run(['mount', '-o', 'loop', image, path], check=False, stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip('a file cannot be mounted here as a disk')
    os.chmod(path, 0o700)
    disk = os.open(path, os.O_RDONLY)
    try:
        yield disk
    finally:
        os.close(disk)
        for daemon in world.daemons:
            daemon.kill()
        lab.end_descendants_of(world.path(''))
        subprocess.run(['umount', '-l', path], check=True)


def test_a_disk_that_is_gone_is_told_before_a_takeover_needs_it():
    with lab.Lab(memory_mib=128, working_set_mib=16) as world, disk_for_state(world) as disk:
        world.protect()
        fcntl.ioctl(disk, EXT4_SHUTDOWN, struct.pack('I', WITHOUT_LOG))
        told(world, 'no takeover is possible', world.path('state-b'), 'I/O error')

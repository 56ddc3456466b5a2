"""QEMU at the standby runs as a user of its own, who owns nothing, and all goes on as without."""
import os
import shutil
import subprocess

import pytest

import lab
from rewound import Visitor
from test_confine import NET_ADMIN, missed, rights
from test_rewind import end, historic, is_of_then, marked, rewind

USER = 64123


@pytest.fixture(autouse=True)
def other_users():
    with open('/proc/self/uid_map', encoding='ascii') as f:
        if os.geteuid() != 0 or int(f.read().split()[2]) <= USER:
            pytest.skip('only root can be another user')


def as_user(world):
    """What is configured there: the program where everyone gets at it, as an installed one is, and where the directories are is no secret."""
    for path in (world.dir, world.memory_dir()):
        os.chmod(path, 0o711)
    program, firmware = shutil.copy(lab.QEMU, world.dir), shutil.copytree(lab.FIRMWARE, world.path('firmware'))
    world.extra['standby'] = {'hypervisor': {'program': program, 'firmware': firmware, 'user': str(USER)}}
    return world


def users(pid):
    with open(f'/proc/{pid}/status', encoding='ascii') as f:
        fields = dict(line.split(':', 1) for line in f)
    return {int(number) for key in ('Uid', 'Gid') for number in fields[key].split()}, fields['Groups'].split()


def opens(path, how):
    """Whether that user gets at it: [ -r PATH ] and the like."""
    return subprocess.run(['setpriv', f'--reuid={USER}', f'--regid={USER}', '--clear-groups', 'test', how, path], check=False).returncode == 0


def command_of(pid):
    try:
        with open(f'/proc/{pid}/cmdline', encoding='utf-8', errors='replace') as f:
            return f.read() if 'qemu' in os.readlink(f'/proc/{pid}/exe') else ''
    except OSError:
        return ''


def owns_nothing(world, pid):
    assert users(pid) == ({USER}, [str(USER)]) and rights(pid)['capabilities'] == 0, users(pid)
    own = os.path.join(world.path('state-b'), world.name)
    for name in ('term', 'reservation.json', 'acknowledged'):
        assert os.path.exists(os.path.join(own, name)) and not opens(os.path.join(own, name), '-r'), name
    for directory in (world.path('state-b'), own, os.path.join(own, 'journal'), world.path('pki'), world.dir):
        assert not opens(directory, '-w'), directory
    assert not opens(own, '-r') and not opens(os.path.join(own, 'journal'), '-x') and not opens(world.path('pki/standby.key'), '-r')
    assert not opens(world.path('standby.http'), '-w')
    assert opens(os.path.join(own, 'qemu'), '-w') and opens(world.path('disk-b.raw'), '-w')


def test_it_waits_serves_is_found_again_and_is_rewound_as_that_user():
    with historic(disk_mib=64, disk_rate=100) as world:
        as_user(world).protect()
        client, _, least, most = marked(world, 'here', 50)
        owns_nothing(world, world.replica())
        client.wait_for(100)
        copy = rewind(world, 'here')
        assert users(next(pid for pid in map(int, filter(str.isdigit, os.listdir('/proc'))) if copy['qmp'] in command_of(pid)))[0] == {USER}
        with Visitor(copy['directory']) as visitor:
            is_of_then(visitor, client, least, most)
            assert int(visitor.ask('write', 10)) > 0
        end(world)
        world.appliance.kill()      # what waits makes way, and another one of that user comes
        world.start_appliance()
        world.wait_state('standby', 'protected')
        world.kill_site_a()
        world.wait_state('standby', 'unattended')
        assert world.operator('takeover', 'standby').returncode == 0
        served = world.wait_state('standby', 'serving')
        client.wait_for(50)
        assert world.ask('disk', 60).startswith('ok')
        owns_nothing(world, world.replica())
        assert missed(world.replica()) == 600 or missed(world.appliance.pid) != 900
        world.appliance.kill()
        os.unlink(os.path.join(world.path('state-b'), world.name, 'qemu', 'replica.qmp'))
        world.start_appliance()     # found by its process
        again = world.wait_state('standby', 'serving')
        assert again['term'] == served['term'] and again['hypervisor'] == 'silent', again
        client.wait_for(50)
        client.finish()


def test_it_gets_at_a_target_that_is_roots():
    with lab.Lab(gateway=True, disk_mib=16) as world:
        target = world.path('target.raw')
        with open(target, 'wb') as f:
            f.truncate(16 << 20)
        os.chmod(target, 0o600)
        world.extra_of_instance['standby'] = {'disks': [{'name': 'system', 'target': {'driver': 'raw', 'file': {'driver': 'file', 'filename': target}}}]}
        as_user(world).protect()
        assert users(world.replica())[0] == {USER} and opens(target, '-w')


def test_what_it_cannot_get_at_is_told_before():
    def said():
        return subprocess.run([lab.UNDERSTUDY, 'check', '--config', world.write_config('standby')], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False).stdout
    with lab.Lab(gateway=True, disk_mib=16) as world:
        assert "the hypervisor's user" not in said()
        as_user(world)
        assert f"the hypervisor's user ({USER})" not in said()
        os.chmod(world.dir, 0o700)
        for key, path in ('hypervisor.program', 'qemu-system-x86_64'), ('state_dir', ''), ('instances[0].disks[0].path', ''):
            assert f"{key}: {world.path(path)}".rstrip('/') + f": the hypervisor's user ({USER}) cannot get at it" in said(), said()


def test_what_a_device_needs_it_has_as_that_user_too():
    if os.stat('/dev/net/tun').st_mode & 0o006 != 0o006:
        pytest.skip('/dev/net/tun is not for everyone here')
    with lab.Lab() as world:
        as_user(world).protect()
        assert users(world.replica())[0] == {USER} and rights(world.replica())['capabilities'] == NET_ADMIN

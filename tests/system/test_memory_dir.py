"""A memory_dir without room: told to both sides with the directory and the sizes, before QEMU is started where that can be known; and one that loses its room
later, to a replica that waits or serves."""
import contextlib
import os
import subprocess

import lab
import pytest


@contextlib.contextmanager
def small_tmpfs(mib, **options):
    with lab.Lab(memory_mib=128, working_set_mib=24, **options) as world:
        path = world.path('memory')
        os.mkdir(path)
        if subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={mib}m', 'none', path], check=False).returncode != 0:
            pytest.skip('a tmpfs cannot be mounted here')
        world.extra['standby']['memory_dir'] = path
        try:
            world.start_guest()
            world.start_appliance()
            world.start_agent()
            yield world, path
        finally:
            world.appliance.kill()
            lab.end_descendants_of(world.appliance.log)
            subprocess.run(['umount', '-l', path], check=True)


def test_a_full_memory_dir_is_refused_at_the_reservation():
    with small_tmpfs(1) as (world, path):
        primary = world.wait_state('primary', 'refused')
        for word in (path, 'no room', '128 MiB needed', 'MiB free'):
            assert word in primary['reason'], primary
        assert world.ask('get', 2) is not None, 'the instance is not touched'


def test_a_memory_dir_that_fills_up_is_told_to_the_primary():
    with small_tmpfs(24) as (world, path):
        lab.wait_for('the fault is told', lambda: 'No space left on device' in world.agent.text(), 30)
        line = next(line for line in world.agent.text().splitlines() if 'No space left' in line)
        assert path in line and 'of 128 MiB stored, 0 MiB free' in line, line
        assert 'MiB free, and the instance may come to use 128 MiB more' in world.appliance.text(), 'and it was foreseen'
        assert world.ask('get', 2) is not None, 'the instance is not touched'


def test_a_memory_dir_that_stays_full_costs_protection_and_not_the_instance():
    """One on "hold", with a network of its own: it is paused when its lease runs out, and does not here, however often it is tried."""
    link = {'heartbeat_ms': 50, 'detect_ms': 1000}
    with small_tmpfs(24, primary={'link': link}, standby={'link': link}) as (world, path):
        for attempt in range(1, 6):
            lab.wait_for(f'attempt {attempt}', lambda: world.appliance.text().count('the first copy has begun') >= attempt, 60)
            for role in ('primary', 'standby'):
                status = lab.wait_for(f'{role} says so', lambda: (lambda s: s if path in s.get('reason', '') else None)(world.status(role)))
                assert not status['healthy'] and not status['protected'], status
                problem = lab.fetch_unix(world.path(f'{role}.http'), '/healthz')
                assert problem['status'] == 'attention' and path in problem['problems'][0]['reason'], problem
        assert 'may not answer' not in world.agent.text(), world.logs()
        assert world.ask('get', 2) is not None, 'the instance is not touched'


def fill(path, leave_mib):
    """Takes the free room but so much; the file that has it."""
    name = os.path.join(path, 'ballast')
    with open(name, 'wb', buffering=0) as ballast, contextlib.suppress(OSError):        # a guest takes some meanwhile
        while (room := os.statvfs(path)).f_bavail * room.f_frsize > leave_mib << 20:
            ballast.write(bytes(65536))
    return name


def test_room_that_becomes_short_is_told_before_it_ends_a_replica_and_as_the_reason_when_it_did():
    with small_tmpfs(112, takeover='manual') as (world, path):
        world.wait_state('standby', 'protected')
        lab.wait_for('less than all of it is no reason to worry', lambda: world.status('standby')['healthy'])
        ballast = fill(path, 4)
        status = lab.wait_for('it is told', lambda: (lambda s: s if not s['healthy'] else None)(world.status('standby')))
        assert status['protected'] and path in status['reason'] and 'MiB free, and the replica may come to need' in status['reason'], status
        os.unlink(ballast)
        lab.wait_for('there is room', lambda: world.status('standby')['healthy'])
        world.kill_site_a()
        lab.fetch_unix(world.path('standby.http'), '/v1/takeover', '{"instance": "vm1"}')
        world.wait_state('standby', 'serving')
        fill(path, 0)

        def lost():
            world.ask('inc', 0.2)
            return world.status('standby').get('state') == 'lost'
        lab.wait_for('it needs a page', lost, 60)
        for word in ('the newest state of the instance was here', f'memory_dir: {path}', '0 MiB free', 'signal 7 (Bus error)'):
            assert word in world.status('standby')['reason'], world.status('standby')

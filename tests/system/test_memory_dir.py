"""A memory_dir without room: told to both sides with the directory and the sizes, before QEMU is started where that can be known."""
import contextlib
import os
import subprocess

import lab
import pytest


@contextlib.contextmanager
def small_tmpfs(mib):
    with lab.Lab(memory_mib=128, working_set_mib=24) as world:
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
            lab.end_descendants_of(world.path('state-b'))
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

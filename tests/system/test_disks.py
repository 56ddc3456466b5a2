"""A disk belongs to the epochs: after a takeover it holds exactly what the replica's memory says of it."""
import os
import random
import signal
import time

import pytest

import lab


def checked(world, what=''):
    """The guest has read its whole disk and compared it with its memory."""
    answer = lab.wait_for('the guest answers', lambda: world.ask('disk', 20), 40)
    assert answer.startswith('ok'), f'{what}: {answer}\n{world.logs()}'
    return int(answer.split()[1].removeprefix('writes='))


def writes(world, times):
    with world.connect() as connection:
        for _ in range(times):
            last = world.ask('write', connection=connection)
        return int(last)


def kills_leave_disk_and_memory_of_one_epoch(seed, kills, **options):
    moments = random.Random(seed)
    for kill in range(kills):
        with lab.Lab(memory_mib=128, working_set_mib=24, disk_mib=64, disk_rate=moments.choice((50, 300, 3000)), **options) as world:
            world.protect()
            time.sleep(moments.uniform(0.05, 1.5))
            world.kill_site_a()
            world.wait_state('standby', 'serving')
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
    with lab.Lab(memory_mib=128, working_set_mib=24, disk_mib=64, disk_rate=300) as world:
        world.protect()
        for _ in range(3):
            os.kill(world.agent.pid, signal.SIGKILL)
            world.agent.process.wait()
            assert writes(world, 20) > 20
            world.start_agent()
            epoch = world.status('standby')['epoch']
            lab.wait_for('protected again', lambda: world.status('primary').get('protected') and
                         world.status('standby')['epoch'] > epoch + 3)
        checked(world)
        world.kill_site_a()
        world.wait_state('standby', 'serving')
        checked(world)


def test_a_mirror_that_fails_costs_protection_for_a_moment_and_the_guest_nothing():
    with lab.Lab(memory_mib=128, working_set_mib=24, disk_mib=64, disk_rate=300) as world:
        world.protect()
        qmp = lab.Qmp(world.path('vm.qmp.lab'))
        epoch = world.status('primary')['epochs']
        qmp('block-job-cancel', device='us-mirror-0', force=True)
        lab.wait_for('it is told', lambda: 'mirror of it has ended' in world.agent.text())
        lab.wait_for('protected again', lambda: world.status('primary').get('protected') and world.status('primary')['epoch'] > epoch + 5)
        checked(world)
        world.kill_site_a()
        world.wait_state('standby', 'serving')
        checked(world)


def test_a_write_is_not_waited_for_while_the_link_is_lost():
    with lab.Lab(memory_mib=128, working_set_mib=24, disk_mib=64, disk_rate=300) as world:
        world.protect()
        world.lose(world.a, world.b)
        time.sleep(0.1)
        before = world.console().count('tick')
        time.sleep(0.1)
        assert world.console().count('tick') >= before
        world.lose()
        world.wait_state('standby', 'protected', 'serving')


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

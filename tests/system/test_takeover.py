"""A killed site goes on at the standby, from the last committed epoch, with its memory whole."""
import os
import random
import signal
import time

import pytest

import lab


def count(world, times):
    with world.connect() as connection:
        for _ in range(times):
            last = world.ask('inc', connection=connection)
        return int(last)


def test_the_instance_goes_on_from_the_last_committed_epoch():
    with lab.Lab() as world:
        world.protect()
        counted = count(world, 50)
        # What was counted before an epoch was captured is in it; under load several wait to be committed.
        epoch = world.status('primary')['epochs']
        lab.wait_for('two more epochs', lambda: world.status('primary')['epoch'] >= epoch + 2)
        world.kill_site_a()
        standby = world.wait_state('standby', 'serving')
        assert standby['resumed_epoch'] >= epoch + 2
        assert standby['term'] == 2
        after = int(lab.wait_for('an answer from the replica', lambda: world.ask('get', 1)))
        assert after == counted, 'every number that was counted before a committed epoch is there, and none that was not'
        assert count(world, 5) == counted + 5


def test_a_larger_machine_with_two_processors_and_another_chipset():
    with lab.Lab(machine='q35', cpus=2, memory_mib=512, working_set_mib=128, dirty=2000) as world:
        world.protect()
        counted = count(world, 20)
        epoch = world.status('primary')['epochs']
        lab.wait_for('two more epochs', lambda: world.status('primary')['epoch'] >= epoch + 2)
        world.kill_site_a()
        world.wait_state('standby', 'serving')
        assert int(lab.wait_for('an answer', lambda: world.ask('get', 1))) == counted


def test_a_crashed_qemu_is_taken_over_without_waiting_for_silence():
    with lab.Lab(standby={'link': {'detect_ms': 60000}}) as world:
        world.protect()
        os.kill(world.qemu.pid, signal.SIGKILL)
        standby = world.wait_state('standby', 'serving', timeout=20)
        assert 'gone' in world.appliance.text()
        assert standby['detect_ms'] < 60000
        assert world.status('primary')['state'] in ('crashed', 'superseded', 'connecting')


def test_a_guest_that_is_shut_down_is_not_taken_over():
    with lab.Lab() as world:
        world.protect()
        qmp = lab.Qmp(world.path('vm.qmp.lab'))
        qmp('quit')
        world.wait_state('standby', 'ended')
        time.sleep(1)
        assert world.status('standby')['state'] == 'ended'


@pytest.mark.parametrize('first_copy', [True, False], ids=['copying', 'protected'])
def test_nobody_is_blamed_for_what_qemu_does_when_it_shuts_down(first_copy):
    with lab.Lab(takeover='manual', instance={'checkpoint': {'first_copy_mib_s': 16}} if first_copy else {}) as world:
        if first_copy:
            world.start_guest()
            world.start_appliance()
            world.start_agent()
            lab.wait_for('some of the first copy', lambda: world.status('primary').get('initial_sync', {}).get('done_bytes', 0) > 16 << 20)
        else:
            world.protect()
        before = len(world.agent.text())
        qmp = lab.Qmp(world.path('vm.qmp.lab'))
        qmp('quit')
        world.wait_state('primary', 'ended')
        told = world.agent.text()[before:]
        assert 'ended: its QEMU was shut down' in told and '  warn  ' not in told, told


def test_a_manual_takeover_waits_for_the_operator():
    with lab.Lab(takeover='manual') as world:
        world.protect()
        world.kill_site_a()
        world.wait_state('standby', 'unattended')
        time.sleep(1)
        assert world.status('standby')['state'] == 'unattended'
        ordered = world.operator('takeover', 'standby')
        assert ordered.returncode == 0, ordered
        standby = world.status('standby')
        assert standby['state'] == 'serving', 'the command ends when it is known'
        assert ordered.stdout.startswith(f"vm1 serves here from epoch {standby['resumed_epoch']}, "), ordered
        lab.wait_for('an answer', lambda: world.ask('get', 1))
        again = world.operator('takeover', 'standby')
        assert again.returncode == 1 and 'already' in again.stderr, again


def test_what_a_site_that_begins_anew_replaces_is_told():
    with lab.Lab(takeover='manual') as world:
        world.protect()
        world.kill_site_a()
        kept = world.wait_state('standby', 'unattended')['epoch']
        os.unlink(world.path('console-a.log'))
        world.start_guest()
        world.start_agent()
        world.wait_state('standby', 'protected')
        assert f'epoch {kept}, which `understudy takeover` would have brought up, is replaced' in world.appliance.text(), world.logs()


def test_a_returning_primary_is_told_that_it_is_superseded_and_pauses_its_instance():
    with lab.Lab() as world:
        world.protect()
        answer = lab.fetch_unix(world.path('standby.http'), '/v1/takeover', '{"instance": "vm1"}')
        assert answer == {'ok': True}
        world.wait_state('standby', 'serving')
        world.wait_state('primary', 'superseded')
        qmp = lab.Qmp(world.path('vm.qmp.lab'))
        lab.wait_for('the old instance is paused', lambda: not qmp('query-status')['running'])
        assert world.qemu.running(), 'its state is kept'


def kills_leave_no_torn_memory(seed, kills):
    moments = random.Random(seed)
    for kill in range(kills):
        with lab.Lab(memory_mib=128, working_set_mib=24, mode='oracle', dirty=0) as world:
            world.protect()
            time.sleep(moments.uniform(0.05, 1.5))
            world.kill_site_a()
            world.wait_state('standby', 'serving')
            assert 'claiming' not in world.appliance.text(), 'the silence counts from what was heard last: no lease outlasts it'
            answer = lab.wait_for('the oracle answers', lambda: world.ask('oracle', 2))
            assert answer.startswith('ok'), f'kill {kill}, seed {seed}: {answer}\n{world.logs()}'


@pytest.mark.parametrize('third', (1, 2, 3))
def test_30_kills_at_random_moments_leave_no_torn_memory(third):
    seed = int(os.environ.get('UNDERSTUDY_SEED', '0')) or random.randrange(1 << 30)
    print(f'UNDERSTUDY_SEED={seed}')
    kills_leave_no_torn_memory(seed + third, int(os.environ.get('UNDERSTUDY_KILLS', '30')) // 3)

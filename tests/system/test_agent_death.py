"""The protected instance comes first: an agent that is killed or frozen, also inside a checkpoint, does not hold it up."""
import os
import signal
import time

import pytest

import lab
from strikes import Events, another_guardian, guardian_of, health, hit_inside
from test_restart import release


def test_an_agent_killed_inside_a_checkpoint_leaves_the_instance_running_and_protects_it_again():
    with lab.Lab(dirty=4000, takeover='manual') as world:
        world.protect()
        events = Events(world)

        def again():
            world.start_agent()
            world.wait_state('primary', 'protected')

        took = hit_inside(world, events, lambda: world.agent.kill(), again)
        print(f'running again {took:.1f} ms after the kill')
        assert world.ask('get') is not None
        epoch = world.status('standby')['epoch']
        again()
        assert world.status('standby')['epoch'] > epoch
        assert took < 1000


def test_an_agent_killed_at_random_moments_never_stops_the_instance_for_long():
    with lab.Lab(dirty=1000, takeover='manual') as world:
        world.protect()
        for i in range(8):
            time.sleep(0.05 + 0.037 * i)
            world.agent.kill()
            assert world.ask('inc', 5) is not None, f'kill {i}: the instance does not answer\n{world.logs()}'
            world.start_agent()
            if i % 2:
                world.wait_state('primary', 'copying', 'protected')
            else:
                world.wait_state('primary', 'protected')


def test_a_frozen_agent_does_not_hold_the_instance():
    with lab.Lab(dirty=4000, takeover='manual', instance={'checkpoint': {'pause_limit_ms': 200}}) as world:
        world.protect()
        events = Events(world)
        took = hit_inside(world, events, lambda: world.agent.signal(signal.SIGSTOP), lambda: (
            world.agent.signal(signal.SIGCONT), world.wait_state('primary', 'protected')))
        print(f'running again {took:.1f} ms after the freeze')
        assert world.ask('inc') is not None
        world.agent.signal(signal.SIGCONT)
        world.wait_state('primary', 'protected')


def test_an_agent_that_is_asked_to_end_releases_the_instance_and_says_goodbye():
    with lab.Lab() as world:
        world.protect()
        assert world.agent.stop() == 0
        assert world.ask('inc') is not None
        standby = world.wait_state('standby', 'unattended')
        assert 'orderly' in standby['reason']
        time.sleep(1)
        assert world.status('standby')['state'] == 'unattended', 'a goodbye is no reason to take over'
        world.start_agent()
        world.wait_state('primary', 'protected')
        world.wait_state('standby', 'protected')


def test_a_dead_guardian_is_replaced_and_its_successor_frees_the_instance():
    with lab.Lab(dirty=4000, takeover='manual') as world:
        world.protect()
        events = Events(world)

        def replace():
            guardian = guardian_of(world)
            os.kill(guardian, signal.SIGKILL)
            another_guardian(world, guardian)

        def again():
            world.start_agent()
            world.wait_state('primary', 'protected')
            replace()

        assert health(world)['status'] == 'ok'
        epoch = world.status('primary')['epoch']
        replace()
        assert 'the guardian process' in world.agent.text() and 'starting another now' in world.agent.text()
        lab.wait_for('more epochs of the same session', lambda: world.status('primary')['epoch'] > epoch + 3)
        assert world.status('primary')['state'] == 'protected'
        took = hit_inside(world, events, world.agent.kill, again)
        print(f'running again {took:.1f} ms after the kill')
        assert world.ask('inc') is not None
        assert took < 1000


@pytest.mark.parametrize('blow', [signal.SIGKILL, signal.SIGSTOP], ids=['killed', 'stopped'])
def test_a_guardian_struck_inside_a_checkpoint_has_a_successor_that_knows_it(blow):
    """QEMU is frozen inside a checkpoint, so that it lasts: guardian struck, replaced, agent killed; then QEMU goes on."""
    with lab.Lab(dirty=4000, takeover='manual', instance={'checkpoint': {'pause_limit_ms': 10000}}) as world:
        world.protect()
        events = Events(world)

        def strike():
            world.qemu.signal(signal.SIGSTOP)
            guardian = guardian_of(world)
            os.kill(guardian, blow)
            lab.wait_for('another guardian', lambda: guardian_of(world) not in (0, guardian))
            world.agent.kill()
            world.qemu.signal(signal.SIGCONT)

        def again():
            world.start_agent()
            world.wait_state('primary', 'protected')

        took = hit_inside(world, events, strike, again)
        print(f'running again {took:.1f} ms after QEMU went on')
        assert world.ask('inc') is not None
        lab.wait_for('the successor says that it runs', lambda: 'on its own after' in world.agent.text(), 5)
        assert took < 1000
        again()


def test_a_guardian_that_was_stopped_when_its_agent_died_is_ended_by_the_next_agent_which_frees_the_instance():
    with lab.Lab(dirty=4000, takeover='manual') as world:
        world.protect()
        events, guardians = Events(world), []

        def strike():
            guardians.append(guardian_of(world))
            os.kill(guardians[-1], signal.SIGSTOP)
            world.agent.kill()
            world.start_agent()

        took = hit_inside(world, events, strike, lambda: world.wait_state('primary', 'protected'))
        print(f'running again {took:.1f} ms after the kill')
        world.wait_state('primary', 'protected')
        assert world.ask('inc') is not None
        assert f'ended process {guardians[-1]}, the guardian of an agent that is gone' in world.agent.text()


def leave_in_colo(world, events):
    """Agent and guardian die together, inside a checkpoint."""
    for _ in range(40):
        events.drain()
        events.next('STOP')
        guardian = guardian_of(world)
        os.kill(guardian, signal.SIGSTOP)       # or it would do its work first
        world.agent.kill()
        os.kill(guardian, signal.SIGKILL)
        if not events.seen('RESUME', timeout=1.0):
            assert events.qmp('query-status')['status'] == 'colo'
            return
        world.start_agent()
        world.wait_state('primary', 'protected')
    raise AssertionError('in 40 tries no strike fell into a checkpoint')


def test_what_agent_and_guardian_have_left_inside_a_checkpoint_and_may_not_run_is_let_go_and_stands():
    with lab.Lab(dirty=4000, takeover='manual', instance={'without_standby': 'hold'}) as world:
        world.protect()
        events = Events(world)
        leave_in_colo(world, events)
        world.cut_link()
        world.start_agent()
        lab.wait_for('it is let go', lambda: events.qmp('query-status')['status'] == 'paused', 20)
        assert 'in COLO state without an agent; releasing it' in world.agent.text()
        assert world.ask('get', 1) is None and events.qmp('query-status')['status'] == 'paused'
        assert 'cut off' not in world.agent.text(), world.agent.text()
        world.mend_link()
        world.wait_state('primary', 'protected')
        lab.wait_for('it answers, by its own cables', lambda: world.ask('inc', 1), 20)


def test_what_is_superseded_and_leaves_such_a_checkpoint_stays_paused_when_the_operator_releases_it_at_once():
    with lab.Lab(dirty=4000, takeover='manual', instance={'without_standby': 'hold'}, memory_mib=128, working_set_mib=32) as world:
        world.protect()
        events = Events(world)
        leave_in_colo(world, events)
        assert lab.fetch_unix(world.path('standby.http'), '/v1/takeover', '{"instance": "vm1"}') == {'ok': True}
        world.wait_state('standby', 'serving')
        os.kill(world.replica(), signal.SIGKILL)
        world.wait_state('standby', 'lost')
        world.start_agent()
        lab.wait_for('it is superseded', lambda: 'superseded: ' in world.agent.text(), 20, 0.001)
        assert release(world, 'standby').returncode == 0
        lab.wait_for('it is let go', lambda: release(world, 'primary').returncode == 0, 20, 0.001)
        # It may run from then on, and it is the operator who resumes it.
        reason = world.wait_state('primary', 'refused')['reason']
        assert 'resume it first' in reason and not events.qmp('query-status')['running'], reason


def test_a_guardian_that_waits_for_qemu_is_left_to_it_and_named():
    with lab.Lab(takeover='manual') as world:
        world.protect()
        guardian = guardian_of(world)
        world.qemu.signal(signal.SIGSTOP)
        world.agent.kill()
        world.start_agent()
        lab.wait_for('the agent names it', lambda: f'process {guardian}, the guardian of an agent that is gone, has it and waits for QEMU'
                     in world.status('primary').get('reason', ''))
        world.qemu.signal(signal.SIGCONT)
        world.wait_state('primary', 'protected')
        assert 'ended process' not in world.agent.text() and world.ask('inc') is not None


def test_a_guardian_that_is_stopped_is_replaced():
    with lab.Lab(takeover='manual') as world:
        world.protect()
        guardian = guardian_of(world)
        os.kill(guardian, signal.SIGSTOP)
        another_guardian(world, guardian)
        assert f'the guardian process {guardian} has done nothing for 1000 ms: ending it' in world.agent.text()
        assert world.status('primary')['state'] == 'protected'
        assert world.agent.stop() == 0


def test_guardians_that_die_again_and_again_are_replaced_and_counted():
    with lab.Lab(takeover='manual') as world:
        world.protect()
        guardian = guardian_of(world)
        for _ in range(3):
            os.kill(guardian, signal.SIGKILL)
            guardian = another_guardian(world, guardian)
        os.kill(guardian, signal.SIGKILL)
        problem = lab.wait_for('a complaint while there is none', lambda: (lambda h: h['problems'])(health(world)), 5, 0.002)
        assert 'the guardian process is gone; starting another' in problem[0]['reason']
        assert world.status('primary')['state'] == 'protected'
        another_guardian(world, guardian)
        assert '(end no. 4)' in world.agent.text() and 'starting another in 400 ms' in world.agent.text()
        assert world.ask('inc') is not None
        assert world.agent.stop() == 0

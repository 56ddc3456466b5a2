"""A QEMU that answers nothing for a while, with its guest inside a checkpoint, has its guest running again when it goes on."""
import os
import signal

import lab
from strikes import Events, guardian_of, runs_on

LIMIT_S = 10    # QMP_COMMAND_MS, RELEASE_LATE_MS: nobody gives up then


def freeze_inside(world, events, tries=40):
    """QEMU is stopped (SIGSTOP) with its guest standing in a checkpoint."""
    for _ in range(tries):
        events.drain()
        events.next('STOP')
        world.qemu.signal(signal.SIGSTOP)
        if not events.seen('RESUME'):
            return
        world.qemu.signal(signal.SIGCONT)
    raise AssertionError(f'in {tries} tries QEMU was not stopped inside a checkpoint')


def test_an_agent_that_is_asked_to_end_stays_until_a_stuck_qemu_has_let_go():
    with lab.Lab(dirty=4000, takeover='manual') as world:
        world.protect()
        events = Events(world)
        freeze_inside(world, events)
        world.agent.signal(signal.SIGTERM)
        lab.wait_for('the agent waits for QEMU', lambda: 'is let go as soon as QEMU answers' in world.agent.text(), LIMIT_S + 10)
        assert world.agent.running()
        world.qemu.signal(signal.SIGCONT)
        assert world.agent.process.wait(10) == 0
        assert 'let go: the instance is "running"' in world.agent.text()
        assert runs_on(world)
        world.start_agent()
        world.wait_state('primary', 'protected')


def test_an_agent_that_is_asked_twice_says_that_it_leaves_a_stuck_qemu_to_the_guardian_which_stays():
    with lab.Lab(dirty=4000, takeover='manual') as world:
        world.protect()
        events = Events(world)
        freeze_inside(world, events)
        guardian = guardian_of(world)
        world.agent.signal(signal.SIGTERM)
        lab.wait_for('the agent ends', lambda: 'signal 15: ending' in world.agent.text(), 5)
        world.agent.signal(signal.SIGTERM)
        assert world.agent.process.wait(15) == 3
        assert f'QEMU has not let go of vm1: the guardian process {guardian} stays until it does' in world.agent.text()
        lab.wait_for('the guardian is late', lambda: 'QEMU does not answer): still trying' in world.agent.text(), LIMIT_S + 10)
        assert os.path.exists(f'/proc/{guardian}')
        world.qemu.signal(signal.SIGCONT)
        assert runs_on(world)
        lab.wait_for('the guardian has ended', lambda: 'on its own after' in world.agent.text(), 10)
        world.start_agent()
        world.wait_state('primary', 'protected')


def test_a_cancelled_migration_that_qemu_cannot_end_is_named_and_the_instance_runs():
    with lab.Lab(dirty=500, takeover='manual') as world:
        world.protect()
        monitor = lab.Qmp(world.path('vm.qmp.lab'))
        monitor('migrate_cancel')
        lab.wait_for('the reason', lambda: 'a migration that somebody has cancelled is not over' in world.status('primary')['reason'], 30)
        assert monitor('query-migrate')['status'] == 'cancelling'
        assert world.status('primary')['state'] == 'refused'
        assert runs_on(world)
        monitor.close()

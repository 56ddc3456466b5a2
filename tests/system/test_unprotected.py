"""An instance that runs on unprotected: the standby says so, and why, and only its operator takes over from the epoch that it has."""
import contextlib
import os
import signal

import pytest

import lab

SMALL = {'memory_mib': 128, 'working_set_mib': 16}
SLOW = {'checkpoint': {'first_copy_mib_s': 16}}


def told(world, text, *states):
    """The standby's status, once it is in such a state and its reason has that text."""
    def status():
        status = world.status('standby')
        return status if text in status.get('reason', '') and status['state'] in states else None

    try:
        return lab.wait_for(text, status)
    except AssertionError as e:
        raise AssertionError(f"{e}; {world.status('standby')}\n{world.logs()}") from None


@contextlib.contextmanager
def unprotected(**options):
    """One that was protected, and cannot be any more: somebody has cancelled what QEMU does not end."""
    with lab.Lab(**SMALL, **options) as world, contextlib.ExitStack() as stack:
        world.protect()
        monitor = stack.enter_context(contextlib.closing(lab.Qmp(world.path('vm.qmp.lab'))))
        monitor('migrate_cancel')
        status = told(world, 'QEMU has to be restarted', 'unattended')
        assert not status['protected'] and not status['healthy'], status
        assert 'only `understudy takeover`' in status['reason'], status
        yield world


def stays_unattended(world, text):
    """After something that would have been a reason to take over."""
    lab.wait_for(text, lambda: text in world.appliance.text())
    lab.wait_for('silence for the limit', lambda: world.status('standby').get('suspicion') == 1.0)
    status = world.status('standby')
    assert status['state'] == 'unattended' and 'taking over from' not in world.appliance.text(), world.logs()


@pytest.mark.parametrize('gateway', (False, True), ids=('own-network', 'gateway'))
def test_its_dead_site_is_taken_over_by_the_operator_only(gateway):
    with unprotected(gateway=gateway) as world:
        lab.wait_for('it answers', lambda: world.ask('inc', timeout=2))
        world.kill_site_a()
        stays_unattended(world, 'link lost')
        lab.fetch_unix(world.path('standby.http'), '/v1/takeover', '{"instance": "vm1"}')
        world.wait_state('standby', 'serving')


def test_its_qemu_that_crashes_is_taken_over_by_the_operator_only():
    with unprotected() as world:
        os.kill(world.qemu.pid, signal.SIGKILL)
        status = told(world, 'QEMU is gone', 'unattended')
        assert 'does not know what clients were told' in status['reason'], status
        assert 'taking over from' not in world.appliance.text()


def test_protected_again_it_is_taken_over_by_itself():
    with lab.Lab(**SMALL) as world:
        world.protect()
        with contextlib.closing(lab.Qmp(world.path('vm.qmp.lab'))) as monitor:
            monitor('x-colo-lost-heartbeat')
            lab.wait_for('it is let go', lambda: 'unattended: the instance is not protected' in world.appliance.text())
        world.wait_state('primary', 'protected')
        status = world.wait_state('standby', 'protected')
        assert status['healthy'] and status['protected'], status
        world.kill_site_a()
        world.wait_state('standby', 'serving')


@pytest.mark.parametrize('end, state', (('quit', 'ended'), ('stop', 'refused')), ids=('quit', 'stop'))
def test_a_first_copy_that_ends_is_told_of(end, state):
    with lab.Lab(takeover='manual', instance=SLOW, **SMALL) as world:
        world.start_guest()
        world.start_appliance()
        world.start_agent()
        world.wait_state('standby', 'syncing')
        lab.wait_for('half a copy', lambda: world.status('primary').get('initial_sync', {}).get('done_bytes', 0) > 8 << 20)
        monitor = lab.Qmp(world.path('vm.qmp.lab'))
        with contextlib.closing(monitor), contextlib.suppress(ValueError):      # what quits may not answer
            monitor(end)
        status = told(world, 'the first copy has ended', 'empty')
        assert not status['protected'], status
        world.wait_state('primary', state)
        assert world.status('standby')['healthy'] == (end == 'quit'), world.status('standby')


def test_a_primary_that_is_heard_again_is_not_called_silent():
    with lab.Lab(takeover='manual', **SMALL) as world:
        world.protect()
        with contextlib.closing(lab.Qmp(world.path('vm.qmp.lab'))) as monitor:
            monitor('stop')         # so that nothing is committed afterwards
            lab.wait_for('it is known to stand', lambda: not world.status('primary')['healthy'])
            world.cut_link()
            told(world, 'the primary is silent', 'unattended')
            world.mend_link()
            told(world, 'the primary is heard again', 'unattended')
            monitor('cont')
        world.wait_state('standby', 'protected')

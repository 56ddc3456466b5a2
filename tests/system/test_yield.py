"""A takeover that is ordered while the sites hear each other: the primary's instance stands before the replica runs, and runs again if
nothing comes of it."""
import contextlib
import datetime
import os
import signal

import pytest

import lab
from test_restart import release
from test_silent_replica import ACTIVATE_S

SMALL = {'takeover': 'manual', 'memory_mib': 128, 'working_set_mib': 16}
REFUSED = 'is in force here'    # of frames in a term that is over


@contextlib.contextmanager
def told(world):
    """A monitor of the primary's QEMU; what the sites say, if the test fails."""
    with contextlib.closing(lab.Qmp(world.path('vm.qmp.lab'))) as monitor:
        try:
            yield monitor
        except BaseException:
            print(world.logs())
            raise


def order(world):
    assert lab.fetch_unix(world.path('standby.http'), '/v1/takeover', '{"instance": "vm1"}') == {'ok': True}


def order_that_waits_for_qemu(world):
    """The replica cannot be brought to life meanwhile: its QEMU is stopped."""
    os.kill(world.replica(), signal.SIGSTOP)
    order(world)
    world.wait_state('standby', 'taking-over')


def logged_at(daemon, text):
    """Seconds since 1970, to the millisecond, of the first line with that."""
    line = next(line for line in daemon.text().splitlines() if text in line)
    return datetime.datetime.fromisoformat(line.split()[0].replace('Z', '+00:00')).timestamp()


def last_move(monitor):
    """The last time that the guest was stopped or set running: which, and when."""
    event = [event for event in monitor.events if event['event'] in ('STOP', 'RESUME')][-1]
    return event['event'], event['timestamp']['seconds'] + event['timestamp']['microseconds'] // 1000 / 1000


@pytest.mark.parametrize('network', ('own', 'gateway', 'announce'))
def test_the_primary_s_instance_stands_before_the_replica_runs(network):
    with lab.Lab(**SMALL, **({} if network == 'own' else {network: True})) as world:
        world.protect()
        with told(world) as monitor:
            order(world)
            assert world.wait_state('standby', 'serving')['term'] == 2
            decided = logged_at(world.appliance, "the primary's instance stands; taking over from epoch")
            world.wait_state('primary', 'superseded')
            assert monitor('query-status')['status'] == 'paused'
            name, when = last_move(monitor)
            assert name == 'STOP' and when <= decided, 'from then on it did not run for a moment'
            lab.wait_for('the replica answers', lambda: world.ask('get', 1))


def test_an_instance_on_continue_goes_on_when_the_takeover_comes_to_nothing():
    with lab.Lab(**SMALL) as world:
        world.protect()
        with told(world) as monitor:
            order_that_waits_for_qemu(world)
            status = world.status('primary')
            assert (status['lease'], status['state'], status['healthy']) == ('yielded', 'unprotected', False), status
            assert not monitor('query-status')['running']
            lab.wait_for('it is told what to do', lambda: '`understudy release`' in world.status('primary')['reason'])
            answer = release(world, 'primary')
            assert answer.returncode == 1 and 'the standby is connected' in answer.stderr, answer
            world.wait_state('standby', 'unattended', 'protected', timeout=ACTIVATE_S + 20)
            assert world.wait_state('primary', 'protected')['term'] == 2
            assert monitor('query-status')['status'] in ('running', 'colo', 'finish-migrate')
            assert world.ask('get') is not None
            # An agent that knows of no term yet begins in the one that is in force.
            assert world.agent.stop() == 0
            world.start_agent()
            assert world.wait_state('primary', 'protected')['term'] == 2
            assert REFUSED not in world.agent.text() + world.appliance.text()


def test_an_instance_whose_standby_dies_meanwhile_stands_until_its_operator_lets_it_go():
    with lab.Lab(**SMALL) as world:
        world.protect()
        with told(world) as monitor:
            order_that_waits_for_qemu(world)
            world.appliance.kill()
            lab.end_descendants_of(world.appliance.log)
            lab.wait_for('it is told what to do', lambda: '`understudy release`' in world.status('primary')['reason'])
            status = world.status('primary')
            assert (status['lease'], status['healthy']) == ('yielded', False), status
            assert monitor('query-status')['status'] == 'paused'
            lab.wait_for('the connection is given up', lambda: release(world, 'primary').returncode == 0)
            lab.wait_for('it runs', lambda: monitor('query-status')['status'] == 'running')
            assert world.ask('get') is not None
            assert world.status('primary')['lease'] == 'free'


def test_an_agent_that_cannot_answer_is_not_waited_for():
    with lab.Lab(**SMALL) as world:
        world.protect()
        with told(world) as monitor:
            world.agent.signal(signal.SIGSTOP)
            order(world)
            world.wait_state('standby', 'serving')
            assert 'the primary has not said that its instance stands' in world.appliance.text()
            world.agent.signal(signal.SIGCONT)
            world.wait_state('primary', 'superseded')
            lab.wait_for('it stands', lambda: monitor('query-status')['status'] == 'paused')

"""An instance with a network of its own that may run only while it has a lease stands when that is over, also without an agent that
could pause it: its guardian does. The next agent sets it running again, when it may."""
import contextlib
import signal
import time

import pytest

import capture
import etcd
import lab
from strikes import guardian_of
from test_restraint import held, runs, stands, status_of
from test_witness import cut_link, witnessed

QUICK = {'link': {'heartbeat_ms': 10, 'detect_ms': 100}}


def does_not_run(monitor, seconds=0.3):
    """For longer than a lease lasts: what is left of one it may run, out of the checkpoint in which its agent left it."""
    def stood():
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if status_of(monitor) not in ('paused', 'colo'):
                return False
        return True
    lab.wait_for('it stands', stood, 5)


@contextlib.contextmanager
def told(**options):
    with lab.Lab(**options) as world:
        try:
            yield world
        except BaseException:
            print(world.logs())
            raise


@pytest.mark.parametrize('blow', [signal.SIGKILL, signal.SIGSTOP], ids=['killed', 'frozen'])
@pytest.mark.parametrize('link', [{}, QUICK], ids=['300ms', '100ms'])
def test_an_agent_that_is_struck_alone_leaves_one_server(blow, link):
    with told(memory_mib=128, working_set_mib=16, append=capture.APPEND, primary=link, standby=link) as world:
        world.protect()
        with capture.Capture(world) as heard:
            heard.wait_for_beacons()
            world.agent.signal(blow)
            world.wait_state('standby', 'serving')
            heard.wait_for_beacons()
            with contextlib.closing(lab.Qmp(world.path('vm.qmp.lab'))) as monitor:
                does_not_run(monitor)
            if blow == signal.SIGSTOP:
                world.agent.signal(signal.SIGCONT)
            else:
                world.start_agent()
            world.wait_state('primary', 'superseded')
            time.sleep(0.2)
        assert heard.sites() == ['to-a', 'to-b']


def test_the_next_agent_sets_it_running_when_it_may():
    with held() as (world, monitor):
        world.cut_link()
        world.agent.kill()
        does_not_run(monitor)
        world.start_agent()
        lab.wait_for('the agent has found it', lambda: 'it runs when it may' in world.agent.text())
        does_not_run(monitor)
        world.agent.kill()      # before it may: the one after that knows it as well
        does_not_run(monitor)
        world.start_agent()
        world.mend_link()
        runs(monitor)
        world.wait_state('primary', 'protected')


def test_what_an_agent_has_paused_runs_again_with_the_next_one():
    with held() as (world, monitor):
        world.cut_link()
        world.wait_lease('lapsed')
        does_not_run(monitor)
        assert world.agent.stop() == 0
        does_not_run(monitor)
        world.mend_link()
        world.start_agent()
        world.wait_state('primary', 'protected')
        runs(monitor)


def test_what_its_operator_had_stopped_stands_with_the_next_agent_as_well():
    def stopped():
        monitor('stop')         # inside a checkpoint QEMU takes it, and runs on
        time.sleep(0.1)
        return status_of(monitor) == 'paused'

    with held() as (world, monitor):
        lab.wait_for('its operator has stopped it', stopped)
        world.agent.kill()
        does_not_run(monitor)
        world.start_agent()
        world.wait_lease('leased')
        stands(monitor, 1)


def test_one_that_is_to_go_on_without_a_standby_from_now_on_is_its_operators():
    """What it is set running beside, or instead of, only he knows."""
    with held() as (world, monitor):
        world.agent.kill()
        does_not_run(monitor)
        world.extra_of_instance['primary'] = {'without_standby': 'continue'}
        world.start_agent()
        lab.wait_for('the agent says what to do', lambda: 'resume' in world.status('primary').get('reason', ''))
        does_not_run(monitor)
        monitor('cont')
        world.wait_state('primary', 'protected')


def test_an_agent_that_was_only_frozen_sets_it_running_again():
    with held() as (world, monitor):
        for _ in range(3):
            world.agent.signal(signal.SIGSTOP)
            does_not_run(monitor)
            world.agent.signal(signal.SIGCONT)
            runs(monitor)
            world.wait_state('primary', 'protected')
        assert 'by hand' not in world.agent.text()


def test_an_agent_killed_after_it_was_frozen_leaves_it_standing():
    """Its lease was over by then, so it was not let go from COLO: QEMU would have set it running."""
    with held() as (world, monitor):
        for _ in range(3):
            world.agent.signal(signal.SIGSTOP)
            does_not_run(monitor)
            world.agent.kill()
            does_not_run(monitor, 0.5)
            world.start_agent()
            world.wait_state('primary', 'protected')
            runs(monitor)


def test_an_agent_that_ends_while_the_standby_cannot_hear_it_does_not_leave_it_running():
    with held() as (world, monitor):
        world.cut_link()
        lab.wait_for('the link is down', lambda: world.status('primary')['state'] != 'protected')
        assert world.agent.stop() == 0
        does_not_run(monitor)
        world.mend_link()
        world.start_agent()
        world.wait_state('primary', 'protected')
        runs(monitor)


def lives(pid):
    with contextlib.suppress(OSError), open(f'/proc/{pid}/stat', encoding='ascii') as f:
        return f.read().rpartition(')')[2].split()[0] != 'Z'
    return False


def test_guardians_that_have_done_their_work_are_gone_when_nobody_needs_them():
    with held() as (world, monitor):
        guardian = guardian_of(world)
        world.agent.kill()
        does_not_run(monitor)
        assert lives(guardian)
        world.start_agent()
        world.wait_state('primary', 'protected')
        lab.wait_for('the guardian has ended', lambda: not lives(guardian))


@pytest.mark.skipif(not etcd.PROGRAM, reason='etcd-server is missing')
def test_one_that_serves_alone_answers_as_long_as_the_witness_lets_it_and_no_longer():
    with witnessed(instance={'without_standby': 'continue'}) as (world, _, heard):
        cut_link(world)
        world.wait_lease('alone')
        world.wait_state('standby', 'unattended')
        heard.wait_for_beacons()
        world.agent.kill()
        heard.wait_for_beacons()        # there is no reason to pause it yet
        with contextlib.closing(lab.Qmp(world.path('vm.qmp.lab'))) as monitor:
            assert status_of(monitor) == 'running'

            def serves():
                lab.fetch_unix(world.path('standby.http'), '/v1/takeover', '{"instance": "vm1"}')
                return world.status('standby')['state'] == 'serving'

            lab.wait_for('the replica serves', serves)
            does_not_run(monitor)
        heard.wait_for_beacons()
        assert heard.sites() == ['to-a', 'to-b']

"""Both sites live and do not hear each other, or one of them stands still: clients hear one instance only, and lose no answer.

An instance with a network of its own has no output commit: of that only the first is true, and not while its agent stands still."""
import contextlib
import signal
import time

import pytest

import capture
import lab
import ledger
import wan
from test_gateway import gateway, seed_of_this_run

pytestmark = pytest.mark.calm
MODES = pytest.mark.parametrize('mode', ('gateway', 'announce'))
OTHER_TERM_S = 2.0      # how long the old instance runs beside the replica, unheard


@contextlib.contextmanager
def clients(world, **options):
    """A ledger client and a capture of all that it hears, both of which are content at the end."""
    client = ledger.Ledger(world, seed_of_this_run(), **options)
    client.start()
    try:
        with capture.Capture(world) as heard:
            client.wait_for(50)
            yield client
            client.wait_for(50)
            client.finish()
            heard.wait_for_beacons()
    except BaseException:
        print(world.logs())
        raise


def superseded(world):
    """The primary knows that its term is over, and its instance stands still, with its state."""
    world.wait_state('primary', 'superseded')
    qmp = lab.Qmp(world.path('vm.qmp.lab'))
    with contextlib.closing(qmp):
        lab.wait_for('the old instance is paused', lambda: not qmp('query-status')['running'])
    assert world.qemu.running()
    assert world.status('standby')['state'] == 'serving'
    assert world.status('primary')['term'] == world.status('standby')['term']


def no_takeover(world):
    world.wait_state('primary', 'protected')
    world.wait_state('standby', 'protected')
    assert world.status('standby')['term'] == 1


def taken_over_while(world, client, lost, mended):
    """A takeover while the old instance lives on: it is heard by nobody, and gives way when it hears of it."""
    lost()
    world.wait_state('standby', 'serving')
    client.wait_for(50)
    time.sleep(OTHER_TERM_S)
    assert world.agent.running() and world.qemu.running()
    mended()
    superseded(world)


@contextlib.contextmanager
def partitioned(mode, **options):
    """A protected instance and its ledger client."""
    with gateway(announce=mode == 'announce') as world:
        world.protect()
        with clients(world, **options) as client:
            yield world, client


@MODES
def test_a_cut_link_with_both_sites_alive(mode):
    with partitioned(mode) as (world, client):
        taken_over_while(world, client, world.cut_link, world.mend_link)


def test_a_cut_link_with_both_sites_alive_and_a_network_of_the_instance_s_own():
    patient = {'link': {'detect_ms': 2000}}         # so that a pause by QMP that comes late is not what is seen
    with lab.Lab(memory_mib=128, working_set_mib=16, append=capture.APPEND, primary=patient, standby=patient) as world:
        world.protect()
        with capture.Capture(world) as heard:
            heard.wait_for_beacons()
            world.cut_link()
            world.wait_state('standby', 'serving')
            heard.wait_for_beacons()
            time.sleep(OTHER_TERM_S)
            world.mend_link()
            superseded(world)
            assert heard.sites() == ['to-a', 'to-b']


@MODES
def test_what_the_primary_says_is_lost(mode):
    with partitioned(mode) as (world, client):
        taken_over_while(world, client, lambda: world.lose(world.a), world.lose)


@MODES
def test_what_the_standby_says_is_lost(mode):
    with partitioned(mode) as (world, client):
        taken_over_while(world, client, lambda: world.lose(world.b), world.lose)


def freeze(daemon, seconds=0.5):
    daemon.signal(signal.SIGSTOP)
    time.sleep(seconds)
    daemon.signal(signal.SIGCONT)


@MODES
def test_an_agent_that_stands_still_for_500_ms_finds_itself_superseded(mode):
    with partitioned(mode) as (world, _):
        freeze(world.agent)
        world.wait_state('standby', 'serving')
        superseded(world)


def flap(world):
    with contextlib.closing(wan.Wan(world)) as network:
        for cut in range(10):
            network.cut()
            time.sleep(0.05 + 0.15 * cut / 9)
            network.mend()
            time.sleep(0.7)


@MODES
def test_an_appliance_or_instance_that_stands_still_for_500_ms_and_a_flapping_link_are_no_reason_to_take_over(mode):
    with partitioned(mode, pause_s=0.01) as (world, _):
        for process in 3 * (world.appliance, world.qemu):
            freeze(process)
            time.sleep(1)
        no_takeover(world)
        flap(world)
        no_takeover(world)

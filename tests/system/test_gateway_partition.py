"""Both sites live and do not hear each other, or one of them stands still: clients hear one instance only, and lose no answer."""
import contextlib
import signal
import time

import pytest

import capture
import lab
import ledger
from test_gateway import gateway, seed_of_this_run

pytestmark = pytest.mark.alone
OTHER_TERM_S = 2.0      # how long the old instance runs beside the replica, unheard


@contextlib.contextmanager
def clients(world):
    """A ledger client and a capture of all that it hears, both of which are content at the end."""
    client = ledger.Ledger(world, seed_of_this_run())
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


def test_a_cut_link_with_both_sites_alive():
    with gateway() as world:
        world.protect()
        with clients(world) as client:
            taken_over_while(world, client, world.cut_link, world.mend_link)


def test_what_the_primary_says_is_lost():
    with gateway() as world:
        world.protect()
        with clients(world) as client:
            taken_over_while(world, client, lambda: world.lose(world.a), world.lose)


def test_what_the_standby_says_is_lost():
    with gateway() as world:
        world.protect()
        with clients(world) as client:
            taken_over_while(world, client, lambda: world.lose(world.b), world.lose)


def freeze(daemon, seconds=0.5):
    daemon.signal(signal.SIGSTOP)
    time.sleep(seconds)
    daemon.signal(signal.SIGCONT)


def test_an_agent_that_stands_still_for_500_ms_finds_itself_superseded():
    with gateway() as world:
        world.protect()
        with clients(world):
            freeze(world.agent)
            world.wait_state('standby', 'serving')
            superseded(world)


def test_an_appliance_that_stands_still_for_500_ms_does_not_take_over():
    with gateway() as world:
        world.protect()
        with clients(world):
            for _ in range(3):
                freeze(world.appliance)
                time.sleep(1)
            no_takeover(world)


def test_an_instance_that_stands_still_for_500_ms_is_not_taken_over():
    with gateway() as world:
        world.protect()
        with clients(world):
            for _ in range(3):
                freeze(world.qemu)
                time.sleep(1)
            no_takeover(world)


def test_a_flapping_link_is_no_reason_to_take_over():
    with gateway() as world:
        world.protect()
        with clients(world):
            for cut in range(10):
                world.lose(world.a, world.b)
                time.sleep(0.1 + 0.15 * cut / 9)
                world.lose()
                time.sleep(0.7)
            no_takeover(world)

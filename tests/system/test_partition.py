"""Both sites live and do not hear each other, or one of them stands still: clients hear one instance only, and lose no answer.

With a witness the one that goes on may be either: who asks it first. What becomes of a cut link then is in test_witness.py as well.
An instance with a network of its own has no output commit: of that only the first is true, and not while its agent stands still."""
import contextlib
import signal
import time

import pytest

import capture
import etcd
import lab
import ledger
import wan
from test_gateway import gateway, seed_of_this_run
from test_witness import protected_again

pytestmark = pytest.mark.calm
MODES = pytest.mark.parametrize('mode', ('gateway', 'announce', 'gateway, witness', 'announce, witness'))
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


def no_takeover(world, mode):
    """With a witness the primary may have served alone for a while, which is a term of its own."""
    for role in ('primary', 'standby'):
        world.wait_state(role, 'protected')
    assert 'witness' in mode or world.status('standby')['term'] == 1


def who_goes_on(world):
    standby, primary = world.status('standby'), world.status('primary')
    if standby.get('state') == 'serving':
        return 'standby'
    alone = primary.get('lease') == 'alone'
    return 'primary' if alone or (primary.get('state') == 'protected' and primary['term'] > 1) else None


def one_goes_on(world, mode):
    lab.wait_for('one of them goes on', lambda: who_goes_on(world))
    assert who_goes_on(world) == 'standby' or 'witness' in mode


def one_has_gone_on(world):
    """And the link works: the old instance, if there is one, has given way."""
    if who_goes_on(world) == 'standby':
        superseded(world)
    else:
        protected_again(world, world.status('primary')['term'])


def one_goes_on_while(world, mode, client, lost, mended):
    """Both instances live: of two one is heard by nobody, and gives way when it hears of the other."""
    lost()
    one_goes_on(world, mode)
    client.wait_for(50)
    time.sleep(OTHER_TERM_S)
    assert world.agent.running() and world.qemu.running()
    mended()
    one_has_gone_on(world)


@contextlib.contextmanager
def partitioned(mode, **options):
    """A protected instance and its ledger client."""
    if 'witness' in mode and not etcd.PROGRAM:
        pytest.skip('etcd-server is missing')
    with gateway(announce='announce' in mode) as world:
        if 'witness' in mode:
            etcd.Witness(world).open()
            options.setdefault('pause_s', 0.01)     # who answers alone answers fast, and all of it is read again at the end
        world.protect()
        with clients(world, **options) as client:
            yield world, client


@MODES
def test_a_cut_link_with_both_sites_alive(mode):
    with partitioned(mode) as (world, client):
        one_goes_on_while(world, mode, client, world.cut_link, world.mend_link)


def test_a_cut_link_with_both_sites_alive_and_a_network_of_the_instance_s_own():
    with lab.Lab(memory_mib=128, working_set_mib=16, append=capture.APPEND) as world:
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
        one_goes_on_while(world, mode, client, lambda: world.lose(world.a), world.lose)


@MODES
def test_what_the_standby_says_is_lost(mode):
    with partitioned(mode) as (world, client):
        one_goes_on_while(world, mode, client, lambda: world.lose(world.b), world.lose)


def freeze(daemon, seconds=0.5):
    daemon.signal(signal.SIGSTOP)
    time.sleep(seconds)
    daemon.signal(signal.SIGCONT)


@MODES
def test_an_agent_that_stands_still_for_500_ms_finds_itself_superseded(mode):
    with partitioned(mode) as (world, _):
        freeze(world.agent)
        one_goes_on(world, mode)
        one_has_gone_on(world)


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
        no_takeover(world, mode)
        flap(world)
        no_takeover(world, mode)

"""The appliance is told to end in the middle of a takeover: it is finished and the replica left serving, or none runs and none is claimed."""
import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import threading

import pytest

import lab
from test_aftermath import health, order_a_takeover_without_a_qemu, post, start_again


def unattended(world):
    """Nobody but the standby is left."""
    world.protect()
    world.kill_site_a()
    world.wait_state('standby', 'unattended')


def terminate(world):
    """SIGTERM, and it waits."""
    world.appliance.process.terminate()
    lab.wait_for('the end waits', lambda: 'a takeover is under way; the end waits for it' in world.appliance.text())
    code, text = health(world)
    assert code == 503 and 'this process is ending' in text, text


def serves_on(world):
    lab.wait_for('the replica answers', lambda: world.ask('get', 1))
    again = start_again(world, 'serving')
    assert again['term'] == 2 and again['healthy'], again


def test_an_activation_that_qemu_has_got_is_finished_first():
    with lab.Lab(takeover='manual') as world:
        unattended(world)
        replica = world.replica()
        os.kill(replica, signal.SIGSTOP)
        assert post(world, 'takeover') == {'ok': True}
        lab.wait_for('QEMU has got it', lambda: world.status('standby').get('hypervisor') == 'activating')
        terminate(world)
        os.kill(replica, signal.SIGCONT)
        assert world.appliance.process.wait(20) == 0
        assert world.replica() == replica
        serves_on(world)


@pytest.mark.calm     # it has a second for what it does before QEMU is there again
def test_an_activation_that_has_not_begun_is_finished_first():
    with lab.Lab(takeover='manual') as world:
        unattended(world)
        order_a_takeover_without_a_qemu(world)
        terminate(world)
        assert world.appliance.process.wait(30) == 0
        serves_on(world)


def test_an_activation_that_fails_while_the_end_waits_is_not_claimed_to_have_run():
    with lab.Lab(takeover='manual') as world:
        unattended(world)
        os.kill(world.replica(), signal.SIGSTOP)
        assert post(world, 'takeover') == {'ok': True}
        lab.wait_for('QEMU has got it', lambda: world.status('standby').get('hypervisor') == 'activating')
        terminate(world)
        assert world.appliance.process.wait(30) == 0
        assert 'the replica could not be brought to life' in world.appliance.text(), world.logs()
        assert world.replica() is None and 'does not end on SIGTERM' not in world.appliance.text(), 'it was not asked'
        status = start_again(world, 'empty')
        assert 'no replica came of it' in status['reason'] and health(world)[0] == 503, status


@contextlib.contextmanager
def traffic(world):
    """From a client to the instance, without a pause."""
    going = threading.Event()
    with world.client.inside():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def send():
        while not going.wait(0.0002):
            with contextlib.suppress(OSError):
                sock.sendto(b'x' * 100, (lab.GUEST_IP, 9999))

    sender = threading.Thread(target=send)
    sender.start()
    yield
    going.set()
    sender.join()
    sock.close()


def test_an_appliance_that_clients_send_through_ends_as_it_should():
    with lab.Lab(takeover='manual', gateway=True) as world:
        world.protect()
        with traffic(world):
            for _ in range(3):
                assert world.appliance.stop(20) == 0, world.logs()
                world.start_appliance()
                world.wait_state('standby', 'protected')


def test_a_log_that_nobody_reads_holds_nothing_up():
    with lab.Lab() as world, contextlib.ExitStack() as ends:
        world.start_guest()
        log = world.path('appliance.log')
        reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
        process = world.b.popen([lab.UNDERSTUDY, 'standby', '--config', world.write_config('standby')], stdin=subprocess.DEVNULL,
                                stdout=writing, stderr=writing, env={**os.environ, lab.MARK: log})
        ends.callback(process.kill)
        world.start_agent()
        world.wait_state('standby', 'protected')
        world.kill_site_a()
        world.wait_state('standby', 'serving')
        os.set_blocking(reading, False)
        os.read(reading, 65536)
        with contextlib.suppress(AssertionError):       # it says something, sooner or later
            lab.wait_for('an answer', lambda: world.ask('get', 1))
        process.terminate()
        assert process.wait(20) == 0
        assert b'lines before this one are lost' in os.read(reading, 65536)
        lab.end_descendants_of(log)

"""Announce mode: clients reach the instance at the primary's site; after a takeover they find it at the standby's."""
import contextlib
import os
import signal
import socket
import subprocess
import time

import pytest

import capture
import lab
import ledger
from announcements import GUEST_IP6, Announcements
from test_gateway import seed_of_this_run
from test_gateway_frames import answers
from test_partition import superseded
from test_restart import release

LET_OUT_S = 5           # well below resync_after_ms
OTHER_TERM_S = 2.0      # how long the old instance's site lives on beside the replica


def announce(**options):
    return lab.Lab(**{'announce': True, 'memory_mib': 128, 'working_set_mib': 16, 'append': capture.APPEND} | options)


def protect(world):
    """With a guest that has said what its addresses are, to a client that asked."""
    world.protect()
    with world.client.inside():
        scope = socket.if_nametoindex('br0')
    answers(world, lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM), (GUEST_IP6, lab.GUEST_PORT, 0, scope), tries=60)
    epoch = world.status('standby')['epoch']
    time.sleep(1)                                       # as seldom is the standby told
    lab.wait_for('the standby knows them', lambda: world.status('standby')['epoch'] > epoch + 2)


@contextlib.contextmanager
def clients(world):
    """A ledger client, a capture of what it hears and what is announced; they are content at the end with a takeover by site B."""
    client = ledger.Ledger(world, seed_of_this_run())
    client.start()
    try:
        with capture.Capture(world) as heard, Announcements(world) as said:
            client.wait_for(50)
            yield client, said
            client.wait_for(100)
            print(f'{client.finish()} entries')
            heard.wait_for_beacons()
            assert heard.sites() == ['to-a', 'to-b']
    except BaseException:
        print(world.logs())
        raise


def wait_for_rounds(said, count, since, timeout=30.0):
    """So many rounds of announcements by site B."""
    try:
        lab.wait_for(f'{count} rounds of announcements', lambda: min(said.announced('b', since).values()) >= count, timeout)
    except AssertionError as e:
        raise AssertionError(f"{e}; {said.announced('b', since)}") from None


def port_of_guest(world):
    """Of the client's bridge, where it would send what is for the guest's card."""
    shown = subprocess.run(['bridge', 'fdb', 'show', 'br', 'br0'], preexec_fn=world.client.enter, pass_fds=[world.client.fd],
                           stdout=subprocess.PIPE, text=True, check=True).stdout
    return [line.split()[2] for line in shown.splitlines() if line.startswith(lab.MAC)]


def test_a_killed_site_costs_no_connection_and_no_answer_and_the_addresses_are_found_at_the_other():
    with announce() as world:
        protect(world)
        with clients(world) as (client, said):
            assert port_of_guest(world) == ['to-a']
            killed = world.kill_site_a()
            world.wait_state('standby', 'serving')
            wait_for_rounds(said, 3, killed)
            assert port_of_guest(world) == ['to-b']
            client.wait_for(50)
        print(f'{client.outage_s(killed) * 1000:.0f} ms without an answer')
        world.client.run('ip', 'neigh', 'flush', 'dev', 'br0')
        assert world.ask('get') is not None, 'who asks for the address again finds it'


def test_a_crashed_qemu_is_taken_over_without_waiting_for_silence_and_costs_no_answer():
    with announce(standby={'link': {'detect_ms': 60000}}) as world:
        protect(world)
        with clients(world) as (client, _):
            world.qemu.kill()
            world.wait_state('standby', 'serving', timeout=20)
            assert 'clients know more' not in world.appliance.text()
            client.wait_for(50)


def test_a_partition_and_again_when_it_has_healed():
    with announce() as world:
        protect(world)
        with clients(world) as (client, said):
            world.cut_link()
            world.wait_state('standby', 'serving')
            client.wait_for(50)
            wait_for_rounds(said, 5, 0.0)
            time.sleep(OTHER_TERM_S)
            assert world.agent.running() and world.qemu.running()
            mended = time.monotonic()
            world.mend_link()
            superseded(world)
            wait_for_rounds(said, 3, mended)         # without beginning anew the third would take more than a minute


def test_clients_of_an_instance_that_goes_on_without_its_standby_do_not_wait_until_the_resync():
    with announce(takeover='manual', instance={'without_standby': 'continue'}) as world:
        world.protect()
        client = ledger.Ledger(world, seed_of_this_run())
        client.start()
        client.wait_for(50)
        cut = time.monotonic()
        world.lose(world.a, world.b)
        world.wait_state('primary', 'unprotected')
        client.wait_for(50)
        assert client.outage_s(cut) < LET_OUT_S
        world.lose()
        world.wait_state('primary', 'protected')
        client.wait_for(50)
        client.finish()


def test_what_clients_sent_last_is_given_to_the_replica_up_to_a_limit():
    with announce() as world:
        protect(world)
        with world.connect() as connection, world.client.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
            assert world.ask('inc', connection=connection) == '1'
            world.qemu.signal(signal.SIGSTOP)           # no epoch will know what comes now
            come = world.status('primary')['frames']['from_clients']
            connection.sendall(b'inc\n')
            lab.wait_for('it has come', lambda: world.status('primary')['frames']['from_clients'] > come)
            for _ in range(100):
                flood.sendto(bytes(1000), (lab.GUEST_IP, 9))
            for _ in range(20):
                world.status('primary')                 # the agent has had its turns with them
            world.kill_site_a()
            world.wait_state('standby', 'serving')
            assert connection.recv(100) == b'2\n'
            assert 10 < world.status('standby')['frames']['replayed'] < 60


@pytest.mark.parametrize('mode', ['announce', 'gateway'])
def test_a_replica_that_ended_is_not_announced_and_after_release_the_primary_is_heard_again(mode):
    with announce(**{'announce': False, mode: True}) as world:
        protect(world)
        with Announcements(world) as said, contextlib.closing(lab.Qmp(world.path('vm.qmp.lab'))) as old:
            world.cut_link()
            world.wait_state('standby', 'serving')
            wait_for_rounds(said, 5, 0.0)            # the next one would come in the next 7 s
            os.kill(world.replica(), signal.SIGKILL)
            world.wait_state('standby', 'lost')
            ended = time.monotonic()
            time.sleep(8)
            assert not any(said.announced('b', ended).values())
            world.mend_link()
            world.wait_state('primary', 'superseded')
            assert release(world, 'standby').returncode == 0
            lab.wait_for('it was paused', lambda: release(world, 'primary').returncode == 0)
            old('cont')
            world.wait_state('primary', 'protected')
            lab.wait_for('the instance answers again', lambda: world.ask('get', 1) is not None)
            assert not any(said.announced('b', ended).values())
            killed = world.kill_site_a()
            world.wait_state('standby', 'serving')
            wait_for_rounds(said, 1, killed)
            lab.wait_for('the second replica answers', lambda: world.ask('get', 1) is not None)

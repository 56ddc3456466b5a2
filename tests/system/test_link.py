"""A link that is lost, slow or comes from the wrong party costs protection, never the instance."""
import contextlib
import os
import re
import signal
import socket
import subprocess
import time

import pytest

import certificates
import lab
import wan


def protected_again(world, epoch):
    world.wait_state('primary', 'protected')
    return lab.wait_for('later epochs are committed', lambda: (lambda e: e if e > epoch + 3 else None)(
        world.status('standby').get('epoch', 0)), 30)


def kill_and_check(world, counted):
    world.wait_caught_up()
    world.kill_site_a()
    lab.fetch_unix(world.path('standby.http'), '/v1/takeover', '{"instance": "vm1"}')
    world.wait_state('standby', 'serving')
    assert int(lab.wait_for('an answer', lambda: world.ask('get', 1))) == counted


def test_a_link_cut_for_one_second_is_caught_up_without_a_new_copy():
    with lab.Lab(takeover='manual') as world:
        world.protect()
        world.ask('inc')
        epoch = world.status('standby')['epoch']
        world.cut_link()
        for _ in range(10):
            assert world.ask('inc', 2) is not None, 'the instance goes on'
            time.sleep(0.1)
        world.mend_link()
        protected_again(world, epoch)
        assert world.agent.text().count('as epoch') == 1, f'no second copy\n{world.logs()}'
        kill_and_check(world, 11)


def test_a_link_cut_for_30_seconds_ends_in_a_resync_of_what_differs():
    with lab.Lab(takeover='manual') as world:
        world.protect()
        epoch = world.status('standby')['epoch']
        before = world.status('primary')
        world.cut_link()
        for _ in range(30):
            assert world.ask('inc', 2) is not None, 'the instance goes on'
            time.sleep(1)
        assert world.status('standby')['epoch'] >= epoch, 'the last good epoch stays'
        world.mend_link()
        protected_again(world, epoch)
        assert 'differs' in world.agent.text()
        after = world.status('primary')
        assert after['unchanged_pages'] > 1000, f'most pages did not travel again: {after}, before: {before}'
        kill_and_check(world, 30)


def test_an_instance_that_may_not_run_before_the_standby_says_so_is_protected_over_a_slow_link():
    """Paused until its lease comes, which over this link comes later than the standby's word that it is ready."""
    with lab.Lab(memory_mib=128, working_set_mib=16) as world:
        target = (lab.LINK_B, lab.LINK_PORT)
        with contextlib.closing(wan.Delay(world, target, 0.05)):
            world.extra['primary']['link'] = {'connect': '{}:{}'.format(*wan.Delay.LISTEN)}
            world.protect()
            assert world.status('primary')['link']['round_trip_ms'] > 95
            assert world.agent.text().count('copying') == 1, world.agent.text()


def test_a_restarted_standby_is_filled_again():
    with lab.Lab(takeover='manual') as world:
        world.protect()
        epoch = world.status('standby')['epoch']
        assert world.appliance.stop() == 0
        assert world.ask('inc') is not None
        world.start_appliance()
        protected_again(world, epoch)
        kill_and_check(world, 1)


def test_a_killed_standby_is_filled_again():
    with lab.Lab(takeover='manual') as world:
        world.protect()
        world.appliance.kill()
        lab.end_descendants_of(world.appliance.log)
        assert world.ask('inc') is not None
        world.start_appliance()
        protected_again(world, 0)
        kill_and_check(world, 1)


def test_a_first_copy_that_the_link_interrupts_goes_on_where_it_was():
    with lab.Lab(takeover='manual', instance={'checkpoint': {'first_copy_mib_s': 16}, 'budget': {'staging_mib': 48, 'inflight_mib': 8},
                                              'resync_after_ms': 60000}) as world:
        world.start_guest()
        world.start_appliance()
        world.start_agent()
        lab.wait_for('much of the first copy', lambda: world.status('primary').get('initial_sync', {}).get('done_bytes', 0) > 96 << 20, 60)
        world.cut_link()
        world.wait_state('standby', 'empty', timeout=20)
        assert world.status('primary')['state'] == 'copying' and not world.status('primary')['protected']
        world.mend_link()
        world.wait_state('primary', 'protected')
        world.wait_state('standby', 'protected')
        assert 'the link is back' in world.agent.text() and 'what differs' not in world.agent.text(), world.logs()
        assert world.ask('inc') is not None


def test_a_first_copy_whose_instance_is_paused_because_the_link_is_lost_finds_what_had_come():
    """With "hold", and a network of its own: its lease has run out."""
    with lab.Lab(instance={'checkpoint': {'first_copy_mib_s': 16}}) as world:
        world.start_guest()
        world.start_appliance()
        world.start_agent()
        lab.wait_for('much of the first copy', lambda: world.status('primary').get('initial_sync', {}).get('done_bytes', 0) > 96 << 20, 60)
        world.cut_link()
        lab.wait_for('it is told', lambda: 'stopped during the first copy' in world.agent.text())
        world.mend_link()
        world.wait_state('primary', 'protected')
        assert 'what differs from the standby' in world.agent.text(), world.logs()
        assert world.status('primary')['unchanged_pages'] > 1000, 'what had come did not travel again'
        assert world.ask('inc') is not None


def refused(world, wait=20.0):
    """Both logs, once the agent or the appliance has been refused."""
    lab.wait_for('a refusal in the agent\'s log', lambda: re.search("refused our|the peer's certificate", world.agent.text()), wait, 0.1)
    time.sleep(0.5)
    assert world.status('primary').get('state') != 'protected'
    return world.agent.text(), world.appliance.text()


def test_a_certificate_of_another_ca_is_refused_and_both_sides_say_so():
    with lab.Lab(takeover='manual') as world:
        subprocess.run([lab.UNDERSTUDY, 'pki', world.path('other')], check=True, stdout=subprocess.DEVNULL)
        world.extra['primary'] = {'tls': {'ca': 'other/ca.crt', 'cert': 'other/primary.crt', 'key': 'other/primary.key'}}
        world.start_guest()
        world.start_appliance()
        world.start_agent()
        agent, appliance = refused(world)
        assert re.search(r"  warn  .*the peer's certificate .*OU=standby.* is not signed by our CA", agent), world.logs()
        assert 'the peer refused our certificate: unknown CA' in appliance, world.logs()
        assert world.ask('inc') is not None


def test_a_certificate_that_expires_meanwhile_ends_with_the_connection_and_both_sides_say_so():
    with lab.Lab(takeover='manual', announce=True, instance={'without_standby': 'continue'}) as world:
        world.start_guest(wait=False)
        world.wait_until_ready()
        world.start_appliance()
        world.extra['primary'] = {'tls': certificates.issue(world, 'short', 'primary', 0, 10)}
        expires = time.monotonic() + 10
        world.start_agent()
        world.wait_state('primary', 'protected')
        epoch = world.status('standby')['epoch']
        time.sleep(max(0, expires + 1.5 - time.monotonic()))
        lab.wait_for('the connection goes on', lambda: world.status('standby')['epoch'] > epoch + 3)
        world.cut_link()
        lab.wait_for('the link is lost', lambda: 'link lost' in world.agent.text())
        world.mend_link()
        agent, appliance = refused(world)
        assert 'the peer refused our certificate: expired' in agent, world.logs()
        assert re.search(r"the peer's certificate .*CN=a.* expired on 2", appliance), world.logs()
        assert world.ask('inc') is not None
        told = {role: certificates.complaints(world, role) for role in ('primary', 'standby')}
        assert 'has expired' in told['primary'][0] and not told['standby'], told
        world.agent.kill()
        assert world.ask('inc', 1) is None, 'the instance sends through its agent'
        world.start_agent()
        refused(world)
        lab.wait_for('an answer', lambda: world.ask('inc', 1))
        assert 'has expired' in certificates.complaints(world, 'primary')[0]


def test_plain_text_and_garbage_do_not_disturb_a_protection():
    with lab.Lab() as world:
        world.protect()
        for greeting in (b'GET / HTTP/1.0\r\n\r\n', b'\x16\x03\x01' + b'\xff' * 600, b''):
            for _ in range(20):
                with world.a.inside():
                    stranger = socket.create_connection((lab.LINK_B, lab.LINK_PORT), timeout=5)
                stranger.sendall(greeting)
                stranger.close()
        epoch = world.status('standby')['epoch']
        lab.wait_for('epochs go on', lambda: world.status('standby')['epoch'] > epoch + 3)
        assert 'plain' in world.appliance.text() or 'TLS' in world.appliance.text()
        assert len(world.appliance.text().splitlines()) < 200, 'strangers do not flood the log'


def test_a_standby_that_cannot_run_the_instance_says_so_at_the_reservation():
    with lab.Lab(standby={'hypervisor': {'firmware': 'pki'}}) as world:      # a directory, but with no firmware in it
        world.start_guest()
        world.start_appliance()
        world.start_agent()
        status = world.wait_state('primary', 'refused')
        assert 'standby cannot run' in status['reason'], status
        assert world.ask('inc') is not None


def hypervisor_that(world, what):
    """One that takes its time: what the sites say while they try can be seen."""
    path = world.path('hypervisor')
    with open(path + '.new', 'w') as f:
        f.write(f'#!/bin/sh\n{what}\n')
    os.chmod(path + '.new', 0o755)
    os.rename(path + '.new', path)
    return path


def test_after_an_attempt_that_failed_neither_site_is_healthy_while_it_tries_again():
    with lab.Lab() as world:
        world.extra['standby']['hypervisor'] = {'confine': False, 'program': hypervisor_that(world, 'sleep 2; echo not today >&2; exit 1')}
        world.start_guest()
        world.start_appliance()
        world.start_agent()
        first = world.wait_state('primary', 'reserving')
        assert first['healthy'], first
        world.wait_state('primary', 'refused')
        again = world.wait_state('primary', 'reserving')
        standby = world.status('standby')
        for role, status in (('primary', again), ('standby', standby)):
            assert not status['healthy'] and not status['protected'] and 'not today' in status['reason'], status
            assert 'not today' in lab.fetch_unix(world.path(f'{role}.http'), '/healthz')['problems'][0]['reason']
        world.wait_state('primary', 'refused')
        for daemon in (world.agent, world.appliance):
            assert daemon.text().count('not today') == 1, 'the log has it once, however often it is tried\n' + world.logs()
        assert standby['state'] == 'empty', standby
        # Nobody tries any more, and that is as it should be.
        world.agent.stop()
        assert lab.fetch_unix(world.path('standby.http'), '/v1/release', '{"instance": "vm1"}') == {'ok': True}
        assert world.status('standby')['healthy']
        hypervisor_that(world, f'exec {lab.QEMU} "$@"')
        world.start_agent()
        assert world.wait_state('primary', 'protected')['healthy']
        assert world.wait_state('standby', 'protected')['healthy']


def test_a_warm_qemu_that_cannot_be_started_again_is_told_with_its_words():
    with lab.Lab(memory_mib=128, working_set_mib=16, takeover='manual') as world:
        world.extra['standby']['hypervisor'] = {'confine': False, 'program': hypervisor_that(world, f'exec {lab.QEMU} "$@"')}
        world.protect()
        hypervisor_that(world, 'echo not today >&2; exit 1')
        os.kill(world.replica(), signal.SIGKILL)
        lab.wait_for('why', lambda: 'not today' in world.status('standby')['reason'])
        status = world.status('standby')
        assert not status['protected'] and not status['healthy'] and 'no warm QEMU' in status['reason'], status
        hypervisor_that(world, f'exec {lab.QEMU} "$@"')
        lab.wait_for('it is warm again', lambda: world.status('standby')['healthy'])
        assert 'not today' not in world.status('standby')['reason']


@pytest.mark.parametrize('options', [{}, {'announce': True}], ids=['own', 'announce'])
def test_a_round_trip_longer_than_the_lease_is_told_with_what_helps(options):
    """The instance may not run without the standby's leave, and that comes too late: nothing is broken, and nobody hears it."""
    quick = {'heartbeat_ms': 10, 'detect_ms': 100}
    link = quick | {'connect': '{}:{}'.format(*wan.Delay.LISTEN)}
    with lab.Lab(memory_mib=128, working_set_mib=16, primary={'link': link}, standby={'link': quick}, **options) as world:
        world.start_guest(wait=False)
        world.start_appliance()
        with contextlib.closing(wan.Delay(world, (lab.LINK_B, lab.LINK_PORT), 0.05)):
            world.start_agent()
            status = lab.wait_for('the status says so', lambda: (lambda s: s if "the link's round trip" in s.get('reason', '') else None)(
                world.status('primary')))
            assert re.search(r'is longer than the lease \(88 ms\).*raise link.detect_ms on both sites to at least \d+$', status['reason'])
            assert not status['healthy'] and status['lease'] != 'leased'
            assert world.agent.text().count('raise link.detect_ms') == 1


def test_an_instance_that_is_silent_for_long_is_not_healthy_and_after_that_it_is():
    with lab.Lab(takeover='manual', instance={'without_standby': 'hold'}) as world:
        world.protect()
        assert world.status('primary')['healthy']
        world.cut_link()
        status = lab.wait_for('it is told', lambda: (lambda s: s if s.get('reason', '').startswith('the instance may not answer') else None)(
            world.status('primary')))
        assert not status['healthy'] and status['lease'] == 'lapsed'
        assert 'the standby is silent and its lease has run out' in status['reason']
        world.mend_link()
        lab.wait_for('it answers', lambda: world.ask('get', 1))
        lab.wait_for('all is well', lambda: world.status('primary').get('healthy'))

"""A link that is lost, slow or comes from the wrong party costs protection, never the instance."""
import re
import socket
import subprocess
import time

import lab


def protected_again(world, epoch):
    world.wait_state('primary', 'protected')
    return lab.wait_for('later epochs are committed', lambda: (lambda e: e if e > epoch + 3 else None)(
        world.status('standby').get('epoch', 0)), 30)


def kill_and_check(world, counted):
    epoch = world.status('primary')['epoch']
    lab.wait_for('two more epochs', lambda: world.status('primary')['epoch'] >= epoch + 2)
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


def refused(world, wait=20.0):
    """Both logs, once the agent has been refused."""
    lab.wait_for('a refusal in the agent\'s log', lambda: re.search('refuse|certificate|version', world.agent.text()), wait, 0.1)
    time.sleep(0.5)
    assert world.status('primary').get('state') != 'protected'
    return world.agent.text(), world.appliance.text()


def test_a_certificate_of_another_ca_is_refused_and_both_sides_say_so():
    with lab.Lab() as world:
        subprocess.run([lab.UNDERSTUDY, 'pki', world.path('other')], check=True, stdout=subprocess.DEVNULL)
        world.extra['primary'] = {'tls': {'cert': world.path('other/primary.crt'), 'key': world.path('other/primary.key')}}
        world.start_guest()
        world.start_appliance()
        world.start_agent()
        agent, appliance = refused(world)
        assert 'certificate' in agent and 'certificate' in appliance, world.logs()
        assert world.ask('inc') is not None


def test_a_standby_certificate_does_not_make_a_primary():
    with lab.Lab() as world:
        world.extra['primary'] = {'tls': {'cert': world.path('pki/standby.crt'), 'key': world.path('pki/standby.key')}}
        world.start_guest()
        world.start_appliance()
        world.start_agent()
        _, appliance = refused(world)
        assert 'role' in appliance, world.logs()


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
    with lab.Lab(standby={'hypervisor': {'firmware': '/nonexistent'}}) as world:
        world.start_guest()
        world.start_appliance()
        world.start_agent()
        status = world.wait_state('primary', 'refused')
        assert 'standby cannot run' in status['reason'], status
        assert world.ask('inc') is not None

"""A standby that starts again has nothing to take over from, and says so until it has, or is told that it need not."""
import http.client
import os
import shutil
import signal
import socket

import pytest

import lab


def health(world):
    """The status of GET /healthz at the standby, and its text."""
    connection = http.client.HTTPConnection('localhost', timeout=2)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(world.path('standby.http'))
    try:
        connection.request('GET', '/healthz')
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def start_again(world, *states):
    world.start_appliance()
    return world.wait_state('standby', *states)


def post(world, verb):
    return lab.fetch_unix(world.path('standby.http'), f'/v1/{verb}', '{"instance": "vm1"}')


def test_a_restarted_standby_is_not_healthy_until_it_protects_again():
    with lab.Lab(takeover='manual') as world:
        world.start_guest()
        start_again(world, 'empty')
        assert health(world)[0] == 200, 'nothing was promised yet'
        world.start_agent()
        world.wait_state('standby', 'protected')
        assert health(world)[0] == 200
        for end in (lambda: world.appliance.kill(), lambda: world.appliance.stop()):
            world.agent.kill()
            world.wait_state('standby', 'unattended')
            end()
            status = start_again(world, 'empty')
            for word in ('began anew', 'was protected here (epoch ', 'term 1)', 'nothing to take over', 'understudy release'):
                assert word in status['reason'], status
            code, text = health(world)
            assert code == 503 and 'was protected here' in text, text
            refused = post(world, 'takeover')
            assert 'no committed epoch' in refused['error'], refused
            world.start_agent()
            world.wait_state('standby', 'protected')
            assert health(world)[0] == 200
        world.agent.kill()
        world.appliance.kill()
        start_again(world, 'empty')
        assert post(world, 'release') == {'ok': True}
        assert health(world)[0] == 200 and 'released' in world.status('standby')['reason']
        world.appliance.stop()
        start_again(world, 'empty')
        assert health(world)[0] == 200, 'that was kept'


def order_a_takeover_without_a_qemu(world):
    """The decision is on the disk, and a warm QEMU is not there for the second that its restart takes."""
    os.kill(world.replica(), signal.SIGKILL)
    lab.wait_for('its end is seen', lambda: 'hypervisor' not in world.status('standby'), step=0.001)
    term = os.path.join(world.path('state-b'), 'vm1', 'term')
    assert post(world, 'takeover') == {'ok': True}
    lab.wait_for('the decision is on the disk', lambda: open(term, 'rb').read()[10] == 2, step=0.001)     # appliance/term_record.h


@pytest.mark.calm     # it has a second for what it does before QEMU is there again
def test_a_takeover_that_was_cut_short_is_told():
    with lab.Lab(takeover='manual') as world:
        world.protect()
        world.agent.kill()
        term = os.path.join(world.path('state-b'), 'vm1', 'term')
        order_a_takeover_without_a_qemu(world)
        world.appliance.kill()
        shutil.copy(term, world.path('term'))
        # Neither knows whether one ran.
        lost = start_again(world, 'lost')
        assert 'there is no QEMU any more: if one ran' in lost['reason'] and health(world)[0] == 503, lost
        assert post(world, 'release') == {'ok': True}
        world.start_agent()
        world.wait_state('standby', 'protected')
        # With a QEMU that waits it is known that none ran.
        world.agent.kill()
        world.wait_state('standby', 'unattended')
        world.appliance.kill()
        shutil.copy(world.path('term'), term)
        for _ in range(2):
            cut = start_again(world, 'empty')
            for word in ('a takeover from epoch ', 'with term 2 was decided here and no replica came of it', 'cannot be tried again'):
                assert word in cut['reason'], cut
            assert health(world)[0] == 503
            world.appliance.kill()
        start_again(world, 'empty')
        world.start_agent()
        assert world.wait_state('standby', 'protected')['term'] == 2
        assert health(world)[0] == 200

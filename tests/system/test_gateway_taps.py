"""A guest's tap, on a bridge that it shares with the agent's alone: its frames are held and handed over as those of a -netdev dgram."""
import contextlib
import subprocess

import lab
import ledger
from test_gateway import gateway, seed_of_this_run


@contextlib.contextmanager
def client_of(world):
    """A ledger client on one connection, which goes on through whatever is done to the sites, and checks every answer."""
    client = ledger.Ledger(world, seed_of_this_run(), window=4)
    client.start()
    client.wait_for(50)
    try:
        yield client
        client.wait_for(100)
        client.finish()
    except BaseException:
        print(world.logs())
        raise


def survives_a_kill(world):
    world.protect()
    with client_of(world):
        world.kill_site_a()
        world.wait_state('standby', 'serving')


def test_a_killed_site_in_gateway_mode():
    with gateway(taps=(0,)) as world:
        survives_a_kill(world)


def test_a_killed_site_in_announce_mode():
    with gateway(announce=True, taps=(0,)) as world:
        survives_a_kill(world)


def test_an_agent_that_comes_back_takes_up_the_bridge_again():
    with gateway(taps=(0,), takeover='manual') as world:
        world.protect()
        with client_of(world):
            world.agent.kill()
            world.start_agent()
            world.wait_state('primary', 'protected')


def test_a_bridge_that_lets_frames_out_unheld_is_refused_until_it_does_not():
    with gateway(taps=(0,)) as world:
        world.a.run('ip', 'link', 'add', 'stray', 'type', 'veth', 'peer', 'name', 'other')
        world.a.run('ip', 'link', 'set', 'stray', 'master', 'usbr0')
        world.start_guest(wait=False)
        world.start_appliance()
        world.start_agent()
        reason = world.wait_state('primary', 'refused')['reason']
        assert 'stray' in reason and 'vm0' in reason, reason
        world.a.run('ip', 'link', 'set', 'stray', 'nomaster')
        world.wait_state('primary', 'protected')
        lab.wait_for('the guest answers', lambda: world.ask('get', timeout=1), 60, 0.1)


# A device that somebody deletes ------------------------------------------------------------------------------------


def lose(site, tap):
    """Deletes a site's tap; another device has its name then, before the program has made it anew."""
    def taken():
        site.run('ip', 'link', 'del', tap)
        try:
            site.run('ip', 'link', 'add', tap, 'type', 'veth', 'peer', 'name', 'stray')
        except subprocess.CalledProcessError:
            return False
        return True
    lab.wait_for(f'{tap} is another device', taken)


def tells(world, role, tap):
    """Whether its status and its health endpoint say that this tap is gone."""
    status, health = world.status(role), lab.fetch_unix(world.path(f'{role}.http'), '/healthz')
    said = f'tap {tap} is gone'
    return not status['healthy'] and said in status['reason'] and any(said in p['reason'] for p in health['problems'])


def goes_and_comes_back(world, role, site, tap):
    lose(site, tap)
    lab.wait_for(f'{role} says that {tap} is gone', lambda: tells(world, role, tap))
    site.run('ip', 'link', 'del', tap)
    lab.wait_for(f'{role} is healthy', lambda: world.status(role)['healthy'])
    lab.wait_for('the guest answers', lambda: world.ask('get', timeout=1), 60, 0.1)


def test_a_standbys_tap_that_is_deleted_is_told_and_made_anew_also_while_the_replica_serves():
    with gateway(takeover='manual') as world:
        world.protect()
        goes_and_comes_back(world, 'standby', world.b, 'us0')
        lose(world.b, 'us0')
        lab.wait_for('the standby says that us0 is gone', lambda: tells(world, 'standby', 'us0'))
        world.kill_site_a()
        lab.fetch_unix(world.path('standby.http'), '/v1/takeover', '{"instance": "vm1"}')
        world.wait_state('standby', 'serving')
        assert tells(world, 'standby', 'us0'), world.status('standby')
        assert 'clients do not reach the replica: tap us0 is gone' in world.appliance.text(), world.logs()
        world.b.run('ip', 'link', 'del', 'us0')
        lab.wait_for('the replica answers', lambda: world.ask('get', timeout=1), 60, 0.1)
        assert world.status('standby')['healthy']


def test_a_primarys_taps_that_are_deleted_are_told_and_made_anew():
    with gateway(announce=True, taps=(0,)) as world:
        world.protect()
        for tap in ('us0', 'usg0'):
            goes_and_comes_back(world, 'primary', world.a, tap)


def test_taps_that_lose_their_bridges_are_told_and_added_again():
    with gateway(takeover='manual', taps=(0,)) as world:
        world.protect()
        for role, site, tap, log in (('standby', world.b, 'us0', world.appliance), ('primary', world.a, 'usg0', world.agent)):
            site.run('ip', 'link', 'set', tap, 'nomaster')
            assert world.ask('get', timeout=0.2) is None
            lab.wait_for(f'{role} says it', lambda log=log, tap=tap: f'tap {tap} is a port of no bridge any more' in log.text())
            lab.wait_for('the guest answers', lambda: world.ask('get', timeout=1), 60, 0.1)
            lab.wait_for(f'{role} is healthy', lambda role=role: world.status(role)['healthy'])


def test_bridges_that_are_set_down_are_told():
    with gateway(takeover='manual', taps=(0,)) as world:
        world.protect()
        for role, site, bridge in (('standby', world.b, 'br0'), ('primary', world.a, 'usbr0')):
            site.run('ip', 'link', 'set', bridge, 'down')
            lab.wait_for(f'{role} says it', lambda role=role, bridge=bridge: f'bridge {bridge} of tap ' in world.status(role).get('reason', ''))
            assert not world.status(role)['healthy']
            site.run('ip', 'link', 'set', bridge, 'up')
            lab.wait_for(f'{role} is healthy', lambda role=role: world.status(role).get('healthy'))

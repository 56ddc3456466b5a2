"""A guest's tap, on a bridge that it shares with the agent's alone: its frames are held and handed over as those of a -netdev dgram."""
import contextlib

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

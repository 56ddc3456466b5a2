"""What GET /v1/status says of an instance: the same members on both roles, each from its side."""
import lab

MEMBERS = {'name', 'state', 'healthy', 'protected', 'term', 'epoch', 'lag_ms', 'lag_bytes', 'pause_ms', 'wire_ratio', 'wire_bytes',
           'pages', 'peer', 'link'}


def test_both_roles_tell_how_far_the_replica_is_behind_the_pauses_and_the_ratio():
    with lab.Lab(takeover='manual') as world:
        world.protect()

        def complete(role):
            return MEMBERS <= set(world.status(role))
        for role in ('primary', 'standby'):
            lab.wait_for(f'{role} knows all: {MEMBERS - set(world.status(role))}', lambda role=role: complete(role))
        primary, standby = world.status('primary'), world.status('standby')
        assert 0 < standby['wire_ratio'] < 1 and 0 < standby['pause_ms']['last'], standby
        assert 0 < primary['wire_ratio'] < 1, primary
        # Nothing comes any more: the replica only grows older, by at least what passes here.
        world.kill_site_a()
        world.wait_state('standby', 'unattended')
        before = world.status('standby')
        lab.wait_for('it is a second older', lambda: world.status('standby')['lag_ms'] >= before['lag_ms'] + 1000)
        assert world.status('standby')['epoch'] == before['epoch']
        # What runs here is no copy of anything.
        lab.fetch_unix(world.path('standby.http'), '/v1/takeover', '{"instance": "vm1"}')
        assert 'lag_ms' not in world.wait_state('standby', 'serving')

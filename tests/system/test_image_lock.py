"""The memory of a replica is its QEMU's, whatever becomes of the appliance: a standby that knows nothing of it does not write over it."""
import json
import os
import signal

import lab


def start_second(world):
    """A standby with a state_dir of its own, and the first one's memory_dir, site and address."""
    with open(world.write_config('standby')) as f:
        config = json.load(f)
    config['http']['listen'] = f"unix:{world.path('second')}.http"
    config['state_dir'] = world.path('state-2')
    with open(world.path('second.json'), 'w') as f:
        json.dump(config, f)
    return world.daemon(world.b, [lab.UNDERSTUDY, 'standby', '--config', world.path('second.json')], 'second.log')


def said(world, replica):
    lab.wait_for('the primary is told', lambda: f'in use by process {replica} ' in world.status('primary').get('reason', ''))
    return world.status('primary')


def test_a_replica_that_serves_is_not_written_over_by_another_standby():
    with lab.Lab() as world:
        world.protect()
        old = lab.Qmp(world.path('vm.qmp.lab'))
        old('stop')
        world.agent.kill()
        world.wait_state('standby', 'serving')
        replica = world.replica()
        with world.connect() as connection:
            counted = int(world.ask('inc', connection=connection))
            world.appliance.kill()
            second = start_second(world)
            old('cont')
            world.start_agent()
            primary = said(world, replica)
            assert primary['lease'] == 'waiting', 'nor may it answer'
            for word in (world.memory_dir(), f'in use by process {replica} ', 'end the process', 'a memory_dir of its own'):
                assert word in primary['reason'], primary
            assert int(world.ask('inc', connection=connection)) == counted + 1, 'the replica is whole'
            second.stop()
            # Its own appliance is not kept out.
            world.start_appliance()
            world.wait_state('standby', 'serving')
            world.wait_state('primary', 'superseded')
            assert int(world.ask('inc', connection=connection)) == counted + 2
        os.kill(replica, signal.SIGKILL)
        world.wait_state('standby', 'lost')
        for role in ('standby', 'primary'):
            assert lab.fetch_unix(world.path(f'{role}.http'), '/v1/release', '{"instance": "vm1"}') == {'ok': True}
        old('cont')
        world.wait_state('primary', 'protected')
        assert world.replica() not in (None, replica)


def test_a_waiting_qemu_of_an_earlier_life_makes_way_for_its_own_standby_only():
    with lab.Lab(takeover='manual') as world:
        world.protect()
        waiting = world.replica()
        world.appliance.kill()
        second = start_second(world)
        said(world, waiting)
        second.stop()
        world.start_appliance()
        world.wait_state('primary', 'protected')
        world.wait_state('standby', 'protected')
        assert world.replica() != waiting and f'ending process {waiting}' in world.appliance.text()

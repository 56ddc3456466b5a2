"""Only the standby that may take an instance over lets its primary answer: another one that answers at its address does not, nor the
same one after it has forgotten that it took over."""
import contextlib
import json
import os
import signal

import capture
import etcd
import lab

ALONE = {'memory_mib': 128, 'working_set_mib': 16, 'append': capture.APPEND}     # a network of the instance's own


def third_status(world):
    with contextlib.suppress(OSError, ValueError):
        return lab.fetch_unix(world.path('third.http'), '/v1/status')['instances'][0]
    return {}


def third_standby(world):
    """A standby of the same authority, with everything else its own, that answers at the first one's address when the link to that fails."""
    third = world.place('c')
    world.a.run('ip', 'link', 'add', 'wan2', 'type', 'veth', 'peer', 'name', 'wan2', 'netns', str(third.pid))
    third.run('ip', 'address', 'add', f'{lab.LINK_B}/24', 'dev', 'wan2')
    third.run('ip', 'link', 'set', 'wan2', 'up')
    third.run('ip', 'link', 'add', 'br0', 'type', 'bridge')
    third.run('ip', 'tuntap', 'add', 'tap0', 'mode', 'tap')
    third.run('ip', 'link', 'set', 'tap0', 'master', 'br0', 'up')
    third.run('ip', 'link', 'set', 'br0', 'up')
    with open(world.path('standby.json')) as f:
        config = json.load(f)
    config.update({'site': 'c', 'state_dir': world.path('state-c'), 'http': {'listen': f"unix:{world.path('third.http')}"},
                   'memory_dir': os.path.join(world.memory_dir(), 'c')})
    os.makedirs(config['memory_dir'], mode=0o700)
    with open(world.path('third.json'), 'w') as f:
        json.dump(config, f)
    world.daemon(third, [lab.UNDERSTUDY, 'standby', '--config', world.path('third.json')], 'third.log')
    lab.wait_for('the third standby answers', lambda: third_status(world))


def switch_path(world):
    """The link's address is the third standby's from now on."""
    world.a.run('ip', 'link', 'set', 'wan', 'down')
    world.a.run('ip', 'address', 'flush', 'dev', 'wan')
    world.a.run('ip', 'address', 'add', '10.78.0.1/24', 'dev', 'wan2')
    world.a.run('ip', 'link', 'set', 'wan2', 'up')


def wait_reason(world, *words):
    try:
        lab.wait_for(f'the primary says {words}', lambda: all(word in world.status('primary').get('reason', '') for word in words))
    except AssertionError as e:
        raise AssertionError(f"{e}; it is {world.status('primary')}\n{world.logs()}") from None
    return world.status('primary')


def third_log(world):
    with open(world.path('third.log')) as f:
        return f.read()


def test_a_lease_of_another_standby_does_not_count_until_the_operator_lets_it():
    with lab.Lab(**ALONE) as world:
        world.protect()
        third_standby(world)
        switch_path(world)
        world.wait_state('standby', 'serving')
        primary = wait_reason(world, 'another standby', 'site c', '`understudy release`')
        assert primary['lease'] == 'lapsed' and not primary['healthy'], primary
        lab.wait_for('the third standby has heard it', lambda: 'another standby protects this instance' in third_log(world))
        assert world.status('primary')['lease'] == 'lapsed', world.logs()
        # The operator has ended the first one, and says so.
        world.appliance.kill()
        lab.end_descendants_of(world.path('appliance.log'))
        assert world.operator('release', 'primary').returncode == 0, world.logs()
        world.wait_state('primary', 'protected')
        assert third_status(world)['state'] == 'protected'


def test_a_standby_that_is_new_asks_the_witness_first():
    with lab.Lab(**ALONE) as world:
        witness = etcd.Witness(world)
        witness.open()
        world.protect()
        assert world.agent.stop() == 0
        world.appliance.kill()
        lab.end_descendants_of(world.path('appliance.log'))
        os.rename(world.path('state-b'), world.path('state-lost'))
        witness.store({'term': 7, 'server': 'standby', 'site': 'c'})
        world.start_appliance()
        lab.wait_for('it says so', lambda: 'the standby of site c serves' in world.status('standby').get('reason', ''))
        assert not world.status('standby')['healthy']
        world.start_agent()
        lab.wait_for('the primary says so', lambda: 'the standby of site c serves' in world.agent.text())
        assert world.status('primary')['lease'] != 'leased'
        assert world.operator('release', 'standby').returncode == 0, world.logs()
        assert world.status('standby')['term'] == 7
        world.wait_state('primary', 'protected')


def test_a_standby_that_forgot_that_it_serves_is_nobodys_standby():
    with lab.Lab(**ALONE) as world:
        world.protect()
        world.cut_link()
        world.wait_state('standby', 'serving')
        replica = world.replica()
        assert world.agent.stop() == 0      # the next one knows of no standby
        world.appliance.kill()
        os.rename(world.path('state-b'), world.path('state-lost'))
        world.start_appliance()
        lab.wait_for('it tells of the replica',
                     lambda: f'in use by process {replica} ' in world.status('standby').get('reason', ''))
        assert not world.status('standby')['healthy']
        world.mend_link()
        lab.Qmp(world.path('vm.qmp.lab'))('cont')
        world.start_agent()
        primary = wait_reason(world, f'in use by process {replica} ')
        assert primary['lease'] == 'waiting', primary
        os.kill(replica, signal.SIGKILL)
        world.wait_state('primary', 'protected')


def test_another_site_s_instance_of_the_same_name_does_not_replace_what_is_kept():
    with lab.Lab(takeover='manual', memory_mib=128, working_set_mib=16) as world:
        world.protect()
        assert world.agent.stop() == 0
        epoch = world.wait_state('standby', 'unattended')['epoch']
        world.extra['primary']['site'] = 'other'
        world.start_agent()
        wait_reason(world, f'epoch {epoch:.0f} of the instance of site a is kept here', 'site other', '`understudy release`')
        standby = world.status('standby')
        assert standby['epoch'] == epoch and not standby['healthy'] and 'site other' in standby['reason'], standby
        assert world.operator('release', 'standby').returncode == 0, world.logs()
        assert world.status('standby')['state'] == 'empty'
        world.wait_state('standby', 'protected')

"""What a standby and its hypervisors have given up, as the kernel tells."""
import subprocess

import pytest

import lab

NET_ADMIN, SYS_MODULE, SYS_ADMIN = 1 << 12, 1 << 16, 1 << 21


def rights(pid):
    with open(f'/proc/{pid}/status', encoding='ascii') as f:
        fields = dict(line.split(':', 1) for line in f)
    return {'capabilities': int(fields['CapEff'], 16) | int(fields['CapPrm'], 16), 'no_new_privs': int(fields['NoNewPrivs']),
            'filters': int(fields['Seccomp_filters'])}


def missed(pid):
    """How much it would be: who is missed least is ended first when there is no memory."""
    with open(f'/proc/{pid}/oom_score_adj', encoding='ascii') as f:
        return -int(f.read())


@pytest.mark.parametrize('gateway, capabilities', [(True, 0), (False, NET_ADMIN)], ids=['dgram', 'tap'])
def test_a_replica_has_what_its_devices_need_and_serves(gateway, capabilities):
    with lab.Lab(gateway=gateway) as world:
        world.protect()
        standby, before = rights(world.appliance.pid), rights(world.replica())
        assert standby['no_new_privs'] == 1 and standby['filters'] >= 1 and not standby['capabilities'] & (SYS_ADMIN | SYS_MODULE)
        assert before['capabilities'] == capabilities and before['no_new_privs'] == 1 and before['filters'] > standby['filters']
        may = missed(world.appliance.pid) == 900    # only root of the machine itself
        assert missed(world.replica()) == 0
        world.kill_site_a()
        world.wait_state('standby', 'serving')
        assert lab.wait_for('an answer from the replica', lambda: world.ask('get', 1))
        assert rights(world.replica()) == before
        assert missed(world.replica()) == (600 if may else 0)


def test_what_is_of_the_same_user_cannot_look_into_the_standby():
    none = ['setpriv', '--bounding-set=-all', '--inh-caps=-all']
    with lab.Lab() as world:
        config = world.write_config('standby')
        standby = world.daemon(world.b, [*none, lab.UNDERSTUDY, 'standby', '--config', config], 'appliance.log')
        lab.wait_for('it runs', lambda: world.status('standby'))
        own, others = (subprocess.run([*none, 'cat', f'/proc/{pid}/environ'], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
                       for pid in ('self', standby.pid))
        assert own.returncode == 0 and others.returncode == 1 and b'Permission denied' in others.stderr


def test_one_that_is_not_to_be_confined_is_started_as_it_was():
    with lab.Lab(standby={'hypervisor': {'confine': False}}) as world:
        world.start_guest()
        world.start_appliance()
        world.start_agent()
        pid = lab.wait_for('the replica is reserved', world.replica)
        with open(f'/proc/{pid}/cmdline', 'rb') as f:
            assert not f.read().startswith(b'us-confine')
        assert rights(pid) == rights(world.appliance.pid)
        assert 'neither the standby nor its hypervisors are confined' in world.appliance.text()

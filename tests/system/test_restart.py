"""Who serves is not forgotten: not when the appliance is killed, and not when the replica has ended as well."""
import contextlib
import json
import os
import signal
import subprocess
import time

import certificates
import lab


def take_over_and_leave_the_old_instance_paused(world):
    """The agent dies, the instance stands still as if cut off; the standby takes over. The monitor of the old instance."""
    old = lab.Qmp(world.path('vm.qmp.lab'))
    old('stop')
    world.agent.kill()
    served = world.wait_state('standby', 'serving')
    assert served['term'] == 2
    lab.wait_for('an answer from the replica', lambda: world.ask('get', 1))
    return old, served


def release(world, role):
    return world.operator('release', role)


def test_a_restarted_appliance_goes_on_serving_with_its_term():
    with lab.Lab() as world:
        world.protect()
        old, served = take_over_and_leave_the_old_instance_paused(world)
        with world.connect() as connection:
            counted = int(world.ask('inc', connection=connection))
            world.appliance.kill()
            assert int(world.ask('inc', connection=connection)) == counted + 1, 'the replica does not need the appliance'
            world.start_appliance()
            again = world.wait_state('standby', 'serving')
            assert again['term'] == served['term'] and again['hypervisor'] == 'running' and again['healthy'], again
            assert int(world.ask('inc', connection=connection)) == counted + 2
            # The old instance runs when its agent comes back, and must not for long.
            old('cont')
            world.start_agent()
            primary = world.wait_state('primary', 'superseded')
            assert primary['term'] == served['term'], primary
            lab.wait_for('the old instance is paused', lambda: not old('query-status')['running'])
            assert world.qemu.running(), 'its state is kept'
            refused = release(world, 'standby')
            assert refused.returncode == 1 and 'the replica serves' in refused.stderr, refused
        assert int(lab.wait_for('the replica answers', lambda: world.ask('get', 1))) == counted + 2
        world.appliance.stop()
        world.extra['standby'] = {'tls': certificates.issue(world, 'expired', 'standby', -120, -60)}
        world.start_appliance()
        assert world.wait_state('standby', 'serving')['term'] == served['term'], 'nor after an orderly end, with a certificate that has run out'
        assert 'has expired' in certificates.complaints(world, 'standby')[0]
        assert int(lab.wait_for('the replica answers', lambda: world.ask('get', 1))) == counted + 2
        world.appliance.kill()
        state = os.path.join(world.path('state-b'), 'vm1')
        os.rename(os.path.join(state, 'qemu', 'replica.qmp'), os.path.join(state, 'replica.qmp'))
        world.start_appliance()
        assert world.wait_state('standby', 'serving')['term'] == served['term'], 'nor where an older version has started it'


def test_a_replica_whose_qmp_socket_was_removed_is_not_lost():
    with lab.Lab() as world:
        world.protect()
        _, served = take_over_and_leave_the_old_instance_paused(world)
        with world.connect() as connection:
            counted = int(world.ask('inc', connection=connection))
            world.appliance.kill()
            os.unlink(os.path.join(world.path('state-b'), 'vm1', 'qemu', 'replica.qmp'))
            world.start_appliance()
            again = world.wait_state('standby', 'serving')
            assert again['term'] == served['term'] and again['hypervisor'] == 'silent' and not again['healthy'], again
            assert 'its QMP socket is gone' in again['reason'], again
            assert int(world.ask('inc', connection=connection)) == counted + 1
        refused = release(world, 'standby')
        assert refused.returncode == 1 and 'the replica serves' in refused.stderr, refused
        os.kill(world.replica(), signal.SIGKILL)
        world.wait_state('standby', 'lost')


def test_what_served_and_ended_is_not_forgotten_until_the_operator_lets_go():
    with lab.Lab() as world:
        world.protect()
        old, _ = take_over_and_leave_the_old_instance_paused(world)
        world.appliance.kill()
        os.kill(world.replica(), signal.SIGKILL)
        world.start_appliance()
        lost = world.wait_state('standby', 'lost')
        assert lost['term'] == 2 and not lost['healthy'] and 'understudy release' in lost['reason'], lost
        # An older state never goes on silently.
        old('cont')
        world.start_agent()
        world.wait_state('primary', 'superseded')
        lab.wait_for('the old instance is paused', lambda: not old('query-status')['running'])
        refused = world.operator('takeover', 'standby')
        assert refused.returncode == 1 and 'its replica has ended' in refused.stderr, refused
        # The primary alone cannot let go: the standby would say it again.
        refused = release(world, 'primary')
        assert refused.returncode == 1 and 'the standby is connected' in refused.stderr and 'its replica has ended' in refused.stderr, refused
        assert world.status('primary')['state'] == 'superseded'
        assert release(world, 'standby').returncode == 0
        assert world.status('standby')['state'] == 'empty'
        lab.wait_for('QEMU has let it go', lambda: release(world, 'primary').returncode == 0)
        time.sleep(1)
        assert not old('query-status')['running'], 'it is the operator who resumes it'
        old('cont')
        world.wait_state('primary', 'protected')
        assert world.wait_state('standby', 'protected')['term'] == 2
        world.kill_site_a()
        assert world.wait_state('standby', 'serving')['term'] == 3
        lab.wait_for('an answer', lambda: world.ask('get', 1))


def test_what_is_let_go_on_hold_without_a_standby_is_told_what_it_takes_to_run():
    with lab.Lab(memory_mib=128, working_set_mib=16) as world:
        world.protect()
        assert lab.fetch_unix(world.path('standby.http'), '/v1/takeover', '{"instance": "vm1"}') == {'ok': True}
        world.wait_state('primary', 'superseded')
        world.cut_link()
        world.wait_state('standby', 'serving')
        lab.wait_for('its capture has ended', lambda: release(world, 'primary').returncode == 0, step=0.2)
        status = world.wait_state('primary', 'refused')
        assert status['reason'].endswith('resume it first; it answers only when a standby lets it, or with "without_standby": "continue" '
                                         'after a restart of the agent'), status
        assert '; it answers only when' in world.agent.text().split('connecting: released by the operator; ')[1].split('\n')[0]
        with contextlib.closing(lab.Qmp(world.path('vm.qmp.lab'))) as old:
            old('cont')
            lab.wait_for('it is paused again', lambda: not old('query-status')['running'])


def test_a_replica_that_ends_under_a_running_appliance_is_lost_and_can_be_let_go():
    with lab.Lab() as world:
        world.protect()
        old, _ = take_over_and_leave_the_old_instance_paused(world)
        os.kill(world.replica(), signal.SIGKILL)
        world.wait_state('standby', 'lost')
        assert release(world, 'standby').returncode == 0
        old('cont')
        world.start_agent()
        world.wait_state('primary', 'protected')


def made(directory):
    try:
        os.mkdir(directory)
    except FileExistsError:
        return False
    return True


def test_no_replica_runs_whose_term_cannot_be_kept():
    with lab.Lab() as world:
        world.protect()
        obstacle = os.path.join(world.path('state-b'), 'vm1', 'term.tmp')
        lab.wait_for('room for the obstacle', lambda: made(obstacle))    # that epochs are committed here may just be written down
        world.kill_site_a()
        failed = world.wait_state('standby', 'unattended')
        assert not failed['healthy'] and 'the term cannot be kept' in failed['reason'] and obstacle in failed['reason'], failed
        assert world.ask('get', 1) is None
        os.rmdir(obstacle)
        answer = lab.fetch_unix(world.path('standby.http'), '/v1/takeover', '{"instance": "vm1"}')
        assert answer == {'ok': True}
        assert world.wait_state('standby', 'serving')['term'] == 3
        lab.wait_for('an answer', lambda: world.ask('get', 1))
        assert world.status('standby')['healthy']


def test_a_second_standby_on_one_state_dir_is_refused_naming_the_first():
    with lab.Lab() as world:
        first = world.start_appliance()
        lab.wait_for('the standby answers', lambda: world.status('standby'))
        with open(world.path('standby.json')) as f:
            config = json.load(f)
        config['http']['listen'] = f"unix:{world.path('second')}.http"
        config['link']['listen'] = f'{lab.LINK_B}:{lab.LINK_PORT + 1}'
        with open(world.path('second.json'), 'w') as f:
            json.dump(config, f)
        second = world.daemon(world.b, [lab.UNDERSTUDY, 'standby', '--config', world.path('second.json')], 'second.log')
        assert second.process.wait(10) == 1
        assert f'process {first.pid} has it' in second.text(), second.text()
        assert world.status('standby')['state'] == 'empty', 'the first is not disturbed'


def test_a_damaged_term_stops_the_start_and_says_what_to_do():
    with lab.Lab() as world:
        world.start_appliance()
        lab.wait_for('the standby answers', lambda: world.status('standby'))
        world.appliance.stop()
        path = os.path.join(world.path('state-b'), 'vm1', 'term')
        with open(path, 'r+b') as f:
            f.seek(16)
            f.write(b'\x09')
        appliance = world.start_appliance()
        assert appliance.process.wait(10) == 1
        assert path in appliance.text() and 'restore it' in appliance.text(), appliance.text()
        with world.b.inside():
            check = subprocess.run([lab.UNDERSTUDY, 'check', '--config', world.path('standby.json')], stderr=subprocess.PIPE, check=False)
        assert check.returncode == 1 and path.encode() in check.stderr, check.stderr
        os.unlink(path)
        world.start_appliance()
        world.wait_state('standby', 'empty')

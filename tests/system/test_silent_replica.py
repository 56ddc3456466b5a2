"""A warm QEMU that answers nothing when it is needed costs time, and neither the copy nor the instance."""
import os
import signal

import lab

ACTIVATE_S = 10     # ACTIVATE_MS: nobody waits longer for it


def warm_qemu(world):
    """The process that holds the replica."""
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{pid}/cmdline', 'rb') as command, open(f'/proc/{pid}/environ', 'rb') as environment:
                if b'\0defer\0' in command.read() and world.dir.encode() in environment.read():
                    return int(pid)
        except OSError:
            pass    # it has ended, or is not ours to read
    raise AssertionError('there is no warm QEMU')


def test_the_operator_takes_over_after_a_stuck_warm_qemu_has_failed_to():
    with lab.Lab(gateway=True, memory_mib=128, working_set_mib=16) as world:
        world.protect()
        counted = int(world.ask('inc').split()[-1])
        stuck = warm_qemu(world)
        os.kill(stuck, signal.SIGSTOP)
        lab.wait_for('it is told', lambda: world.status('standby').get('reason') == 'the warm QEMU does not answer', 30)
        status = world.status('standby')
        assert status['protected'] and not status['healthy'], status
        world.kill_site_a()
        status = world.wait_state('standby', 'unattended', timeout=ACTIVATE_S + 20)
        assert 'nothing has run here' in status['reason'] and status['epoch'] > 0, status
        assert not os.path.exists(f'/proc/{stuck}'), 'it was killed'
        assert lab.fetch_unix(world.path('standby.http'), '/v1/takeover', '{"instance": "vm1"}') == {'ok': True}
        world.wait_state('standby', 'serving')
        lab.wait_for('the guest answers', lambda: world.ask('get', timeout=1), 30)
        assert int(world.ask('get').split()[-1]) >= counted
        assert 'empty:' not in world.appliance.text(), world.logs()

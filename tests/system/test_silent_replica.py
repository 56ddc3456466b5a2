"""A warm QEMU that answers nothing when it is needed costs time, and neither the copy nor the instance."""
import ctypes
import os
import signal
import socket

import lab

ACTIVATE_S = 10     # ACTIVATE_MS: nobody waits longer for it


PIDFD_GETFD = 438   # system call


def say_nonsense(world, pid):
    """To the appliance, by that QEMU's own end of their QMP connection."""
    process = os.pidfd_open(pid)
    for name in os.listdir(f'/proc/{pid}/fd'):
        if not os.readlink(f'/proc/{pid}/fd/{name}').startswith('socket:'):
            continue
        fd = ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, process, int(name), 0)
        assert fd >= 0, os.strerror(ctypes.get_errno())
        with socket.socket(fileno=fd) as end:
            if end.family == socket.AF_UNIX and str(end.getsockname()).startswith(world.path('state-b')) and is_connected(end):
                end.sendall(b'nonsense\n')
    os.close(process)


def is_connected(end):
    try:
        end.getpeername()
        return end.type == socket.SOCK_STREAM
    except OSError:
        return False


def test_what_a_qemu_may_have_run_is_given_up_and_that_is_said_once():
    with lab.Lab(gateway=True, memory_mib=128, working_set_mib=16) as world:
        world.protect()
        stuck = world.replica()
        os.kill(stuck, signal.SIGSTOP)
        world.kill_site_a()
        world.wait_state('standby', 'taking-over')
        lab.wait_for('it is told to run', lambda: world.status('standby').get('hypervisor') == 'activating')
        say_nonsense(world, stuck)
        reason = world.wait_state('standby', 'empty')['reason']
        assert reason.count('no replica came of it') == 1 and 'QMP' in reason, reason
        assert 'tries again' not in world.appliance.text(), world.logs()


def test_the_operator_takes_over_after_a_stuck_warm_qemu_has_failed_to():
    with lab.Lab(gateway=True, memory_mib=128, working_set_mib=16) as world:
        world.protect()
        counted = int(world.ask('inc').split()[-1])
        stuck = world.replica()
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

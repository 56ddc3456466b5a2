"""How the daemons start and end: with a configuration that `check` takes, or not at all; and once they are told to."""
import os
import signal
import subprocess
import time

import pytest

import lab


def run(*command, **options):
    return subprocess.run([lab.UNDERSTUDY, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False, timeout=20, **options)


@pytest.mark.parametrize('role, extra, part', [
    ('primary', {'tls': {'cert': 'pki/standby.crt', 'key': 'pki/standby.key'}}, 'OU=primary'),
    ('primary', {'tls': {'ca': 'other/ca.crt'}}, 'not one of this authority'),
    ('standby', {'hypervisor': {'program': '/nowhere/qemu'}}, 'hypervisor.program: /nowhere/qemu'),
])
def test_what_check_refuses_a_daemon_does_not_start_with_in_the_same_words(role, extra, part):
    with lab.Lab(**{role: extra}) as world:
        assert run('pki', world.path('other')).returncode == 0
        path = world.write_config(role)
        there = {'preexec_fn': world.b.enter, 'pass_fds': [world.b.fd]}
        check, daemon = run('check', '--config', path, **there), run(role, '--config', path, **there)
        assert check.returncode == 1 and daemon.returncode == 1
        errors = [line.removeprefix('error: ') for line in check.stdout.splitlines() if line.startswith('error: ')]
        assert len(errors) == 1 and part in errors[0], check.stdout
        assert errors[0] in daemon.stdout, daemon.stdout


def test_a_pipe_is_no_configuration_file_and_nobody_waits_for_it(tmp_path):
    os.mkfifo(tmp_path / 'fifo')
    for verb in ('check', 'primary', 'standby'):
        result = run(verb, '--config', str(tmp_path / 'fifo'))
        assert result.returncode == 1 and 'is no regular file' in result.stdout, result.stdout


@pytest.mark.parametrize('role', ['primary', 'standby'])
def test_impatient_signals_do_not_cut_the_end_short(role):
    for pause in (0, 0.001, 0.003, 0.01):
        with lab.Lab() as world:
            daemon = world.start_agent() if role == 'primary' else world.start_appliance()
            lab.wait_for('it runs', lambda: world.status(role))
            while daemon.running():
                daemon.signal(signal.SIGTERM)
                time.sleep(pause)
            assert daemon.process.returncode == 0, daemon.text()


@pytest.mark.parametrize('role', ['primary', 'standby'])
def test_closed_standard_descriptors_are_not_those_of_other_files(role):
    with lab.Lab() as world:
        command = [lab.UNDERSTUDY, role, '--debug', '--config', world.write_config(role)]
        daemon = world.daemon(world.b, ['sh', '-c', 'exec "$@" <&- >&- 2>&-', 'sh', *command], 'closed.log')
        lab.wait_for('it runs', lambda: world.status(role))
        assert [os.readlink(f'/proc/{daemon.pid}/fd/{fd}') for fd in (0, 1, 2)] == ['/dev/null'] * 3
        daemon.signal(signal.SIGHUP)        # logged somewhere, if there is a place for it
        assert daemon.stop() == 0
        if role == 'standby':
            with open(world.path('state-b/.lock')) as lock:
                assert lock.read().split() == [str(daemon.pid)]


def test_a_closed_standard_output_is_an_error():
    result = subprocess.run(['sh', '-c', '"$1" version >&-', 'sh', lab.UNDERSTUDY], stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == 1 and 'standard output' in result.stderr, result


def test_the_first_copy_is_told_of_however_fast_it_was():
    with lab.Lab(memory_mib=96, dirty=0, working_set_mib=8, takeover='manual') as world:
        world.protect()
        copy = world.status('primary')['initial_sync']
        assert 96 << 20 <= copy['total_bytes'] == copy['done_bytes'] < 112 << 20 and copy['mib_s'] > 0, copy

"""The demo tells its story to whatever it writes to, and however it is ended, nothing of it is left."""
import contextlib
import os
import signal
import subprocess
import sys

import pytest

import lab

DEMO = os.path.join(lab.TREE, 'tests', 'demo', 'demo.py')


def begin(tmp_path, **environment):
    def usual_signals():        # whatever this process ignores
        for signum in lab.ENDING:
            signal.signal(signum, signal.SIG_DFL)

    return subprocess.Popen([sys.executable, DEMO], env=os.environ | {'TMPDIR': str(tmp_path)} | environment, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, start_new_session=True, preexec_fn=usual_signals)


def of_session(leader):
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir('/proc'))):
        with contextlib.suppress(OSError):
            if os.getsid(pid) == leader:
                found.append(pid)
    return found


@pytest.mark.parametrize('signum', lab.ENDING)
def test_a_signal_ends_it_with_a_line_and_nothing_is_left(tmp_path, signum):
    demo = begin(tmp_path)
    while ' 2. ' not in demo.stdout.readline():
        assert demo.poll() is None, demo.stderr.read()
    directory, = os.listdir(tmp_path)
    os.killpg(demo.pid, signum)         # as a terminal does: everybody gets it
    out, err = demo.communicate(timeout=60)
    assert demo.returncode == 128 + signum, err
    assert err.strip() == f'demo: {signum.name}: ending' and 'Traceback' not in out, err
    assert not os.listdir(tmp_path) and directory not in os.listdir('/dev/shm')
    lab.wait_for('every process of it has ended', lambda: not of_session(demo.pid), 10)


def test_what_this_machine_lacks_is_said_in_one_line(tmp_path):
    demo = subprocess.run(['unshare', '--mount', 'sh', '-c', 'mount -t tmpfs none /dev/net 2>/dev/null && exec "$@"', 'sh', sys.executable,
                           DEMO], env=os.environ | {'TMPDIR': str(tmp_path)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          check=False)
    if demo.returncode == 32 or not demo.stderr:
        pytest.skip('nothing can be mounted over /dev/net here')
    assert demo.returncode == 1 and demo.stderr.startswith('demo: /dev/net/tun cannot be opened'), demo.stderr
    assert len(demo.stderr.splitlines()) == 1 and not os.listdir(tmp_path)

"""The demo tells its story to whatever it writes to, and however it is ended, nothing of it is left."""
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

import lab

DEMO = os.path.join(lab.TREE, 'tests', 'demo', 'demo.py')


def begin(place):
    def usual_signals():        # whatever this process ignores
        for signum in lab.ENDING:
            signal.signal(signum, signal.SIG_DFL)

    return subprocess.Popen([sys.executable, DEMO], env=os.environ | {'TMPDIR': place}, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, start_new_session=True, preexec_fn=usual_signals)


@pytest.fixture
def place():
    """A directory whose name is short enough for sockets in it."""
    path = tempfile.mkdtemp(prefix='understudy-demo-')
    yield path
    shutil.rmtree(path)


def of_session(leader):
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir('/proc'))):
        with contextlib.suppress(OSError):
            if os.getsid(pid) == leader:
                found.append(pid)
    return found


@pytest.mark.parametrize('signum', lab.ENDING)
def test_a_signal_ends_it_with_a_line_and_nothing_is_left(place, signum):
    demo = begin(place)
    while ' 2. ' not in demo.stdout.readline():
        assert demo.poll() is None, demo.stderr.read()
    directory, = os.listdir(place)
    os.killpg(demo.pid, signum)         # as a terminal does: everybody gets it
    out, err = demo.communicate(timeout=60)
    assert demo.returncode == 128 + signum, err
    assert err.strip() == f'demo: {signum.name}: ending' and 'Traceback' not in out, err
    assert not os.listdir(place) and directory not in os.listdir('/dev/shm')
    lab.wait_for('every process of it has ended', lambda: not of_session(demo.pid), 10)


def test_what_this_machine_lacks_is_said_in_one_line(tmp_path):
    demo = subprocess.run(['unshare', '--mount', 'sh', '-c', 'mount -t tmpfs none /dev/net 2>/dev/null && exec "$@"', 'sh', sys.executable,
                           DEMO], env=os.environ | {'TMPDIR': str(tmp_path)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          check=False)
    if demo.returncode == 32 or not demo.stderr:
        pytest.skip('nothing can be mounted over /dev/net here')
    assert demo.returncode == 1 and demo.stderr.startswith('demo: /dev/net/tun cannot be opened'), demo.stderr
    assert len(demo.stderr.splitlines()) == 1 and not os.listdir(tmp_path)


@pytest.mark.alone
def test_a_signal_does_not_cut_the_end_of_a_lab_short():
    done = []
    with pytest.raises(KeyboardInterrupt), lab.undisturbed():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        done.append('the end')
    assert done and signal.getsignal(signal.SIGTERM) == signal.default_int_handler     # conftest.py

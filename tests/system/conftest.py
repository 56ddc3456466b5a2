"""What the system tests share. Each test builds a lab of its own and leaves nothing behind; a missing part is a skip that names it."""
import os
import signal
import sys
import threading

import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import lab  # noqa: E402
import saved_guest  # noqa: E402

lab.Lab.resume = saved_guest.resume


def pytest_configure(config):
    if threading.current_thread() is threading.main_thread():      # a worker of pytest-xdist may run its tests in another
        for signum in (signal.SIGTERM, signal.SIGHUP):      # as a terminal's interrupt: what a lab has made is removed
            signal.signal(signum, signal.default_int_handler)
    config.addinivalue_line('markers', 'calm: a busy machine can bring about what it asserts against (a takeover, a moment missed): beside few others')
    config.addinivalue_line('markers', 'alone: it has to run in the main thread, which is no worker\'s of pytest-xdist')


@pytest.fixture(autouse=True)
def parts():
    for part, target in ((lab.UNDERSTUDY, 'make'), (lab.QEMU, 'make qemu'), (lab.KERNEL, 'make guest'), (lab.INITRAMFS, 'make guest')):
        if not os.path.exists(part):
            pytest.skip(f'{os.path.relpath(part, lab.TREE)} is missing: {target}')

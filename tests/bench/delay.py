"""The link with a delay: bench_delay_proxy at site A, in front of an address."""
import contextlib
import subprocess

from measure import Unmeasured, program


@contextlib.contextmanager
def delayed(world, listen, target, delay_ms):
    """Where to connect to at site A for `target` (IP:PORT or unix:PATH): `listen`, with the delay in ms each way; without one, `target`."""
    if delay_ms == 0:
        yield target
        return
    proxy = world.a.popen([program('bench_delay_proxy'), listen, target, str(delay_ms)], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE)
    try:
        if proxy.stdout.readline() != b'ready\n':
            raise Unmeasured('the delay proxy does not start')
        yield listen
    finally:
        proxy.kill()
        proxy.wait()
        proxy.stdout.close()

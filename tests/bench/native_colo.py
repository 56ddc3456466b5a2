"""QEMU's own COLO between two QEMUs, as docs/COLO-FT.txt sets it up, less the disks and the comparison of network output: memory and
device state only, which is what understudy's pause is compared with.

The two have the same command line; the secondary's network device ends in a tap that leads nowhere, for COLO runs the guest on both sides.
The primary's bandwidth limit (128 MiB/s by default) is lifted, as understudy lifts it. They are connected by unix sockets, which is
the best that native COLO can do: over TCP, its small messages wait for each other's acknowledgements (QEMU does not set TCP_NODELAY there),
which adds some 40 ms to each pause and would not be a comparison of the two designs.
"""
import contextlib

import lab
from delay import delayed
from measure import INTERVAL_MS, Monitor, Unmeasured

WARM_UP = 5             # checkpoints before it counts
FIRST_COPY_S = 60
COLO = [{'capability': 'x-colo', 'state': True}]


class Ended(Unmeasured):
    """Native COLO did not last, which happens: worth another attempt."""


def start_secondary(world, uri):
    world.b.run('ip', 'tuntap', 'add', 'nowhere', 'mode', 'tap')
    command = [a.replace('ifname=tap0', 'ifname=nowhere')
               for a in world.qemu_command(world.path('colo.qmp'), world.path('console-colo.log'))]
    return world.daemon(world.b, command + ['-incoming', uri], 'qemu-colo.log')


def in_colo(primary, secondary):
    status = primary('query-migrate').get('status')
    if status in ('failed', 'cancelled') or not secondary.running():
        raise Ended(f'native COLO: the migration is {status}; the secondary says: {secondary.text()[-400:]}')
    return status == 'colo'


def protect(world, stack, delay_ms=0):
    """Native COLO in a lab whose guest runs: the secondary, and a connection to either QEMU. All of it ends with `stack`."""
    target, listen = (f'unix:{world.path(name)}' for name in ('colo', 'colo-delayed'))
    secondary = start_secondary(world, target)
    stack.callback(secondary.kill)
    incoming = stack.enter_context(contextlib.closing(Monitor(world.path('colo.qmp'))))
    incoming('migrate-set-capabilities', capabilities=COLO)
    uri = stack.enter_context(delayed(world, listen, target, delay_ms))
    primary = stack.enter_context(contextlib.closing(Monitor(world.path('vm.qmp.lab'))))
    primary('migrate-set-capabilities', capabilities=COLO)
    primary('migrate-set-parameters', **{'x-checkpoint-delay': INTERVAL_MS, 'max-bandwidth': 1 << 40})
    primary('migrate', uri=uri)
    lab.wait_for('native COLO', lambda: in_colo(primary, secondary), FIRST_COPY_S, 0.05)
    return secondary, incoming, primary


def measure(world, checkpoints, delay_ms, progress):
    """The primary's pauses in ms, in a lab whose guest runs."""
    with contextlib.ExitStack() as stack:
        secondary, _, primary = protect(world, stack, delay_ms)
        try:
            primary.watch(WARM_UP, 8)
            pauses = primary.watch(checkpoints, 120, progress)
        except Unmeasured as e:
            raise Ended(f'native COLO: {e}') from None
        if not in_colo(primary, secondary):
            raise Ended('native COLO ended during the measurement')
        return pauses

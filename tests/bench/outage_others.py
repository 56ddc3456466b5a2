"""What clients notice of a killed site with what a user would pick instead, on the same two sites with the same guest.

keepalived and a cold boot: VRRPv3 between the sites at the fastest interval that never changed sides by itself here; on its
transition to master the standby boots the VM from its image. Nothing of the VM's memory survives, so no connection does: a client
counts from the kill to the first answer on a new one.

Native COLO: QEMU's own, memory and device state only (native_colo.py), with a watcher that is as patient as our default and then tells the
secondary to go on. Its network output is not compared or held (that needs a QEMU built with colo-proxy, and a guest under TCG diverges
all the time), so whether the connection lives on is luck: it is counted. The secondary's tap joins the bridge when it takes over.
"""
import contextlib
import os
import signal
import statistics
import threading
import time

import lab
import native_colo
from measure import Unmeasured, once, say, summary

KILLS = 10
ADVERT_S = 0.1          # at 0.01 s a machine as busy as this one changes sides without a failure
DETECT_MS = 300         # the same patience as our default for native COLO
DIRTY_PER_S = 500
ATTEMPTS = 4
OPTIONS = {'memory_mib': 128, 'working_set_mib': 16, 'dirty': DIRTY_PER_S}


class Client(threading.Thread):
    """Counts on one connection for as long as that lasts; the times of its answers."""

    def __init__(self, world):
        super().__init__(daemon=True)
        self.world, self.connection, self.times, self.stopping, self.lasts = world, world.connect(), [], False, True
        self.start()

    def run(self):
        expected = 0
        while not self.stopping:
            answer = self.world.ask('inc', 10, self.connection)
            expected += 1
            if answer != str(expected):
                self.lasts = False
                return
            self.times.append(time.monotonic())

    def first_answer_since(self, moment):
        """On this connection or a new one, whichever comes first."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if self.times and self.times[-1] > moment:
                return next(t for t in self.times if t > moment)
            if self.world.ask('get', timeout=0.1) is not None:
                return time.monotonic()
        raise Unmeasured(f'no answer within 60 s\n{self.world.logs()}')

    def end(self):
        """Whether the connection went on, without a number missing or repeated."""
        counted = len(self.times)
        with contextlib.suppress(AssertionError):
            lab.wait_for('the connection goes on', lambda: not self.lasts or len(self.times) > counted, 12)
        self.stopping = True
        lasted = self.lasts and len(self.times) > counted
        self.connection.close()
        return lasted


# keepalived ----------------------------------------------------------------------------------------------------------


def start_keepalived(world, site, priority, command):
    """keepalived in the site's namespace; `command` runs when it becomes master."""
    path = world.path(f'keepalived-{site.name}')
    with open(f'{path}.sh', 'w') as f:
        f.write(f'#!/bin/sh\n{command}\n')
    os.chmod(f'{path}.sh', 0o700)
    with open(f'{path}.conf', 'w') as f:
        f.write('global_defs {\n vrrp_version 3\n script_user root\n enable_script_security\n}\n'
                f'vrrp_instance vm1 {{\n state BACKUP\n interface br0\n virtual_router_id 51\n priority {priority}\n advert_int {ADVERT_S}\n'
                f' virtual_ipaddress {{\n 10.77.0.100/24\n }}\n notify_master {path}.sh\n}}\n')
    return world.daemon(site, ['keepalived', '--dont-fork', '--log-console', '--vrrp', '-f', f'{path}.conf', '-p', f'{path}.pid',
                               '-r', f'{path}-vrrp.pid'], f'keepalived-{site.name}.log')


def kill_keepalived(world, daemon):
    """As when its machine dies: it starts no other child and says no goodbye."""
    with open(world.path('keepalived-a-vrrp.pid')) as f:
        child = int(f.read())
    daemon.signal(signal.SIGSTOP)
    os.kill(child, signal.SIGKILL)
    daemon.kill()


def cold_boot():
    with lab.Lab(**OPTIONS) as world:
        for site, address in ((world.a, '10.77.0.11/24'), (world.b, '10.77.0.12/24')):
            site.run('ip', 'addr', 'add', address, 'dev', 'br0')
        world.start_guest()
        boot = ' '.join(f"'{word}'" for word in world.qemu_command(world.path('b.qmp'), world.path('console-b.log')))
        first = start_keepalived(world, world.a, 200, 'exit 0')
        lab.wait_for('keepalived is master at site A', lambda: 'Entering MASTER STATE' in first.text(), 20)
        second = start_keepalived(world, world.b, 100, f'echo booted >>{world.path("booted")}; exec {boot} </dev/null >/dev/null 2>&1')
        lab.wait_for('keepalived at site B hears it', lambda: 'Entering BACKUP STATE' in second.text(), 20)
        client = Client(world)
        lab.wait_for('the client counts', lambda: len(client.times) > 20)
        time.sleep(1)
        if os.path.exists(world.path('booted')):
            raise Unmeasured(f'keepalived changed sides without a failure\n{second.text()[-800:]}')
        killed = time.monotonic()
        world.qemu.kill()
        kill_keepalived(world, first)
        answered = client.first_answer_since(killed + 0.05)     # what was on its way may still come
        return (answered - killed) * 1e3, client.end()


# Native COLO ---------------------------------------------------------------------------------------------------------


def native():
    with lab.Lab(**OPTIONS) as world, contextlib.ExitStack() as stack:
        world.start_guest()
        client = Client(world)
        secondary, incoming, primary = native_colo.protect(world, stack)
        primary.watch(native_colo.WARM_UP, 20)
        killed = time.monotonic()
        world.qemu.kill()
        time.sleep(max(0.0, killed + DETECT_MS / 1e3 - time.monotonic()))
        if not secondary.running():
            raise native_colo.Ended(f'native COLO: the secondary has ended: {secondary.text()[-400:]}')
        incoming('x-colo-lost-heartbeat')
        world.b.run('ip', 'link', 'set', 'nowhere', 'master', 'br0', 'up')
        answered = client.first_answer_since(killed + 0.05)
        return (answered - killed) * 1e3, client.end()


METHODS = {'keepalived and a cold boot': cold_boot, 'native COLO': native}


def attempt(method):
    for _ in range(ATTEMPTS):
        try:
            return method()
        except native_colo.Ended as e:
            say(f'{e}; again')
    raise Unmeasured(f'native COLO did not stay up in {ATTEMPTS} attempts')


@once
def measured():
    """By name: the outages in ms, and how many connections went on."""
    outages, lasted = ({name: [] for name in METHODS} for _ in range(2))
    for kill in range(KILLS):
        for name, method in METHODS.items():
            outage, lasts = attempt(method)
            outages[name].append(outage)
            lasted[name].append(lasts)
        say(f'outage of others: kill {kill + 1} of {KILLS}: '
            + ', '.join(f'{name} {outages[name][-1]:.0f} ms' for name in METHODS))
    return {name: {'outage_ms': summary(outages[name]), 'connections_that_went_on': sum(lasted[name]), 'kills': KILLS,
                   'all_ms': [round(ms) for ms in outages[name]]} for name in METHODS}


def words():
    return ', '.join(f"{name} p50 {statistics.median(result['all_ms']):.0f} ms ({result['connections_that_went_on']} of {KILLS} connections went on)"
                     for name, result in measured().items())

"""The lab: two sites and a client in network namespaces, with a real QEMU guest, for the system tests, the demo and the benchmarks.

    client ──┐                       10.77.0.0/24: what the guest and its clients use
    site A ──┼── bridge              guest 10.77.0.9, client 10.77.0.2
    site B ──┘
    site A ────── site B             10.78.0.0/24: the link between agent (.1) and appliance (.2)

Everything is made by the lab and removed by it; processes are ended by their process ids. Works as root, and without root where user
namespaces are allowed (start the script through tests/enter.sh).
"""
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from parts import (ENDING, MARK, Daemon, Namespace, Qmp, Unusable, ask_line, copy_sparse, end_descendants_of,  # noqa: F401
                   end_orderly, fetch_unix, mac_of, undisturbed, wait_for)

TREE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(TREE, 'build')
UNDERSTUDY = os.environ.get('UNDERSTUDY', os.path.join(BUILD, 'understudy'))
QEMU_DIR = os.path.join(BUILD, 'qemu')
QEMU = os.path.join(QEMU_DIR, 'qemu-system-x86_64')
FIRMWARE = os.path.join(QEMU_DIR, 'firmware')
KERNEL = os.path.join(BUILD, 'guest', 'vmlinux')
INITRAMFS = os.path.join(BUILD, 'guest', 'initramfs.gz')
REDIS = os.path.join(BUILD, 'guest', 'redis.gz')
GUEST_IP, CLIENT_IP, GUEST_PORT = '10.77.0.9', '10.77.0.2', 7000
LINK_A, LINK_B, LINK_PORT = '10.78.0.1', '10.78.0.2', 7400
MAC = '52:54:00:77:00:09'


class Lab:
    """Two sites and a client. Use as a context manager."""

    resume = None       # how a guest is had that need not boot: saved_guest.resume

    def __init__(self, memory_mib=256, dirty=500, working_set_mib=64, mode='service', machine='pc', cpus=1,
                 primary=None, standby=None, instance=None, takeover='automatic', name='vm1', gateway=False,
                 announce=False, nics=1, taps=(), mtu=1500, append='', initramfs=INITRAMFS, standby_instance=None, disk_mib=0,
                 disk_rate=0, disk=None):
        self.dir = tempfile.mkdtemp(prefix='understudy-lab-')
        self.memory_mib, self.dirty, self.working_set_mib = memory_mib, dirty, working_set_mib
        self.mode, self.machine, self.cpus, self.name = mode, machine, cpus, name
        self.extra = {'primary': primary or {}, 'standby': standby or {}}
        self.extra_of_instance = {'primary': instance or {}, 'standby': standby_instance or {}}
        self.takeover = takeover
        # The guest's network is a tap at either site; or goes through the appliance; or through the agent, then the appliance.
        self.gateway, self.announce = gateway or announce, announce
        self.taps = taps        # the guest's cards (numbers) that are taps on a bridge with the agent's, instead of -netdev dgram
        self.nics, self.mtu, self.append, self.initramfs = nics, mtu, append, initramfs
        # A virtio disk: an empty one of that size, and what the guest's service writes to it, a second; or a copy of that file.
        self.disk_mib, self.disk_rate, self.disk = disk_mib, disk_rate, disk
        self.daemons, self.namespaces = [], []
        self.qemu = self.agent = self.appliance = None

    # Network -----------------------------------------------------------------------------------------------------

    def place(self, name):
        """A network namespace that ends with the lab."""
        namespace = Namespace(name)
        self.namespaces.append(namespace)
        return namespace

    def _network(self):
        if not os.access('/dev/net/tun', os.R_OK | os.W_OK):
            raise Unusable('/dev/net/tun cannot be opened: run as root, or let everyone open it (chmod 666, as udev does)')
        self.client, self.a, self.b = (self.place(n) for n in ('client', 'a', 'b'))
        for site, link_ip, other in ((self.a, LINK_A, self.b), (self.b, LINK_B, self.a)):
            side = site.name
            self.client.run('ip', 'link', 'add', f'to-{side}', 'type', 'veth', 'peer', 'name', 'lan', 'netns', str(site.pid))
            site.run('ip', 'link', 'add', 'br0', 'type', 'bridge', 'forward_delay', '0')
            site.run('ip', 'tuntap', 'add', 'tap0', 'mode', 'tap')
            for port in ('lan', 'tap0'):
                site.run('ip', 'link', 'set', port, 'master', 'br0', 'up')
            site.run('ip', 'link', 'set', 'br0', 'up')
        self.client.run('ip', 'link', 'add', 'br0', 'type', 'bridge', 'forward_delay', '0')
        for port in ('to-a', 'to-b'):
            self.client.run('ip', 'link', 'set', port, 'master', 'br0', 'up')
        self.client.run('ip', 'addr', 'add', f'{CLIENT_IP}/24', 'dev', 'br0')
        # Its link-local address can be used at once: the kernel does not ask first whether somebody else has it.
        self.client.run('sh', '-c', 'echo 0 2>/dev/null >/proc/sys/net/ipv6/conf/br0/accept_dad || true')
        self.client.run('ip', 'link', 'set', 'br0', 'up')
        for number in self.taps:
            self.a.run('ip', 'link', 'add', f'usbr{number}', 'type', 'bridge', 'mcast_snooping', '0')
            self.a.run('ip', 'tuntap', 'add', f'vm{number}', 'mode', 'tap')
            self.a.run('ip', 'link', 'set', f'vm{number}', 'master', f'usbr{number}', 'up')
            self.a.run('ip', 'link', 'set', f'usbr{number}', 'addrgenmode', 'none', 'up')
        if self.mtu != 1500:
            self._mtu()
        self.a.run('ip', 'link', 'add', 'wan', 'type', 'veth', 'peer', 'name', 'wan', 'netns', str(self.b.pid))
        for site, ip in ((self.a, LINK_A), (self.b, LINK_B)):
            site.run('ip', 'addr', 'add', f'{ip}/24', 'dev', 'wan')
            site.run('ip', 'link', 'set', 'wan', 'up')

    def _mtu(self):
        devices = [(self.client, 'to-a'), (self.client, 'to-b')]
        devices += [(site, port) for site in (self.a, self.b) for port in ('lan', 'tap0')]
        devices += [(self.a, f'{kind}{number}') for number in self.taps for kind in ('vm', 'usbr')]
        for namespace, device in devices + [(namespace, 'br0') for namespace in (self.client, self.a, self.b)]:
            namespace.run('ip', 'link', 'set', device, 'mtu', str(self.mtu))

    def lose(self, *senders):
        """What these sites send over the link is lost, silently; without any: nothing is lost any more."""
        for site, other, ip in ((self.a, self.b, LINK_B), (self.b, self.a, LINK_A)):
            self.misdirect(site, 'wan', ip, other, 'wan', site in senders)

    @staticmethod
    def misdirect(site, device, ip, other, its_device, lost):
        """What a site sends to a neighbour's address goes to no card there, or to the right one again."""
        address = '02:00:00:00:00:01' if lost else mac_of(other, its_device)
        site.run('ip', 'neigh', 'replace', ip, 'lladdr', address, 'nud', 'permanent', 'dev', device)

    def cut_link(self):
        self.a.run('ip', 'link', 'set', 'wan', 'down')

    def mend_link(self):
        self.a.run('ip', 'link', 'set', 'wan', 'up')

    # Parts ---------------------------------------------------------------------------------------------------------

    def __enter__(self):
        try:
            self._network()
            subprocess.run([UNDERSTUDY, 'pki', f'{self.dir}/pki'], check=True, stdout=subprocess.DEVNULL)
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def path(self, name):
        return os.path.join(self.dir, name)

    def daemon(self, namespace, command, log, env=None):
        daemon = Daemon(namespace, command, self.path(log), env)
        self.daemons.append(daemon)
        return daemon

    def qemu_command(self, qmp, serial):
        disk = f'understudy.disk={self.disk_rate} understudy.disk_mib={min(self.disk_mib, 16)} ' if self.disk_mib else ''
        append = (f'console=ttyS0 panic=-1 quiet cryptomgr.notests=1 understudy.ip={GUEST_IP}/24 understudy.mem={self.working_set_mib} '
                  f'understudy.dirty={self.dirty} understudy.mode={self.mode} {disk}{self.append}')
        return [QEMU, '-machine', self.machine, '-accel', 'tcg', '-m', str(self.memory_mib), '-smp', str(self.cpus),
                '-nodefaults', '-display', 'none', '-no-reboot', '-L', FIRMWARE, '-kernel', KERNEL, '-initrd', self.initramfs,
                '-append', append, '-serial', f'file:{serial}', '-qmp', f'unix:{qmp},server=on,wait=off',
                '-qmp', f'unix:{qmp}.lab,server=on,wait=off',
                *(word for number in range(self.nics) for word in self._card(number)), *self._disk()]

    def _disk(self):
        if not self.has_disk():
            return []
        return ['-drive', f"file={self.path('disk-a.raw')},format=raw,if=none,id=drive0", '-device', 'virtio-blk-pci,drive=drive0,id=disk0']

    def _card(self, number):
        backend = f'tap,id=n{number},ifname=tap0,script=no,downscript=no'
        if number in self.taps:
            backend = f'tap,id=n{number},ifname=vm{number},script=no,downscript=no,vnet_hdr=off'
        elif self.gateway:
            backend = (f"dgram,id=n{number},local.type=unix,local.path={self.path(f'net{number}.qemu')},"
                       f"remote.type=unix,remote.path={self.path(f'net{number}.agent')}")
        mtu = f',host_mtu={self.mtu}' if self.mtu != 1500 else ''
        return ['-netdev', backend, '-device', f'virtio-net-pci,netdev=n{number},mac={MAC[:-1]}{int(MAC[-1]) - number},romfile={mtu}']

    def _own_side(self, number):
        """What the agent's configuration says of that card."""
        if number in self.taps:
            return {'netdev': f'n{number}', 'guest_bridge': f'usbr{number}', 'guest_tap': f'usg{number}'}
        return {'socket': self.path(f'net{number}.agent'), 'qemu_socket': self.path(f'net{number}.qemu')}

    def has_disk(self):
        return self.disk_mib > 0 or self.disk is not None

    def _make_disk(self):
        if self.disk is not None:
            copy_sparse(self.disk, self.path('disk-a.raw'))
        else:
            with open(self.path('disk-a.raw'), 'wb') as disk:
                disk.truncate(self.disk_mib << 20)

    def start_guest(self, wait=True):
        if self.has_disk() and not os.path.exists(self.path('disk-a.raw')):
            self._make_disk()
        begin = self.resume or (lambda command, log: self.daemon(self.a, command, log))
        self.qemu = begin(self.qemu_command(self.path('vm.qmp'), self.path('console-a.log')), 'qemu-a.log')
        if wait:
            self.wait_until_ready()
            wait_for('the guest answers', lambda: self.ask('get', timeout=1), 60, 0.1)
        return self.qemu

    def wait_until_ready(self):
        """Whom nobody answers is looked for once a second: so it is asked when it can answer."""
        if not self.resume:
            wait_for('the guest is ready', lambda: 'guest: ready' in self.console(), 60, 0.05)

    def console(self, name='console-a.log'):
        if not os.path.exists(self.path(name)):
            return ''
        with open(self.path(name), errors='replace') as console:
            return console.read()

    def write_config(self, role):
        pki = self.path('pki')
        config = {
            'site': 'a' if role == 'primary' else 'b',
            'http': {'listen': f'unix:{self.path(role)}.http'},
            'tls': {'ca': f'{pki}/ca.crt', 'cert': f'{pki}/{role}.crt', 'key': f'{pki}/{role}.key'},
            'link': {'heartbeat_ms': 50, 'detect_ms': 300},
        }
        instance = {'name': self.name}
        if role == 'primary':
            config['link']['connect'] = f'{LINK_B}:{LINK_PORT}'
            instance['qmp'] = self.path('vm.qmp')
            if self.gateway:
                instance['nics'] = [{'name': f'net{n}'} | self._own_side(n) for n in range(self.nics)]
                if self.announce:
                    for nic in instance['nics']:
                        nic.update({'tap': nic['name'].replace('net', 'us'), 'bridge': 'br0'})
                    instance['without_standby'] = 'hold'
            if self.takeover == 'automatic' and not self.gateway:
                instance['without_standby'] = 'hold'    # the standby refuses a primary that would go on alone
        else:
            config['link']['listen'] = f'{LINK_B}:{LINK_PORT}'
            config['state_dir'] = self.path('state-b')
            config['memory_dir'] = self.memory_dir()
            config['hypervisor'] = {'program': QEMU, 'firmware': FIRMWARE, 'accel': 'tcg'}
            instance['takeover'] = self.takeover
            if self.gateway:
                instance['nics'] = [{'name': f'net{n}', 'tap': f'us{n}', 'bridge': f'br{n}'} for n in range(self.nics)]
        if self.has_disk():
            own = {'device': 'disk0'} if role == 'primary' else {'path': self.path('disk-b.raw')}
            instance['disks'] = [{'name': 'system'} | own]
        instance.update(self.extra_of_instance[role])
        config['instances'] = [instance]
        for key, value in self.extra[role].items():
            if isinstance(value, dict) and isinstance(config.get(key), dict):
                config[key].update(value)
            else:
                config[key] = value
        path = self.path(f'{role}.json')
        with open(path, 'w') as f:
            json.dump(config, f, indent=2)
        return path

    def memory_dir(self):
        path = os.path.join('/dev/shm', os.path.basename(self.dir))
        os.makedirs(path, mode=0o700, exist_ok=True)
        return path

    def start_agent(self):
        self.agent = self.daemon(self.a, [UNDERSTUDY, 'primary', '--config', self.write_config('primary')], 'agent.log')
        return self.agent

    def start_appliance(self):
        self.appliance = self.daemon(self.b, [UNDERSTUDY, 'standby', '--config', self.write_config('standby')], 'appliance.log')
        return self.appliance

    # Questions -----------------------------------------------------------------------------------------------------

    def status(self, role):
        """The instance's part of GET /v1/status, {} when the process does not answer."""
        try:
            return fetch_unix(self.path(f'{role}.http'), '/v1/status')['instances'][0]
        except (OSError, ValueError, KeyError, IndexError):
            return {}

    def operator(self, verb, role):
        """`understudy takeover` or `release` at that site, without a question: what it printed, and its status."""
        return subprocess.run([UNDERSTUDY, verb, '--http', f'unix:{self.path(role)}.http', '--instance', self.name, '--yes'],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)

    def replica(self, state_dir='state-b'):
        """The process id of the QEMU that a standby has started, warm or serving; None if there is none."""
        mark = os.path.join(self.path(state_dir), '').encode()
        for pid in filter(str.isdigit, os.listdir('/proc')):
            with contextlib.suppress(OSError), open(f'/proc/{pid}/cmdline', 'rb') as f:     # it has ended, or is not ours to read
                command = f.read()
                if mark in command and b'-incoming' in command:
                    return int(pid)
        return None

    def wait_state(self, role, *states, timeout=60.0):
        try:
            return wait_for(f'{role} is {" or ".join(states)}',
                            lambda: (lambda s: s if s.get('state') in states else None)(self.status(role)), timeout)
        except AssertionError as e:
            raise AssertionError(f'{e}; it is {self.status(role)}\n{self.logs()}') from None

    def wait_caught_up(self):
        """Until an epoch is acknowledged that was captured after now: after a cut, older ones are still on their way."""
        since = time.monotonic()
        wait_for('none waits from before', lambda: (lambda now, lag_ms: lag_ms < (now - since) * 1000)(
            time.monotonic(), self.status('primary').get('lag_ms', float('inf'))))
        epoch = self.status('primary')['epoch']
        wait_for('one more epoch', lambda: self.status('primary')['epoch'] > epoch)

    def wait_lease(self, *states):
        """Until the primary has such a lease."""
        try:
            wait_for(f'the lease is {" or ".join(states)}', lambda: self.status('primary').get('lease') in states)
        except AssertionError as e:
            raise AssertionError(f"{e}; {self.status('primary')}") from None

    def ask(self, line, timeout=5.0, connection=None):
        """One question to the guest's service over TCP; None when there is no answer."""
        try:
            with contextlib.ExitStack() as stack:
                if connection is None:
                    connection = stack.enter_context(self.connect(timeout))
                return ask_line(connection, line, timeout)
        except OSError:
            return None

    def connect(self, timeout=5.0):
        """A TCP connection from the client's namespace to the guest's service."""
        with self.client.inside():
            sock = socket.socket()
        sock.settimeout(timeout)
        try:
            sock.connect((GUEST_IP, GUEST_PORT))
        except BaseException:
            sock.close()
            raise
        return sock

    def logs(self):
        parts = []
        for name in ('agent.log', 'appliance.log', 'qemu-a.log'):
            if os.path.exists(self.path(name)):
                with open(self.path(name), errors='replace') as f:
                    parts.append(f'--- {name}\n' + ''.join(f.readlines()[-40:]))
        return '\n'.join(parts)

    # Ends ------------------------------------------------------------------------------------------------------------

    def protect(self, timeout=60.0):
        """Guest, appliance and agent, until the instance is protected."""
        self.start_guest(wait=not self.gateway)     # it has no network before there is an agent
        self.start_appliance()
        self.start_agent()
        self.wait_state('primary', 'protected', timeout=timeout)
        if self.gateway:
            self._wait_for_guest(timeout)
        return self.wait_state('standby', 'protected', timeout=timeout)

    def _wait_for_guest(self, timeout):
        """With all that could tell why, if it does not answer."""
        try:
            self.wait_until_ready()
            wait_for('the guest answers', lambda: self.ask('get', timeout=1), timeout, 0.1)
        except AssertionError as e:
            monitor = Qmp(self.path('vm.qmp.lab'), 2) if self.qemu.running() else None
            state = [monitor('human-monitor-command', **{'command-line': f'info {what}'})
                     for what in ('status', 'registers', 'network')] if monitor else []
            raise AssertionError(f"{e}; {self.status('primary')}; {self.status('standby')}\n{self.logs()}\n--- console\n"
                                 + self.console()[-2000:] + '\n'.join(state)) from None

    def kill_site_a(self):
        """SIGKILL of everything there at once; the moment."""
        now = time.monotonic()
        for daemon in (self.agent, self.qemu):
            if daemon is not None and daemon.running():
                os.kill(daemon.pid, signal.SIGKILL)
        for daemon in (self.agent, self.qemu):
            if daemon is not None:
                daemon.process.wait()
        return now

    def __exit__(self, *_):
        with undisturbed():
            self._remove()

    def _remove(self):
        for daemon in reversed(self.daemons):
            daemon.kill()
        end_descendants_of(self.dir + os.sep)
        for namespace in self.namespaces:
            namespace.close()
        shutil.rmtree(os.path.join('/dev/shm', os.path.basename(self.dir)), ignore_errors=True)
        if os.environ.get('UNDERSTUDY_KEEP_LAB'):
            print(f'lab kept: {self.dir}', file=sys.stderr)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

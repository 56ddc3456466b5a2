"""The appliance's image in a virtual machine of its own, on a network of the test's: 10.9.0.1 is the test, 10.9.0.2 the appliance."""
import errno
import http.client
import json
import os
import select
import shutil
import socket
import subprocess

import lab

IMAGE = os.path.join(lab.BUILD, 'image', 'understudy.raw')
LINK_LOCAL = 'fe80::5054:ff:fe09:2%tap0'   # what the card has by itself
OVMF = '/usr/share/OVMF/OVMF_CODE'
MAC, ADDRESS, HTTP_PORT = '52:54:00:09:00:02', '10.9.0.2', 7480


def has_uefi():
    return any(os.path.exists(f'{OVMF}{size}.fd') for size in ('', '_4M'))


def configuration():
    """A standby's, as small as it can be."""
    return {'site': 'b', 'http': {'listen': f'{ADDRESS}:{HTTP_PORT}'}, 'link': {'listen': '0.0.0.0:7400'},
            'tls': {'ca': 'ca.crt', 'cert': 'standby.crt', 'key': 'standby.key'}, 'state_dir': '/data/state',
            'hypervisor': {'program': '/bin/qemu-system-x86_64', 'firmware': '/firmware', 'accel': 'tcg'},
            'machine': {'hostname': 'site-b', 'data': 'memory',
                        'network': [{'name': 'lan0', 'mac': MAC},
                                    {'name': 'br0', 'ports': ['lan0'], 'addresses': [f'{ADDRESS}/24']},
                                    {'name': 'v20', 'on': 'br0', 'vlan': 20, 'addresses': ['10.9.20.2/24']}]},
            'instances': [{'name': 'vm1'}]}


def certificates(directory):
    """What a standby needs of them: name to path."""
    subprocess.run([lab.UNDERSTUDY, 'pki', os.path.join(directory, 'certs')], check=True, stdout=subprocess.DEVNULL)
    return {name: os.path.join(directory, 'certs', name) for name in ('ca.crt', 'standby.crt', 'standby.key')}


def disk(path, serial=''):
    """QEMU's words for a disk that is not written behind its back: a flush reaches the host's file."""
    return ['-drive', f'file={path},format=raw,if=none,id={os.path.basename(path)},cache=writeback',
            '-device', f'virtio-blk-pci,drive={os.path.basename(path)},serial={serial}']


class Appliance:
    """
    Use as a context manager. `files`: what it is told by fw_cfg, beside its configuration: name to path; without a configuration, nothing.
    `disks`: paths of raw ones; `cards`: tap and address of each; `more`: of QEMU's words. `models`: of the image's disk, and of cards.
    """

    def __init__(self, directory, config=None, files=(), uefi=False, memory_mib=512, disks=(), cards=(('tap0', MAC),), more=(), image=IMAGE,
                 models=('virtio-blk-pci', 'virtio-net-pci')):
        self.directory, self.files, self.uefi, self.memory_mib, self.more = str(directory), dict(files), uefi, memory_mib, more
        if config is not None:
            self.files['config.json'] = self.path('config.json')
            with open(self.files['config.json'], 'w', encoding='utf-8') as f:
                f.write(config if isinstance(config, str) else json.dumps(config))
        self.disks, self.cards, self.image, self.models, self.network, self.machine = disks, cards, image, models, None, None

    def path(self, name):
        return os.path.join(self.directory, name)

    def command(self):
        command = [lab.QEMU, '-machine', 'q35' if self.uefi else 'pc', '-accel', 'tcg', '-cpu', 'qemu64,-svm',
                   '-m', str(self.memory_mib), '-nodefaults', '-display', 'none', '-no-reboot', '-L', lab.FIRMWARE,
                   '-drive', f'file={self.image},format=raw,if=none,id=system,readonly=on', '-device', f'{self.models[0]},drive=system,bootindex=0',
                   '-serial', f"file:{self.path('console.log')}", '-qmp', f"unix:{self.path('qmp')},server=on,wait=off"]
        for number, (tap, mac) in enumerate(self.cards):
            command += ['-netdev', f'tap,id=n{number},ifname={tap},script=no,downscript=no',
                        '-device', f'{self.models[1]},netdev=n{number},mac={mac},romfile=']
        for path in self.disks:
            command += ['-drive', f'file={path},format=raw,if=virtio']
        for name, path in self.files.items():
            command += ['-fw_cfg', f'name=opt/understudy/{name},file={path}']
        if self.uefi:
            size = '' if os.path.exists(f'{OVMF}.fd') else '_4M'
            shutil.copy(f'{OVMF}{size}.fd'.replace('CODE', 'VARS'), self.path('vars.fd'))
            command += ['-drive', f'if=pflash,format=raw,readonly=on,file={OVMF}{size}.fd',
                        '-drive', f"if=pflash,format=raw,file={self.path('vars.fd')}"]
        return command + list(self.more)

    def __enter__(self):
        self.network = lab.Namespace('appliance')
        for command in ('tuntap add tap0 mode tap', 'addr add 10.9.0.1/24 dev tap0', 'link set tap0 up'):
            self.network.run('ip', *command.split())
        self.machine = lab.Daemon(self.network, self.command(), self.path('qemu.log'))
        return self

    def __exit__(self, *_):
        self.machine.kill()
        self.network.close()

    def console(self):
        if not os.path.exists(self.path('console.log')):
            return ''
        with open(self.path('console.log'), errors='replace', encoding='utf-8') as f:
            return f.read()

    def health(self, address=ADDRESS, timeout=2):
        """Status and what is told with it; None while nobody answers."""
        with self.network.inside():
            connection = http.client.HTTPConnection(address, HTTP_PORT, timeout=timeout)
            try:
                connection.request('GET', '/healthz')
                answer = connection.getresponse()
                return answer.status, json.loads(answer.read())
            except (OSError, http.client.HTTPException, ValueError):
                return None
            finally:
                connection.close()

    def wait_for_health(self, address=ADDRESS):
        try:
            return lab.wait_for('the appliance answers', lambda: self.health(address), 120, 0.2)
        except AssertionError as e:
            raise AssertionError(f'{e}\n{self.console()}') from None

    def press_power(self, machine=None, meanwhile=lambda: None):
        """Its power button; waits until it is off. `machine`: its daemon, if that is somebody else's."""
        qmp = lab.Qmp(self.path('qmp'))
        qmp('system_powerdown')
        qmp.close()
        meanwhile()
        lab.wait_for('it is off', lambda: not (machine or self.machine).running(), 60, 0.05)


def open_ports(network):
    """Those of the appliance's TCP ports, all of which are tried, that somebody listens at."""
    found, waiting, left = set(), {}, list(range(65535, 0, -1))
    answers = select.poll()
    while left or waiting:
        with network.inside():
            while left and len(waiting) < 256:
                s = socket.socket()
                s.setblocking(False)
                s.connect_ex((ADDRESS, left[-1]))
                waiting[s.fileno()] = s, left.pop()
                answers.register(s, select.POLLOUT)
        for fd, _ in answers.poll(30000) or [(fd, None) for fd in waiting]:       # who does not answer is no better than who is open
            s, port = waiting.pop(fd)
            answers.unregister(fd)
            if s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != errno.ECONNREFUSED:
                found.add(port)
            s.close()
    return found


def refuses_datagrams(network, port):
    """Whether the appliance says that nobody listens at that UDP port. It says so to one sender only a few times a second: ask again."""
    with network.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(0.5)
        try:
            s.connect((ADDRESS, port))
            s.send(b'?')
            return not s.recv(1)
        except ConnectionRefusedError:
            return True
        except TimeoutError:
            return False

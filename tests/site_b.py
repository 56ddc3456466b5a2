"""A lab whose site B is the appliance's image in a virtual machine."""
import contextlib
import http.client
import json

import appliance
import lab


class SiteB(lab.Lab):
    """The appliance's first card is the link's, the second is the guests' and a port of its bridge."""

    CARDS = (('tap1', '52:54:00:78:00:02'), ('tap0', '52:54:00:77:00:02'))
    DATA = {}       # of machine: what /data is
    HTTP = f'{lab.LINK_B}:{appliance.HTTP_PORT}'

    def __init__(self, **options):
        link = {'link': {'heartbeat_ms': 250, 'detect_ms': 5000}}     # slow: a virtual machine in an emulated one
        super().__init__(**{'gateway': True, 'memory_mib': 128, 'working_set_mib': 16, 'dirty': 50, 'primary': link,
                            'standby': link | self._machine(), 'instance': {'standby_arguments': self._replica()}} | options)

    def _machine(self):
        (_, link), (_, guests) = self.CARDS
        return {'http': {'listen': self.HTTP}, 'tls': {'ca': 'ca.crt', 'cert': 'standby.crt', 'key': 'standby.key'}, 'state_dir': '/data/state',
                'hypervisor': {'program': '/bin/qemu-system-x86_64', 'firmware': '/firmware', 'accel': 'tcg'},
                'machine': self.DATA | {'hostname': 'site-b',
                                        'network': [{'name': 'link0', 'mac': link, 'addresses': [f'{lab.LINK_B}/24']},
                                                    {'name': 'lan0', 'mac': guests}, {'name': 'br0', 'ports': ['lan0']}]}}

    @staticmethod
    def _replica():
        """What would be derived, without the kernel and initramfs by which the guest was booted: the appliance has no such files."""
        return ['-nodefaults', '-smp', '1', '-serial', 'file:console-0.log', '-device', f'virtio-net-pci,netdev=n0,mac={lab.MAC},romfile=',
                '-netdev', 'dgram,id=n0,local.type=unix,local.path=net0.qemu,remote.type=unix,remote.path=net0.agent']

    def more_words(self):
        """Of QEMU's, for what a test adds to the machine."""
        return []

    def memory_dir(self):
        return '/dev/shm'

    def _network(self):
        """The address of the link is the appliance's own."""
        super()._network()
        for command in ('addr flush dev wan', 'link add brlink type bridge forward_delay 0', 'tuntap add tap1 mode tap',
                        'link set wan master brlink', 'link set tap1 master brlink up', 'link set brlink up'):
            self.b.run('ip', *command.split())

    def start_appliance(self):
        pki = {name: self.path(f'pki/{name}') for name in ('ca.crt', 'standby.crt', 'standby.key')}
        with open(self.write_config('standby'), encoding='utf-8') as f:
            machine = appliance.Appliance(self.dir, f.read(), pki, memory_mib=512, cards=self.CARDS, more=self.more_words())
        self.appliance = self.daemon(self.b, machine.command(), 'appliance.log')
        self.machine = machine
        return self.appliance

    def status(self, role):
        if role == 'primary':
            return super().status(role)
        try:
            return self.fetch('/v1/status')['instances'][0]
        except (OSError, http.client.HTTPException, ValueError, KeyError, IndexError):
            return {}

    def fetch(self, target):
        with self.a.inside():
            connection = http.client.HTTPConnection(self.HTTP, timeout=5)
            connection.connect()
        with contextlib.closing(connection):
            connection.request('GET', target)
            return json.loads(connection.getresponse().read())

    def press_power(self):
        """The appliance's power button; waits until it is off."""
        self.machine.press_power(self.appliance)

    def logs(self):
        return super().logs() + f'\n--- the console of site B\n{self.machine.console()}'

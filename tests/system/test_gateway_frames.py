"""Whatever an Ethernet card carries passes the gateway, before a takeover and after it; too much of it is dropped and counted."""
import contextlib
import os
import socket
import struct
import time

import pytest

import lab
import ledger
from test_gateway import gateway, seed_of_this_run

EITHER_CARD = pytest.mark.parametrize('taps', [(), (0,)], ids=['dgram', 'tap'])     # what the guest's first card is at the primary
FLOOD = 200000
FLOOD_ROOM_MIB = 64     # what the gateway's named limits add up to (held 32, input 4 per card, link and ports 5), and an allocator's slack


@contextlib.contextmanager
def both_instances(world):
    """Runs what is in it twice at the caller's: yields the instance that is asked, the primary's and then the replica."""
    def each():
        yield 'the primary'
        world.kill_site_a()
        world.wait_state('standby', 'serving')
        yield 'the replica'
    try:
        yield each()
    except BaseException:
        print(world.logs())
        raise


def answers(world, make_socket, address, data=b'hello', tries=20):
    """A UDP datagram that comes back; the bytes, and from whom."""
    with world.client.inside():
        sock = make_socket()
    with sock:
        sock.settimeout(0.5)
        for _ in range(tries):
            sock.sendto(data, address)
            with contextlib.suppress(TimeoutError):
                return sock.recvfrom(65536)
    raise AssertionError(f'no answer from {address}')


def udp():
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def unfragmented():
    sock = udp()
    sock.setsockopt(socket.IPPROTO_IP, 10, 2)       # IP_MTU_DISCOVER, IP_PMTUDISC_DO
    return sock


@EITHER_CARD
def test_jumbo_frames(taps):
    with gateway(mtu=9000, taps=taps) as world:
        world.protect()
        with world.connect() as connection, both_instances(world) as instances:
            for _ in instances:
                assert world.ask('inc', 10, connection) is not None
                assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) > 8000, 'the guest takes large segments'
                data = os.urandom(9000 - 28)
                assert answers(world, unfragmented, (lab.GUEST_IP, lab.GUEST_PORT), data)[0] == data
                connection.sendall(b'stream 1100000\n')
                received = 0
                while received < 1100000:
                    received += len(connection.recv(1 << 16))


VLAN = 5


class Tagged:
    """Speaks through a packet socket, frame by frame: a kernel may have no VLAN devices. It takes tags off and tells them aside."""

    def __init__(self, world):
        with world.client.inside():
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            self.sock.bind(('br0', 0))
        self.sock.setsockopt(263, 8, 1)                     # SOL_PACKET, PACKET_AUXDATA
        self.mac = bytes.fromhex(lab.mac_of(world.client, 'br0').replace(':', ''))
        self.own, self.other = (socket.inet_aton(ip) for ip in ('10.79.5.2', '10.79.5.9'))

    def send(self, to, ethertype, payload):
        self.sock.send(to + self.mac + struct.pack('>HHH', 0x8100, VLAN, ethertype) + payload)

    def receive(self, seconds=0.5):
        """(ethertype, payload) of the tagged frames that come from the guest in that time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.sock.settimeout(left)
            try:
                data, aside, _, _ = self.sock.recvmsg(2048, 256)
            except TimeoutError:
                return
            tags = [struct.unpack('IIIHHHH', part) for level, kind, part in aside if (level, kind) == (263, 8)]
            if data[6:12].hex(':') == lab.MAC and tags and tags[0][0] & 0x10 and tags[0][5] & 0xfff == VLAN:
                yield struct.unpack('>H', data[12:14])[0], data[14:]

    def resolve(self):
        """The guest's hardware address on that VLAN, by ARP; it learns ours."""
        for _ in range(20):
            self.send(b'\xff' * 6, 0x806, struct.pack('>HHBBH', 1, 0x800, 6, 4, 1) + self.mac + self.own + bytes(6) + self.other)
            for ethertype, payload in self.receive():
                if ethertype == 0x806 and payload[6:8] == b'\0\2' and payload[14:18] == self.other:
                    return payload[8:14]
        raise AssertionError('no answer to ARP with a tag')

    def echo(self, to, data):
        """Whether the UDP datagram comes back."""
        udp_header = struct.pack('>HHHH', 5555, lab.GUEST_PORT, 8 + len(data), 0)
        ip = struct.pack('>BBHHHBBH', 0x45, 0, 28 + len(data), 0, 0, 64, 17, 0) + self.own + self.other
        total = sum(struct.unpack('>10H', ip))
        total = (total & 0xffff) + (total >> 16)
        ip = ip[:10] + struct.pack('>H', ~(total + (total >> 16)) & 0xffff) + ip[12:]
        for _ in range(20):
            self.send(to, 0x800, ip + udp_header + data)
            for ethertype, payload in self.receive():
                if ethertype == 0x800 and payload[9] == 17 and payload[28:28 + len(data)] == data:
                    return True
        return False


@EITHER_CARD
def test_tagged_frames(taps):
    with gateway(taps=taps, append=f'understudy.vlan={VLAN}:10.79.5.9/24') as world:
        world.protect()
        tagged = Tagged(world)
        with contextlib.closing(tagged.sock), both_instances(world) as instances:
            for name in instances:
                mac = tagged.resolve()
                assert mac.hex(':') == lab.MAC
                assert tagged.echo(mac, f'tagged, to {name}'.encode())


@EITHER_CARD
def test_ipv6_with_neighbour_discovery(taps):
    guest = 'fe80::5054:ff:fe77:9'
    with gateway(taps=taps) as world:
        world.protect()
        with world.client.inside():
            scope = socket.if_nametoindex('br0')
            connection = socket.socket(socket.AF_INET6)
            connection.settimeout(10)
            lab.wait_for('IPv6', lambda: connection.connect_ex((guest, lab.GUEST_PORT, 0, scope)) in (0, 106), 20, 0.2)
        with connection, both_instances(world) as instances:
            for number, _ in enumerate(instances, 1):
                assert world.ask('inc', 10, connection) == str(number)
                world.client.run('ip', '-6', 'neigh', 'flush', 'dev', 'br0')
                data, _ = answers(world, lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM), (guest, lab.GUEST_PORT, 0, scope))
                assert data == b'hello'


def broadcaster():
    sock = udp()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    return sock


def test_address_resolution_and_broadcasts():
    with gateway() as world:
        world.protect()
        with both_instances(world) as instances:
            for _ in instances:
                world.client.run('ip', 'neigh', 'flush', 'dev', 'br0')
                data, sender = answers(world, broadcaster, ('10.77.0.255', lab.GUEST_PORT))
                assert data == b'hello' and sender[0] == lab.GUEST_IP
                world.client.run('ip', 'neigh', 'flush', 'dev', 'br0')
                assert world.ask('get') is not None
                assert neighbour(world, lab.GUEST_IP) == lab.MAC, 'the address of the card stays'


def neighbour(world, ip):
    with world.client.inside(), open('/proc/thread-self/net/arp') as f:
        return next((line.split()[3] for line in f if line.startswith(ip + ' ')), None)


@EITHER_CARD
def test_two_cards_keep_apart(taps):
    """The second card's network reaches the client by a cable of its own; it is a dgram."""
    with gateway(nics=2, taps=taps, append='understudy.ip1=10.79.1.9/24') as world:
        world.client.run('ip', 'link', 'add', 'second', 'type', 'veth', 'peer', 'name', 'lan1', 'netns', str(world.b.pid))
        world.client.run('ip', 'addr', 'add', '10.79.1.2/24', 'dev', 'second')
        world.b.run('ip', 'link', 'add', 'br1', 'type', 'bridge', 'forward_delay', '0')
        world.b.run('ip', 'link', 'set', 'lan1', 'master', 'br1', 'up')
        for namespace, device in ((world.client, 'second'), (world.b, 'br1')):
            namespace.run('ip', 'link', 'set', device, 'up')
        world.protect()
        with world.client.inside():
            second = socket.create_connection(('10.79.1.9', lab.GUEST_PORT), 10)
        with second, world.connect() as first, both_instances(world) as instances:
            for number, _ in enumerate(instances):
                assert world.ask('inc', 10, first) == str(2 * number + 1)
                assert world.ask('inc', 10, second) == str(2 * number + 2)
                assert neighbour(world, '10.79.1.9') != neighbour(world, lab.GUEST_IP)


def resident_mib(daemon):
    with open(f'/proc/{daemon.pid}/status') as f:
        return next(int(line.split()[1]) for line in f if line.startswith('VmRSS')) / 1024


def flood(world, frames):
    with world.client.inside():
        sock = udp()
    with sock:
        for _ in range(frames):
            with contextlib.suppress(OSError):
                sock.sendto(b'flood', (lab.GUEST_IP, lab.GUEST_PORT))


def test_a_flood_of_small_frames_is_bounded_and_counted_and_no_reason_to_take_over():
    with gateway() as world:
        world.protect()
        client = ledger.Ledger(world, seed_of_this_run(), window=2)
        client.start()
        client.wait_for(50)
        before = {daemon: resident_mib(daemon) for daemon in (world.agent, world.appliance)}
        flood(world, FLOOD)
        grown = {daemon: resident_mib(daemon) - mib for daemon, mib in before.items()}
        client.wait_for(50)
        standby, primary = (world.wait_state(role, 'protected') for role in ('standby', 'primary'))
        assert standby['term'] == 1, world.logs()
        assert max(grown.values()) < FLOOD_ROOM_MIB, grown
        frames = standby['frames']
        # What the tap's own queue could not take never got here; of the rest nothing is lost without a count.
        assert frames['from_clients'] > 1000
        assert primary['frames']['from_clients'] <= frames['from_clients']
        assert frames['from_clients'] - frames['dropped'] <= primary['frames']['from_clients'] + primary['frames']['dropped'] + 2000
        world.kill_site_a()
        world.wait_state('standby', 'serving')
        client.wait_for(50)
        client.finish()

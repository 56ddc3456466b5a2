"""`understudy dhcp` gets what a server gives, keeps it as long as it may, and nothing that could not be."""
import json
import os
import signal
import socket
import struct
import subprocess

import pytest

import appliance
import dhcp_server
import lab

MASK, ROUTERS, MTU, CLASSLESS = 1, 3, 26, 121


class Network:
    """A machine with one device, lan0, on a cable to a server's, srv0."""

    def __init__(self, directory):
        self.directory, self.machine, self.server, self.client = directory, lab.Namespace('machine'), lab.Namespace('server'), None
        self.machine.run('ip', 'link', 'add', 'lan0', 'mtu', '1500', 'type', 'veth', 'peer', 'name', 'srv0')
        self.machine.run('ip', 'link', 'set', 'srv0', 'netns', str(self.server.pid))
        self.machine.run('ip', 'link', 'set', 'lan0', 'up')
        self.server.run('ip', 'addr', 'add', '10.9.2.1/24', 'dev', 'srv0')
        self.server.run('ip', 'link', 'set', 'srv0', 'up')

    def start(self):
        config = appliance.configuration()
        config['machine'] = {'dns': ['192.0.2.53'], 'network': [{'name': 'lan0', 'dhcp': True}]}
        path = self.directory / 'config.json'
        path.write_text(json.dumps(config))
        self.client = lab.Daemon(self.machine, [lab.UNDERSTUDY, 'dhcp', '--config', str(path)], str(self.directory / 'dhcp.log'))

    def log(self):
        return (self.directory / 'dhcp.log').read_text()

    def show(self, *what):
        return self.machine.popen(['ip', *what], stdout=subprocess.PIPE, text=True).communicate()[0]

    def wait_for_address(self, address):
        try:
            lab.wait_for(f'{address} is there', lambda: f'inet {address} ' in self.show('-4', 'addr', 'show', 'lan0'), 60, 0.1)
        except AssertionError as e:
            raise AssertionError(f'{e}\n{self.log()}') from None

    def wait_for_none(self):
        lab.wait_for('there is no address', lambda: 'inet ' not in self.show('-4', 'addr', 'show', 'lan0'), 60, 0.1)


@pytest.fixture
def network(tmp_path):
    world = Network(tmp_path)
    yield world
    if world.client is not None:
        world.client.kill()
    world.machine.close()
    world.server.close()


def serve(network, address='10.9.2.7', **options):
    return dhcp_server.DhcpServer(network.server, 'srv0', '10.9.2.1', address, **options)


def ip(address):
    return socket.inet_aton(address)


def test_a_device_gets_address_route_and_mtu_and_keeps_the_address_while_it_is_extended(network):
    with serve(network, seconds=4, options={MASK: ip('255.255.255.0'), ROUTERS: ip('10.9.2.1'), MTU: struct.pack('!H', 1400)}) as server:
        network.start()
        network.wait_for_address('10.9.2.7/24')
        lab.wait_for('the route is there', lambda: 'default via 10.9.2.1' in network.show('route'), 20, 0.1)
        assert 'mtu 1400' in network.show('link', 'show', 'lan0')
        lab.wait_for('the address is asked for again', lambda: server.heard.count(dhcp_server.REQUEST) >= 3, 60, 0.1)
        network.wait_for_address('10.9.2.7/24')
        server.behaviour = 'silent'
        network.wait_for_none()
        assert 'default' not in network.show('route') and 'has run out' in network.log()
        server.behaviour = 'answer'
        network.wait_for_address('10.9.2.7/24')


def test_routes_without_a_class_and_routers_outside_of_the_network_are_taken(network):
    routes = bytes([24]) + ip('198.51.100.0')[:3] + ip('10.9.2.9') + bytes([0]) + ip('192.0.2.1') + bytes([33])
    with serve(network, options={MASK: ip('255.255.255.255'), ROUTERS: ip('10.9.2.1'), CLASSLESS: routes}):
        network.start()
        network.wait_for_address('10.9.2.7/32')
        lab.wait_for('the routes are there', lambda: network.show('route').count('via') == 2, 20, 0.1)
        assert 'default via 192.0.2.1' in network.show('route') and '198.51.100.0/24 via 10.9.2.9' in network.show('route')


def test_an_address_that_changes_takes_the_place_of_the_one_before(network):
    with serve(network, seconds=4, options={MASK: ip('255.255.255.0'), ROUTERS: ip('10.9.2.1')}) as server:
        network.start()
        network.wait_for_address('10.9.2.7/24')
        server.behaviour = 'refuse'
        network.wait_for_none()
        server.address, server.behaviour = ip('10.9.2.8'), 'answer'
        network.wait_for_address('10.9.2.8/24')
        assert '10.9.2.7' not in network.show('-4', 'addr', 'show', 'lan0')


def test_what_no_server_would_send_does_no_harm(network):
    with serve(network, address='224.0.0.1') as server:
        server.behaviour = 'noise'
        network.start()
        lab.wait_for('the address is refused', lambda: 'is no address that a device can have' in network.log(), 60, 0.1)
        server.address = ip('10.9.2.7')
        network.wait_for_address('10.9.2.7/8')
        assert 'the process that asks has ended' not in network.log()


def kill_who_asks(network):
    with open(f'/proc/{network.client.pid}/task/{network.client.pid}/children', encoding='ascii') as children:
        os.kill(int(children.read()), signal.SIGKILL)


def test_an_address_of_which_only_a_process_before_knew_goes_when_its_time_is_over(network):
    with serve(network, seconds=4, options={MASK: ip('255.255.255.0'), ROUTERS: ip('10.9.2.1')}) as server:
        network.start()
        network.wait_for_address('10.9.2.7/24')
        server.behaviour = 'silent'
        kill_who_asks(network)
        network.wait_for_none()
        assert 'default' not in network.show('route') and 'has ended; again in' in network.log() and 'has run out' in network.log()


def test_the_process_that_asks_is_started_again_and_knows_what_the_one_before_had(network):
    with serve(network, options={MASK: ip('255.255.255.0')}) as server:
        network.start()
        network.wait_for_address('10.9.2.7/24')
        server.address = ip('10.9.2.8')
        kill_who_asks(network)
        network.wait_for_address('10.9.2.8/24')
        assert '10.9.2.7' not in network.show('-4', 'addr', 'show', 'lan0') and 'has ended; again in' in network.log()

"""The README's arrangement of a VRRP group: keepalived holds its addresses at the primary's site, the appliance while its replica serves."""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

import lab

pytestmark = pytest.mark.skipif(not shutil.which('keepalived', path='/usr/sbin:/usr/bin:/sbin:/bin'), reason='keepalived is missing')
VIP, ROUTER_A, ROUTER_B = '10.77.0.100', '10.77.0.11', '10.77.0.12'
ROUTE = '198.51.100.0/24 via 10.77.0.1 dev br0'


def of_the_readme(language):
    """The example of VRRP in that language, moved to the lab's network."""
    with open(os.path.join(lab.TREE, 'README.md'), encoding='utf-8') as f:
        text = next(t for t in re.findall(rf'```{language}\n(.*?)```', f.read(), re.S) if 'vrrp' in t)
    return text.replace('10.0.0.', '10.77.0.')


class Keepalived:
    """At site A."""

    def __init__(self, world):
        self.world, self.child = world, world.path('keepalived.child')
        with open(world.path('keepalived.conf'), 'w') as f:
            f.write(of_the_readme('keepalived'))
        env = {**os.environ, 'PATH': '/usr/sbin:/usr/bin:/sbin:/bin'}
        self.parent = world.daemon(world.a, ['/usr/sbin/keepalived', '--dont-fork', '--log-console', '--vrrp', '-f', world.path('keepalived.conf'),
                                             '-p', world.path('keepalived.parent'), '-r', self.child], 'keepalived.log', env)

    def dies_with_its_machine(self):
        self.parent.signal(signal.SIGSTOP)      # it must not start another child, nor say goodbye
        with open(self.child) as f:
            os.kill(int(f.read()), signal.SIGKILL)
        self.parent.kill()
        self.world.a.run('ip', 'link', 'set', 'lan', 'down')


@contextlib.contextmanager
def protected(**options):
    groups = json.loads('{' + of_the_readme('json').rstrip().rstrip(',') + '}')
    with lab.Lab(announce=True, memory_mib=128, working_set_mib=16, standby_instance=groups, **options) as world:
        world.a.run('ip', 'addr', 'add', f'{ROUTER_A}/24', 'dev', 'br0')
        world.b.run('ip', 'addr', 'add', f'{ROUTER_B}/24', 'dev', 'br0')
        try:
            yield world
        except BaseException:
            print(world.logs() + '\n' + open(world.path('keepalived.log'), errors='replace').read())
            raise


def shown(world, *command):
    """What `ip` says at each site."""
    return {name: subprocess.run(['ip', *command], preexec_fn=site.enter, pass_fds=[site.fd], stdout=subprocess.PIPE, text=True, check=True).stdout
            for name, site in (('a', world.a), ('b', world.b))}


def holders(world):
    """The sites that have the address."""
    return ''.join(name for name, text in shown(world, '-o', 'addr', 'show', 'dev', 'br0').items() if f' {VIP}/' in text)


def ways(world):
    """The sites that have the route."""
    return ''.join(name for name, text in shown(world, 'route').items() if ROUTE in text)


def answers(world):
    """Whether there is somebody with the address who says that the port is closed; from where, as the client's neighbour table has it."""
    with world.client.inside(), socket.socket() as sock:
        sock.settimeout(0.5)
        with contextlib.suppress(TimeoutError, OSError):
            sock.connect((VIP, 9))
        entry = subprocess.run(['ip', 'neigh', 'show', VIP], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    macs = {lab.mac_of(world.a, 'br0'): 'a', lab.mac_of(world.b, 'br0'): 'b'}      # a bridge's changes with its ports
    return macs.get(entry[entry.index('lladdr') + 1]) if 'lladdr' in entry else None


def group(world):
    return world.status('standby').get('vrrp', [{}])[0]


def comes_to(world, site):
    """Exactly there, and the client's neighbour entry follows without its asking."""
    lab.wait_for(f'the address at site {site}', lambda: holders(world) == site)
    lab.wait_for(f'the route at site {site}', lambda: ways(world) == site)
    lab.wait_for(f'the client finds it at site {site}', lambda: answers(world) == site)


def before(world):
    """keepalived has the addresses, and the appliance knows it."""
    keepalived = Keepalived(world)
    world.protect()
    comes_to(world, 'a')
    lab.wait_for('the appliance listens', lambda: group(world).get('active_router') == ROUTER_A)
    assert group(world)['state'] == 'backup' and group(world)['active_priority'] == 100
    return keepalived


def test_a_site_that_dies_with_its_keepalived():
    with protected() as world:
        keepalived = before(world)
        died = world.kill_site_a()
        keepalived.dies_with_its_machine()
        world.wait_state('standby', 'serving')
        lab.wait_for('the address at site B', lambda: 'b' in holders(world))
        lab.wait_for('the client finds it there', lambda: answers(world) == 'b')
        print(f'{(time.monotonic() - died) * 1000:.0f} ms until the address was found at site B')
        assert group(world)['state'] == 'active'


def test_a_keepalived_that_lives_on_yields_while_the_replica_serves():
    with protected() as world:
        before(world)
        world.kill_site_a()
        world.wait_state('standby', 'serving')
        comes_to(world, 'b')
        assert group(world)['state'] == 'active' and 'active_router' not in group(world)

        assert world.appliance.stop() == 0, 'it resigns'
        comes_to(world, 'a')
        world.start_appliance()
        world.wait_state('standby', 'serving')
        comes_to(world, 'b')

        world.appliance.kill()                  # it cannot resign; the next one has the replica, and its addresses
        world.start_appliance()
        world.wait_state('standby', 'serving')
        lab.wait_for('the group is ours', lambda: group(world).get('state') == 'active')
        comes_to(world, 'b')

        os.kill(world.replica(), signal.SIGKILL)
        world.wait_state('standby', 'lost')
        comes_to(world, 'a')
        assert group(world)['state'] == 'backup'


def test_a_device_that_is_made_anew_while_the_appliance_stands_by():
    with protected() as world:
        before(world)
        world.b.run('ip', 'link', 'del', 'br0')
        lab.wait_for('it is told', lambda: group(world).get('state') == 'stopped')
        status = world.status('standby')
        assert not status['healthy'] and 'br0' in status['reason'], status
        world.b.run('ip', 'link', 'add', 'br0', 'type', 'bridge', 'forward_delay', '0')
        for port in ('lan', 'tap0'):
            world.b.run('ip', 'link', 'set', port, 'master', 'br0', 'up')
        world.b.run('ip', 'link', 'set', 'br0', 'up')
        world.b.run('ip', 'addr', 'add', f'{ROUTER_B}/24', 'dev', 'br0')
        lab.wait_for('the appliance listens', lambda: group(world).get('active_router') == ROUTER_A)
        lab.wait_for('nothing is wrong', lambda: world.status('standby')['healthy'])
        world.kill_site_a()
        world.wait_state('standby', 'serving')
        comes_to(world, 'b')


def test_a_device_that_is_not_there_is_told_and_keeps_no_appliance_from_starting():
    groups = {'vrrp': [{'device': 'later0', 'group': 51, 'interval_ms': 100, 'addresses': [f'{VIP}/24']}]}
    with lab.Lab(gateway=True, memory_mib=128, working_set_mib=16, standby_instance=groups) as world:
        done = subprocess.run([lab.UNDERSTUDY, 'check', '--config', world.write_config('standby')], preexec_fn=world.b.enter, pass_fds=[world.b.fd],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=20)
        assert done.returncode == 0 and 'instances[0].vrrp[0].device: network device later0: No such device' in done.stdout, done.stdout
        world.start_appliance()
        lab.wait_for('the group is stopped', lambda: group(world).get('state') == 'stopped')
        status = world.status('standby')
        assert not status['healthy'] and 'later0' in status['reason'], status
        world.b.run('ip', 'link', 'add', 'later0', 'type', 'bridge')
        world.b.run('ip', 'link', 'set', 'later0', 'up')
        world.b.run('ip', 'addr', 'add', f'{ROUTER_B}/24', 'dev', 'later0')
        lab.wait_for('the group listens', lambda: group(world)['state'] == 'backup')


def test_the_machines_own_address_is_told_by_check_and_never_taken_off():
    groups = {'vrrp': [{'device': 'br0', 'group': 51, 'addresses': [f'{ROUTER_B}/24']}]}
    with lab.Lab(gateway=True, memory_mib=128, working_set_mib=16, standby_instance=groups) as world:
        world.b.run('ip', 'addr', 'add', f'{ROUTER_B}/24', 'dev', 'br0')
        done = subprocess.run([lab.UNDERSTUDY, 'check', '--config', world.write_config('standby')], preexec_fn=world.b.enter, pass_fds=[world.b.fd],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=20)
        assert done.returncode == 1 and f'instances[0].vrrp[0].addresses: br0 has no other IPv4 address than {ROUTER_B}/24' in done.stdout, done.stdout
        world.start_appliance()
        lab.wait_for('the group is stopped', lambda: group(world).get('state') == 'stopped')
        assert f'br0 has no IPv4 address but {ROUTER_B}/24' in world.status('standby')['reason']
        assert f' {ROUTER_B}/24 ' in shown(world, '-o', 'addr')['b']


def test_the_machines_own_address_changes_while_the_replica_serves():
    """keepalived, which lives on, goes on hearing the appliance; and when that has no address to send from, it has given the addresses up."""
    with protected() as world:
        before(world)
        world.kill_site_a()
        world.wait_state('standby', 'serving')
        comes_to(world, 'b')
        world.b.run('ip', 'addr', 'add', '10.77.0.22/24', 'dev', 'br0')
        world.b.run('ip', 'addr', 'del', f'{ROUTER_B}/24', 'dev', 'br0')
        lab.wait_for('it sends from the other one', lambda: 'its own address is another one' in world.logs() or ' has no IPv4 address' in world.logs())
        if '10.77.0.22' not in shown(world, '-o', 'addr')['b']:     # the kernel took it as well: it was a second one of its network
            world.b.run('ip', 'addr', 'add', '10.77.0.22/24', 'dev', 'br0')
        comes_to(world, 'b')
        assert group(world)['state'] == 'active'

        world.b.run('ip', 'addr', 'del', '10.77.0.22/24', 'dev', 'br0')
        comes_to(world, 'a')
        status = world.status('standby')
        assert group(world)['state'] == 'stopped' and not status['healthy'] and 'br0 has no IPv4 address' in status['reason'], status

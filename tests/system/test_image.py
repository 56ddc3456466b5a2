"""The appliance's disk image boots, is configured, and says what is wrong when it cannot be."""
import contextlib
import json
import os
import re
import shutil
import socket
import struct
import subprocess

import pytest

import appliance
import dhcp_server
import lab


@pytest.fixture(autouse=True)
def image():
    if not os.path.exists(appliance.IMAGE):
        pytest.skip('build/image/understudy.raw is missing: make image')


@pytest.fixture
def certificates(tmp_path):
    return appliance.certificates(tmp_path)


def disk_of_other_images(path):
    """
    Its partitions are named as the root file systems of other images are, but for two that are named as the one of this image. They come before it:
    the disk is smaller. One has nothing, the other that file system, of which not all bytes are right.
    """
    table = subprocess.run(['sfdisk', '-d', appliance.IMAGE], check=True, stdout=subprocess.PIPE, text=True).stdout
    start, size, name = re.search(r'start= *(\d+), size= *(\d+)[^\n]*name="(understudy-[0-9a-f]{24})"', table).groups()
    names = ['understudy-system', *(f'understudy-{digit * 24}' for digit in '0af'), name]
    with open(path, 'wb') as f:
        f.truncate((int(size) + (6 << 11)) * 512 + (1 << 20))
    subprocess.run(['sfdisk', '-q', path], input='label: gpt\n' + ''.join(f'size=1024, name={name}\n' for name in names) + f'size={size}, name={name}\n',
                   text=True, check=True)
    last = re.findall(r'start= *(\d+)', subprocess.run(['sfdisk', '-d', path], check=True, stdout=subprocess.PIPE, text=True).stdout)[-1]
    with open(appliance.IMAGE, 'rb') as image, open(path, 'r+b') as f:
        image.seek(int(start) * 512)
        content = bytearray(image.read(int(size) * 512))
        content[4096 * 16:8 << 20:4096 * 16] = bytes(len(range(4096 * 16, 8 << 20, 4096 * 16)))
        f.seek(int(last) * 512)
        f.write(content)
    assert os.path.getsize(path) < os.path.getsize(appliance.IMAGE)
    return path


def config_drive(directory, config, certificates):
    """Made by the verb; `certificates`: of what the configuration names, among others."""
    content = directory / 'content'
    content.mkdir()
    (content / 'config.json').write_text(json.dumps(config))
    for name, path in certificates.items():
        shutil.copy(path, content / name)
    drive = str(directory / 'config.iso')
    subprocess.run([lab.UNDERSTUDY, 'config-drive', str(content), '--output', drive], check=True, stdout=subprocess.DEVNULL)
    return drive


WAN_MAC = '52:54:00:09:01:02'


def two_cards():
    """A card in a bridge with a VLAN on it, and one that is given an address, a smaller MTU and the way to everywhere; IPv6, too."""
    config = appliance.configuration()
    config['link']['listen'] = '[::]:7400'
    lan, bridge, vlan = config['machine']['network']
    bridge['addresses'].append('2001:db8:9::2/64')
    wan = {'name': 'wan0', 'mac': WAN_MAC, 'dhcp': True}
    config['machine']['network'] = [lan, wan, bridge, vlan]
    return config


def attach_to_both(network):
    def is_there():
        with network.inside():
            return 'tap1' in (name for _, name in socket.if_nameindex())
    lab.wait_for('QEMU has made its second tap', is_there, 60, 0.1)
    for command in ('addr add 10.9.1.1/24 dev tap1', 'link set tap1 up', 'addr add 10.99.0.1/32 dev lo', '-6 addr add 2001:db8:9::1/64 dev tap0 nodad'):
        network.run('ip', *command.split())


def gives_address(network):
    return dhcp_server.DhcpServer(network, 'tap1', '10.9.1.1', '10.9.1.2',
                                  options={1: socket.inet_aton('255.255.255.0'), 3: socket.inet_aton('10.9.1.1'), 26: struct.pack('!H', 1400)})


def segment_to(network, address, source=None):
    """The largest piece of data that is sent in one packet of a connection to its link's port; None: there is no connection."""
    with contextlib.suppress(OSError), network.inside(), socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET) as s:
        s.settimeout(5)
        if source is not None:
            s.bind((source, 0))
        s.connect((address, 7400))
        return s.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)


def asks_by_arp(network, vlan, address):
    """Whether somebody with that tag says that the address is his."""
    ip, mac = socket.inet_aton(address), bytes.fromhex('525400090001')
    request = b'\xff' * 6 + mac + struct.pack('!HHHHHBBH', 0x8100, vlan, 0x0806, 1, 0x0800, 6, 4, 1) + mac + bytes(4) + bytes(6) + ip
    with network.inside(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as s:
        s.bind(('tap0', 0))
        s.settimeout(1)
        for _ in range(20):
            s.send(request)
            try:
                while True:
                    if struct.pack('!H', 2) + bytes.fromhex(appliance.MAC.replace(':', '')) + ip in s.recv(100):
                        return True
            except TimeoutError:
                pass
    return False


@contextlib.contextmanager
def disk_that_does_not_answer(path):
    """QEMU's words for one, of which QEMU itself does not ask how it is divided."""
    with subprocess.Popen(['nbdkit', '--foreground', '--unix', path, '--filter=delay', 'memory', '64M', 'rdelay=9999', 'wdelay=9999']) as server:
        try:
            lab.wait_for('the disk is there', lambda: os.path.exists(path) or server.poll() is not None, 20, 0.05)
            yield server, ('-drive', f'driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={path},if=none,id=silent',
                           '-device', 'virtio-blk-pci,drive=silent,cyls=130,heads=16,secs=63')
        finally:
            server.kill()


def test_it_boots_by_bios_takes_a_configuration_drive_and_goes_off_by_its_power_button(tmp_path, certificates):
    drive = config_drive(tmp_path, two_cards(), certificates)
    wan = ('-netdev', 'tap,id=n1,ifname=tap1,script=no,downscript=no', '-device', f'virtio-net-pci,netdev=n1,mac={WAN_MAC},romfile=')
    other = ('-drive', f"file={disk_of_other_images(str(tmp_path / 'other.raw'))},format=raw,if=none,id=other,readonly=on",
             '-device', 'virtio-blk-pci,drive=other')
    with disk_that_does_not_answer(str(tmp_path / 'nbd')) as (server, silent), \
            appliance.Appliance(tmp_path, more=('-cdrom', drive) + other + wan + silent) as site_b:
        attach_to_both(site_b.network)
        with gives_address(site_b.network):
            lab.wait_for('it has the address that it was given', lambda: segment_to(site_b.network, '10.9.1.2'), 120, 0.5)
        status, told = site_b.wait_for_health()        # that of the disk is all that is wrong
        assert status == 503 and [(problem['state'], problem['reason'].split(' (')[0]) for problem in told['problems']] == \
            [('machine', 'vdc does not answer')], (told, site_b.console())
        assert appliance.open_ports(site_b.network) == {7400, 7480}
        for port in (53, 67, 68, 123, 161, 514, 546, 1900, 4789, 5353, 7480):
            lab.wait_for(f'nobody listens at UDP port {port}', lambda port=port: appliance.refuses_datagrams(site_b.network, port))
        assert re.search(r'\b(\d+) of \1 settings of the kernel are as they should be', site_b.console()), site_b.console()
        assert "the kernel's settings are read-only" in site_b.console()
        assert 'network:' not in site_b.console()      # cards, a bridge, a VLAN were set up
        assert set(re.findall(r'/dev/(vd..?): it is not the root file system that it is called', site_b.console())) == {'vdb5', 'vdb6'}, site_b.console()
        assert 'is corrupted' in site_b.console()      # told by the kernel of the one that can be mounted
        for what in ('virtio_blk.ko', 'vdc'):
            assert f'{what} does not answer' in site_b.console(), site_b.console()
        assert segment_to(site_b.network, '10.9.1.2', source='10.99.0.1') <= 1360 < segment_to(site_b.network, '2001:db8:9::2')
        assert asks_by_arp(site_b.network, 20, '10.9.20.2') and 'configuration from the drive sr0' in site_b.console()
        site_b.press_power(meanwhile=lambda: (lab.wait_for('it has ended', lambda: 'init: ended' in site_b.console(), 120, 0.1), server.kill()))
        # One that was to load a module still waits for the disk, and one that was to look at it.
        assert re.search(r'power button: the machine ends; what runs in it: understudy \(1\), init \(\d+\)(, understudy \(\d+\)){4}$',
                         site_b.console(), re.M), site_b.console()
        with open(certificates['standby.key'], encoding='ascii') as key:
            assert key.read().splitlines()[1] not in site_b.console()


def fat_drive(directory, files):
    """A disk as another system would make it: `files`, name to path."""
    for program in ('mkfs.fat', 'mcopy'):
        if shutil.which(program) is None:
            pytest.skip(f'{program} is missing: apt-get install dosfstools mtools')
    drive = str(directory / 'config.fat')
    subprocess.run(['mkfs.fat', '-C', '-n', 'UNDERSTUDY', drive, '1440'], check=True, stdout=subprocess.DEVNULL)
    for name, path in files.items():
        subprocess.run(['mcopy', '-i', drive, path, f'::{name}'], check=True)
    return drive


def test_it_boots_by_uefi_and_serves_what_is_wrong_with_its_configuration_even_if_nobody_reaches_the_endpoint_in_that(tmp_path, certificates):
    if not appliance.has_uefi():
        pytest.skip('no UEFI firmware for virtual machines: apt-get install ovmf')
    machine = {'machine': {'network': [{'name': 'lan0', 'mac': '52:54:00:ff:ff:ff'}]}}
    (tmp_path / 'wrong.json').write_text(
        json.dumps(appliance.configuration() | machine | {'hypervizor': {}, 'witnes': {}, 'http': {'listen': '127.0.0.1:7480'}}))
    (tmp_path / 'large').write_bytes(bytes((1 << 20) + 1))
    drive = fat_drive(tmp_path, {'config.json': tmp_path / 'wrong.json', 'large': tmp_path / 'large'} | certificates)
    # Of the drivers that only machines with such devices load, these are others than a BIOS boot has.
    with appliance.Appliance(tmp_path, uefi=True, disks=[drive], models=('nvme,serial=system', 'vmxnet3')) as site_b:
        status, told = site_b.wait_for_health(appliance.LINK_LOCAL)
        assert status == 503 and 'hypervizor' in told['problems'][0] and 'did you mean "hypervisor"' in told['problems'][0], told
        assert len(told['problems']) == 3 and 'witnes' in told['problems'][1], told
        assert f'no card has the address 52:54:00:ff:ff:ff; there are eth0 ({appliance.MAC})' in told['problems'][2], told
        assert 'hypervizor' in site_b.console() and 'configuration from the drive vda' in site_b.console()
        assert 'configuration in the drive vda: large: longer than' in site_b.console(), site_b.console()


def test_without_a_configuration_it_says_so_to_who_is_on_its_link(tmp_path, certificates):
    iso, fat = config_drive(tmp_path, appliance.configuration(), certificates), fat_drive(tmp_path, {})
    with appliance.Appliance(tmp_path, disks=[iso, fat, disk_of_other_images(str(tmp_path / 'other.raw'))]) as site_b:
        status, told = site_b.wait_for_health(appliance.LINK_LOCAL)
        assert status == 503 and told['problems'][0].startswith('two drives are labelled UNDERSTUDY: vd'), told
        assert told['problems'][0] in site_b.console()
        assert 'it is not the root file system' not in site_b.console()     # nobody writes to the image's disk: it comes first

"""The appliance's disk image boots, is configured, and says what is wrong when it cannot be."""
import json
import os
import shutil
import subprocess

import pytest

import appliance
import lab


@pytest.fixture(autouse=True)
def image():
    if not os.path.exists(appliance.IMAGE):
        pytest.skip('build/image/understudy.raw is missing: make image')


@pytest.fixture
def certificates(tmp_path):
    return appliance.certificates(tmp_path)


def disk_of_other_images(path):
    """Its partitions are named as the root file systems of other images are."""
    with open(path, 'wb') as f:
        f.truncate(16 << 20)
    names = ['understudy-system', *(f'understudy-{digit * 24}' for digit in '0af')]
    subprocess.run(['sfdisk', '-q', path], input='label: gpt\n' + ''.join(f'size=2048, name={name}\n' for name in names), text=True, check=True)
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


def test_it_boots_by_bios_takes_a_configuration_drive_and_goes_off_by_its_power_button(tmp_path, certificates):
    drive = config_drive(tmp_path, appliance.configuration(), certificates)
    with appliance.Appliance(tmp_path, disks=[disk_of_other_images(str(tmp_path / 'other.raw'))], more=('-cdrom', drive)) as site_b:
        assert site_b.wait_for_health() == (200, {'status': 'ok', 'problems': []}), site_b.console()
        assert appliance.open_ports(site_b.network) == {7400, 7480}
        for port in (53, 67, 68, 123, 161, 514, 546, 1900, 4789, 5353, 7480):
            lab.wait_for(f'nobody listens at UDP port {port}', lambda port=port: appliance.refuses_datagrams(site_b.network, port))
        assert 'network:' not in site_b.console()      # cards, a bridge, a VLAN were set up
        assert 'configuration from the drive sr0' in site_b.console()
        site_b.press_power()
        assert 'power button: the machine ends' in site_b.console()
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


def test_it_boots_by_uefi_and_serves_what_is_wrong_with_its_configuration(tmp_path, certificates):
    if not any(os.path.exists(f'{appliance.OVMF}{size}.fd') for size in ('', '_4M')):
        pytest.skip('no UEFI firmware for virtual machines: apt-get install ovmf')
    (tmp_path / 'wrong.json').write_text(json.dumps(appliance.configuration() | {'hypervizor': {}}))
    drive = fat_drive(tmp_path, {'config.json': tmp_path / 'wrong.json'} | certificates)
    with appliance.Appliance(tmp_path, uefi=True, disks=[drive]) as site_b:
        status, told = site_b.wait_for_health()
        assert status == 503 and 'hypervizor' in told['problems'][0] and 'did you mean "hypervisor"' in told['problems'][0], told
        assert 'hypervizor' in site_b.console() and 'configuration from the drive vdb' in site_b.console()


def test_without_a_configuration_it_says_so_to_who_is_on_its_link(tmp_path, certificates):
    iso, fat = config_drive(tmp_path, appliance.configuration(), certificates), fat_drive(tmp_path, {})
    with appliance.Appliance(tmp_path, disks=[iso, fat]) as site_b:
        status, told = site_b.wait_for_health(appliance.LINK_LOCAL)
        assert status == 503 and told['problems'][0].startswith('two drives are labelled UNDERSTUDY: vd'), told
        assert told['problems'][0] in site_b.console()

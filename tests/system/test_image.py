"""The appliance's disk image boots, is configured, and says what is wrong when it cannot be."""
import os
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
    subprocess.run([lab.UNDERSTUDY, 'pki', str(tmp_path / 'certs')], check=True, stdout=subprocess.DEVNULL)
    return {name: str(tmp_path / 'certs' / name) for name in ('ca.crt', 'standby.crt', 'standby.key')}


def disk_of_other_images(path):
    """Its partitions are named as the root file systems of other images are."""
    with open(path, 'wb') as f:
        f.truncate(16 << 20)
    names = ['understudy-system', *(f'understudy-{digit * 24}' for digit in '0af')]
    subprocess.run(['sfdisk', '-q', path], input='label: gpt\n' + ''.join(f'size=2048, name={name}\n' for name in names), text=True, check=True)
    return path


def test_it_boots_by_bios_runs_the_standby_and_goes_off_by_its_power_button(tmp_path, certificates):
    with appliance.Appliance(tmp_path, appliance.configuration(), certificates,
                             disks=[disk_of_other_images(str(tmp_path / 'other.raw'))]) as site_b:
        assert site_b.wait_for_health() == (200, {'status': 'ok', 'problems': []}), site_b.console()
        others = [port for port in range(1, 1024)] + list(range(7000, 7600))
        open_ports = set(others) - set(appliance.closed_ports(site_b.network, others))
        assert open_ports == {7400, 7480}
        assert 'network:' not in site_b.console()      # cards, a bridge, a VLAN were set up
        site_b.press_power()
        assert 'power button: the machine ends' in site_b.console()
        with open(certificates['standby.key'], encoding='ascii') as key:
            assert key.read().splitlines()[1] not in site_b.console()


def test_it_boots_by_uefi_and_serves_what_is_wrong_with_its_configuration(tmp_path, certificates):
    if not any(os.path.exists(f'{appliance.OVMF}{size}.fd') for size in ('', '_4M')):
        pytest.skip('no UEFI firmware for virtual machines: apt-get install ovmf')
    wrong = appliance.configuration() | {'hypervizor': {}}
    with appliance.Appliance(tmp_path, wrong, certificates, uefi=True) as site_b:
        status, told = site_b.wait_for_health()
        assert status == 503 and 'hypervizor' in told['problems'][0] and 'did you mean "hypervisor"' in told['problems'][0], told
        assert 'hypervizor' in site_b.console()

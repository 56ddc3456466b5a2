"""The appliance's data disk: an empty one is prepared, found again and grown; what has something on it is left alone."""
import errno
import hashlib
import os
import re
import subprocess

import pytest

import appliance
import lab


@pytest.fixture(autouse=True)
def image():
    if not os.path.exists(appliance.IMAGE):
        pytest.skip('build/image/understudy.raw is missing: make image')


def resize(path, mib):
    with open(path, 'ab') as f:
        f.truncate(mib << 20)


def file_system(path):
    """Its identity and its size in MiB; it is consistent, and was left in order."""
    subprocess.run(['e2fsck', '-fn', path], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    told = subprocess.run(['dumpe2fs', '-h', path], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    assert 'needs_recovery' not in told, told
    return re.search(r'UUID: +(\S+)', told)[1], int(re.search(r'Block count: +(\d+)', told)[1]) // 256


def digest(path):
    """Of what has been written to it, and where; its holes need not be read."""
    found, at = hashlib.sha256(), 0
    with open(path, 'rb') as f:
        while True:
            try:
                start = os.lseek(f.fileno(), at, os.SEEK_DATA)
            except OSError as e:
                assert e.errno == errno.ENXIO, e        # nothing but a hole is left
                return found.hexdigest()
            at = min(os.lseek(f.fileno(), start, os.SEEK_HOLE), start + (64 << 20))
            found.update(f'{start} {at} '.encode() + os.pread(f.fileno(), at - start, start))


def configuration():
    config = appliance.configuration()
    del config['machine']['data']
    config['instances'][0]['durability'] = 'journal'
    return config


def plug(qmp, path):
    qmp('blockdev-add', driver='raw', **{'node-name': 'plugged', 'file': {'driver': 'file', 'filename': path}})
    qmp('device_add', driver='virtio-blk-pci', id='plugged', drive='plugged', serial='S1')


def unplug(qmp):
    """The machine lets go of it first."""
    def gone():
        try:
            qmp('blockdev-del', **{'node-name': 'plugged'})
        except RuntimeError:        # it is in use
            return False
        return True
    qmp('device_del', id='plugged')
    lab.wait_for('the disk is out', gone, 60, 0.1)


def tells(site_b, reason):
    """As the only problem, and why the standby is not there."""
    def told():
        answer = site_b.health()
        return answer is not None and answer[0] == 503 and re.match(reason, answer[1]['problems'][0]) is not None
    try:
        lab.wait_for(reason, told, 120, 0.2)
    except AssertionError as e:
        raise AssertionError(f'{e}\n{site_b.health()}\n{site_b.console()}') from None


def test_an_empty_disk_becomes_the_data_disk_and_is_found_again_and_grown_and_none_takes_its_place_while_it_cannot_be_used(tmp_path):
    certificates = appliance.certificates(tmp_path)
    data, other = str(tmp_path / 'data'), str(tmp_path / 'other')
    resize(data, 2048)
    with open(other, 'wb') as f:
        f.write(bytes(510) + b'\x55\xaa' + bytes((100 << 20) - 512))
    before = digest(other)
    disks = appliance.disk(data, 'S1') + appliance.disk(other, 'S2') + ['-device', 'i6300esb', '-watchdog-action', 'pause']
    with appliance.Appliance(tmp_path, configuration(), certificates, more=disks) as site_b:
        assert site_b.wait_for_health() == (200, {'status': 'ok', 'problems': []}), site_b.console()
        site_b.press_power()
        assert 'is empty: it becomes the data disk' in site_b.console()
        assert 'watchdog: i6300ESB timer' in site_b.console()
        assert site_b.console().rfind('power button: the machine ends') < site_b.console().rfind('init: ended'), site_b.console()
    identity, size = file_system(data)
    assert size == 2048 and not identity.startswith('55534459'), (identity, size)
    state = subprocess.run(['debugfs', '-R', 'ls -p /state', data], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    assert '/vm1/' in state, state

    # By UEFI, too, it comes to serve. That OVMF is missing is told by the test in test_image.py that is skipped then.
    resize(data, 3000)
    with appliance.Appliance(tmp_path, configuration(), certificates, uefi=appliance.has_uefi(), more=disks) as site_b:
        assert site_b.wait_for_health() == (200, {'status': 'ok', 'problems': []}), site_b.console()
        site_b.press_power()
        assert 'is empty' not in site_b.console()
        assert re.search(r'data disk /dev/vd. \(serial number S1\), 3000 MiB', site_b.console()), site_b.console()
    assert file_system(data) == (identity, 3000)
    assert digest(other) == before

    damage = 1024 + 0x88        # in its superblock, of which there is a checksum
    config = configuration()
    del config['instances'][0]['durability']
    plugged = ['-blockdev', f'driver=raw,node-name=plugged,read-only=on,file.driver=file,file.filename={data}',
               '-device', 'virtio-blk-pci,id=plugged,drive=plugged,serial=S1']
    with appliance.Appliance(tmp_path, config, certificates, more=appliance.disk(other, 'S2') + plugged) as site_b:
        tells(site_b, 'the data disk cannot be written to; .*S1. has our label, and is read-only')
        qmp = lab.Qmp(site_b.path('qmp'))
        unplug(qmp)
        tells(site_b, 'there is no data disk; .*S2. has something on it')
        with open(data, 'r+b') as f:
            f.seek(damage)
            sound = f.read(7)
            f.seek(damage)
            f.write(b'damaged')
        before = digest(data)
        plug(qmp, data)
        tells(site_b, 'data disk /dev/vd.: mounting it')
        unplug(qmp)
        assert digest(data) == before
        with open(data, 'r+b') as f:
            f.seek(damage)
            f.write(sound)
        plug(qmp, data)
        lab.wait_for('it has its data disk', lambda: site_b.health() == (200, {'status': 'ok', 'problems': []}), 120, 0.2)
        qmp.close()

"""The appliance's image, taken apart without mounting: what is in it, whose that is, and that it comes out the same again."""
import hashlib
import json
import os
import re
import struct
import subprocess

import pytest

import appliance
import lab

QCOW2, BOM = (appliance.IMAGE.replace('.raw', end) for end in ('.qcow2', '.spdx.json'))
PROGRAMS = {'initramfs/init', 'system/bin/understudy', 'system/bin/qemu-system-x86_64'}


@pytest.fixture(scope='module')
def apart(tmp_path_factory):
    """Its lines in the form of image/contents, and the folder with its files."""
    if not os.path.exists(appliance.IMAGE):
        pytest.skip('build/image/understudy.raw is missing: make image')
    folder = str(tmp_path_factory.mktemp('image') / 'files')
    listed = subprocess.run([os.path.join(lab.TREE, 'image', 'inspect.sh'), appliance.IMAGE, folder], check=True, stdout=subprocess.PIPE, text=True)
    return listed.stdout.splitlines(), folder


def contents():
    """image/contents: (whose, place, mode, path)."""
    with open(os.path.join(lab.TREE, 'image', 'contents'), encoding='ascii') as f:
        return [tuple(line.rstrip('\n').split(' ', 3)) for line in f if not line.startswith('#')]


def files():
    return {f'{place}/{path}': whose for whose, place, mode, path in contents() if mode.startswith('-')}


def read(folder, name):
    with open(os.path.join(folder, name), 'rb') as f:
        return f.read()


def interpreter(program):
    """Whether a 64-bit ELF file names a loader of shared libraries (PT_INTERP), or libraries (DT_NEEDED in PT_DYNAMIC)."""
    table, = struct.unpack_from('<Q', program, 32)
    size, count = struct.unpack_from('<HH', program, 54)
    for header in range(table, table + size * count, size):
        kind, = struct.unpack_from('<I', program, header)
        at, _, _, length = struct.unpack_from('<4Q', program, header + 8)
        if kind == 3 or kind == 2 and any(struct.unpack_from('<Q', program, entry)[0] == 1 for entry in range(at, at + length, 16)):
            return True
    return False


def test_it_has_what_is_listed_and_nothing_else(apart):
    listed, _ = apart
    wanted = [' '.join(line) for _, *line in contents()]
    assert listed == wanted, f'only in the image: {sorted(set(listed) - set(wanted))}, only listed: {sorted(set(wanted) - set(listed))}'


def test_what_is_in_it_is_roots_and_for_nobody_else_to_change_or_to_become_somebody_by(apart):
    for line in apart[0]:
        place, mode, path = line.split(' ', 2)
        allowed = ('-', 'd') if place in ('disk', 'boot') else ('-rw-r--r--', '-rwxr-xr-x', 'drwxr-xr-x')
        assert mode in allowed or (mode, path) == ('lrwxrwxrwx', 'etc/resolv.conf -> /run/resolv.conf'), line


def test_only_two_programs_can_run_in_it_and_they_need_no_loader(apart):
    _, folder = apart
    for name in files():
        content = read(folder, name)
        assert not content.startswith(b'#!'), name
        if content.startswith(b'\x7fELF') and not name.endswith('.ko'):
            assert name in PROGRAMS and not interpreter(content), name
        assert (os.stat(os.path.join(folder, name)).st_mode & 0o111 != 0) == (name in PROGRAMS), name
    assert read(folder, 'initramfs/init') == read(folder, 'system/bin/understudy')


def test_nothing_is_hidden_between_its_partitions(apart):
    """Beside GPT and GRUB's first sector, and in what GRUB leaves of its partition."""
    _, folder = apart
    table = json.loads(subprocess.run(['sfdisk', '-J', appliance.IMAGE], check=True, stdout=subprocess.PIPE).stdout)['partitiontable']['partitions']
    used = [(0, 34 * 512)] + [(p['start'] * 512, (p['start'] + p['size']) * 512) for p in table]
    image = read(folder, appliance.IMAGE)
    used.append((len(image) - 33 * 512, len(image)))
    for (_, end), (start, _) in zip(used, used[1:]):
        assert not image[end:start].strip(b'\0'), f'{end} to {start}'
    assert len(read(folder, 'disk/core.img').rstrip(b'\0')) < 256 << 10


def test_it_is_as_small_as_promised_and_the_same_in_both_forms(apart):
    del apart
    assert os.path.getsize(appliance.IMAGE) <= 32 << 20 and os.path.getsize(lab.UNDERSTUDY) <= 3 << 20
    subprocess.run(['qemu-img', 'check', '-q', QCOW2], check=True)
    subprocess.run(['qemu-img', 'compare', '-q', '-f', 'raw', '-F', 'qcow2', appliance.IMAGE, QCOW2], check=True)


def test_its_bill_of_materials_tells_of_every_file_whose_it_is_and_of_every_package_version_and_licence(apart):
    _, folder = apart
    with open(BOM, encoding='utf-8') as f:
        bill = json.load(f)
    packages = {p['SPDXID']: p for p in bill['packages']}
    found = {f['SPDXID']: f for f in bill['files']}
    related = {kind: [(r['spdxElementId'], r['relatedSpdxElement']) for r in bill['relationships'] if r['relationshipType'] == kind]
               for kind in ('DESCRIBES', 'CONTAINS', 'GENERATED_FROM', 'STATIC_LINK')}
    assert bill['spdxVersion'] == 'SPDX-2.3' and related['DESCRIBES'] == [('SPDXRef-DOCUMENT', 'SPDXRef-image')]
    assert packages['SPDXRef-image']['checksums'] == [{'algorithm': 'SHA256', 'checksumValue': hashlib.sha256(read(folder, appliance.IMAGE)).hexdigest()}]
    assert {f['fileName']: [c['checksumValue'] for c in f['checksums']] for f in found.values()} == {
        f'./{name}': [hashlib.sha1(read(folder, name)).hexdigest(), hashlib.sha256(read(folder, name)).hexdigest()] for name in files()}
    assert {found[which]['fileName']: packages[whose]['name'] for which, whose in related['GENERATED_FROM']} == {f'./{n}': w for n, w in files().items()}
    assert {which for _, which in related['CONTAINS']} == set(found)
    part = {whose for _, whose in related['GENERATED_FROM']} | {'SPDXRef-image'} | {what for _, what in related['STATIC_LINK']}
    assert part == set(packages), 'each package is in a file'
    for package in bill['packages'][1:]:
        assert re.fullmatch(r'[\w.+:~-]+', package['versionInfo']) and package['versionInfo'] != 'unknown', package
        assert re.fullmatch(r'[A-Za-z0-9.-]+( (AND|OR|WITH) [A-Za-z0-9.-]+)*', package['licenseDeclared']), package
        assert read(folder, f"system/licenses/{package['name']}").strip(), package


def test_it_comes_out_the_same_in_another_folder_at_another_time_and_of_another_user(apart):
    del apart
    again = subprocess.run([os.path.join(lab.TREE, 'image', 'reproduce.sh')], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert again.returncode == 0, again.stdout

"""`understudy config-drive` makes what other programs can read, with what the configuration names and nothing else."""
import json
import os
import shutil
import subprocess

import pytest

import appliance
import lab


@pytest.fixture
def content(tmp_path):
    """A directory with a configuration, and all that `understudy pki` makes."""
    directory = tmp_path / 'content'
    subprocess.run([lab.UNDERSTUDY, 'pki', str(directory)], check=True, stdout=subprocess.DEVNULL)
    (directory / 'config.json').write_text(json.dumps(appliance.configuration()))
    return directory


def make(content, drive):
    return subprocess.run([lab.UNDERSTUDY, 'config-drive', str(content) + '/', '--output', str(drive)], capture_output=True, text=True, check=False)


def isoinfo(drive, *arguments):
    if shutil.which('isoinfo') is None:
        pytest.skip('isoinfo is missing: apt-get install genisoimage')
    return subprocess.run(['isoinfo', '-i', str(drive), *arguments], check=True, capture_output=True).stdout


def test_another_program_reads_the_files_by_their_names(tmp_path, content):
    drive = tmp_path / 'drive.iso'
    made = make(content, drive)
    assert made.returncode == 0, made.stderr
    assert os.stat(drive).st_mode & 0o777 == 0o600
    assert b'Volume id: UNDERSTUDY' in isoinfo(drive, '-d')
    names = ('config.json', 'ca.crt', 'standby.crt', 'standby.key')
    listed = {line.split()[-1]: line.split()[0] for line in isoinfo(drive, '-l', '-R').decode().splitlines() if line.startswith('-')}
    assert listed == {name: '-r--------' for name in names}
    for name in names:
        assert isoinfo(drive, '-R', '-x', f'/{name}') == (content / name).read_bytes()


def test_what_is_not_named_stays_away_and_is_told(tmp_path, content):
    made = make(content, tmp_path / 'drive.iso')
    assert {line.split('/')[-1] for line in made.stderr.splitlines() if 'left out' in line} == \
        {f'{name}: not named in config.json, left out' for name in ('ca.key', 'primary.crt', 'primary.key')}
    secret = (content / 'standby.key').read_text().splitlines()[1]
    assert secret not in made.stdout + made.stderr
    drive = (tmp_path / 'drive.iso').read_bytes()
    assert secret.encode() in drive and (content / 'ca.key').read_bytes().splitlines()[1] not in drive
    assert make(content, tmp_path / 'again.iso').returncode == 0
    assert (tmp_path / 'again.iso').read_bytes() == drive


def journal_in_memory():
    config = appliance.configuration()
    config['instances'][0]['durability'] = 'journal'
    return config


@pytest.mark.parametrize('spoil,said', [
    (lambda content: (content / 'config.json').unlink(), 'config.json: No such file'),
    (lambda content: (content / 'standby.crt').unlink(), 'standby.crt: No such file'),
    (lambda content: (content / 'config.json').write_text('{"site": '), 'config.json'),
    (lambda content: (content / 'config.json').write_text(json.dumps(appliance.configuration() | {'hypervizor': {}})), 'did you mean "hypervisor"'),
    (lambda content: (content / 'config.json').write_text(json.dumps(journal_in_memory())), 'machine.data: memory: instances[0] has a journal'),
])
def test_no_drive_is_made_of_what_would_not_work(tmp_path, content, spoil, said):
    spoil(content)
    made = make(content, tmp_path / 'drive.iso')
    assert made.returncode == 1 and said in made.stderr, made.stderr
    assert not (tmp_path / 'drive.iso').exists()


def test_the_names_of_what_would_be_on_it_are_printed_for_an_image_that_is_baked(tmp_path, content):
    for directory, where in ((str(content), tmp_path), ('.', content), ('content', tmp_path), ('./content', tmp_path)):
        listed = subprocess.run([lab.UNDERSTUDY, 'config-drive', directory, '--names'], cwd=where, capture_output=True, text=True, check=True)
        assert listed.stdout == 'config.json ca.crt standby.crt standby.key\n'
    assert os.listdir(tmp_path) == ['content']

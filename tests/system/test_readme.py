"""What the README tells a newcomer to write is a configuration that understudy takes."""
import json
import os
import re
import subprocess

import lab


def run(*command, **options):
    return subprocess.run([lab.UNDERSTUDY, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)


def test_the_configurations_of_the_readme_are_valid(tmp_path):
    with open(os.path.join(lab.TREE, 'README.md'), encoding='utf-8') as f:
        readme = f.read()
    objects = [text for text in re.findall(r'```json\n(.*?)```', readme, re.S) if text.lstrip().startswith('{')]       # VRRP's: test_vrrp.py
    examples = [text for text in objects if '"site"' in text]
    of_instance = [text for text in objects if '"site"' not in text]
    assert len(examples) == 2 and len(of_instance) == 2
    assert run('pki', str(tmp_path / 'certs')).returncode == 0
    site = lab.Namespace('b')
    site.run('ip', 'link', 'add', 'br0', 'type', 'bridge')
    paths = [tmp_path / 'certs' / f'{role}.json' for role in ('standby', 'primary')]
    for path, text in zip(paths, examples):
        path.write_text(text.replace('/usr/bin/qemu-system-x86_64', lab.QEMU).replace('/var/lib/understudy', str(tmp_path)))
    for path, other in (paths, reversed(paths)):
        result = run('check', '--config', str(path), '--peer', str(other), preexec_fn=site.enter, pass_fds=[site.fd])
        assert result.returncode == 0, result.stdout
    standby = paths[0].read_text()
    for text in of_instance:                                  # a journal in one directory, and in several
        with_journal = json.loads(standby)
        for place in re.findall(r'"/(?:srv|disk)[^"]*"', text):
            own = str(tmp_path) + place.strip('"')
            os.makedirs(os.path.dirname(own), exist_ok=True)
            text = text.replace(place, json.dumps(own))
        with_journal['instances'][0] |= json.loads(text)
        paths[0].write_text(json.dumps(with_journal))
        result = run('check', '--config', str(paths[0]), preexec_fn=site.enter, pass_fds=[site.fd])
        assert result.returncode == 0, result.stdout
    site.close()


def test_a_typing_error_is_named_with_its_path_and_the_near_miss(tmp_path):
    path = tmp_path / 'primary.json'
    path.write_text('{"site": "a", "instances": [{"name": "vm1", "chekpoint": {}}]}')
    result = run('check', '--role', 'primary', '--config', str(path))
    assert result.returncode == 1
    assert 'instances[0].chekpoint' in result.stdout and 'checkpoint' in result.stdout


def test_of_a_peers_file_whose_role_cannot_be_told_no_role_is_asked_for(tmp_path):
    with open(os.path.join(lab.TREE, 'README.md'), encoding='utf-8') as f:
        primary = re.findall(r'```json\n(.*?)```', f.read(), re.S)[1]
    assert run('pki', str(tmp_path / 'certs')).returncode == 0
    own, peer = tmp_path / 'certs' / 'primary.json', tmp_path / 'peer.json'
    own.write_text(primary)
    peer.write_text('{"site": "b"}')
    result = run('check', '--config', str(own), '--peer', str(peer))
    assert result.returncode == 1 and 'peer.json' in result.stdout and '--role' not in result.stdout, result.stdout


def test_schemas_are_printed_for_each_role_and_for_either():
    schemas = []
    for role in ('primary', 'standby'):
        result = run('check', '--schema', '--role', role)
        schemas.append(json.loads(result.stdout))
        assert result.returncode == 0 and schemas[-1].pop('additionalProperties') is False, result.stdout
    either = json.loads(run('check', '--schema').stdout)['anyOf']
    assert [one['properties'] for one in either] == [one['properties'] for one in schemas]

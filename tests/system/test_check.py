"""What `understudy check` and the daemons say of a configuration that is none, or meets something on this machine."""
import json
import socket
import subprocess

import pytest

import lab


def run(*command, **options):
    return subprocess.run([lab.UNDERSTUDY, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False, timeout=20, **options)


@pytest.mark.parametrize('text', ['[]', 'null', '"x"', '7'])
def test_what_is_no_object_is_said_to_be_none(tmp_path, text):
    path = tmp_path / 'c.json'
    path.write_text(text)
    result = run('check', '--config', str(path))
    assert result.returncode == 1 and 'expected an object' in result.stdout, result.stdout
    result = run('check', '--json', '--config', str(path))
    assert result.returncode == 1 and 'expected an object' in json.loads(result.stdout)['problems'][0], result.stdout
    assert 'expected an object' in run('standby', '--config', str(path)).stdout


def test_a_role_that_cannot_be_told_is_a_problem_of_the_file():
    for arguments in (), ('--json',):
        result = subprocess.run([lab.UNDERSTUDY, 'check', '--config', '-', *arguments], input='{}', stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, check=False, timeout=20)
        assert result.returncode == 1 and 'usage' not in result.stdout, result.stdout
        said = json.loads(result.stdout)['problems'][0] if arguments else result.stdout
        assert 'standard input: cannot tell its role' in said and 'say --role' in said, said


def test_nothing_of_another_file_gets_into_the_log(tmp_path):
    path = tmp_path / 'shadow'
    path.write_text('root:$6$salt$hash:19000:0:99999:7:::\n')
    for verb in ('check', 'primary', 'standby'):
        result = run(verb, '--config', str(path))
        assert result.returncode == 1 and 'no JSON' in result.stdout and '$6$' not in result.stdout and ':19000' not in result.stdout, result.stdout


def test_one_thing_at_a_time_is_asked_for(tmp_path):
    assert '--config, --schema or --explain is needed' in run('check').stdout
    assert 'exclude each other' in run('check', '--config', str(tmp_path), '--explain').stdout
    assert 'Relative paths are relative to the configuration file' in run('check', '--explain').stdout


@pytest.mark.parametrize('arguments, said', [
    (['--explain', '--json'], '--json is for --config only; --schema prints the keys as JSON'),
    (['--schema', '--json'], '--json is for --config only; --schema prints JSON without it'),
    (['--explain', '--peer', 'b.json'], '--peer is for --config only')])
def test_an_option_that_would_change_nothing_is_wrong_usage(arguments, said):
    result = run('check', *arguments)
    assert result.returncode == 2 and said in result.stdout and 'usage: ' in result.stdout, result.stdout


def test_what_the_makers_options_did_not_change_is_said(tmp_path):
    certs = str(tmp_path / 'certs')
    assert 'changes nothing' not in run('pki', certs, '--days', '10', '--name', 'seoul').stdout
    result = run('pki', certs, '--days', '20', '--name', 'seoul')
    assert result.returncode == 0, result.stdout
    assert '--days changes nothing: all certificates were there already' in result.stdout, result.stdout
    assert '--name seoul' not in result.stdout, result.stdout
    result = run('pki', certs, '--name', 'busan')
    assert result.returncode == 0, result.stdout
    assert '--name busan changes nothing: primary.crt was there already; move primary.crt and primary.key away' in result.stdout, result.stdout


def test_the_version_has_every_library():
    version = json.loads(run('version', '--json').stdout)
    assert set(version['libraries']) == {'libuv', 'mbedtls', 'lz4', 'xxhash', 'cjson', 'llhttp'}
    assert f"understudy {version['version']} (build {version['build']})" in run('version').stdout


@pytest.mark.parametrize('key, extra', [('link.listen', {'http': {'listen': '127.0.0.1:7480'}}),
                                        ('http.listen', {'http': {'listen': f'{lab.LINK_B}:7401'}})])
def test_a_port_in_use_is_said_with_its_key_and_what_to_do(key, extra):
    with lab.Lab(standby=extra) as world:
        with world.b.inside():
            other = socket.socket()
        with other:
            other.bind((lab.LINK_B, 7401 if key == 'http.listen' else lab.LINK_PORT))
            other.listen()
            daemon = world.start_appliance()
            lab.wait_for('it gives up', lambda: not daemon.running())
            assert f' {key}: ' in daemon.text() and 'address already in use: another process listens there; end it' in daemon.text(), \
                daemon.text()

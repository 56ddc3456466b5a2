"""The health endpoint in place of a standby that cannot run."""
import ctypes
import json
import struct
import subprocess

import pytest

import lab


@pytest.fixture
def trouble(tmp_path):
    """Started with an address that is nobody's here, and one that can be."""
    socket = tmp_path / 'http'
    with open(tmp_path / 'log', 'wb') as log:
        process = subprocess.Popen([lab.UNDERSTUDY, 'trouble', '--http', '192.0.2.1:7480', '--http', f'unix:{socket}', '--reason', 'no "disk"'],
                                   stderr=log)
    yield process, socket
    process.kill()
    process.wait()


def get(socket, path):
    answer = subprocess.run(['curl', '-s', '-w', '\n%{http_code}', '--unix-socket', str(socket), f'http://localhost{path}'],
                            capture_output=True, text=True, check=True).stdout
    body, status = answer.rsplit('\n', 1)
    return int(status), json.loads(body)


def test_where_the_first_address_cannot_be_listened_at_the_second_one_says_why(trouble):
    process, socket = trouble
    lab.wait_for('it listens', lambda: socket.exists() or process.poll() is not None, 20, 0.02)
    assert get(socket, '/healthz') == (503, {'status': 'attention', 'problems': ['no "disk"']})
    with open(f'/proc/{process.pid}/status', encoding='ascii') as f:
        assert 'Seccomp:\t2\n' in f.read()
    assert get(socket, '/v1/status')[0] == 503 and get(socket, '/')[0] == 404


def test_what_process_1_has_found_wrong_with_the_machine_is_told_beside_the_reason(tmp_path):
    problems, socket = tmp_path / 'problems', tmp_path / 'http'
    problems.write_text('no disk\nno card\n')
    process = subprocess.Popen([lab.UNDERSTUDY, 'trouble', '--http', f'unix:{socket}', '--reason', 'no disk', '--problems', str(problems)])
    try:
        lab.wait_for('it listens', lambda: socket.exists() or process.poll() is not None, 20, 0.02)
        assert get(socket, '/healthz') == (503, {'status': 'attention', 'problems': ['no disk', 'no card']})
    finally:
        process.kill()
        process.wait()


def without_seccomp():
    """From now on, for the calling process and what it becomes: the kernel refuses a filter."""
    call, no = 317, 0x00050001   # seccomp(2) of x86-64; SECCOMP_RET_ERRNO | EPERM
    words = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *word) for word in (
        (0x20, 0, 0, 0), (0x15, 0, 1, call), (0x06, 0, 0, no), (0x06, 0, 0, 0x7fff0000))))
    program = struct.pack('H6xP', 4, ctypes.addressof(words))
    libc = ctypes.CDLL(None)
    assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0    # no new privileges; a filter


def test_where_it_cannot_be_confined_it_does_not_listen(tmp_path):
    result = subprocess.run([lab.UNDERSTUDY, 'trouble', '--http', f"unix:{tmp_path / 'http'}", '--reason', 'x'], check=False, timeout=20,
                            preexec_fn=without_seccomp, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert result.returncode == 1 and 'a filter of system calls (seccomp)' in result.stdout, result.stdout
    assert not (tmp_path / 'http').exists()


def test_it_tells_what_a_standby_has_against_its_configuration(tmp_path):
    config = {'site': 'b', 'tls': {'ca': 'ca.crt', 'cert': 'standby.crt', 'key': 'standby.key'}, 'link': {'listen': '127.0.0.1:1'},
              'state_dir': str(tmp_path / 'state'), 'hypervisor': {'program': lab.QEMU}, 'instances': [{'name': 'vm1'}]}
    path, socket = tmp_path / 'config.json', tmp_path / 'http'
    path.write_text(json.dumps(config))
    process = subprocess.Popen([lab.UNDERSTUDY, 'trouble', '--http', f'unix:{socket}', '--reason', 'it ended', '--config', str(path)])
    try:
        lab.wait_for('it listens', lambda: socket.exists() or process.poll() is not None, 20, 0.02)
        _, told = get(socket, '/healthz')
        assert told['problems'][0] == 'it ended' and any('tls.ca' in problem and 'ca.crt' in problem for problem in told['problems'][1:]), told
    finally:
        process.kill()
        process.wait()

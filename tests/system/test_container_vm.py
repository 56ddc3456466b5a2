"""A container's file system in a small virtual machine: its command runs there as its user, by its name and at its address."""
import http.client
import json
import os
import shutil
import subprocess

import pytest

import lab

ADDRESS = '10.8.0.5'
GUEST = os.path.join(lab.BUILD, 'guest')
SCRIPT = '''cd /srv
echo "$(id -u):$(id -g):$(id -G) $(hostname) $A $HOME $(pwd)" >index.html
cat /etc/hosts /etc/resolv.conf >etc.html
httpd -f -p 80
'''


def root_of(directory):
    """As an engine unpacks an image: busybox, who its users are, and empty files where it puts its own."""
    root = directory / 'root'
    for name in ('bin', 'etc', 'srv', 'proc', 'sys', 'dev'):
        (root / name).mkdir(parents=True)
    shutil.copy(os.path.join(GUEST, 'root', 'bin', 'busybox'), root / 'bin' / 'busybox')
    for name in ('sh', 'id', 'hostname', 'cat', 'httpd'):
        (root / 'bin' / name).symlink_to('busybox')
    (root / 'etc' / 'passwd').write_text('root:x:0:0::/root:/bin/sh\nweb:x:33:44::/srv:/bin/sh\n')
    (root / 'etc' / 'group').write_text('root:x:0:\nweb:x:44:\nlogs:x:55:web\n')
    (root / 'etc' / 'hosts').write_text('')
    (root / 'run.sh').write_text(SCRIPT)
    os.chmod(root / 'srv', 0o777)
    return root


def make_disk(root, disk):
    subprocess.run(['mke2fs', '-q', '-F', '-t', 'ext4', '-d', str(root), str(disk), '16M'], check=True, stdout=subprocess.DEVNULL)


def make_initramfs(directory, config):
    tree = directory / 'initramfs'
    shutil.copytree(os.path.join(GUEST, 'root', 'modules'), tree / 'modules')
    (tree / 'modules' / 'devices').write_text('')
    shutil.copy(lab.UNDERSTUDY, tree / 'init')
    (tree / 'container.json').write_text(json.dumps(config))
    archive = directory / 'initramfs.cpio'
    names = subprocess.run(['find', '.'], cwd=tree, check=True, capture_output=True).stdout
    with open(archive, 'wb') as out:
        subprocess.run(['cpio', '-o', '-H', 'newc', '-R', '0:0', '--quiet'], cwd=tree, input=names, stdout=out, check=True)
    return archive


class Vm:
    def __init__(self, directory, config):
        make_disk(root_of(directory), directory / 'disk')
        self.directory, self.initramfs, self.machine = directory, make_initramfs(directory, config), None

    def __enter__(self):
        self.network = lab.Namespace('container')
        for command in ('tuntap add tap0 mode tap', 'addr add 10.8.0.1/24 dev tap0', 'link set tap0 up'):
            self.network.run('ip', *command.split())
        self.machine = lab.Daemon(self.network, [
            lab.QEMU, '-machine', 'q35', '-accel', 'tcg', '-m', '128', '-nodefaults', '-display', 'none', '-no-reboot', '-L', lab.FIRMWARE,
            '-kernel', lab.KERNEL, '-initrd', str(self.initramfs), '-append', 'console=ttyS0 panic=-1 quiet',
            '-serial', f"file:{self.directory / 'console'}", '-drive', f"file={self.directory / 'disk'},format=raw,if=none,id=root",
            '-device', 'virtio-blk-pci,drive=root,serial=root', '-netdev', 'tap,id=n,ifname=tap0,script=no,downscript=no',
            '-device', 'virtio-net-pci,netdev=n,romfile='], str(self.directory / 'qemu.log'))
        return self

    def __exit__(self, *_):
        self.machine.kill()
        self.network.close()

    def console(self):
        return (self.directory / 'console').read_text(errors='replace')

    def get(self, path):
        with self.network.inside():
            connection = http.client.HTTPConnection(ADDRESS, timeout=2)
            try:
                connection.request('GET', path)
                return connection.getresponse().read().decode()
            except (OSError, http.client.HTTPException):
                return None
            finally:
                connection.close()

    def wait_until_off(self):
        lab.wait_for('it is off', lambda: not self.machine.running(), 60, 0.05)


def test_its_command_runs_as_its_user_by_its_name_and_at_its_address(tmp_path):
    config = {'hostname': 'web', 'addresses': [f'{ADDRESS}/24'], 'routes': ['default via 10.8.0.1'], 'dns': ['10.8.0.1'], 'user': 'web',
              'environment': ['A=some words'], 'command': ['sh', '/run.sh'], 'directory': '/srv'}
    with Vm(tmp_path, config) as vm:
        try:
            lab.wait_for('it answers', lambda: vm.get('/index.html'), 60, 0.1)
        except AssertionError as e:
            raise AssertionError(f'{e}\n{vm.console()}') from None
        assert vm.get('/index.html') == '33:44:44 55 web some words /srv /srv\n', vm.get('/index.html')
        told = vm.get('/etc.html')
        assert f'{ADDRESS}\tweb\n' in told and 'nameserver 10.8.0.1\n' in told, told


@pytest.mark.parametrize('change, told', [
    ({'command': ['sh', '-c', 'exit 7']}, 'sh ended with 7'),
    ({'command': ['/no/such/program']}, '/no/such/program: No such file or directory'),
    ({'user': 'nobody', 'command': ['sh']}, 'its /etc/passwd has no user nobody')])
def test_the_machine_ends_with_its_command_and_says_why(tmp_path, change, told):
    with Vm(tmp_path, {'hostname': 'web'} | change) as vm:
        vm.wait_until_off()
        assert told in vm.console(), vm.console()

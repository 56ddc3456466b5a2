"""A container engine of a test's own: Debian's dockerd, without networks, with an image made of busybox."""
import json
import os
import shutil
import subprocess
import sys

import lab

LOWER = {'low/file': 'of the image', 'low/deep/f': 'deep', 'low/deep/er/g': 'deeper', 'low/empty/.keep': '', 'etc/config': 'a=1'}
LINKED = ('low/one', 'low/two')     # two names of one file
PROGRAMS = ('sh', 'cat', 'ls', 'mkdir', 'rm', 'rmdir', 'mv', 'ln', 'chmod', 'touch', 'sleep', 'true', 'dd', 'sync', 'find', 'cp', 'seq', 'mknod')
MISSING = [p for p in ('dockerd', 'docker', 'containerd', 'runc', 'busybox') if shutil.which(p) is None]


class Engine:
    """Use as a context manager. Its data are in memory, so that it is the only one on its file system."""

    def __init__(self, directory):
        self.directory = str(directory)
        self.root, self.socket = os.path.join(self.directory, 'data'), os.path.join(self.directory, 's')
        self.host, self.daemon, self.starts = lab.Namespace('engine'), None, 0

    def __enter__(self):
        os.makedirs(self.root, exist_ok=True)
        subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=512m', 'engine', self.root], check=True)
        try:
            self.start()
            self._make_image()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def start(self):
        """The engine's daemon; what runs goes on when it is ended and started again."""
        self.starts += 1
        self.daemon = lab.Daemon(self.host, ['dockerd', '--data-root', self.root, '--exec-root', os.path.join(self.directory, 'exec'),
                                             '--pidfile', os.path.join(self.directory, 'pid'), '-H', f'unix://{self.socket}', '--live-restore',
                                             '--iptables=false', '--ip6tables=false', '--bridge=none', '--storage-driver', 'overlay2'],
                                 os.path.join(self.directory, f'dockerd{self.starts}.log'))
        lab.wait_for('the engine answers', self._answers, 60, 0.1)

    def _answers(self):
        assert self.daemon.running(), self.daemon.text()[-2000:]
        return self._docker('version', capture_output=True).returncode == 0

    def _docker(self, *words, **options):
        return subprocess.run(['docker', '-H', f'unix://{self.socket}', *words], stdin=subprocess.DEVNULL, text=True, **options)

    def docker(self, *words):
        """A command that has to succeed; what it says."""
        done = self._docker(*words, capture_output=True)
        assert done.returncode == 0, f'docker {" ".join(words)}: {done.stderr}'
        return done.stdout.strip()

    def run(self, *words, script, image='bb'):
        """A container, to its end."""
        return self.docker('run', '--network', 'none', *words, image, '/bin/sh', '-c', script)

    def create(self, name, script, *words):
        return self.docker('create', '--network', 'none', '--name', name, *words, 'bb', '/bin/sh', '-c', script)

    def _make_image(self):
        top = os.path.join(self.directory, 'image')
        os.makedirs(os.path.join(top, 'bin'))
        shutil.copy(shutil.which('busybox'), os.path.join(top, 'bin'))
        for program in PROGRAMS:
            os.symlink('busybox', os.path.join(top, 'bin', program))
        for path, text in LOWER.items():
            os.makedirs(os.path.dirname(os.path.join(top, path)), exist_ok=True)
            with open(os.path.join(top, path), 'w') as f:
                f.write(text)
        with open(os.path.join(top, LINKED[0]), 'w') as f:
            f.write('twice')
        os.link(os.path.join(top, LINKED[0]), os.path.join(top, LINKED[1]))
        tar = subprocess.Popen(['tar', '-C', top, '-c', '.'], stdout=subprocess.PIPE)
        subprocess.run(['docker', '-H', f'unix://{self.socket}', 'import', '-', 'bb'], stdin=tar.stdout, check=True, stdout=subprocess.DEVNULL)
        tar.wait()

    def upper(self, name):
        return self.docker('inspect', '-f', '{{.GraphDriver.Data.UpperDir}}', name)

    def close(self):
        if self.daemon is not None:
            ids = self._docker('ps', '-aq', capture_output=True).stdout.split()
            if ids:
                self._docker('rm', '-f', *ids, capture_output=True)
            self.daemon.stop(30)
        for _ in range(2):
            subprocess.run(['umount', '-R', '-l', self.root], stderr=subprocess.DEVNULL)
        self.host.close()


class Watcher:
    """`understudy watch` with these words, and the events that it has told."""

    def __init__(self, engine, *words):
        self.err = os.path.join(engine.directory, f'watch{len(os.listdir(engine.directory))}.err')
        self.out = self.err[:-3] + 'out'
        with open(self.out, 'wb') as out, open(self.err, 'wb') as err:
            self.process = subprocess.Popen([lab.UNDERSTUDY, 'watch', '--socket', engine.socket, '--json', *words],
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=err)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def said(self):
        with open(self.err) as f:
            return f.read()

    def wait_until_said(self, text, times=1):
        try:
            lab.wait_for(text, lambda: self.said().count(text) >= times, 60)
        except AssertionError as e:
            raise AssertionError(f'{e}\n{self.said()}') from None
        return self

    def ready(self):
        return self.wait_until_said('watching all containers of the engine')

    def events(self, name=None):
        with open(self.out, 'rb') as f:
            lines = f.read().decode()
        events = [json.loads(line) for line in lines[:lines.rfind('\n') + 1].splitlines()]
        return [e for e in events if name in (None, e['tree'])]

    def lines(self, name=None, without=()):
        """'kind path', 'rename from > path', a directory's with a slash behind."""
        return [f"{e['kind']} {e['from'] + ' > ' if 'from' in e else ''}{e['path']}{'/' if e.get('dir') else ''}"
                for e in self.events(name) if e['kind'] not in without]

    def wait_for(self, line, name=None):
        """The lines, once that one is among them."""
        try:
            return lab.wait_for(f'event: {line}', lambda: line in self.lines(name) and self.lines(name), 60)
        except AssertionError as e:
            print('\n'.join(self.lines()), self.said(), file=sys.stderr)
            raise AssertionError(f'{e}\n{self.lines(name)}\n{self.said()}') from None

    def stop(self):
        self.process.terminate()
        assert self.process.wait(30) == 0, self.said()

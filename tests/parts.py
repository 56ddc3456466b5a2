"""What a lab is made of: network namespaces, processes, their questions to each other; and how all of it ends."""
import contextlib
import ctypes
import fcntl
import http.client
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

MARK = 'UNDERSTUDY_LAB'       # in the environment of every process of a lab, whoever its parent is by then: the log it belongs to
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_libc = ctypes.CDLL(None, use_errno=True)


class Unusable(RuntimeError):
    """Something of this machine is missing; what, and what to do."""


def end_orderly(name):
    """For a script: each of ENDING ends it with one line and as an exception does, so that nothing of a lab is left. The first one only:
    what it began is not interrupted."""
    script = os.getpid()

    def on_signal(signum, _):
        if os.getpid() != script:
            os._exit(128 + signum)      # a child that has not become another program yet
        for other in ENDING:
            signal.signal(other, signal.SIG_IGN)
        with contextlib.suppress(OSError):      # a terminal that is gone
            os.write(2, f'\n{name}: {signal.Signals(signum).name}: ending\n'.encode())
        sys.exit(128 + signum)

    for signum in ENDING:
        if signal.getsignal(signum) != signal.SIG_IGN:      # nohup's wish
            signal.signal(signum, on_signal)


@contextlib.contextmanager
def undisturbed():
    """Signals of ENDING wait for the end of it."""
    if threading.current_thread() is not threading.main_thread():
        yield       # which gets none
        return
    waiting = []
    handlers = {signum: signal.signal(signum, lambda number, _: waiting.append(number)) for signum in ENDING}
    try:
        yield
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
        for signum in waiting[:1]:
            signal.raise_signal(signum)


def wait_for(what, condition, timeout=30.0, step=0.01):
    """Polls until condition() is true; its value. AssertionError naming `what` when the bounded wait is over."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f'waited {timeout:.0f} s in vain for: {what}')
        time.sleep(step)


class Namespace:
    """A network namespace, held open by a descriptor."""

    def __init__(self, name):
        self.name = name
        ready, tell = os.pipe()
        wait, self.hold = os.pipe()
        signals = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)     # a terminal's are not for it: it ends with the lab
        self.pid = os.fork()
        if self.pid == 0:
            self._stand(tell, wait)
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        os.close(tell)
        os.close(wait)
        if os.read(ready, 1) != b'!':
            raise Unusable('no network namespace: run as root, or through tests/enter.sh')
        os.close(ready)
        self.fd = os.open(f'/proc/{self.pid}/ns/net', os.O_RDONLY)
        self.run('ip', 'link', 'set', 'lo', 'up')

    @staticmethod
    def _stand(tell, wait):
        """The process that the namespace is of, until the lab lets go or is gone."""
        try:
            for fd in range(3, 1024):               # nothing of the others' may be held here
                if fd not in (tell, wait):
                    with contextlib.suppress(OSError):
                        os.close(fd)
            if _libc.unshare(0x40000000) == 0:      # CLONE_NEWNET
                os.write(tell, b'!')
                os.close(tell)
                os.read(wait, 1)
        finally:
            os._exit(0)

    def enter(self):
        """For a child process, between fork and exec."""
        if _libc.setns(self.fd, 0x40000000) != 0:
            os._exit(126)

    def run(self, *command):
        subprocess.run(command, check=True, preexec_fn=self.enter, pass_fds=[self.fd], stdout=subprocess.DEVNULL)

    def popen(self, command, **options):
        return subprocess.Popen(command, preexec_fn=self.enter, pass_fds=[self.fd], **options)

    @contextlib.contextmanager
    def inside(self):
        """The calling thread is in the namespace for a while."""
        own = os.open('/proc/thread-self/ns/net', os.O_RDONLY)
        try:
            if _libc.setns(self.fd, 0x40000000) != 0:
                raise OSError(ctypes.get_errno(), f'namespace {self.name}')
            yield
        finally:
            _libc.setns(own, 0x40000000)
            os.close(own)

    def close(self):
        os.close(self.fd)
        os.close(self.hold)
        os.waitpid(self.pid, 0)


def copy_sparse(source, target):
    subprocess.run(['cp', '--sparse=always', source, target], check=True)


def mac_of(namespace, device):
    """The hardware address of a device there, as text."""
    request = struct.pack('16s16x', device.encode())
    with namespace.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        return fcntl.ioctl(control, 0x8927, request)[18:24].hex(':')       # SIOCGIFHWADDR


class Daemon:
    """A process of the lab's own, with its log in a file."""

    def __init__(self, namespace, command, log, env=None):
        self.log = log
        with open(log, 'ab') as out:
            self.process = namespace.popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**(env or os.environ), MARK: log})
        self.pid = self.process.pid

    def kill(self):
        """Without wait(), which never returns where a signal broke into a poll()."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                process = os.pidfd_open(self.pid)
                signal.pidfd_send_signal(process, signal.SIGKILL)
                select.select([process], [], [])
                os.close(process)
            self.process.poll()

    def stop(self, timeout=10):
        """SIGTERM; the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f'process {self.pid} did not end on SIGTERM; its log: {self.log}') from None

    def signal(self, signum):
        self.process.send_signal(signum)

    def running(self):
        return self.process.poll() is None

    def text(self):
        with open(self.log, errors='replace') as f:
            return f.read()


class Qmp:
    """A blocking QMP client, for what a test asks of a QEMU itself."""

    def __init__(self, path, timeout=20):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(timeout)
        wait_for(f'QMP at {path}', lambda: self._connect(path), timeout)
        self.file = self.sock.makefile('rw')
        self.events = []
        self.file.readline()
        self('qmp_capabilities')

    def _connect(self, path):
        try:
            self.sock.connect(path)
            return True
        except OSError:
            return False

    def __call__(self, command, **arguments):
        self.file.write(json.dumps({'execute': command, 'arguments': arguments}) + '\n')
        self.file.flush()
        while True:
            reply = json.loads(self.file.readline())
            if 'event' in reply:
                self.events.append(reply)
            elif 'error' in reply:
                raise RuntimeError(f"{command}: {reply['error']['desc']}")
            else:
                return reply['return']

    def close(self):
        self.file.close()
        self.sock.close()


def end_descendants_of(logs):
    """Ends what daemons of a lab left behind (the warm QEMU of a killed appliance), by the mark that they gave it: those whose log's
    path begins with `logs`. A parent does not tell: what is left behind has got another one. When it returns they have ended."""
    mark = f'\0{MARK}={logs}'.encode()
    for pid in map(int, filter(str.isdigit, os.listdir('/proc'))):
        with contextlib.suppress(OSError):      # it has ended, or is not ours to read
            process = os.pidfd_open(pid)        # what is read and what is ended are the same process, whoever gets its number
            try:
                with open(f'/proc/{pid}/environ', 'rb') as f:
                    if mark in b'\0' + f.read():
                        signal.pidfd_send_signal(process, signal.SIGKILL)
                        select.select([process], [], [], 10)
            finally:
                os.close(process)


def fetch_unix(path, target, body=None, timeout=2.0):
    """A JSON document over HTTP on a unix socket."""
    connection = http.client.HTTPConnection('localhost', timeout=timeout)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(timeout)
    try:
        sock.connect(path)
        connection.sock = sock
        connection.request('GET' if body is None else 'POST', target, body=body, headers={'Content-Type': 'application/json'})
        return json.loads(connection.getresponse().read())
    finally:
        sock.close()


def ask_line(connection, line, timeout):
    """A line to the guest's service, and its answer; None when the connection ends. OSError as the socket has it."""
    connection.settimeout(timeout)
    connection.sendall(line.encode() + b'\n')
    answer = b''
    while not answer.endswith(b'\n'):
        data = connection.recv(4096)
        if not data:
            return None
        answer += data
    return answer.decode().strip()

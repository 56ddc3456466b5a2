"""A process inside of a virtual machine is made to crash: by QEMU's debugger stub, which knows nothing of processes, between two instructions."""
import socket
import struct
import time

RIP, CS = 128, 140      # in the registers of x86-64, as GDB's protocol has them
SAMPLE = 32             # bytes of code, by which a program is known


class Debugger:
    """Of a QEMU with -gdb unix:PATH,server=on,wait=off. The machine stands still while this is connected, but for run()."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(path)
        self.ask('?')

    def _send(self, text):
        self.sock.sendall(f'${text}#{sum(text.encode()) % 256:02x}'.encode())

    def _answer(self):
        data = b''
        while b'#' not in data or len(data) < data.index(b'#') + 3:
            data += self.sock.recv(65536).lstrip(b'+' if not data else b'')
        self.sock.sendall(b'+')
        return data[1:data.index(b'#')].decode()

    def ask(self, text):
        self._send(text)
        return self._answer()

    def stop(self):
        self.sock.sendall(b'\x03')
        return self._answer()

    def run(self, seconds):
        self._send('c')
        time.sleep(seconds)
        self.stop()

    def processors(self):
        return [number for number in self.ask('qfThreadInfo')[1:].split(',') if number]

    def code(self, processor):
        """Where a processor is, and what it does there; None when that is the kernel, or cannot be read."""
        self.ask(f'Hg{processor}')
        registers = bytes.fromhex(self.ask('g'))
        rip, = struct.unpack_from('<Q', registers, RIP)
        if struct.unpack_from('<I', registers, CS)[0] & 3 == 0 or rip % 4096 > 4096 - SAMPLE:
            return None
        code = self.ask(f'm{rip:x},{SAMPLE:x}')
        return (rip, bytes.fromhex(code)) if not code.startswith('E') else None

    def detach(self):
        self.ask('D')
        self.sock.close()


def is_in(program, rip, code):
    """Wherever it has been loaded: by pages."""
    at = program.find(code)
    while at >= 0 and (at - rip) % 4096 != 0:
        at = program.find(code, at + 1)
    return at >= 0


def crash(stub, path, timeout=120.0):
    """Waits until a processor is in that program (an executable, as it is in the machine), and has it go on at address 0."""
    with open(path, 'rb') as f:
        program = f.read()
    debugger, end = Debugger(stub), time.monotonic() + timeout
    try:
        while time.monotonic() < end:
            for processor in debugger.processors():
                where = debugger.code(processor)
                if where and is_in(program, *where):
                    assert debugger.ask('P10=' + '00' * 8) == 'OK'
                    return
            debugger.run(0.01)
    finally:
        debugger.detach()
    raise AssertionError(f'no processor was seen in {path} within {timeout} s')

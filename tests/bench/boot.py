"""The appliance's image: its size, from power-on to a health endpoint that answers, and the memory that it needs before it has a replica.

Beside the boot stands that of the same disk with the same boot loader and kernel, whose initramfs has nothing but a program that says one
line: what the machine itself needs, up to the end of which nothing here is ours. In turns, under TCG, on a machine with a random number
generator (without one the kernel gathers what it needs by busy waiting, half a second long). What QEMU had of a processor until then is
counted as well: it says more than the time when the machine is busy with something else.
"""
import contextlib
import os
import shutil
import statistics
import subprocess
import tempfile
import time

import appliance
import lab
from measure import Monitor, Unmeasured, say

ROUNDS = 7
SIZE_MIB, RATIO, MEMORY_MIB = 32, 1.5, 96
LINE = 'the init of nothing'
EMPTY_INIT = f'#include <unistd.h>\nint main(void) {{ (void)!write(1, "{LINE}\\n", {len(LINE) + 1}); for (;;) pause(); }}\n'


def need_image():
    if not os.path.exists(appliance.IMAGE):
        raise Unmeasured('build/image/understudy.raw is missing: make image')


def size():
    need_image()
    image, program = (os.path.getsize(path) / 2**20 for path in (appliance.IMAGE, lab.UNDERSTUDY))
    return {'what': 'the raw image', 'target': f'<= {SIZE_MIB} MiB', 'ours': f'{image:.0f} MiB', 'beside': f'understudy itself {program:.2f} MiB of 3',
            'ratio': image / SIZE_MIB, 'passed': image <= SIZE_MIB and program <= 3, 'numbers': {'image_mib': image, 'understudy_mib': program}}


def empty_image(directory):
    """The image with another initramfs."""
    def path(name):
        return os.path.join(directory, name)

    os.mkdir(path('root'))
    with open(path('init.c'), 'w', encoding='ascii') as f:
        f.write(EMPTY_INIT)
    subprocess.run([os.path.join(lab.BUILD, 'musl', 'bin', 'musl-cc'), '-O2', '-s', '-o', path('root/init'), path('init.c')], check=True)
    subprocess.run(f"cd {path('root')} && echo init | cpio --quiet -o -H newc | zstd -q >{path('initramfs')}", shell=True, check=True)
    shutil.copy(appliance.IMAGE, path('empty.raw'))
    table = subprocess.run(['sfdisk', '-d', path('empty.raw')], check=True, stdout=subprocess.PIPE, text=True).stdout
    start = int(table.split('start=')[2].split(',')[0])
    subprocess.run(['mcopy', '-o', '-i', f"{path('empty.raw')}@@{start * 512}", path('initramfs'), '::/initramfs'], check=True)
    return path('empty.raw')


@contextlib.contextmanager
def running(directory, image=appliance.IMAGE, more=()):
    """An appliance that has just been started, in a directory of its own; the moment."""
    place = tempfile.mkdtemp(dir=directory)
    keys = {name: os.path.join(directory, 'pki', name) for name in ('ca.crt', 'standby.crt', 'standby.key')}
    with appliance.Appliance(place, appliance.configuration(), keys, image=image, more=more) as machine:
        # Who does not answer yet is asked at once again: its address need not be looked for, which is done once a second.
        machine.network.run('ip', 'neigh', 'replace', appliance.ADDRESS, 'lladdr', appliance.MAC, 'nud', 'permanent', 'dev', 'tap0')
        yield machine, time.monotonic()


def measure_boot(directory, image, arrived):
    """Seconds, and seconds of a processor."""
    with running(directory, image, ('-device', 'virtio-rng-pci')) as (machine, start):
        lab.wait_for('it is up', lambda: arrived(machine), 180, 0.005)
        return time.monotonic() - start, processor_s(machine.machine.pid)


def processor_s(pid):
    with open(f'/proc/{pid}/stat', encoding='ascii', errors='replace') as f:
        return sum(map(int, f.read().rpartition(')')[2].split()[11:13])) / os.sysconf('SC_CLK_TCK')


def healthy(machine):
    return (machine.health(timeout=0.1) or (None,))[0] == 200


def pki(directory):
    subprocess.run([lab.UNDERSTUDY, 'pki', os.path.join(directory, 'pki')], check=True, stdout=subprocess.DEVNULL)


def boot():
    need_image()
    ours, bare = [], []
    with tempfile.TemporaryDirectory(prefix='boot-', dir=os.path.join(lab.BUILD, 'bench')) as directory:
        pki(directory)
        empty = empty_image(directory)
        for turn in range(ROUNDS):
            bare.append(measure_boot(directory, empty, lambda machine: LINE in machine.console()))
            ours.append(measure_boot(directory, appliance.IMAGE, healthy))
            say(f'boot [{turn + 1}/{ROUNDS}]: {ours[-1][0]:.2f} s, {ours[-1][1]:.2f} s of a processor; '
                f'with an empty init {bare[-1][0]:.2f} and {bare[-1][1]:.2f} s')
    (ours_s, ours_cpu), (bare_s, bare_cpu) = (map(statistics.median, zip(*samples)) for samples in (ours, bare))
    return {'what': 'power-on to /healthz 200, median', 'target': f'<= {RATIO} x the kernel with an empty init',
            'ours': f'{ours_s:.2f} s ({ours_cpu:.2f} s of a processor)', 'beside': f'{bare_s:.2f} s ({bare_cpu:.2f} s, {ours_cpu / bare_cpu:.2f} x)',
            'ratio': ours_s / bare_s, 'passed': ours_s / bare_s <= RATIO, 'numbers': {'ours_s_and_cpu': ours, 'empty_s_and_cpu': bare}}


def memory():
    """All that the machine was given, less what its kernel tells the balloon can be had."""
    need_image()
    with tempfile.TemporaryDirectory(prefix='boot-', dir=os.path.join(lab.BUILD, 'bench')) as directory:
        pki(directory)
        with running(directory, more=('-device', 'virtio-balloon-pci,id=balloon')) as (machine, _):
            lab.wait_for('it is up', lambda: healthy(machine), 180, 0.1)
            monitor = Monitor(machine.path('qmp'))
            monitor('qom-set', path='/machine/peripheral/balloon', property='guest-stats-polling-interval', value=1)
            free = lab.wait_for('the balloon tells', lambda: told(monitor), 30, 0.5)
            monitor.close()
            used = machine.memory_mib - free
    return {'what': 'memory of the booted appliance without a replica', 'target': f'<= {MEMORY_MIB} MiB', 'ours': f'{used:.0f} MiB',
            'beside': f'of {machine.memory_mib} MiB, its kernel and all of it included', 'ratio': used / MEMORY_MIB, 'passed': used <= MEMORY_MIB,
            'numbers': {'used_mib': used, 'given_mib': machine.memory_mib}}


def told(monitor):
    """MiB that can be had; 0: it has not said so yet."""
    stats = monitor('qom-get', path='/machine/peripheral/balloon', property='guest-stats')
    available = stats['stats'].get('stat-available-memory', 0) if stats['last-update'] else 0
    return available / 2**20 if 0 < available < 1 << 60 else 0

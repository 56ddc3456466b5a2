"""Guests that go on from where one like them had come when it was ready: most of what the system tests would do otherwise is boot.

The first of its kind (QEMU's arguments but for paths, QEMU itself, the guest's files) boots, is saved by QEMU's own migration to a file in
build/test/guests, with its disk beside it, and ends. That one, and those that follow, are QEMUs that come in from that file: instances as
any that was migrated once.
"""
import fcntl
import hashlib
import os

import lab

STATES = os.path.join(lab.BUILD, 'test', 'guests')


def resume(world, command, log):
    """That command's guest, ready and running; its daemon. `command` ends with no -incoming of its own."""
    state = _state(world)
    if world.has_disk():
        lab.copy_sparse(f'{state}.disk', world.path('disk-a.raw'))
    daemon = world.daemon(world.a, [*command, '-incoming', 'defer'], log)
    monitor = lab.Qmp(world.path('vm.qmp.lab'))
    monitor('migrate-set-parameters', **{'announce-rounds': 0})     # it has not moved: its neighbours need not be told
    monitor('migrate-incoming', uri=f'file:{state}')
    lab.wait_for('the saved guest is loaded', lambda: monitor('query-migrate').get('status') == 'completed')
    monitor('cont')
    monitor.close()
    return daemon


def _state(world):
    command = world.qemu_command(world.path('boot.qmp'), world.path('console-boot.log'))
    files = [(path, os.stat(path).st_size, os.stat(path).st_mtime_ns) for path in filter(None, (lab.QEMU, lab.KERNEL, world.initramfs, world.disk))]
    kind = hashlib.sha256(repr((files, world.disk_mib, [word.replace(world.dir, '') for word in command])).encode()).hexdigest()[:16]
    path = os.path.join(STATES, kind)
    os.makedirs(STATES, exist_ok=True)
    with open(f'{path}.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(path):
            _boot(world, command, path)
    return path


def _boot(world, command, path):
    daemon = world.daemon(world.a, command, 'qemu-boot.log')
    lab.wait_for('the guest is ready', lambda: 'guest: ready' in world.console('console-boot.log'), 60, 0.05)
    monitor = lab.Qmp(world.path('boot.qmp'))
    monitor('stop')
    monitor('migrate-set-parameters', **{'max-bandwidth': 1 << 40})
    monitor('migrate', uri=f'file:{path}.part')
    lab.wait_for('the guest is saved', lambda: monitor('query-migrate').get('status') == 'completed')
    daemon.kill()
    if world.has_disk():
        lab.copy_sparse(world.path('disk-a.raw'), f'{path}.disk')
    os.rename(f'{path}.part', path)

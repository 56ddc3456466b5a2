"""The standby crashes, and the power of its virtual machine is cut, at any moment: every acknowledged epoch is there, and protection goes on.

That QEMU is killed would not do: what it has written is in the host's page cache, which lives on. So the data disk is served by nbdkit with a
cache that passes nothing on before it is told to flush, and both are killed.
"""
import os
import random
import re
import shutil
import time

import pytest

import appliance
import debugger
import lab
import ledger
import site_b

MISSING = ([] if os.path.exists(appliance.IMAGE) else ['build/image/understudy.raw (make image)']) + ([] if shutil.which('nbdkit') else ['nbdkit'])


class PoweredB(site_b.SiteB):
    """Epochs count when they are on site B's data disk."""

    DATA = {'data': 'S1'}

    def __init__(self, **options):
        waiting = {'standby_arguments': self._replica(), 'resync_after_ms': 300000}     # longer than it takes to boot
        super().__init__(**{'instance': waiting, 'standby_instance': {'durability': 'journal'}, 'takeover': 'manual'} | options)
        with open(self.path('data.raw'), 'wb') as f:
            f.truncate(2 << 30)
        self.server = None

    def more_words(self):
        return ['-gdb', f"unix:{self.path('gdb')},server=on,wait=off", '-drive', f"file=nbd+unix:///?socket={self.path('data.sock')},format=raw,if=none,id=data,cache=writeback",
                '-device', 'virtio-blk-pci,drive=data,serial=S1']

    def start_appliance(self):
        path = self.path('data.sock')
        if os.path.exists(path):
            os.unlink(path)
        self.server = self.daemon(self.b, ['nbdkit', '-f', '-U', path, '--filter=cache', 'file', self.path('data.raw'), 'cache=writeback'], 'nbdkit.log')
        lab.wait_for('the server of the data disk', lambda: os.path.exists(path), 30, 0.05)
        return super().start_appliance()

    def cut(self):
        self.appliance.kill()
        self.server.kill()
        self.start_appliance()

    def resumed(self):
        """The epochs that the agent was told a standby had when it came back."""
        return [int(epoch) for epoch in re.findall(r'catching-up: from epoch (\d+)', self.agent.text())]


def after(world, blow):
    """The last epoch that was acknowledged before a blow to site B, and the one that is there when it comes back; protection goes on."""
    before, epoch = len(world.resumed()), world.status('primary')['epoch']
    blow()
    try:
        lab.wait_for('the replica is caught up with', lambda: len(world.resumed()) > before, 300, 0.2)
    except AssertionError as e:
        raise AssertionError(f'{e}\n{world.logs()}') from None
    world.wait_state('primary', 'protected', timeout=300)
    return epoch, world.resumed()[before]


def power_cuts(cuts, seed):
    choose, found = random.Random(seed), []
    with PoweredB() as world:
        world.protect(timeout=300)
        client = ledger.Ledger(world, 1, window=4, timeout=300)
        client.start()
        client.wait_for(20, timeout=120)
        found.append(after(world, lambda: debugger.crash(world.path('gdb'), lab.UNDERSTUDY)))
        assert 'the standby was ended by signal 11 (Segmentation fault); it is started again' in world.machine.console()
        client.wait_for(20, timeout=300)
        for _ in range(cuts):
            time.sleep(choose.uniform(0, 3))
            found.append(after(world, world.cut))
            print(f'power cut {len(found) - 1} of {cuts}: epoch {found[-1][0]} was acknowledged, {found[-1][1]} is there (seed {seed})', flush=True)
            client.wait_for(20, timeout=300)
        assert world.agent.text().count('copying: ') == 1, 'there was no second copy\n' + world.logs()
        assert all(recovered >= acknowledged > 0 for acknowledged, recovered in found), (seed, found)
        client.finish()


@pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} is missing")
def test_what_was_acknowledged_is_there_after_a_crash_of_the_standby_and_a_power_cut():
    """Ten of them are in `make soak`."""
    power_cuts(1, int(os.environ.get('UNDERSTUDY_SEED', '0')) or os.getpid())

"""A crash is reported behind the epochs that are whole: the replica goes on from the newest of them."""
import os
import signal
import time

import lab


def piled_up(status):
    return status if status['epochs'] > status['epoch'] + 5 else None


def test_whole_epochs_that_wait_for_credit_go_before_the_report_of_a_crash():
    # Little credit, so that epochs wait at the agent while the appliance stands still.
    with lab.Lab(dirty=14000, standby={'link': {'detect_ms': 3000}, 'instances': [
            {'name': 'vm1', 'takeover': 'automatic', 'budget': {'staging_mib': 2}}]}, primary={'link': {'detect_ms': 3000}}) as world:
        world.protect()
        lab.wait_for('some epochs', lambda: world.status('primary')['epoch'] > 5)
        os.kill(world.appliance.pid, signal.SIGSTOP)
        try:
            before = lab.wait_for('epochs pile up', lambda: piled_up(world.status('primary')), 3)
            os.kill(world.qemu.pid, signal.SIGKILL)
            time.sleep(0.3)
        finally:
            os.kill(world.appliance.pid, signal.SIGCONT)
        newest = before['epochs']       # they are numbered from 1 on
        standby = world.wait_state('standby', 'serving', timeout=20)
        assert standby['resumed_epoch'] >= newest, f'{standby}\n{before}\n{world.logs()}'
        assert 'QEMU is gone' in world.appliance.text()

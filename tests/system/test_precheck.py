"""What cannot be protected is refused with the reason, before the instance is touched."""
import shutil
import subprocess

import pytest

import lab


def test_a_qemu_that_would_deadlock_is_refused_with_the_reason():
    stock = shutil.which('qemu-system-x86_64')
    if stock is None:
        pytest.skip('no stock qemu-system-x86_64 (Debian: qemu-system-x86) to be refused')
    with lab.Lab() as world:
        qmp = world.path('vm.qmp')
        world.daemon(world.a, [stock, '-accel', 'tcg', '-m', '64', '-nodefaults', '-display', 'none', '-S', '-qmp',
                               f'unix:{qmp},server=on,wait=off'], 'qemu-a.log')
        world.start_appliance()
        world.start_agent()
        status = world.wait_state('primary', 'refused')
        assert 'TCG' in status['reason'] or 'COLO' in status['reason'], status


def test_status_and_health_say_what_is_wrong():
    with lab.Lab() as world:
        world.start_agent()                         # no guest, no standby
        world.wait_state('primary', 'connecting')
        out = subprocess.run([lab.UNDERSTUDY, 'status', '--http', f"unix:{world.path('primary.http')}"],
                             stdout=subprocess.PIPE, text=True, check=False).stdout
        assert 'connecting' in out and 'vm1' in out
        health = lab.fetch_unix(world.path('primary.http'), '/healthz')
        assert health['status'] == 'attention' and health['problems'][0]['instance'] == 'vm1'

"""An instance with a network of its own that may not run stands, whatever it was doing, whoever says otherwise; and runs again when it may,
unless it stood before."""
import contextlib
import os
import time

import lab

RUNNING = ('running', 'colo', 'finish-migrate')


@contextlib.contextmanager
def held(**options):
    """A protected instance on "hold", and a monitor of its QEMU."""
    instance = {'without_standby': 'hold'} | options.pop('instance', {})
    with lab.Lab(**{'takeover': 'manual', 'memory_mib': 128, 'working_set_mib': 16, 'instance': instance} | options) as world:
        world.protect()
        with contextlib.closing(lab.Qmp(world.path('vm.qmp.lab'))) as monitor:
            try:
                yield world, monitor
            except BaseException:
                print(world.logs())
                raise


def status_of(monitor):
    return monitor('query-status')['status']


def stands(monitor, seconds=0.3):
    """Soon, and from then on."""
    lab.wait_for('it stands', lambda: status_of(monitor) not in RUNNING, 20)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert status_of(monitor) == 'paused'


def runs(monitor):
    lab.wait_for('it runs', lambda: status_of(monitor) == 'running', 10)


def test_a_lease_that_ends_in_the_middle_of_a_checkpoint_is_kept_to():
    busy = {'checkpoint': {'target_ms': 20, 'min_ms': 1}, 'budget': {'staging_mib': 256, 'inflight_mib': 2048, 'cache_mib': 64}}
    with held(instance=busy, memory_mib=256, working_set_mib=128, dirty=12000) as (world, monitor):
        for cut in range(8):
            world.cut_link()
            world.wait_lease('lapsed')
            stands(monitor)
            world.mend_link()
            world.wait_state('primary', 'protected')
            runs(monitor)
            time.sleep(0.1 + 0.03 * cut)
        assert 'by hand' not in world.agent.text()


def test_somebody_who_sets_it_running_meanwhile_is_not_followed():
    with held() as (world, monitor):
        world.cut_link()
        world.wait_lease('lapsed')
        stands(monitor)
        for _ in range(3):
            monitor('cont')
            stands(monitor)
        assert 'it is paused again' in world.agent.text()
        lab.fetch_unix(world.path('standby.http'), '/v1/takeover', '{"instance": "vm1"}')
        world.wait_state('standby', 'serving')
        world.mend_link()
        world.wait_state('primary', 'superseded')
        lab.wait_for('QEMU has let it go', lambda: 'let go: the instance is "paused"' in world.agent.text())
        stands(monitor)
        monitor('cont')
        stands(monitor)
        assert lab.fetch_unix(world.path('primary.http'), '/v1/status')['instances'][0]['state'] == 'superseded'


def test_one_that_its_operator_had_stopped_stands_when_it_may_run_again():
    with held() as (world, monitor):
        monitor('stop')
        world.cut_link()
        world.wait_lease('lapsed')
        time.sleep(0.5)
        world.mend_link()
        world.wait_lease('leased')
        stands(monitor, 1)
        monitor('cont')
        world.wait_state('primary', 'protected')
        runs(monitor)


def test_a_qemu_that_is_started_meanwhile_stands():
    with held() as (world, monitor):
        world.cut_link()
        world.wait_lease('lapsed')
        world.qemu.kill()
        for name in ('vm.qmp', 'vm.qmp.lab'):
            os.unlink(world.path(name))
        world.start_guest(wait=False)
        lab.wait_for('QEMU is there', lambda: os.path.exists(world.path('vm.qmp.lab')))
        with contextlib.closing(lab.Qmp(world.path('vm.qmp.lab'))) as other:
            lab.wait_for('it stands', lambda: status_of(other) == 'paused', 10)
            stands(other)
            world.mend_link()
            runs(other)
        world.wait_state('primary', 'protected')


def test_one_that_cannot_be_protected_is_paused_all_the_same_when_another_one_serves():
    with held(instance={'without_standby': 'continue'}) as (world, monitor):
        world.agent.kill()
        lab.wait_for('it runs on', lambda: status_of(monitor) == 'running')
        lab.fetch_unix(world.path('standby.http'), '/v1/takeover', '{"instance": "vm1"}')
        world.wait_state('standby', 'serving')
        world.extra_of_instance['primary'] = {'standby_arguments': ['-qmp', 'unix:x']}
        world.start_agent()
        world.wait_state('primary', 'superseded')
        stands(monitor)

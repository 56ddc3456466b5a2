"""A first copy outlives its connections: it goes on where it was, and is whole or nothing."""
import os
import time

import lab
from test_disks import checked, sent_by_site_a, take_over, writes

FILLED, MEMORY, USED = 160, 48, 16      # MiB: what cannot be compressed, more than there is of memory, what the guest uses of its disk


def begun(world):
    """The guest runs, and its first copy is under way; QMP beside the agent's."""
    world._make_disk()
    with open(world.path('disk-a.raw'), 'r+b') as disk:
        disk.seek(USED << 20)
        disk.write(os.urandom(FILLED << 20))
    world.start_guest()
    world.start_appliance()
    world.start_agent()
    return lab.Qmp(world.path('vm.qmp.lab'))


def world_of(**instance):
    return lab.Lab(memory_mib=128, working_set_mib=24, disk_mib=USED + FILLED, disk_rate=100, takeover='manual',
                   instance={'checkpoint': {'first_copy_mib_s': 50}, 'budget': {'disk_mib': 24, 'inflight_mib': 8}} | instance)


def copied(qmp):
    """What the mirror has read, MiB; there is only one."""
    jobs = qmp('query-block-jobs')
    assert [job['device'] for job in jobs] in ([], ['us-mirror-0']), jobs
    return jobs[0]['offset'] >> 20 if jobs else 0


def stands(qmp):
    """How far the mirror is, when it gets no further."""
    return lab.wait_for('the mirror waits', lambda: (lambda first: first if not time.sleep(0.4) and copied(qmp) == first else None)(copied(qmp)))


def read_by(process):
    with open(f'/proc/{process.pid}/io') as io:
        return int(next(line.split()[1] for line in io if line.startswith('rchar')))


def memory_and_disk_are_of_one_epoch(world):
    checked(world)
    world.kill_site_a()
    take_over(world)
    checked(world)
    with open(world.path('disk-a.raw'), 'rb') as a, open(world.path('disk-b.raw'), 'rb') as b:
        a.seek(USED << 20)
        b.seek(USED << 20)
        assert a.read() == b.read()


def test_a_first_copy_goes_on_when_the_link_is_back_and_reads_and_sends_everything_once():
    with world_of(resync_after_ms=60000) as world:
        qmp = begun(world)
        before = read_by(world.qemu)
        for cut, mib in enumerate((40, 100), 1):
            lab.wait_for(f'{mib} MiB have been copied', lambda mib=mib: copied(qmp) >= mib, 60)
            world.cut_link()
            lab.wait_for('it is told', lambda cut=cut: world.appliance.text().count('link lost: ') >= cut)
            at = stands(qmp)
            assert mib <= at < FILLED and not world.status('primary')['protected'], at
            assert writes(world, 10) >= 10, 'the guest does not wait'
            assert stands(qmp) >= at
            world.mend_link()
            lab.wait_for('it goes on', lambda cut=cut: world.agent.text().count('goes on') >= cut, 30)
            assert copied(qmp) >= at, 'it is the same mirror'
        world.wait_state('standby', 'protected')
        assert world.agent.text().count('copying: the whole memory, as epoch') == 1, world.logs()
        assert 'what differs' not in world.agent.text(), world.logs()
        assert read_by(world.qemu) - before < (USED + FILLED + 32) << 20, 'some of the disk has been read twice'
        assert sent_by_site_a(world) < (FILLED + MEMORY + 32) << 20, 'some of it has travelled twice'
        memory_and_disk_are_of_one_epoch(world)


def test_a_first_copy_begins_anew_at_a_standby_that_has_been_restarted():
    with world_of(resync_after_ms=60000) as world:
        qmp = begun(world)
        lab.wait_for('some of it has been copied', lambda: copied(qmp) >= 40, 60)
        world.appliance.stop()
        world.start_appliance()
        world.wait_state('standby', 'protected')
        assert 'goes on' not in world.appliance.text()
        memory_and_disk_are_of_one_epoch(world)


def test_of_a_first_copy_that_was_given_up_only_what_is_missing_travels_again():
    with world_of(resync_after_ms=500) as world:
        qmp = begun(world)
        lab.wait_for('half of it has been copied', lambda: sent_by_site_a(world) > FILLED << 19 and copied(qmp), 60)
        world.cut_link()
        lab.wait_for('it is told', lambda: 'the instance is let go until a resync' in world.agent.text())
        world.mend_link()
        world.wait_state('standby', 'protected')
        assert 'what differs' in world.agent.text(), world.logs()
        assert sent_by_site_a(world) < (FILLED + MEMORY) << 20, 'half of it would have travelled twice'
        memory_and_disk_are_of_one_epoch(world)

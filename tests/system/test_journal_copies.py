"""The journal in several copies: one that is removed, or rots, is repaired while epochs go on; and any one of them may be missing after a restart."""
import os
import shutil

import ledger
import lab
from test_journal import journaled, wait_until_durable


def with_copies(world, **more):
    paths = [world.path(f'disk{i}') for i in range(3)]
    for path in paths:
        os.mkdir(path)
    copies = [f'{path}/journal' for path in paths]
    world.extra_of_instance['standby']['journal'] = {'copies': copies} | more
    return copies


def states(world):
    return [copy['state'] for copy in world.status('standby').get('journal', {}).get('copies', [])]


def wait_until_all_good(world):
    lab.wait_for('all copies are good', lambda: states(world) == ['good'] * 3, 30)


def segments(path):
    return {name: os.path.getsize(os.path.join(path, name)) for name in os.listdir(path) if name.endswith('.journal')}


def test_a_copy_that_is_lost_is_repaired_while_epochs_go_on_and_one_may_be_missing_after_a_restart():
    with journaled() as world:
        copies = with_copies(world)
        world.protect()
        wait_until_durable(world)
        wait_until_all_good(world)
        client = ledger.Ledger(world, 1, window=4)
        client.start()
        client.wait_for(50)
        shutil.rmtree(copies[1])
        lab.wait_for('it is told', lambda: 'a copy of the journal is lost' in world.appliance.text())
        client.wait_for(50)
        wait_until_all_good(world)
        lab.wait_for('nobody is needed', lambda: world.status('standby')['healthy'])
        assert world.status('standby')['journal']['repaired'] > 0
        assert 'acknowledged from memory' not in world.appliance.text(), 'the others were a quorum'
        client.wait_for(50)
        world.appliance.kill()
        world.kill_site_a()
        shutil.rmtree(os.path.dirname(copies[0]))       # the disk, with its mount point
        world.start_appliance()
        back = world.wait_state('standby', 'unattended')
        assert 'is back from the journal' in back['reason'] and 'may have had answers' not in back['reason'], back
        lab.wait_for('the lost copy is told', lambda: states(world) == ['failed', 'good', 'good'])
        lab.wait_for('a warm QEMU', lambda: 'holds the replica' in world.appliance.text())
        ordered = world.operator('takeover', 'standby')
        assert ordered.returncode == 0, ordered
        world.wait_state('standby', 'serving')
        client.wait_for(50)
        client.finish()


def test_copies_that_were_missing_at_a_restart_are_read_when_they_are_back():
    with journaled() as world:
        disks = [os.path.dirname(copy) for copy in with_copies(world)]
        world.protect()
        wait_until_durable(world)
        wait_until_all_good(world)
        old = world.status('standby')['epoch']
        os.rename(disks[0], disks[0] + '.away')
        lab.wait_for('it is lost', lambda: 'a copy of the journal is lost' in world.appliance.text())
        lab.wait_for('it is behind', lambda: world.status('standby')['journal']['epoch'] > old + 20)
        world.kill_site_a()
        world.appliance.kill()
        os.rename(disks[0] + '.away', disks[0])
        for disk in disks[1:]:
            os.rename(disk, disk + '.away')
        world.start_appliance()
        back = world.wait_state('standby', 'unattended')
        lab.wait_for('both are told', lambda: all(text in world.status('standby')['reason'] for text in (
            'may have had answers', '`understudy takeover`', 'below its quorum', 'the journal is read again')))
        for disk in disks[1:]:
            os.rename(disk + '.away', disk)
        lab.wait_for('the newer epoch', lambda: world.status('standby')['epoch'] > max(back['epoch'], old + 20), 60)
        now = world.wait_state('standby', 'unattended')
        assert 'may have had answers' not in now['reason'] and 'quorum' not in now['reason'], now
        wait_until_all_good(world)


def flip_a_bit(path):
    with open(path, 'r+b') as file:
        file.seek(os.path.getsize(path) // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 8]))


def test_rot_in_one_copy_is_found_by_the_scrub_and_repaired():
    with journaled() as world:
        copies = with_copies(world, quorum=2)
        world.protect()
        wait_until_durable(world)
        world.appliance.kill()
        world.start_appliance()     # begins another segment: those before it are closed
        wait_until_durable(world)
        wait_until_all_good(world)
        name = min(segments(copies[2]))
        with open(os.path.join(copies[0], name), 'rb') as file:
            good = file.read()
        flip_a_bit(os.path.join(copies[2], name))
        lab.wait_for('it is repaired', lambda: world.status('standby')['journal']['scrub']['repaired'] > 0, 60)
        with open(os.path.join(copies[2], name), 'rb') as file:
            assert file.read() == good
        assert f'segment {name[:16]}' in world.appliance.text() and 'copied from another copy' in world.appliance.text()
        assert world.status('standby')['healthy'], world.status('standby')

"""The standby's journal: what was acknowledged outlives the appliance, and both sites at once."""
import os
import shutil
import subprocess

import pytest

import capture
import lab
import ledger
import test_aftermath


def journaled(**options):
    """A lab in gateway mode with a small guest, and epochs that count when they are on the standby's disk."""
    instance = {'durability': 'journal'} | options.pop('standby_instance', {})
    return lab.Lab(**{'gateway': True, 'takeover': 'manual', 'memory_mib': 128, 'working_set_mib': 16, 'append': capture.APPEND,
                      'standby_instance': instance} | options)


def wait_until_durable(world):
    def durable():
        journal = world.status('standby').get('journal', {})
        return journal if journal.get('durable') and journal.get('epoch', 0) > 0 else None
    try:
        return lab.wait_for('epochs are durable', durable)
    except AssertionError as e:
        raise AssertionError(f"{e}; {world.status('standby')}\n{world.logs()}") from None


def test_an_appliance_that_was_killed_goes_on_with_what_it_had():
    with journaled() as world:
        world.protect()
        epoch = wait_until_durable(world)['epoch']
        client = ledger.Ledger(world, 1, window=4)
        client.start()
        client.wait_for(50)
        world.appliance.kill()
        world.start_appliance()
        world.wait_state('standby', 'protected')
        assert 'catching-up: from epoch' in world.agent.text(), world.logs()
        assert world.agent.text().count('copying: ') == 1, 'there was no second copy'
        assert world.status('standby')['epoch'] > epoch
        wait_until_durable(world)
        client.wait_for(50)
        client.finish()


@pytest.mark.parametrize('machine', ['killed', 'rebooted'])
def test_both_sites_die_and_every_acknowledged_entry_is_there(machine):
    with journaled() as world:
        world.protect()
        wait_until_durable(world)
        client = ledger.Ledger(world, 2, window=16)
        client.start()
        client.wait_for(200)
        world.appliance.kill()
        world.kill_site_a()
        if machine == 'rebooted':       # memory is empty then
            shutil.rmtree(world.memory_dir())
        world.start_appliance()
        back = world.wait_state('standby', 'unattended')
        assert 'is back from the journal' in back['reason'] and 'may have had answers' not in back['reason'], back
        assert not back['healthy'] and back['epoch'] > 0, back
        lab.wait_for('a warm QEMU', lambda: 'holds the replica' in world.appliance.text())
        ordered = world.operator('takeover', 'standby')
        assert ordered.returncode == 0, ordered
        world.wait_state('standby', 'serving')
        client.wait_for(100)
        client.finish()


@pytest.mark.calm     # it has a second for what it does before QEMU is there again
def test_a_takeover_that_was_cut_short_is_ordered_again_from_the_journal():
    def begin_again():
        back = test_aftermath.start_again(world, 'unattended')
        lab.wait_for('a warm QEMU', lambda: 'holds the replica' in world.appliance.text())
        return back

    with journaled() as world:
        world.protect()
        wait_until_durable(world)
        client = ledger.Ledger(world, 3, window=4)
        client.start()
        client.wait_for(50)
        world.kill_site_a()
        world.wait_state('standby', 'unattended')
        term = world.path('state-b') + '/vm1/term'
        shutil.copy(term, world.path('before'))
        test_aftermath.order_a_takeover_without_a_qemu(world)
        world.appliance.kill()
        shutil.copy(term, world.path('decided'))
        shutil.copy(world.path('before'), term)     # so that a QEMU waits
        begin_again()
        world.appliance.kill()
        shutil.copy(world.path('decided'), term)
        for _ in range(2):
            back = begin_again()
            assert 'is back from the journal' in back['reason'] and 'may have had answers' not in back['reason'], back
            assert back['term'] == 2 and back['epoch'] > 0, back
            world.appliance.kill()
        begin_again()
        assert world.operator('takeover', 'standby').returncode == 0, world.logs()
        assert world.wait_state('standby', 'serving')['term'] == 3
        client.wait_for(50)
        client.finish()


def test_a_full_disk_costs_the_journal_and_nothing_else_until_there_is_room():
    with journaled() as world:
        path = world.path('disk')
        os.mkdir(path)
        if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=6m,mode=700', 'none', path], check=False).returncode != 0:
            pytest.skip('a tmpfs cannot be mounted here')
        try:
            world.extra_of_instance['standby']['journal'] = {'dir': f'{path}/journal'}
            world.protect()
            lab.wait_for('the journal is broken', lambda: 'No space left' in world.status('standby').get('journal', {}).get('reason', ''))
            full = world.status('standby')
            assert full['state'] == 'protected' and full['protected'] and not full['healthy'], full
            assert 'No space left' in full['reason'] and not full['journal']['durable'], full
            assert 'epochs are acknowledged from memory' in world.appliance.text()
            subprocess.run(['mount', '-o', 'remount,size=512m', path], check=True)
            wait_until_durable(world)
            lab.wait_for('nobody is needed', lambda: world.status('standby')['healthy'])
            world.kill_site_a()
            world.wait_state('standby', 'unattended')
            world.appliance.stop()
        finally:
            subprocess.run(['umount', '-l', path], check=True)


def test_what_was_acknowledged_while_the_journal_was_switched_off_is_told():
    with journaled() as world:
        world.protect()
        wait_until_durable(world)
        world.appliance.kill()
        wanted, world.extra_of_instance['standby'] = world.extra_of_instance['standby'], {}
        world.start_appliance()
        epoch = world.wait_state('standby', 'protected')['epoch']
        world.appliance.kill()
        world.kill_site_a()
        world.extra_of_instance['standby'] = wanted
        world.start_appliance()
        back = world.wait_state('standby', 'unattended')
        assert back['epoch'] < epoch and 'clients may have had answers' in back['reason'], back


def test_while_the_journal_fails_and_its_claim_cannot_be_removed_the_guest_runs_unprotected():
    with journaled() as world:
        path, claim = world.path('disk'), world.path('state-b') + '/vm1/acknowledged'
        os.mkdir(path)
        if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=512m,mode=700', 'none', path], check=False).returncode != 0:
            pytest.skip('a tmpfs cannot be mounted here')
        try:
            world.extra_of_instance['standby']['journal'] = {'dir': f'{path}/journal'}
            world.protect()
            wait_until_durable(world)
            os.rename(claim, claim + '.away')
            os.mkdir(claim)
            with open(f'{path}/ballast', 'wb') as ballast:
                while ballast.write(bytes(1 << 20)) and shutil.disk_usage(path).free > 1 << 20:
                    ballast.flush()
            refused = lab.wait_for('no epoch is acknowledged', lambda: (lambda s: s if not s['protected'] else None)(world.status('standby')))
            assert 'acknowledged: removing it' in refused['reason'], refused
            epoch = world.status('standby')['epoch']
            for _ in range(3):
                assert world.ask('get', 20) is not None
            os.rmdir(claim)
            os.unlink(f'{path}/ballast')
            lab.wait_for('it is protected again', lambda: world.status('standby')['protected'] and world.status('standby')['epoch'] > epoch)
            wait_until_durable(world)
        finally:
            subprocess.run(['umount', '-l', path], check=True)

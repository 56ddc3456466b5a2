"""Going live from an epoch of the past: memory, devices and disk are of that moment, and what came after it is gone, by the operator's order alone."""
import functools
import os
import signal
import subprocess

import pytest

import etcd
import lab
from test_disk_targets import NBD, PORT, Stored
from test_disks import checked
from test_rewind import historic, is_of_then, marked, serve, told, understudy, wait_until_durable, writes_to_disk
from test_state_dir import fill, small_state_dir


def upgraded(world):
    """A client that has gone on for a while since the mark "before upgrade"; the mark's epoch, and what the client had by then."""
    client, *then = marked(world, 'before upgrade', 50)
    client.wait_for(100)
    return client, *then


def served(world, result, epoch):
    assert result.returncode == 0 and f'serves here from epoch {epoch}' in result.stdout, f'{result}\n{world.logs()}'
    status = world.wait_state('standby', 'serving')
    assert status['epoch'] == status['resumed_epoch'] == epoch and 'rewound' not in status, status


def test_a_bad_upgrade_is_undone_while_the_primary_lives():
    with historic(disk_mib=64, disk_rate=100) as world:
        world.protect()
        client, epoch, least, most = upgraded(world)
        then = lab.wait_for('epochs are listed', lambda: told(world, 'history', '--epochs', '--to', 'before upgrade', '--limit', '2'))
        assert [e['epoch'] for e in then['epochs']] == [epoch - 1, epoch] and then['earlier'], then
        since = told(world, 'history', '--epochs', '--from', str(epoch))
        assert [e['epoch'] for e in since['epochs']][:3] == [epoch, epoch + 1, epoch + 2] and not since['later'], since
        assert all(e['pages'] > 0 and e['bytes'] > 0 for e in since['epochs']) and since['epochs'][0]['time'] == then['epochs'][1]['time']
        # Of two that ask at once the second one's turn is when the first one has its list.
        one, other = (f'/v1/history?instance={world.name}&epochs&limit={limit}' for limit in (3, 4))
        ask = functools.partial(lab.fetch_unix, world.path('standby.http'))
        assert ask(one).get('reading') and ask(other).get('reading')
        assert len(lab.wait_for('one list', lambda: ask(one).get('epochs'))) == 3
        assert len(lab.wait_for('the other list', lambda: ask(other).get('epochs'))) == 4
        unasked = understudy(world, 'rewind', '--to', 'before upgrade', '--serve')
        assert unasked.returncode == 2 and '--yes' in unasked.stderr, unasked
        assert world.status('standby')['state'] == 'protected'
        result = serve(world, 'before upgrade')
        served(world, result, epoch)
        assert f"the standby will run epoch {epoch} ({then['epochs'][1]['time']})" in result.stderr and 'is given up' in result.stderr, result
        written = writes_to_disk(world)
        is_of_then(world, client, least, most)
        assert int(world.ask('write', 10)) > written
        world.wait_state('primary', 'superseded')
        # What was given up can still be looked at; to serve from there, what serves has to end first.
        given_up = serve(world, str(epoch + 1))
        assert given_up.returncode == 1 and 'rewind without --serve' in given_up.stderr, given_up
        copy = told(world, 'rewind', '--to', str(epoch + 1))
        assert copy['state'] == 'running' and copy['epoch'] == epoch + 1, copy
        # The next life of the appliance finds what serves.
        world.appliance.kill()
        world.start_appliance()
        status = world.wait_state('standby', 'serving')
        assert status['epoch'] == epoch and status['term'] == 2, status
        assert any(world.ask(f'entry {number}') == 'only here' for number in range(least + 1, most + 2))
        world.wait_state('primary', 'superseded')
        client.stopping = True


def test_it_is_undone_when_site_a_is_dead_and_nobody_else_serves():
    with historic() as world:
        world.protect()
        quiet = world.connect()     # nothing passes on it after the mark
        assert world.ask('get', connection=quiet) is not None
        client, epoch, least, most = upgraded(world)
        later = world.connect()
        assert world.ask('get', connection=later) is not None
        world.kill_site_a()
        world.appliance.kill()      # the next one has the last epoch from the journal, and knows its past
        world.start_appliance()
        world.wait_state('standby', 'unattended')
        for when, why in (('999999999', 'is not in the journal'), ('nobody said this', 'a mark "nobody said this"')):
            refused = serve(world, when)
            assert refused.returncode == 1 and why in refused.stderr, refused
        assert world.status('standby')['state'] == 'unattended'
        served(world, serve(world, 'before upgrade'), epoch)
        unmarked = understudy(world, 'mark', 'after it')
        assert unmarked.returncode == 1 and 'no present epoch' in unmarked.stderr, unmarked
        is_of_then(world, client, least, most)
        assert world.ask('get', connection=quiet) is not None
        with pytest.raises(ConnectionResetError):
            lab.ask_line(later, 'get', 20)


def test_with_a_witness_it_is_asked_first():
    if etcd.PROGRAM is None:
        pytest.skip('etcd is missing')
    with historic() as world:
        witness = etcd.Witness(world, 1)
        witness.open()
        world.protect()
        client, epoch, least, most = upgraded(world)
        witness.kill()
        failed = serve(world, 'before upgrade')
        assert failed.returncode == 1 and 'the witness does not answer' in failed.stderr, failed
        witness.start()
        # The primary, which had let its instance stand, goes on.
        world.wait_state('standby', 'protected')
        client.wait_for(20)
        served(world, serve(world, 'before upgrade'), epoch)
        assert (witness.value()['server'], witness.value()['term']) == ('standby', 2)
        is_of_then(world, client, least, most)


def test_a_term_that_cannot_be_kept_leaves_the_last_epoch():
    with historic() as world, small_state_dir(world) as path:
        world.extra_of_instance['standby']['journal']['dir'] = world.path('journal')
        world.protect()
        client, epoch, *_ = upgraded(world)
        client.stopping = True
        ballast = fill(path)
        failed = serve(world, 'before upgrade')
        assert failed.returncode == 1 and path in failed.stderr and 'No space left on device' in failed.stderr, failed
        world.kill_site_a()
        status = world.wait_state('standby', 'unattended')
        assert status['epoch'] > epoch, status
        os.unlink(ballast)
        assert world.operator('takeover', 'standby').returncode == 0
        assert world.status('standby')['resumed_epoch'] == status['epoch'] and world.ask(f'entry {len(client.acked)}') == client.acked[-1][1]


def stopped_in_its_activation(world):
    """The order, when the replica is that epoch already and its QEMU, which is stopped, should come to life."""
    qemu = world.replica()
    os.kill(qemu, signal.SIGSTOP)
    order = subprocess.Popen([lab.UNDERSTUDY, 'rewind', '--to', 'before upgrade', '--serve', '--yes', '--instance', world.name,
                              '--http', f"unix:{world.path('standby')}.http"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lab.wait_for('the last epoch is given up', lambda: 'is given up, and what clients' in world.appliance.text())
    lab.wait_for('its QEMU is asked', lambda: world.status('standby').get('hypervisor') == 'activating')
    return qemu, order


def test_a_failure_after_the_last_epoch_was_given_up_leaves_the_earlier_one():
    with historic() as world:
        world.protect()
        client, epoch, least, most = upgraded(world)
        qemu, order = stopped_in_its_activation(world)
        os.kill(qemu, signal.SIGKILL)
        _, said = order.communicate(timeout=30)
        assert order.returncode == 1 and f'tries again, from epoch {epoch}' in said, f'{said}\n{world.logs()}'
        client.stopping = True
        world.kill_site_a()
        status = world.wait_state('standby', 'unattended')
        assert status['epoch'] == epoch, status
        lab.wait_for('another QEMU is warm', lambda: world.replica() not in (None, qemu))
        taken = world.operator('takeover', 'standby')
        assert taken.returncode == 0 and f'from epoch {epoch}' in taken.stdout, f'{taken}\n{world.logs()}'
        is_of_then(world, client, least, most)
        assert 'rewound' not in world.status('standby')


class Failing(Stored):
    """Its store takes no writes while there is a file "broken"."""

    def start_failing_server(self):
        with open(self.path('store.raw'), 'wb') as store:
            store.truncate(self.disk_mib << 20)
        errors = [f'error-{what}{key}' for what in ('pwrite', 'zero', 'trim')
                  for key in ('=EIO', '-rate=100%', f"-file={self.path('broken')}")]
        self.server = self.daemon(self.b, [NBD, '--foreground', '--exit-with-parent', '--ipaddr', '127.0.0.1', '--port', str(PORT),
                                           '--filter=error', 'file', self.path('store.raw'), *errors], 'nbd.log')
        lab.wait_for('the NBD server listens', self._answers)


def test_a_replica_that_became_it_by_half_becomes_it_all_with_the_next_takeover():
    if NBD is None:
        pytest.skip('nbdkit is missing: apt-get install nbdkit')
    with Failing(disk_rate=300, takeover='manual', standby_instance={'durability': 'journal', 'journal': {'history': {'mib': 512}}}) as world:
        world.start_failing_server()
        world.protect()
        wait_until_durable(world)
        epoch = world.status('standby')['epoch']
        lab.wait_for('more epochs', lambda: world.status('standby')['epoch'] > epoch + 5)
        world.kill_site_a()
        world.wait_state('standby', 'unattended')
        with open(world.path('broken'), 'wb'):
            pass
        failed = serve(world, str(epoch))
        assert failed.returncode == 1 and 'the target of disk system' in failed.stderr and f'tries again, from epoch {epoch}' in failed.stderr, failed
        status = world.status('standby')
        assert (status['state'], status['epoch'], status['rewound']['state']) == ('unattended', epoch, 'ready'), status
        ended = understudy(world, 'rewind', '--end')
        assert ended.returncode == 1 and 'all that is left' in ended.stderr, ended
        os.unlink(world.path('broken'))
        lab.wait_for('it is taken over', lambda: world.operator('takeover', 'standby').returncode == 0, 30, 0.5)
        status = world.status('standby')
        assert status['resumed_epoch'] == epoch and 'rewound' not in status, status
        checked(world)


def test_an_appliance_that_dies_before_the_replica_runs_leaves_the_instance_to_the_primary():
    with historic() as world:
        world.protect()
        client, *_ = upgraded(world)
        qemu, order = stopped_in_its_activation(world)
        world.appliance.kill()
        order.communicate(timeout=30)
        os.kill(qemu, signal.SIGCONT)
        world.start_appliance()
        world.wait_state('standby', 'protected')
        assert 'was not completed; nothing has run here' in world.appliance.text()
        client.wait_for(20)
        client.finish()

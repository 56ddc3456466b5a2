"""The past: any epoch that the journal holds runs again, as it was, beside the instance, which stays protected."""
import json
import os
import random
import subprocess
import time

import pytest

import capture
import lab
import ledger
from rewound import Visitor
from test_state_dir import fill

DISK_RATE = 100     # writes a second


def historic(**options):
    """A lab in gateway mode whose standby keeps its past; the guest writes at random all the time."""
    instance = {'durability': 'journal', 'journal': {'history': {'mib': 2048}}} | options.pop('standby_instance', {})
    return lab.Lab(**{'gateway': True, 'takeover': 'manual', 'memory_mib': 128, 'working_set_mib': 16, 'append': capture.APPEND,
                      'standby_instance': instance} | options)


def understudy(world, verb, *words):
    return subprocess.run([lab.UNDERSTUDY, verb, *words, '--http', f"unix:{world.path('standby')}.http", '--instance', world.name],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)


def told(world, verb, *words):
    """What it says, as JSON."""
    result = understudy(world, verb, *words, '--json')
    assert result.returncode == 0, f'{result}\n{world.logs()}'
    return json.loads(result.stdout)


def history(world):
    return told(world, 'history')


def wait_until_durable(world):
    lab.wait_for('epochs are durable', lambda: world.status('standby').get('journal', {}).get('epoch', 0) > 0)


def mark(world, client, text):
    """Marks, and how many entries of the client's are in that epoch: at least, at most."""
    acked = len(client.acked)
    epoch = told(world, 'mark', text)['epoch']
    return epoch, acked, len(client.acked) + len(client.sent)


def marked(world, text, count):
    """A client that has made so many entries, when the journal is there, and that mark then, as mark() says."""
    wait_until_durable(world)
    client = ledger.Ledger(world, 3, window=8)
    client.start()
    client.wait_for(count)
    return client, *mark(world, client, text)


def entries(visitor):
    """How many entries the copy's ledger has."""
    low, high = 0, 1
    while not visitor.ask(f'entry {high}').startswith('error'):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if visitor.ask(f'entry {middle}').startswith('error') else (middle, high)
    return low


def is_of_then(guest, client, least, most):
    """It has what was acknowledged by then, nothing that came later, and its memory is of one moment. `guest`: who asks it."""
    lab.wait_for('it answers', lambda: guest.ask('get', 1), 30, 0.1)
    count = entries(guest)
    assert least <= count <= most, f'{count} entries, not {least} to {most}'
    for number in sorted({1, count // 2, count} - {0}):
        assert guest.ask(f'entry {number}') == client.acked[number - 1][1]
    assert guest.ask('sum', 30).split()[2] == 'ok'
    assert guest.ask('append only here') == str(count + 1)


def look_at_copy(copy, client, least, most):
    with Visitor(copy['directory']) as visitor:
        is_of_then(visitor, client, least, most)


def writes_to_disk(guest):
    """How many the guest has made, by its memory, which agrees with all that is on its disk."""
    answer = guest.ask('disk', 60)
    assert answer is not None and answer.startswith('ok'), answer
    return int(answer.split()[1].removeprefix('writes='))


def serve(world, when, *words):
    return understudy(world, 'rewind', '--to', when, '--serve', '--yes', *words)


def rewind(world, when):
    copy = told(world, 'rewind', '--to', when)
    assert copy['state'] == 'running', copy
    return copy


def end(world):
    """And what it had is free by then: the next one can be begun at once."""
    assert understudy(world, 'rewind', '--end').returncode == 0
    assert 'rewound' not in world.status('standby')
    assert not os.path.exists(os.path.join(world.memory_dir(), f'understudy-b-{world.name}', '.rewound'))


def test_a_mark_leads_back_while_the_instance_stays_protected():
    with historic() as world:
        world.protect()
        client, epoch, least, most = marked(world, 'before upgrade', 100)
        client.wait_for(200)
        time_of_second = time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(time.time() + 1))
        time.sleep(2)
        listed = history(world)
        assert [m['text'] for m in listed['marks']] == ['before upgrade'] and listed['marks'][0]['epoch'] == epoch, listed
        assert listed['spans'][-1]['first_epoch'] <= epoch < listed['spans'][-1]['last_epoch'], listed
        before = world.status('standby')['epoch']
        copy = rewind(world, 'before upgrade')
        assert copy['epoch'] == epoch
        look_at_copy(copy, client, least, most)
        second = understudy(world, 'rewind', '--to', str(epoch))
        assert second.returncode == 1 and '--end' in second.stderr, second
        monitor = lab.Qmp(copy['qmp'])
        assert monitor('query-status')['status'] == 'running'
        monitor.close()
        assert 'tick' in open(os.path.join(copy['directory'], 'console-0.log'), errors='replace').read()
        status = world.status('standby')
        assert status['state'] == 'protected' and status['protected'] and status['epoch'] > before, status
        end(world)
        copy = rewind(world, time_of_second)        # seconds later, but before now
        assert epoch < copy['epoch'] < world.status('standby')['epoch'] and copy['time'] <= time_of_second.replace('Z', '.999Z'), copy
        look_at_copy(copy, client, least + 200, len(client.acked) + len(client.sent))
        # A takeover meanwhile is as without it: the connection goes on, and the copy knows nothing of that.
        world.kill_site_a()
        world.wait_state('standby', 'unattended')
        assert world.operator('takeover', 'standby').returncode == 0
        world.wait_state('standby', 'serving')
        client.wait_for(50)
        client.finish()
        assert world.status('standby')['rewound']['state'] == 'running'
        with Visitor(copy['directory']) as visitor:
            lab.wait_for('the copy answers', lambda: visitor.ask('get', 1), 30, 0.1)
        end(world)
        copy = rewind(world, 'before upgrade')      # beside the replica that serves
        look_at_copy(copy, client, least, most)
        assert client.failure is None and world.ask('get') is not None


def test_a_disk_is_rewound_with_the_memory():
    with historic(disk_mib=64, disk_rate=100) as world:
        world.protect()
        client, *_ = marked(world, 'before upgrade', 50)
        client.wait_for(100)
        copy = rewind(world, 'before upgrade')
        with Visitor(copy['directory']) as visitor:
            lab.wait_for('the copy answers', lambda: visitor.ask('get', 1), 30, 0.1)
            then = visitor.ask('disk', 30)
            assert then.startswith('ok'), then
            assert int(visitor.ask('write', 10)) > 0
        now = world.ask('disk', 30)
        assert now.startswith('ok') and int(now.split()[1][7:]) > int(then.split()[1][7:]), (now, then)
        assert os.path.exists(world.path('disk-b.raw.rewound'))
        end(world)
        assert not os.path.exists(world.path('disk-b.raw.rewound'))
        assert world.status('standby')['protected']
        client.finish()


def test_a_copy_makes_way_when_the_replicas_disk_is_full():
    with historic(disk_mib=64, disk_rate=1000) as world:
        path = world.path('images')
        os.mkdir(path)
        if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=200m', 'none', path], check=False).returncode != 0:
            pytest.skip('a tmpfs cannot be mounted here')
        try:
            image = path + '/disk.raw'
            world.extra_of_instance['standby'] |= {'disks': [{'name': 'system', 'path': image}]}
            world.protect()
            wait_until_durable(world)
            lab.wait_for('half of it is written', lambda: os.stat(image).st_blocks * 512 > 9 << 20)
            epoch = told(world, 'mark', 'then')['epoch']
            rewind(world, 'then')
            fill(path)
            lab.wait_for('it makes way', lambda: world.status('standby')['rewound']['state'] == 'failed')
            status = world.status('standby')['rewound']
            assert 'makes way for the replica' in status['reason'] and 'No space left on device' in status['reason'], status
            lab.wait_for('its room is free', lambda: not os.path.exists(image + '.rewound'))
            lab.wait_for('protected again', lambda: world.status('primary')['protected'] and world.status('standby')['epoch'] > epoch + 3)
            assert world.status('standby')['protected'], world.status('standby')
        finally:
            for daemon in world.daemons:
                daemon.kill()
            lab.end_descendants_of(world.path(''))
            subprocess.run(['umount', '-l', path], check=True)


def test_what_cannot_be_rewound_to_is_told():
    with historic() as world:
        world.protect()
        wait_until_durable(world)
        for words, why in ((('--to', '999999999'), 'is not in the journal'), (('--to', 'nobody said this'), 'a mark "nobody said this"'),
                           (('--to', '2020-01-01T00:00:00Z'), 'begins with epoch'), (('--to', '2020-01-01T00:00:00'), 'with its zone'),
                           (('--end',), 'no rewound copy'), (('--to', '1999999999', '--serve', '--yes'), 'is not in the journal')):
            result = understudy(world, 'rewind', *words)
            assert result.returncode == 1 and why in result.stderr, result
        result = understudy(world, 'mark', '4711')
        assert result.returncode == 1 and 'taken for an epoch' in result.stderr, result


def test_a_copy_of_an_instance_with_a_network_of_its_own_has_a_tap_that_leads_nowhere():
    with historic(gateway=False, append='') as world:
        world.protect()
        wait_until_durable(world)
        epoch = told(world, 'mark', 'then')['epoch']
        counted = int(world.ask('inc'))
        copy = rewind(world, 'then')
        assert copy['epoch'] == epoch
        links = subprocess.run(['ip', '-o', 'link'], stdout=subprocess.PIPE, text=True, check=True, preexec_fn=world.b.enter,
                               pass_fds=[world.b.fd]).stdout.splitlines()
        taps = [line for line in links if ': tap' in line]
        assert len(taps) == 2 and sum('master br0' in line for line in taps) == 1, links
        lab.wait_for('the copy runs', lambda: 'tick' in open(os.path.join(copy['directory'], 'console-0.log'), errors='replace').read())
        assert int(world.ask('inc')) == counted + 1
        assert world.status('standby')['protected']
        end(world)


def test_a_restarted_appliance_knows_its_past_and_ends_a_copy_that_was_left():
    with historic() as world:
        world.protect()
        client, epoch, least, most = marked(world, 'here', 50)
        client.wait_for(20)
        copy = rewind(world, 'here')
        world.appliance.kill()
        world.start_appliance()
        world.wait_state('standby', 'protected')
        assert 'a rewound copy was left running' in world.appliance.text()
        lab.wait_for('its QEMU has ended', lambda: subprocess.run(['pgrep', '-f', copy['qmp']], stdout=subprocess.DEVNULL,
                                                                  check=False).returncode != 0)
        wait_until_durable(world)
        copy = rewind(world, str(epoch))
        look_at_copy(copy, client, least, most)
        world.appliance.stop()
        lab.wait_for('its QEMU has ended', lambda: subprocess.run(['pgrep', '-f', copy['qmp']], stdout=subprocess.DEVNULL,
                                                                  check=False).returncode != 0)
        world.start_appliance()
        client.wait_for(20)
        client.finish()


def test_a_full_disk_takes_the_past_before_anything_else():
    if not os.environ.get('UNDERSTUDY_SOAK'):
        pytest.skip('takes minutes: UNDERSTUDY_SOAK=1')
    with historic(dirty=14000) as world:
        path = world.path('disk')
        os.mkdir(path)
        if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=400m,mode=700', 'none', path], check=False).returncode != 0:
            pytest.skip('a tmpfs cannot be mounted here')
        try:
            world.extra_of_instance['standby']['journal'] = {'dir': f'{path}/journal', 'history': {'mib': 512}}
            world.protect()
            wait_until_durable(world)
            first = history(world)['spans'][0]['first_epoch']
            lab.wait_for('the disk is full', lambda: 'the disk is full' in world.appliance.text(), 600, 1)
            assert history(world)['spans'][0]['first_epoch'] > first
            status = world.status('standby')
            assert status['protected'] and status['healthy'] and status['journal']['durable'], status
            assert 'epochs are acknowledged from memory' not in world.appliance.text()
            copy = rewind(world, str(history(world)['spans'][0]['first_epoch']))
            assert copy['epoch'] > first
            end(world)
            world.appliance.stop()
        finally:
            subprocess.run(['umount', '-l', path], check=True)


class Log:
    """What the guest had made by the moments of marks: entries at least and at most, and writes to its disk."""

    def __init__(self, world, client):
        self.world, self.client, self.marks = world, client, []

    def note(self):
        at = mark(self.world, self.client, f'mark number {len(self.marks)}')
        self.marks.append((*at, writes_to_disk(self.world)))

    def choose(self, choice):
        """An epoch, and what it has to have."""
        at = choice.randrange(1, len(self.marks) - 1)
        before, since, then = self.marks[at - 1:at + 2]
        return choice.randint(since[0], then[0]), (since[1], then[2]), (before[3], then[3])


def random_epochs(seconds, rounds, seed):
    """A history of so many seconds with a mark in each; then so many random epochs of it, and the standby goes live from one more."""
    choice = random.Random(seed)
    with historic(dirty=2000, disk_mib=64, disk_rate=DISK_RATE) as world:
        world.protect()
        wait_until_durable(world)
        client = ledger.Ledger(world, seed, window=4, pause_s=0.01)
        client.start()
        client.wait_for(1)
        log = Log(world, client)
        ending = time.monotonic() + seconds
        while time.monotonic() < ending:
            log.note()
            time.sleep(1)
        for _ in range(rounds):
            epoch, (least, most), (first, last) = log.choose(choice)
            ordered = time.monotonic()
            copy = rewind(world, str(epoch))
            assert copy['epoch'] == epoch, copy
            with Visitor(copy['directory']) as visitor:
                lab.wait_for('it answers', lambda: visitor.ask('get', 1), 30, 0.1)
                written = writes_to_disk(visitor)
                is_of_then(visitor, client, least, most)
            assert first <= written <= last + DISK_RATE * (time.monotonic() - ordered + 1), (first, written, last)
            end(world)
        assert world.status('standby')['protected']
        epoch, (least, most), _ = log.choose(choice)
        assert serve(world, str(epoch)).returncode == 0, world.logs()
        assert writes_to_disk(world) > 0
        is_of_then(world, client, least, most)
        client.stopping = True


def test_random_epochs_of_20_seconds_are_what_they_were():
    random_epochs(20, 3, int(os.environ.get('UNDERSTUDY_SEED', '7')))

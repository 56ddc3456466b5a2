"""PostgreSQL on the instance's disk: what a client was told is committed is there after a takeover, and the file system has noticed nothing."""
import contextlib
import glob
import os
import random
import shutil
import signal
import subprocess
import threading
import time

import pytest

import lab
from test_rewind import understudy

DISK = os.path.join(lab.BUILD, 'guest', 'postgres.ext4')
AMCHECK = max(glob.glob('/usr/lib/postgresql/*/bin/pg_amcheck'), default=None)
PGBENCH = max(glob.glob('/usr/lib/postgresql/*/bin/pgbench'), default=None)
BENCHED = ['-h', lab.GUEST_IP, '-U', 'postgres', 'postgres']
PSQL = ['psql', '-h', lab.GUEST_IP, '-U', 'postgres', '-qAt']

MISSING = not os.path.exists(DISK) or not shutil.which('psql') or AMCHECK is None or PGBENCH is None

pytestmark = pytest.mark.skipif(MISSING, reason='PostgreSQL is missing')


def in_client(world):
    return {'preexec_fn': world.client.enter, 'pass_fds': [world.client.fd], 'stdout': subprocess.PIPE, 'stderr': subprocess.STDOUT, 'text': True}


def sql(world, command):
    return subprocess.run([*PSQL, '-c', command], timeout=60, check=False, **in_client(world))


class Committer:
    """A client on one connection, which commits one row after the other, each when it was told that the one before is."""

    def __init__(self, world, client):
        self.client, self.committed, self.end, self.fault = client, 0, False, None
        self.psql = subprocess.Popen(PSQL, stdin=subprocess.PIPE, bufsize=1, **in_client(world))
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        while not self.end:
            self.psql.stdin.write(f'insert into ledger values ({self.client}, {self.committed + 1}, repeat(\'x\', 400)) returning number;\n')
            answer = self.psql.stdout.readline().strip()
            if answer != str(self.committed + 1):
                self.fault = f'client {self.client}, behind {self.committed}: {answer!r}'
                return
            self.committed += 1

    def stop(self):
        self.end = True
        self.thread.join()
        self.psql.stdin.close()
        self.psql.wait()
        assert self.fault is None, self.fault


def is_sound(world, *what):
    """PostgreSQL's own check of every table and index (`what`: only of those), and the file system has noticed nothing."""
    checked = subprocess.run([AMCHECK, '-h', lab.GUEST_IP, '-U', 'postgres', '--install-missing', '--heapallindexed', *(what or ['--all'])],
                             check=False, **in_client(world))
    assert checked.returncode == 0, checked
    assert sql(world, "select pg_read_file('/sys/fs/ext4/vda/errors_count')::int").stdout.strip() == '0'


def wait_for_database(world):
    lab.wait_for('PostgreSQL answers', lambda: sql(world, 'select 1').stdout.strip() == '1', 60, 0.2)


def begin_ledger(world):
    wait_for_database(world)
    made = sql(world, 'create table ledger (client int, number int, text text, primary key (client, number))')
    assert made.returncode == 0, made


def has_all(world, clients):
    counted = sql(world, 'select client, count(*), max(number) from ledger group by client order by client').stdout.split()
    assert counted == [f'{c.client}|{c.committed}|{c.committed}' for c in clients], counted


def committing(world, ends, count=3):
    clients = [Committer(world, client) for client in range(count)]
    for client in clients:
        ends.callback(client.psql.kill)
    return clients


def takeover_under_load(moment_s):
    """Clients that commit on their connections, and pgbench beside them; site A is killed so long after: how many commits there were."""
    with lab.Lab(gateway=True, working_set_mib=8, disk=DISK) as world, contextlib.ExitStack() as ends:
        world.protect()
        begin_ledger(world)
        prepared = subprocess.run([PGBENCH, '-i', '-s', '1', '--quiet', *BENCHED], check=False, timeout=120, **in_client(world))
        assert prepared.returncode == 0, prepared
        clients = committing(world, ends)
        load = subprocess.Popen([PGBENCH, '-n', '-c', '2', '-T', f'{moment_s + 5:.0f}', *BENCHED], **in_client(world))
        ends.callback(load.kill)
        time.sleep(moment_s)
        world.kill_site_a()
        told = [client.committed for client in clients]
        world.wait_state('standby', 'serving')
        lab.wait_for('each goes on, on its connection', lambda: all(c.fault or c.committed > n + 3 for c, n in zip(clients, told)), 60)
        said, _ = load.communicate(timeout=120)
        assert load.returncode == 0 and 'number of failed transactions: 0' in said, said
        for client in clients:
            client.stop()
        has_all(world, clients)
        done = int(next(line for line in said.splitlines() if 'transactions actually processed' in line).split()[-1].split('/')[0])
        sums = sql(world, 'select (select sum(abalance) from pgbench_accounts), (select sum(bbalance) from pgbench_branches), '
                          '(select sum(tbalance) from pgbench_tellers), (select sum(delta) from pgbench_history), '
                          '(select count(*) from pgbench_history)').stdout.strip().split('|')
        assert len(set(sums[:4])) == 1 and int(sums[4]) == done, (sums, said)
        is_sound(world)
        return sum(c.committed for c in clients) + done


def takeovers(count, seed):
    """For the soak."""
    moments = random.Random(seed)
    for number in range(1, count + 1):
        moment_s = moments.uniform(0.5, 8)
        commits = takeover_under_load(moment_s)
        print(f'takeover {number:3d} of {count}: {commits} commits, all there, after {moment_s:.1f} s', flush=True)


def test_a_takeover_under_pgbench_loses_no_commit():
    if not os.environ.get('UNDERSTUDY_SOAK'):
        pytest.skip('takes half a minute, and make soak has ten of it: UNDERSTUDY_SOAK=1')
    takeovers(1, int(os.environ.get('UNDERSTUDY_SEED', '1')))


def test_a_table_that_an_upgrade_dropped_is_there_again():
    history = {'durability': 'journal', 'journal': {'history': {'mib': 2048}}}
    with lab.Lab(gateway=True, takeover='manual', working_set_mib=8, disk=DISK, standby_instance=history) as world, \
            contextlib.ExitStack() as ends:
        world.protect()
        begin_ledger(world)
        lab.wait_for('epochs are durable', lambda: world.status('standby').get('journal', {}).get('epoch', 0) > 0)
        clients = committing(world, ends, 1)
        lab.wait_for('it commits', lambda: clients[0].committed >= 20)
        clients[0].stop()
        marked = understudy(world, 'mark', 'before upgrade')
        assert marked.returncode == 0, marked
        assert sql(world, 'drop table ledger; checkpoint').returncode == 0
        assert 'does not exist' in sql(world, 'select 1 from ledger').stdout
        rewound = understudy(world, 'rewind', '--to', 'before upgrade', '--serve', '--yes')
        assert rewound.returncode == 0, f'{rewound}\n{world.logs()}'
        wait_for_database(world)
        has_all(world, clients)
        is_sound(world, '-t', 'ledger', '-t', 'pg_catalog.pg_class', 'postgres')
        assert sql(world, "insert into ledger values (9, 1, 'after it'); select text from ledger where client = 9").stdout.strip() == 'after it'


def test_every_commit_that_a_client_was_told_of_is_there_after_a_takeover():
    seed = int(os.environ.get('UNDERSTUDY_SEED', '0')) or random.randrange(1 << 30)
    print(f'UNDERSTUDY_SEED={seed}')
    moments = random.Random(seed)
    with lab.Lab(gateway=True, working_set_mib=8, disk=DISK) as world, contextlib.ExitStack() as ends:
        world.protect()
        begin_ledger(world)
        clients = committing(world, ends)
        time.sleep(moments.uniform(1, 3))
        world.kill_site_a()
        told = [client.committed for client in clients]
        world.wait_state('standby', 'serving')
        lab.wait_for('each goes on, on its connection', lambda: all(c.fault or c.committed > n + 3 for c, n in zip(clients, told)), 60)
        for client in clients:
            client.stop()
        has_all(world, clients)
        is_sound(world)
        print(f'{told} commits before, {[c.committed for c in clients]} in all')

        # Without the replica's memory: what was synced is in the file system's journal, or in its place.
        assert sql(world, 'checkpoint').returncode == 0
        os.kill(world.replica(), signal.SIGKILL)
        world.wait_state('standby', 'lost')
        mended = subprocess.run(['/sbin/e2fsck', '-p', world.path('disk-b.raw')], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        assert mended.returncode == 0 and 'recovering journal' in mended.stdout, mended
        clean = subprocess.run(['/sbin/e2fsck', '-fn', world.path('disk-b.raw')], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        assert clean.returncode == 0, clean

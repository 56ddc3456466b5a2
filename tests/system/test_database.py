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

DISK = os.path.join(lab.BUILD, 'guest', 'postgres.ext4')
AMCHECK = max(glob.glob('/usr/lib/postgresql/*/bin/pg_amcheck'), default=None)
PSQL = ['psql', '-h', lab.GUEST_IP, '-U', 'postgres', '-qAt']

pytestmark = pytest.mark.skipif(not os.path.exists(DISK) or not shutil.which('psql') or AMCHECK is None, reason='PostgreSQL is missing')


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


def test_every_commit_that_a_client_was_told_of_is_there_after_a_takeover():
    seed = int(os.environ.get('UNDERSTUDY_SEED', '0')) or random.randrange(1 << 30)
    print(f'UNDERSTUDY_SEED={seed}')
    moments = random.Random(seed)
    with lab.Lab(gateway=True, working_set_mib=8, disk=DISK) as world, contextlib.ExitStack() as ends:
        world.protect()
        lab.wait_for('PostgreSQL answers', lambda: sql(world, 'select 1').stdout.strip() == '1', 60, 0.2)
        made = sql(world, 'create table ledger (client int, number int, text text, primary key (client, number))')
        assert made.returncode == 0, made
        clients = [Committer(world, client) for client in range(3)]
        for client in clients:
            ends.callback(client.psql.kill)
        time.sleep(moments.uniform(1, 3))
        world.kill_site_a()
        told = [client.committed for client in clients]
        world.wait_state('standby', 'serving')
        lab.wait_for('each goes on, on its connection', lambda: all(c.fault or c.committed > n + 3 for c, n in zip(clients, told)), 60)
        for client in clients:
            client.stop()
        counted = sql(world, 'select client, count(*), max(number) from ledger group by client order by client').stdout.split()
        assert counted == [f'{c.client}|{c.committed}|{c.committed}' for c in clients], (counted, told)
        checked = subprocess.run([AMCHECK, '-h', lab.GUEST_IP, '-U', 'postgres', '--install-missing', '--heapallindexed', '--all'],
                                 check=False, **in_client(world))
        assert checked.returncode == 0, checked
        assert sql(world, "select pg_read_file('/sys/fs/ext4/vda/errors_count')::int").stdout.strip() == '0'
        print(f'{told} commits before, {[c.committed for c in clients]} in all')

        # Without the replica's memory: what was synced is in the file system's journal, or in its place.
        assert sql(world, 'checkpoint').returncode == 0
        os.kill(world.replica(), signal.SIGKILL)
        world.wait_state('standby', 'lost')
        mended = subprocess.run(['/sbin/e2fsck', '-p', world.path('disk-b.raw')], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        assert mended.returncode == 0 and 'recovering journal' in mended.stdout, mended
        clean = subprocess.run(['/sbin/e2fsck', '-fn', world.path('disk-b.raw')], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        assert clean.returncode == 0, clean

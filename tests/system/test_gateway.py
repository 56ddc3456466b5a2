"""Clients enter through the appliance: a killed site costs them a moment, never their connection or an answer."""
import contextlib
import hashlib
import os
import random
import shutil
import subprocess
import time

import pytest

import capture
import lab
import ledger


def seed_of_this_run():
    seed = int(os.environ.get('UNDERSTUDY_SEED', '0')) or random.randrange(1 << 30)
    print(f'UNDERSTUDY_SEED={seed}')
    return seed


def gateway(**options):
    """A lab in gateway mode with a small guest."""
    return lab.Lab(**{'gateway': True, 'memory_mib': 128, 'working_set_mib': 16, 'append': capture.APPEND} | options)


def kill_under_load(seed):
    """One kill at a random moment; the client's outage in s and how many entries it had acknowledged."""
    chance = random.Random(seed)
    with gateway(dirty=chance.choice((0, 500, 5000))) as world:
        world.protect()
        client = ledger.Ledger(world, seed, window=chance.choice((1, 4, 16)))
        client.start()
        with capture.Capture(world) as heard:
            client.wait_for(50)
            time.sleep(chance.uniform(0, 1.0))
            killed = world.kill_site_a()
            try:
                world.wait_state('standby', 'serving')
                client.wait_for(100)
                total = client.finish()
            except BaseException:
                print(f'seed {seed}\n{world.logs()}')
                raise
            heard.wait_for_beacons()
        return client.outage_s(killed), total


def test_kills_at_random_moments_keep_the_connection_and_every_acknowledged_entry():
    seed, kills = seed_of_this_run(), int(os.environ.get('UNDERSTUDY_KILLS', '10'))
    for kill in range(kills):
        outage, total = kill_under_load(seed + kill)
        print(f'kill {kill + 1} of {kills}: {total} entries, {outage * 1000:.0f} ms without an answer')


# Redis -------------------------------------------------------------------------------------------------------------


class RedisCli:
    """One redis-cli on one connection, asked line by line. It says so when it has to connect again: `connections` counts."""

    def __init__(self, world):
        self.process = world.client.popen(['redis-cli', '-h', lab.GUEST_IP], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                          stderr=subprocess.STDOUT, text=True, bufsize=1)

    def __call__(self, command):
        self.process.stdin.write(command + '\n')
        answer = self.process.stdout.readline().strip()
        assert answer and 'rror' not in answer and 'onnect' not in answer, f'{command}: {answer}'
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)


def redis_answers(world):
    done = subprocess.run(['timeout', '2', 'redis-cli', '-h', lab.GUEST_IP, 'ping'], preexec_fn=world.client.enter,
                          pass_fds=[world.client.fd], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    return done.stdout.strip() == 'PONG'


def benchmark(world, requests):
    """redis-benchmark on ten connections; it does not connect again, so an end without an error means that they lasted."""
    return world.client.popen(['redis-benchmark', '-h', lab.GUEST_IP, '-c', '10', '-n', str(requests), '-t', 'set', '-q'],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.skipif(not os.path.exists(lab.REDIS) or not shutil.which('redis-benchmark'), reason='redis-tools is missing')
def test_redis_keeps_what_it_acknowledged_over_the_same_connections():
    with gateway(memory_mib=256, initramfs=lab.REDIS) as world:
        world.protect()
        lab.wait_for('redis answers', lambda: redis_answers(world), 30, 0.2)
        with contextlib.closing(RedisCli(world)) as redis:
            own = redis('CLIENT ID')
            load = benchmark(world, 3000)
            counted, stored, serving, killed = 0, {}, 0, None
            while serving < 100:
                if counted == 100:
                    killed = world.kill_site_a()
                counted += 1
                assert redis('INCR counter') == str(counted), world.logs()
                stored[f'key{counted}'] = f'value-{counted * 7919}'
                assert redis(f'SET key{counted} {stored[f"key{counted}"]}') == 'OK'
                serving += killed is not None and world.status('standby').get('state') == 'serving'
            for key, value in stored.items():
                assert redis(f'GET {key}') == value
            assert redis('GET counter') == str(counted)
            assert redis('CLIENT ID') == own, 'the same connection'
            output, _ = load.communicate(timeout=120)
            assert load.returncode == 0 and 'rror' not in output and 'requests per second' in output, output


# curl --------------------------------------------------------------------------------------------------------------

DOWNLOAD, PAGES = 20_000_000, range(1000, 1300)


def text_of(length):
    """What the guest answers to GET /LENGTH (tests/guest/stream.h)."""
    lines = b''.join(b'%07d\n' % line for line in range(8192))
    return (lines * (length // len(lines) + 1))[:length]


def digest(data):
    return len(data), hashlib.sha256(data).hexdigest()


class Curl:
    """One curl whose output is in a file; it does not try again. `connections` says how often it connected, for each transfer."""

    def __init__(self, world, name, path, *options):
        self.path, self.told = world.path(name), world.path(f'{name}.err')
        with open(self.path, 'wb') as out, open(self.told, 'wb') as err:
            self.process = world.client.popen(['curl', '-sSf', '--max-time', '100', '-w', '%{stderr}%{num_connects}\n', *options,
                                               f'http://{lab.GUEST_IP}:{lab.GUEST_PORT}/{path}'], stdout=out, stderr=err)

    def wait_for(self, size):
        lab.wait_for(f'{size} bytes of {self.path}', lambda: os.path.getsize(self.path) >= size)
        assert self.process.poll() is None, 'it is still at it'

    def finish(self):
        """What it got, and over how many connections."""
        status = self.process.wait(100)
        with open(self.path, 'rb') as out, open(self.told, encoding='ascii') as err:
            told = err.read()
            assert status == 0, f'curl ends with {status}: {told}'
            return digest(out.read()), sum(map(int, told.split()))


@pytest.mark.skipif(not shutil.which('curl'), reason='curl is missing')
def test_curl_gets_a_long_download_and_many_short_answers_whole_over_one_connection_each():
    with gateway() as world:
        world.protect()
        with capture.Capture(world):
            download = Curl(world, 'download', DOWNLOAD, '--limit-rate', '5M')
            pages = Curl(world, 'pages', f'[{PAGES[0]}-{PAGES[-1]}]')
            download.wait_for(DOWNLOAD // 4)
            pages.wait_for(sum(PAGES) // 10)
            world.kill_site_a()
            try:
                world.wait_state('standby', 'serving')
                assert download.finish() == (digest(text_of(DOWNLOAD)), 1)
                assert pages.finish() == (digest(b''.join(map(text_of, PAGES))), 1)
            except BaseException:
                print(world.logs())
                raise

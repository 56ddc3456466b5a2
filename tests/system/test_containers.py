"""What containers change in their file systems is told, from their first instruction to their last, with a real Docker."""
import concurrent.futures
import json
import os
import signal
import subprocess
import tempfile

import pytest

import dockerd
import lab

pytestmark = pytest.mark.calm     # a short-lived container may be gone before it was asked for; and each worker has an engine of its own

NOISE = ('attribute', 'close', 'write')


def missing():
    if os.geteuid() != 0:
        return 'an engine wants root'
    return dockerd.MISSING and f"missing: {', '.join(dockerd.MISSING)} (docker.io, busybox-static)"


@pytest.fixture(scope='module')
def engine(tmp_path_factory):
    if missing():
        pytest.skip(missing())
    with dockerd.Engine(tmp_path_factory.mktemp('engine')) as engine:
        yield engine


def remove(engine, *names):
    engine.docker('rm', '-f', *names)


def test_the_first_instruction_is_an_event(engine):
    """Ten starts of `docker run`, nothing in between: the first thing that the container does is seen, and so is the last; none is unseen."""
    with dockerd.Watcher(engine, '--all') as watcher:
        watcher.ready()
        for i in range(10):
            engine.run('--rm', '--name', f'run{i}', script='echo 1 >/first; mkdir /d; echo 2 >/d/last')
        for i in range(10):
            watcher.wait_for('close d/last', f'run{i}')
            assert watcher.lines(f'run{i}', without=('attribute',)) == [
                'create first', 'write first', 'close first', 'create d/', 'create d/last', 'write d/last', 'close d/last']
        watcher.stop()
        assert 'lost' not in [e['kind'] for e in watcher.events()]


def test_what_overlayfs_does_means_what_the_container_did(engine):
    script = '''set -e
        echo x >>/low/file                          # copied up
        rm /low/deep/f; rm -r /low/deep             # whiteouts
        mkdir /low/deep; echo n >/low/deep/n        # opaque
        mv /low/file /low/moved; ln /low/moved /low/linked; rm /low/moved
        echo again >/low/file                       # in place of a whiteout
        rm /low/one; chmod 600 /low/two
        rm -r /low/empty
        mkdir /own; mv /own /other; rm -r /other
        ln -s file /low/link
        echo end >/end'''
    with dockerd.Watcher(engine, '--all') as watcher:
        watcher.ready()
        engine.run('--name', 'ovl', script=script)
        watcher.wait_for('create end', 'ovl')
        assert watcher.lines('ovl', without=NOISE) == [
            'copy-up low/', 'copy-up low/file',
            'copy-up low/deep/', 'delete low/deep/f', *[line for line in watcher.lines('ovl') if 'er' in line and 'other' not in line],
            'delete low/deep/', 'create low/deep/', 'create low/deep/n',
            'rename low/file > low/moved', 'create low/linked', 'delete low/moved', 'create low/file',
            'delete low/one', 'copy-up low/two',
            'copy-up low/empty/', 'delete low/empty/.keep', 'delete low/empty/',
            'create own/', 'rename own > other/', 'delete other/',
            'create low/link', 'create end']
        # What it looks like from inside is what the events have made of the image.
        engine.docker('start', 'ovl')
    remove(engine, 'ovl')


def mirror(lower, events):
    """The names that are there, by the events alone."""
    names = set(lower)

    def below(path):
        return {n for n in names if n.startswith(path + '/')}

    for event in events:
        kind, path = event['kind'], event['path']
        if kind == 'create':
            names.add(path)
        elif kind == 'delete':
            names -= {path} | below(path)
        elif kind == 'rename':
            moved = {path + n[len(event['from']):] for n in below(event['from'])}
            names -= below(event['from']) | {event['from']} | below(path)
            names |= moved | {path}
    return names


# Several processes at once, over what the image has as well; `found` is what is there at the end, as the container sees it.
RANDOM = r'''
    cd /low
    change() {
        seed=$1
        r() { seed=$(( (seed * 1103515245 + 12345) & 2147483647 )); n=$(( (seed >> 8) %% $1 )); }
        d() { r 6; case $n in 0) p=.;; 1) p=deep;; 2) p=deep/er;; 3) p=x;; 4) p=x/y;; *) p=empty;; esac; }
        f() { r 9; case $n in 0) q=file;; 1) q=f;; 2) q=g;; 3) q=er;; 4) q=deep;; 5) q=x;; 6) q=one;; 7) q=y;; *) q=new;; esac; }
        for i in $(seq $2); do
            d; f; a=$p/$q; d; f; b=$p/$q; r 9
            case $n in
                0|1) mkdir $a;; 2|3) echo $i >$a;; 4) rm $a;; 5) rm -r $a;; 6) mv -T $a $b;; 7) ln $a $b;; 8) ln -s $i $a;;
            esac 2>/dev/null
        done
    }
    for writer in $(seq %(writers)d); do change $(( %(seed)d * 64 + writer )) %(changes)d & done
    wait
    find . >/found; echo end >/end'''


def random_container(engine, watcher, seed, changes, writers):
    """Changes at random, and a mirror of the names that the events alone keep."""
    name = f'seed{seed}'
    engine.run('--name', name, script=RANDOM % {'seed': seed, 'changes': changes, 'writers': writers})
    watcher.wait_for('close end', name)
    with open(os.path.join(engine.upper(name), 'found')) as f:
        there = {os.path.normpath(os.path.join('low', line.rstrip('\n'))) for line in f}
    lower = {os.path.join(*p.split('/')[:i]) for p in (*dockerd.LOWER, *dockerd.LINKED) for i in range(1, len(p.split('/')) + 1)}
    events = watcher.events(name)
    assert not [e for e in events if e['kind'] == 'lost'], name
    mirrored = {n for n in mirror(lower, events) if n.split('/')[0] == 'low'}
    assert mirrored == there, f'{name}: not there: {mirrored - there}, missed: {there - mirrored}'
    engine.docker('rm', name)
    return len(events)


def random_containers(engine, seed, count, changes):
    """So many, four at a time, with one to four writers. How many events."""
    with dockerd.Watcher(engine, '--all') as watcher, concurrent.futures.ThreadPoolExecutor(4) as pool:
        watcher.ready()
        return sum(pool.map(lambda i: random_container(engine, watcher, seed + i, changes, 1 + i % 4), range(count)))


def soak(seed, count, changes):
    """The same with an engine of its own."""
    with tempfile.TemporaryDirectory(prefix='understudy-engine-') as directory, dockerd.Engine(directory) as engine:
        events = random_containers(engine, seed, count, changes)
    print(f'{count} containers, {events} events: of each the names are those that it sees (seed {seed})', flush=True)


def test_a_mirror_of_names_is_what_the_container_sees(engine):
    random_containers(engine, 1000, 6, 150)


def test_between_two_runs_and_the_removal(engine):
    """What the engine does with the layer is not the container's; what was copied in between two runs is in the second one."""
    with dockerd.Watcher(engine, '--all') as watcher:
        watcher.ready()
        engine.run('--name', 'twice', script='echo >>/log')
        watcher.wait_for('close log', 'twice')
        note = os.path.join(engine.directory, 'note')
        with open(note, 'w') as f:
            f.write('copied in')
        engine.docker('cp', note, 'twice:/note')
        engine.docker('start', '-a', 'twice')
        remove(engine, 'twice')
        engine.run('--rm', '--name', 'after', script='echo >/after')
        watcher.wait_for('close after', 'after')
        lines = watcher.lines('twice', without=('attribute', 'write'))
        assert lines[:2] == ['create log', 'close log']
        assert 'close note' in lines[2:] and lines[-1] == 'close log'
        assert not [line for line in lines if line.startswith('delete log') or line.startswith('delete note')]


def test_only_the_one_that_is_named(engine):
    with dockerd.Watcher(engine, '--container', 'named') as watcher:
        watcher.wait_until_said('watching named of the engine')
        engine.run('--rm', '--name', 'another', script='echo >/another')
        engine.run('--rm', '--name', 'named', script='echo >/first')
        watcher.wait_for('close first', 'named')
        assert {e['tree'] for e in watcher.events()} == {'named'}


def test_one_that_ran_before_is_told_of_as_that(engine):
    """For how long nobody was watching, and what has changed meanwhile: of what was deleted the whiteout."""
    engine.docker('run', '-d', '--network', 'none', '--name', 'early', 'bb', '/bin/sh', '-c',
                  'echo >/before; rm /low/file; while ! [ -e /go ]; do sleep 0.1; done; echo >/later; sleep 1000')
    upper = engine.upper('early')
    lab.wait_for('it has run', lambda: os.path.lexists(os.path.join(upper, 'low/file')))
    with dockerd.Watcher(engine, '--all') as watcher:
        watcher.ready()
        lines = watcher.lines('early')
        lost = watcher.events('early')[0]
        assert lost['kind'] == 'lost' and lost['unseen_ms'] > 0
        assert 'found before' in lines and 'delete low/file' in lines
        engine.docker('exec', 'early', '/bin/touch', '/go')
        watcher.wait_for('create later', 'early')
    remove(engine, 'early')


def test_the_engine_is_restarted(engine):
    """What runs goes on and is watched on; what is made when the engine is there again is watched as well."""
    engine.docker('run', '-d', '--network', 'none', '--name', 'stays', 'bb', '/bin/sh', '-c', 'while :; do echo >>/tick; sleep 0.05; done')
    with dockerd.Watcher(engine, '--all') as watcher:
        watcher.ready()
        engine.daemon.stop(30)
        watcher.wait_until_said('waiting for it')
        count = len(watcher.lines('stays'))
        lab.wait_for('it is watched without the engine', lambda: len(watcher.lines('stays')) > count + 10)
        engine.start()
        watcher.wait_until_said('watching all containers of the engine', 2)
        engine.run('--rm', '--name', 'new', script='echo >/first')
        watcher.wait_for('close first', 'new')
        assert [e['kind'] for e in watcher.events() if e['kind'] == 'lost'] == ['lost']    # of the time before it was watched at all
        assert watcher.said().count('waiting for it') == 1
    remove(engine, 'stays')


@pytest.mark.parametrize('way', ['fanotify', 'inotify'])
def test_the_wrapper(engine, tmp_path, way):
    """Created, watched, started: with inotify, too, the first instruction is an event, and nothing is unseen. Output and status are the container's."""
    docker = ['docker', '-H', f'unix://{engine.socket}', 'run']
    words = ['--network', 'none', '--name', f'wrapped-{way}', '--rm', '-i', 'bb', '/bin/sh', '-c', 'cat >/first; echo out; exit 7']
    done = subprocess.run([lab.UNDERSTUDY, 'run', '--events', str(tmp_path / 'events'), '--socket', engine.socket, '--by', way, '--json', '--',
                           *docker, *words], input='in', capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (7, 'out\n'), done.stderr
    events = [json.loads(line) for line in (tmp_path / 'events').read_text().splitlines()]
    assert [f"{e['kind']} {e['path']}" for e in events if e['kind'] != 'attribute'] == ['create first', 'write first', 'close first']
    assert {e['tree'] for e in events} == {f'wrapped-{way}'}
    assert not engine.docker('ps', '-aq', '-f', f'name=wrapped-{way}')


def test_the_wrapper_of_one_in_the_background(engine, tmp_path):
    """Its events, until it has ended; the engine's client prints its id, as with `docker run -d`."""
    done = subprocess.run([lab.UNDERSTUDY, 'run', '--events', str(tmp_path / 'events'), '--socket', engine.socket, '--', 'docker', '-H',
                           f'unix://{engine.socket}', 'run', '-d', '--network=none', '--name=behind', 'bb', '/bin/sh', '-c', 'sleep 0.3; echo >/late'],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and len(done.stdout.split()) == 1, done.stderr
    assert 'behind  create    late' in (tmp_path / 'events').read_text()
    remove(engine, 'behind')


def test_the_wrapper_of_what_cannot_be(engine, tmp_path):
    """Status and words of the engine's client; another engine's container is not started."""
    def run(*words, socket=engine.socket):
        return subprocess.run([lab.UNDERSTUDY, 'run', '--socket', socket, '--', *words], capture_output=True, text=True, timeout=120)
    docker = ('docker', '-H', f'unix://{engine.socket}')
    assert run(*docker, 'ps').returncode == 2
    done = run(*docker, 'run', '--nonsense', 'bb')
    assert done.returncode not in (0, 2) and 'nonsense' in done.stderr
    assert run('no-such-program', 'run', 'bb').returncode == 127
    engine.docker('create', '--name', 'other', 'bb', 'true')
    done = run('/bin/echo', 'run', 'f' * 64)      # which another engine might have
    assert done.returncode == 1 and 'cannot be watched' in done.stderr
    remove(engine, 'other')


def test_by_inotify(engine):
    """What happens is the same; what a restart has unseen is told."""
    with dockerd.Watcher(engine, '--all', '--by', 'inotify') as watcher:
        watcher.ready()
        engine.create('ino', 'echo 1 >>/first; echo x >>/low/file; rm -f /low/one; echo >/last')
        watcher.wait_until_said('watching container ino')
        engine.docker('start', '-a', 'ino')
        lines = watcher.wait_for('close last', 'ino')
        # What a look into a new directory finds has no order.
        assert sorted(line for line in lines if not line.startswith(NOISE)) == sorted([
            'create first', 'copy-up low/', 'copy-up low/file', 'delete low/one', 'create last'])
        engine.docker('start', '-a', 'ino')
        again = lab.wait_for('the second run is told of', lambda: watcher.events('ino')[len(lines):], 60)
        assert again[0]['kind'] == 'lost' and again[0]['unseen_ms'] > 0
        engine.run('--rm', '--name', 'ino2', script='true')
    remove(engine, 'ino')


def test_no_engine(engine, tmp_path):
    """It is waited for; what is no engine is told of."""
    with dockerd.Watcher(engine, '--all', '--socket=' + str(tmp_path / 'none')) as watcher:
        assert watcher.process.wait(30) == 2       # --socket twice
    process = subprocess.Popen([lab.UNDERSTUDY, 'watch', '--all', '--socket', str(tmp_path / 'none')], stderr=subprocess.PIPE, text=True)
    assert 'waiting for it' in process.stderr.readline()
    process.terminate()
    assert process.wait(30) == 0
    done = subprocess.run([lab.UNDERSTUDY, 'watch', '--all', 'DIR'], capture_output=True, text=True)
    assert done.returncode == 2 and 'One of the three' in done.stderr


def test_the_watcher_was_stopped_meanwhile(engine):
    """What ran and ended while it could not look is told all the same; what is gone with its layer is told as lost."""
    with dockerd.Watcher(engine, '--all') as watcher:
        watcher.ready()
        engine.create('known', 'echo >/first')
        watcher.wait_until_said('watching container known')
        watcher.process.send_signal(signal.SIGSTOP)
        engine.docker('start', '-a', 'known')
        engine.docker('start', '-a', 'known')
        remove(engine, 'known')
        engine.run('--rm', '--name', 'unknown', script='echo >/first')
        watcher.process.send_signal(signal.SIGCONT)
        watcher.wait_for('lost /', 'unknown')
        assert watcher.lines('known', without=('attribute',)) == ['create first', 'write first', 'close first', 'write first', 'close first']


def test_many_at_a_time(engine):
    """Forty containers, four at a time: of each the same events, in order, of nobody another's."""
    count = 40
    with dockerd.Watcher(engine, '--all') as watcher:
        watcher.ready()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda i: engine.run('--rm', '--name', f'many{i}', script=f'echo >/own{i}; rm /low/file; echo >/end'), range(count)))
        for i in range(count):
            lines = watcher.wait_for('close end', f'many{i}')
            assert [line for line in lines if not line.startswith(NOISE)] == [f'create own{i}', 'copy-up low/', 'delete low/file', 'create end']

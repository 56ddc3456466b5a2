"""`understudy watch`: whatever happens to a tree, a copy that is kept by the events alone is the tree."""
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import tempfile

import pytest

import lab
from watched import Mirror, Watch, start_writers
from watch_writer import EXCHANGE, WHITEOUT, rename_as

BOTH = pytest.mark.parametrize('by', ['fanotify', 'inotify'])
TIMES = int(os.environ.get('UNDERSTUDY_WATCH_OPERATIONS', '20000'))


@pytest.fixture
def place(tmp_path):
    """A directory with a tree and, beside it, what is outside."""
    os.makedirs(tmp_path / 'tree')
    os.makedirs(tmp_path / 'outside')
    yield str(tmp_path)
    shutil.rmtree(tmp_path, ignore_errors=True)


def torture(where, by, operations, writers, directories, seed, rounds=2, held=False, storms=False):
    """
    Returns the mirror after so many operations, in rounds, after each of which what has changed is read. `held`: in every other round the
    watcher stands still until the writers have ended.
    """
    tree, outside = os.path.join(where, 'tree'), os.path.join(where, 'outside')
    mirror = Mirror(tree)
    with Watch(tree, by) as watch:
        for turn in range(rounds):
            hold = held and turn % 2 == 0
            if hold:
                watch.process.send_signal(signal.SIGSTOP)
            for process in start_writers(tree, outside, writers, operations // rounds, directories, seed + turn * writers, *['storms'] * storms):
                assert process.wait() == 0
            if hold:
                watch.process.send_signal(signal.SIGCONT)
            for line in watch.lines(600):
                mirror.take(line)
            if mirror.lost:
                mirror.list_found()
            mirror.look()
        print(f'{by}, seed {seed}: {operations} operations, {mirror.events} events {mirror.by_kind}, {mirror.scanned} scanned, {mirror.lost} lost, doubles {mirror.doubles}, '
              f'orphans {mirror.orphans}, {sum(1 for _ in mirror.each())} names in the end, {watch.cpu_s():.2f} s of processor, {watch.memory_mib():.0f} MiB')
    return mirror


def seed_of_today():
    return int(os.environ.get('UNDERSTUDY_SEED', '0')) or random.randrange(1 << 30)


def long_torture(operations, seed):
    """8 writers and 10,000 directories, by both ways, on the disk and in a small file system that runs out of inodes and room."""
    for by in ('fanotify', 'inotify'):
        for options in (None, 'nr_inodes=3000,size=8m'):
            with tempfile.TemporaryDirectory(dir='/var/tmp') as where:
                if options:
                    subprocess.run(['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', where], check=True)
                try:
                    os.makedirs(os.path.join(where, 'tree'))
                    os.makedirs(os.path.join(where, 'outside'))
                    mirror = torture(where, by, operations, 8, 10000, seed, rounds=4)
                    assert mirror.check() == {}, (by, options, seed)
                finally:
                    if options:
                        subprocess.run(['umount', '-l', where], check=True)


@BOTH
def test_a_copy_kept_by_the_events_of_a_torture_is_the_tree(place, by):
    seed = seed_of_today()
    mirror = torture(place, by, TIMES, 2, 300, seed)
    assert mirror.check() == {}, seed
    # A look at a directory and the events of what is going on in it may tell of the same name.
    assert mirror.doubles + mirror.orphans <= mirror.events // 200, (seed, mirror.suspect)


def kept(place, by, change, held):
    """The mirror of a small tree, after the change; `held`: none of it is read before its end."""
    tree = os.path.join(place, 'tree')
    mirror = Mirror(tree)
    with Watch(tree, by) as watch:
        for name in ('a', 'b'):
            put(os.path.join(tree, name), name)
            os.makedirs(os.path.join(tree, f'dir-{name}', name))
            put(os.path.join(tree, f'dir-{name}', name, 'file'), name)
        for line in watch.lines():
            mirror.take(line)
        mirror.look()
        if held:
            watch.process.send_signal(signal.SIGSTOP)
        change(lambda name: os.fsencode(os.path.join(tree, name)))
        watch.process.send_signal(signal.SIGCONT)
        for line in watch.lines():
            mirror.take(line)
        mirror.list_found()
        mirror.look()
    return mirror


def put(path, text):
    with open(path, 'w') as f:
        f.write(text)


def exchange_files(at):
    rename_as(at('a'), at('b'), EXCHANGE)


def exchange_directories(at):
    rename_as(at('dir-a'), at('dir-b'), EXCHANGE)
    put(at('dir-a/b/new'), 'new')


def exchange_a_file_with_a_directory(at):
    rename_as(at('a'), at('dir-b'), EXCHANGE)


def leave_a_whiteout(at):
    rename_as(at('a'), at('c'), WHITEOUT)


def rename_back_and_forth(at):
    for one, other in (('a', 'c'), ('dir-a', 'dir-c')) * 5:
        old, new = (at(one), at(other)) if os.path.exists(at(one)) else (at(other), at(one))
        os.rename(old, new)


def link_the_same_again(at):
    os.link(at('a'), at('c'))
    os.rename(at('c'), at('d'))
    os.link(at('a'), at('c'))


def go_deep(at):
    """A path that no system call takes."""
    os.chdir(at('dir-a'))
    for _ in range(60):
        os.mkdir('n' * 200)
        os.chdir('n' * 200)
    put('\x01' * 200, 'x')
    os.rename('\x01' * 200, '\x02' * 200)


def make_and_remove(at):
    for _ in range(3):
        os.mkdir(at('made'))
        put(at('made/file'), 'x')
        os.rename(at('made/file'), at('kept'))
        os.rmdir(at('made'))


@BOTH
@pytest.mark.parametrize('held', [False, True], ids=['at once', 'held'])
@pytest.mark.parametrize('change', [exchange_files, exchange_directories, exchange_a_file_with_a_directory, leave_a_whiteout, rename_back_and_forth,
                                    link_the_same_again, make_and_remove])
def test_what_the_kernel_merges_or_does_not_tell_of_is_in_the_copy(place, by, change, held):
    mirror = kept(place, by, change, held)
    assert mirror.check() == {}, mirror.by_kind


def test_after_an_overflow_of_inotifys_queue_what_is_found_makes_the_copy_the_tree(place):
    with open('/proc/sys/fs/inotify/max_queued_events') as f:
        limit = int(f.read())

    def change(at):
        os.makedirs(at('new'))
        for number in range(limit // 2 + 100):      # a file that is made is opened, written and closed
            put(at(f'file-{number}'), str(number))
        shutil.rmtree(at('dir-a'))
        os.rename(at('dir-b'), at('new/dir-b'))

    mirror = kept(place, 'inotify', change, True)
    assert mirror.lost == 1 and mirror.by_kind['found'] > limit // 2
    assert mirror.check() == {}


def run(*arguments, **options):
    return subprocess.run([lab.UNDERSTUDY, 'watch', *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
                          timeout=20, **options)


@pytest.mark.parametrize('arguments, part', [
    (['/nowhere/at/all'], 'No such file'), (['/etc/passwd'], 'Not a directory'), ([], 'which directory'), (['/tmp', '--by', 'magic'], 'auto, fanotify or inotify'),
    (['/tmp', '--kind', 'magic'], 'there is none')])
def test_what_cannot_be_watched_is_refused_with_the_reason(arguments, part):
    result = run(*arguments)
    assert result.returncode != 0 and part.lower() in result.stderr.lower() and not result.stdout, result


@BOTH
def test_a_tree_that_is_removed_or_moved_while_it_is_watched_tells_its_end(place, by):
    tree = os.path.join(place, 'tree')
    os.makedirs(f'{tree}/sub')
    with Watch(tree, by) as watch:
        os.rename(f'{tree}/sub', f'{tree}/moved')
        os.rename(tree, f'{place}/elsewhere')
        put(f'{place}/elsewhere/file', 'x')
        lab.wait_for('the file is told of', lambda: b'"path":"file"' in open(watch.output, 'rb').read())
        shutil.rmtree(f'{place}/elsewhere')
        lab.wait_for('its removal, too', lambda: b'"kind":"delete"' in open(watch.output, 'rb').read())
        assert watch.process.poll() is None


@BOTH
def test_who_reads_no_more_ends_it(place, by):
    tree = os.path.join(place, 'tree')
    process = subprocess.Popen([lab.UNDERSTUDY, 'watch', tree, '--by', by], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert 'watching' in process.stderr.readline()
    process.stdout.close()

    def ended():
        put(os.path.join(tree, 'file'), 'x')
        return process.poll() is not None
    lab.wait_for('it ends', ended)
    process.stderr.close()


@BOTH
def test_a_path_longer_than_a_system_call_takes_is_told_whole(place, by):
    tree = os.path.join(place, 'tree')
    os.mkdir(f'{tree}/dir-a')
    with Watch(tree, by) as watch:
        child = multiprocessing.Process(target=go_deep, args=(lambda name: os.path.join(tree, name),))
        child.start()
        child.join()
        events = [json.loads(line) for line in watch.lines()]
        assert child.exitcode == 0 and max(len(event['path']) for event in events) == len('dir-a') + 60 * 201 + 201, child.exitcode
        subprocess.run(['rm', '-rf', f'{tree}/dir-a'], check=True)

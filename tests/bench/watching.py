"""`understudy watch` beside inotifywait (inotify-tools) and fswatch, on the same work, in turns: how late an event is told, how many are missed,
the time of the processor, and the time until a large tree is watched."""
import json
import os
import re
import shutil
import subprocess
import tempfile
import time

import lab
from measure import Unmeasured, once, program, say, summary

TURNS, EVENTS = 3, 1500
WRITERS, OPERATIONS = 8, 1_000_000
DIRECTORIES, SETUP_TURNS = 100_000, 3
FANOTIFY, INOTIFY, TOOLS, FSWATCH = 'fanotify', 'inotify', 'inotifywait', 'fswatch'


def ours(by, *options):
    return lambda tree: [lab.UNDERSTUDY, 'watch', tree, '--by', by, *options]


WATCHERS = {
    FANOTIFY: ours('fanotify', '--kind', 'create'),
    INOTIFY: ours('inotify', '--kind', 'create'),
    TOOLS: lambda tree: ['inotifywait', '-m', '-r', '-q', '-e', 'create', '--format', '%w%f', tree],
    FSWATCH: lambda tree: ['fswatch', '-r', '--event', 'Created', '-l', '0.001', tree],
}


def present():
    found = [name for name, command in WATCHERS.items() if shutil.which(command('.')[0])]
    if TOOLS not in found:
        raise Unmeasured('inotifywait is missing: apt-get install inotify-tools')
    if os.geteuid() != 0:
        raise Unmeasured('fanotify wants root')
    return found


class Tree:
    """An empty directory, a fresh one each time: on the disk that the build is on, or in memory."""

    def __init__(self, where=lab.BUILD):
        self.where = where

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix='watch-', dir=self.where)
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)


def delays():
    """For each watcher all delays, in ms."""
    samples = {name: [] for name in present()}
    for turn in range(TURNS):
        for name, found in samples.items():
            count = EVENTS // 10 if name == FSWATCH else EVENTS     # it waits for as long as it is told to, at least
            with Tree() as tree:
                done = subprocess.run([program('bench_watch'), 'delay', tree, str(count), *WATCHERS[name](tree)], stdout=subprocess.PIPE,
                                      stderr=subprocess.DEVNULL, text=True, timeout=300)
            if done.returncode != 0:
                raise Unmeasured(f'{name} tells nothing')
            found += [us / 1000 for us in json.loads(done.stdout)]
        say(f'turn {turn + 1} of {TURNS}: ' + ', '.join(f'{name} {sum(found) / len(found):.3f} ms' for name, found in samples.items() if found))
    return samples


def figures(samples):
    return summary(samples) | {'mean': round(sum(samples) / len(samples), 4)}


def delay():
    numbers = {name: figures(found) for name, found in delays().items() if found}
    best, beside = numbers[FANOTIFY], numbers[TOOLS]
    return {
        'what': 'delay of an event: mean (p99)', 'target': '<= 0.1 (1) ms',
        'ours': f"{best['mean']:.3f} ({best['p99']:.2f}) ms; inotify {numbers[INOTIFY]['mean']:.3f} ({numbers[INOTIFY]['p99']:.2f})",
        'beside': f"inotifywait {beside['mean']:.3f} ({beside['p99']:.2f}) ms" +
                  (f"; fswatch {numbers[FSWATCH]['mean']:.1f} ({numbers[FSWATCH]['p99']:.1f})" if FSWATCH in numbers else ''),
        'ratio': beside['mean'] / best['mean'], 'passed': best['mean'] <= 0.1 and best['p99'] <= 1, 'numbers': numbers}


def cpu_s(pid):
    with open(f'/proc/{pid}/stat') as f:
        fields = f.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def ready(process, tree, lines):
    """Something made in the tree is in its lines."""
    for number in range(100):
        with open(os.path.join(tree, f'ready-{number}.'), 'w'):
            pass
        time.sleep(0.1)
        if b'ready-' in open(lines, 'rb').read():
            return
    raise Unmeasured(f'{process.args[0]} tells nothing')


def settle(path):
    """Until nothing more is told for a second."""
    size = -1
    while size != os.path.getsize(path):
        size = os.path.getsize(path)
        time.sleep(1)


def heavy(name):
    """All operations under one watcher, in memory, which is the fastest: (names made, names told of, seconds of the processor, seconds)."""
    with Tree('/dev/shm') as tree:
        lines = os.path.join(lab.BUILD, 'watch.lines')
        with open(lines, 'wb') as out:
            watcher = subprocess.Popen(WATCHERS[name](tree), stdout=out, stderr=subprocess.DEVNULL)
        try:
            ready(watcher, tree, lines)
            start, used = time.monotonic(), cpu_s(watcher.pid)
            done = subprocess.run([program('bench_watch'), 'work', tree, str(WRITERS), str(OPERATIONS)], stdout=subprocess.PIPE, text=True, check=True)
            took = time.monotonic() - start
            settle(lines)
            used = cpu_s(watcher.pid) - used
        finally:
            watcher.terminate()
            watcher.wait(30)
        with open(lines, 'rb') as f:
            told = len(set(re.findall(rb'\d+-\d+(?:/\d)?(?=/?(?:  \(scanned\))?$)', f.read(), re.M)))
        os.unlink(lines)
    return int(done.stdout), told, used, took


@once
def heavies():
    results = {}
    for name in present():
        if name == FSWATCH:
            continue
        results[name] = heavy(name)
        made, told, used, took = results[name]
        say(f'{name}: {made - told} of {made} names missed, {used:.2f} s of the processor, {took:.1f} s')
    return results


def missed():
    results = heavies()
    lost = {name: made - told for name, (made, told, _, _) in results.items()}
    return {
        'what': f'events missed in {OPERATIONS} operations', 'target': '0', 'ours': f'{lost[FANOTIFY]}; inotify {lost[INOTIFY]}', 'beside': f'inotifywait {lost[TOOLS]}',
        'ratio': lost[TOOLS] / max(1, lost[FANOTIFY]), 'passed': lost[FANOTIFY] == 0, 'numbers': {name: dict(zip(('made', 'told', 'cpu_s', 'seconds'), result)) for name, result in results.items()}}


def processor():
    """For each name that was told of: who has missed most has had the least to do."""
    results = heavies()
    each = {name: used / told * 1e6 for name, (_, told, used, _) in results.items()}
    return {
        'what': 'processor for each event told', 'target': "below inotifywait's", 'ours': f'{each[FANOTIFY]:.1f} us; inotify {each[INOTIFY]:.1f}',
        'beside': f'inotifywait {each[TOOLS]:.1f} us', 'ratio': each[TOOLS] / each[FANOTIFY], 'passed': each[FANOTIFY] < each[TOOLS],
        'numbers': {name: round(value, 2) for name, value in each.items()}}


def until(command, words):
    """Seconds until its standard error has these words."""
    start = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if words in line:
                break
        took = time.monotonic() - start
        if process.poll() is not None:
            raise Unmeasured(f'{command[0]} ended')
        process.terminate()
    return took


def setup():
    present()
    times = {FANOTIFY: [], INOTIFY: [], TOOLS: []}
    with Tree() as tree:
        for i in range(DIRECTORIES // 1000):
            os.mkdir(f'{tree}/{i}')
            for j in range(999):
                os.mkdir(f'{tree}/{i}/{j}')
        for turn in range(SETUP_TURNS):
            times[TOOLS].append(until(['inotifywait', '-m', '-r', '-e', 'create', tree], 'established'))
            times[FANOTIFY].append(until(WATCHERS[FANOTIFY](tree), 'watching'))
            times[INOTIFY].append(until(WATCHERS[INOTIFY](tree), 'watching'))
            say(f'turn {turn + 1} of {SETUP_TURNS}: ' + ', '.join(f'{name} {found[-1] * 1000:.1f} ms' for name, found in times.items()))
    numbers = {name: summary([s * 1000 for s in found]) for name, found in times.items()}
    fast, slow, beside = (numbers[name]['median'] for name in (FANOTIFY, INOTIFY, TOOLS))
    return {'what': f'until {DIRECTORIES} directories are watched', 'target': '20 x faster', 'ours': f'{fast:.1f} ms; inotify {slow:.0f}', 'beside': f'inotifywait {beside:.0f} ms',
            'ratio': beside / fast, 'passed': beside >= 20 * fast, 'numbers': numbers}

"""Starts of a container under `understudy watch --all`, beside starts that nobody watches: which of its instructions is the first that is told, and how long
`docker run` takes. In turns, with a real dockerd.

The published system that this is measured against (150 starts, another machine and engine): 5.831 ms unseen and 715.8 ms for a start where the watch is
set up after it; nothing unseen and 1729.2 ms where the container is paused for it.
"""
import statistics
import tempfile
import time

import dockerd
from measure import Unmeasured, say, summary

STARTS, BLOCKS, RATIO = 150, 10, 1.05
SCRIPT = 'echo 1 >/first'
PUBLISHED = {'unseen_ms': 5.831, 'start_ms': 715.8, 'paused_start_ms': 1729.2}


def start(engine, name):
    began = time.monotonic()
    engine.run('--rm', '--name', name, script=SCRIPT)
    return (time.monotonic() - began) * 1000


def block(engine, number, watched):
    """Times of a block's starts, and of how many the first instruction was not the first event."""
    names = [f"{'watched' if watched else 'plain'}{number}-{i}" for i in range(STARTS // BLOCKS)]
    if not watched:
        return [start(engine, name) for name in names], 0
    with dockerd.Watcher(engine, '--all') as watcher:
        watcher.ready()
        times = [start(engine, name) for name in names]
        for name in names:
            watcher.wait_for('create first', name)
        unseen = sum(watcher.lines(name, without=('attribute',))[0] != 'create first' or any(e['kind'] == 'lost' for e in watcher.events(name)) for name in names)
    return times, unseen


def row():
    if dockerd.MISSING:
        raise Unmeasured(f"missing: {', '.join(dockerd.MISSING)} (docker.io, busybox-static)")
    times, unseen = {False: [], True: []}, 0
    with tempfile.TemporaryDirectory() as directory, dockerd.Engine(directory) as engine:
        start(engine, 'first')
        for number in range(BLOCKS):
            for watched in ((False, True), (True, False))[number % 2]:
                more, missed = block(engine, number, watched)
                times[watched] += more
                unseen += missed
            say(f'container starts: {len(times[True])} of {STARTS}')
    plain, ours = statistics.median(times[False]), statistics.median(times[True])
    return {'what': f'{STARTS} container starts, watched', 'target': f'0 unseen, <= {RATIO} x', 'ours': f'{unseen} unseen, {ours:.0f} ms',
            'beside': f"unwatched {plain:.0f} ms (published {PUBLISHED['start_ms']:.0f}, watched {PUBLISHED['paused_start_ms']:.0f})", 'ratio': ours / plain,
            'passed': unseen == 0 and ours / plain <= RATIO,
            'numbers': {'unseen': unseen, 'plain_ms': summary(times[False]), 'watched_ms': summary(times[True]), 'published': PUBLISHED}}

"""What a disk in the epochs costs the guest: synced writes of half a KiB to 8 KiB, one after the other, protected and not, in turns, of one guest."""
import statistics
import time

import lab
from measure import DIRTY_PER_S, EVERY_100_MS, Unmeasured, say

ROUNDS, TURNS, WRITES = 3, 3, 300


def writes_per_s(world):
    """The guest makes them by itself: no answer is waited for in between."""
    with world.connect(60) as connection:
        start = time.monotonic()
        if world.ask(f'write {WRITES}', 60, connection) is None:
            raise Unmeasured('the guest does not answer')
        return WRITES / (time.monotonic() - start)


def compare(what, least, **standby):
    bare, protected = [], []
    for number in range(1, ROUNDS + 1):
        with lab.Lab(dirty=DIRTY_PER_S, disk_mib=64, takeover='manual', instance=EVERY_100_MS, standby_instance=standby) as world:
            world.start_guest()
            world.start_appliance()
            for _ in range(TURNS):
                bare.append(writes_per_s(world))
                world.start_agent()
                world.wait_state('primary', 'protected')
                if standby:
                    lab.wait_for('the journal is whole', lambda: world.status('standby').get('journal', {}).get('durable'), 120)
                protected.append(writes_per_s(world))
                if world.status('primary')['state'] != 'protected':
                    raise Unmeasured(f'the instance did not stay protected\n{world.logs()}')
                world.agent.stop()
        say(f'{what}, {number} of {ROUNDS}: {statistics.median(protected):.0f} writes a second, {statistics.median(bare):.0f} unprotected')
    ours, beside = statistics.median(protected), statistics.median(bare)
    return {'what': what, 'target': f'>= {least * 100:.0f} % of unprotected', 'ours': f'{ours:.0f} a second', 'beside': f'unprotected {beside:.0f}',
            'ratio': ours / beside, 'passed': ours >= least * beside, 'numbers': {'protected': protected, 'unprotected': bare}}


def from_memory():
    return compare("a guest's synced writes", 0.85)


def with_journal():
    return compare("a guest's synced writes, journal", 0.7, durability='journal')

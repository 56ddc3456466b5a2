"""Resident memory of the agent and the appliance beyond what is promised: guest RAM, configured budgets, 8 bytes per guest page.

Counted: the resident memory (smaps, "Rss") of the process and of its children that run the same program (the agent's guardian), all of
it, text and shared pages included, less the mapping of the clone's memory image. The highest of samples from the start, through the first
copy, to some seconds of checkpoints. Budgets are set small, so that little can hide behind one that is not used to the full, and the table
shows beside it what it is with the budgets not subtracted at all.
"""
import os
import threading
import time

import lab
from measure import DIRTY_PER_S, Unmeasured, say

SIZES_MIB = (256, 8192)
BUDGET_MIB = 4              # each: about what two checkpoints of the load need
PRIMARY_BUDGET = {'staging_mib': BUDGET_MIB, 'inflight_mib': BUDGET_MIB, 'cache_mib': BUDGET_MIB}
STANDBY_BUDGET = {'staging_mib': BUDGET_MIB}
PROTECTED_S = 6
LIMIT_MIB = 24


def family(pid):
    """The process and those of its descendants that run the same program."""
    program, pids = os.readlink(f'/proc/{pid}/exe'), [pid]
    for one in pids:
        with open(f'/proc/{one}/task/{one}/children') as f:
            for child in f.read().split():
                if os.readlink(f'/proc/{child}/exe') == program:
                    pids.append(int(child))
    return pids


def resident_kib(pid, image_dir):
    """Of one process, without what is mapped from `image_dir`."""
    total, counted = 0, True
    with open(f'/proc/{pid}/smaps') as f:
        for line in f:
            first, *rest = line.split()
            if not first.endswith(':'):
                counted = image_dir not in line
            elif first == 'Rss:' and counted:
                total += int(rest[0])
    return total


class Peak(threading.Thread):
    """Watches a daemon of the lab until told to stop."""

    def __init__(self, daemon, image_dir):
        super().__init__(daemon=True)
        self.pid, self.image_dir, self.kib, self.processes, self.stopping = daemon.pid, image_dir, 0, 0, threading.Event()

    def run(self):
        while not self.stopping.wait(0.1):
            try:
                pids = family(self.pid)
                self.kib = max(self.kib, sum(resident_kib(pid, self.image_dir) for pid in pids))
                self.processes = max(self.processes, len(pids))
            except (OSError, ValueError):       # one of them has just ended
                continue


def measure(memory_mib):
    standby = {'instances': [{'name': 'vm1', 'takeover': 'automatic', 'budget': STANDBY_BUDGET}]}
    with lab.Lab(memory_mib=memory_mib, dirty=DIRTY_PER_S, instance={'budget': PRIMARY_BUDGET}, standby=standby) as world:
        world.start_guest()
        image_dir = os.path.join('/dev/shm', os.path.basename(world.dir))
        peaks = [Peak(world.start_appliance(), image_dir), Peak(world.start_agent(), image_dir)]
        for peak in peaks:
            peak.start()
        world.wait_state('primary', 'protected')
        time.sleep(PROTECTED_S)
        for peak in peaks:
            peak.stopping.set()
            peak.join()
        if world.status('primary').get('state') != 'protected' or 0 in (peak.kib for peak in peaks):
            raise Unmeasured(f"the instance did not stay protected: {world.status('primary')}")
    index_mib = memory_mib * 256 * 8 / 2**20
    result = {}
    for name, peak, budget in (('agent', peaks[1], PRIMARY_BUDGET), ('appliance', peaks[0], STANDBY_BUDGET)):
        resident, promised = peak.kib / 1024, sum(budget.values()) + index_mib
        result[name] = {'resident_mib': round(resident, 2), 'budgets_mib': sum(budget.values()), 'per_page_mib': round(index_mib, 2),
                        'beyond_mib': round(resident - promised, 2), 'processes': peak.processes}
        say(f'memory: {memory_mib} MiB guest: {name}: {resident:.1f} MiB, {promised:.1f} of them promised')
    return result


def row():
    measured = {f'{size}_mib': measure(size) for size in SIZES_MIB}
    agent, appliance = (max(m[name]['beyond_mib'] for m in measured.values()) for name in ('agent', 'appliance'))
    whole = [max(m[name]['beyond_mib'] + m[name]['budgets_mib'] for m in measured.values()) for name in ('agent', 'appliance')]
    return {'what': 'resident memory: agent, appliance', 'target': f'<= {LIMIT_MIB} MiB each', 'ours': f'{agent:.1f}, {appliance:.1f} MiB',
            'beside': f'budgets included: {whole[0]:.1f}, {whole[1]:.1f} MiB', 'ratio': max(agent, appliance) / LIMIT_MIB,
            'passed': max(agent, appliance) <= LIMIT_MIB, 'numbers': measured}

"""What clients notice of a killed site, in gateway mode: from the SIGKILL to the next answer on the same connection.

A client asks its ledger without a pause, some requests on their way at a time. What was committed before the kill may still be
answered after it: what counts is the answer that ends the longest silence. Site A is killed at a random moment; then both sites
are started anew, in the same network: nothing of one kill is there at the next but the machine's caches.
"""
import os
import random
import shutil
import statistics
import time

import lab
import ledger
import outage_others
from measure import Unmeasured, say, summary

KILLS = int(os.environ.get('UNDERSTUDY_KILLS', '50'))
DEFAULTS, FAST = (50, 300), (10, 100)       # heartbeat and detection limit, ms
DIRTY_PER_S = 500


def start_anew(world):
    """Both sites as after a power cut: no process, no replica, no memory of a term."""
    world.kill_site_a()
    world.appliance.kill()
    lab.end_descendants_of(world.appliance.log)
    world.daemons.clear()
    shutil.rmtree(world.path('state-b'), ignore_errors=True)
    shutil.rmtree(os.path.join('/dev/shm', os.path.basename(world.dir)), ignore_errors=True)
    for name in ('net0.qemu', 'net0.agent', 'vm.qmp', 'vm.qmp.lab'):
        if os.path.exists(world.path(name)):
            os.unlink(world.path(name))


def one_kill(world, chance):
    """(ms from the kill to the answer that ends the silence, the standby's words about it)."""
    world.protect()
    client = ledger.Ledger(world, chance.randrange(1 << 30), window=4)
    client.start()
    client.wait_for(20)
    time.sleep(chance.uniform(0.2, 0.8))
    killed = world.kill_site_a()
    standby = world.wait_state('standby', 'serving')
    client.wait_for(20)
    client.finish()
    times = [t for t, _ in client.acked]
    _, ended = max((b - a, b) for a, b in zip(times, times[1:]) if b > killed)
    return (ended - killed) * 1e3, standby


def kills(detection):
    heartbeat_ms, detect_ms = detection
    link = {'link': {'heartbeat_ms': heartbeat_ms, 'detect_ms': detect_ms}}
    seed = int(os.environ.get('UNDERSTUDY_SEED', '0')) or random.randrange(1 << 30)
    chance, outages, detected, activated = random.Random(seed), [], [], []
    with lab.Lab(gateway=True, memory_mib=128, working_set_mib=16, dirty=DIRTY_PER_S, primary=link, standby=link) as world:
        for kill in range(KILLS):
            if kill > 0:
                start_anew(world)
            try:
                outage, standby = one_kill(world, chance)
            except (OSError, AssertionError) as e:
                raise Unmeasured(f'kill {kill + 1}, seed {seed}: {e}\n{world.logs()}') from None
            outages.append(outage)
            detected.append(standby['detect_ms'])
            activated.append(standby['activate_ms'])
            if (kill + 1) % 10 == 0:
                say(f'outage {heartbeat_ms}/{detect_ms}: {kill + 1} of {KILLS} kills, median {statistics.median(outages):.0f} ms')
    return {'outage_ms': summary(outages), 'silence_at_decision_ms': summary(detected), 'activation_ms': summary(activated),
            'all_ms': [round(ms) for ms in outages], 'seed': seed, 'heartbeat_ms': heartbeat_ms, 'detect_ms': detect_ms}


def row_of(numbers, what, p50_limit, p99_limit, beside):
    outage = numbers['outage_ms']
    passed = (p50_limit is None or outage['median'] <= p50_limit) and outage['p99'] <= p99_limit
    targets = ([f'p50 <= {p50_limit}'] if p50_limit else []) + [f'p99 <= {p99_limit} ms']
    return {'what': what, 'target': ', '.join(targets), 'ours': f"p50 {outage['median']:.0f}, p99 {outage['p99']:.0f} ms",
            'beside': beside, 'ratio': outage['median'] / numbers['detect_ms'], 'passed': passed,
            'numbers': numbers}


def with_defaults():
    numbers = kills(DEFAULTS)
    return row_of(numbers | {'others': outage_others.measured()}, f'client outage, {KILLS} kills, 50/300 ms detection', 400, 500,
                  outage_others.words())


def with_fast_detection():
    return row_of(kills(FAST), f'client outage, {KILLS} kills, 10/100 ms detection', None, 200, 'as above')

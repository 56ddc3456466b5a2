#!/usr/bin/env python3
"""The demo: a virtual machine at site A is killed and goes on at site B, and so does a client's TCP connection; told in a screenful with
times, figures in build/demo.json."""
import json
import os
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import lab  # noqa: E402

SECONDS_PROTECTED = 10
MIN_MS = 20             # checkpoint.min_ms
TERMINAL = sys.stdout.isatty() and os.environ.get('TERM', 'dumb') != 'dumb'
BOLD, DIM, GREEN, OFF = ('\033[1m', '\033[2m', '\033[32m', '\033[0m') if TERMINAL and not os.environ.get('NO_COLOR') else ('',) * 4
ERASE = '\033[K' if TERMINAL else ''


class Story:
    """Numbered steps with the time since the start."""

    def __init__(self):
        self.start, self.step = time.monotonic(), 0

    def tell(self, text):
        self.step += 1
        print(f'{DIM}{time.monotonic() - self.start:6.1f} s{OFF}  {BOLD}{self.step}.{OFF} {text}', flush=True)

    def add(self, text):
        print(f'             {text}{ERASE}', flush=True)

    def bar(self, share, text):
        """While something lasts; the next add() takes its place."""
        if TERMINAL:
            filled = int(share * 30)
            print(f'\r             [{"#" * filled}{"." * (30 - filled)}] {text}\033[K', end='\r', flush=True)


class Counter(threading.Thread):
    """A client that counts: each answer it got is a promise of the service."""

    def __init__(self, world):
        super().__init__(daemon=True)
        self.world, self.answers, self.gaps, self.stopping = world, [], [], False
        self.connections = 0

    def run(self):
        while not self.stopping:
            try:
                with self.world.connect(timeout=1) as connection:
                    self.connections += 1
                    while not self.stopping:
                        answer = self.world.ask('inc', 10, connection)
                        if answer is None:
                            break
                        self.answers.append((time.monotonic(), int(answer)))
                        time.sleep(0.005)
            except OSError:
                time.sleep(0.02)

    def last(self):
        return self.answers[-1] if self.answers else (0.0, 0)


def first_copy(world, story):
    while True:
        status = world.status('primary')
        sync = status.get('initial_sync', {})
        total = sync.get('total_bytes', 0)
        if total:
            story.bar(sync['done_bytes'] / total, f"{sync['done_bytes'] / 2**20:.0f} of {total / 2**20:.0f} MiB")
        if status.get('state') == 'protected':
            break
        if not world.agent.running() or status.get('state') == 'refused':
            raise SystemExit(f'demo: the agent says {status}\n{world.logs()}')
        time.sleep(0.05)
    story.add(f"{sync.get('total_bytes', 0) / 2**20:.0f} MiB at {sync.get('mib_s', 0):.0f} MiB/s; the VM kept running.")
    return sync


def main():
    story = Story()
    with lab.Lab(dirty=500, gateway=True, instance={'checkpoint': {'min_ms': MIN_MS}}) as world:
        story.tell('Two sites and a client, each in a network namespace of its own. A VM boots at site A (256 MiB, QEMU/TCG).')
        world.start_guest(wait=False)
        world.wait_until_ready()
        world.start_appliance()
        world.start_agent()
        story.tell('The appliance starts at site B, the agent at site A; the first copy of the memory goes over TLS 1.3.')
        sync = first_copy(world, story)
        counter = Counter(world)
        counter.start()
        lab.wait_for('the first answers', lambda: counter.last()[1] > 10, 60)
        story.tell('A client counts in it over one TCP connection through the gateway at site B: every answer is the next number, '
                   'and leaves when its epoch is committed there.')
        interval = world.status('primary').get('interval_ms', 0)
        story.tell(f'Protected: a checkpoint every {interval:.0f} ms, or as soon as an answer waits for one, at most every {MIN_MS} ms. '
                   f'{SECONDS_PROTECTED} s of that:')
        for i in range(SECONDS_PROTECTED * 10):
            time.sleep(0.1)
            story.bar((i + 1) / (SECONDS_PROTECTED * 10), f"epoch {world.status('standby').get('epoch', 0):.0f}")
        status = world.status('primary')
        story.add(f"{status['epochs']:.0f} epochs; paused {status['pause_ms']['median']:.1f} ms (median), "
                  f"{status['pause_ms']['p99']:.1f} ms (p99); {status['wire_ratio'] * 100:.1f} % of the dirty bytes travelled.")

        killed = world.kill_site_a()
        last_time, last_number = counter.last()
        story.tell(f'Site A is killed: SIGKILL of QEMU and agent. The last answer was {last_number}.')
        standby = world.wait_state('standby', 'serving')
        story.tell(f"{GREEN}Site B serves{OFF}: silent for {standby['detect_ms']:.0f} ms, then running "
                   f"{standby['activate_ms']:.1f} ms after the decision, from epoch {standby['resumed_epoch']:.0f}.")

        lab.wait_for('answers from site B', lambda: counter.last()[0] > killed + 0.3, 60)
        answers = [n for t, n in counter.answers if t > killed + 0.2]
        numbers = [n for _, n in counter.answers]
        lost = sum(1 for before, after in zip(numbers, numbers[1:]) if after != before + 1)
        survived = counter.connections == 1
        outage = min(t for t, _ in counter.answers if t > killed + 0.2) - last_time
        story.tell(f'The client counts on: {last_number} before, {answers[0]} after, {outage * 1000:.0f} ms in between '
                   f'({"the same connection" if survived else "reconnected"}; {len(numbers)} answers, {lost} lost or repeated).')
        writes, *verdict = (world.ask('sum') or '?').split()[::2]
        intact = verdict == ['ok']
        story.add(f'The VM did not boot again: it goes on from memory. The checksum that it keeps of 64 MiB written at random ({writes} '
                  f'writes) is {"right" if intact else "WRONG"}.')
        counter.stopping = True
        counter.join()

    result = {
        'initial_sync_mib_s': sync.get('mib_s', 0), 'epochs': int(status['epochs']),
        'pause_ms_median': status['pause_ms']['median'], 'pause_ms_p99': status['pause_ms']['p99'],
        'wire_ratio': status['wire_ratio'], 'detect_ms': standby['detect_ms'], 'activate_ms': standby['activate_ms'],
        'last_committed_epoch': int(status['epoch']), 'resumed_epoch': int(standby['resumed_epoch']),
        'answers_before': last_number, 'first_answer_after': answers[0], 'client_outage_ms': round(outage * 1000, 1),
        'connection_survived': survived, 'acked_lost': lost, 'acked_total': len(numbers),
    }
    if lost or not survived:
        raise SystemExit(f'demo: the client noticed more than a pause: {result}')
    if not intact:
        raise SystemExit('demo: the memory at site B is not what was written')
    if answers[0] < 2 or result['resumed_epoch'] < result['last_committed_epoch']:
        raise SystemExit(f'demo: the replica did not go on from the last committed epoch: {result}')
    path = os.path.join(lab.BUILD, 'demo.json')
    with open(path, 'w') as f:
        json.dump(result, f, indent=2)
        f.write('\n')
    story.add('figures: build/demo.json')


if __name__ == '__main__':
    lab.end_orderly('demo')
    try:
        main()
    except lab.Unusable as e:
        sys.exit(f'demo: {e}')

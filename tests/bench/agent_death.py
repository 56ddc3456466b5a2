"""How long the guest stands when its agent is killed inside a checkpoint: from the SIGKILL to QEMU's RESUME event, by QEMU's clock.

The agent is killed as soon as QEMU says that it has stopped the guest; what counts is a kill after which the guest still stood. (In a few
of them the agent had let go by then.) Then another agent protects the guest, and shows its ordinary pauses before it is killed, too.
"""
import os
import signal
import statistics

import lab
from measure import DIRTY_PER_S, EVERY_100_MS, Unmeasured, say, summary
from strikes import Events, hit_inside

KILLS = int(os.environ.get('UNDERSTUDY_AGENT_KILLS', '30'))
ORDINARY = 3            # checkpoints looked at before each kill
LIMIT_MS = 100


def ordinary_pauses(events):
    events.drain()
    for _ in range(ORDINARY):
        _, stopped = events.next('STOP')
        _, resumed = events.next('RESUME')
        yield resumed - stopped


def measure(world):
    took, pauses, strikes = [], [], []
    world.protect()
    events = Events(world)

    def strike():
        world.agent.signal(signal.SIGKILL)
        strikes.append(len(took))

    def again():
        world.agent.process.wait()
        world.start_agent()
        world.wait_state('primary', 'protected')

    while len(took) < KILLS:
        pauses += ordinary_pauses(events)
        took.append(hit_inside(world, events, strike, again))
        again()
        if len(took) % 10 == 0:
            say(f'agent-death: {len(took)} of {KILLS} kills, median {statistics.median(took):.1f}, worst {max(took):.1f} ms')
    return {'running_again_ms': summary(took), 'ordinary_pause_ms': summary(pauses), 'all_ms': [round(ms, 2) for ms in took],
            'kills_that_missed': len(strikes) - len(took)}


def row():
    with lab.Lab(dirty=DIRTY_PER_S, takeover='manual', instance=EVERY_100_MS) as world:
        try:
            numbers = measure(world)
        except (OSError, AssertionError) as e:
            raise Unmeasured(f'{e}\n{world.logs()}') from None
    again, pause = numbers['running_again_ms'], numbers['ordinary_pause_ms']['median']
    return {'what': f'agent killed inside a checkpoint, {KILLS} times, to running', 'target': f'<= {LIMIT_MS} ms',
            'ours': f"median {again['median']:.1f}, worst {again['max']:.1f} ms", 'beside': f'ordinary pause {pause:.1f} ms',
            'ratio': again['median'] / pause, 'passed': again['max'] <= LIMIT_MS, 'numbers': numbers}

"""A session's frames carry the term in force, whatever came between: the standby refuses those of a former one."""
import os
import signal

import lab
from test_silent_replica import ACTIVATE_S

REFUSED = 'is in force here'
SMALL = {'memory_mib': 128, 'working_set_mib': 16}


def in_term(world, term):
    """Protected, by both sites' word, and nothing was refused on the way."""
    for role in ('primary', 'standby'):
        assert world.wait_state(role, 'protected')['term'] == term
    assert REFUSED not in world.agent.text() + world.appliance.text(), world.logs()


def test_one_that_outlives_a_takeover_that_came_to_nothing_goes_on_in_its_term():
    with lab.Lab(**SMALL, instance={'resync_after_ms': 120000}) as world:
        world.protect()
        os.kill(world.replica(), signal.SIGSTOP)
        world.cut_link()
        world.wait_state('standby', 'taking-over')
        world.wait_state('standby', 'unattended', timeout=ACTIVATE_S + 20)
        world.mend_link()
        in_term(world, 2)
        assert world.agent.text().count('copying:') == 1, 'it went on, and did not begin anew'


def test_an_agent_that_knows_of_no_term_begins_in_the_one_in_force():
    with lab.Lab(takeover='manual', **SMALL) as world:
        world.protect()
        os.kill(world.replica(), signal.SIGSTOP)
        lab.fetch_unix(world.path('standby.http'), '/v1/takeover', '{"instance": "vm1"}')
        world.wait_state('standby', 'taking-over')
        world.wait_state('standby', 'unattended', 'protected', timeout=ACTIVATE_S + 20)
        in_term(world, 2)
        for _ in range(3):
            assert world.agent.stop() == 0
            world.start_agent()
            in_term(world, 2)

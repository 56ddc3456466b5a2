"""How often one site is heard and how soon the other takes that for silence are compared before an instance is protected."""
import lab


def test_a_standby_refuses_a_primary_that_it_would_hear_too_seldom():
    with lab.Lab(takeover='manual', memory_mib=128, working_set_mib=16, primary={'link': {'heartbeat_ms': 500, 'detect_ms': 1500}}) as world:
        world.start_guest()
        world.start_appliance()
        world.start_agent()
        primary = world.wait_state('primary', 'refused')
        for words in ('link.heartbeat_ms of the primary is 500', 'link.detect_ms of the standby 300', 'lower heartbeat_ms at the primary to 100'):
            assert words in primary['reason'], primary

"""With a witness: etcd lets one site go on, however the three of them are cut off from each other, and nobody without it."""
import contextlib
import signal
import time

import pytest

import capture
import etcd
import lab
import ledger
import wan
from test_gateway import seed_of_this_run

pytestmark = [pytest.mark.calm, pytest.mark.skipif(not etcd.PROGRAM, reason='etcd-server is missing')]
# A process that gets no processor for longer than the lease's margin, an eighth of this, looks dead or is late: not what is tried here.
PATIENT = {'link': {'detect_ms': 1000}}
LET_OUT_S = 5           # and this is well below resync_after_ms
WHILE_S = 1.5           # in which nothing may happen: several times what a site takes to decide


@contextlib.contextmanager
def witnessed(members=1, **options):
    """A protected instance with a witness, and a capture of what its clients hear; the lab, the witness, the capture."""
    options = {'primary': PATIENT, 'standby': PATIENT, 'memory_mib': 128, 'working_set_mib': 16, 'append': capture.APPEND} | options
    with lab.Lab(**options) as world:
        witness = etcd.Witness(world, members)
        witness.open()
        try:
            world.protect()
            with capture.Capture(world) as heard:
                yield world, witness, heard
        except BaseException:
            print(world.logs(), witness.logs(), sep='\n')
            raise


@contextlib.contextmanager
def one_connection(world):
    """A ledger client that goes on over its one connection and gets everything that was acknowledged."""
    client = ledger.Ledger(world, seed_of_this_run())
    client.start()
    client.wait_for(50)
    yield client
    client.wait_for(50)
    client.finish()


def cut_link(world):
    world.lose(world.a, world.b)


def nobody_serves(world, heard):
    """Not one frame reaches the client, and the standby does not serve, for a while."""
    since = time.time()
    time.sleep(WHILE_S)
    assert not heard.since(since), f'{heard.since(since)[0]} although nobody may serve'
    assert world.status('standby')['state'] != 'serving'


def primary_serves_alone(world, witness, heard, term):
    world.wait_lease('alone')
    world.wait_state('standby', 'unattended')
    heard.wait_for_beacons()
    assert (witness.value()['server'], witness.value()['term']) == ('primary', term)


def protected_again(world, term):
    """Both sites say so, by the standby's word and with that term."""
    world.wait_lease('leased')
    for role in ('primary', 'standby'):
        assert world.wait_state(role, 'protected')['term'] == term


def standby_serves(world, witness, heard, term):
    assert world.wait_state('standby', 'serving')['term'] == term
    heard.wait_for_beacons()
    assert (witness.value()['server'], witness.value()['term']) == ('standby', term)


def superseded(world, term):
    """The old primary knows that its term is over, and its instance stands still."""
    assert world.wait_state('primary', 'superseded')['term'] == term
    qmp = lab.Qmp(world.path('vm.qmp.lab'))
    with contextlib.closing(qmp):
        lab.wait_for('the old instance is paused', lambda: not qmp('query-status')['running'])


def missed(world):
    """The sites that say that the witness does not answer."""
    return [role for role in ('primary', 'standby')
            if 'no witness' in [problem['state'] for problem in lab.fetch_unix(world.path(f'{role}.http'), '/healthz')['problems']]]


def say_take_over(world):
    return lab.fetch_unix(world.path('standby.http'), '/v1/takeover', '{"instance": "vm1"}')


def test_without_the_witness_nobody_new_serves_and_with_it_the_standby_does():
    with witnessed(gateway=True) as (world, witness, heard):
        with one_connection(world) as client:
            witness.kill()
            lab.wait_for('both sites say so', lambda: missed(world) == ['primary', 'standby'])
            client.wait_for(50)
            assert all(world.status(role)['state'] == 'protected' for role in ('primary', 'standby'))
            witness.start()
            lab.wait_for('both sites are content', lambda: not missed(world))
            # It dies while it is being asked.
            witness.members[0].signal(signal.SIGSTOP)
            world.kill_site_a()
            world.wait_state('standby', 'claiming')
            witness.kill()
            assert 'the witness does not answer' in world.wait_state('standby', 'unattended', timeout=10)['reason']
            time.sleep(0.3)         # what had been committed before
            nobody_serves(world, heard)
            witness.start()
            world.wait_state('standby', 'serving')
        assert witness.value()['server'] == 'standby'


def test_two_etcds_at_one_address_are_told_apart():
    """Each of them would let its site serve when the link fails."""
    with lab.Lab(announce=True, memory_mib=128, working_set_mib=16) as world:
        etcd.Witness(world).open_one_at_each_site()
        world.start_guest(wait=False)
        world.start_appliance()
        world.start_agent()
        lab.wait_for('it is refused', lambda: 'never two servers' in world.status('primary').get('reason', ''), 30)
        status = world.status('primary')
        assert f'https://{etcd.ADDRESS}:{etcd.PORT} is another etcd where the primary is' in status['reason'] and not status['healthy'], status


def test_a_witness_without_space_is_told_before_it_is_needed_and_once():
    with witnessed(gateway=True) as (world, witness, heard):
        witness.kill()
        lab.wait_for('both sites miss it', lambda: missed(world) == ['primary', 'standby'])
        with witness.full():
            witness.start()

        def reasons():
            return [lab.fetch_unix(world.path(f'{role}.http'), '/v1/status')['witness'].get('reason', '') for role in ('primary', 'standby')]
        lab.wait_for('both sites say so', lambda: all('database space exceeded' in reason for reason in reasons()), 20)
        assert missed(world) == ['primary', 'standby']
        world.kill_site_a()
        world.wait_state('standby', 'unattended', timeout=10)
        time.sleep(5)           # and claims once a second
        lines = world.appliance.text().splitlines()
        for part in ('claiming: ', 'unattended: ', 'space exceeded'):
            said = [line for line in lines if part in line]
            assert 1 <= len(said) <= 3, said
        nobody_serves(world, heard)


def test_behind_a_gateway_the_standby_serves_as_soon_as_the_witness_lets_it():
    with witnessed(gateway=True) as (world, witness, heard), one_connection(world):
        witness.lose(world.b)
        cut_link(world)
        world.wait_state('standby', 'unattended', timeout=10)
        nobody_serves(world, heard)
        world.lose()
        for role in ('primary', 'standby'):
            assert world.wait_state(role, 'protected')['term'] == 1
        witness.lose()
        cut_link(world)
        standby_serves(world, witness, heard, 2)
        time.sleep(WHILE_S)
        world.lose()
        superseded(world, 2)


def test_a_primary_that_serves_alone_outlives_the_witness_s_leader_and_only_an_operator_takes_over_from_before():
    with witnessed(members=3, instance={'without_standby': 'hold'}) as (world, witness, heard):
        with one_connection(world) as client:
            witness.lose(world.b)
            cut_link(world)
            primary_serves_alone(world, witness, heard, 2)
            witness.leader().kill()
            since = time.time()
            time.sleep(etcd.TTL_S + 1)
            assert world.status('primary')['lease'] == 'alone', 'it is renewed by the new leader'
            client.wait_for(50)
            assert heard.worst_gap_s(since) < 1, 'nothing was to be noticed of that'
            world.lose()
            witness.lose()
            protected_again(world, 2)
        cut_link(world)
        witness.lose(world.b)
        primary_serves_alone(world, witness, heard, 3)
        witness.lose()
        say_take_over(world)
        lab.wait_for('the operator is refused', lambda: 'the primary serves alone, with term 3' in world.status('standby')['reason'])
        world.kill_site_a()
        time.sleep(etcd.TTL_S + 1)
        nobody_serves(world, heard)
        assert world.status('standby')['state'] == 'unattended'
        say_take_over(world)
        standby_serves(world, witness, heard, 4)
        lab.wait_for('the replica answers', lambda: world.ask('get', 1))


def test_of_two_that_ask_the_witness_one_goes_on_and_one_that_cannot_ask_falls_silent():
    with witnessed(instance={'without_standby': 'continue'}) as (world, witness, heard):
        cut_link(world)
        lab.wait_for('one of them goes on', lambda: world.status('primary').get('lease') == 'alone'
                     or world.status('standby').get('state') == 'serving')
        time.sleep(WHILE_S)
        term = 2
        if world.status('primary').get('lease') == 'alone':         # it asks a moment earlier
            primary_serves_alone(world, witness, heard, term)
            world.lose()
            protected_again(world, term)
            witness.lose(world.a)
            cut_link(world)
            term = 3
        standby_serves(world, witness, heard, term)
        assert world.status('primary')['lease'] in ('lapsed', 'claiming')
        lab.wait_for('its status says why', lambda: 'neither the standby nor the witness answers' in world.status('primary')['reason'])
        time.sleep(WHILE_S)
        witness.lose()
        world.lose()
        superseded(world, term)


def test_the_older_instance_is_brought_back_by_hand_when_the_site_that_took_over_is_gone_for_good():
    with lab.Lab(primary=PATIENT, standby=PATIENT, instance={'without_standby': 'continue'}) as world:
        witness = etcd.Witness(world)
        witness.open()
        world.protect()
        witness.lose(world.a)
        cut_link(world)
        world.wait_state('standby', 'serving')
        witness.lose()
        world.wait_lease('superseded')
        says = 'the witness says that another site serves vm1, with term 2'
        lab.wait_for('the status says so', lambda: world.status('primary')['reason'].startswith(says))
        assert not world.status('primary')['healthy'] and world.agent.text().count(says) == 1
        world.appliance.kill()
        lab.end_descendants_of(world.appliance.log)
        refused = lab.fetch_unix(world.path('primary.http'), '/v1/release', '{"instance": "vm1"}')
        assert f'delete the key /understudy/{world.name} from etcd' in refused['error'], refused
        witness.forget()
        assert world.agent.stop() == 0
        world.start_agent()
        world.wait_lease('alone')
        with contextlib.closing(lab.Qmp(world.path('vm.qmp.lab'))) as qmp:
            qmp('cont')
        lab.wait_for('the instance answers', lambda: world.ask('get', 1))
        assert witness.value()['server'] == 'primary'


def test_an_etcd_that_has_lost_its_data_gives_no_right_to_who_had_one_from_it():
    with witnessed(instance={'without_standby': 'continue'}) as (world, witness, heard):
        witness.lose(world.b)
        cut_link(world)
        primary_serves_alone(world, witness, heard, 2)
        witness.kill()
        witness.lose_data()
        witness.lose()
        witness.start()
        standby_serves(world, witness, heard, 2)
        lab.wait_for('the primary says so', lambda: missed(world) == ['primary'])
        said = lab.fetch_unix(world.path('primary.http'), '/v1/status')['witness']['reason']
        assert 'etcd does not know what it knew' in said
        assert world.status('primary')['lease'] in ('lapsed', 'claiming')
        time.sleep(WHILE_S)
        assert (witness.value()['server'], witness.value()['term']) == ('standby', 2)
        world.lose()
        superseded(world, 2)


def test_an_announced_instance_keeps_its_connection_whoever_the_witness_lets_go_on():
    with witnessed(announce=True, instance={'without_standby': 'continue'}) as (world, witness, heard), one_connection(world) as client:
        witness.lose(world.b)
        cut = time.monotonic()
        cut_link(world)
        primary_serves_alone(world, witness, heard, 2)
        client.wait_for(50)
        assert client.outage_s(cut) < LET_OUT_S
        world.lose()
        protected_again(world, 2)
        witness.lose(world.a)
        cut_link(world)
        standby_serves(world, witness, heard, 3)
        client.wait_for(50)
        witness.lose()
        world.lose()
        superseded(world, 3)


def test_a_standby_that_did_not_hear_that_it_won_hears_of_its_term_and_the_instance_goes_on():
    """It won a claim in its last moment: etcd says that it serves, in a term that neither site knows."""
    with lab.Lab(primary=PATIENT, standby=PATIENT, memory_mib=128, working_set_mib=16) as world:
        witness = etcd.Witness(world)
        witness.open()
        world.protect()
        assert world.agent.stop() == 0
        world.appliance.kill()
        witness.store({'term': 5, 'server': 'standby', 'site': 'b'})
        world.start_appliance()
        world.start_agent()
        lab.wait_for('both know the term', lambda: [world.status(role).get('term') for role in ('primary', 'standby')] == [5, 5])
        protected_again(world, 5)
        assert world.ask('inc') is not None


def test_an_instance_that_serves_alone_beside_a_standby_whose_leases_come_too_late_is_heard():
    quick = {'heartbeat_ms': 10, 'detect_ms': 100}
    link = quick | {'connect': '{}:{}'.format(*wan.Delay.LISTEN)}
    with lab.Lab(announce=True, memory_mib=128, working_set_mib=16, instance={'without_standby': 'continue'}, primary={'link': link},
                 standby={'link': quick}) as world:
        witness = etcd.Witness(world)
        witness.open()
        world.start_guest(wait=False)
        world.start_appliance()
        with contextlib.closing(wan.Delay(world, (lab.LINK_B, lab.LINK_PORT), 0.05)):
            world.start_agent()
            world.wait_lease('alone')
            world.wait_state('primary', 'waiting')
            for _ in range(5):
                lab.wait_for('the instance answers', lambda: world.ask('get', 1))
                time.sleep(0.5)
            assert world.status('primary')['lease'] == 'alone'

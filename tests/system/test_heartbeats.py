"""Heartbeats are there when the network is: short cuts and bulk data are no reason to take over."""
import random
import socket
import threading
import time

import lab
import pytest
import wan

pytestmark = pytest.mark.calm
QUICK = {'link': {'heartbeat_ms': 10, 'detect_ms': 100}}


class Counter(threading.Thread):
    """Counts on one connection; every answer has to be the one after the last."""

    def __init__(self, world):
        super().__init__(daemon=True)
        self.world, self.connection = world, world.connect(10)
        self.answers, self.wrong, self.stopped = 0, None, False
        self.start()

    def run(self):
        while not self.stopped and self.wrong is None:
            answer = self.world.ask('inc', 10, self.connection)
            if answer is None or int(answer) != self.answers + 1:
                self.wrong = f'{answer} after {self.answers}'
            self.answers += 1
            time.sleep(0.005)

    def stop(self):
        self.stopped = True
        self.join()
        self.connection.close()


def test_ten_cuts_of_100_to_250_ms_are_no_reason_to_take_over():
    chance = random.Random(3)
    with lab.Lab(gateway=True) as world:
        world.protect()
        network, watch, counter = wan.Wan(world), wan.Watch(world), Counter(world)
        heard, tries = [], 0
        while len(heard) < 10 and tries < 25:
            tries += 1
            time.sleep(0.7 + chance.random())
            began = wan.now()
            network.cut()
            time.sleep(chance.uniform(0.1, 0.25) - 0.001)
            mended = wan.now()
            network.mend()
            time.sleep(0.5)
            state = world.status('standby').get('state')
            # 250 ms is what is claimed; a machine that was busy elsewhere makes it longer.
            slow = wan.worst_gap_ms(watch.control, began - 0.1, mended + 0.4) > 275
            if not slow:
                heard.append((wan.first_after(watch.beats, mended) - mended) * 1000)
                assert state in ('protected', 'suspect'), f'cut {tries}, {1000 * (mended - began):.0f} ms\n{world.logs()}'
            elif state not in ('protected', 'suspect'):
                break
        counter.stop()
        watch.stop()
        network.close()
        assert counter.wrong is None and counter.answers > 0, f'{counter.wrong}\n{world.logs()}'
        if len(heard) < 10:
            pytest.skip(f'this machine is too busy: only {len(heard)} of {tries} cuts were as short as they were meant')
        print(f'from mend to the next heartbeat, ms: {sorted(round(h, 1) for h in heard)}')
        assert world.status('primary')['state'] == 'protected', world.logs()


def test_a_stuck_connection_is_made_anew_as_soon_as_the_network_is_there():
    """A second is long for TCP: it would try again after up to another one. Manual: what is measured is the link."""
    with lab.Lab(gateway=True, takeover='manual', primary={'link': {'detect_ms': 2000}}, standby={'link': {'detect_ms': 2000}}) as world:
        world.protect()
        network = wan.Wan(world)
        network.cut()
        time.sleep(0.95)
        connections = world.status('primary')['link']['connections']
        mended = time.monotonic()
        network.mend()
        lab.wait_for('another connection', lambda: world.status('primary')['link']['connections'] > connections, 10, 0.01)
        took = time.monotonic() - mended
        epoch = world.status('standby')['epoch']
        lab.wait_for('epochs go on', lambda: world.status('standby')['epoch'] > epoch + 3, 10)
        network.close()
        assert 'TCP is stuck' in world.agent.text() and 'given this connection up' in world.appliance.text(), world.logs()
        assert world.agent.text().count('as epoch') == 1, f'no second copy\n{world.logs()}'
        print(f'connected again {1000 * took:.0f} ms after the mend')


def test_detection_in_100_ms_stands_20_seconds_of_bulk():
    judged = None
    for _ in range(3):
        with lab.Lab(gateway=True, dirty=20000, working_set_mib=128, primary=QUICK, standby=QUICK) as world:
            world.protect()
            watch = wan.Watch(world)
            sent, began = world.status('primary')['link']['bytes_sent'], time.monotonic()
            while time.monotonic() - began < 20 and world.status('standby').get('state') in ('protected', 'suspect'):
                time.sleep(0.2)
            watch.stop()
            state = world.status('standby').get('state')
            rate = (world.status('primary')['link']['bytes_sent'] - sent) / (time.monotonic() - began) / 1e6
            control, beats = wan.worst_gap_ms(watch.control), wan.worst_gap_ms(watch.beats)
            print(f'{rate:.0f} MB/s; worst gap between heartbeats {beats:.0f} ms, of a process that only sends {control:.0f} ms: {state}')
            if state in ('protected', 'suspect'):
                return
            judged = world.logs() if control < 50 else judged
    if judged is None:
        pytest.skip('this machine is too busy: a process that only sends had gaps of more than half the limit')
    raise AssertionError(judged)


def test_where_udp_is_not_let_through_the_connection_is_enough_and_the_status_says_so():
    with lab.Lab(gateway=True) as world:
        with world.b.inside():
            taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        taken.bind((lab.LINK_B, lab.LINK_PORT))
        world.protect()
        assert world.status('primary')['link']['udp'] is False and world.status('standby')['link']['udp'] is False
        assert 'no heartbeats by datagram' in world.appliance.text()
        world.ask('inc')
        world.kill_site_a()
        world.wait_state('standby', 'serving')
        assert world.ask('get') == '1'
        taken.close()


def test_where_udp_is_let_through_the_status_says_so():
    with lab.Lab(gateway=True) as world:
        world.protect()
        for role in ('primary', 'standby'):
            lab.wait_for('heartbeats by UDP', lambda role=role: world.status(role)['link']['udp'] is True, 5)
            assert world.status(role)['link']['udp_refused'] == 0

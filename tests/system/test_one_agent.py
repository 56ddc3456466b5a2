"""One agent per QEMU: a second one, on the same QMP socket or another, says why it waits, disturbs nothing, and takes over when the first is gone."""
import json
import os
import time

import capture
import lab


def start_second(world, **instances):
    """An agent at site A, with its instances (name, QMP socket)."""
    with open(world.write_config('primary'), encoding='ascii') as f:
        config = json.load(f)
    config['http'] = {'listen': f"unix:{world.path('second.http')}"}
    config['instances'] = [dict(config['instances'][0], name=name, qmp=qmp) for name, qmp in instances.items()]
    with open(world.path('second.json'), 'w', encoding='ascii') as f:
        json.dump(config, f)
    return world.daemon(world.a, [lab.UNDERSTUDY, 'primary', '--config', world.path('second.json')], 'second.log')


def wait_reason(world, role, index, *words):
    """The instance's status, once its reason has all the words."""
    def reason():
        try:
            status = lab.fetch_unix(world.path(f'{role}.http'), '/v1/status')['instances'][index]
        except (OSError, ValueError, KeyError, IndexError):
            return None
        return status if all(word in status.get('reason', '') for word in words) else None
    return lab.wait_for(f'{role} says {words}', reason, 20)


def stop(monitor):
    """QEMU takes a `stop` that falls into a checkpoint, and runs on."""
    lab.wait_for('it is paused', lambda: monitor('stop') is not None and monitor('query-status')['status'] == 'paused')


def test_a_second_agent_on_another_qmp_socket_waits_for_the_end_of_the_first():
    with lab.Lab(takeover='manual') as world:
        world.protect()
        second = start_second(world, vm1=world.path('vm.qmp.lab'))
        status = wait_reason(world, 'second', 0, f'another understudy agent (pid {world.agent.pid})')
        assert status['state'] == 'refused' and not status['healthy']
        epoch = world.status('primary')['epoch']
        for _ in range(15):
            assert world.ask('inc', 2) is not None, f'the instance stands\n{world.logs()}'
            assert world.status('primary')['state'] == 'protected'
            time.sleep(0.2)
        assert world.status('primary')['epoch'] > epoch + 5
        assert 'unprotected' not in world.agent.text()

        world.agent.kill()
        world.wait_state('second', 'protected')
        assert world.ask('inc') is not None
        world.start_agent()
        wait_reason(world, 'primary', 0, f'another understudy agent (pid {second.pid})')
        assert second.stop() == 0
        world.wait_state('primary', 'protected')
        assert world.ask('inc') is not None


def test_a_second_agent_on_the_same_qmp_socket_names_the_first_and_is_next_in_line():
    with lab.Lab(takeover='manual') as world:
        world.protect()
        second = start_second(world, vm1=world.path('vm.qmp'))
        status = wait_reason(world, 'second', 0, f"QMP socket {world.path('vm.qmp')}: QEMU (process {world.qemu.pid}) does not greet",
                             f'process {world.agent.pid} (understudy primary) has it')
        assert status['state'] == 'refused' and not status['healthy']
        assert 'one agent per instance' in second.text()
        assert world.status('primary')['state'] == 'protected'

        world.agent.kill()
        world.wait_state('second', 'protected')
        world.start_agent()
        wait_reason(world, 'primary', 0, f'process {second.pid} (understudy primary) has it')
        assert second.stop() == 0
        world.wait_state('primary', 'protected')
        assert world.ask('inc') is not None


def test_a_qmp_socket_that_somebody_else_has_is_waited_for_and_said_to_be():
    with lab.Lab(takeover='manual') as world:
        world.start_guest()
        world.start_appliance()
        other = lab.Qmp(world.path('vm.qmp'))
        world.start_agent()
        status = wait_reason(world, 'primary', 0, f'QEMU (process {world.qemu.pid}) does not greet', 'another QMP client has it')
        assert status['state'] == 'connecting' and not status['healthy']
        other.close()
        world.wait_state('primary', 'protected')


def test_two_instances_of_one_agent_on_one_qmp_socket_are_told_so():
    with lab.Lab(takeover='manual') as world:
        world.start_guest()
        world.start_appliance()
        os.symlink(world.path('vm.qmp'), world.path('alias.qmp'))       # the same name twice is a mistake in the configuration
        agent = start_second(world, vm1=world.path('vm.qmp'), vm2=world.path('alias.qmp'))
        lab.wait_for('one of them says so', lambda: 'another instance of this agent has it' in agent.text(), 20)
        assert agent.stop() == 0


def test_two_instances_of_one_agent_that_lead_to_one_qemu_are_refused_the_same_way():
    with lab.Lab(takeover='manual') as world:
        world.start_guest()
        world.start_appliance()
        agent = start_second(world, vm1=world.path('vm.qmp'), vm2=world.path('vm.qmp.lab'))

        def states():
            try:
                return lab.fetch_unix(world.path('second.http'), '/v1/status')['instances']
            except (OSError, ValueError):
                return []
        refused = lab.wait_for('one is refused', lambda: [s for s in states() if 'another instance of this agent' in s.get('reason', '')])
        assert len(refused) == 1 and refused[0]['state'] == 'refused'
        assert world.ask('inc') is not None
        assert agent.stop() == 0


def test_a_release_by_somebody_else_never_leaves_the_instance_paused():
    with lab.Lab(takeover='manual', dirty=2000) as world:
        world.protect()
        monitor = lab.Qmp(world.path('vm.qmp.lab'))
        for i in range(8):
            time.sleep(0.03 + 0.017 * i)
            monitor('x-colo-lost-heartbeat')
            lab.wait_for('the end of this capture', lambda: world.status('primary').get('state') != 'protected', 10)
            lab.wait_for('it runs', lambda: monitor('query-status')['running'], 2)
            world.wait_state('primary', 'protected')
            assert monitor('query-status')['running'], f'release {i}\n{world.logs()}'
        assert 'by hand' not in world.agent.text()
        assert world.ask('inc') is not None


def test_an_operators_stop_is_told_and_survives_the_end_of_the_agent():
    with lab.Lab(takeover='manual', append=capture.APPEND) as world, capture.Capture(world) as heard:
        world.protect()
        monitor = lab.Qmp(world.path('vm.qmp.lab'))
        stop(monitor)
        status = wait_reason(world, 'primary', 0, 'stopped by hand')
        assert status['state'] == 'protected' and status['protected'] and not status['healthy']
        assert 'by hand' in lab.fetch_unix(world.path('primary.http'), '/healthz')['problems'][0]['reason']
        monitor('cont')
        lab.wait_for('healthy again', lambda: world.status('primary').get('healthy'))
        epoch = world.status('primary')['epoch']
        lab.wait_for('checkpoints again', lambda: world.status('primary')['epoch'] > epoch)

        stop(monitor)
        wait_reason(world, 'primary', 0, 'stopped by hand')
        stopped = time.time()
        assert world.agent.stop() == 0
        assert monitor('query-status')['status'] == 'paused'
        assert not heard.since(stopped), 'it was heard while QEMU let it go'
        assert 'let go: the instance is "paused"' in world.agent.text()
        world.start_agent()
        wait_reason(world, 'primary', 0, 'paused')
        monitor('cont')
        heard.wait_for_beacons()        # its network is back
        world.wait_state('primary', 'protected')
        assert world.ask('inc') is not None

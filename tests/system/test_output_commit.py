"""Output commit is each card's own choice: with it an answer waits for its epoch, without it for nothing, and what that may cost is told."""
import subprocess

import pytest

import lab
from test_gateway import gateway

ANSWERS = 10
SLOW = {'target_ms': 200, 'min_ms': 200, 'max_ms': 200}     # epochs last for several times what an answer takes


def epoch(world):
    return world.status('standby')['epoch']


def commits_while_asking(world):
    """How many epochs were committed during questions one after the other, over one connection."""
    with world.connect() as connection:
        assert world.ask('inc', connection=connection)
        before = epoch(world)
        for _ in range(ANSWERS):
            assert world.ask('inc', connection=connection), world.logs()
        return epoch(world) - before


def cards(world, role):
    return {card['name']: card['output_commit'] for card in world.status(role)['nics']}


def table(world, role):
    return subprocess.run([lab.UNDERSTUDY, 'status', '--http', f'unix:{world.path(role)}.http'], stdout=subprocess.PIPE, text=True,
                          check=True).stdout


@pytest.mark.parametrize('output_commit', (True, False))
def test_an_answer_waits_for_its_epoch_or_not_as_the_card_says(output_commit):
    with gateway() as world:
        card = {'name': 'net0', 'socket': world.path('net0.agent'), 'qemu_socket': world.path('net0.qemu'),
                'output_commit': output_commit}
        world.extra_of_instance['primary'] = {'nics': [card], 'checkpoint': SLOW}
        world.protect()
        commits = commits_while_asking(world)
        assert commits >= ANSWERS - 1 if output_commit else commits < ANSWERS / 2, f'{commits} epochs for {ANSWERS} answers'
        told = 'net0 without output commit: a takeover may lose answers'
        for role in ('primary', 'standby'):
            assert cards(world, role) == {'net0': output_commit}
            assert (told in table(world, role)) != output_commit
        assert ('output_commit: false: what this card sends leaves before' in world.logs()) != output_commit
        # What was told and not committed may be lost, as it says; that the replica answers is not.
        world.kill_site_a()
        world.wait_state('standby', 'serving')
        assert cards(world, 'standby') == {'net0': output_commit}
        assert world.ask('get'), world.logs()

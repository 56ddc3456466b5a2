"""Going live from an epoch of the past: memory, devices and disk are of that moment, and everything after it is gone, by the operator's order alone."""
import os
import signal

import lab
import ledger
from test_rewind import entries, historic, history, mark, rewind, told, understudy, wait_until_durable


def serve(world, when, *words):
    return understudy(world, 'rewind', '--to', when, '--serve', '--yes', *words)


def is_what_it_was(world, client, least, most):
    """What clients find has what was acknowledged by then, nothing that came later, and its memory is of one moment."""
    lab.wait_for('the replica answers', lambda: world.ask('get', 1), 30, 0.1)
    count = entries(world)
    assert least <= count <= most, f'{count} entries, not {least} to {most}'
    for number in sorted({1, count // 2, count} - {0}):
        assert world.ask(f'entry {number}') == client.acked[number - 1][1]
    assert world.ask('sum', 30).split()[2] == 'ok'
    return count


def upgraded(world):
    """A client that has gone on for a while since the mark "before upgrade"; the mark's epoch, and what the client had by then."""
    wait_until_durable(world)
    client = ledger.Ledger(world, 3, window=8)
    client.start()
    client.wait_for(50)
    epoch, least, most = mark(world, client, 'before upgrade')
    client.wait_for(100)
    return client, epoch, least, most


def test_a_bad_upgrade_is_undone_while_the_primary_lives():
    with historic(disk_mib=64, disk_rate=100) as world:
        world.protect()
        client, epoch, least, most = upgraded(world)
        result = serve(world, 'before upgrade')
        assert result.returncode == 0 and f'from epoch {epoch}' in result.stdout, f'{result}\n{world.logs()}'
        status = world.wait_state('standby', 'serving')
        assert status['epoch'] == status['resumed_epoch'] == epoch and 'rewound' not in status, status
        count = is_what_it_was(world, client, least, most)
        assert world.ask('disk', 30).startswith('ok')
        assert world.ask('append only here') == str(count + 1)
        world.wait_state('primary', 'superseded')

"""The rows that C programs measure: bench_delta over a trace that bench_capture records from the guest, and bench_link."""
import os
import tempfile

import lab
from measure import DIRTY_PER_S, INTERVAL_MS, once, program, run_json, say

EPOCHS = 100
JOURNAL_EPOCHS = 500
CACHE_MIB = 64              # what a primary is given by default
LINK_ROUNDS, LINK_SECONDS = 7, 1


@once
def delta():
    """What bench_delta says of each codec, for the checkpoints; and how many pages an epoch of the trace has."""
    with tempfile.TemporaryDirectory(prefix='trace-', dir=os.path.join(lab.BUILD, 'bench')) as place:
        trace = os.path.join(place, 'guest.trace')
        with lab.Lab(dirty=DIRTY_PER_S) as world:
            world.start_guest()
            say(f'delta: recording {EPOCHS} epochs of the guest')
            captured = run_json([program('bench_capture'), world.path('vm.qmp'), f'epochs={EPOCHS}', f'interval={INTERVAL_MS}',
                                 f'trace={trace}'])[-1]
        say(f'delta: {os.path.getsize(trace) / 2**20:.0f} MiB of trace; each codec over it')
        lines = run_json([program('bench_delta'), trace, str(CACHE_MIB)])
    codecs = {line['codec']: line for line in lines if line['part'] == 'checkpoints'}
    return codecs | {'pages_per_epoch': captured['pages_per_epoch'], 'cache_mib': CACHE_MIB}


def delta_speed():
    """Decoding as a standby does it, staging and commit to the image included; LZ4's goes straight to its place."""
    codecs = delta()
    ours, lz4, copy = (codecs[name]['both_mb_s'] / 1000 for name in ('understudy with image', 'lz4', 'memcpy'))
    return {'what': 'encode + decode, per core', 'target': '>= 1 GB/s', 'ours': f'{ours:.2f} GB/s',
            'beside': f'LZ4 {lz4:.2f}, memcpy {copy:.1f} GB/s', 'ratio': ours / lz4, 'passed': ours >= 1, 'numbers': codecs}


def delta_bytes():
    codecs = delta()
    ours, xbzrle, lz4 = (codecs[name]['bytes_out'] / 1e6 for name in ('understudy', 'xbzrle', 'lz4'))
    dirty = codecs['understudy']['bytes_in'] / 1e6
    return {'what': f'bytes on the wire, of {dirty:.0f} MB dirty', 'target': 'below XBZRLE and LZ4', 'ours': f'{ours:.1f} MB',
            'beside': f'XBZRLE {xbzrle:.1f}, LZ4 {lz4:.1f} MB', 'ratio': ours / min(xbzrle, lz4), 'passed': ours < min(xbzrle, lz4),
            'numbers': {name: codecs[name]['bytes_out'] for name in ('understudy', 'xbzrle', 'lz4')}}


def link():
    """Per second of processor time at the side that needs more of it: what the link does when nothing else wants its processors."""
    say(f'link: {LINK_ROUNDS} rounds of {LINK_SECONDS} s')
    lines = {line['what']: line for line in run_json([program('bench_link'), str(LINK_ROUNDS), str(LINK_SECONDS)])}
    measured, gcm = lines['link'], lines['aes-128-gcm']['mb_s']
    ours = min(measured['sender_cpu_mb_s'], measured['receiver_cpu_mb_s'])
    return {'what': 'link with TLS, per core', 'target': '>= 80 % of AES-GCM',
            'ours': f"{ours:.0f} MB/s ({measured['mb_s']:.0f} by the clock)", 'beside': f'AES-128-GCM {gcm:.0f} MB/s',
            'ratio': ours / gcm, 'passed': ours >= 0.8 * gcm, 'numbers': lines}


def journal():
    """The worst of three sizes of an epoch, on the disk of this tree."""
    with tempfile.TemporaryDirectory(prefix='journal-', dir=os.path.join(lab.BUILD, 'bench')) as place:
        say(f'journal: {JOURNAL_EPOCHS} epochs of three sizes')
        lines = run_json([program('bench_journal'), os.path.join(place, 'journal'), str(JOURNAL_EPOCHS)])
        copies = run_json([program('bench_journal'), os.path.join(place, 'copies'), str(JOURNAL_EPOCHS), '3'])
    worst = max(lines, key=lambda line: line['ratio'])
    three = next(line for line in copies if line['bytes'] == worst['bytes'])
    return {'what': f"journal, durable commit of {worst['bytes'] // 1024} KiB", 'target': '<= 1.15 x the bare file',
            'ours': f"{worst['journal_ms']:.2f} ms (3 copies on one disk, 2 of them awaited: {three['ratio']:.1f} x)",
            'beside': f"write + fdatasync {worst['bare_ms']:.2f} ms",
            'ratio': worst['ratio'], 'passed': worst['ratio'] <= 1.15, 'numbers': lines + copies}

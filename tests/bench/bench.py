#!/usr/bin/env python3
"""The measurements that the README quotes, side by side in one run: a table to read, and build/bench.json.

usage: bench.py [--only NAME]...      NAME: one of the rows below; what is left out is not in build/bench.json then, so that goes to
                                      build/bench-only.json

A miss is printed as a miss and is not an error: machines are shared, and times move with them; so all that is compared is
measured in turns, in the same run. The exit status is 1 if a row could not be measured at all. If a program was built anew in
between, the rows are not of one build: that is said under the table and in the file. A further row is a function that
returns a dictionary (`what`, `target`, `ours`, `beside`, `ratio`, `passed`, `numbers`) and a line in ROWS.
"""
import argparse
import json
import os
import sys
import time
import traceback

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]

import activation  # noqa: E402
import agent_death  # noqa: E402
import boot  # noqa: E402
import container_start  # noqa: E402
import disk_bytes  # noqa: E402
import disks  # noqa: E402
import gateway  # noqa: E402
import lab  # noqa: E402
import measure as common  # noqa: E402
import memory  # noqa: E402
import outage  # noqa: E402
import pause  # noqa: E402
import programs  # noqa: E402
import recovery  # noqa: E402
import watching  # noqa: E402

ROWS = {
    'activation': activation.row,
    'agent-death': agent_death.row,
    'pause': pause.against_native,
    'pause-delay': pause.with_delay,
    'delta-speed': programs.delta_speed,
    'delta-bytes': programs.delta_bytes,
    'link': programs.link,
    'journal': programs.journal,
    'recovery': recovery.recovery,
    'disk': disks.from_memory,
    'disk-journal': disks.with_journal,
    'disk-bytes': disk_bytes.row,
    'memory': memory.row,
    'outage': outage.with_defaults,
    'outage-fast': outage.with_fast_detection,
    'commit-latency': gateway.added_latency,
    'gateway-throughput': gateway.throughput,
    'container-start': container_start.row,
    'image-size': boot.size,
    'image-boot': boot.boot,
    'image-memory': boot.memory,
    'watch-delay': watching.delay,
    'watch-missed': watching.missed,
    'watch-cpu': watching.processor,
    'watch-setup': watching.setup,
}
COLUMNS = ('what', 'target', 'ours', 'beside', 'ratio', '')


def measure(name):
    """The row, with an 'error' and nothing else if there is no measuring it."""
    try:
        return ROWS[name]()
    except Exception as e:
        if not isinstance(e, (common.Unmeasured, lab.Unusable, AssertionError)):
            traceback.print_exc()
        return {'what': name, 'error': str(e) or type(e).__name__}


def cells(row):
    if 'error' in row:
        return (row['what'], '', '', '', '', 'not measured')
    return (row['what'], row['target'], row['ours'], row['beside'], f"{row['ratio']:.2f}", 'pass' if row['passed'] else 'MISS')


def print_table(rows):
    lines = [COLUMNS, *map(cells, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    print()
    for number, line in enumerate(lines):
        print('  '.join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
        if number == 0:
            print('  '.join('-' * width for width in widths))


def main():
    parser = argparse.ArgumentParser(description='Measures; see the head of this file.')
    parser.add_argument('--only', action='append', choices=ROWS, metavar='NAME', help=f"one of: {', '.join(ROWS)}; may be given again")
    only = parser.parse_args().only
    names = only or list(ROWS)
    start, results, host, used = time.monotonic(), {}, common.machine(), common.programs()
    for number, name in enumerate(names, 1):
        print(f'[{number}/{len(names)}] {name} ({time.monotonic() - start:.0f} s so far)', flush=True)
        results[name] = measure(name)
        if 'error' in results[name]:
            print(f"  not measured: {results[name]['error']}", flush=True)
    host['load_after'] = round(os.getloadavg()[0], 2)
    changed = [name for name, digest in common.programs().items() if used[name] != digest]
    print_table(results.values())
    if changed:
        print(f"\nNot of one build: {', '.join(changed)} changed during the run.")
    path = os.path.join(lab.BUILD, 'bench-only.json' if only else 'bench.json')
    with open(path, 'w') as f:
        json.dump({'machine': host, 'programs': used, 'changed_during_the_run': changed,
                   'seconds': round(time.monotonic() - start), 'rows': results}, f, indent=2)
        f.write('\n')
    print(f'\n{host["processor"]}, {host["processors"]} processors, QEMU/TCG (KVM is not measured);',
          f'figures: {os.path.relpath(path, lab.TREE)}')
    return 1 if any('error' in row for row in results.values()) else 0


if __name__ == '__main__':
    lab.end_orderly('bench')
    sys.exit(main())

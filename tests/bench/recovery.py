"""A standby that comes back: its journal of a guest that was busy, read into the image, beside `cat` and LZ4 of the same files."""
import os
import shutil
import tempfile
import time

import lab
from measure import DIRTY_PER_S, program, run_json, say

MEMORY_MIB, WORKING_SET_MIB, SECONDS, ROUNDS = 1024, 640, 60, 5


def durable(world):
    journal = world.status('standby').get('journal', {})
    return journal.get('durable') and journal.get('epoch', 0) > 0


def recovery():
    with tempfile.TemporaryDirectory(prefix='journal-', dir=os.path.join(lab.BUILD, 'bench')) as place:
        instance = {'durability': 'journal', 'journal': {'dir': os.path.join(place, 'journal')}}
        with lab.Lab(memory_mib=MEMORY_MIB, working_set_mib=WORKING_SET_MIB, dirty=DIRTY_PER_S, takeover='manual',
                     standby_instance=instance) as world:
            world.protect()
            lab.wait_for('the journal is whole', lambda: durable(world), 120)
            say(f'recovery: {SECONDS} s of epochs of a {MEMORY_MIB} MiB guest')
            time.sleep(SECONDS)
            world.appliance.stop()
        memory = tempfile.mkdtemp(prefix='recovery-', dir='/dev/shm')
        try:
            measured = run_json([program('bench_recovery'), os.path.join(place, 'journal'), memory, str(ROUNDS)])[0]
        finally:
            shutil.rmtree(memory, ignore_errors=True)
    content = measured['content_bytes'] / 2**20
    return {'what': f'recovery of {MEMORY_MIB} MiB with {SECONDS} s of journal', 'target': '>= 60 % of cat + LZ4',
            'ours': f"{measured['ours_ms'] / 1000:.2f} s", 'beside': f"cat + LZ4 {measured['bare_ms'] / 1000:.2f} s, {content:.0f} MiB of pages",
            'ratio': measured['ratio'], 'passed': measured['ratio'] >= 0.6, 'numbers': measured}

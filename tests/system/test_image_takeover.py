"""A guest is replicated into the appliance's image, and runs on inside it when its own site dies."""
import os
import re

import pytest

import appliance
import ledger
import site_b


@pytest.mark.skipif(not os.path.exists(appliance.IMAGE), reason='build/image/understudy.raw is missing: make image')
def test_a_guest_goes_on_inside_of_the_image_over_the_same_connection():
    with site_b.SiteB() as world:
        world.protect(timeout=300)
        client = ledger.Ledger(world, 1, window=4, timeout=120)
        client.start()
        told = world.fetch('/healthz')['problems'][0]       # for it has no data disk, and nothing says that this is meant
        assert told['state'] == 'machine' and re.match('/data is in memory, and a restart forgets who serves.*there is no data disk', told['reason']), told
        client.wait_for(50, timeout=120)
        world.kill_site_a()
        world.wait_state('standby', 'serving', timeout=120)
        client.wait_for(50, timeout=300)
        assert world.replica(world.dir) is None     # no hypervisor of this machine has it
        assert client.finish() >= 100       # each of them, in order, and over its one connection
        world.press_power()
        assert re.search(r'what runs in it: understudy \(1\), understudy \(\d+\), qemu-system-x86 \(\d+, user 64000\)$', world.machine.console(), re.M), world.logs()

/* What a rewound copy is made of: arguments that reach nobody, and memory that nobody else wants for. */
#include "replica/cmdline_isolate.h"
#include "replica/rewound_room.h"
#include "tests/unit/cmdline_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct cmdline_spec isolated;

static int isolate(const char *text, struct err *err)
{
	struct cmdline_spec spec = { .nbackends = 1,
				     .backends = { { .name = "pc.ram", .bytes = MIB } },
				     .ndisks = 1,
				     .disks = { { .name = "d", .file = "d.disk", .bytes = MIB } } };
	int rc;

	cmdline_spec_free(&isolated);
	arguments_lines(&spec.args, text);
	rc = cmdline_isolate(&isolated, &spec, err);
	cmdline_spec_free(&spec);
	return rc;
}

static int teardown(void **state)
{
	cmdline_spec_free(&isolated);
	return arguments_teardown(state);
}

static void becomes(const char *from, const char *to)
{
	struct err err;

	if (isolate(from, &err) != RC_OK)
		fail_msg("%s: %s", from, err.text);
	assert_string_equal(arguments_joined(&isolated.args), to);
}

static void refuses(const char *from, const char *word)
{
	struct err err;

	assert_int_equal(isolate(from, &err), RC_UNSUPPORTED);
	if (strstr(err.text, word) == NULL)
		fail_msg("%s: %s", from, err.text);
}

static void what_reaches_nobody_stays(void **state)
{
	static const char all[] =
		"-machine\npc-i440fx-10.0,memory-backend=pc.ram\n-nodefaults\n-smp\n2\n"
		"-netdev\ndgram,id=n0,local.type=unix,local.path=net0.qemu,remote.type=unix,remote.path=net0.agent\n"
		"-device\nvirtio-net-pci,netdev=n0\n-serial\nfile:console-0.log\n"
		"-chardev\nsocket,id=c,path=agent.sock,server=on,wait=off\n-kernel\n/boot/vmlinuz\n-drive\nfile=/x.iso,media=cdrom\n"
		"-drive\nfile=/fw,if=pflash,readonly=on\n-cdrom\n/x.iso\n-display\nnone";

	(void)state;
	becomes(all, all);
	assert_int_equal(isolated.nbackends, 1);
	assert_string_equal(isolated.backends[0].name, "pc.ram");
}

static void a_network_leads_nowhere(void **state)
{
	(void)state;
	becomes("-netdev\ntap,id=n,ifname=vm1-net0,script=no,downscript=no,vhost=on",
		"-netdev\ntap,id=n,script=no,downscript=no,vhost=on");
	becomes("-netdev\nuser,id=n,hostfwd=tcp::2222-:22,hostfwd=tcp::80-:80",
		"-netdev\nuser,id=n,restrict=on");
	becomes("-nic\ntap,model=e1000,ifname=t,script=no,downscript=no",
		"-nic\ntap,model=e1000,script=no,downscript=no");
	becomes("-nic\nnone", "-nic\nnone");
	refuses("-netdev\nsocket,id=n,connect=10.0.0.1:9", "network");
	refuses("-netdev\nl2tpv3,id=n,src=10.0.0.1", "network");
	refuses("-netdev\nvhost-user,id=n,chardev=c", "network");
	refuses("-netdev\ndgram,id=n,remote.type=inet,remote.host=10.0.0.1,remote.port=9",
		"network");
	refuses("-netdev\n{\"type\":\"stream\",\"id\":\"n\",\"addr\":{\"type\":\"inet\",\"host\":\"h\",\"port\":\"9\"}}",
		"network");
	refuses("-smp\n2", "default"); /* QEMU would add a card of its own */
}

static void what_the_instance_writes_to_is_not_opened(void **state)
{
	(void)state;
	refuses("-nodefaults\n-drive\nfile=/srv/vm1.qcow2,if=virtio", "disk");
	refuses("-nodefaults\n-blockdev\n{\"driver\":\"qcow2\",\"node-name\":\"d\",\"file\":{\"driver\":\"file\",\"filename\":\"/d\"}}",
		"disk");
	refuses("-nodefaults\n-hda\n/srv/vm1.img", "disk");
	refuses("-nodefaults\n/srv/vm1.img", "disk");
	refuses("-nodefaults\n-drive\nfile=other.disk,if=virtio", "disk");
	/* But what it has an image of its own of. */
	becomes("-nodefaults\n-drive\nfile=d.disk,if=virtio",
		"-nodefaults\n-drive\nfile=d.disk,if=virtio");
	becomes("-nodefaults\n-blockdev\ndriver=raw,node-name=d,file.driver=file,file.filename=d.disk",
		"-nodefaults\n-blockdev\ndriver=raw,node-name=d,file.driver=file,file.filename=d.disk");
	assert_int_equal(isolated.ndisks, 1);
	becomes("-nodefaults\n-blockdev\nfile,filename=/d,node-name=d,read-only=on",
		"-nodefaults\n-blockdev\nfile,filename=/d,node-name=d,read-only=on");
}

static void a_port_does_not_lead_to_the_network(void **state)
{
	(void)state;
	refuses("-nodefaults\n-serial\ntcp:10.0.0.1:7,server=off", "port");
	refuses("-nodefaults\n-chardev\nsocket,id=c,host=10.0.0.1,port=7", "port");
	refuses("-nodefaults\n-chardev\nudp,id=c,host=10.0.0.1,port=7", "port");
}

#define FREE(size) (&(struct image_room){ .bytes = (size) })

static void the_replica_comes_first(void **state)
{
	const struct image_room machine = { 120 * MIB, true };
	struct err err;

	(void)state;
	assert_int_equal(rewound_room_judge("/m", 100 * MIB, 50 * MIB, FREE(150 * MIB), &err),
			 RC_OK);
	assert_int_equal(rewound_room_judge("/m", 100 * MIB, 50 * MIB, FREE(150 * MIB - 1), &err),
			 RC_LIMIT);
	assert_non_null(strstr(err.text, "100 MiB needed"));
	assert_non_null(strstr(err.text, "50 MiB which the replica"));
	assert_non_null(strstr(err.text, "149 MiB free"));
	assert_int_equal(rewound_room_judge("/m", 100 * MIB, 50 * MIB, &machine, &err), RC_LIMIT);
	assert_non_null(strstr(err.text, "of this machine's memory"));
	assert_int_equal(rewound_room_judge("/m", 0, 51, FREE(50), &err), RC_LIMIT);
	assert_int_equal(rewound_room_judge_disk("/d.raw", 400 * MIB, 628 * MIB, &err), RC_OK);
	assert_int_equal(rewound_room_judge_disk("/d.raw", 400 * MIB, 628 * MIB - 1, &err),
			 RC_LIMIT);
	assert_non_null(strstr(err.text, "/d.raw: no room beside it"));
	assert_non_null(strstr(err.text, "628 MiB needed, 627 MiB free"));
	assert_int_equal(rewound_room_check("/dev/shm", 1, &err), RC_OK);
	assert_int_equal(rewound_room_check("/dev/shm", UINT64_MAX / 2, &err), RC_LIMIT);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_reaches_nobody_stays),
		TEST(a_network_leads_nowhere),
		TEST(what_the_instance_writes_to_is_not_opened),
		TEST(a_port_does_not_lead_to_the_network),
		TEST(the_replica_comes_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

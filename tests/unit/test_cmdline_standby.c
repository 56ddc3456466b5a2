/* What the standby makes of an operator's list and of a peer's, and how a process's list is read. */
#include "tests/unit/cmdline_fixture.h"

#include "appliance/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* The operator's own list -------------------------------------------------------------------- */

static int override(const char *text)
{
	struct cmdline args;
	int rc;

	cmdline_spec_free(&arguments_spec);
	arguments_lines(&args, text);
	rc = cmdline_override(&arguments_spec, args.args, "pc-q35-10.0", "pc.ram", 512 * MIB,
			      &arguments_err);
	cmdline_free(&args);
	return rc;
}

static void the_operators_list_is_taken_as_it_is_but_for_machine_and_memory(void **state)
{
	(void)state;
	assert_int_equal(
		override(
			"-machine\nq35,usb=off\n-serial\nfile:vm.log\n-netdev\ntap,id=n,script=no,downscript=no\n-vnc\n:1\n"
			"-tpmdev\nemulator,id=t,chardev=c\n-chardev\nsocket,id=c,path=/run/swtpm\n-nodefaults"),
		RC_OK);
	assert_string_equal(
		arguments_joined(&arguments_spec.args),
		"-machine\npc-q35-10.0,usb=off,memory-backend=pc.ram\n-serial\nfile:vm.log\n"
		"-netdev\ntap,id=n,script=no,downscript=no\n-vnc\n:1\n-tpmdev\nemulator,id=t,chardev=c\n"
		"-chardev\nsocket,id=c,path=/run/swtpm\n-nodefaults");
	assert_int_equal(arguments_spec.nbackends, 1);
	assert_int_equal(arguments_spec.backends[0].bytes, 512 * MIB);
}

static void without_a_display_of_the_operators_there_is_none(void **state)
{
	(void)state;
	assert_int_equal(override("-nodefaults"), RC_OK);
	assert_string_equal(arguments_joined(&arguments_spec.args),
			    "-machine\npc-q35-10.0,memory-backend=pc.ram\n-nodefaults\n" NONE);
	assert_int_equal(override("-nographic"), RC_OK);
	assert_string_equal(arguments_joined(&arguments_spec.args),
			    "-machine\npc-q35-10.0,memory-backend=pc.ram\n-nographic");
}

static void the_operator_cannot_set_what_is_the_standbys(void **state)
{
	static const char *const cases[] = { "-incoming\ndefer", "-S",
					     "-daemonize",	 "-accel\nkvm",
					     "-enable-kvm",	 "-M\nq35,accel=kvm",
					     "-loadvm\nx",	 "-mem-path\n/x",
					     "-preconfig",	 "-qmp\nunix:/run/q,server=on",
					     "-no-shutdown" };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(override(cases[i]), RC_UNSUPPORTED);
		assert_non_null(strstr(arguments_err.text, "standby_arguments: "));
		assert_non_null(strstr(arguments_err.text, "the standby's own"));
	}
}

/* The standby's side ------------------------------------------------------------------------- */

static void the_standby_adds_its_own_and_escapes_paths(void **state)
{
	struct cmdline out;

	(void)state;
	assert_int_equal(arguments_derive_for("pc-i440fx-3.1",
					      "-nodefaults\n-M\npc,memory-backend=mem\n-object\n"
					      "memory-backend-memfd,id=mem,size=1M"),
			 RC_OK);
	(void)snprintf(arguments_spec.backends[0].path, sizeof(arguments_spec.backends[0].path),
		       "/dev/shm/a,b");
	assert_int_equal(cmdline_standby(&out, &arguments_spec, "/opt/qemu", "tcg", "/opt/fw",
					 "/run/c,d", &arguments_err),
			 RC_OK);
	assert_string_equal(
		arguments_joined(&out),
		"/opt/qemu\n-machine\npc-i440fx-3.1,memory-backend=mem\n-nodefaults\n" NONE "\n"
		"-object\nmemory-backend-file,id=mem,size=1048576,mem-path=/dev/shm/a,,b,share=on,"
		"prealloc=off,x-use-canonical-path-for-ramblock-id=on\n-accel\ntcg\n-L\n/opt/fw\n"
		"-qmp\nunix:/run/c,,d,server=on,wait=off\n-monitor\nnone\n-incoming\ndefer");
	cmdline_free(&out);
}

static void backends_are_found_in_qom_under_either_name(void **state)
{
	struct image_shared plain = { .name = "pc.ram" }, canonical = { .name = "/objects/mem" };
	char *path;

	(void)state;
	path = cmdline_backend_path(&plain);
	assert_string_equal(path, "/objects/pc.ram/pc.ram[0]");
	mem_free(path);
	path = cmdline_backend_path(&canonical);
	assert_string_equal(path, "/objects/mem/\\x2fobjects\\x2fmem[0]");
	mem_free(path);
}

static void refused_from_a_peer(const char *text)
{
	struct cmdline out;

	cmdline_spec_free(&arguments_spec);
	arguments_lines(&arguments_spec.args, text);
	if (cmdline_check(&arguments_spec, &arguments_err) != RC_UNSUPPORTED)
		fail_msg("%s is taken", text);
	assert_int_equal(cmdline_standby(&out, &arguments_spec, "q", "tcg", NULL, "/q",
					 &arguments_err),
			 RC_UNSUPPORTED);
	assert_null(out.args);
}

static void a_peers_arguments_that_are_the_standbys_are_refused(void **state)
{
	static const char *const cases[] = {
		"-incoming\ntcp:0:1",
		"--daemonize",
		"-S",
		"-accel\nkvm",
		"-M\npc,accel=tcg",
		"-object\nmemory-backend-file,id=x,mem-path=/etc/passwd,size=1M",
		"-object\n{\"qom-type\":\"memory-backend-ram\",\"id\":\"x\",\"size\":4096}",
		"-mem-path\n/etc",
		"-L\n/tmp",
		"-sandbox\noff",
		"-runas\nnobody",
		"-run-with\nuser=nobody",
		"-pidfile\nreplica.pid",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		refused_from_a_peer(cases[i]);
}

static void a_peer_gets_no_monitor_and_no_debugger(void **state)
{
	static const char *const cases[] = {
		"-qmp\ntcp:0:4444,server=on,wait=off",
		"-qmp-pretty\nunix:q,server=on",
		"-monitor\ntcp:0:4444",
		"-chardev\nsocket,id=c,host=h,port=1\n-mon\nchardev=c",
		"-serial\nmon:tcp:0:4444,server=on",
		"-serial\nmon:unix:a=b,server=on",
		"-gdb\ntcp::1234",
		"-s",
		"-qtest\nunix:q,server=on",
		"-chardev\nsocket,id=c,host=h,port=1\n-object\nqtest,id=q,chardev=c",
		"-trace\nenable=*,file=t",
		"-curses",
		"-display\ngtk",
		"-display\n{\"type\":\"dbus\"}",
		"-set\nchardev.c.path=/etc/x",
		"-readconfig\nconsole-0.log",
		"-writeconfig\nx",
		"-add-fd\nfd=3,set=1",
		"-netdev\ntap,id=n,fd=3",
		"-netdev\nstream,id=n,addr.type=fd,addr.str=3",
		"-semihosting",
		"-never-heard-of",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		refused_from_a_peer(cases[i]);
}

static void a_peer_runs_no_program(void **state)
{
	static const char *const cases[] = {
		"-plugin\n/tmp/x.so",
		"-netdev\ntap,id=n,script=/tmp/x",
		"-netdev\ntap,id=n,downscript=x",
		"-netdev\n{\"type\":\"tap\",\"id\":\"n\",\"script\":\"/tmp/x\"}",
		"-netdev\ntap,id=n,script=no,script=x",
		"-nic\ntap,script=x",
		"-net\ntap,script=x",
		"-netdev\nbridge,id=n,helper=id",
		/* What QEMU runs unless told otherwise. */
		"-netdev\ntap,id=n,ifname=t",
		"-netdev\ntap,id=n,ifname=t,script=no",
		"-netdev\ntap,id=n,ifname=t,downscript=no",
		"-netdev\ntype=user,id=n,type=tap",
		"-netdev\n{\"type\":\"tap\",\"id\":\"n\",\"script\":\"no\"}",
		"-netdev\n{\"type\":\"tap\",\"id\":\"n\",\"script\":null,\"downscript\":\"no\"}",
		"-nic\ntap",
		"-net\ntap",
		"-netdev\nbridge,id=n,br=br0",
		"-netdev\n{\"type\":\"bridge\",\"id\":\"n\"}",
		"-nic\nbridge",
		"-net\nbridge",
		/* "off" to QEMU, which is a name to it. */
		"-netdev\ntap,id=n,script=no,downscript=no,noscript",
		"-netdev\nuser,id=n,nosmb",
		"-netdev\nuser,id=n,guestfwd=tcp:10.0.2.1:23-cmd:sh",
		"-netdev\n{\"type\":\"user\",\"id\":\"n\",\"guestfwd\":[{\"str\":\"tcp:10.0.2.1:23-cmd:sh\"}]}",
		"-netdev\nuser,id=n,smb=x",
		"-netdev\npasst,id=n,path=sh",
		"-netdev\nvde,id=n,sock=cmd://sh",
		/* QEMU's own reading of what is no JSON to it. */
		"-chardev\n{\"backend\":\"null\",\"id\":\",backend=file,path=/etc/x,id=c,name=\"}",
		/* An option behind what only we take for one with a value. */
		"-k\n-qmp",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		refused_from_a_peer(cases[i]);
}

static void a_peer_writes_no_file_outside_of_the_replicas_directory(void **state)
{
	static const char *const cases[] = {
		"-D\n/etc/x",
		"-serial\nfile:/etc/x",
		"-serial\nfile:/etc/a=b",
		"-serial\npipe:/etc/x",
		"-serial\n/dev/ttyS0",
		"-serial\ntcp:h:1,logfile=/etc/x",
		"-serial\ntcp:h:1,backend=file,path=/etc/x",
		"-parallel\nfile:/etc/x",
		"-debugcon\nfile:/etc/x",
		"-chardev\nfile,id=c,path=/etc/x",
		"-chardev\nfile,id=c,path=../../x",
		"-chardev\npipe,id=c,path=/etc/x",
		"-chardev\nserial,id=c,path=/etc/x",
		"-chardev\nnull,id=c,logfile=/etc/x",
		"-chardev\nsocket,id=c,path=/etc/x,server=on",
		"-chardev\nsocket,id=c,path=/etc/x,server",
		"-netdev\ndgram,id=n,local.type=unix,local.path=/etc/x",
		"-netdev\n{\"type\":\"stream\",\"id\":\"n\",\"server\":true,\"addr\":{\"type\":\"unix\",\"path\":\"\\/etc\\/x\"}}",
		"-vnc\nunix:/etc/x",
		"-spice\nunix=on,addr=/etc/x",
		"-object\nfilter-dump,id=f,netdev=n,file=x",
		"-object\n{\"qom-type\":\"filter-dump\",\"id\":\"f\",\"netdev\":\"n\",\"file\":\"/etc/x\"}",
		"-object\nx-vfio-user-server,id=v,socket.type=unix,socket.path=/etc/x",
		"-object\ninput-linux,id=i,evdev=/dev/input/event0",
		"-device\nusb-tablet,pcap=/etc/x",
		"-device\n{\"driver\":\"usb-tablet\",\"pcap\":\"/etc/x\"}",
		"-device\n{\"driver\":\"usb-tablet\",\"pcap\":\"x\\u0000/x\"}",
		"-global\nusb-tablet.pcap=/etc/x",
		"-global\ndriver=usb-tablet,property=pcap,value=/etc/x",
		"-device\nuefi-vars-x64,jsonfile=/etc/x",
		"-device\nusb-mtp,rootdir=/,readonly=off",
		"-device\nusb-mtp,rootdir=..,readonly=off",
		"-fsdev\nlocal,id=f,path=.,security_model=passthrough",
		"-virtfs\nlocal,path=.,mount_tag=t,security_model=none",
		"-audiodev\nwav,id=a,path=/etc/x",
		"-icount\nshift=1,rr=record,rrfile=/etc/x",
		"-M\npc,dumpdtb=/etc/x",
		"-tpmdev\npassthrough,id=t,path=/etc/x",
		"-tpmdev\npassthrough,id=t,cancel-path=/etc/x",
		/* Files of the standby's in that directory. */
		"-serial\nfile:term",
		"-chardev\nfile,id=c,path=term.tmp",
		"-vnc\nunix:replica.qmp",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		refused_from_a_peer(cases[i]);
}

static void a_peers_guest_talks_to_no_program_of_the_standbys_machine(void **state)
{
	static const char socket[] = "-chardev\nsocket,id=c,path=/run/docker.sock\n";
	static const char *const users[] = {
		"-serial\nchardev:c",
		"-device\nisa-serial,chardev=c",
		"-device\n{\"driver\":\"isa-serial\",\"chardev\":\"\\u0063\"}",
		"-global\nisa-serial.chardev=c",
		"-global\ndriver=isa-serial,property=chardev,value=c",
		"-object\nfilter-redirector,id=f,netdev=n,outdev=c",
		"-tpmdev\nemulator,id=t,chardev=c\n-serial\nchardev:c",
	};
	char text[256];

	(void)state;
	for (size_t i = 0; i < sizeof(users) / sizeof(users[0]); i++) {
		(void)snprintf(text, sizeof(text), "%s%s", socket, users[i]);
		refused_from_a_peer(text);
	}
	refused_from_a_peer("-chardev\nsocket,id=c,id=d,path=/run/x\n-serial\nchardev:c");
	refused_from_a_peer("-serial\nunix:/run/docker.sock");
	refused_from_a_peer("-serial\nunix:replica.qmp");
	refused_from_a_peer("-chardev\nsocket,id=c,path=/var/lib/us/vm1/../vm2/replica.qmp\n"
			    "-tpmdev\nemulator,id=t,chardev=c");
	refused_from_a_peer("-chardev\nsocket,id=c,path=x,abstract=on");
}

static void what_an_instance_needs_is_taken_from_a_peer(void **state)
{
	static const char *const cases[] = {
		"-drive\nfile=/dev/vg/vm1,format=raw,if=none,id=d",
		"-drive\nfile=nbd+unix:///vm1?socket=/run/nbd.sock,format=raw,if=none,id=d",
		"-blockdev\n{\"driver\":\"file\",\"filename\":\"/images/vm1\",\"node-name\":\"n\"}",
		"-object\nsecret,id=s,file=/etc/key",
		"-object\nsecret,id=s,data=a/b+c=,format=base64",
		"-object\n{\"qom-type\":\"rng-random\",\"id\":\"r\",\"filename\":\"/dev/urandom\"}",
		"-object\ntls-creds-x509,id=t,dir=/etc/pki,endpoint=client",
		"-device\nvfio-pci,sysfsdev=/sys/bus/mdev/devices/x",
		"-device\n{\"driver\":\"usb-host\",\"hostdevice\":\"/dev/bus/usb/001/002\"}",
		"-device\nvirtio-net-pci,netdev=n,romfile=/usr/share/rom",
		"-kernel\n/boot/k\n-append\n-x root=/dev/vda\n-bios\n/usr/share/b\n/images/d",
		"-fw_cfg\nname=opt/a,file=/etc/x\n-smbios\ntype=1,serial=a/b",
		"-netdev\ntap,id=n,ifname=t0,script=no,downscript=no",
		"-nic\ntap,script=no,downscript=no",
		"-netdev\nuser,id=n,hostfwd=tcp::22-:22\n-nic\nnone",
		"-netdev\ndgram,id=n,local.type=unix,local.path=l,remote.type=unix,remote.path=r",
		"-serial\nfile:console-0.log\n-serial\nunix:con.sock,server,wait=off\n-parallel\nnone",
		"-chardev\nsocket,id=g,path=qga.sock,server=on,wait=off\n-device\nvirtserialport,chardev=g",
		"-vnc\n:1\n-display\nnone\n-nographic",
		"-m\nsize=1G,slots=2,maxmem=4G\n-smp\n2\n-cpu\nqemu64,+ssse3\n-boot\nmenu=on,splash=/x",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cmdline_spec_free(&arguments_spec);
		arguments_lines(&arguments_spec.args, cases[i]);
		if (cmdline_check(&arguments_spec, &arguments_err) != RC_OK)
			fail_msg("%s: %s", cases[i], arguments_err.text);
	}
}

/* Reading a process's ------------------------------------------------------------------------ */

static void a_vector_is_read_with_its_empty_arguments(void **state)
{
	static const uint8_t bytes[] = "qemu\0\0-S";
	struct cmdline cmdline;

	(void)state;
	assert_int_equal(cmdline_parse(&cmdline, bytes, sizeof(bytes), &arguments_err), RC_OK);
	assert_int_equal(cmdline.count, 3);
	assert_string_equal(cmdline.args[0], "qemu");
	assert_string_equal(cmdline.args[1], "");
	assert_string_equal(cmdline.args[2], "-S");
	assert_null(cmdline.args[3]);
	cmdline_free(&cmdline);
	assert_int_equal(cmdline_parse(&cmdline, bytes, 4, &arguments_err),
			 RC_OK); /* its NUL was lost */
	assert_int_equal(cmdline.count, 1);
	assert_string_equal(cmdline.args[0], "qemu");
	cmdline_free(&cmdline);
}

static void no_bytes_too_many_and_too_many_arguments_are_refused(void **state)
{
	uint8_t *bytes = calloc(1, CMDLINE_BYTES_MAX + 1);
	struct cmdline cmdline;

	(void)state;
	assert_int_equal(cmdline_parse(&cmdline, bytes, 0, &arguments_err), RC_INVALID);
	assert_int_equal(cmdline_parse(&cmdline, bytes, CMDLINE_ARGS_MAX + 1, &arguments_err),
			 RC_LIMIT);
	assert_int_equal(cmdline_parse(&cmdline, bytes, CMDLINE_ARGS_MAX, &arguments_err), RC_OK);
	cmdline_free(&cmdline);
	memset(bytes, 'x', CMDLINE_BYTES_MAX);
	assert_int_equal(cmdline_parse(&cmdline, bytes, CMDLINE_BYTES_MAX + 1, &arguments_err),
			 RC_LIMIT);
	assert_null(cmdline.args);
	free(bytes);
}

static void our_own_command_line_is_read_from_proc_and_a_gone_process_is_said_to_be(void **state)
{
	struct cmdline cmdline;
	pid_t pid;

	(void)state;
	assert_int_equal(cmdline_of_pid(&cmdline, getpid(), &arguments_err), RC_OK);
	assert_non_null(strstr(cmdline.args[0], "test_cmdline"));
	cmdline_free(&cmdline);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(cmdline_of_pid(&cmdline, pid, &arguments_err), RC_IO);
	assert_non_null(strstr(arguments_err.text, "/proc/"));
}

/* Faults ------------------------------------------------------------------------------------- */

#ifdef UNDERSTUDY_FAULTS
static void every_failing_allocation_is_an_error_and_leaks_nothing(void **state)
{
	static const char args[] =
		"-M\npc,usb=off,memory-backend=mem\n-object\nmemory-backend-ram,id=mem,size=1M\n-vnc\n:1\n"
		"-chardev\nsocket,id=a,path=/x/a,server=on\n-serial\nchardev:a\n-serial\nunix:/x/b,server\n"
		"-netdev\ndgram,id=n,local.type=unix,local.path=/l\n-audiodev\npa,id=s\n-chardev\npty,id=z\n-action\nshutdown=pause";
	struct cmdline out;
	bool fired = true;
	int rc;

	(void)state;
	for (unsigned long n = 1; fired; n++) {
		fault_arm(FAULT_ALLOC, n);
		cmdline_spec_free(&arguments_spec);
		{
			struct cmdline source;
			static char program[] = "qemu";
			char *argv[64] = { program }, *copy = strdup(args), *at = copy, *line;
			size_t count = 1;

			while ((line = strsep(&at, "\n")) != NULL)
				argv[count++] = line;
			source = (struct cmdline){ .args = argv, .count = count };
			rc = cmdline_derive(&arguments_spec, &source, "pc-i440fx-10.0", "pc.ram",
					    256 * MIB, &arguments_err);
			free(copy);
		}
		if (rc == RC_OK)
			rc = cmdline_standby(&out, &arguments_spec, "qemu", "tcg", NULL, "/q",
					     &arguments_err);
		fired = fault_fired(FAULT_ALLOC);
		fault_arm(FAULT_ALLOC, 0);
		assert_int_equal(rc, fired ? RC_NOMEM : RC_OK);
		if (rc == RC_OK)
			cmdline_free(&out);
	}
}
#endif

#define CLAIM(test) cmocka_unit_test_teardown(test, arguments_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLAIM(the_operators_list_is_taken_as_it_is_but_for_machine_and_memory),
		CLAIM(without_a_display_of_the_operators_there_is_none),
		CLAIM(the_operator_cannot_set_what_is_the_standbys),
		CLAIM(the_standby_adds_its_own_and_escapes_paths),
		CLAIM(backends_are_found_in_qom_under_either_name),
		CLAIM(a_peers_arguments_that_are_the_standbys_are_refused),
		CLAIM(a_peer_gets_no_monitor_and_no_debugger),
		CLAIM(a_peer_runs_no_program),
		CLAIM(a_peer_writes_no_file_outside_of_the_replicas_directory),
		CLAIM(a_peers_guest_talks_to_no_program_of_the_standbys_machine),
		CLAIM(what_an_instance_needs_is_taken_from_a_peer),
		CLAIM(a_vector_is_read_with_its_empty_arguments),
		CLAIM(no_bytes_too_many_and_too_many_arguments_are_refused),
		CLAIM(our_own_command_line_is_read_from_proc_and_a_gone_process_is_said_to_be),
#ifdef UNDERSTUDY_FAULTS
		CLAIM(every_failing_allocation_is_an_error_and_leaks_nothing),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

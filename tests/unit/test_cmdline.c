/* The command line derived from an instance's: what stays, what goes, what changes, what is refused. */
#include "tests/unit/cmdline_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Machine and memory ------------------------------------------------------------------------- */

static void the_smallest_machine_gets_its_exact_type_and_a_shared_memory_backend(void **state)
{
	(void)state;
	arguments_becomes("-nodefaults", PC "-nodefaults\n" NONE);
	assert_int_equal(arguments_spec.nbackends, 1);
	assert_string_equal(arguments_spec.backends[0].name, "pc.ram");
	assert_int_equal(arguments_spec.backends[0].bytes, 256 * MIB);
}

static void all_machine_options_become_one_with_their_properties_in_order(void **state)
{
	(void)state;
	arguments_becomes(
		"-nodefaults\n-machine\nq35,usb=off,accel=kvm:tcg,dump-guest-core=off\n-M\nvmport=off",
		"-machine\npc-i440fx-10.0,usb=off,dump-guest-core=off,vmport=off,memory-backend=pc.ram\n"
		"-nodefaults\n" NONE);
	arguments_becomes("-nodefaults\n--machine\ntype=pc,a=b,,c",
			  "-machine\npc-i440fx-10.0,a=b,,c,"
			  "memory-backend=pc.ram\n-nodefaults\n" NONE);
}

static void accelerator_options_are_left_to_the_standby(void **state)
{
	(void)state;
	arguments_becomes("-nodefaults\n-accel\ntcg,thread=multi\n-enable-kvm",
			  PC "-nodefaults\n" NONE);
}

static void sizes_of_m_stay_as_written_in_every_form(void **state)
{
	(void)state;
	arguments_becomes("-nodefaults\n-m\n256", PC "-nodefaults\n-m\n256\n" NONE);
	arguments_becomes("-nodefaults\n-m\nsize=256M,slots=2,maxmem=1G",
			  PC "-nodefaults\n-m\nsize=256M,slots=2,maxmem=1G\n" NONE);
}

static void a_named_memory_backend_is_replaced_by_one_of_the_same_block_name(void **state)
{
	(void)state;
	arguments_becomes(
		"-nodefaults\n-M\npc,memory-backend=mem\n-object\nmemory-backend-memfd,id=mem,size=1G,share=on",
		"-machine\npc-i440fx-10.0,memory-backend=mem\n-nodefaults\n" NONE);
	assert_int_equal(arguments_spec.nbackends, 1);
	assert_string_equal(arguments_spec.backends[0].name, "mem");
	assert_int_equal(arguments_spec.backends[0].bytes, 1024 * MIB);
}

static void json_objects_are_understood_as_libvirt_writes_them(void **state)
{
	(void)state;
	arguments_becomes(
		"-nodefaults\n-machine\npc-q35-7.2,usb=off,memory-backend=pc.ram\n"
		"-object\n{\"qom-type\":\"memory-backend-ram\",\"id\":\"pc.ram\",\"size\":2147483648}",
		"-machine\npc-i440fx-10.0,usb=off,memory-backend=pc.ram\n-nodefaults\n" NONE);
	assert_int_equal(arguments_spec.nbackends, 1);
	assert_int_equal(arguments_spec.backends[0].bytes, 2048 * MIB);
}

static void numa_nodes_bring_a_backend_each_and_no_default_memory(void **state)
{
	(void)state;
	arguments_becomes(
		"-nodefaults\n-object\nmemory-backend-ram,id=m0,size=256M\n-numa\nnode,memdev=m0\n"
		"-object\nmemory-backend-file,id=m1,size=0x10000000,mem-path=/dev/hugepages,prealloc=on\n"
		"-numa\nnode,memdev=m1",
		"-machine\npc-i440fx-10.0\n-nodefaults\n-numa\nnode,memdev=m0\n-numa\nnode,memdev=m1\n" NONE);
	assert_int_equal(arguments_spec.nbackends, 2);
	assert_string_equal(arguments_spec.backends[0].name, "m0");
	assert_string_equal(arguments_spec.backends[1].name, "m1");
	assert_int_equal(arguments_spec.backends[1].bytes, 256 * MIB);
}

static void a_memory_module_comes_beside_the_default_memory(void **state)
{
	(void)state;
	arguments_becomes(
		"-nodefaults\n-object\nmemory-backend-ram,id=d0,size=128M\n-device\npc-dimm,memdev=d0",
		PC "-nodefaults\n-device\npc-dimm,memdev=d0\n" NONE);
	assert_int_equal(arguments_spec.nbackends, 2);
}

static void a_backend_that_nothing_uses_is_no_memory(void **state)
{
	(void)state;
	arguments_becomes("-nodefaults\n-object\nmemory-backend-ram,id=spare,size=128M",
			  PC "-nodefaults\n" NONE);
	assert_int_equal(arguments_spec.nbackends, 1);
}

static void old_machine_types_name_file_backed_blocks_by_their_path(void **state)
{
	static const char memfd[] =
		"-M\npc,memory-backend=mem\n-object\nmemory-backend-memfd,id=mem,size=1M";
	static const char ram[] =
		"-M\npc,memory-backend=mem\n-object\nmemory-backend-ram,id=mem,size=1M";
	static const char off[] =
		"-M\npc,memory-backend=mem\n-object\nmemory-backend-memfd,id=mem,size=1M,"
		"x-use-canonical-path-for-ramblock-id=off";
	static const char on[] =
		"-M\npc,memory-backend=mem\n-object\nmemory-backend-ram,id=mem,size=1M,"
		"x-use-canonical-path-for-ramblock-id=on";
	static const struct {
		const char *machine, *args, *block;
	} cases[] = {
		{ "pc-i440fx-3.1", memfd, "/objects/mem" },
		{ "pc-i440fx-3.1", ram, "mem" },
		{ "pc-i440fx-3.1", off, "mem" },
		{ "pc-q35-4.0", memfd, "mem" },
		{ "pc-q35-10.0", on, "/objects/mem" },
		{ "microvm", memfd, "mem" },
		{ "pc-i440fx-2.11", memfd, "/objects/mem" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(arguments_derive_for(cases[i].machine, cases[i].args), RC_OK);
		assert_string_equal(arguments_spec.backends[0].name, cases[i].block);
	}
}

static void memory_that_cannot_be_had_is_refused_naming_it(void **state)
{
	(void)state;
	arguments_refused_naming("-M\npc,memory-backend=ghost", "ghost");
	arguments_refused_naming("-numa\nnode,memdev=ghost", "-numa");
	arguments_refused_naming("-object\nmemory-backend-epc,id=epc0,size=64M", "SGX");
	arguments_refused_naming(
		"-M\npc,memory-backend=mem\n-object\nmemory-backend-ram,id=mem,size=1000", "mem");
	arguments_refused_naming(
		"-M\npc,memory-backend=mem\n-object\nmemory-backend-ram,id=mem,size=1x", "mem");
	arguments_refused_naming(
		"-M\npc,memory-backend=mem\n-object\nmemory-backend-ram,id=mem,size=99999999T",
		"mem");
	arguments_refused_naming("-M\npc,memory-backend=mem\n-object\nmemory-backend-ram,id=mem",
				 "mem");
	arguments_refused_naming("-M\npc,memory-backend=m\n-object\nmemory-backend-ram,size=1M",
				 "no id");
	arguments_refused_naming(
		"-M\npc,memory-backend=a b\n-object\nmemory-backend-ram,size=1M,id=a b", "a b");
}

#define VM "-object\nmemory-backend-ram,id=vm,size=64M\n-device\n"

static void memory_of_a_device_on_a_bus_is_refused_naming_the_device(void **state)
{
	char list[][64] = { "-object", "memory-backend-ram,id=vm,size=64M", "-device",
			    "virtio-mem-pci,memdev=vm,id=vmd" };
	char *const args[] = { list[0], list[1], list[2], list[3], NULL };

	(void)state;
	arguments_refused_naming(VM "virtio-mem-pci,memdev=vm,id=vmd", "-device vmd (argument 3)");
	arguments_refused_naming(VM "{\"driver\": \"virtio-mem-pci\", \"memdev\": \"vm\"}",
				 "virtio-mem-pci (vm)");
	arguments_refused_naming(VM "virtio-pmem-pci,memdev=vm", "virtio-pmem-pci");
	arguments_refused_naming(VM "ivshmem-plain,memdev=vm,master=on", "pc-dimm");
	arguments_refused_naming(VM "cxl-type3,volatile-memdev=vm", "cxl-type3");
	assert_int_equal(arguments_derive(VM "nvdimm,memdev=vm"), RC_OK);
	/* The operator's own list would give the block the same name. */
	cmdline_spec_free(&arguments_spec);
	assert_int_equal(cmdline_override(&arguments_spec, args, "pc-i440fx-10.0", "pc.ram", MIB,
					  &arguments_err),
			 RC_UNSUPPORTED);
}

/* What is dropped ---------------------------------------------------------------------------- */

static void what_concerns_the_one_process_is_dropped_in_either_spelling(void **state)
{
	(void)state;
	arguments_becomes(
		"-nodefaults\n-qmp\nunix:/run/q,server=on,wait=off\n--monitor\nstdio\n-pidfile\n/run/p\n"
		"-daemonize\n-S\n-incoming\ndefer\n-D\n/var/log/q\n-d\nguest_errors\n-gdb\ntcp::1234\n-s\n"
		"-trace\nfoo\n-sandbox\non\n-runas\nnobody\n-chroot\n/var\n-run-with\nasync-teardown=on\n"
		"-msg\ntimestamp=on\n-mem-path\n/dev/hugepages\n-mem-prealloc\n-loadvm\nx\n-no-shutdown\n"
		"-L\n/usr/share/qemu\n-plugin\nx.so\n-id\n100\n-qmp-pretty\nunix:/q\n-k\nde",
		PC "-nodefaults\n" NONE);
}

static void what_the_guest_sees_is_kept_as_written_and_in_its_order(void **state)
{
	static const char guest[] =
		"-nodefaults\n-name\nguest=vm1,debug-threads=on\n-uuid\n5e7a\n-smbios\ntype=1,serial=x\n"
		"-rtc\nbase=utc\n-cpu\nqemu64,+ssse3\n-smp\n2\n-no-reboot\n-boot\nstrict=on\n"
		"-drive\nif=pflash,format=raw,file=/vm/OVMF_VARS.fd\n"
		"-device\nvirtio-net-pci,netdev=n0,mac=52:54:00:00:00:01\n"
		"-kernel\n/vm/k\n-initrd\n/vm/i\n-append\n-x console=ttyS0\n-fw_cfg\nname=opt/a,string=-b\n/vm/disk.img";
	char expected[2048];

	(void)state;
	(void)snprintf(expected, sizeof(expected), PC "%s\n" NONE, guest);
	arguments_becomes(guest, expected);
}

static void a_chardev_goes_with_the_monitor_that_alone_used_it(void **state)
{
	(void)state;
	arguments_becomes("-nodefaults\n-chardev\nsocket,id=charmonitor,fd=23,server=on,wait=off\n"
			  "-mon\nchardev=charmonitor,id=monitor,mode=control",
			  PC "-nodefaults\n" NONE);
	arguments_becomes(
		"-nodefaults\n-chardev\nsocket,id=q,path=/run/q,server=on\n-qmp\nchardev:q",
		PC "-nodefaults\n" NONE);
}

static void a_chardev_shared_with_a_port_stays_for_the_port(void **state)
{
	(void)state;
	arguments_becomes(
		"-nodefaults\n-chardev\nstdio,id=c,mux=on,signal=off\n-mon\nc\n-serial\nchardev:c",
		PC "-nodefaults\n-chardev\nfile,id=c,path=c.log,mux=on\n-serial\nchardev:c\n" NONE);
}

static void secrets_and_tls_objects_go_with_what_used_them(void **state)
{
	(void)state;
	arguments_becomes(
		"-nodefaults\n-object\n{\"qom-type\":\"secret\",\"id\":\"masterKey0\",\"format\":\"raw\",\"file\":\"/k\"}\n"
		"-object\ntls-creds-x509,id=vnctls,dir=/etc/pki\n-vnc\n:1,tls-creds=vnctls",
		PC "-nodefaults\n" NONE);
	arguments_becomes(
		"-nodefaults\n-object\nsecret,id=s0,file=/k\n-blockdev\nluks,key-secret=s0,file=f,node-name=n\n"
		"-object\niothread,id=io0",
		PC
		"-nodefaults\n-object\nsecret,id=s0,file=/k\n-blockdev\nluks,key-secret=s0,file=f,node-name=n\n"
		"-object\niothread,id=io0\n" NONE);
}

static void displays_become_none_and_the_operator_is_told(void **state)
{
	(void)state;
	arguments_becomes("-nodefaults\n-vnc\n:1\n-display\ngtk\n-spice\nport=5900\n-device\nVGA",
			  PC "-nodefaults\n-device\nVGA\n" NONE);
	assert_int_equal(arguments_spec.notes.count, 1);
	assert_non_null(strstr(arguments_spec.notes.args[0], "no display"));
}

static void nographic_keeps_what_the_guest_sees_of_it(void **state)
{
	(void)state;
	arguments_becomes("-nographic",
			  "-machine\npc-i440fx-10.0,graphics=off,memory-backend=pc.ram\n" NONE
			  "\n" PORT);
}

static void options_of_older_releases_become_machine_properties(void **state)
{
	(void)state;
	arguments_becomes(
		"-nodefaults\n-no-hpet\n-no-acpi",
		"-machine\npc-i440fx-10.0,hpet=off,acpi=off,memory-backend=pc.ram\n-nodefaults\n" NONE);
}

static void only_the_part_of_an_option_that_must_go_goes(void **state)
{
	(void)state;
	arguments_becomes(
		"-nodefaults\n-action\nreboot=shutdown,shutdown=pause\n-overcommit\nmem-lock=on,cpu-pm=on",
		PC "-nodefaults\n-action\nreboot=shutdown\n-overcommit\ncpu-pm=on\n" NONE);
	arguments_becomes("-nodefaults\n-action\nshutdown=pause\n-overcommit\nmem-lock=off",
			  PC "-nodefaults\n" NONE);
}

/* Where ports lead --------------------------------------------------------------------------- */

static void the_default_serial_port_is_logged(void **state)
{
	(void)state;
	arguments_becomes("-vga\nstd", PC "-vga\nstd\n" NONE "\n" PORT);
	arguments_becomes("-device\nisa-serial,chardev=c\n-chardev\nnull,id=c",
			  PC "-device\nisa-serial,chardev=c\n-chardev\nnull,id=c\n" NONE);
}

static void files_and_terminals_become_logs_numbered_like_the_ports(void **state)
{
	(void)state;
	arguments_becomes(
		"-nodefaults\n-serial\nfile:/var/log/vm,1.log\n-serial\nnone\n-serial\nmon:stdio\n-serial\npty\n"
		"-parallel\n/dev/parport0\n-debugcon\nstdio\n-serial\nvc:80Cx24C\n-serial\nnull",
		PC
		"-nodefaults\n-serial\nfile:console-0.log\n-serial\nnone\n-serial\nfile:console-2.log\n"
		"-serial\nfile:console-3.log\n-parallel\nfile:parallel-0.log\n-debugcon\nfile:debugcon-0.log\n"
		"-serial\nfile:console-4.log\n-serial\nnull\n" NONE);
}

static void listening_sockets_move_to_the_replicas_directory_and_do_not_wait(void **state)
{
	(void)state;
	arguments_becomes(
		"-nodefaults\n-serial\nunix:/run/vm/con.sock,server\n-serial\ntcp:0:4444,server=on,nowait\n"
		"-chardev\nsocket,path=/run/vm/qga.sock,server=on,wait=on,id=qga0\n-device\nx,chardev=qga0",
		PC
		"-nodefaults\n-serial\nunix:con.sock,server,wait=off\n-serial\ntcp:0:4444,server=on,wait=off\n"
		"-chardev\nsocket,path=qga.sock,server=on,id=qga0,wait=off\n-device\nx,chardev=qga0\n" NONE);
}

static void connections_to_machines_and_to_programs_of_qemus_own_protocols_are_left_alone(
	void **state)
{
	static const char args[] =
		"-nodefaults\n-serial\ntcp:10.0.0.1:23\n-serial\nudp::4555@:4556\n"
		"-chardev\nsocket,id=tpm,path=/run/swtpm\n-tpmdev\nemulator,id=t,chardev=tpm\n"
		"-chardev\nsocket,id=fs,path=/run/virtiofsd\n"
		"-device\n{\"driver\":\"vhost-user-fs-pci\",\"chardev\":\"fs\",\"tag\":\"t\"}\n"
		"-chardev\nsocket,id=sw,path=/run/vhost,reconnect=1\n-netdev\nvhost-user,id=n,chardev=sw";
	char expected[1024];

	(void)state;
	(void)snprintf(expected, sizeof(expected), PC "%s\n" NONE, args);
	arguments_becomes(args, expected);
}

static void the_guests_ports_connect_to_no_program_of_the_standbys(void **state)
{
	(void)state;
	arguments_becomes(
		"-nodefaults\n-serial\nunix:/run/mux\n-chardev\nsocket,id=a,path=/run/mux2,reconnect=1\n"
		"-serial\nchardev:a\n-chardev\nsocket,id=b,path=/run/c\n-device\nvirtconsole,chardev=b",
		PC
		"-nodefaults\n-serial\nfile:console-0.log\n-chardev\nfile,id=a,path=a.log\n"
		"-serial\nchardev:a\n-chardev\nfile,id=b,path=b.log\n-device\nvirtconsole,chardev=b\n" NONE);
}

static void a_taps_scripts_do_not_run_and_the_operator_is_told(void **state)
{
	(void)state;
	arguments_becomes(
		"-nodefaults\n-netdev\ntype=tap,id=n,ifname=t0,script=/usr/libexec/bridge,downscript=/x,vhost=on",
		PC
		"-nodefaults\n-netdev\ntype=tap,id=n,ifname=t0,script=no,downscript=no,vhost=on\n" NONE);
	assert_int_equal(arguments_spec.notes.count, 1);
	assert_non_null(strstr(arguments_spec.notes.args[0], "scripts"));
}

static void scripts_that_qemu_runs_unless_told_otherwise_do_not_run_either(void **state)
{
	(void)state;
	arguments_becomes(
		"-nodefaults\n-netdev\ntap,id=n,ifname=t0\n-nic\ntap,ifname=t1,downscript=no\n"
		"-netdev\n{\"type\":\"tap\",\"id\":\"m\",\"ifname\":\"t2\"}",
		PC
		"-nodefaults\n-netdev\ntap,id=n,ifname=t0,script=no,downscript=no\n"
		"-nic\ntap,ifname=t1,downscript=no,script=no\n"
		"-netdev\n{\"type\":\"tap\",\"id\":\"m\",\"ifname\":\"t2\",\"script\":\"no\",\"downscript\":\"no\"}\n" NONE);
	assert_int_equal(arguments_spec.notes.count, 1);
}

static void what_no_standby_takes_is_refused_at_once(void **state)
{
	(void)state;
	arguments_refused_naming("-unheard-of\nvalue", "-unheard-of");
	arguments_refused_naming("-readconfig\n/etc/vm.cfg", "-readconfig");
	arguments_refused_naming("-set\nnetdev.n.script=/x", "-set");
	arguments_refused_naming("-netdev\nuser,id=n,smb=/srv", "smb=");
	arguments_refused_naming("-netdev\nbridge,id=n,br=br0", "tap,ifname=");
	arguments_refused_naming("-device\nusb-tablet,id=t,pcap=/var/log/usb", "pcap=");
}

static void names_in_the_replicas_directory_are_clean_and_given_out_once(void **state)
{
	(void)state;
	arguments_becomes(
		"-nodefaults\n-chardev\nsocket,id=a,path=/x/..,server=on\n-serial\nchardev:a\n"
		"-chardev\nsocket,id=b,path=/1/port name,server=on\n-serial\nchardev:b\n"
		"-chardev\nsocket,id=c,path=/2/port name,server=on\n-serial\nchardev:c\n"
		"-chardev\nsocket,id=d,path=/2/replica.qmp,server=on\n-serial\nchardev:d\n"
		"-chardev\nsocket,id=g,path=/2/term,server=on\n-serial\nchardev:g\n"
		"-chardev\nfile,id=e,path=/var/log/e,logfile=/var/log/f\n-serial\nchardev:e",
		PC
		"-nodefaults\n-chardev\nsocket,id=a,path=_.,server=on,wait=off\n-serial\nchardev:a\n"
		"-chardev\nsocket,id=b,path=port_name,server=on,wait=off\n-serial\nchardev:b\n"
		"-chardev\nsocket,id=c,path=port_name-2,server=on,wait=off\n-serial\nchardev:c\n"
		"-chardev\nsocket,id=d,path=replica.qmp-2,server=on,wait=off\n-serial\nchardev:d\n"
		"-chardev\nsocket,id=g,path=term-2,server=on,wait=off\n-serial\nchardev:g\n"
		"-chardev\nfile,id=e,path=e.log\n-serial\nchardev:e\n" NONE);
}

static void spice_channels_become_null_and_sound_goes_nowhere(void **state)
{
	(void)state;
	arguments_becomes(
		"-nodefaults\n-chardev\nspicevmc,id=v,name=vdagent\n-device\nx,chardev=v\n"
		"-audiodev\n{\"id\":\"audio1\",\"driver\":\"spice\"}\n-audiodev\npa,id=a2,server=/run/pulse\n-audio\nalsa,model=hda",
		PC
		"-nodefaults\n-chardev\nnull,id=v\n-device\nx,chardev=v\n-audiodev\ndriver=none,id=audio1\n"
		"-audiodev\ndriver=none,id=a2\n-audio\ndriver=none,model=hda\n" NONE);
}

static void taps_stay_and_unix_sockets_of_netdevs_move(void **state)
{
	(void)state;
	arguments_becomes(
		"-nodefaults\n-netdev\ntap,id=n0,ifname=tap3,script=no,downscript=no\n"
		"-netdev\ndgram,id=n1,local.type=unix,local.path=/run/vm/l,remote.type=unix,remote.path=/run/vm/r\n"
		"-netdev\n{\"type\":\"stream\",\"id\":\"n2\",\"addr\":{\"type\":\"unix\",\"path\":\"/run/passt\"},\"server\":false}\n"
		"-nic\nnone",
		PC
		"-nodefaults\n-netdev\ntap,id=n0,ifname=tap3,script=no,downscript=no\n"
		"-netdev\ndgram,id=n1,local.type=unix,local.path=l,remote.type=unix,remote.path=r\n"
		"-netdev\n{\"type\":\"stream\",\"id\":\"n2\",\"addr\":{\"type\":\"unix\",\"path\":\"passt\"},\"server\":false}\n"
		"-nic\nnone\n" NONE);
}

/* What cannot travel ------------------------------------------------------------------------- */

static void descriptors_are_refused_naming_argument_and_remedy(void **state)
{
	static const char *const cases[][2] = {
		{ "-netdev\ntap,id=hostnet0,fd=25", "-netdev hostnet0 (argument 1)" },
		{ "-S\n-netdev\ntap,id=n,ifname=t,vhostfds=1:2", "argument 2" },
		{ "-netdev\n{\"type\":\"tap\",\"fds\":\"25:26\",\"id\":\"hostnet0\"}", "fds=" },
		{ "-netdev\nstream,id=n,addr.type=fd,addr.str=7", "type fd" },
		{ "-add-fd\nfd=3,set=1", "-add-fd" },
		{ "-blockdev\n{\"driver\":\"file\",\"filename\":\"/dev/fdset/1\",\"node-name\":\"d\"}",
		  "/dev/fdset" },
		{ "-drive\nfile=/dev/fdset/2", "/dev/fdset" },
		{ "-chardev\nsocket,id=c,fd=9,server=on\n-serial\nchardev:c", "-chardev c" },
		{ "-device\nvfio-pci,id=v,fd=4", "-device v" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		arguments_refused_naming(cases[i][0], cases[i][1]);
		assert_non_null(strstr(arguments_err.text, "standby_arguments"));
	}
}

static void refusals_do_not_tell_values(void **state)
{
	(void)state;
	arguments_refused_naming(
		"-object\nsecret,id=s,data=hunter2\n-blockdev\nluks,key-secret=s,fd=3,password=hunter2",
		"-blockdev");
	assert_null(strstr(arguments_err.text, "hunter2"));
}

static void an_option_without_its_value_is_refused(void **state)
{
	(void)state;
	arguments_refused_naming("-nodefaults\n-netdev", "-netdev");
	arguments_refused_naming("-nodefaults\n-machine", "missing");
	arguments_refused_naming("-netdev\n{\"type\":", "-netdev");
}

#define CLAIM(test) cmocka_unit_test_teardown(test, arguments_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLAIM(the_smallest_machine_gets_its_exact_type_and_a_shared_memory_backend),
		CLAIM(all_machine_options_become_one_with_their_properties_in_order),
		CLAIM(accelerator_options_are_left_to_the_standby),
		CLAIM(sizes_of_m_stay_as_written_in_every_form),
		CLAIM(a_named_memory_backend_is_replaced_by_one_of_the_same_block_name),
		CLAIM(json_objects_are_understood_as_libvirt_writes_them),
		CLAIM(numa_nodes_bring_a_backend_each_and_no_default_memory),
		CLAIM(a_memory_module_comes_beside_the_default_memory),
		CLAIM(a_backend_that_nothing_uses_is_no_memory),
		CLAIM(old_machine_types_name_file_backed_blocks_by_their_path),
		CLAIM(memory_that_cannot_be_had_is_refused_naming_it),
		CLAIM(memory_of_a_device_on_a_bus_is_refused_naming_the_device),
		CLAIM(what_concerns_the_one_process_is_dropped_in_either_spelling),
		CLAIM(what_the_guest_sees_is_kept_as_written_and_in_its_order),
		CLAIM(a_chardev_goes_with_the_monitor_that_alone_used_it),
		CLAIM(a_chardev_shared_with_a_port_stays_for_the_port),
		CLAIM(secrets_and_tls_objects_go_with_what_used_them),
		CLAIM(displays_become_none_and_the_operator_is_told),
		CLAIM(nographic_keeps_what_the_guest_sees_of_it),
		CLAIM(options_of_older_releases_become_machine_properties),
		CLAIM(only_the_part_of_an_option_that_must_go_goes),
		CLAIM(the_default_serial_port_is_logged),
		CLAIM(files_and_terminals_become_logs_numbered_like_the_ports),
		CLAIM(listening_sockets_move_to_the_replicas_directory_and_do_not_wait),
		CLAIM(connections_to_machines_and_to_programs_of_qemus_own_protocols_are_left_alone),
		CLAIM(the_guests_ports_connect_to_no_program_of_the_standbys),
		CLAIM(a_taps_scripts_do_not_run_and_the_operator_is_told),
		CLAIM(scripts_that_qemu_runs_unless_told_otherwise_do_not_run_either),
		CLAIM(what_no_standby_takes_is_refused_at_once),
		CLAIM(names_in_the_replicas_directory_are_clean_and_given_out_once),
		CLAIM(spice_channels_become_null_and_sound_goes_nowhere),
		CLAIM(taps_stay_and_unix_sockets_of_netdevs_move),
		CLAIM(descriptors_are_refused_naming_argument_and_remedy),
		CLAIM(refusals_do_not_tell_values),
		CLAIM(an_option_without_its_value_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

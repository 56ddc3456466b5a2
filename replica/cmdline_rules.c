/*
 * The table of rewriting rules, and the short ones among them. What the rules do as a whole is told
 * in cmdline.h; what a standby takes, in cmdline_check.c.
 *
 * The table also says which options take a value. It names those that take none and those with a
 * rule; of any other, the next argument is the value unless it starts with a dash, which is right
 * for all of QEMU 7.2 to 10.0 (values that may start with a dash belong to options named here).
 */
#include "replica/cmdline_derive.h"

#include <stdio.h>
#include <string.h>

static int drop(struct cmdline_derivation *d, const struct cmdline_token *token, struct err *err)
{
	(void)d;
	(void)token;
	(void)err;
	return RC_OK;
}

static int refuse_descriptor(struct cmdline_derivation *d, const struct cmdline_token *token,
			     struct err *err)
{
	(void)d;
	return cmdline_cannot_travel(token, NULL, "a file descriptor of the primary's QEMU", err);
}

static int refuse_file(struct cmdline_derivation *d, const struct cmdline_token *token,
		       struct err *err)
{
	(void)d;
	return cmdline_cannot_travel(token, NULL, "a file of options", err);
}

static int see_display(struct cmdline_derivation *d, const struct cmdline_token *token,
		       struct err *err)
{
	(void)token;
	(void)err;
	d->has_display = true;
	return RC_OK;
}

static int apply_display(struct cmdline_derivation *d, const struct cmdline_token *token,
			 struct err *err)
{
	return d->literal ? cmdline_keep(d, token, err) : RC_OK;
}

static int see_serial(struct cmdline_derivation *d, const struct cmdline_token *token,
		      struct err *err)
{
	(void)token;
	(void)err;
	d->has_serial = true;
	return RC_OK;
}

static int see_device(struct cmdline_derivation *d, const struct cmdline_token *token,
		      struct err *err)
{
	/* QEMU adds its default serial port unless one is asked for in either way. */
	if (cmdline_mentions(token->value, "isa-serial"))
		return see_serial(d, token, err);
	return RC_OK;
}

static int machine_property(struct cmdline_derivation *d, const char *text, struct err *err)
{
	if (!buf_printf(&d->machine_properties, ",%s", text))
		return err_nomem(err, "machine properties");
	return RC_OK;
}

static int collect_nographic(struct cmdline_derivation *d, const struct cmdline_token *token,
			     struct err *err)
{
	(void)see_display(d, token, err);
	return d->literal ? RC_OK : machine_property(d, "graphics=off", err);
}

static int collect_no_acpi(struct cmdline_derivation *d, const struct cmdline_token *token,
			   struct err *err)
{
	(void)token;
	return machine_property(d, "acpi=off", err);
}

static int collect_no_hpet(struct cmdline_derivation *d, const struct cmdline_token *token,
			   struct err *err)
{
	(void)token;
	return machine_property(d, "hpet=off", err);
}

/* Keeps an option without one of its keys; nothing of it when no other is left. */
static int keep_without(struct cmdline_derivation *d, const struct cmdline_token *token,
			const char *key, struct err *err)
{
	struct optstring options;
	int rc = cmdline_options(token, NULL, &options, err);

	if (rc != RC_OK)
		return rc;
	optstring_remove(&options, key);
	if (options.count > 0)
		rc = cmdline_emit_options(d, token->option, &options, err);
	optstring_free(&options);
	return rc;
}

static int apply_action(struct cmdline_derivation *d, const struct cmdline_token *token,
			struct err *err)
{
	return keep_without(d, token, "shutdown", err); /* as -no-shutdown */
}

static int apply_overcommit(struct cmdline_derivation *d, const struct cmdline_token *token,
			    struct err *err)
{
	return keep_without(d, token, "mem-lock", err); /* a sparse image must stay sparse */
}

static int apply_checked(struct cmdline_derivation *d, const struct cmdline_token *token,
			 struct err *err)
{
	struct optstring options;
	int rc = cmdline_options(token, NULL, &options, err);

	if (rc != RC_OK)
		return rc;
	rc = cmdline_no_descriptors(token, &options, err);
	if (rc == RC_OK)
		rc = cmdline_keep(d, token, err);
	optstring_free(&options);
	return rc;
}

/*
 * Secrets and TLS objects serve displays, monitors and disks; without one that is left they would
 * only fail over a file of the primary's.
 */
static bool is_for_others(const char *kind)
{
	return strcmp(kind, "secret") == 0 || strcmp(kind, "secret_keyring") == 0 ||
	       strncmp(kind, "tls-", 4) == 0 || strncmp(kind, "authz-", 6) == 0;
}

bool cmdline_is_dropped(const struct cmdline_token *token)
{
	return token->rule != NULL &&
	       (token->rule->apply == drop || token->rule->apply == apply_display);
}

static int apply_object(struct cmdline_derivation *d, const struct cmdline_token *token,
			struct err *err)
{
	struct optstring options;
	const char *kind, *id;
	int rc = cmdline_options(token, "qom-type", &options, err);

	if (rc != RC_OK)
		return rc;
	kind = optstring_get(&options, "qom-type");
	id = optstring_get(&options, "id");
	if (cmdline_is_memory(&options))
		rc = RC_OK; /* was collected */
	else if (d->literal || kind == NULL || id == NULL)
		rc = cmdline_keep(d, token, err);
	else if (!is_for_others(kind) || cmdline_is_used(d, token, id))
		rc = apply_checked(d, token, err);
	optstring_free(&options);
	return rc;
}

static const char no_display[] = "the replica has no display (VNC, SPICE, window)";
static const char no_audio[] = "the replica's sound goes nowhere";

#define FLAG(text) .name = text
#define VALUE(text) .name = text, .value = true
#define DROP .apply = drop
#define OURS .apply = drop, .ours = true
#define ANY_PATH .any_path = true
#define MACHINE .implied = "type", .paths = machine_paths, .check = cmdline_check_machine
#define NET                                                                \
	.apply = cmdline_apply_net, .implied = "type", .paths = net_paths, \
	.check = cmdline_check_net, .check_whole = cmdline_check_scripts
#define PORT .check = cmdline_check_port
#define DISPLAY .always = true, .collect = see_display, .apply = apply_display

/* Keys with which the instance opens what is its own. */
static const char *const machine_paths[] = {
	"kernel", "initrd", "dtb", "firmware", "append", NULL
};
static const char *const object_paths[] = { "file",	    "filename",	    "dir",	"path",
					    "data",	    "iv",	    "identity", "match",
					    "dh-cert-file", "session-file", NULL };
static const char *const device_paths[] = { "file",    "romfile",  "sysfsdev", "hostdevice",
					    "evdev",   "vhostdev", "hidraw",   "kernel",
					    "initrd",  "bootargs", "bus",      "serial",
					    "product", "vendor",   "ver",      "osk",
					    "sdrfile", "frufile",  NULL };
static const char *const net_paths[] = { "vhostdev", "bootfile", NULL };

static const struct cmdline_rule rules[] = {
	/* Machine and memory. */
	{ VALUE("machine"), .always = true, .collect = cmdline_collect_machine, DROP, MACHINE },
	{ VALUE("M"), .always = true, .collect = cmdline_collect_machine, DROP, MACHINE },
	{ VALUE("object"), .always = true, .collect = cmdline_collect_object, .apply = apply_object,
	  .json = true, .implied = "qom-type", .paths = object_paths,
	  .check = cmdline_check_object },
	{ VALUE("numa"), .always = true, .collect = cmdline_collect_numa, .apply = cmdline_keep },
	{ VALUE("mem-path"), OURS },
	{ FLAG("mem-prealloc"), OURS },
	{ VALUE("accel"), OURS },
	{ FLAG("enable-kvm"), OURS },
	{ FLAG("no-kvm"), OURS },
	{ VALUE("tb-size"), DROP },
	{ FLAG("singlestep"), DROP },
	{ FLAG("one-insn-per-tb"), DROP },
	{ VALUE("overcommit"), .apply = apply_overcommit },
	{ VALUE("realtime"), DROP },

	/* How the process lives. */
	{ VALUE("incoming"), OURS },
	{ VALUE("loadvm"), OURS },
	{ FLAG("S"), OURS },
	{ FLAG("daemonize"), OURS },
	{ FLAG("preconfig"), OURS },
	{ VALUE("pidfile"), OURS },
	{ VALUE("runas"), OURS },
	{ VALUE("chroot"), OURS },
	{ VALUE("run-with"), OURS },
	{ FLAG("async-teardown"), OURS },
	{ VALUE("sandbox"), OURS },
	{ VALUE("L"), OURS },
	{ VALUE("id"), OURS }, /* Proxmox VE's number of the machine */
	{ VALUE("readconfig"), .apply = refuse_file, .ours = true },
	{ VALUE("writeconfig"), OURS },
	{ FLAG("no-shutdown"), OURS },
	{ VALUE("action"), .apply = apply_action },
	{ VALUE("add-fd"), .apply = refuse_descriptor, .ours = true },

	/* Watching and debugging it. */
	{ VALUE("qmp"), OURS },
	{ VALUE("qmp-pretty"), OURS },
	{ VALUE("monitor"), OURS },
	{ VALUE("mon"), OURS },
	{ VALUE("D"), OURS },
	{ VALUE("d"), OURS },
	{ VALUE("dfilter"), OURS },
	{ VALUE("trace"), OURS },
	{ VALUE("msg"), OURS },
	{ VALUE("gdb"), OURS },
	{ FLAG("s"), OURS },
	{ VALUE("plugin"), OURS },
	{ VALUE("qtest"), OURS },
	{ VALUE("qtest-log"), OURS },
	{ VALUE("dump-vmstate"), OURS },
	{ VALUE("echr"), OURS },
	{ FLAG("enable-sync-profile"), OURS },
	{ FLAG("perfmap"), OURS },
	{ FLAG("jitdump"), OURS },

	/* Displays and sound. */
	{ VALUE("display"), DISPLAY, .check = cmdline_check_display },
	{ VALUE("vnc"), DISPLAY, .note = no_display },
	{ VALUE("spice"), DISPLAY, .note = no_display },
	{ FLAG("sdl"), DISPLAY, .ours = true },
	{ FLAG("curses"), DISPLAY, .ours = true },
	{ FLAG("nographic"), .always = true, .collect = collect_nographic, .apply = apply_display },
	{ FLAG("full-screen"), DROP },
	{ FLAG("alt-grab"), DROP },
	{ FLAG("ctrl-grab"), DROP },
	{ FLAG("no-quit"), DROP },
	{ FLAG("no-frame"), DROP },
	{ VALUE("k"), DROP },
	{ VALUE("audiodev"), .json = true, .apply = cmdline_apply_audio, .note = no_audio },
	{ VALUE("audio"), .apply = cmdline_apply_audio, .note = no_audio },

	/* What connects to the outside. */
	{ VALUE("serial"), .collect = see_serial, .apply = cmdline_apply_serial, PORT },
	{ VALUE("parallel"), .apply = cmdline_apply_parallel, PORT },
	{ VALUE("debugcon"), .apply = cmdline_apply_debugcon, PORT },
	{ VALUE("chardev"), .apply = cmdline_apply_chardev, .implied = "backend" },
	{ VALUE("netdev"), NET, .json = true },
	{ VALUE("nic"), NET },
	{ VALUE("net"), NET },
	{ VALUE("device"), .collect = see_device, .apply = apply_checked, .json = true,
	  .implied = "driver", .paths = device_paths },
	{ VALUE("blockdev"), .apply = apply_checked, .json = true, ANY_PATH },
	{ VALUE("drive"), .apply = apply_checked, ANY_PATH },
	{ VALUE("tpmdev"), .apply = apply_checked },

	/* Options of older releases that newer ones say otherwise. */
	{ FLAG("no-acpi"), .collect = collect_no_acpi, DROP },
	{ FLAG("no-hpet"), .collect = collect_no_hpet, DROP },

	/* Kept as written; named because they take no value, or one that may start with a dash. */
	{ FLAG("nodefaults"), .collect = see_serial },
	{ FLAG("no-user-config") },
	{ FLAG("snapshot") },
	{ FLAG("usb") },
	{ FLAG("win2k-hack") },
	{ FLAG("no-fd-bootchk") },
	{ FLAG("no-reboot") },
	{ FLAG("only-migratable") },
	{ FLAG("old-param") },
	{ FLAG("xen-attach") },
	{ FLAG("xen-domid-restrict") },
	{ FLAG("help") },
	{ FLAG("h") },
	{ FLAG("version") },
	{ VALUE("append"), ANY_PATH },
	{ VALUE("cpu") },
	{ VALUE("fw_cfg"), ANY_PATH },
	{ VALUE("global") },
	{ VALUE("name"), ANY_PATH },
	{ VALUE("smbios"), ANY_PATH },

	/* Kept as written; named because a standby takes them. */
	{ VALUE("m") },
	{ VALUE("smp") },
	{ VALUE("boot"), ANY_PATH },
	{ VALUE("rtc") },
	{ VALUE("uuid") },
	{ VALUE("icount") },
	{ VALUE("seed") },
	{ VALUE("compat"), .json = true },
	{ VALUE("vga") },
	{ VALUE("usbdevice") },
	{ VALUE("watchdog") },
	{ VALUE("watchdog-action") },
	{ VALUE("iscsi") },
	{ VALUE("xen-domid") },
	{ VALUE("fda"), ANY_PATH },
	{ VALUE("fdb"), ANY_PATH },
	{ VALUE("hda"), ANY_PATH },
	{ VALUE("hdb"), ANY_PATH },
	{ VALUE("hdc"), ANY_PATH },
	{ VALUE("hdd"), ANY_PATH },
	{ VALUE("cdrom"), ANY_PATH },
	{ VALUE("mtdblock"), ANY_PATH },
	{ VALUE("sd"), ANY_PATH },
	{ VALUE("pflash"), ANY_PATH },
	{ VALUE("bios"), ANY_PATH },
	{ VALUE("kernel"), ANY_PATH },
	{ VALUE("shim"), ANY_PATH },
	{ VALUE("initrd"), ANY_PATH },
	{ VALUE("dtb"), ANY_PATH },
	{ VALUE("option-rom"), ANY_PATH },
	{ VALUE("acpitable"), ANY_PATH },
};

const struct cmdline_rule *cmdline_find_rule(const char *name)
{
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		if (strcmp(rules[i].name, name) == 0)
			return &rules[i];
	}
	return NULL;
}

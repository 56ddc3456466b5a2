/* What the files of process 1 share. */
#ifndef APPLIANCE_INIT_INTERNAL_H
#define APPLIANCE_INIT_INTERNAL_H

#include "appliance/base/err.h"
#include "appliance/config.h"
#include "appliance/config_drive.h"

#define INIT_PART "init" /* of the log */
#define INIT_PROGRAM "/bin/understudy"
#define INIT_SYSTEM \
	"/system" /* in the initramfs: the digest of the root file system (init_verity.h) */

/* What the kernel says of block devices: a directory each. */
#define INIT_BLOCKS "/sys/class/block"
/* Whether that is a line of what it says of one in general ("DEVTYPE=disk"). */
bool init_block_says(const char *device, const char *line);

/* From now on, with /dev there, what process 1 says is on the machine's screen, too, if the console is not that. */
void init_screen(void);

/* Says why, and after a minute, for who looks at the screen, stops the machine: nothing else can be done. */
void init_give_up(const struct err *why) __attribute__((noreturn));

/* In the initramfs: makes the system's file system the root and becomes process 1 there. */
int init_boot(struct err *err);

/* A file system of the kernel's own at a directory, which is made where that is possible. */
int init_mount(const char *type, const char *dir, unsigned long flags, const char *data,
	       struct err *err);

/* Settings of the kernel: how many there are, and how many are as they should be. */
struct init_hardened {
	unsigned all, made;
};
/*
 * After the last module: switches off what nobody here needs of the kernel; `root` is /proc/sys. What cannot be set is logged.
 * No module can be loaded any more.
 */
struct init_hardened init_harden(const char *root);
/* After the last setting of process 1: what the standby does not write below `root`/proc and `root`/sys is read-only. Logs what fails. */
bool init_seal(const char *root);

/* Where the configuration is from init_config_find() on, with what it names. */
#define INIT_CONFIG_DIR "/run/config"
#define INIT_CONFIG_NAME CONFIG_DRIVE_CONFIG
/* Where one is looked for, and where it goes; these, but in a test. */
struct init_places {
	const char *fw_cfg,
		*image; /* directories; in fw_cfg's each file is a directory with the file "raw" */
	const char *list, *devices; /* of drives: init_drive.h */
	uint32_t drive_within_ms;   /* one is waited for */
	const char *drive;	    /* where it is mounted meanwhile */
	const char *config;	    /* becomes a directory of ours */
};
extern const struct init_places init_places;
/* RC_STATE: no place has one. The error says which place is wrong, and what to do. */
int init_config_find(const struct init_places *at, struct err *err);
/*
 * A standby's. Of one that is wrong, what can be read, and `problems` (whose members are 0) has a line for each thing, the first of
 * which is the error's; of a file that cannot be read it has none. Of one that is right, it has what nobody outside of the machine could
 * reach. config_free() and buf_free() in any case.
 */
int init_config_read(struct config *config, const char *path, struct buf *problems,
		     struct err *err);

/*
 * /data: the data disk, prepared if it is empty, or memory if there is none and nothing needs one. An error: the standby must not
 * run; RC_STATE: another disk would change that. `starting`: the machine is, and disks are waited for.
 */
int init_data(const struct config *config, bool starting, struct err *err);
/* Nothing is written to it any more. */
void init_data_end(void);

/*
 * What fails is a machine_problem(). False: of the cards that the configuration names none is there, so nobody reaches an address of
 * it; whatever cards there are have those of their links (fe80::...).
 */
bool init_network(const struct config *config);

#endif

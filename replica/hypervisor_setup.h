/*
 * What is settled before a replica's QEMU is started: its directory, its whole command line, its
 * shared blocks. Inside of hypervisor.h.
 */
#ifndef REPLICA_HYPERVISOR_SETUP_H
#define REPLICA_HYPERVISOR_SETUP_H

#include "replica/hypervisor.h"

struct hypervisor_setup {
	char part[96]; /* names it in the log */
	char *run_dir; /* absolute */
	char qmp_path[HYPERVISOR_PATH_MAX];
	bool confine;
	int lock;
	struct cmdline args;
	char *paths[CMDLINE_BACKENDS_MAX]; /* QOM, of the blocks' memory regions */
	char memory[sizeof(((struct image_shared *)0)->path)]; /* a file of it, or "" */
	struct activation_block blocks[CMDLINE_BACKENDS_MAX];
	size_t nblocks;
	/* The disks' targets, which it exports at disks_path until it is activated. */
	struct hypervisor_export {
		char node[CMDLINE_NAME_MAX + 1];
		char disk[IMAGE_DISK_NAME_MAX + 1]; /* and the export's name */
		uint64_t bytes;
	} exports[LAYOUT_DISKS_MAX];
	size_t nexports;
	char disks_path[HYPERVISOR_PATH_MAX];
};

/*
 * Makes the directory if it is not there; chooses the accelerator. hypervisor_setup_free() also
 * after a failure.
 */
int hypervisor_setup(struct hypervisor_setup *setup, const struct hypervisor_options *options,
		     const struct cmdline_spec *spec, struct err *err);
void hypervisor_setup_free(struct hypervisor_setup *setup);

#endif

#include "replica/hypervisor_setup.h"

#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "replica/accel.h"
#include "replica/confine.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

static_assert(HYPERVISOR_PATH_MAX == sizeof(((struct sockaddr_un *)0)->sun_path),
	      "a path that can be bound");

void hypervisor_setup_free(struct hypervisor_setup *setup)
{
	for (size_t i = 0; i < setup->nblocks; i++)
		mem_free(setup->paths[i]);
	cmdline_free(&setup->args);
	free(setup->run_dir); /* realpath()'s */
	*setup = (struct hypervisor_setup){ 0 };
}

static int socket_path(char path[HYPERVISOR_PATH_MAX], const char *run_dir, const char *name,
		       struct err *err)
{
	char *absolute = realpath(run_dir, NULL);
	int n, rc = RC_OK;

	if (absolute == NULL)
		return err_system(err, errno, "%s", run_dir);
	n = snprintf(path, HYPERVISOR_PATH_MAX, "%s/%s", absolute, name);
	if (n < 0 || n >= HYPERVISOR_PATH_MAX)
		rc = err_set(
			err, RC_LIMIT,
			"%.200s/%s: %d bytes, and a unix socket's path has at most %d; choose a shorter directory",
			absolute, name, n, HYPERVISOR_PATH_MAX - 1);
	free(absolute); /* realpath()'s */
	return rc;
}

int hypervisor_qmp_path(char path[HYPERVISOR_PATH_MAX], const char *run_dir, struct err *err)
{
	return socket_path(path, run_dir, CMDLINE_QMP_NAME, err);
}

int hypervisor_disks_path(char path[HYPERVISOR_PATH_MAX], const char *run_dir, struct err *err)
{
	return socket_path(path, run_dir, CMDLINE_DISKS_NAME, err);
}

static int set_directory(struct hypervisor_setup *setup, const char *run_dir, struct err *err)
{
	if (mkdir(run_dir, 0700) != 0 && errno != EEXIST)
		return err_system(err, errno, "%s", run_dir);
	setup->run_dir = realpath(run_dir, NULL);
	if (setup->run_dir == NULL)
		return err_system(err, errno, "%s", run_dir);
	return hypervisor_qmp_path(setup->qmp_path, run_dir, err);
}

static int set_blocks(struct hypervisor_setup *setup, const struct cmdline_spec *spec,
		      struct err *err)
{
	if (spec->nbackends > 0)
		(void)snprintf(setup->memory, sizeof(setup->memory), "%s", spec->backends[0].path);
	for (size_t i = 0; i < spec->nbackends; i++) {
		memcpy(setup->blocks[i].name, spec->backends[i].name,
		       sizeof(setup->blocks[i].name));
		setup->paths[i] = cmdline_backend_path(&spec->backends[i]);
		setup->nblocks++;
		if (setup->paths[i] == NULL)
			return err_nomem(err, "a replica's QEMU");
	}
	return RC_OK;
}

static int set_exports(struct hypervisor_setup *setup, const struct cmdline_spec *spec,
		       struct err *err)
{
	for (size_t i = 0; i < spec->ndisks; i++) {
		struct hypervisor_export *export = &setup->exports[setup->nexports];

		if (spec->disks[i].target == NULL)
			continue;
		cmdline_target_node(export->node, i);
		memcpy(export->disk, spec->disks[i].name, sizeof(export->disk));
		export->bytes = spec->disks[i].bytes;
		setup->nexports++;
	}
	return setup->nexports > 0 ? hypervisor_disks_path(setup->disks_path, setup->run_dir, err) :
				     RC_OK;
}

/*
 * A program or directory given with a slash, whole: QEMU's working directory is another. NULL and
 * plain names stay.
 */
static int absolute(const char *path, char resolved[PATH_MAX], const char **out, struct err *err)
{
	*out = path;
	if (path == NULL || strchr(path, '/') == NULL)
		return RC_OK;
	if (realpath(path, resolved) == NULL)
		return err_system(err, errno, "%s", path);
	*out = resolved;
	return RC_OK;
}

/* One client at a time speaks to a socket: this one is not ours. */
static int add_operator_socket(struct hypervisor_setup *setup, struct err *err)
{
	char path[HYPERVISOR_PATH_MAX];
	char *value = NULL;
	int rc = RC_OK;

	if (snprintf(path, sizeof(path), "%s/" HYPERVISOR_OPERATOR_NAME, setup->run_dir) >=
	    (int)sizeof(path))
		return err_set(err, RC_LIMIT, "%.200s: a socket's path in it is too long",
			       setup->run_dir);
	value = cmdline_qmp_value(path, err);
	rc = value != NULL ? cmdline_add(&setup->args, "-qmp", err) : (int)err->code;
	if (rc == RC_OK)
		rc = cmdline_add(&setup->args, value, err);
	mem_free(value);
	return rc;
}

static int set_arguments(struct hypervisor_setup *setup, const struct hypervisor_options *options,
			 const struct cmdline_spec *spec, struct err *err)
{
	char program_buffer[PATH_MAX], firmware_buffer[PATH_MAX], why[ACCEL_WHY_MAX];
	const char *program, *firmware, *accel;
	bool has_kvm = accel_has_kvm(why);
	int rc;

	rc = accel_choose(&accel, options->accel, spec->accel, has_kvm, why, err);
	if (rc == RC_OK)
		rc = absolute(options->program, program_buffer, &program, err);
	if (rc == RC_OK)
		rc = absolute(options->firmware, firmware_buffer, &firmware, err);
	if (rc != RC_OK)
		return rc;
	if (*spec->accel != '\0' && strcmp(accel, spec->accel) != 0)
		log_warn(setup->part,
			 "the instance runs under %s, its replica will under %s: QEMU may "
			 "refuse its state",
			 spec->accel, accel);
	return cmdline_standby(&setup->args, spec, program, accel, firmware, setup->qmp_path, err);
}

int hypervisor_setup(struct hypervisor_setup *setup, const struct hypervisor_options *options,
		     const struct cmdline_spec *spec, struct err *err)
{
	int rc;

	*setup = (struct hypervisor_setup){ .confine = options->confine, .lock = options->lock };
	(void)snprintf(setup->part, sizeof(setup->part), "replica %s", options->name);
	rc = set_directory(setup, options->run_dir, err);
	if (rc == RC_OK)
		rc = set_blocks(setup, spec, err);
	if (rc == RC_OK)
		rc = set_exports(setup, spec, err);
	if (rc == RC_OK)
		rc = set_arguments(setup, options, spec, err);
	if (rc == RC_OK && options->operator_socket)
		rc = add_operator_socket(setup, err);
	if (rc == RC_OK && options->confine) /* said here rather than by the process */
		rc = confine_needs(&(struct confine_needs){ 0 }, setup->args.args, err);
	return rc;
}

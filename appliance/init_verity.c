#include "appliance/init_verity.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/types.h>
#include <unistd.h>

#define CONTROL "/dev/mapper/control"
#define NAME "understudy" /* what device-mapper calls it, with that of the partition behind */
#define SECTORS (INIT_VERITY_BLOCK / 512)

int init_verity_parse(struct init_verity *verity, const char *text, struct err *err)
{
	const size_t len = strspn(text, "0123456789abcdef");
	const unsigned long blocks = strtoul(text + len, NULL, 10);

	if (len != INIT_VERITY_HEX || text[len] != ' ' || blocks == 0 || blocks > UINT32_MAX)
		return err_set(err, RC_INVALID,
			       "the root file system's digest is none: this initramfs is damaged");
	verity->blocks = (uint32_t)blocks;
	memcpy(verity->root, text, len);
	verity->root[len] = '\0';
	return RC_OK;
}

/* Format 1, data and tree on one device, no salt: the kernel's Documentation/admin-guide/device-mapper/verity.rst. */
void init_verity_table(char out[INIT_VERITY_WORDS], const struct init_verity *verity,
		       const char *on)
{
	(void)snprintf(out, INIT_VERITY_WORDS, "1 %.100s %.100s %d %d %u %u sha256 %s -", on, on,
		       INIT_VERITY_BLOCK, INIT_VERITY_BLOCK, verity->blocks, verity->blocks,
		       verity->root);
}

/* One request: what it is about, one target, and that target's words. */
struct request {
	struct dm_ioctl head;
	struct dm_target_spec target;
	char words[INIT_VERITY_WORDS];
};

/* As ioctl(), whose second parameter is not of the same type everywhere; `request` has the answer. */
static int ask(int control, unsigned long what, const char *on, struct request *request)
{
	const char *name = strrchr(on, '/');

	request->head.version[0] = DM_VERSION_MAJOR;
	request->head.data_size = sizeof(*request);
	request->head.data_start = offsetof(struct request, target);
	request->head.flags |= DM_READONLY_FLAG;
	(void)snprintf(request->head.name, sizeof(request->head.name), NAME "-%.64s",
		       name != NULL ? name + 1 : on);
	return (int)syscall(SYS_ioctl, control, what, request);
}

static int open_by(int control, char device[INIT_VERITY_DEVICE], const struct init_verity *verity,
		   const char *on, struct err *err)
{
	struct request made = { 0 }, request = { 0 }, begun = { 0 };

	request.head.target_count = 1;
	request.target.length = (uint64_t)verity->blocks * SECTORS;
	(void)snprintf(request.target.target_type, sizeof(request.target.target_type), "verity");
	init_verity_table(request.words, verity, on);
	if (ask(control, DM_DEV_CREATE, on, &made) != 0)
		return err_system(err, errno, "a device for the root file system");
	if (ask(control, DM_TABLE_LOAD, on, &request) != 0 ||
	    ask(control, DM_DEV_SUSPEND, on, &begun) != 0) /* without the flag: its end */
		return err_system(err, errno, "reading it by its digests");
	(void)snprintf(device, INIT_VERITY_DEVICE, "/dev/dm-%u", minor((dev_t)made.head.dev));
	return RC_OK;
}

int init_verity_open(char device[INIT_VERITY_DEVICE], const struct init_verity *verity,
		     const char *on, struct err *err)
{
	const int control = open(CONTROL, O_RDWR | O_CLOEXEC);
	int rc;

	if (control < 0)
		return err_system(err, errno, CONTROL);
	rc = open_by(control, device, verity, on, err);
	(void)close(control);
	if (rc != RC_OK)
		init_verity_close(on);
	return rc;
}

void init_verity_close(const char *on)
{
	const int control = open(CONTROL, O_RDWR | O_CLOEXEC);
	struct request request = { 0 };

	if (control < 0)
		return;
	(void)ask(control, DM_DEV_REMOVE, on, &request);
	(void)close(control);
}

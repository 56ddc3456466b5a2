#include "replica/accel.h"

#include "appliance/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CPUINFO_MAX \
	((size_t)16 << 10) /* the first processor's part, all that is needed, has 2 KiB */

bool accel_has_virtualization(const char *cpuinfo)
{
	const char *flags = strstr(cpuinfo, "\nflags");
	size_t len, word;

	if (flags == NULL)
		return false;
	flags++;
	len = strcspn(flags, "\n");
	for (; len > 0; flags += word, len -= word) {
		word = strcspn(flags, " \t\n");
		if (word == 3 && (strncmp(flags, "vmx", 3) == 0 || strncmp(flags, "svm", 3) == 0))
			return true;
		word += word < len;
	}
	return false;
}

static bool read_cpuinfo(char *text, size_t size)
{
	int fd = open("/proc/cpuinfo", O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t r = 1;

	if (fd < 0)
		return false;
	while (r > 0 && len + 1 < size) {
		r = read(fd, text + len, size - 1 - len);
		if (r > 0)
			len += (size_t)r;
	}
	(void)close(fd);
	text[len] = '\0';
	return len > 0;
}

bool accel_has_kvm(char why[ACCEL_WHY_MAX])
{
	char *cpuinfo = mem_alloc(CPUINFO_MAX);
	bool found = cpuinfo != NULL && read_cpuinfo(cpuinfo, CPUINFO_MAX) &&
		     accel_has_virtualization(cpuinfo);
	int fd;

	mem_free(cpuinfo);
	if (!found) {
		(void)snprintf(why, ACCEL_WHY_MAX, "the processor shows neither vmx nor svm");
		return false;
	}
	fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		(void)snprintf(why, ACCEL_WHY_MAX, "/dev/kvm: %s", strerror(errno));
		return false;
	}
	(void)close(fd);
	return true;
}

int accel_choose(const char **accel, const char *wanted, const char *primary, bool has_kvm,
		 const char *why, struct err *err)
{
	bool automatic = strcmp(wanted, "auto") == 0;

	if (!automatic && strcmp(wanted, "kvm") != 0 && strcmp(wanted, "tcg") != 0)
		return err_set(err, RC_INVALID, "accelerator \"%.16s\"; known: auto, kvm, tcg",
			       wanted);
	if (!automatic)
		*accel = strcmp(wanted, "kvm") == 0 ? "kvm" : "tcg";
	else if (*primary != '\0')
		*accel = strcmp(primary, "kvm") == 0 ? "kvm" : "tcg";
	else
		*accel = has_kvm ? "kvm" : "tcg";
	if (strcmp(*accel, "kvm") == 0 && !has_kvm)
		return err_set(err, RC_UNSUPPORTED, "%s KVM, which does not work here: %s",
			       automatic ? "the instance runs under" : "the configuration wants",
			       why);
	return RC_OK;
}

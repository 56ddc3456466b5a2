#include "appliance/init_processes.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_MAX_BYTES 64 /* of a process's: the kernel has 15 */
#define ENTRY_MAX (NAME_MAX_BYTES + 64)

/* Up to the first end of a line or NUL; its length, 0: there is none. */
static size_t read_first(int dir, const char *process, const char *file, char *out, size_t size)
{
	char path[ENTRY_MAX];
	ssize_t n;
	int fd;

	(void)snprintf(path, sizeof(path), "%.20s/%s", process, file);
	fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, out, size - 1);
	if (fd >= 0)
		(void)close(fd);
	out[n > 0 ? n : 0] = '\0';
	out[strcspn(out, "\n")] = '\0';
	return strlen(out);
}

static int is_process(const struct dirent *entry)
{
	return isdigit((unsigned char)entry->d_name[0]);
}

static int by_number(const struct dirent **a, const struct dirent **b)
{
	const long first = strtol((*a)->d_name, NULL, 10), second = strtol((*b)->d_name, NULL, 10);

	return (first > second) - (first < second);
}

/* "NAME (NUMBER)", and of another user than ours "NAME (NUMBER, user UID)"; false: it has ended, or is a thread of the kernel's, which has no command line. */
static bool describe(int dir, const char *process, char out[ENTRY_MAX])
{
	char name[NAME_MAX_BYTES], words[NAME_MAX_BYTES], user[32] = "";
	struct stat st;

	if (read_first(dir, process, "cmdline", words, sizeof(words)) == 0 ||
	    read_first(dir, process, "comm", name, sizeof(name)) == 0)
		return false;
	if (fstatat(dir, process, &st, 0) == 0 && st.st_uid != geteuid())
		(void)snprintf(user, sizeof(user), ", user %u", (unsigned)st.st_uid);
	(void)snprintf(out, ENTRY_MAX, "%s (%.20s%s)", name, process, user);
	return true;
}

void init_processes_tell(char *out, size_t size, const char *proc)
{
	static const char between[] = ", ", more[] = ", ...";
	const int dir = open(proc, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent **found = NULL;
	const int count = scandir(proc, &found, is_process, by_number);
	char entry[ENTRY_MAX];
	bool full = false;
	size_t len = 0;

	out[0] = '\0';
	for (int i = 0; i < count; i++) {
		if (!full && describe(dir, found[i]->d_name, entry)) {
			full = len + strlen(between) + strlen(entry) + sizeof(more) > size;
			len += (size_t)snprintf(out + len, size - len, "%s%s",
						full	? more :
						len > 0 ? between :
							  "",
						full ? "" : entry);
		}
		free(found[i]);
	}
	free(found);
	if (dir >= 0)
		(void)close(dir);
}

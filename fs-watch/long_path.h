/*
 * Directories by paths that are longer than a system call takes: gone down in parts.
 */
#ifndef FS_WATCH_LONG_PATH_H
#define FS_WATCH_LONG_PATH_H

#include <stdbool.h>
#include <sys/stat.h>

/* O_PATH, of a directory below `top`; no link at the end of a part is followed. `path` is changed meanwhile. -1 and errno. */
int long_path_open(int top, char *path);
/* Of `name` in the directory `dir` below `top`, "" for that itself; a link is not followed. False: it is not there. */
bool long_path_stat(int top, char *dir, const char *name, struct stat *st);

#endif

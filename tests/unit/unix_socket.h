/* Unix sockets for tests. */
#ifndef TESTS_UNIT_UNIX_SOCKET_H
#define TESTS_UNIT_UNIX_SOCKET_H

/* A stream socket at `path`, which nobody may have yet; nobody listens on it. */
int unix_socket_bind(const char *path);
/* And one that listens; one connection may wait to be accepted. */
int unix_socket_listen(const char *path);

#endif

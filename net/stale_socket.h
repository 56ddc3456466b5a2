/*
 * The socket file that a process left behind.
 */
#ifndef NET_STALE_SOCKET_H
#define NET_STALE_SOCKET_H

/*
 * Removes it, as it is in the way of a new one. A stream socket that somebody listens on, and what is
 * no socket, are not touched: then uv_pipe_bind() says what is wrong. `path` fits in a sockaddr_un.
 */
void stale_socket_remove(const char *path);

#endif

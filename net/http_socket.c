#include "net/http_socket.h"

#include "net/address.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

static const char unix_prefix[] = "unix:";

static int unix_socket(struct http_socket *to, const char *path, struct err *err)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	size_t len = strlen(path);

	if (len == 0 || len >= sizeof(un.sun_path))
		return err_set(err, RC_INVALID, "a unix socket's path has 1 to %zu bytes",
			       sizeof(un.sun_path) - 1);
	memcpy(un.sun_path, path, len + 1);
	memcpy(&to->address, &un, sizeof(un));
	to->len = sizeof(un);
	to->is_unix = true;
	return RC_OK;
}

static int resolve(struct http_socket *to, const struct address *address, struct err *err)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM },
			*found = NULL;
	char port[8];
	int r;

	(void)snprintf(port, sizeof(port), "%u", address->port);
	r = getaddrinfo(address->host, port, &hints, &found);
	if (r != 0)
		return err_set(err, RC_IO, "%s: %s", address->host,
			       r == EAI_AGAIN ? "no name server answers; an IP address needs none" :
						gai_strerror(r));
	memcpy(&to->address, found->ai_addr, found->ai_addrlen);
	to->len = found->ai_addrlen;
	freeaddrinfo(found);
	return RC_OK;
}

int http_socket_of(struct http_socket *to, const char *text, bool any_port, struct err *err)
{
	struct address address;
	int rc;

	memset(to, 0, sizeof(*to));
	if (strncmp(text, unix_prefix, strlen(unix_prefix)) == 0)
		return unix_socket(to, text + strlen(unix_prefix), err);
	rc = address_parse(&address, text, any_port, err);
	if (rc != RC_OK)
		return rc;
	if (!address_to_socket(&address, &to->address))
		return resolve(to, &address, err);
	to->len = to->address.ss_family == AF_INET ? sizeof(struct sockaddr_in) :
						     sizeof(struct sockaddr_in6);
	return RC_OK;
}

bool http_socket_is_local(const char *text)
{
	struct address address;
	struct err ignored;

	return strncmp(text, unix_prefix, strlen(unix_prefix)) == 0 ||
	       (address_parse(&address, text, true, &ignored) == RC_OK &&
		address_is_loopback(&address));
}

/* The directory that a unix socket would be made in. */
static void directory_of(const struct http_socket *socket, char out[sizeof(struct sockaddr_un)])
{
	struct sockaddr_un un;
	const char *slash;
	size_t len;

	memcpy(&un, &socket->address, sizeof(un));
	slash = strrchr(un.sun_path, '/');
	if (slash == NULL) {
		(void)snprintf(out, sizeof(un), ".");
		return;
	}
	len = (size_t)(slash - un.sun_path);
	/* "/socket" is made in "/". */
	(void)snprintf(out, sizeof(un), "%.*s", (int)(len > 0 ? len : 1), un.sun_path);
}

/* libuv says UV_EACCES for a directory that does not exist, too: the directory itself is asked. */
int http_socket_refused(const struct http_socket *socket, int r, struct err *err)
{
	char directory[sizeof(struct sockaddr_un)];
	struct stat info;

	if (!socket->is_unix || r != UV_EACCES)
		return err_set(
			err, RC_IO, "%s%s", uv_strerror(r),
			r != UV_EADDRINUSE ?
				"" :
				": another process listens there; end it, or choose another one");
	directory_of(socket, directory);
	if (stat(directory, &info) != 0)
		return err_set(err, RC_IO, "the directory %s: %s%s", directory, strerror(errno),
			       errno == ENOENT ? "; make it first, or choose another path" : "");
	if (!S_ISDIR(info.st_mode))
		return err_set(err, RC_IO, "%s is not a directory", directory);
	return err_set(err, RC_IO, "permission denied: user %u may not make a file in %s",
		       (unsigned)geteuid(), directory);
}

#!/bin/sh
# Runs a command where it may make network namespaces: as it is for root, in a user namespace of its own otherwise.
if [ "$(id -u)" = 0 ]; then
	exec "$@"
fi
if ! unshare --user --map-root-user true 2>/dev/null; then
	echo "tests/enter.sh: needs root, or user namespaces (sysctl kernel.unprivileged_userns_clone=1)" >&2
	exit 1
fi
exec unshare --user --map-root-user --net --mount "$@"

#!/usr/bin/env bash
# A disk with a database for the test guest: an ext4 file system with PostgreSQL as this machine's package has it (the server
# and the shared libraries that it names), an empty cluster, and /start, which the guest's init runs in it.
#
# Its blocks are of 1 KiB, so that many a write is less than a page of an epoch. The cluster is made here, by initdb, which does not run as root: as nobody then, whose files they are in the guest as well.
#
# result: build/guest/postgres.ext4 where PostgreSQL is installed
set -euo pipefail
cd "$(dirname "$0")/.."
. image/apt.sh

disk=build/guest/postgres.ext4
step_count=0
step_total=1
bin=$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1)
rm -f "$disk"
if [[ -z $bin || ! -x $bin/postgres ]]; then
	say 'PostgreSQL is not installed here: no guest has a database'
	exit
fi

step_begin "a disk with PostgreSQL $(basename "${bin%/bin}") for the test guest"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
root=$work/root
mkdir -p "$root"/{bin,dev,etc,proc,sys,tmp,data,usr/share/zoneinfo}
chmod 1777 "$root/tmp"
chmod 700 "$root/data"

# add FILE...: at the same place there, with what it is linked to.
add() {
	local file
	for file; do
		[[ ! -e $root$file ]] || continue
		mkdir -p "$root$(dirname "$file")"
		cp -L "$file" "$root$file"
	done
}
add "$bin/postgres" "${bin%/bin}"/lib/{plpgsql,dict_snowball,amcheck}.so
add $(ldd "$bin/postgres" | grep -oE '/[^ ]+')
add /usr/share/zoneinfo/{UTC,Etc/UTC}
mkdir -p "$root/usr/share/postgresql"
cp -r "/usr/share/postgresql/$(basename "${bin%/bin}")" "$root/usr/share/postgresql/"
cp build/guest/root/bin/busybox "$root/bin/"
ln -s busybox "$root/bin/sh"

as_nobody=()
((EUID != 0)) || as_nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups)
owner=$( ((EUID != 0)) && id -u || echo 65534)
((EUID != 0)) || chown 65534:65534 "$root/data"
"${as_nobody[@]}" "$bin/initdb" -D "$root/data" -U postgres --auth=trust --locale=C --encoding=UTF8 --no-sync >"$work/log" 2>&1 ||
	{ cat "$work/log" >&2 && die 'initdb failed'; }
echo 'host all all all trust' >>"$root/data/pg_hba.conf"
cat >>"$root/data/postgresql.conf" <<-'END'
	listen_addresses = '*'
	unix_socket_directories = '/tmp'
	dynamic_shared_memory_type = mmap
	shared_buffers = 16MB
	timezone = 'UTC'
	log_timezone = 'UTC'
END
echo "postgres:x:$owner:$owner::/data:/bin/sh" >"$root/etc/passwd"
cat >"$root/start" <<-END
	#!/bin/sh
	# Runs PostgreSQL, in the root that this file is in.
	/bin/busybox mount -t proc proc /proc
	/bin/busybox mount -t sysfs sysfs /sys
	/bin/busybox mount -t devtmpfs devtmpfs /dev
	exec /bin/busybox su postgres -c 'exec $bin/postgres -D /data' </dev/null >/tmp/log 2>&1
END
chmod 755 "$root/start"
truncate -s 256M "$work/disk"
/sbin/mke2fs -q -F -t ext4 -m 0 -d "$root" "$work/disk"
cp --sparse=always "$work/disk" "$disk"
step_end "$(du -m "$disk" | cut -f 1) MiB"

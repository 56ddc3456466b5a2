#!/usr/bin/env bash
# The test guest's initramfs: tests/guest/*.c as a static executable, its init script, busybox, and the kernel modules
# for a virtio network card and disk and for VLANs. Made without root: cpio writes every file as root's.
#
# A second one has Debian's redis-server as well: the program as this machine's package redis-tools has it (redis-server
# is a link to it), with the shared libraries that it names. The kernel unpacks archives that follow one another.
#
# result: build/guest/initramfs.gz, and build/guest/redis.gz where redis-tools is installed
set -euo pipefail
cd "$(dirname "$0")/.."
. image/apt.sh
. image/sources.sh

modules=(virtio_net virtio_blk 8021q)
root=build/guest/root
kernel=build/kernel/modules
step_count=0
step_total=1

# add_module NAME: the module after those it depends on, unpacked, in the order in which init loads them.
add_module() {
	local file dependency
	file=$(find "$kernel" -name "$1.ko*" -print -quit)
	[[ -n $file ]] || die "the kernel in build/kernel has no module $1"
	[[ ! -f $root/modules/$1.ko ]] || return 0
	case $file in
	*.xz) xz -dc "$file" ;;
	*.zst) zstd -qdc "$file" ;;
	*) cat "$file" ;;
	esac >"$root/modules/$1.ko"
	for dependency in $(modinfo_depends "$root/modules/$1.ko"); do add_module "$dependency"; done
	echo "$1.ko" >>"$root/modules/order"
}

# The "depends=a,b" of the module's .modinfo section.
modinfo_depends() {
	objcopy -O binary --only-section=.modinfo "$1" /dev/stdout | tr '\0' '\n' | sed -n 's/^depends=//p' | tr ',' ' '
}

# pack DIR FILE: a compressed archive of all that is in DIR, the same for the same contents.
pack() {
	(cd "$1" && find . -print0 | LC_ALL=C sort -z | cpio --null --quiet --reproducible -o -H newc -R 0:0) | gzip -9n >"$2"
}

# add_redis ROOT PROGRAM: the program as bin/redis-server, and the libraries and the loader at the paths where it looks.
add_redis() {
	local library
	mkdir -p "$1/bin"
	cp "$2" "$1/bin/redis-server"
	while read -r library; do
		mkdir -p "$1$(dirname "$library")"
		cp -L "$library" "$1$library"
	done < <(ldd "$2" | grep -oE '/[^ ]+')
}

step_begin "the test guest's initramfs"
sources_open guest
sources_get download busybox-static
sources_close
rm -rf "$root" && mkdir -p "$root"/{bin,modules} build/guest/busybox
dpkg -x "$(used_files busybox-static)" build/guest/busybox
cp "$(find build/guest/busybox -name busybox -type f -perm -u+x -print -quit)" "$root/bin/busybox"
build/musl/bin/musl-cc -std=gnu11 -I. -D_GNU_SOURCE -Wall -Wextra -Wconversion -Wshadow -Werror -O2 -s \
	-o "$root/bin/guest" tests/guest/*.c
cp tests/guest/init "$root/init"
for module in "${modules[@]}"; do add_module "$module"; done
pack "$root" build/guest/initramfs.gz.new
rm -rf build/guest/redis.gz build/guest/redis
if redis=$(command -v redis-check-rdb); then
	add_redis build/guest/redis "$redis"
	pack build/guest/redis build/guest/redis-only.gz
	cat build/guest/initramfs.gz.new build/guest/redis-only.gz >build/guest/redis.gz
fi
mv build/guest/initramfs.gz.new build/guest/initramfs.gz
step_end "$(du -k build/guest/initramfs.gz | cut -f 1) KiB"

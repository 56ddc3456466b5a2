#!/usr/bin/env bash
# The test guest's initramfs: tests/guest/*.c as a static executable, its init script, busybox, and the kernel modules
# for a virtio network card and disk. Made without root: cpio writes every file as root's.
#
# result: build/guest/initramfs.gz
set -euo pipefail
cd "$(dirname "$0")/.."
. image/apt.sh
. image/sources.sh

modules=(virtio_net virtio_blk)
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
(cd "$root" && find . -print0 | LC_ALL=C sort -z | cpio --null --quiet --reproducible -o -H newc -R 0:0) |
	gzip -9n >build/guest/initramfs.gz.new
mv build/guest/initramfs.gz.new build/guest/initramfs.gz
step_end "$(du -k build/guest/initramfs.gz | cut -f 1) KiB"

#!/usr/bin/env bash
# The test guest's initramfs: tests/guest/*.c as a static executable, its init script, busybox, and the kernel modules
# for a virtio network card and disk and for VLANs. Made without root: cpio writes every file as root's.
#
# A second one has Debian's redis-server as well: the program as this machine's package redis-tools has it (redis-server
# is a link to it), with the shared libraries that it names. The kernel unpacks archives that follow one another.
#
# The kernel is unpacked here, once, and its modules lose their symbols and signatures: an emulated processor takes a second for
# the one and a quarter of a second for the other, each time a guest is booted.
#
# result: build/guest/initramfs.gz, build/guest/vmlinux, and build/guest/redis.gz where redis-tools is installed
set -euo pipefail
cd "$(dirname "$0")/.."
. image/apt.sh
. image/sources.sh
. image/modules.sh

modules=(virtio_net virtio_blk 8021q)
root=build/guest/root
kernel=build/kernel/modules
step_count=0
step_total=1

# number FILE OFFSET BYTES: an unsigned little-endian number in a file.
number() {
	od -An -v -t "u$3" -j "$2" -N "$3" --endian=little "$1" | tr -d ' '
}

# unpack_kernel BZIMAGE FILE: the ELF file within. Its place is in the header that Linux documents in arch/x86/boot.rst: the
# sectors of the real-mode code at 0x1f1, then, from its end, payload_offset at 0x248 and payload_length at 0x24c, whose last
# four bytes are the unpacked size. QEMU starts the ELF file at the entry that a PVH note names.
unpack_kernel() {
	local sectors offset length size
	sectors=$(number "$1" $((0x1f1)) 1)
	offset=$(((sectors + 1) * 512 + $(number "$1" $((0x248)) 4)))
	length=$(number "$1" $((0x24c)) 4)
	size=$(number "$1" $((offset + length - 4)) 4)
	dd if="$1" of="$2.packed" bs=1M iflag=skip_bytes,count_bytes skip="$offset" count=$((length - 4)) status=none
	case $(number "$2.packed" 0 4) in
	$((0xfd2fb528))) zstd -qdcf "$2.packed" ;;
	$((0x587a37fd))) xz -dcq "$2.packed" ;;
	*) die "$1: packed in a way that is not known here" ;;
	esac >"$2"
	rm "$2.packed"
	(($(stat -c %s "$2") == size)) || die "$1: what was unpacked is not the kernel"
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
modules_copy "$kernel" "$root/modules" "${modules[@]}"
for module in "$root"/modules/*.ko; do objcopy --strip-debug "$module"; done
unpack_kernel build/kernel/vmlinuz build/guest/vmlinux
pack "$root" build/guest/initramfs.gz.new
rm -rf build/guest/redis.gz build/guest/redis
if redis=$(command -v redis-check-rdb); then
	add_redis build/guest/redis "$redis"
	pack build/guest/redis build/guest/redis-only.gz
	cat build/guest/initramfs.gz.new build/guest/redis-only.gz >build/guest/redis.gz
fi
mv build/guest/initramfs.gz.new build/guest/initramfs.gz
step_end "$(du -k build/guest/initramfs.gz | cut -f 1) KiB"

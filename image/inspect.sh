#!/usr/bin/env bash
# Lists everything that is in an appliance's disk image, a line each, as image/contents has it: "PLACE MODE PATH". Nothing is mounted,
# and no root is needed.
#
#   disk        what is outside of file systems: GRUB's first sector, and its core image (partition 1)
#   boot        partition 2, FAT, which knows no modes: d or -
#   initramfs   in partition 2
#   system      partition 3, squashfs; a symbolic link with its target
#
# What is not root's or is otherwise strange has a question mark and the whole line. With DIR (which must not exist) the files are put there, below PLACE.
#
# usage: image/inspect.sh IMAGE [DIR]
set -euo pipefail
export LC_ALL=C TZ=UTC
image=$1
work=${2:-$(mktemp -d)}
[[ -n ${2:-} ]] || trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/disk

# start NUMBER, size NUMBER: of a partition, in sectors.
start() { sed -n "s/^[^ ]*$1 : start= *\([0-9]*\).*/\1/p" <<<"$table"; }
size() { sed -n "s/^[^ ]*$1 : .*size= *\([0-9]*\).*/\1/p" <<<"$table"; }

# listing PLACE PREFIX: from numeric lines of ls, in which PREFIX ends before the path. A line that is not understood is not lost.
listing() {
	local mode='([-dlbcps][-rwxstST]{9})'
	sed -nE "/^$/d; s/^$mode +([0-9]+ +)?0[ /]+0 .*$2\/?/$1 \1 /; t known; s/^/$1 ? /p; d; :known; s/ $/ ./; p" | sort -k 3
}

table=$(sfdisk -d "$image")
esp=$image@@$(($(start 2) * 512))
head -c 440 "$image" >"$work/disk/boot.img"
dd if="$image" of="$work/disk/core.img" bs=512 skip="$(start 1)" count="$(size 1)" status=none
mkdir "$work/boot" "$work/initramfs"
mcopy -s -n -i "$esp" ::/ "$work/boot/"
zstd -qdc "$work/boot/initramfs" | (cd "$work/initramfs" && cpio --quiet --no-preserve-owner -idm)
unsquashfs -q -n -no-xattrs -o $(($(start 3) * 512)) -d "$work/system" "$image" >/dev/null
printf 'disk - %s\n' boot.img core.img
mdir -/ -b -i "$esp" :: | sed -nE 's|^::/(.*)/$|boot d \1|p; t; s|^::/|boot - |p' | sort
zstd -qdc "$work/boot/initramfs" | cpio --quiet -tvn | listing initramfs ' [0-9]{4} '
unsquashfs -n -no-xattrs -llnumeric -o $(($(start 3) * 512)) "$image" | listing system squashfs-root

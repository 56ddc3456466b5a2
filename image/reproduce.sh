#!/usr/bin/env bash
# Makes program and image once more, in another folder, and compares all bytes with those of build/: with other times, another time zone
# and umask, and as root for another user (nobody). The libraries, the hypervisor and the kernel are taken as they are.
#
# usage: image/reproduce.sh      what is left of it when they differ: its folder, which it names
set -euo pipefail
cd "$(dirname "$0")/.."
. image/apt.sh
. image/sources.sh

other=$(mktemp -d /var/tmp/understudy-again.XXXXXX)
mkdir -p "$other"/build/image "$other"/cache/understudy/sources
cp -r --reflink=auto Makefile LICENSE image appliance fs-watch net replica "$other/"
cp -r --reflink=auto build/{musl,kernel,deps.used} "$other/build/"
cp -rL --reflink=auto build/qemu "$other/build/"
awk '{ print $4 }' build/deps.used | while read -r file; do cp --reflink=auto "$sources/$file" "$other/cache/understudy/sources/"; done
version=$(sed -n 's/.*"\(.*\)"$/\1/p' build/version.h)

become=()
if ((EUID == 0)); then
	chown -R nobody "$other"
	become=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
fi
(
	cd "$other"
	umask 077
	export XDG_CACHE_HOME=$other/cache TZ=Asia/Kathmandu HOME=$other
	unset MAKEFLAGS MAKELEVEL UNDERSTUDY_SOURCES CONFIG
	"${become[@]}" make -s -j "$(nproc)" -o build/musl/ready -o build/musl/libs VERSION="$version" CACHED= build/understudy
	NO_FAKE_STAT=1 "${become[@]}" faketime -f '@2031-05-06 07:08:09' image/image.sh # files keep their times
) >"$other/log" 2>&1 || die "making it again failed: $(tail -n 20 "$other/log")"
for file in understudy image/understudy.{raw,qcow2,spdx.json}; do
	cmp "build/$file" "$other/build/$file" >&2 || die "build/$file is not the same when it is made again, in $other"
done
rm -rf "$other"

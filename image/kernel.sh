#!/usr/bin/env bash
# The kernel of the appliance and of the test guest: Debian 13's cloud kernel, unpacked and not installed. See sources.sh for where it comes from.
#
# result: build/kernel/vmlinuz, build/kernel/modules (what is below /lib/modules/VERSION), build/kernel/copyright
set -euo pipefail
cd "$(dirname "$0")/.."
. image/apt.sh
. image/sources.sh

step_count=0
step_total=1

# The package carries its version in its name. The one of the lock if it is in the cache, otherwise the one that
# linux-image-cloud-amd64 stands for now.
name=$(awk '$1 ~ /^linux-image-[0-9].*-cloud-amd64$/ { print $1; exit }' "$lock")
step_begin 'a kernel for the test guest'
sources_open kernel
if ! sources_listed_in "$lock" "${name:-none}" "$(sources_version "$lock" "${name:-none}")"; then
	if [[ -z ${UNDERSTUDY_SOURCES:-} ]]; then
		now=$(apt_depends linux-image-cloud-amd64 | grep -oE 'linux-image-[0-9][^ ]*-cloud-amd64') || true
		name=${now:-$name}
	fi
	[[ -n $name ]] || die 'cannot tell which kernel the suite has (messages above)'
	sources_get download "$name"
fi
sources_close
if cmp -s "$used" build/kernel/package && [[ -f build/kernel/copyright ]]; then
	touch build/kernel/ready
	step_end "${name#linux-image-}"
	exit
fi
new=build/kernel.new
rm -rf "$new" && mkdir -p "$new"
dpkg -x "$(used_files "$name")" "$new/deb"
mv "$new"/deb/boot/vmlinuz-* "$new/vmlinuz"
mv "$(find "$new/deb" -path '*lib/modules/*' -prune -type d -print -quit)" "$new/modules"
cp "$new/deb/usr/share/doc/$name/copyright" "$new/copyright"
cp "$used" "$new/package"
touch "$new/ready"
rm -rf "$new/deb" build/kernel
mv "$new" build/kernel
step_end "${name#linux-image-}"

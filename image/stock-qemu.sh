#!/usr/bin/env bash
# The distribution's own QEMU, for the test that it is refused under TCG: the packages that are not installed here are
# downloaded through the machine's apt and unpacked, not installed (on Debian 12: 16 MB, 75 MB unpacked, kept in
# ~/.cache/understudy). Without network or package there is a note, and the test is skipped.
#
# result: build/stock-qemu, a link, or nothing where QEMU is installed anyway
set -euo pipefail
cd "$(dirname "$0")/.."
. image/apt.sh

package=qemu-system-x86
! command -v qemu-system-x86_64 >/dev/null || exit 0
version=$(apt-cache policy $package 2>/dev/null | sed -n 's/^ *Candidate: //p')
if [[ -z $version || $version == '(none)' ]]; then
	say "this machine's apt knows no $package; the test with a stock QEMU will be skipped"
	exit 0
fi
result=$cache_dir/stock-qemu-$version
if [[ ! -d $result ]]; then
	step_total=1
	step_count=0
	step_begin "downloading $package $version (not installed, for one test)"
	mkdir -p "$cache_dir"
	work=$(mktemp -d "$cache_dir/.stock-qemu.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	mkdir -p "$work"/{out,debs/partial}
	if ! timeout 300 apt-get install -y -qq --no-install-recommends --download-only -o Debug::NoLocking=1 \
		-o Dir::Cache::archives="$work/debs" -o APT::Sandbox::User=root $package >"$work/log" 2>&1; then
		say "$(grep -m 1 '^E:' "$work/log" || echo "$package cannot be fetched"); the test with it will be skipped"
		exit 0
	fi
	for deb in "$work"/debs/*.deb; do dpkg -x "$deb" "$work/out"; done
	mv -T "$work/out" "$result"
	step_end
fi
mkdir -p build
ln -sfn "$result" build/stock-qemu

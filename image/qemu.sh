#!/usr/bin/env bash
# The hypervisor: a static QEMU for x86-64 guests from Debian 13's source package, with every device of a PC and no
# optional feature (no display server, no user-mode network, no audio); and the firmware that its devices load.
#
# Built once: the result is kept in ~/.cache/understudy/qemu-HASH, where HASH is over how it is built (the functions here),
# the patches, the checksums of everything that goes in, and the versions of this machine's libraries that are linked.
# build/qemu is a link to it.
#
# result: build/qemu/qemu-system-x86_64, build/qemu/firmware/ (for -L), build/qemu/VERSION; of what it was made, build/qemu/sources
# (in the lock's format) and build/qemu/linked (sources_here), and their licences, build/qemu/licenses
set -euo pipefail
cd "$(dirname "$0")/.."
. image/apt.sh
. image/sources.sh

step_count=0
step_total=6
patches=(image/qemu-*.patch)
pkgversion=understudy-colo2
linked=$(sources_here libc6-dev libglib2.0-dev zlib1g-dev libfdt-dev libpcre2-dev && sources_libgcc)

# Beside the sources of QEMU and of Pixman, of which Debian 13 has no static library, these packages are unpacked: Meson,
# which is run from its folder (QEMU wants one newer than Debian 12's), and the firmware, of which Debian's QEMU source has
# none: BIOS and VGA BIOSes; the network boot ROMs, without whose files a network card does not start; the boot helpers.
binaries=(meson seabios ipxe-qemu qemu-system-data)

get_sources() {
	local package
	sources_open qemu
	sources_get source qemu 'qemu_*.orig.tar.*'
	sources_get source pixman 'pixman_*.orig.tar.*'
	for package in "${binaries[@]}"; do sources_get download "$package"; done
	sources_close
}

# hash_of LIST: LIST names the files that go in, in the lock's format.
hash_of() {
	{
		declare -f unpack_debs build_pixman configure_qemu compile_qemu collect
		echo "$pkgversion" "$linked"
		cat "${patches[@]}" "$1"
	} | sha256sum | cut -c 1-16
}

link_result() {
	mkdir -p build
	ln -sfn "$1" build/qemu
	touch build/qemu.ready
}

unpack_debs() {
	local package
	for package in "${binaries[@]}"; do
		dpkg -x "$(used_files "$package")" "$work/$package"
	done
}

build_pixman() {
	unpack_source pixman "$work/pixman"
	meson setup "$work/pixman/b" "$work/pixman" --prefix "$work/prefix" --libdir lib --buildtype release \
		--default-library static -Dtests=disabled -Ddemos=disabled -Dgtk=disabled -Dlibpng=disabled -Dopenmp=disabled
	ninja -C "$work/pixman/b" install
}

# Left out of the build: the firmware (not in Debian's source), QEMU's own tests and what only they need.
configure_qemu() {
	unpack_source qemu "$work/src"
	cd "$work/src"
	sed -i "s/^subdir('pc-bios')/#&/; s/^subdir('tests/#&/" meson.build
	sed -i '/^pycotap/d' pythondeps.toml
	mkdir b
	cd b
	PKG_CONFIG_PATH=$work/prefix/lib/pkgconfig ../configure --python="$(command -v python3)" --static --target-list=x86_64-softmmu \
		--without-default-features --enable-tcg --enable-kvm --enable-replication --enable-pixman --enable-fdt=system \
		--with-pkgversion="$pkgversion" --disable-install-blobs --disable-user --disable-docs --disable-tools \
		--disable-debug-info --disable-werror
}

# Ninja's [done/total] as one line that grows: in place on a terminal, otherwise a figure for every tenth.
show_progress() {
	local line percent last=0 tty=
	[[ ! -t 1 ]] || tty=1
	while IFS= read -r line; do
		[[ $line =~ ^\[([0-9]+)/([0-9]+)\] ]] || continue
		percent=$((100 * BASH_REMATCH[1] / BASH_REMATCH[2]))
		if [[ -n $tty ]]; then
			printf '%3d %%\b\b\b\b\b' "$percent"
		elif ((percent / 10 > last / 10)); then
			printf '%d%% ' "$percent"
		fi
		last=$percent
	done
}

compile_qemu() {
	NINJA_STATUS='[%f/%t] ' ninja -C "$work/src/b" qemu-system-x86_64 2>&1 | tee "$work/ninja.log" | show_progress
}

collect() {
	local package
	mkdir -p "$work/out"/{firmware,licenses}
	strip -o "$work/out/qemu-system-x86_64" "$work/src/b/qemu-system-x86_64"
	cp -L "$work"/seabios/usr/share/seabios/*.bin "$work"/ipxe-qemu/usr/share/qemu/{efi,pxe}-*.rom "$work/out/firmware/"
	cp -L "$work"/qemu-system-data/usr/share/qemu/{kvmvapic,linuxboot,linuxboot_dma,pvh}.bin "$work/out/firmware/"
	"$work/out/qemu-system-x86_64" -version | head -n 1 >"$work/out/VERSION"
	cp "$used" "$work/out/sources"
	echo "$linked" >"$work/out/linked"
	cp "$work/pixman/COPYING" "$work/out/licenses/pixman"
	for package in seabios ipxe-qemu qemu-system-data; do
		cp "$work/$package/usr/share/doc/$package/copyright" "$work/out/licenses/$package"
	done
	local device
	for device in virtio-net-pci piix3-ide ide-hd floppy usb-ehci VGA ich9-ahci; do
		grep -q "\"$device\"" <("$work/out/qemu-system-x86_64" -device help 2>/dev/null) || die "this QEMU has no $device"
	done
}

# quietly COMMAND: its output goes into a log that is shown if it fails.
quietly() {
	("$@") >"$work/log" 2>&1 || {
		tail -n 30 "$work/log" >&2
		die "building QEMU: $1 failed"
	}
}

mkdir -p "$cache_dir"
exec {qemu_lock}>"$cache_dir/.qemu.lock"
flock -n "$qemu_lock" || {
	say 'another build of QEMU is running; waiting for it'
	flock "$qemu_lock"
}

# What the lock names may be there already; then nothing has to be fetched.
awk -v p=" qemu pixman ${binaries[*]} " 'index(p, " " $1 " ")' "$lock" >"$cache_dir/.qemu.locked"
result=$cache_dir/qemu-$(hash_of "$cache_dir/.qemu.locked")
if [[ -z ${UNDERSTUDY_SOURCES:-} && -f $result/sources ]]; then
	mkdir -p build
	cp "$result/sources" build/qemu.used
	link_result "$result"
	exit
fi

step_begin 'sources of QEMU'
get_sources
step_end
result=$cache_dir/qemu-$(hash_of "$used")
if [[ -f $result/sources ]]; then
	link_result "$result"
	exit
fi

rm -rf "$cache_dir"/.qemu-build.* # what a killed build has left; ours is the only one
work=$(mktemp -d "$cache_dir/.qemu-build.XXXXXX")
trap 'rm -rf "$work"' EXIT
# Debian 13's meson on this machine's Python.
export PYTHONPATH=$work/meson/usr/lib/python3/dist-packages PATH=$work/meson/usr/bin:$PATH
step_begin 'unpacking'
unpack_debs
step_end
step_begin "pixman $(upstream_version pixman)"
quietly build_pixman
step_end
step_begin "configuring QEMU $(upstream_version qemu)"
quietly configure_qemu
step_end
step_begin 'compiling QEMU (about 2.5 minutes on 2 processors)'
compile_qemu || {
	grep -A 20 -m 3 -E 'FAILED|error:' "$work/ninja.log" >&2 || true
	die 'compiling QEMU failed'
}
step_end
step_begin 'stripping, firmware'
collect
rm -rf "$result"
mv "$work/out" "$result"
link_result "$result"
step_end

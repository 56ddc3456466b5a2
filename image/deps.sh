#!/usr/bin/env bash
# The libraries, from source: Debian 13's source packages (see sources.sh for which files, and what makes them
# trustworthy), with Debian's security and other patches, built twice:
#
#   build/musl   static, position independent, against musl, with gcc: what is shipped.
#   build/asan   with clang, AddressSanitizer and UBSan, against the machine's libc: unit tests and fuzzing.
#
# Each has include/ and lib/*.a; build/musl/bin/musl-cc is the compiler that knows where both are (see write_cc).
# A library is built again only if what it depends on has changed: its files, its recipe here, the compiler. All of build/musl
# and build/asan are kept in ~/.cache/understudy/libs-FLAVOUR-HASH, where HASH is over that, for other clones.
#
# usage: image/deps.sh [musl] [asan]       (default: both)
set -euo pipefail
cd "$(dirname "$0")/.."
. image/apt.sh
. image/sources.sh

repo=$PWD
build=$PWD/build
jobs=$(nproc)
# Source packages in the order of building. nodejs is here for llhttp's generated C sources, network-manager for the DHCP
# client that it has from nettools: nothing smaller in the suite carries them. Of these two only some directories are unpacked.
packages=(musl libuv1 mbedtls lz4 cjson nodejs network-manager)
declare -A parts=([nodejs]='deps/llhttp' [network-manager]='src/n-dhcp4/src src/c-list/src src/c-siphash/src src/c-stdaux/src')
# Packages of which Debian's patches are applied. Those of lz4 and nodejs are about packaging, or parts not used here.
patched=' musl libuv1 mbedtls cjson '
declare -A label=([musl]=musl [libuv1]=libuv [mbedtls]=mbedtls [lz4]=lz4 [cjson]=cJSON [nodejs]=llhttp [network-manager]=n-dhcp4)

get_sources() {
	local package patterns
	sources_open deps
	for package in "${packages[@]}"; do
		patterns=("${package}_*.orig.tar.*")
		[[ $patched != *" $package "* ]] || patterns+=("${package}_*.debian.tar.*")
		sources_get source "$package" "${patterns[@]}"
	done
	sources_close
}

# ---- building -------------------------------------------------------------------------------------------------------
# Each library is compiled here rather than by its own build system: a list of files and flags is all that each needs,
# and so neither cmake nor autotools is a prerequisite. musl has its own configure and make.

# compile FLAGS... -- FILES...: compiles the files of the current directory into obj/. archive LIB: makes them a library.
compile() {
	local flags=()
	while [[ $1 != -- ]]; do flags+=("$1") && shift; done
	shift
	mkdir -p obj
	printf '%s\0' "$@" |
		xargs -0 -P "$jobs" -I{} sh -c 'f=$1 && shift && exec "$@" -c "$f" -o "obj/$(printf %s "$f" | tr / _).o"' \
			sh {} "$cc" "${cflags[@]}" "${flags[@]}"
}
archive() {
	rm -f "$out/lib/$1"
	ar rcs "$out/lib/$1" obj/*.o
}

# musl-cc: gcc for musl. Compiles as any gcc; when linking, makes a static executable that can be loaded at any
# address (rcrt1.o relocates it; musl's own wrapper cannot do that). A thread's stack is what the executable's
# header says, so that is set here: musl's default of 128 KiB is little for what libraries keep on the stack.
write_cc() {
	mkdir -p "$out/bin"
	cat >"$out/bin/musl-cc" <<-'END'
		#!/bin/sh
		# gcc for musl: headers and libraries of the directory above, static-pie executables. Made by image/deps.sh.
		root=$(dirname "$(dirname "$(readlink -f "$0")")")
		gcc_dir=$(dirname "$(gcc -print-libgcc-file-name)")
		link=1
		for a in "$@"; do
			case $a in -c | -S | -E | -M | -MM | -fsyntax-only | -r) link= ;; esac
		done
		set -- -nostdinc -isystem "$root/include" -isystem "$gcc_dir/include" -fPIE "$@"
		[ -n "$link" ] || exec gcc "$@"
		exec gcc -nostdlib -static-pie -Wl,--no-dynamic-linker -Wl,-z,text -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack \
			-Wl,-z,stack-size=1048576 -Wl,--build-id -L"$root/lib" "$root/lib/rcrt1.o" "$root/lib/crti.o" \
			"$gcc_dir/crtbeginS.o" "$@" -Wl,--start-group -lc -lgcc -lgcc_eh -Wl,--end-group \
			"$gcc_dir/crtendS.o" "$root/lib/crtn.o"
	END
	chmod +x "$out/bin/musl-cc"
}

build_musl() {
	local dir
	CC=gcc CFLAGS="-O2 -g -fPIE -ffile-prefix-map=$PWD=musl" ./configure --prefix="$out" --syslibdir="$out/lib" \
		--disable-shared --disable-wrapper
	make -j "$jobs"
	make install
	# The kernel's own interface headers are independent of the C library; musl brings none.
	for dir in /usr/include/linux /usr/include/asm-generic /usr/include/mtd /usr/include/x86_64-linux-gnu/asm; do
		[[ ! -e $dir ]] || ln -sfn "$dir" "$out/include/${dir##*/}"
	done
	write_cc
}

build_libuv1() {
	local unix
	mapfile -t unix < <(printf 'src/unix/%s.c\n' async core dl fs getaddrinfo getnameinfo linux loop-watcher loop \
		pipe poll process proctitle procfs-exepath random-devurandom random-getrandom random-sysctl-linux signal stream \
		tcp thread tty udp)
	compile -Iinclude -Isrc -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -std=gnu11 -- \
		src/{fs-poll,idna,inet,random,strscpy,strtok,thread-common,threadpool,timer,uv-common,uv-data-getter-setters,version}.c \
		"${unix[@]}"
	archive libuv.a
	cp -r include/uv.h include/uv "$out/include/"
}

# aesni.c is compiled for processors with AES, CLMUL and SSSE3 instructions, which makes AES-GCM a third faster than its
# assembly does: its functions are called only after asking the processor at run time (for SSSE3, by our patch). The two
# files that call it have to know which form it has; their flags bring nothing that every x86-64 does not have.
build_mbedtls() {
	local flags=(-Ilibrary -Iinclude) files
	cp "$repo/image/mbedtls_config.h" include/mbedtls/mbedtls_config.h
	cp -r include/mbedtls include/psa "$out/include/"
	mapfile -t files < <(printf '%s\n' library/*.c | grep -vxE 'library/(aesni|aes|gcm).c')
	compile "${flags[@]}" -- "${files[@]}"
	compile "${flags[@]}" -O3 -maes -mpclmul -- library/aes.c library/gcm.c
	compile "${flags[@]}" -maes -mpclmul -mssse3 -- library/aesni.c
	archive libmbedtls.a
}

# The fast compressor and its block format, and XXH32/XXH64; neither the slow one nor the file format.
build_lz4() {
	compile -O3 -- lib/lz4.c lib/xxhash.c
	archive liblz4.a
	cp lib/lz4.h lib/xxhash.h "$out/include/"
}

# Recursion is limited to what no honest configuration, QMP reply or status comes near, so that a hostile one cannot
# use up the stack.
build_cjson() {
	compile -DCJSON_NESTING_LIMIT=64 -- cJSON.c
	archive libcjson.a
	cp --remove-destination cJSON.h "$out/include/"
	mkdir -p "$out/include/cjson"
	ln -sf ../cJSON.h "$out/include/cjson/cJSON.h"
}

build_nodejs() {
	cd deps/llhttp
	compile -Iinclude -- src/api.c src/http.c src/llhttp.c
	archive libllhttp.a
	cp include/llhttp.h "$out/include/"
}

# The client, and what of the server the two share. Its hash table's hash is part of it.
build_network-manager() {
	cd src
	compile -In-dhcp4/src -Ic-list/src -Ic-siphash/src -Ic-stdaux/src -std=c11 -D_GNU_SOURCE -- c-siphash/src/c-siphash.c \
		n-dhcp4/src/n-dhcp4-{c-connection,c-lease,c-probe,client,incoming,outgoing,socket}.c n-dhcp4/src/util/{packet,socket}.c
	archive libndhcp4.a
	cp n-dhcp4/src/n-dhcp4.h "$out/include/"
}

# What a library's build depends on, wherever the tree is: when this is what the stamp says, there is nothing to do.
inputs_of() {
	local package=$1
	awk -v p="$package" '$1 == p' "$used"
	"$base_cc" --version | head -n 1
	declare -p cflags | sed "s|$build|build|g"
	declare -f compile archive "build_$package"
	case $package in
	musl) declare -f write_cc ;;
	mbedtls) cat image/mbedtls_config.h image/mbedtls-*.patch ;;
	esac
	# Everything is compiled against musl's headers.
	[[ $package == musl || $flavour != musl ]] || inputs_of musl
}

is_built() { cmp -s "$out/stamp/$1.new" "$out/stamp/$1"; }
are_built() { for package; do is_built "$package" || return; done; }

# build_all PACKAGE...: the libraries of the flavour whose out, cc and cflags are set, from the cache where it has them.
build_all() {
	local package kept
	mkdir -p "$out"/{include,lib,stamp,work}
	for package; do inputs_of "$package" >"$out/stamp/$package.new"; done
	kept=$cache_dir/libs-$flavour-$(cd "$out/stamp" && cat "${@/%/.new}" | sha256sum | cut -c 1-16)
	if [[ -d $kept ]] && ! are_built "$@"; then
		step_count=$((step_count + $# - 1))
		step_begin "$flavour: from the cache"
		rm -rf "$out"/{bin,include,lib,stamp}
		cp -a "$kept"/* "$out/"
		step_end
		touch "$out/libs" "$kept"
	else
		for package; do build_one "$package"; done
		[[ -d $kept ]] || keep "$kept"
	fi
}

# Others that nobody has asked for in a month are removed.
keep() {
	local part=$1.$$
	find "$cache_dir" -maxdepth 1 -name 'libs-*' -mtime +30 -exec rm -rf {} +
	mkdir "$part"
	(cd "$out" && for dir in bin include lib stamp; do [[ ! -d $dir ]] || cp -a "$dir" "$part/"; done)
	mv -T "$part" "$1" 2>/dev/null || rm -rf "$part" # another was first
}

build_one() {
	local package=$1 work=$out/work/$1
	if is_built "$package"; then
		step_count=$((step_count + 1))
		rm "$out/stamp/$package.new"
		return
	fi
	step_begin "$flavour: ${label[$package]} $(upstream_or_llhttp "$package" "$work")"
	# By itself: as part of a list a command in it that fails would not end it.
	(cd "$work" && "build_$package") >"$out/stamp/$package.log" 2>&1 &
	wait $! || {
		tail -n 30 "$out/stamp/$package.log" >&2
		die "building ${label[$package]} for $flavour failed; the log is $out/stamp/$package.log"
	}
	step_end
	rm -rf "$work"
	mv "$out/stamp/$package.new" "$out/stamp/$package"
	touch "$out/libs" # what is compiled with them is to be compiled again
}

# Unpacks, and tells the version; llhttp's own is in its header, the package's is Node's.
upstream_or_llhttp() {
	# shellcheck disable=SC2086
	unpack_source "$1" "$2" ${parts[$1]:-}
	if [[ $1 == nodejs ]]; then
		sed -n 's/^#define LLHTTP_VERSION_[MP][A-Z]* //p' "$2/deps/llhttp/include/llhttp.h" | paste -sd .
	else
		upstream_version "$1"
	fi
}

flavour_musl() {
	local flavour=musl out=$build/musl base_cc=gcc
	local cc=$out/bin/musl-cc cflags=(-O2 -g -fstack-protector-strong -ffunction-sections -fdata-sections
		"-ffile-prefix-map=$build=build")
	build_all "${packages[@]}"
}

flavour_asan() {
	local flavour=asan out=$build/asan base_cc=clang
	local cc=clang cflags=(-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
		-fsanitize=fuzzer-no-link "-ffile-prefix-map=$build=build")
	build_all "${packages[@]:1}"
}

# ---- main -----------------------------------------------------------------------------------------------------------

mkdir -p "$build"
exec {build_lock}>"$build/.deps.lock"
flock "$build_lock"

flavours=("$@")
((${#flavours[@]})) || flavours=(musl asan)
step_count=0
step_total=$((1 + ${#flavours[@]} * 6))
[[ " ${flavours[*]} " != *' musl '* ]] || step_total=$((step_total + 1))
step_begin 'sources of the libraries'
get_sources
step_end
for flavour in "${flavours[@]}"; do
	case $flavour in
	musl | asan) "flavour_$flavour" ;;
	*) die "unknown flavour '$flavour'; known: musl, asan" ;;
	esac
done

# shellcheck shell=bash
# What is built from other people's packages: which files, from where, and how they are known to be the right ones.
#
# Sourced after apt.sh. image/deps.lock names what the project was last tested with, one line per file: "package version
# sha256 file". For each package, in this order:
#
#   1. The files that the lock names, if the cache has them with those checksums. Nobody is asked.
#   2. What the archive offers now. If that is not what the lock names, that is said, and it is used: a superseded
#      version must not break a fresh build. Its files were checked by apt; their checksums go into the cache's index.
#   3. If the archive cannot be reached: the version last put into the cache, and that is said.
#
# UNDERSTUDY_SOURCES=DIR replaces all of it: the files of the lock from DIR or, if it has others, whatever files of the
# package are there, and that is said, since nothing vouches for them.
#
# What was used is written in the lock's format to build/NAME.used; `make relock` makes that the lock.

lock=image/deps.lock
sources=$cache_dir/sources

# sources_open NAME: begins the list build/NAME.used; one process at a time uses the cache. sources_close ends both.
sources_open() {
	used=build/$1.used
	[[ -f $lock ]] || lock=/dev/null
	mkdir -p build
	: >"$used.new"
	if [[ -n ${UNDERSTUDY_SOURCES:-} ]]; then
		sources=$(realpath "$UNDERSTUDY_SOURCES")
	else
		mkdir -p "$sources"
		exec {sources_lock}>"$sources/.lock"
		flock "$sources_lock"
	fi
}

sources_close() {
	mv "$used.new" "$used"
	[[ -n ${UNDERSTUDY_SOURCES:-} ]] || exec {sources_lock}>&-
}

# sources_get source|download PACKAGE [PATTERN...]: makes sure of the package's files whose names match a pattern (all
# of a package that is not source). Afterwards the list of what is used has them.
sources_get() {
	local kind=$1 package=$2
	shift 2
	(($#)) || set -- "${package}_*.deb"
	if sources_listed_in "$lock" "$package" "$(sources_version "$lock" "$package")"; then
		return
	elif [[ -n ${UNDERSTUDY_SOURCES:-} ]]; then
		sources_given "$package" "$@"
	else
		sources_archive "$kind" "$package" "$@"
	fi
}

# sources_version LIST PACKAGE: the version in a list of the lock's format; the last one if it has several.
sources_version() { awk -v p="$2" '$1 == p { v = $2 } END { print v }' "$1"; }

# sources_listed_in LIST PACKAGE VERSION: all files that the list names for it are in the cache and unaltered; they are
# then noted as used.
sources_listed_in() {
	local name version sum file found=1
	while read -r name version sum file; do
		[[ $name == "$2" && $version == "$3" ]] || continue
		found=0
		[[ -f $sources/$file && $(sources_sum "$sources/$file") == "$sum" ]] || return 1
	done <"$1"
	((found)) || awk -v p="$2" -v v="$3" '$1 == p && $2 == v' "$1" >>"$used.new"
	return $found
}

sources_sum() { sha256sum "$1" | cut -d ' ' -f 1; }

# sources_match FILES-AND-PATTERNS: of the files in DIR, those whose names match a pattern.
sources_match() {
	local dir=$1 file pattern
	shift
	for file in "$dir"/*; do
		for pattern in "$@"; do
			# shellcheck disable=SC2053
			[[ ${file##*/} == $pattern && $file != *.asc ]] && printf '%s\n' "$file" && break
		done
	done
}

sources_given() {
	local package=$1 files version file
	shift
	mapfile -t files < <(sources_match "$sources" "$@")
	((${#files[@]})) || die "$sources (UNDERSTUDY_SOURCES) has no file of $package ($*)"
	version=${files[0]##*/"$package"_}
	version=${version%%.orig.tar.*}
	version=${version%%_*.deb}
	say "$package $version from $sources is not what $lock names ($(sources_version "$lock" "$package")): taken unverified"
	for file in "${files[@]}"; do
		printf '%s %s %s %s\n' "$package" "$version" "$(sources_sum "$file")" "${file##*/}" >>"$used.new"
	done
}

sources_archive() {
	local kind=$1 package=$2 version files file old index=$sources/index new=$sources/.new options=()
	shift 2
	touch "$index"
	old=$(sources_version "$lock" "$package")
	if version=$(apt_fetchable "$kind" "$package"); then
		if ! grep -qF "$package $version " "$index" || ! sources_listed_in "$index" "$package" "$version"; then
			[[ $kind != source ]] || options=(--download-only --only-source)
			[[ $kind != source || $* == *.debian.tar.* ]] || options+=(--tar-only)
			version=$(apt_fetch "$new" "$kind" "$package" "${options[@]}") ||
				die "cannot fetch $package of Debian's $suite (messages above)"
			mapfile -t files < <(sources_match "$new" "$@")
			((${#files[@]})) || die "the package $package $version has no file $*"
			grep -vF "$package $version " "$index" >"$index.new" || true
			for file in "${files[@]}"; do
				printf '%s %s %s %s\n' "$package" "$version" "$(sources_sum "$file")" "${file##*/}" >>"$index.new"
				mv -f "$file" "$sources/"
			done
			mv "$index.new" "$index"
			rm -rf "$new"
			sources_listed_in "$index" "$package" "$version"
		fi
		[[ $version == "$old" ]] || say "$package is $version in $suite, $lock has ${old:-no version of it}; building with $version"
	else
		version=$(sources_version "$index" "$package")
		[[ -n $version ]] && sources_listed_in "$index" "$package" "$version" ||
			die "$package is not in the cache, and the archive cannot be reached (messages above)"
		say "the archive cannot be reached, and the cache has not what $lock names; building with $package $version"
	fi
}

# sources_here PACKAGE...: this machine's own packages, of which something is linked or copied into a result: a line each, "SOURCE
# VERSION PACKAGE". The compiler's library, which every program has a part of: sources_libgcc. Nothing where there is no dpkg.
sources_here() {
	! command -v dpkg-query >/dev/null || dpkg-query -W -f '${source:Package} ${source:Version} ${Package}\n' "$@"
}
sources_libgcc() {
	! command -v dpkg-query >/dev/null || sources_here "$(dpkg-query -S "$(gcc -print-libgcc-file-name)" | sed 's/:.*//')"
}

# What the finished list says of a package: its version; the version of the upstream part, as people know it; the paths
# of its files, or of those matching a pattern.
used_version() { sources_version "$used" "$1"; }
upstream_version() { used_version "$1" | sed -E 's/^[0-9]+://; s/-[^-]*$//; s/\+.*//'; }
used_files() {
	local file
	while read -r file; do
		# shellcheck disable=SC2053
		[[ $file != ${2:-*} ]] || printf '%s\n' "$sources/$file"
	done < <(awk -v p="$1" '$1 == p { print $4 }' "$used")
}

# unpack_source PACKAGE DIR [MEMBER...]: the upstream source (or some directories of it) as the new directory DIR, with
# our patches (image/PACKAGE-*.patch) and, if Debian's tarball is among the files, Debian's.
unpack_source() {
	local package=$1 dir=$2 file patch members=()
	rm -rf "$dir" && mkdir -p "$dir"
	shift 2
	(($# == 0)) || members=(--wildcards "${@/#/*/}")
	while read -r file; do
		tar xf "$file" -C "$dir" --no-same-owner --strip-components=1 "${members[@]}"
	done < <(used_files "$package" '*.orig.tar.*')
	file=$(used_files "$package" '*.debian.tar.*')
	if [[ -n $file ]]; then
		tar xf "$file" -C "$dir" --no-same-owner
		while read -r patch _; do
			[[ -z $patch || $patch == \#* ]] || apply "$package" "$dir" "$dir/debian/patches/$patch"
		done <"$dir/debian/patches/series"
	fi
	for patch in image/"$package"-*.patch; do
		[[ ! -f $patch ]] || apply "$package" "$dir" "$patch"
	done
}

apply() {
	patch -d "$2" -p1 -s -f --no-backup-if-mismatch <"$3" >/dev/null || die "$3 does not apply to $1 $(used_version "$1")"
}

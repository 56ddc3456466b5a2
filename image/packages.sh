# shellcheck shell=bash
# What the image is made of, by image/packages: versions, licences and their texts. Sourced after apt.sh and sources.sh.

# packages_each FUNCTION: calls it with NAME IN LIST PACKAGE TEXT LICENCE of each.
packages_each() {
	local name in list package text licence
	while read -r name in list package text licence; do
		[[ -z $name || $name == \#* ]] || "$1" "$name" "$in" "$list" "$package" "$text" "$licence"
	done <image/packages
}

# packages_complete: fails if something was built from, or linked, that is not told. Of Meson nothing stays; qemu-system-data is of the
# source package qemu.
packages_complete() {
	local name pattern known=(meson qemu-system-data)
	packages_each packages_known
	for name in $(awk '{ print $1 }' build/deps.used build/qemu/sources && awk '{ print $3 }' build/qemu/linked); do
		for pattern in "${known[@]}"; do
			# shellcheck disable=SC2053
			[[ $name != $pattern ]] || continue 2
		done
		die "image/packages does not tell of $name"
	done
}
packages_known() { known+=("$4"); }

# packages_lines LIST PACKAGE: its lines there; the column of the package is the first of the lock's format, the third of this machine's.
packages_lines() {
	local line
	while read -r line; do
		# shellcheck disable=SC2053
		[[ ${line%% *} != $2 && ${line##* } != $2 ]] || printf '%s\n' "$line"
	done <"$1"
}

# packages_version LIST PACKAGE
packages_version() {
	local version
	if [[ $1 == - ]]; then
		version=$(sed -n 's/^#define UNDERSTUDY_VERSION "\(.*\)"$/\1/p' build/version.h)
	else
		version=$(packages_lines "$1" "$2" | awk 'NR == 1 { print $2 }')
	fi
	printf '%s\n' "${version:-unknown}"
}

# packages_text NAME IN LIST PACKAGE TEXT: the licence's, into the directory $licenses.
packages_text() {
	local name=$1 list=$3 package=$4 text=$5 archive used=$3
	case $text in
	here)
		package=$(packages_lines "$list" "$package" | awk 'NR == 1 { print $3 }')
		text=/usr/share/doc/$package/copyright
		[[ -n $package && -f $text ]] || die "the licence of $name is not at $text"
		cp -L "$text" "$licenses/$name"
		;;
	source:*)
		while read -r archive; do
			tar xOf "$archive" --wildcards --no-anchored --occurrence=1 "${text#source:}" >"$licenses/$name" 2>/dev/null || true
			[[ ! -s $licenses/$name ]] || return 0
		done < <(used_files "$package" | sort)
		die "the source of $name has no ${text#source:}"
		;;
	*) cp "$text" "$licenses/$name" ;;
	esac
}

# shellcheck shell=bash
# Kernel modules for an image, with what they depend on, in an order in which they can be loaded. Sourced after apt.sh.

# modules_copy FROM TO NAME...: unpacked to TO, their signatures kept; TO/order lists them.
modules_copy() {
	local from=$1 to=$2 name
	shift 2
	for name in "$@"; do modules_add "$from" "$to" "$name"; done
}

modules_add() {
	local from=$1 to=$2 name=$3 file dependency
	[[ ! -f $to/$name.ko ]] || return 0
	! grep -q "/${name//_/[_-]}\.ko$" "$from/modules.builtin" || return 0
	file=$(find "$from" -name "${name//_/[_-]}.ko*" -print -quit)
	[[ -n $file ]] || die "the kernel has no module $name"
	case $file in
	*.xz) xz -dc "$file" ;;
	*.zst) zstd -qdc "$file" ;;
	*) cat "$file" ;;
	esac >"$to/$name.ko"
	for dependency in $(modules_depends "$to/$name.ko"); do modules_add "$from" "$to" "$dependency"; done
	echo "$name.ko" >>"$to/order"
}

# The "depends=a,b" of the module's .modinfo section.
modules_depends() {
	objcopy -O binary --only-section=.modinfo "$1" /dev/stdout | tr '\0' '\n' | sed -n 's/^depends=//p' | tr ',' ' '
}

# shellcheck shell=bash
# Kernel modules for an image, with what they depend on, in an order in which they can be loaded. Sourced after apt.sh.

# modules_copy FROM TO NAME...: unpacked to TO, their signatures kept; TO/order lists them, a line each.
modules_copy() {
	local from=$1 to=$2 name closure=()
	shift 2
	for name in "$@"; do modules_close "$from" "$to" "$name"; done
	printf '%s.ko\n' "${closure[@]}" >"$to/order"
}

# modules_for_devices FROM TO DRIVER[+NAME]...: those that are of use only where there is a device that the driver is for. They are
# not in TO/order; TO/devices has a line for each driver: its modules in order, with commas between, and what such devices are called by
# the kernel (modalias; * is anything).
modules_for_devices() {
	local from=$1 to=$2 drivers name closure files
	shift 2
	for drivers in "$@"; do
		closure=()
		for name in ${drivers//+/ }; do modules_close "$from" "$to" "$name"; done
		printf -v files '%s.ko,' "${closure[@]}"
		printf '%s' "${files%,}"
		modules_info alias "$to/${drivers%%+*}.ko" | grep -E '^(pci|virtio|acpi\*|cpu):' | sort | sed 's/^/ /' | tr -d '\n' ||
			die "the module ${drivers%%+*} does not say what devices it is for"
		echo
	done >"$to/devices"
}

# Adds the module and what it needs to closure, once, unless they are built in.
modules_close() {
	local from=$1 to=$2 name=$3 file dependency
	[[ " ${closure[*]} " != *" $name "* ]] || return 0
	! grep -q "/${name//_/[_-]}\.ko$" "$from/modules.builtin" || return 0
	if [[ ! -f $to/$name.ko ]]; then
		file=$(find "$from" -name "${name//_/[_-]}.ko*" -print -quit)
		[[ -n $file ]] || die "the kernel has no module $name"
		case $file in
		*.xz) xz -dc "$file" ;;
		*.zst) zstd -qdc "$file" ;;
		*) cat "$file" ;;
		esac >"$to/$name.ko"
	fi
	for dependency in $(modules_info depends "$to/$name.ko" | tr ',' ' '); do modules_close "$from" "$to" "$dependency"; done
	closure+=("$name")
}

# modules_info KEY FILE: what the module says of itself ("depends=a,b", "alias=pci:...").
modules_info() { objcopy -O binary --only-section=.modinfo "$2" /dev/stdout | tr '\0' '\n' | sed -n "s/^$1=//p"; }

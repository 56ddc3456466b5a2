#!/usr/bin/env bash
# The Debian packages that building and testing need: finds what is missing and, as root, installs it; otherwise prints
# the one command that does. Takes no noticeable time when nothing is missing.
#
# usage: image/prerequisites.sh PURPOSE...        purposes: build qemu image demo test
set -euo pipefail
cd "$(dirname "$0")/.."

# Debian 12 and 13 name some packages differently: of alternatives, separated by |, any will do, and the first that apt
# knows is installed.
declare -A packages=(
	# The libraries, the program, the test guest.
	[build]='gcc libc6-dev linux-libc-dev make patch xz-utils zstd bzip2 cpio binutils'
	# The hypervisor.
	[qemu]='gcc libc6-dev make patch ninja-build python3 python3-venv pkg-config|pkgconf flex bison libglib2.0-dev
		zlib1g-dev libfdt-dev xz-utils'
	# The appliance's disk image.
	[image]='grub-common grub-pc-bin grub-efi-amd64-bin squashfs-tools mtools dosfstools e2fsprogs fdisk faketime qemu-utils
		cryptsetup-bin cpio zstd xz-utils binutils'
	# The demo, beside what it is built with.
	[demo]='python3 iproute2 util-linux'
	# Unit tests, fuzzing, lint, system tests, benchmarks.
	[test]='ccache clang lld libclang-rt-dev|libclang-rt-14-dev llvm libcmocka-dev clang-tidy clang-format cppcheck python3
		python3-pytest python3-pytest-xdist iproute2 openssl procps redis-tools util-linux etcd-server keepalived spin curl
		postgresql-15|postgresql-17 e2fsprogs ovmf nbdkit genisoimage
		docker.io busybox-static inotify-tools fswatch'
)

wanted=()
for purpose in "$@"; do
	[[ -n ${packages[$purpose]:-} ]] || { echo "prerequisites.sh: unknown purpose '$purpose'" >&2; exit 2; }
	wanted+=(${packages[$purpose]})
done

if ! command -v dpkg-query >/dev/null; then
	echo "note: this is not a Debian machine; these packages, or what they are called here, are needed: ${wanted[*]}" >&2
	exit 0
fi

# What of a list of names is installed, in one query.
declare -A installed=()
while read -r name status; do
	[[ $status != installed ]] || installed[$name]=1
done < <(dpkg-query -W -f '${Package} ${db:Status-Status}\n' $(printf '%s\n' "${wanted[@]}" | tr '|' '\n') 2>/dev/null || true)

# Those of which no alternative is.
needed=()
for want in "${wanted[@]}"; do
	IFS='|' read -ra names <<<"$want"
	for name in "${names[@]}"; do
		[[ -z ${installed[$name]:-} ]] || continue 2
	done
	[[ " ${needed[*]} " == *" $want "* ]] || needed+=("$want")
done
((${#needed[@]})) || exit 0

# find_missing: the first alternative that apt knows of everything that is needed, in missing. In one query: each takes a second.
find_missing() {
	local want name names
	declare -A known=()
	missing=()
	while read -r name; do
		known[$name]=1
	done < <(apt-cache show --no-all-versions $(printf '%s\n' "${needed[@]}" | tr '|' '\n') 2>/dev/null | sed -n 's/^Package: //p')
	for want in "${needed[@]}"; do
		IFS='|' read -ra names <<<"$want"
		for name in "${names[@]}"; do
			[[ -z ${known[$name]:-} ]] || break
		done
		missing+=("$name")
	done
}

find_missing

if ((EUID != 0)); then
	printf 'These Debian packages are missing. Install them as root, then run make again:\n\n  apt-get install --no-install-recommends %s\n\n' \
		"${missing[*]}" >&2
	exit 1
fi

. image/apt.sh
step_total=1
step_count=0
step_begin "installing ${#missing[@]} Debian packages"
exec {prerequisites_lock}>/run/understudy-prerequisites.lock # only root comes here
flock "$prerequisites_lock"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
# Of PostgreSQL the programs are wanted, and no server that runs here.
clusters=/etc/postgresql-common/createcluster.conf
if [[ " ${missing[*]} " == *' postgresql-'* && ! -e $clusters ]]; then
	mkdir -p "${clusters%/*}"
	echo 'create_main_cluster = false' >"$clusters"
fi
install=(apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300)
# The index is fetched only if what there is does not do.
if ! "${install[@]}" "${missing[@]}" >"$log" 2>&1; then
	apt-get update -qq >"$log" 2>&1 || true
	find_missing
	"${install[@]}" "${missing[@]}" >>"$log" 2>&1 || {
		grep -E '^(E|W):' "$log" >&2 || tail -n 20 "$log" >&2
		die "cannot install ${missing[*]}"
	}
fi
step_end

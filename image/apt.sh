# shellcheck shell=bash
# Debian 13's packages through the machine's own apt configuration, without changing anything of the machine.
#
# Sourced by the other scripts here. Everything that apt writes lives in a private state directory below the cache, so
# that no root is needed and the machine's own lists, pins and hooks stay as they are:
#
#   - The archive's address and proxy are the machine's: each of its entries for a Debian suite (bookworm,
#     bookworm-updates, bookworm-security, ...) is repeated for the same suite of Debian 13. Both forms of entry are
#     understood (*.sources and *.list). Third-party entries are left out.
#   - Trust is apt's: the archive's signature covers the index, the index the checksum of every file. Nothing that
#     fails that check is ever handed over. The keys are the machine's (package debian-archive-keyring).
#   - Only the Packages and Sources indexes are fetched, and of the machine's apt.conf only what configures
#     fetching (Acquire::*), so its hooks do not run.
#
# After sourcing: cache_dir (the cache's root), suite.

suite=trixie
cache_dir=${XDG_CACHE_HOME:-$HOME/.cache}/understudy
apt_dir=$cache_dir/apt-$suite
# The index is asked for again when it is older than this; a file that the archive no longer has forces it at once.
apt_max_age_min=720

# step_begin LABEL: starts a counted line "[n/N] LABEL ...". Set step_total, and step_count=0, first.
step_begin() {
	step_count=$((step_count + 1))
	step_started=$EPOCHREALTIME step_open="[$step_count/$step_total] $1 ... "
	printf %s "$step_open"
}

# step_end [NOTE]: ends that line with the seconds it took.
step_end() {
	local us=$((${EPOCHREALTIME/[.,]/} - ${step_started/[.,]/}))
	step_open=
	printf ' %d.%d s%s\n' $((us / 1000000)) $((us / 100000 % 10)) "${1:+  $1}"
}

# say TEXT: a remark that must not be lost in the output, with a line of its own; die TEXT: the same, and the end.
say() { printf '%snote: %s\n%s' "${step_open:+$'\n'}" "$*" "${step_open:-}" >&2; }
die() {
	printf '\n%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# The Debian suites that an entry of this machine may name, as one extended regular expression: its own code name, or
# the class names that stand for one.
apt_suites_here() {
	local code
	code=$(. /etc/os-release && [[ $ID == debian ]] && printf %s "${VERSION_CODENAME:-}")
	printf '(%s|oldstable|stable|testing|unstable|sid)' "${code:-$suite}"
}

# deb822 entries: a stanza qualifies if it is enabled, has main, names a Debian suite, and is signed by Debian or by
# what apt trusts anyway. Backports are dropped.
apt_convert_sources() {
	awk -v names="$(apt_suites_here)" -v new="$suite" '
	BEGIN { RS = ""; FS = "\n" }
	{
		keep = 1; out = ""; suites = ""; mains = 0; folded = 0
		for (i = 1; i <= NF; i++) {
			line = $i
			if (line ~ /^#/) continue
			key = tolower(line); sub(/:.*/, "", key)
			value = line; sub(/^[^:]*:[ \t]*/, "", value)
			if (line ~ /^[ \t]/) { if (!folded) out = out line "\n"; continue }
			folded = 0
			if (key == "enabled" && tolower(value) ~ /^(no|false|0)/) keep = 0
			if (key == "signed-by" && value != "" && value !~ /debian/ && value !~ /BEGIN PGP/) keep = 0
			if (key == "components" && value ~ /(^|[ \t])main([ \t]|$)/) mains = 1
			if (key == "suites") {
				n = split(value, word, /[ \t]+/)
				for (j = 1; j <= n; j++)
					if (word[j] ~ "^" names "(-updates|-security|/updates)?$") {
						sub("^" names, new, word[j]); sub("/updates", "-security", word[j])
						suites = suites " " word[j]
					}
			}
			if (key ~ /^(types|suites|components|targets|languages|architectures|pdiffs|enabled)$/) { folded = 1; continue }
			out = out line "\n"
		}
		if (keep && mains && suites != "")
			printf "Types: deb deb-src\nSuites:%s\nComponents: main\nTargets: Packages Sources\nArchitectures: amd64\n%s\n", suites, out
	}' "$@"
}

# One-line entries, by the same rules.
apt_convert_list() {
	awk -v names="$(apt_suites_here)" -v new="$suite" '
	/^[ \t]*deb(-src)?[ \t]/ {
		options = ""
		if (match($0, /\[[^]]*\]/)) {
			options = substr($0, RSTART + 1, RLENGTH - 2)
			$0 = substr($0, 1, RSTART - 1) substr($0, RSTART + RLENGTH)
		}
		if (options ~ /signed-by=/ && options !~ /signed-by=[^ ]*debian/) next
		if ($3 !~ "^" names "(-updates|-security|/updates)?$" || $0 !~ /[ \t]main([ \t]|$)/) next
		kept = ""; n = split(options, option, /[ \t]+/)
		for (i = 1; i <= n; i++)
			if (option[i] !~ /^(arch|target|lang|pdiffs)[+-]?=/) kept = kept " " option[i]
		name = $3; sub("^" names, new, name); sub("/updates", "-security", name)
		line = "[" kept " arch=amd64 target=Packages,Sources ] " $2 " " name " main"
		if (!seen[line]++) print "deb " line "\ndeb-src " line
	}' "$@"
}

# Makes the private state's configuration anew from the machine's. Cheap; the index is not touched.
apt_configure() {
	local parts=$apt_dir/sources.d files=()
	rm -rf "$parts" && mkdir -p "$parts" "$apt_dir"/{empty,lists/partial,cache/archives/partial,log}
	shopt -s nullglob
	files=(/etc/apt/sources.list.d/*.sources)
	((${#files[@]} == 0)) || apt_convert_sources "${files[@]}" >"$parts/$suite.sources"
	files=(/etc/apt/sources.list.d/*.list)
	[[ ! -f /etc/apt/sources.list ]] || files+=(/etc/apt/sources.list)
	((${#files[@]} == 0)) || apt_convert_list "${files[@]}" >"$parts/$suite.list"
	shopt -u nullglob
	find "$parts" -empty -type f -delete
	[[ -n $(ls "$parts") ]] ||
		die "this machine's apt configuration names no Debian archive; give a directory of tarballs: UNDERSTUDY_SOURCES=DIR"
	{
		apt-config dump | grep '^Acquire::' | grep -v '^Acquire::IndexTargets' || true
		cat <<-END
			Acquire::AllowInsecureRepositories "false";
			APT::Get::AllowUnauthenticated "false";
			Dir::Etc::parts "$apt_dir/empty";
			Dir::Etc::main "/dev/null";
			Dir::Etc::sourcelist "/dev/null";
			Dir::Etc::sourceparts "$parts";
			Dir::Etc::preferences "/dev/null";
			Dir::Etc::preferencesparts "$apt_dir/empty";
			Dir::State "$apt_dir";
			Dir::State::lists "$apt_dir/lists";
			Dir::State::status "/dev/null";
			Dir::Cache "$apt_dir/cache";
			Dir::Log "$apt_dir/log";
			APT::Sandbox::User "root";
			APT::Architecture "amd64";
			APT::Architectures { "amd64"; };
		END
	} >"$apt_dir/apt.conf"
}

# apt_run COMMAND ARGUMENTS...: apt-get or apt-cache on the private state; quiet unless it fails.
apt_run() {
	local log
	if log=$(APT_CONFIG=$apt_dir/apt.conf "$@" 2>&1); then
		printf '%s\n' "$log"
	else
		printf '%s\n' "$log" | grep -E '^(E|W|Err)' >&2 || true
		return 1
	fi
}

# Brings the index up to date if it is missing or old; "apt_update now" in any case.
apt_update() {
	local stamp=$apt_dir/updated log
	command -v apt-get >/dev/null ||
		die "apt-get is not here, so packages cannot be fetched; give a directory of tarballs: UNDERSTUDY_SOURCES=DIR"
	apt_configure
	if [[ ${1:-} != now && -n $(find "$stamp" -mmin -$apt_max_age_min 2>/dev/null) ]]; then
		return
	fi
	# apt-get is content when part of the index could not be had; then the old part serves, but not for long.
	log=$(apt_run apt-get update) && compgen -G "$apt_dir/lists/*_Sources*" >/dev/null || {
		printf '%s\n' "$log" | grep -E '^(E|W|Err)' | head -n 4 >&2
		die "cannot fetch the index of Debian's $suite with this machine's apt configuration"
	}
	grep -qE '^(W|E|Err)' <<<"$log" || touch "$stamp"
}

# apt_fetch DIR COMMAND PACKAGE [OPTIONS...]: apt-get source or download of one package, into the new directory DIR.
# Prints the version. If the archive has moved on since the index was fetched, the index is fetched again. If the
# newest version is listed but cannot be had (a mirror in the middle of an update), the next older one is taken.
apt_fetch() {
	local dir=$1 command=$2 package=$3 version newest='' try
	shift 3
	for try in '' now; do
		apt_update $try
		while read -r version; do
			newest=${newest:-$version}
			rm -rf "$dir" && mkdir -p "$dir"
			(cd "$dir" && apt_run apt-get "$command" "$@" "$package=$version" >/dev/null 2>"$apt_dir/log/fetch") || continue
			[[ $version == "$newest" ]] || say "$package $newest is listed in $suite but cannot be fetched; taking $version"
			printf '%s\n' "$version"
			return
		done < <(apt_versions "$command" "$package")
	done
	cat "$apt_dir/log/fetch" >&2
	return 1
}

# apt_fetchable source|download PACKAGE: the newest version in the suite; fails if the index cannot be had.
apt_fetchable() {
	local version
	(apt_update) || return 1
	read -r version < <(apt_versions "$1" "$2") && printf '%s\n' "$version"
}

# apt_depends PACKAGE: the names of the packages that it depends on.
apt_depends() {
	(apt_update) || return 1
	apt_run apt-cache show --no-all-versions "$1" | sed -n 's/^Depends: //p' | tr ',' '\n' | sed 's/^ *//; s/ .*//'
}

# apt_versions source|download PACKAGE: the versions that the suite lists, newest first.
apt_versions() {
	local show=(show --all-versions)
	[[ $1 != source ]] || show=(showsrc --only-source)
	apt_run apt-cache "${show[@]}" "$2" | sed -n 's/^Version: //p' | sort -Vru
}

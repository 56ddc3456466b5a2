#!/usr/bin/env bash
# Runs clang-tidy on one source file, unless the same was found good before, by this clone or another one on this machine.
#
# The same is: the file and all that it includes of the project, the libraries' versions, .clang-tidy, clang-tidy itself and its
# arguments. A hash of that is remembered in ~/.cache/understudy/tidy for 30 days after it was last asked for.
#
# usage: tests/tidy.sh FILE LIST ARGUMENT...        LIST: what the file's object was made from, as the compiler wrote it (.d)
set -euo pipefail

file=$1 list=$2
shift 2
good=${XDG_CACHE_HOME:-$HOME/.cache}/understudy/tidy

# The names in LIST, each once: "object: file header ... \" and, for each header, "header:".
mapfile -t included < <(tr -s ' \\\n:' '\n' <"$list" | grep '\.[ch]$' | sort -u)
hash=$({
	clang-tidy --version
	printf '%s\n' "$@"
	cat .clang-tidy build/deps.used "${included[@]}"
} | sha256sum)
mark=$good/${hash%% *}
if [[ ! -e $mark ]]; then
	clang-tidy --quiet --warnings-as-errors='*' "$file" -- "$@" 2>/dev/null
	mkdir -p "$good"
fi
touch "$mark"

#!/usr/bin/env bash
# Searches the model of the takeover protocol (takeover.pml) with spin, one line per search:
#
#   ok      hold: 333554 states, 2 s
#   ok      without margin: violated, as it must be
#
# A search is exhaustive within the bounds of its variant (with a witness: one crash or none, one epoch, and where it says so one
# change of who serves), or it counts as failed. As many at a time as there are processors: the first group takes a minute of each
# and 1 GiB for each, the rest a quarter of an hour and 4 GiB. Everything of a search is in build/model/NAME. Exit status 0: all as
# it should be; the last line says how many were. What was searched before by this spin, to its end, is not searched again: the
# result is in ~/.cache/understudy/model, by the hash of all that it depends on.
#
# usage: tests/model/run.sh [all]        all: also the large searches and those with a rule left out
#        tests/model/run.sh NAME         one search; of a violation, what happened (spin -t -p there tells more)
set -euo pipefail
cd "$(dirname "$0")/../.."

out=build/model
found=${XDG_CACHE_HOME:-$HOME/.cache}/understudy/model
remember=1 # one that is asked for by its name is searched
memory=3900 # MiB, of one search
depth=1000000

# The variants that safety.h allows, and what each is bounded to. COMPACT: states are kept compressed.
quick=(
	'manual: -DMANUAL'
	'manual, operators: -DMANUAL -DOPERATOR'
	'hold: -DHOLD'
	'hold, operators: -DHOLD -DOPERATOR'
	'hold, failing: -DHOLD -DFAILING'
	'gateway: -DGATEWAY'
	'gateway, operators: -DGATEWAY -DOPERATOR'
	'witness: -DWITNESS -DCRASHES=0 -DEPOCHS=1'
	'witness, crashes, one change: -DWITNESS -DEPOCHS=1 -DTERMS=2'
	'witness, forgetting, one change: -DWITNESS -DFORGETS -DCRASHES=0 -DEPOCHS=1 -DTERMS=2'
	'hold, in the end: -DHOLD -DLIVE'
	'gateway, in the end: -DGATEWAY -DLIVE'
	'witness, in the end, one change: -DWITNESS -DEPOCHS=1 -DTERMS=2 -DLIVE'
)
large=(
	'manual, hold, operators: -DMANUAL -DHOLD -DOPERATOR'
	'gateway, failing: -DGATEWAY -DFAILING'
	'witness, crashes: -DWITNESS -DEPOCHS=1 -DCOMPACT'
	'witness, gateway: -DWITNESS -DGATEWAY -DCRASHES=0 -DEPOCHS=1 -DCOMPACT'
	'witness, renewing: -DWITNESS -DCRASHES=0 -DEPOCHS=1 -DLOOKS'
	'witness, manual: -DWITNESS -DMANUAL -DCRASHES=0 -DEPOCHS=1'
	'witness, forgetting: -DWITNESS -DFORGETS -DCRASHES=0 -DEPOCHS=1'
	'witness, in the end: -DWITNESS -DCRASHES=0 -DEPOCHS=1 -DLIVE'
)
# A rule left out, and a variant in which it is missed.
without=(
	'safety.h: '
	'margin: -DHOLD -DBROKEN_MARGIN'
	'counting from sending: -DHOLD -DBROKEN_FROM_ANSWER'
	'no lease while claiming: -DHOLD -DBROKEN_GRANTS'
	'waiting for leases: -DHOLD -DOPERATOR -DBROKEN_LEASE_WAIT'
	'yielding: -DMANUAL -DOPERATOR -DBROKEN_YIELD'
	'leases asked for after the yield: -DMANUAL -DOPERATOR -DBROKEN_OLD_LEASE'
	'waiting for leases of an earlier life: -DHOLD -DOPERATOR -DBROKEN_EARLIER_LIFE'
	'the term on the disk: -DHOLD -DBROKEN_DISK'
	'output commit: -DHOLD -DBROKEN_OUTPUT'
	'outdated epochs: -DHOLD -DBROKEN_OUTDATED'
	'the answer to the same UNCOMMITTED: -DHOLD -DBROKEN_ANSWER'
	'epochs of an earlier agent: -DHOLD -DBROKEN_EARLIER_AGENT'
	'the gateway turning: -DGATEWAY -DBROKEN_DOOR'
	'late UNCOMMITTED: -DWITNESS -DCRASHES=0 -DLIVE -DCOMPACT -DBROKEN_LATE'
	'UNCOMMITTED on each connection: -DWITNESS -DCRASHES=0 -DBROKEN_TELL'
	'comparing at the witness: -DWITNESS -DCRASHES=0 -DEPOCHS=1 -DBROKEN_COMPARE'
	'leases at the witness: -DWITNESS -DOPERATOR -DCRASHES=0 -DEPOCHS=1 -DBROKEN_HELD'
	'checkpoints under way: -DWITNESS -DCRASHES=0 -DEPOCHS=1 -DBROKEN_UNDER_WAY'
	'terms from grants only: -DWITNESS -DCRASHES=0 -DEPOCHS=1 -DBROKEN_ANY_TERM'
	'orders that are not kept: -DWITNESS -DMANUAL -DCRASHES=0 -DEPOCHS=1 -DBROKEN_MANUAL'
	'waiting after a release: -DWITNESS -DOPERATOR -DCRASHES=0 -DEPOCHS=1 -DBROKEN_RELEASED'
	'doubting a witness that forgets: -DWITNESS -DFORGETS -DCRASHES=0 -DEPOCHS=1 -DBROKEN_DOUBT'
	'answers while claiming: -DWITNESS -DGATEWAY -DCRASHES=0 -DEPOCHS=1 -DBROKEN_OPEN_CLAIM'
)

dir_of() { echo "$out/$(tr -c 'a-z0-9\n' '_' <<<"$1")"; }

# compile NAME DEFINES...: build/model/NAME/pan
compile() {
	local dir kind='-DSAFETY -DNOFAIR'
	dir=$(dir_of "$1")
	shift
	mkdir -p "$dir"
	[[ " $* " != *' -DLIVE '* ]] || kind=
	[[ " $* " != *' -DCOMPACT '* ]] || kind+=' -DCOLLAPSE' # slower, in half the memory
	(cd "$dir" && rm -f ./*.trail pan && spin -a "$@" "$OLDPWD/tests/model/takeover.pml" >spin.log 2>&1 &&
		gcc -Og -w $kind -DMEMLIM=$memory -o pan pan.c >gcc.log 2>&1) || true
}

# hash_of DEFINES...: of what decides a search's result.
hash_of() {
	{
		spin -V
		gcc -dumpfullversion
		echo "$memory $depth $*"
		declare -f compile search
		cat tests/model/*.pml
	} | sha256sum | cut -c 1-32
}

# search NAME DEFINES...: builds and runs it; its result (build/model/NAME/result) is its verdict (holds, violated, or what else
# went wrong), how many states, and how many seconds.
search() {
	local dir known started=$SECONDS accept= states=0 verdict='it could not be built'
	dir=$(dir_of "$1")
	known=$found/$(hash_of "${@:2}")
	if [[ -n $remember && -s $known ]]; then
		mkdir -p "$dir"
		cp "$known" "$dir/result"
		touch "$known"
		return
	fi
	[[ " $* " != *' -DLIVE '* ]] || accept='-a -f' # weakly fair: what can go on all the time does, time among it
	compile "$@"
	printf '%s,0,0\n' "$verdict" >"$dir/result"
	[[ -x $dir/pan ]] || return 0
	(cd "$dir" && timeout 3600 ./pan -m$depth $accept >pan.log 2>&1) || true
	states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' "$dir/pan.log")
	verdict='not exhaustive'
	if grep -q 'errors: [1-9]' "$dir/pan.log" && grep -qE 'assertion violated|acceptance cycle' "$dir/pan.log"; then
		verdict=violated
	elif grep -q 'errors: 0' "$dir/pan.log" && ! grep -qE 'max search depth|out of memory|Search not completed' "$dir/pan.log"; then
		verdict=holds
	fi
	printf '%s,%s,%s\n' "$verdict" "$states" $((SECONDS - started)) >"$dir/result"
	[[ $verdict != violated && $verdict != holds ]] || cp "$dir/result" "$known"
}

good=0 bad=0
# each EXPECTED LABEL ENTRY...
each() {
	local expected=$1 label=$2 entry name text verdict states seconds
	shift 2
	for entry in "$@"; do
		while (($(jobs -rp | wc -l) >= $(nproc))); do wait -n || true; done
		search "${entry%%: *}" ${entry#*: } &
	done
	wait
	for entry in "$@"; do
		name=${entry%%: *}
		IFS=, read -r verdict states seconds <"$(dir_of "$name")/result"
		text="$states states, $seconds s"
		[[ $expected == holds ]] || text="violated, as it must be"
		if [[ $verdict == "$expected" ]]; then
			good=$((good + 1))
			printf '  ok      %s%s: %s\n' "$label" "$name" "$text"
		else
			bad=$((bad + 1))
			printf '  FAILED  %s%s: %s (%s)\n' "$label" "$name" "$verdict" "$(dir_of "$name")"
		fi
	done
}

# tell NAME: the steps of a violation, a line for each.
tell() {
	local dir
	dir=$(dir_of "$1")
	[[ -f $dir/takeover.pml.trail ]] || return 0
	cp tests/model/*.pml "$dir"
	(cd "$dir" && spin -t -p "${@:2}" takeover.pml) | sed -n 's/^ *[0-9]*:\tproc *[0-9]* (\([A-Za-z]*\):1) [^ ]*:\([0-9]*\) (state [0-9]*)\t/\1 \2 /p'
}

[[ -z ${1:-} || $1 == all ]] || remember=
mkdir -p "$found"
find "$found" -type f -mtime +30 -delete
case ${1:-} in
'' | all)
	each holds '' "${quick[@]}"
	if [[ ${1:-} == all ]]; then
		each holds '' "${large[@]}"
		each violated 'without ' "${without[@]}"
	fi
	;;
*)
	for entry in "${quick[@]}" "${large[@]}" "${without[@]}"; do
		[[ ${entry%%: *} == "$1" ]] || continue
		if [[ $entry == *BROKEN* || $1 == safety.h ]]; then each violated 'without ' "$entry"; else each holds '' "$entry"; fi
		tell "$1" ${entry#*: }
	done
	;;
esac
echo "$good as they should be, $bad not"
((good > 0 && bad == 0))

#!/usr/bin/env bash
# Runs the parts of the tests that are named, after make has built them, and ends with one line that sums them up:
#
#   N passed, N failed[, N skipped]
#
# The exit status is 0 if nothing failed. Everything runs even if something before it failed; what a failing program
# printed is shown. Files of the runs are in build/test.
#
# usage: tests/run.sh [unit] [fuzz] [sim] [model] [system] [lint]
#
# environment: SECONDS_PER_FUZZ (2), SCHEDULES (20000), MODEL (what tests/model/run.sh is to search: "all")
set -euo pipefail
cd "$(dirname "$0")/.."

out=build/test
mkdir -p "$out"
passed=0 failed=0 skipped=0
shown_lines=100 # of what a failing program printed

# result STATUS LABEL [LOG]: one line for one program or check; on failure, its output.
result() {
	if (($1 == 0)); then
		printf '  ok      %s\n' "$2"
	else
		printf '  FAILED  %s\n' "$2"
		[[ -z ${3:-} ]] || head -n "$shown_lines" "$3" | sed 's/^/    | /'
		[[ -z ${3:-} ]] || (($(wc -l <"$3") <= shown_lines)) || printf '    ... all of it is in %s\n' "$3"
	fi
}

die() {
	echo "run.sh: $*" >&2
	exit 1
}

# room [N]: waits until fewer of the jobs started here run than N for each processor (1).
room() {
	while (($(jobs -rp | wc -l) >= ${1:-1} * $(nproc))); do wait -n || true; done
}

# Unit tests speak TAP. A program that ends badly without having reported a failure counts as one. Two at a time for each
# processor: much of their time is waiting. One that fails beside others is repeated alone, and that counts; but for what a
# sanitizer has found, which is no fault of a busy machine.
run_unit() {
	local program count=0 programs=() again=()
	for program in tests/unit/test_*.c; do
		[[ ! -f $program ]] || programs+=("$(basename "$program" .c)")
	done
	echo "unit tests: ${#programs[@]} programs"
	for program in "${programs[@]}"; do
		rm -f "$out/$program.status"
		room 2
		unit_program "$program" &
	done
	for program in "${programs[@]}"; do
		while [[ ! -s $out/$program.status ]] && (($(jobs -rp | wc -l) > 0)); do wait -n || true; done
		[[ -s $out/$program.status ]] || die "$out/$program.status cannot be written"
		count=$((count + 1))
		if (($(<"$out/$program.status") == 0)) || grep -qE 'ERROR: AddressSanitizer|runtime error:' "$out/$program.log"; then
			unit_result "$program" "[$count/${#programs[@]}]"
		else
			printf '  again   [%d/%d] %s: failed beside others\n' "$count" "${#programs[@]}" "$program"
			grep -vE '^ok ' "$out/$program.log" | sed -n "1,${shown_lines}s/^/    | /p"
			again+=("$program")
		fi
	done
	for program in ${again[@]+"${again[@]}"}; do
		unit_program "$program"
		unit_result "$program" '[alone]'
	done
}

# unit_program PROGRAM: runs it; its status is in a file.
unit_program() {
	local status=0
	CMOCKA_MESSAGE_OUTPUT=TAP UBSAN_OPTIONS=print_stacktrace=1 timeout 300 "build/unit/$1" >"$out/$1.log" 2>&1 </dev/null || status=$?
	echo "$status" >"$out/$1.status"
}

# unit_result PROGRAM LABEL: counts what it reported.
unit_result() {
	local log=$out/$1.log status ok not_ok skip
	status=$(<"$out/$1.status")
	skip=$(grep -cE '^(not )?ok .*# SKIP' "$log") || true
	ok=$(grep -E '^ok ' "$log" | grep -vc '# SKIP') || true
	not_ok=$(grep -E '^not ok ' "$log" | grep -vc '# SKIP') || true
	((status == 0 || not_ok > 0)) || not_ok=1
	if ((status == 0 && ok + skip == 0)); then
		echo 'it ended well but reported no test' >>"$log"
		status=1 not_ok=1
	fi
	passed=$((passed + ok)) failed=$((failed + not_ok)) skipped=$((skipped + skip))
	result "$status" "$2 $1: $ok$( ((skip == 0)) || echo ", $skip skipped")" "$log"
}

# Each target runs for some seconds from its seeds and what earlier runs found (build/test/corpus); as many at a time
# as there are processors.
run_fuzz() {
	local target log seeds
	echo "fuzz targets: $(ls tests/fuzz/fuzz_*.c 2>/dev/null | wc -l), ${SECONDS_PER_FUZZ:=2} s each"
	for target in tests/fuzz/fuzz_*.c; do
		[[ -f $target ]] || continue
		target=$(basename "$target" .c)
		rm -f "$out/$target.status"
		mkdir -p "$out/corpus/$target"
		room
		(
			seeds=tests/fuzz/corpus/${target#fuzz_}
			[[ -d $seeds ]] || seeds=
			status=0
			timeout $((SECONDS_PER_FUZZ + 120)) "build/fuzz/$target" -max_total_time="$SECONDS_PER_FUZZ" -timeout=10 \
				-rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="$out/$target-" "$out/corpus/$target" $seeds \
				>"$out/$target.log" 2>&1 </dev/null || status=$?
			echo "$status" >"$out/$target.status"
		) &
	done
	wait
	for target in tests/fuzz/fuzz_*.c; do
		[[ -f $target ]] || continue
		target=$(basename "$target" .c)
		log=$out/$target.log
		tail -n 60 "$log" >"$log.end"
		result "$(<"$out/$target.status")" \
			"$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs" "$log.end"
		if (($(<"$out/$target.status") == 0)); then passed=$((passed + 1)); else failed=$((failed + 1)); fi
	done
}

# Schedules count from a seed of the day, printed, so that every day tries others. Each processor has its share of them.
run_sim() {
	local seed=${UNDERSTUDY_SEED:-$(date +%Y%m%d)00000000} parts part share log status
	parts=$(nproc)
	share=$(((${SCHEDULES:-20000} + parts - 1) / parts))
	echo 'simulation'
	for ((part = 0; part < parts; part++)); do
		(
			status=0
			timeout 3600 build/sim/takeover -n "$share" -s $((seed + part * share)) >"$out/sim-$part.log" 2>&1 </dev/null ||
				status=$?
			echo "$status" >"$out/sim-$part.status"
		) &
	done
	wait
	for ((part = 0; part < parts; part++)); do
		log=$out/sim-$part.log status=$(<"$out/sim-$part.status")
		result "$status" "takeover: $(tail -n 1 "$log")" "$log"
		if ((status == 0)); then passed=$((passed + 1)); else failed=$((failed + 1)); fi
	done
}

# One line per search, each of which counts.
run_model() {
	local log=$out/model.log
	echo 'model'
	tests/model/run.sh ${MODEL:-} </dev/null 2>&1 | tee "$log" | grep -E '^  (ok|FAILED)' || true
	passed=$((passed + $(grep -c '^  ok' "$log" || true))) failed=$((failed + $(grep -c '^  FAILED' "$log" || true)))
	# It did not come to its end.
	grep -q 'as they should be' "$log" || { failed=$((failed + 1)) && result 1 'model' "$log"; }
}

# System tests report in JUnit's form, from which the numbers are taken. Three at a time for each processor, since
# most of their time is waiting; then, fewer, those that a busy machine disturbs, and those that have to be in pytest's
# own process (conftest.py).
run_system() {
	rm -rf "$out/guests" # saved ones (saved_guest.py), that may be of a kind that is no more
	echo 'system tests'
	system_tests_retried "$out/system" 'not calm and not alone' $((3 * $(nproc)))
	echo 'system tests that want a calm machine'
	system_tests_retried "$out/system-calm" calm $((3 * $(nproc) / 2))
	echo 'system tests that are alone'
	system_tests_retried "$out/system-alone" alone 0
}

# system_tests_retried NAME WHICH BESIDE: what fails beside others is repeated alone, and that counts: a machine that is too
# busy is no fault of the program, and the first failure stays in the output.
system_tests_retried() {
	local failed_before=$failed cache=$PWD/$1-cache broken=
	rm -rf "$cache"
	system_tests "$PWD/$1.xml" -m "$2" -n "$3" -o cache_dir="$cache"
	if [[ -z $broken ]] && ((failed > failed_before)) && [[ -s $cache/v/cache/lastfailed ]]; then
		echo 'system tests that failed, again and one by one'
		failed=$failed_before
		system_tests "$PWD/$1-again.xml" -m "$2" --last-failed -o cache_dir="$cache"
	fi
}

# system_tests REPORT OPTION...: sets `broken` if not all of them were run.
system_tests() {
	local report=$1 status=0 tests failures errors skips
	shift
	rm -f "$report"
	(cd tests/system && PYTHONDONTWRITEBYTECODE=1 ../enter.sh /usr/bin/python3 -m pytest -v --tb=short -rs \
		--durations=15 --junitxml="$report" "$@" .) || status=$?
	((status <= 1)) || broken=1 # not all were run
	if [[ ! -f $report ]]; then
		failed=$((failed + 1))
		return
	fi
	read -r tests failures errors skips < <(/usr/bin/python3 - "$report" <<-'END'
		import sys, xml.etree.ElementTree as tree
		suites = list(tree.parse(sys.argv[1]).getroot().iter('testsuite'))
		print(*(sum(int(s.get(k, 0)) for s in suites) for k in ('tests', 'failures', 'errors', 'skipped')))
	END
	)
	# Nothing failed, and yet pytest is not content: nothing was collected, or it was interrupted.
	((status == 0 || failures + errors > 0)) || errors=1
	failed=$((failed + failures + errors)) skipped=$((skipped + skips))
	((tests <= failures + errors + skips)) || passed=$((passed + tests - failures - errors - skips))
}

run_lint() {
	local check status
	echo 'lint'
	for check in clang-tidy cppcheck clang-format; do
		status=0
		env -u MAKEFLAGS -u MAKELEVEL make --no-print-directory -k -s "lint-$check" >"$out/$check.log" 2>&1 || status=$?
		result "$status" "$check" "$out/$check.log"
		if ((status == 0)); then passed=$((passed + 1)); else failed=$((failed + 1)); fi
	done
}

(($#)) || set -- unit fuzz sim model system lint
for part in "$@"; do
	case $part in
	unit | fuzz | sim | model | system | lint) "run_$part" ;;
	*) echo "run.sh: unknown part '$part'; known: unit, fuzz, sim, model, system, lint" >&2 && exit 2 ;;
	esac
done
printf '\n%d passed, %d failed%s\n' "$passed" "$failed" "$( ((skipped == 0)) || echo ", $skipped skipped")"
((failed == 0))

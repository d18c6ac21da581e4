#!/bin/sh
# tests/run.sh PROGRAM... [-- PROGRAM...]: run each, those in front of -- JOBS (1) at a time, those behind it by
# themselves, for they look at the clock; go on after failures, and end with the sum of all, "N passed, N failed".
# A program prints its counts as those of cmocka do; a script (*.sh) that prints none is one test. One that crashes, or
# runs no test, is a failure. What a failing program printed is shown.

# Sum of the numbers in cmocka's lines "[  PASSED  ] 3 test(s)." of a log.
count() { sed -n "s/^\[  $1  \] \([0-9][0-9]*\) test.*/\1/p" "$2" | awk '{ n += $1 } END { print n + 0 }'; }

# Seconds of CPU that this shell's children took, of what `times` printed.
cpu_seconds() { awk -F'[ms ]' 'NR == 2 { printf "%.0f", 60 * ($1 + $4) + $2 + $5 }' "$1"; }

# one PROGRAM: a line of numbers to $COUNTS, passed and failed.
one() {
	log=$(mktemp) start=$(date +%s)
	case $1 in /*) "$1" ;; *) "./$1" ;; esac >"$log" 2>&1
	status=$? seconds=$(($(date +%s) - start))
	times >"$log.times"
	good=$(count PASSED "$log") bad=$(count FAILED "$log")
	case $1 in *.sh) [ $status$good$bad = 000 ] && good=1 ;; esac
	if [ "$bad" -eq 0 ] && { [ $status -ne 0 ] || [ "$good" -eq 0 ]; }; then
		bad=1
	fi
	if [ "$bad" -eq 0 ]; then
		echo "ok    $1: $good passed, $seconds s, $(cpu_seconds "$log.times") s of CPU"
	else
		cat "$log"
		echo "FAIL  $1: $bad failed, exit status $status"
	fi
	rm -f "$log" "$log.times"
	echo "$good $bad" >>"$COUNTS"
}

if [ "${COUNTS-}" ]; then
	one "$1"
	exit 0
fi

# Beside other programs, threads that spin while they wait cost more than they save.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY-passive}"
COUNTS=$(mktemp)
trap 'rm -f "$COUNTS"' EXIT
export COUNTS
some() { tr '\n' '\0' | xargs -0 -r -n 1 -P "$1" "$0"; }
printf '%s\n' "$@" | sed '/^--$/,$d' | some "${JOBS:-1}"
printf '%s\n' "$@" | awk 'behind; $0 == "--" { behind = 1 }' | some 1
awk -v expected="$(printf '%s\n' "$@" | grep -cvxe --)" '{ passed += $1; failed += $2 } END {
	if (NR < expected)
		failed += expected - NR		# ended without a word
	print passed + 0 " passed, " failed + 0 " failed"
	exit failed > 0 || !passed }' "$COUNTS"

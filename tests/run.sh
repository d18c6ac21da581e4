#!/bin/sh
# tests/run.sh PROGRAM...: run each, go on after failures, and end with the sum of all, "N passed, N
# failed". A program prints its counts as those of cmocka do; a script (*.sh) that prints none is one
# test. One that crashes, or runs no test, is a failure. What a failing program printed is shown.

# Beside other programs, threads that spin while they wait cost more than they save.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY-passive}"

passed=0 failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Sum of the numbers in cmocka's lines "[  PASSED  ] 3 test(s)."
count() { sed -n "s/^\[  $1  \] \([0-9][0-9]*\) test.*/\1/p" "$log" | awk '{ n += $1 } END { print n + 0 }'; }

for program; do
	start=$(date +%s)
	case $program in /*) ;; *) program=./$program ;; esac
	"$program" >"$log" 2>&1
	status=$?
	good=$(count PASSED) bad=$(count FAILED)
	case $program in *.sh) [ $status$good$bad = 000 ] && good=1 ;; esac
	if [ "$bad" -eq 0 ] && { [ $status -ne 0 ] || [ "$good" -eq 0 ]; }; then
		bad=1
	fi
	passed=$((passed + good)) failed=$((failed + bad))
	if [ "$bad" -eq 0 ]; then
		echo "ok    ${program#./}: $good passed, $(($(date +%s) - start)) s"
	else
		cat "$log"
		echo "FAIL  ${program#./}: $bad failed, exit status $status"
	fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]

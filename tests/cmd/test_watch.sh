#!/bin/sh
# moelab watch beside a running sweep: what it prints, that it ends with the last run, its exit codes.

. "$(dirname "$0")/holds.sh"

small_data
small_sweep 160000 "1, 2, 3" "every: 2000"

# The first look comes as soon as the database knows the sweep, the last when all is over.
$moelab run sweep.yaml -q &
until $moelab status sweep >/dev/null 2>&1; do
	kill -0 $! 2>/dev/null || break
	sleep 0.02
done
$moelab watch --sweep sweep -n 0.1 >said 2>&1
holds test $? = 0
holds test "$(tail -n 1 said)" = "sweep: 3 of 3 done, 100 % of the steps"
holds grep -q "^sweep: [012] of 3 done, .*, [0-9]* % of the steps" said
holds test "$(sort said | uniq -d | wc -l)" = 0
wait

# A terminal gets the table, drawn over; a failed run is told by the exit code.
rm results/runs/*-s3-*/DONE
echo "no luck" >"$(ls -d results/runs/*-s3-*)/FAILED"
$moelab ingest >said 2>&1
$moelab watch sweep >said 2>&1
holds test $? = 1
holds grep -q "^sweep: 2 of 3 done, 1 failed" said
mv "$(ls results/runs/*-s3-*/FAILED)" "$(ls -d results/runs/*-s3-*)"/DIVERGED
$moelab ingest >said 2>&1
timeout 60 $moelab watch sweep >said 2>&1
holds test $? = 1
holds grep -q "^sweep: 2 of 3 done, 1 diverged" said
TERM=xterm timeout 60 script -qec "$moelab watch sweep" said >/dev/null
holds grep -q "| sweep | *3 |" said
holds grep -q "$(printf '\033')\[J" said
$moelab watch nothing >said 2>&1
holds test $? = 2

tests_end

#!/bin/bash
# torture.sh [FAULTS [SEED]]: a sweep on a simulated cluster, again and again, under faults by chance until there
# were so many (default 200); each time it must end as if nobody had disturbed it. MOELAB is the program.

. "$(dirname "$0")/../cmd/holds.sh"
slurm=$root/tests/cluster/slurm.sh
. "$root/tests/cluster/faults.sh"
most=${1:-200} seed=${2:-$(date +%s)}
kinds=(worker worker task signal cancel requeue node controller submit freeze disk)
echo "$most faults, seed $seed"
RANDOM=$seed

small_data
small_sweep
holds $moelab run sweep.yaml --results local -j 2 --threads 1 -q
losses --db local/lab.db >ours

begin_cluster 4
sweep=sweep.yaml name=sweep
for ((n = 0, round = 1; n < most && failed == 0; round++)); do
	begin_disk 300
	again
	while [ "$n" -lt "$most" ] && [ "$(n_done)" -lt 40 ]; do
		[ -n "$(live_jobs)" ] || again
		release_held
		kind=${kinds[RANDOM % ${#kinds[@]}]}
		fault "$kind" && n=$((n + 1)) && echo "$n $kind, $(n_done) runs done"
		$moelab status sweep >>status.log 2>&1
		sleep "$((RANDOM % 2)).$((RANDOM % 10))"
	done
	holds until_done 40 600
	as_undisturbed 40
	echo "sweep $round: survived so far: $n faults, $failed checks failed"
	[ $failed -eq 0 ] || break
	end_disk
	rm -rf results/*
done

tests_end

#!/bin/bash
# A sweep on a cluster whose nodes, controller, tasks and workers fail, and that people cancel and submit
# twice: in the end it has the bits of one that nobody disturbed.

. "$(dirname "$0")/../cmd/holds.sh"
slurm=$root/tests/cluster/slurm.sh
. "$root/tests/cluster/faults.sh"

small_data
small_sweep
sed '/moe_mamba/d; s/seeds.*/seeds: [21]/; s/256000/1536000/' sweep.yaml >slow.yaml
for file in sweep.yaml slow.yaml; do
	holds $moelab run $file --results local -j 2 --threads 1 -q
done
losses --db local/lab.db >ours
holds test "$(grep -c ',train,' ours)" = 184000

begin_disk 300
begin_cluster 4
sweep=sweep.yaml name=sweep n_nodes=4

# A run that the time limit interrupts: it hardly gets anywhere in its first minute.
n_nodes=1 again slow.yaml 1
wait_for_work
slow=$(workers)
holds kill -STOP "$slow"
spared=1 spared_node=$(squeue -h -j 1 -o %N | tr -d n)

again & again && wait $!			# two at once
holds test "$(ls -d results/submit/sweep-* | wc -l)" = 2
$moelab status sweep >said
holds grep -q "^sweep: Slurm job [0-9]* of " said

for one in worker signal task cancel controller requeue node disk worker freeze; do
	sleep 1
	holds fault $one
	holds $moelab status sweep
done

# 15 seconds before the limit the task is told; it goes back into the queue and on from its checkpoint.
until grep -q "User defined signal 1" results/submit/slow-1/log/*; do
	sleep 0.5
	[ -e "/proc/$slow" ] || break
done
kill -CONT "$slow"
spared=
holds until_done 41 300
holds grep -q "goes back into the queue" results/submit/slow-1/log/*
holds grep -q "turn 2" results/submit/slow-1/log/*
as_undisturbed 41

tests_end

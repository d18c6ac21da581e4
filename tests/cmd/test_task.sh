#!/bin/sh
# moelab task at a signal: what goes back into Slurm's queue, and what does not.

. "$(dirname "$0")/holds.sh"

small_data
small_sweep 400000000 "1, 2"
mkdir bin
PATH=$work/bin:$PATH
printf '#!/bin/sh\necho 7\n' >bin/sbatch
printf '#!/bin/sh\n[ "$1" = show ] || echo "scontrol $*" >>calls\n' >bin/scontrol
printf '#!/bin/sh\necho "Unable to contact slurm controller" >&2\nexit 1\n' >bin/squeue
chmod +x bin/*
holds $moelab submit sweep.yaml --restrict seed=1 --tasks 1
run=results/runs/$(cut -d' ' -f1 results/submit/sweep-1/runs.txt)

# task_told SIGNAL RESTARTS WHEN: as Slurm's job 60_0, which gets SIGNAL once it hears it and WHEN holds.
heard() { [ $((0x0$(sed -n 's/^SigCgt:[^0-9a-f]*//p' /proc/$!/status) >> 9 & 1)) = 1 ]; }
task_told() {
	: >calls
	SLURM_JOB_ID=60 SLURM_ARRAY_JOB_ID=60 SLURM_ARRAY_TASK_ID=0 SLURM_RESTART_COUNT=$2 SLURMD_NODENAME=n1 \
		$moelab task results/submit/sweep-1 >said 2>&1 &
	for i in $(seq 600); do heard && $3 && break; sleep 0.05; done
	kill -$1 $!
	wait $!
	holds test $? = 75
}

# The run is another machine's, so the task has nothing to do for a while.
echo '{"token": "ff", "host": "far", "machine": "1", "boot_id": "2", "pid": 4}' >$run/CLAIM
task_told USR1 2 true
holds test "$(cat calls)" = "scontrol requeue 60_0"
holds test -e results/submit/cores-n1-"$(id -u)"
task_told USR1 3 true
holds grep -q "no run got a step further in this time limit" said
holds test ! -s calls
task_told TERM 0 true
holds test ! -s calls
rm $run/CLAIM

# One that trains goes on later, though often begun; a submission meanwhile lists its run, too, should it end.
at_work() { test -s $run/metrics.jsonl && $moelab submit sweep.yaml --tasks 1 >out 2>errors; }
task_told USR1 3 at_work
holds grep -qx "scontrol requeue 60_0" calls
holds grep -q "1 runs are at work elsewhere" errors
holds test "$(wc -l <results/submit/sweep-2/runs.txt)" = 2

tests_end

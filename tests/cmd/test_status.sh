#!/bin/sh
# status, watch and why of a submitted sweep, with a program in place of squeue; without one they ask nobody.

. "$(dirname "$0")/holds.sh"

small_data
small_sweep 1600 "1, 2, 3"
mkdir bin
PATH=$work/bin:$PATH
printf '#!/bin/sh\necho 7\n' >bin/sbatch
printf '#!/bin/sh\nexit 1\n' >bin/scontrol
cat >bin/squeue <<'END'
#!/bin/sh
echo asked >>asked
[ -e down ] && { echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; }
cat jobs 2>/dev/null || { echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1; }
END
chmod +x bin/*
row() { printf '%-20s%-20s%-20s%-24s%-12s%-200s%-200s\n' "$@"; }

# The first look makes the database of what was handed over.
holds $moelab submit sweep.yaml --tasks 3
{ row 8 7 0 RUNNING 0 n4 None; row 9 7 1 RUNNING 1 n2 None; row 7 7 2 PENDING 0 '' Resources; } >jobs
$moelab status >said
holds grep -q '^| sweep | *3 | *3 |' said
holds grep -q '^sweep: Slurm job 7 of .*Z, 2 RUNNING on n4 n2, 1 PENDING (Resources)$' said
holds test "$(grep -c 'goes on with' said)" = 0
# The same for programs: the job, tasks that wait, are at work, have ended, and Slurm's words.
values() { $moelab status "$@" --format csv | sed -n 2p | cut -d, -f1,11-; }
holds test "$(values)" = 'sweep,7,1,2,0,"2 RUNNING on n4 n2, 1 PENDING (Resources)"'
$moelab status --json >said
holds grep -q '"slurm_job": *7, *"tasks_waiting": *1, *"tasks_active": *2, *"tasks_ended": *0,' said

# Held: Slurm waits for people.
{ row 8 7 0 RUNNING 0 n4 None; row 7 7 1 PENDING 0 '' 'launch failed requeued held'; } >jobs
$moelab status >said
holds grep -q '^sweep: .scontrol release 7. lets held tasks go, .moelab cancel sweep. ends them$' said

# What waits for other reasons is told apart.
{ row 8 7 0 PENDING 0 '' Resources; row 7 7 1 PENDING 0 '' JobHeldUser; } >jobs
$moelab status >said
holds grep -q 'Z, 1 PENDING (Resources), 1 PENDING (JobHeldUser)$' said
holds grep -q 'scontrol release 7' said

# Over, all of them, and no run done.
{ row 8 7 0 TIMEOUT 0 n4 TimeLimit; row 9 7 1 NODE_FAIL 1 n2 None; row 7 7 2 OUT_OF_MEMORY 0 n1 None; } >jobs
$moelab status sweep >said
holds grep -q '^sweep: Slurm job 7 of .*, 1 TIMEOUT, 1 NODE_FAIL, 1 OUT_OF_MEMORY$' said
holds grep -q 'no task is left in the queue: .moelab submit sweep.yaml. goes on with the runs that are left' said
rm jobs
$moelab status >said
holds grep -q '^sweep: Slurm has forgotten its jobs; what their tasks recorded counts$' said
touch down
$moelab status >said 2>errors
holds test $? = 0
holds grep -q 'Unable to contact' errors
holds test "$(grep -c '^sweep:' said)" = 0
holds test "$(values 2>/dev/null)" = 'sweep,7,,,,'
rm down

# A run whose task was killed: its claim stays, and Slurm knows why.
run=$(ls -d results/runs/*-s1-*)
SLURM_JOB_ID=9 SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=1 SLURMD_NODENAME=n2 \
	$moelab task results/submit/sweep-1 -q &
until [ -e $run/CLAIM ] || [ -e $run/DONE ]; do :; done
cp $run/CLAIM claim
wait
cp claim $run/CLAIM
rm $run/DONE
row 9 7 1 OUT_OF_MEMORY 2 n2 None >jobs
$moelab why "$(basename $run)" >said
holds grep -q '^claimed by process .* on n2, Slurm job 7_1, since ' said
holds grep -q '^Slurm: OUT_OF_MEMORY on n2, requeued 2 times: it needed more memory than its job had' said
rm jobs
$moelab why "$(basename $run)" >said
holds grep -q '^Slurm: has forgotten that job' said
touch down
$moelab why "$(basename $run)" >said 2>errors
holds grep -q 'Unable to contact' errors
holds test "$(grep -c '^Slurm:' said)" = 0
rm down

# The end of a long log.
seq 101 112 >$run/log.txt
$moelab why "$(basename $run)" >said
holds test "$(grep -x '1[01][0-9]' said | paste -sd' ')" = "$(seq -s' ' 103 112)"
holds test "$($moelab logs "$(basename $run)" -n 2 | paste -sd' ')" = "111 112"
holds test "$($moelab logs "$(basename $run)" -n 20 | wc -l)" = 12

# Nobody is asked when all is over, and where Slurm is not installed.
: >asked
holds $moelab ls
PATH=$work/none $moelab status sweep >said 2>errors
holds test "$(grep -c Slurm said) $(wc -l <errors)" = "0 0"
PATH=$work/none $moelab status --format csv >said 2>errors
holds grep -q '^sweep,.*,,,,,$' said
holds test ! -s errors
echo "100 steps" >$run/DONE
rm $run/CLAIM
$moelab status >said
holds grep -q '^| sweep | *3 | *| *| *3 |' said
holds $moelab status --json
holds $moelab watch sweep
holds test ! -s asked

tests_end

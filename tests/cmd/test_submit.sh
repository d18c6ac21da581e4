#!/bin/sh
# moelab submit, task, cancel: with programs in place of Slurm's, which note how they were called.

. "$(dirname "$0")/holds.sh"

small_data
small_sweep 1600 "1, 2, 3, 4, 5"

# --- without Slurm ---------------------------------------------------------------------------------------
mkdir none
PATH=$work/none $moelab submit sweep.yaml 2>said
holds test $? = 4
holds grep -q "squeue is not in PATH.*plan sweep.yaml --commands" said

# --- with programs that answer ---------------------------------------------------------------------------
mkdir bin
PATH=$work/bin:$PATH
cat >bin/sbatch <<'END'
#!/bin/sh
echo "$@" >>calls
[ -e refuse ] && { echo "sbatch: error: invalid partition specified: q" >&2; exit 1; }
n=$(cat n 2>/dev/null || echo 40)
echo $((n + 1)) | tee n
END
cat >bin/scontrol <<'END'
#!/bin/sh
[ "$1" = show ] && { echo "MaxArraySize            = $(cat max 2>/dev/null || echo 1001)"; exit; }
echo "scontrol $*" >>calls
END
cat >bin/squeue <<'END'
#!/bin/sh
cat jobs 2>/dev/null || { echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1; }
END
printf '#!/bin/sh\necho "scancel $*" >>calls\n' >bin/scancel
chmod +x bin/*

# A dry run prints the script and writes nothing.
ls >before
$moelab submit sweep.yaml --dry-run --tasks 3 --parallel 2 --time 1:00:00 --sbatch --exclusive -T 2 -p q >script 2>said
holds test $? = 0
rm -f said
ls | grep -v '^script$' | diff before - >out
holds test ! -s out
for line in '--array=0-2%2' '--time=1:00:00' '--cpus-per-task=2' '--requeue' '--open-mode=append' '--exclusive' \
	'--signal=B:USR1@60' '--partition=q' '--nodes=1'; do
	holds grep -qxF "#SBATCH $line" script
done
holds sh -n script
holds grep -Eq '^#SBATCH --mem=[0-9]+M$' script
$moelab submit sweep.yaml --dry-run --time 1 >script 2>said
holds grep -qxF '#SBATCH --signal=B:USR1@15' script
# Without a word: a task a run, as long as the shortest is; and of two runs at a time as many as they need.
memory() { sed -n 's/^#SBATCH --mem=\([0-9]*\)M$/\1/p' script; }
$moelab submit sweep.yaml --dry-run >script 2>said
holds grep -qxF '#SBATCH --array=0-4' script
holds grep -qxF '#SBATCH --time=00:10:00' script
holds test ! -s said
one=$(memory)
$moelab submit sweep.yaml --dry-run --jobs 2 -T 3 >script 2>said
holds grep -qxF '#SBATCH --array=0-2' script
holds grep -qxF '#SBATCH --cpus-per-task=6' script
holds test "$(memory)" -gt "$one"
# Of one that takes days more threads and time; what a task would lose is told, of a short run nothing.
big="train.tokens=4000000000 train.batch=4096 model.d_model=256 checkpoint.every=86400"
$moelab submit sweep.yaml --dry-run $big >script 2>said
holds grep -qxF '#SBATCH --cpus-per-task=8' script
holds grep -q '^#SBATCH --time=.*[0-9]:[0-5]0:00$' script
holds test ! -s said
$moelab submit sweep.yaml --dry-run train.tokens=400000000000000 >script 2>said
holds grep -q "the disk of results has .* free, the runs need up to" said
$moelab submit sweep.yaml --dry-run $big --time 10 >script 2>said
holds grep -q "checkpoint.every, .*, is longer than a task trains" said
echo 'grace: 0' >bad.yaml
$moelab submit sweep.yaml --dry-run checkpoint.every=86400 --site bad.yaml >script 2>said
holds test "$(wc -l <said)" = 1
holds grep -q "longer than the 0 s between SIGTERM and SIGKILL" said

# The site's file: its defaults, the command line before it, and its mistakes.
cat >slurm.yaml <<'END'
partition: long
account: lab7
time: 2-0
tasks: 2
setup: [module load x]
sbatch: [--exclude=n7]
END
$moelab submit sweep.yaml --dry-run --account lab8 --sbatch --exclusive >script 2>said
for line in '#SBATCH --partition=long' '#SBATCH --account=lab8' '#SBATCH --time=2-0' '#SBATCH --array=0-1' \
	'#SBATCH --exclude=n7' '#SBATCH --exclusive' 'module load x'; do
	holds grep -qxF -- "$line" script
done
$moelab submit sweep.yaml --dry-run --tasks 4 >script 2>said
holds grep -qxF '#SBATCH --array=0-3' script
echo 'time_max: 5' >bad.yaml
$moelab submit sweep.yaml --dry-run --site bad.yaml >script 2>said
holds grep -qxF '#SBATCH --time=00:05:00' script
wrong() {
	printf '%s\n' "$1" >bad.yaml
	$moelab submit sweep.yaml --dry-run --site bad.yaml >script 2>said
	holds test "$? $(wc -l <said)" = "2 1"
	holds grep -q "$2" said
}
wrong 'partion: x' 'bad.yaml:1:1: .*unknown key "partion" (did you mean "partition"?)'
wrong 'tasks: many' 'bad.yaml:1:8: '
wrong 'time: 3h' 'bad.yaml:1:7: time: "3h" is no time'
wrong 'time_max: 3h' 'bad.yaml:1:11: time_max: "3h" is no time'
wrong 'setup: ["cd x\ncd y"]' 'bad.yaml:1:9: setup: a line of text must stand here'
wrong 'setup: module load x' 'bad.yaml:1:8: setup: a list must stand here'
MOELAB_SLURM=nowhere.yaml $moelab submit sweep.yaml --dry-run >script 2>said
holds test $? = 2
$moelab submit sweep.yaml --dry-run --time soon >script 2>said
holds test $? = 2
rm slurm.yaml

# What Slurm refuses leaves no submission, nor does what could not run.
$moelab submit sweep.yaml data.path=nowhere >out 2>said
holds test "$? $(grep -c "nowhere" said)" = "2 1"
holds test ! -e results/submit
touch refuse
$moelab submit sweep.yaml >out 2>said
holds test $? = 4
holds grep -q "invalid partition specified: q" said
holds test -z "$(ls results/submit)"
rm refuse calls

# Frozen runs, the list of them, the job's number; one call.
$moelab submit sweep.yaml --tasks 2 >said
holds test $? = 0
holds grep -q "5 runs in Slurm job 41: 2 tasks" said
holds test "$(wc -l <calls)" = 1
holds grep -q -- "--parsable --array=0-1 .*/results/submit/sweep-1/task.sh" calls
holds test "$(wc -l <results/submit/sweep-1/runs.txt)" = 5
holds test "$(ls results/runs/*/config.yaml results/runs/*/run.json | wc -l)" = 10
holds test -d results/submit/sweep-1/log
holds grep -q '"sweep": "sweep"' results/submit/sweep-1/job.json
holds test -e results/sweeps/sweep.json

# More tasks than an array may have: several jobs, which share what runs at a time.
echo 3 >max
: >calls
$moelab submit sweep.yaml --tasks 5 --parallel 4 >said
holds grep -q "job 42 43:" said
holds test "$(grep -c -- '--array=0-2%2 ' calls) $(grep -c -- '--array=0-1 ' calls)" = "1 1"
holds grep -q 43 results/submit/sweep-2/job.json
rm max

# A task without Slurm: two at once do each run once; then nothing is left to submit.
$moelab task results/submit/sweep-1 -q &
holds $moelab task results/submit/sweep-2 -q
wait
holds test "$(ls results/runs/*/DONE | wc -l)" = 5
holds test "$(cat results/runs/*/metrics.jsonl | grep -c '"t":"attempt"')" = 5
holds test -z "$(ls results/runs/*/CLAIM* 2>/dev/null)"
holds test "$(grep -l '"train.lr"' results/runs/*/run.json | wc -l)" = 5
$moelab submit sweep.yaml 2>said
holds test $? = 0
holds grep -q "nothing to submit, 5 runs are over" said
holds $moelab ingest
$moelab status --json >said
holds grep -q '"done": 5' said

# A sweep with a tune: its trials first, as a submission of their own; then its runs, with the value chosen.
sed 's/^seeds:.*/seeds: [1]/' sweep.yaml >tuned.yaml
echo 'tune: {over: {train.lr: [1e-3, 4e-3]}, seeds: [8], extend: false}' >>tuned.yaml
$moelab submit tuned.yaml --tasks 1 >said 2>&1
holds grep -q "its trials come first" said
holds grep -q "tuned.tune: 2 runs in Slurm job" said
holds $moelab task results/submit/tuned.tune-1 -q
$moelab submit tuned.yaml --tasks 1 >said 2>&1
holds grep -q "tuned: 1 runs in Slurm job" said

# A failed run is tried once, by one task; a later submission tries it again.
holds $moelab submit sweep.yaml train.lr=3e-3 --restrict seed=1 --tasks 1
dir=$(cut -d' ' -f1 results/submit/sweep-3/runs.txt)
echo "train: {lr: x}" >results/runs/$dir/config.yaml
for i in 1 2; do
	$moelab task results/submit/sweep-3 -q
	holds test $? = 1
done
holds test "$(grep -c '^--- ' results/runs/$dir/log.txt)" = 1

# cancel: what Slurm knows, all tasks of it; what it has forgotten is told.
row() { printf '%-20s%-20s%-20s%-24s%-12s%-200s%-200s\n' "$@"; }
{ row 50 42 0 RUNNING 0 n1 None; row 42 42 1 PENDING 0 '' Resources; row 43 43 0 PENDING 0 '' Resources
	row 41 41 0 COMPLETED 0 n1 None; } >jobs
: >calls
$moelab cancel sweep >said
holds test $? = 0
holds grep -q "job 42: cancelled, 1 tasks at work and 1 waiting" said
holds grep -q "2 jobs cancelled, 2 were over already" said
holds grep -qx "scancel 42 43" calls
rm jobs
: >calls
$moelab cancel sweep >said
holds grep -q "0 jobs cancelled" said
$moelab cancel tuned >said
holds grep -q "0 jobs cancelled, 2 were over already" said	# that of its trials, too
holds test ! -s calls
$moelab cancel other 2>said
holds test $? = 2
holds grep -q 'no submission of sweep "other"' said

# Orders for data that have moved since, as those of another machine, are written anew.
holds $moelab submit sweep.yaml train.lr=5e-3 --restrict seed=1 --tasks 1
mv data moved
holds $moelab submit sweep.yaml train.lr=5e-3 --restrict seed=1 --tasks 1 data.path=moved --threads 999
holds $moelab task results/submit/sweep-5 -q	# with as many threads as there are cores

$moelab task nowhere 2>said
holds test $? = 2
holds grep -q "is nowhere a folder that .submit. made" said

tests_end

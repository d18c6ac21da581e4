#!/bin/sh
# moelab rm, gc: what goes, what stays, and what is never touched.

. "$(dirname "$0")/holds.sh"
small_data

cat >sweep.yaml <<END
base: [$root/experiments/micro/mamba.yaml]
set: {model: {d_model: 8, n_blocks: 1}, train: {batch: 2, context: 16, tokens: 320}, data.path: data,
  eval.tokens: 32, checkpoint.keep: 2}
variants: {a: {}, b: {set: {train.lr: 1e-2}}}
seeds: [1, 2]
baseline: a
END
run="$moelab run sweep.yaml -j 2 --threads 1 -q"
ask() { $moelab query "$1" --format csv | tail -n +2 | paste -sd' '; }
dir() { echo results/runs/$1-*; }

holds $run
holds test "$(ask "SELECT count(*) FROM runs WHERE state = 'done'")" = 4

# --- rm: one run, never without being told to
first=$(dir a-s1)
$moelab rm a-s1 </dev/null >said 2>&1
holds test $? = 2
holds grep -q "asks before it removes, and this is no terminal: --yes removes" said
holds test -d $first
$moelab rm a --yes >said 2>&1
holds test $? = 2
holds grep -q '"a" means 2 runs' said
$moelab rm nothing --yes >said 2>&1
holds test $? = 2
$moelab rm --yes >said 2>&1
holds test $? = 2
holds grep -q "rm takes one run" said
echo n | script -qec "$moelab rm a-s1" /dev/null >said 2>&1
holds grep -q "remove this run for good" said
holds test -d $first
echo | script -qec "$moelab rm a-s1" /dev/null >said 2>&1
holds grep -q "nothing is removed" said
holds test -d $first
# What another machine claims is running, whatever this one sees of it.
echo '{"token": "ff", "host": "far", "machine": "1", "boot_id": "2", "pid": 4}' >$first/CLAIM
$moelab rm a-s1 --yes >said 2>&1
holds test $? = 2
holds test -d $first
rm $first/CLAIM
holds sh -c "echo y | script -qec '$moelab rm a-s1' /dev/null"
holds test ! -e $first
# The sweep still names it, and nothing it told is left.
holds test "$(ask "SELECT state, n, label, seed FROM runs WHERE label = 'a' ORDER BY n")" = "queued,1,a,1 done,2,a,2"
holds test "$(ask "SELECT count(*) FROM step")" = 30
$moelab plan sweep.yaml --check >said
holds test $? = 3
holds grep -q "1 of 4 runs to do" said
cp results/lab.db before.db
holds $moelab ingest --db again.db
for db in before.db again.db; do
	$moelab query "SELECT sweep, label, seed, n, state, step FROM runs ORDER BY sweep, n" --db $db >$db.txt
done
holds cmp before.db.txt again.db.txt
holds $run
holds test "$(ask "SELECT count(*) FROM runs WHERE state = 'done'")" = 4

# --- rm --where: all that match, none is no error; a bad condition removes nothing
holds $moelab rm --where "loss < 0" --yes
$moelab rm --where "los < 9" --yes >said 2>&1
holds test $? = 2
holds $moelab rm --where "label = 'b'" --yes
holds test "$(ask "SELECT count(*) FROM runs WHERE state = 'done'"),$(ls results/runs | wc -l)" = 2,2
holds $run
rm -r $(dir b-s2)
holds $moelab rm b-s2 --yes	# of one whose directory is gone, the rows
# a sweep that a curve has made, by a misspelled name, goes with it
printf 'step,tokens,loss\n0,0,5.5\n3,96,5.25\n' >curve.csv
holds $moelab import-curve curve.csv --label torch --sweep sweeep
holds test "$(ask "SELECT count(*) FROM sweep WHERE name = 'sweeep'")" = 1
holds $moelab rm torch --yes
holds test "$(ask "SELECT count(*) FROM sweep WHERE name = 'sweeep'")" = 0
holds test "$(ask "SELECT state FROM runs WHERE label = 'b' AND seed = 2")" = queued
holds $run

# --- gc: first a list; then that and no more
$moelab gc >said
holds grep -q "nothing is left over" said
for step in 1 5; do cp $(dir a-s1)/ckpt/step_10.safetensors $(dir a-s1)/ckpt/step_$step.safetensors; done
cp $(dir a-s1)/ckpt/step_[15].safetensors $(dir b-s2)/ckpt	# of one that has not ended all stay
mv $(dir b-s2)/DONE .
printf half >$(dir a-s1)/ckpt/step_12.safetensors.tmp77
printf half >results/sweeps/sweep.json.tmp5
printf new >results/sweeps/sweep.json.tmp6
printf '{"token": "ff"}' >$(dir b-s1)/CLAIM.0123456789abcdef0123456789abcdef
printf '{"token": "ff"}' >$(dir b-s2)/CLAIM.torn	# younger
mkdir results/runs/mine && echo notes >results/runs/mine/notes.tmp1
touch -d "1 hour ago" $(dir a-s1)/ckpt/*.tmp77 results/sweeps/*.tmp5 results/runs/mine/*.tmp1 \
	results/runs/*/CLAIM.0*
cp -r $(dir a-s2) results/runs/left-s2-0123abcd
cp -r $(dir a-s2) results/runs/.removed-b-s1-0123abcd
find results -type f | sort >files
$moelab gc --format csv >said
holds test "$(grep -v '^#' said | tail -n +2 | cut -d, -f1 | sort | paste -sd' ')" = \
	"checkpoint run temporary temporary temporary temporary"
holds grep -q "^checkpoint,.*a-s1.*/step_1.safetensors,[1-9][0-9]*,the run is done and keeps 2" said
holds grep -q "6 left over, .*; --yes removes them" said
holds grep -q "^temporary,.*/CLAIM.0.*,15,of a process that died over a claim$" said
find results -type f | sort >now
holds cmp files now
$moelab gc --yes >/dev/full 2>said	# what nobody could read stays
holds test $? = 4
find results -type f | sort >now
holds cmp files now
holds $moelab gc --yes
find results -type f | sort >now
holds test -z "$(comm -13 files now)"
comm -23 files now | sed 's/-s1-[0-9a-f]*/-s1/' | grep -v "left-s2-0123abcd/\|\.removed-" >gone
printf '%s\n' results/runs/a-s1/ckpt/step_1.safetensors results/runs/a-s1/ckpt/step_12.safetensors.tmp77 \
	results/runs/b-s1/CLAIM.0123456789abcdef0123456789abcdef results/sweeps/sweep.json.tmp5 >wanted
holds cmp gone wanted
holds test ! -e results/runs/left-s2-0123abcd
mv DONE $(dir b-s2)
holds $moelab gc --all-checkpoints --yes
holds test "$(find results/runs -name '*.safetensors' | wc -l)" = 0
holds test "$(ask "SELECT count(*) FROM runs WHERE state = 'done'")" = 4
holds $moelab plan sweep.yaml --check

# A sweep's file that cannot be read may name any run.
for text in '{' '[]' '{"name": "torn"}'; do
	echo "$text" >results/sweeps/torn.json
	$moelab gc --yes >said 2>&1
	holds test $? = 4
	holds grep -q "torn.json:[12]: .*mend or remove it" said
done
rm results/sweeps/torn.json
$moelab gc extra >said 2>&1
holds test $? = 2
$moelab gc --results nowhere >said 2>&1
holds test $? = 4

# --- what is running stays, known to the database or not, and so does all of it that is written
long="train.tokens=400000000 checkpoint.every=0.1"
$moelab run sweep.yaml $long --shared -j 1 --threads 1 --restrict variant=a -q >said 2>&1 &
worker=$!
busy() { ls results/runs/*/ckpt/step_*.safetensors 2>/dev/null | sed -n '1s|/ckpt/.*||p'; }
for i in $(seq 300); do test -n "$(busy)" && break; sleep 0.1; done
busy=$(busy)
rm results/sweeps/sweep.json
touch -d "1 hour ago" $busy/config.yaml.tmp9
holds $moelab gc --all-checkpoints --yes
holds test -s $busy/config.yaml
holds test -e $busy/config.yaml.tmp9
holds $moelab ingest
$moelab rm "$busy" --yes >said 2>&1
holds test $? = 2
holds grep -q "$(basename "$busy") is running: stop it first" said
$moelab rm --where "state <> 'done'" --yes >said 2>&1
holds test $? = 0
holds grep -q "warning: .*$(basename "$busy") is running: it stays" said
holds test -s $busy/config.yaml
kill $worker
wait $worker
holds test $? = 75
holds $moelab rm "$(basename "$busy")" --yes
holds test ! -e $busy

# --- while another writes the database nothing is removed
$moelab run sweep.yaml $long -j 1 --threads 1 >told 2>&1 &
worker=$!
for i in $(seq 300); do test -n "$(busy)" && break; sleep 0.1; done
$moelab rm b-s1 --where "state = 'done'" --yes >said 2>&1
holds test $? = 4
holds grep -q "written by another moelab" said
holds test "$(ls -d results/runs/b-s1-* | wc -l)" = 1
kill $worker
wait $worker
# Each thing is told once.
holds grep -q "^Terminated: 1 worker writes a checkpoint and stops$" told
holds test "$(grep -c "stopped on request$" told)" = 1
holds test "$(grep -c "1 stopped" told)" = 1

tests_end

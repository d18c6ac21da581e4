#!/bin/sh
# moelab exclude, tag: what is said of runs stands in their directories, in the database and in what is shown.

. "$(dirname "$0")/holds.sh"
small_data

cat >sweep.yaml <<END
base: [$root/experiments/micro/mamba.yaml]
set: {model: {d_model: 8, n_blocks: 1}, train: {batch: 2, context: 16, tokens: 320}, data.path: data,
  eval.tokens: 32}
variants: {a: {}, b: {set: {train.lr: 1e-2}}}
seeds: [1, 2]
baseline: a
END
run="$moelab run sweep.yaml -j 2 --threads 1 -q"
ask() { $moelab query "$1" --format csv | tail -n +2 | paste -sd' '; }
dir() { echo results/runs/$1-*; }
fails() { "$@" >said 2>&1; test $? = 2; }

holds $run
$moelab table final --sweep sweep >before
$moelab ls >plain

# --- exclude
holds fails $moelab exclude b-s2
holds fails $moelab exclude b-s2 --reason ""
holds fails $moelab exclude b-s2 --reason x --undo
holds fails $moelab exclude b --reason x
holds grep -q '"b" means 2 runs' said
holds fails $moelab exclude --reason x
holds $moelab exclude b-s2 --reason "its disk was \"full\", it's said"
holds test "$(cat $(dir b-s2)/EXCLUDED)" = "its disk was \"full\", it's said"
$moelab table final --sweep sweep >said
holds grep -q "Warning: excluded by hand: b s2: its disk was \"full\", it's said" said
holds sh -c '! cmp -s before said'
holds test "$(ask "SELECT excluded FROM runs WHERE label = 'b' AND seed = 2" | tr -d '"')" = \
	"its disk was full, it's said"
$moelab ls label=b seed=2 seed=1 >out 2>said
holds test $? = 0
holds grep -q "^no run of results/lab.db is like this: what is given must hold all at once" said
$moelab ls label=b seed=2 >said
holds grep -q "| its disk was \"full\", it's said" said
$moelab show b-s2 >said
holds grep -q "^excluded  *its disk was" said
holds $moelab report --sweep sweep -o page -q
holds grep -q "excluded by hand: its disk was" page/*.html
holds $moelab plan sweep.yaml --check	# it is not run again
cp results/lab.db kept.db
rm results/lab.db
holds $moelab ingest
holds test "$(ask "SELECT count(*) FROM runs WHERE excluded LIKE 'its disk%'")" = 1
$moelab exclude b-s1 --reason other -q
$moelab exclude b-s1 --reason another -q	# the later word stands
$moelab table final --sweep sweep >said
holds grep -q "excluded by hand: b s1: another" said
holds $moelab exclude b-s1 --undo
holds $moelab exclude b-s2 --undo
holds test ! -e $(dir b-s2)/EXCLUDED
$moelab table final --sweep sweep >said
holds cmp before said

# --- tag
$moelab ls >said
holds cmp plain said	# no column for people where there is none
holds fails $moelab tag a-s1
holds fails $moelab tag a-s1 "two words"
holds grep -q '"two words" is no tag' said
holds $moelab tag a-s1 paper v2
holds $moelab tag a seed=2 paper
holds test "$(ask "SELECT tags FROM runs WHERE label = 'a' ORDER BY seed")" = "paper v2 paper"
$moelab ls tag=v* --format csv >said
holds test "$(grep -c ",a,1,done,.*,paper v2," said),$(grep -c ",done," said)" = 1,1
$moelab ls --where "tags LIKE '%paper%'" --format csv >said
holds test "$(grep -c ",done," said)" = 2
$moelab ls >said
holds grep -q "| tags " said
holds $moelab tag a-s1 paper nothing --remove
holds test "$(cat $(dir a-s1)/tags.txt)" = v2
holds $moelab ingest --db anew.db
holds test "$($moelab query "SELECT tags FROM runs WHERE label = 'a' AND seed = 1" --db anew.db --format csv |
	tail -1)" = v2

# --- while another writes the database: said in the directory, and taken in at its end
long="train.tokens=400000000 checkpoint.every=0.1"
$moelab run sweep.yaml $long -j 1 --threads 1 -q >told 2>&1 &
writer=$!
for i in $(seq 300); do ls results/runs/*/ckpt/step_???*.safetensors >/dev/null 2>&1 && break; sleep 0.1; done
$moelab exclude "$(basename $(ls -d results/runs/b-s1-*))" --reason "while it writes" >said 2>&1
holds test $? = 0
holds grep -q "whoever writes results/lab.db now takes it in at the end" said
holds test "$(ask "SELECT count(*) FROM runs WHERE excluded IS NOT NULL")" = 0
holds fails $moelab exclude b-s1 state=queued --reason early
holds grep -q "is not there: the run is queued" said
queued=$($moelab ls state=queued --format csv | sed -n 2p | cut -d, -f1)
for what in "sample $queued --prompt a" "eval $queued" "show $queued --experts" "trace $queued@1 -o none"; do
	holds fails $moelab $what
	holds grep -q "is not there: the run is queued, and .moelab run. of its sweep trains it" said
done
kill $writer
wait $writer
holds test "$(ask "SELECT DISTINCT excluded FROM run JOIN runs USING (run_id) WHERE excluded IS NOT NULL")" = \
	"while it writes"

tests_end

#!/bin/sh
# moelab plan --commands: each line does its run and no other, wherever a launcher starts it.

. "$(dirname "$0")/holds.sh"
small_data

mkdir "a folder's" && cd "a folder's" && ln -s ../moelab ../data . || exit 1
cat >"my sweep.yaml" <<END
base: [$root/experiments/micro/mamba.yaml]
set: {model: {d_model: 8, n_blocks: 1}, train: {batch: 2, context: 16, tokens: 96}, data.path: data, eval.tokens: 32}
variants:
  a: {zip: {train.lr: [1e-3, 2e-3], question: ["it's", "a \$(touch broken); b"]}}
  same: {set: {train.lr: 1e-3, question: "it's"}}
  "7": {set: {model: {arch: moe_mamba, moe: {d_expert: 8, group_tokens: 32}}}, grid: {model.moe.n_experts: [2, 4]}}
seeds: [1, 2]
END

$moelab plan "my sweep.yaml" --format csv >said
holds test "$(grep -c ^new, said)" = 10	# two of them are the same run as two others
$moelab plan "my sweep.yaml" --commands --threads 1 train.clip=0.25 >commands 2>told
n=$(wc -l <commands)
holds test $n = 8
holds grep -q "$n runs to do; .moelab ingest --results results" told
holds test "$(sort -u commands | wc -l)" = $n

# One by one, from another folder: one more run each, and it is done.
before=0
while read -r line; do
	(cd / && sh -c "$line -q") >said 2>&1
	holds test "$?,$(ls results/runs | wc -l)" = "0,$((before + 1))"
	before=$((before + 1))
done <commands
holds test "$(ls results/runs/*/DONE | wc -l)" = $n
holds test ! -e broken -a ! -e /broken -a ! -e results/lab.db
holds $moelab plan "my sweep.yaml" --check train.clip=0.25
$moelab plan "my sweep.yaml" --commands train.clip=0.25 >said 2>&1
holds test ! -s said
holds $moelab ingest
$moelab query "SELECT count(DISTINCT run_id) FROM runs WHERE state = 'done' AND sweep = 'my sweep'" --format csv >said
holds test "$(tail -1 said)" = $n

# Only what is missing, several at once; other folders and a restriction are passed on.
rm -r "$(ls -d results/runs/7-* | head -1)"
$moelab plan "my sweep.yaml" --commands --check --threads 1 train.clip=0.25 >commands 2>told
holds test "$?,$(wc -l <commands)" = 3,1
$moelab plan "my sweep.yaml" --commands --threads 1 --results "other place" --restrict variant=7 \
	--restrict seed=2 >commands 2>told
holds test "$(wc -l <commands)" = 2
while read -r line; do sh -c "$line -q" & done <commands
wait
holds test "$(ls "other place"/runs/7-*/DONE | wc -l)" = 2

# Values that trials chose: those of the whole sweep, for each run alone too.
cat >tuned.yaml <<END
base: [$root/experiments/micro/mamba.yaml]
set: {model: {d_model: 8, n_blocks: 1}, train: {batch: 2, context: 16, tokens: 96}, data.path: data, eval.tokens: 32}
variants: {a: {}, b: {set: {model.d_model: 16}}}
seeds: [1]
tune: {over: {train.lr: [1e-4, 1e-2]}, seeds: [8]}
END
$moelab plan tuned.yaml --commands >said 2>&1
holds test $? = 2
holds grep -q "4 trials of its .tune. come first" said
holds $moelab run tuned.yaml -j 1 --threads 1 -q
# Without workers and threads, which depend on the cores that are free, and notes, which tell of the disk.
planned() { $moelab plan tuned.yaml --format csv | sed '/^#/d; s/,[0-9]*,[0-9]*$//'; }
planned >chosen
rm -r results/runs/a-s1-* results/runs/b-s1-*
$moelab plan tuned.yaml --commands --threads 1 >commands 2>told
holds test "$(wc -l <commands)" = 2
while read -r line; do holds sh -c "$line -q"; done <commands
planned >again
holds cmp chosen again

# What makes no commands.
$moelab plan "my sweep.yaml" --commands --json >said 2>&1
holds test $? = 2
$moelab plan "my sweep.yaml" --commands data.path=nowhere >said 2>&1
holds test $? = 2
holds grep -q "nowhere: no dataset" said

tests_end

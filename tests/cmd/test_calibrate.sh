#!/bin/sh
# `table --calibrate`: steps are timed, kept with the runs, and survive a rebuilt database.

. "$(dirname "$0")/holds.sh"

# holds WHAT COMMAND...: a command that succeeds
holds() {
	what=$1
	shift
	if "$@" >said 2>&1; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "failed: $what: $*"
		cat said
	fi
}

# gives VALUE SQL
gives() {
	holds "is not $1" test "$($moelab query "$2" --format csv | tail -n 1)" = "$1"
}

i=0
while [ $i -lt 3000 ]; do
	echo "line $i of a text that has $((i * i % 97)) words and $((i * 7 % 31)) more"
	i=$((i + 1))
done >text.txt
cat >two.yaml <<END
base: $root/experiments/micro/common.yaml
variants:
  mamba: {set: {model.arch: mamba}}
  transformer: {set: {model.arch: transformer}}
set:
  model: {d_model: 16, n_blocks: 1}
  train: {batch: 2, context: 32, tokens: 640}
  eval: {tokens: 256}
  data: {path: set}
seeds: [1, 2]
baseline: mamba
END
holds import $moelab data import text.txt --tokenizer byte --split line -o set --val 0.2 --tune 0.1
holds run $moelab run two.yaml -j 1 --threads 1
gives 0 "SELECT count(*) FROM calibration"
holds calibrate $moelab table speedup --calibrate --threads 1 -o table.md
holds note grep -q "calibrated" table.md
four="SELECT count(*) FROM calibration WHERE seconds_per_step > 0 AND n_steps = 15 AND threads = 1"
gives 4 "$four"
gives 2 "SELECT count(DISTINCT seconds_per_step) FROM calibration"
gives 1 "SELECT count(DISTINCT measured) FROM calibration"
holds "kept with the runs" grep -q '"t":"calibration"' results/runs/mamba-s2-*/metrics.jsonl
rm results/lab.db
holds ingest $moelab ingest
gives 4 "$four"
rm results/runs/mamba-s1-*/config.yaml
$moelab table cost --calibrate >out 2>err
holds "exit code without a config" test $? -eq 4
holds "message without a config" grep -q "config.yaml" err

tests_end

#!/bin/sh
# `table --calibrate`: steps are timed, kept with the runs, and survive a rebuilt database.

. "$(dirname "$0")/holds.sh"

# gives VALUE SQL
gives() {
	holds test "$($moelab query "$2" --format csv | tail -n 1)" = "$1"
}

small_data
cat >two.yaml <<END
base: $root/experiments/micro/common.yaml
variants:
  mamba: {set: {model.arch: mamba}}
  transformer: {set: {model.arch: transformer}}
set:
  model: {d_model: 16, n_blocks: 1}
  train: {batch: 2, context: 32, tokens: 640}
  eval: {tokens: 256}
  data: {path: data}
seeds: [1, 2]
baseline: mamba
END
holds $moelab run two.yaml -j 1 --threads 1
gives 0 "SELECT count(*) FROM calibration"
holds $moelab table speedup --calibrate --threads 1 -o table.md
holds grep -q "calibrated" table.md
four="SELECT count(*) FROM calibration WHERE seconds_per_step > 0 AND n_steps = 15 AND threads = 1"
gives 4 "$four"
gives 2 "SELECT count(DISTINCT seconds_per_step) FROM calibration"
gives 1 "SELECT count(DISTINCT measured) FROM calibration"
holds grep -q '"t":"calibration"' results/runs/mamba-s2-*/metrics.jsonl
rm results/lab.db
holds $moelab ingest
gives 4 "$four"
rm results/runs/mamba-s1-*/config.yaml
$moelab table cost --calibrate >said 2>err
holds test $? -eq 4
holds grep -q "config.yaml" err

tests_end

#!/bin/sh
# moelab run: what a sweep's limits refuse, and which failures end it.

. "$(dirname "$0")/holds.sh"

small_data
cat >sweep.yaml <<END
base: [$root/experiments/micro/mamba.yaml]
set: {model: {d_model: 8, n_blocks: 1}, train: {batch: 2, context: 16, tokens: 960}, data.path: data, eval.tokens: 32}
variants: {a: {set: {train: {lr: 100, weight_decay: 10}}}, b: {}, c: {set: {train: {lr: 99, weight_decay: 10}}},
  d: {set: {train.lr: 1e-2}}}
END
run="$moelab run --threads 1 -j 1 -q"
states() { $moelab query "SELECT state FROM runs ORDER BY n" --db "$1/lab.db" --format csv | sed 1d | paste -sd' '; }

# --- limits: of all runs' disk, and of the memory of those at work at a time
limited() { { cat sweep.yaml; echo "limits: {$1}"; } >limited.yaml; }
limited "disk_gib: 1e-6"
$run limited.yaml >out 2>said
holds test "$? $(wc -l <said)" = "2 1"
holds grep -q "limited.yaml: the runs need .* of disk, its limit is" said
memory=$($moelab plan sweep.yaml --format csv | grep -v '^#' | awk -F, 'NR == 1 { while ($++i != "memory_bytes"); }
	NR == 2 { printf "%.9f", 1.5 * $i / 2^30 }')
limited "memory_gib: $memory"
$run limited.yaml -j 2 --oversubscribe >out 2>said
holds test "$? $(wc -l <said)" = "2 1"
holds grep -q "2 workers need .* of memory, .* may be used: lower -j" said
holds test ! -e results/runs
holds $run limited.yaml --restrict variant=b

# --- failures: a and c diverge
$run sweep.yaml --results all 2>said
holds test $? = 1
holds test "$(states all)" = "diverged done diverged done"
$run sweep.yaml --results first --fail-fast 2>said
holds test "$? $(states first)" = "1 diverged queued queued queued"
$run sweep.yaml --results second --max-failures 2 2>said
holds test "$? $(states second)" = "1 diverged done diverged queued"

tests_end

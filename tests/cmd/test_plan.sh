#!/bin/sh
# moelab plan: for people and for programs the same runs, with the workers and threads that do them.

. "$(dirname "$0")/holds.sh"

small_data
small_sweep 1600 "1, 2, 3, 4, 5"

# column NAME: its values in the CSV file `said`, each once
column() {
	grep -v '^#' said | awk -F, -v name="$1" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) c = i }
		NR > 1 { print $c }' | sort -u | paste -sd' '
}

$moelab plan sweep.yaml -j 3 --threads 2 >said
holds grep -q "5 of 5 runs to do, 3 at a time on 2 threads each" said
holds test "$(grep -c '^| new | sweep ' said)" = 5
$moelab plan sweep.yaml -j 3 --threads 2 --format csv >said
holds test "$(column workers) $(column threads)" = "3 2"
holds test "$(column seed)" = "1 2 3 4 5"
holds test "$(column tokens) $(column steps)" = "1600 50"
$moelab plan sweep.yaml -j 3 --threads 2 --json >said
holds grep -q '"seed": 5, .*"workers": 3, "threads": 2' said
holds grep -q "3 at a time on 2 threads each" said

# A curve that costs more than the run.
holds test "$(grep -c 'evaluations are' said)" = 0
$moelab plan sweep.yaml -j 3 --threads 2 eval.every=1 eval.tokens=512 >said
holds grep -q "Warning: evaluations are 8[0-9] % of the FLOPs: raise eval.every or lower eval.tokens" said

# Trials far shorter than the runs that they choose a rate for.
{ cat sweep.yaml; echo 'tune: {over: {train.lr: [1e-3, 4e-3]}, seeds: [8], set: {train.tokens: 320}, extend: false}'; } >tuned.yaml
$moelab plan tuned.yaml >said
holds test "$(grep -c 'Warning: runs are 5 times as long as the trials' said)" = 1
$moelab plan tuned.yaml train.tokens=640 >said
holds test "$(grep -c 'as long as the trials' said)" = 0

# A sequence that the data cannot fill is told at once, once, and starts nothing.
for verb in plan run; do
	$moelab $verb sweep.yaml train.context=90000 >out 2>said
	holds test "$? $(wc -l <said)" = "2 1"
	holds grep -q "train.context 90000 (command line) is too long for the [0-9]* tokens" said
	holds test ! -e results
done

# Rows of examples are as long as they are, and a batch of them is computed at once.
holds $moelab data make induction rows train=24:40 tests=24:3 vocab=256 -q
for key in context=16 "context=24 train.micro_batch=1"; do
	$moelab run sweep.yaml data.path=rows train.$key >out 2>said
	holds test "$? $(wc -l <said)" = "2 1"
	holds grep -Eq "train.context is 16 .*: set train.context=24|train.micro_batch=1: .* leave it at 0" said
done
holds $moelab plan sweep.yaml data.path=rows train.context=24

# Test sets take their time: 8 steps of 40 rows, and 4,000 rows at each of them, which is 6.6 times the work of those at
# the end alone; times of a machine that others use may be off by a factor of five.
holds $moelab data make induction scored train=24:40 tests=24:4000 vocab=256 -q
sed '/^seeds/d' sweep.yaml >scored.yaml
echo 'variants: {end: {}, always: {set: {eval.tests_every: 1, train.lr: 1e-3}}}' >>scored.yaml
for how in --threads=1 "--threads=1 --measure"; do
	$moelab plan scored.yaml data.path=scored train.context=24 train.batch=40 train.tokens=7680 $how --format csv >said
	holds awk -F, '$1 == "do" { for (i = 1; i <= NF; i++) if ($i == "seconds_left") c = i }
		$2 == "end" { end = $c } $2 == "always" { always = $c } END { exit !(always > 1.3 * end) }' said
done

# So do streams that the text has no windows for, streams of rows, and texts that no token of a task can become.
refused() {	# WORDS KEYS...
	words=$1
	shift
	$moelab plan sweep.yaml "$@" >out 2>said
	holds test "$? $(wc -l <said)" = "2 1"
	holds grep -Eq "$words" said
}
holds $moelab data import text --tokenizer byte --split blank:64 --group-by block:4096 --tune 0 -o untuned -q
refused 'untuned: split tune is empty: make the dataset again' data.path=untuned eval.split=tune
refused 'too few for 9000 streams of windows of 16: lower train.batch' data.sampling=stream train.batch=9000
refused 'rows of examples.*data.sampling=shuffle' data.path=rows train.context=24 data.sampling=stream
refused 'samples.every=5: .*rows holds tokens of the task induction' data.path=rows train.context=24 samples.every=5 \
	'samples.prompts=[a]'
holds $moelab plan sweep.yaml data.sampling=stream samples.every=5 'samples.prompts=[a]'

# What was chosen, and from what.
$moelab plan sweep.yaml --threads 1 --measure --json >said
holds grep -Eq "[1-9][0-9]* workers? x 1 thread|workers x threads, measured with sweep.*chose [1-9][0-9]* x 1" said
holds grep -q '"threads": 1}' said

# A vocabulary that the spec leaves to its dataset is measured with that.
for path in data rows; do
	$moelab plan sweep.yaml data.vocab=0 data.path=$path train.context=24 --threads 1 --measure --format csv >said 2>told
	holds test ! -s told
	holds test "$(column seconds_left | tr ' ' '\n' | grep -c '^[0-9.e-]*[1-9]')" -ge 1
done

$moelab plan sweep.yaml --check >said
holds test $? = 3
holds $moelab run sweep.yaml -q -j 1 --threads 1
holds $moelab plan sweep.yaml --check --format csv
$moelab plan sweep.yaml --format csv >said
holds test "$(column do)" = done
$moelab plan sweep.yaml --format cvs >said 2>&1
holds test $? = 2

# Without the dataset: all but what depends on it.
$moelab plan sweep.yaml --format csv >said
columns="label seed steps tokens params flops memory_bytes"
for name in $columns; do column $name; done >there
$moelab plan sweep.yaml data.path=nowhere --format csv >said
for name in $columns; do column $name; done >absent
holds diff there absent
holds test "$(column do) $(column epochs) $(column run)" = "new  "
holds test -n "$(column params)"
$moelab plan sweep.yaml data.path=nowhere --check >said
holds test $? = 3
holds grep -q "Warning: .*nowhere: no dataset: .moelab data import TEXT... -o .*nowhere. makes one, of a task" said
holds grep -q "5 of 5 runs to do" said
$moelab plan sweep.yaml data.path=nowhere data.vocab=0 >said 2>&1
holds test $? = 2
holds grep -q "nowhere: no dataset" said
$moelab run sweep.yaml data.path=nowhere >said 2>&1
holds test $? = 2
holds grep -q "nowhere: no dataset (dataset.json)" said
holds $moelab plan sweep.yaml data.path=nowhere --measure --threads 1

# Equal configurations under two labels are one run: counted once, trained once, found under either.
sed '/^seeds/d; s/tokens: 1600/tokens: 3200/' sweep.yaml >equal.yaml
echo 'variants: {one: {}, two: {set: {train.lr: 2e-3}}, three: {set: {train.lr: 1e-2}}}' >>equal.yaml
$moelab plan equal.yaml >said
holds grep -q "2 of 3 runs to do" said
holds grep -q "^| new *| two .* the run of one" said
holds test "$($moelab plan equal.yaml --commands 2>said | wc -l)" = 2
holds $moelab run equal.yaml -j 2 --threads 1
holds test "$(ls results/runs | wc -l)" = 7	# 5 are there already
holds $moelab show two-s1
holds $moelab show one-s1

tests_end

#!/bin/sh
# Images and series from the command line: made, imported, refused; learned, told in tables beside rules that learn
# nothing; what models of values are not for.

. "$(dirname "$0")/holds.sh"

# said COMMAND...: one that succeeds; what it prints is in the file said
said() {
	holds "$@"
	cp out said
}

# refuses CODE TEXT WORD...: a command that exits with CODE after one line, which holds TEXT
refuses() {
	code=$1 text=$2
	shift 2
	"$@" >out 2>err
	status=$?
	if [ $status -eq "$code" ] && [ "$(wc -l <err)" -eq 1 ] && grep -qF -- "$text" err; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "$*: exit status $status, not $code; or not one line with: $text"
		cat err
	fi
}

bytes() {	# numbers as bytes
	for b; do printf "\\$(printf %03o "$b")"; done
}

# Images of 2 x 2 bytes: label 1 where the first two are bright, else 0.
{ bytes 0 0 8 3 0 0 0 40 0 0 0 2 0 0 0 2; for i in $(seq 20); do bytes 250 240 0 $i 3 $i 210 220; done; } >images
{ bytes 0 0 8 1 0 0 0 40; for i in $(seq 20); do bytes 1 0; done; } >labels
gzip -k images
holds $moelab data images images.gz labels images labels --val 0.2 --tune 0 -o pixels -q
said $moelab data info pixels
holds grep -q 'test test .* 40 ' said
refuses 2 'needs IMAGES LABELS' $moelab data images images -o other
refuses 2 'labels: values of type 8 in 1 dimensions' $moelab data images labels images -o other
refuses 2 '--val 1: not a share' $moelab data images images labels --val 1 -o other
refuses 2 'pixels: is a dataset already' $moelab data images images labels -o pixels
refuses 2 'some images must validate' $moelab data images images labels --val 0 -o other
refuses 4 'cannot make folder labels:' $moelab data images images labels -o labels/new
head -c 100 images.gz >short.gz
refuses 2 'short.gz' $moelab data images short.gz labels -o other
holds test ! -e other

# A saw of 4 steps with a date in front.
awk 'BEGIN { print "date,x"; for (i = 0; i < 400; i++) print "2020-01-" i % 28 + 1 "," i % 4 }' >saw.csv
holds $moelab data series saw.csv --known 8 --horizon 4,8 --season 4 -o saw -q
refuses 4 'cannot make folder saw.csv:' $moelab data series saw.csv --known 8 --horizon 4,8 -o saw.csv/new
said $moelab data info saw
holds grep -q 'test 8x8 .* 73 ' said
sed '7s/$/x/' saw.csv >bad.csv
refuses 2 'bad.csv:7:11: column x: "1x" is no number' $moelab data series bad.csv -o other
refuses 2 'too few for 96 known values and a horizon of 720' $moelab data series saw.csv --horizon 720 -o other
refuses 2 'data series: --horizon 4,x: not 1 to 16 numbers' $moelab data series saw.csv --horizon 4,x -o other
refuses 2 'some steps must validate, and some train' $moelab data series saw.csv --val 0.5 --test 0.5 -o other
awk '{ print NR == 390 ? "2020-02-02,1e6" : $0 }' saw.csv >far.csv
said $moelab data series far.csv --known 8 --horizon 4 -o far
holds grep -q 'far.csv: column "x": 1 values lie more than 65504 deviations (1.1' said
said $moelab data series saw.csv --known 8 --horizon 4 -o far --force
holds sh -c '! grep deviations said'
sed 's/^date,x/date,0/' saw.csv >counted.csv
refuses 2 'counted.csv:1:1: are the numbers of the first line names' $moelab data series counted.csv -o other
refuses 2 'data series: --header maybe: not yes or no' $moelab data series counted.csv --header maybe -o other
holds $moelab data series counted.csv --known 8 --horizon 4,8 --header yes -o counted -q
holds cmp saw/train_000000.bin counted/train_000000.bin
refuses 2 'nowhere.csv' $moelab data series nowhere.csv -o other

cat >images.yaml <<'END'
model: {arch: mamba, d_model: 16, n_blocks: 1, patch: 2, pool: mean}
train: {batch: 8, context: 4, tokens: 2560, lr: 0.02}
data: {path: pixels, vocab: 259}
eval: {tokens: 64, every: 20}
END
cat >saw.yaml <<'END'
model: {arch: mamba, d_model: 16, n_blocks: 1, patch: 4, head: forecast}
train: {batch: 8, context: 12, tokens: 19200, lr: 0.02}
data: {path: saw, vocab: 65536}
eval: {tokens: 480, every: 50}
END
holds $moelab params images.yaml
holds $moelab train images.yaml -q
holds $moelab train saw.yaml -q
said $moelab table recall --sweep images --format csv
holds grep -q '^images,.*,1,' said
holds grep -q '^most frequent answer,,,,,' said
said $moelab table forecast --sweep saw --format csv
# Scaled to variance 1 the values are (0 1 2 3) / sqrt(1.25), less their mean; what is said of the horizon 4, in field
# 12.
holds awk -F, '$1 == "last value" { n++; far = ($12 - 2) ^ 2 } END { exit !(n == 1 && far < 0.01) }' said
holds awk -F, '$1 == "a season before" { n++; worst = $12 } END { exit !(n == 1 && worst == 0) }' said
holds awk -F, '$1 == "saw" { n++; error = $12 } END { exit !(n == 1 && error > 0 && error < 0.05) }' said
# e to a squared error is no perplexity.
said $moelab query "SELECT label FROM runs WHERE loss >= 0 AND (perplexity IS NULL) = (label = 'saw')" --format csv
holds [ "$(wc -l <said)" -eq 3 ]
said $moelab show saw
holds sh -c '! grep perplexity said'
said $moelab compare saw saw
holds grep -q '(A), squared error' said
said $moelab table final --sweep saw
holds grep -q 'squared error' said
refuses 2 'or they forecast (table forecast)' $moelab table recall --sweep saw
refuses 2 'table forecast: sweep images has no forecasts' $moelab table forecast --sweep images
for run in images saw; do
	refuses 2 'the model reads values (model.patch), not text' $moelab sample $run --prompt a
done
said $moelab eval images --format csv
holds grep -q '^test,40,' said
said $moelab eval saw --format csv
holds awk -F, '$1 == "8x4" { n++; error = $4 } END { exit !(n == 1 && error > 0 && error < 0.05) }' said
refuses 2 'make the examples with the ids' $moelab eval images --data saw
refuses 2 'the data are values of a series: set model.head=forecast' \
	$moelab train images.yaml data.path=saw data.vocab=65536 train.context=12
printf 'variants: {saw: {base: saw.yaml}}\nbaseline: saw\ntargets: [{%s: 2}]\n' perplexity >race.yaml
refuses 2 'race.yaml: targets: a perplexity, which forecasts have not' $moelab plan race.yaml
sed -i 's/perplexity/loss/' race.yaml
holds $moelab plan race.yaml
refuses 2 'explain shows tokens' $moelab explain saw.yaml train.batch=1

tests_end

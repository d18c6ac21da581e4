#!/bin/sh
# Bad input on the command line: one clear line, the right exit code, nothing left behind.

. "$(dirname "$0")/holds.sh"

# refuses CODE TEXT COMMAND...: exits with CODE and prints exactly one line, which holds TEXT.
refuses() {
	code=$1 text=$2
	shift 2
	"$@" >out 2>err </dev/null
	status=$?
	if [ $status -eq "$code" ] && [ "$(wc -l <err)" -eq 1 ] && [ ! -s out ] && grep -qF -- "$text" err; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "$*: exit status $status, not $code; or not one line with: $text"
		cat out err
	fi
}

# --- words that a command has no use for
for command in ingest doctor gc; do
	refuses 2 "$command takes no arguments" $moelab $command results
done

# --- specs and sweeps
moe=$root/experiments/micro/moe_mamba.yaml
bad() { printf "$@" >bad.yaml; }
refuses 2 "nofile.yaml: No such file" $moelab params nofile.yaml
bad "base: [$moe]\nmodel.moe.n_expert: 4\n"
refuses 2 'bad.yaml:2:1: unknown key "model.moe.n_expert" (did you mean "n_experts"?)' $moelab params bad.yaml
bad "base: [$moe]\nmodel.moe.n_experts: many\n"
refuses 2 'bad.yaml:2:22: model.moe.n_experts: "many" is not' $moelab params bad.yaml
bad "base: [$moe]\nmodel.moe.n_experts: 0\n"
refuses 2 "out of range (1 to 4096)" $moelab params bad.yaml
bad "base: [$moe]\nmodel.d_model: 8\nmodel.d_model: 16\n"
refuses 2 'bad.yaml:3:1: duplicate key "model.d_model"' $moelab params bad.yaml
bad "base: [$moe]\nmodel: &a {moe: *a}\n"
refuses 2 "cyclic alias" $moelab params bad.yaml
bad "base: [bad.yaml]\n"
refuses 2 "bad.yaml:1:8: base" $moelab params bad.yaml
bad "base: [$moe]\nmodel: {d_model: 8\n"
refuses 2 "bad.yaml:3:1" $moelab params bad.yaml
refuses 2 "leaves no channel" $moelab params "$moe" model.d_model=1 model.ssm.expand=0.1
refuses 2 "set model.ssm.dt_rank to 2" $moelab params "$moe" model.d_model=16 model.ssm.norm=true
refuses 2 "set model.ssm.d_state to 2" $moelab params "$moe" model.ssm.d_state=1 model.ssm.norm=true
refuses 2 "dt_max 0.001 is below" $moelab params "$moe" model.ssm.dt_min=1 model.ssm.dt_max=0.001
refuses 2 "513 mixtures of experts" $moelab params "$moe" model.n_blocks=513 model.d_model=16 model.moe.d_expert=4
bad "base: [$root/experiments/micro/stack.yaml]\nmodel: {d_model: 2, pattern: [{mamba: {expand: 0.1}}]}\n"
refuses 2 "leaves no channel" $moelab params bad.yaml
refuses 2 "init.cut 1e-06 cannot be drawn: embedding.weight has" $moelab params "$moe" init.cut=1e-6
refuses 2 "so the least is init.cut=0.0035" $moelab params "$moe" init.cut=0.003
holds $moelab params "$moe" init.cut=0.0035
bad "base: [/dev/zero]\n"
refuses 2 "cannot read /dev/zero: it has more than" $moelab params bad.yaml
holds sh -c "sed 's|base: .|&$root/experiments/micro/|' '$moe' | ./moelab params /dev/stdin"
refuses 2 "no command" $moelab frobnicate
refuses 2 "whole number" $moelab run "$moe" -j x
refuses 2 "--restrict: given more than" $moelab run "$moe" $(yes -- --restrict=seed=1 | head -n 500)
refuses 2 '--jobs takes a whole number, not "-1"' $moelab run "$moe" -j -1
refuses 2 'train takes one sweep or spec; "train.lr" is neither' $moelab train "$moe" train.lr
refuses 2 "run takes a sweep or a spec" $moelab run train.lr=1
holds sh -c './moelab train --help | grep -q "^usage: moelab train SPEC"'
holds sh -c './moelab help | grep -q "^  bench  "'
holds sh -c '! ./moelab help | grep -q "^[a-z]* [a-z]* by "'	# every further line of a help is indented
for name in $($moelab help | sed -n 's/^  \([a-z][a-z-]*\) .*/\1/p'); do
	$moelab "$name" --help >asked
	$moelab help "$name" >answered
	holds cmp asked answered
	holds grep -q "moelab $name" answered
done
refuses 2 'no command "qurey" (did you mean "query"?)' $moelab help qurey
refuses 2 "unknown table" $moelab table nope
for option in --db --results; do
	refuses 2 "$option takes a name" $moelab run "$moe" $option ''
done
refuses 2 "--output takes a name" $moelab report -o ''
refuses 4 'database ":memory:"' $moelab ls --db :memory:
refuses 4 "database /dev/null: this is no file" $moelab ls --db /dev/null
refuses 4 "no database" $moelab table speedup --db nofile.db

# --- data
head -c 400000 /dev/zero | tr '\0' '\n' | awk '{ print "line", NR, NR * 7919 % 1009; print "" }' >text
holds $moelab data import text --tokenizer byte --split blank:64 --group-by block:4096 -o data -q
: >empty
refuses 2 "empty corpus" $moelab data import empty --tokenizer byte -o new
refuses 2 "unknown tokenizer" $moelab data import text --tokenizer bite -o new
refuses 2 "--force replaces it" $moelab data import text --tokenizer byte -o data
gzip -c text | head -c 5000 >cut.gz
refuses 2 "cut.gz: truncated gzip" $moelab data import cut.gz --tokenizer byte -o new
awk 'BEGIN { for (i = 0; i < 300; i++) printf "{\"text\": \"word %d\"}\n", i; print "{\"text\": x" }' >lines.jsonl
refuses 2 "lines.jsonl:301" $moelab data import lines.jsonl --tokenizer byte --strict -o new
holds test ! -e new
$moelab data import lines.jsonl --tokenizer byte --val 0.2 --tune 0.2 -o skipped 2>said
holds test -e skipped/dataset.json
holds grep -q "1 of 301 lines skipped as bad JSON" said
full() { sh -c "trap '' XFSZ; ulimit -f 64; exec \"\$@\"" full "$@"; }	# a disk of 32 KiB
refuses 4 "File too large" full $moelab data import text --tokenizer byte -o new
holds test ! -e new
cp -r data short
truncate -s -7 short/train_000000.bin
refuses 2 "short/train_000000.bin" $moelab data info short

# --- runs
cat >sweep.yaml <<END
base: [$root/experiments/micro/mamba.yaml]
set: {model: {d_model: 8, n_blocks: 1}, train: {batch: 2, context: 16, tokens: 96}, data.path: data,
  eval.tokens: 32, checkpoint.every: 0}
seeds: [1, 2]
baseline: sweep
END
holds $moelab run sweep.yaml -q
refuses 2 "short/train_000000.bin" $moelab run sweep.yaml data.path=short
holds sh -c "sed '/^baseline/d; s|data.path: data|data.path: $PWD/data|' sweep.yaml |
	./moelab run /dev/stdin --results piped"
holds test -e piped/sweeps/stdin.json
# a spec with a base through a pipe, which has no path; and the spec that another is matched to
printf 'base: [%s]\nmodel: {d_model: 8, n_blocks: 1}\n' "$root/experiments/micro/mamba.yaml" >small.yaml
holds sh -c "cat small.yaml | $moelab params /dev/stdin"
holds sh -c "cat small.yaml | $moelab trace /dev/stdin -o t.st --random train.batch=1 train.context=16"
holds sh -c "cat small.yaml | $moelab params small.yaml match.to=/dev/stdin match.solve=model.ssm.d_state"
$moelab run sweep.yaml train.eps=0 --results eps -q 2>said
holds grep -q "train.eps is 0" eps/runs/*/DIVERGED
holds grep -q "^moelab: .* s1: diverged: .*train.eps is 0" said		# -q leaves what went wrong
refuses 4 "gnuplot" env PATH=/nonexistent "$moelab" plot loss --sweep sweep -q
holds test ! -e plots/sweep/loss.svg
refuses 2 "is named twice" $moelab table final --sweep sweep --sweep sweep
refuses 2 "target 20: sweep begins below it" $moelab table speedup --target 20
for target in nan inf -1 x; do
	refuses 2 "target \"$target\": give a loss in nats" $moelab table speedup --target $target
done

# --- figures for a paper
refuses 2 '--label: sweep sweep has no label "swoop" (did you mean "sweep"?)' \
	$moelab table final --sweep sweep --label swoop=x
refuses 2 '--order: sweep sweep has no label "x"' $moelab plot loss --sweep sweep --order x
refuses 2 '--size takes WIDTHxHEIGHT with its unit' $moelab plot loss --sweep sweep --size 8x6
refuses 2 '--font takes NAME,SIZE' $moelab plot loss --sweep sweep --font "a'b"
refuses 2 '--xrange takes A:B' $moelab plot loss --sweep sweep --xrange 2:1
refuses 2 '--log takes x, y, xy or none' $moelab plot loss --sweep sweep --log z
refuses 2 'no point lies in' $moelab plot loss --sweep sweep --yrange 90:91
refuses 2 'do not go with a terminal' $moelab plot loss --sweep sweep --format term --size 8x6cm
holds test ! -e plots/sweep/loss.svg
for option in title xtitle ytitle "label=sweep"; do
	for text in "$(printf 'c\001')" "$(printf 't\033[31m')" "$(printf 'x\377')"; do
		refuses 2 "--${option%=*} takes a line in valid UTF-8" \
			$moelab plot loss --sweep sweep "--${option%=*}" "${option#*=}=$text"
	done
done
refuses 2 "--label takes a line" $moelab table final --label "sweep=$(printf 'x\377')" --json
sed '$aquestion: "a\\x01"' sweep.yaml >up.yaml
refuses 2 "up.yaml: a control character in the question" $moelab run up.yaml
sed 's/^baseline.*/name: ..\/..\/up/' sweep.yaml >up.yaml
refuses 2 "up.yaml: the sweep's name becomes that of a file" $moelab run up.yaml
sed 's/^baseline.*/name: sweep.tune/' sweep.yaml >up.yaml
refuses 2 "up.yaml: the sweep's name, sweep.tune, is what the trials of another sweep are called" $moelab run up.yaml
for name in noext a.svgz /dev/stdout; do
	refuses 2 "$name: a figure's name ends in .svg, .png or .pdf" $moelab plot loss --sweep sweep -o $name
	refuses 2 "$name: a figure's name ends in .svg, .png or .pdf" $moelab compare sweep-s1 sweep-s2 -o $name
done
refuses 2 "the name after -o ends in .svg" $moelab plot loss --sweep sweep --format pdf -o a.svg
refuses 2 "control character in the name" $moelab plot loss --sweep sweep -o "$(printf 'a\nsystem("touch ran")#.svg')"
for name in '|touch ran #.svg' '<touch ran #.svg' -x.svg '$x.svg' a.PDF; do
	$moelab plot loss --sweep sweep --output="$name" 2>said
	holds test -s "./$name"
	holds grep -qxF -- "$name" said
done
holds test ! -e ran
$moelab plot loss --sweep sweep --format png -o b 2>said
holds grep -qx b.png said
holds test -s b.png
refuses 2 "is named twice" $moelab table final --sweep sweep --sweep sweep
refuses 2 "target 20: sweep begins below it" $moelab table speedup --target 20
holds $moelab plot loss --sweep sweep -q --format pdf --size 8.5x6cm --font DejaVu\ Sans,8 --title none \
	--label sweep='Mamba, small' --order sweep
holds grep -q "Mamba, small" plots/sweep/loss.csv
holds grep -q "2 seeds of each" plots/sweep/loss.txt
rm plots/sweep/loss.txt
refuses 2 "exclude each other" $moelab plot loss --sweep sweep --caption - --no-caption
holds $moelab plot loss --sweep sweep -q --no-caption
$moelab plot loss --sweep sweep -q --caption - >said
holds grep -q "2 seeds of each configuration" said
holds $moelab plot loss --sweep sweep -q --caption said.tex
holds grep -q "3 .% from\|^% Warning: fewer than 3 seeds" said.tex
holds test ! -e plots/sweep/loss.txt
refuses 4 "nofolder/c.txt" $moelab plot loss --sweep sweep -q --caption nofolder/c.txt
holds grep -aq "MediaBox \[ 0 0 240" plots/sweep/loss.pdf

sed 's/^baseline.*//' sweep.yaml >second.yaml
holds $moelab run second.yaml -q
refuses 2 "which sweep of results/lab.db? name it with --sweep; there are: second sweep" $moelab table final
refuses 2 "behind it stands: SELECT 2" $moelab query "SELECT 1; SELECT 2"
refuses 2 "no SQL statement" $moelab query ""
holds $moelab query "SELECT 1; "
cp results/lab.db newer.db
printf '\377' | dd of=newer.db bs=1 seek=62 conv=notrunc status=none	# user_version, of a later program
refuses 4 "newer.db" $moelab ls --db newer.db

# --- pairs of runs, and foreign curves
refuses 2 "takes two runs" $moelab compare sweep-s1
refuses 2 'no run "nope"' $moelab compare sweep-s1 nope
sed 's|^seeds.*|grid: {train.lr: [1e-3, 2e-3]}|; /^baseline/d' sweep.yaml >axis.yaml
holds $moelab run axis.yaml -q
holds $moelab diff axis-lr=0.001 axis-lr=0.002
holds $moelab why axis-lr=0.001
refuses 2 'has a key "sate", or' $moelab ls sate=done
refuses 2 'has a key "d_model" (did you mean "model.d_model"?), or' $moelab ls d_model=8
$moelab compare sweep-s1 sweep-s2 --json >said
holds grep -q '"part_step": null' said
holds grep -q "they differ in data.seed, 1 and 2" said
# runs that differ in precision alone, and runs that differ in nothing
sed 's/^seeds.*/name: exact/; /^baseline/d' sweep.yaml >exact.yaml
holds $moelab run exact.yaml --device ref -q
$moelab compare sweep-s1 exact-s1 >said
holds grep -q '^| run | precision | f32 .* | f64' said
$moelab compare sweep-s1 sweep-s1 >said
holds test "$(grep -c '^| *| key' said)" = 0
printf 'step,tokens,loss\n0,0,5.5\n4,96,x\n' >curve.csv
refuses 2 "curve.csv:3:6: loss \"x\" is no number" $moelab import-curve curve.csv --label torch --sweep sweep
refuses 2 "takes one file" $moelab import-curve curve.csv --label torch
for n in nan -5; do
	refuses 2 "--tokens-per-step" $moelab import-curve curve.csv --label t --sweep sweep --tokens-per-step $n
done
printf 'step,tokens,loss\n0,0,5.5\n4,96,NaN\n' >broken.csv
holds $moelab import-curve broken.csv --label broken --sweep sweep
$moelab ls >said
holds grep -q "broken.*diverged" said
$moelab table final --sweep sweep >said
holds grep -q "diverged runs.*broken" said
printf 'step,tokens,loss\n0,0,5.5\n4,96,5.25\n' >curve.csv
holds $moelab import-curve curve.csv --label torch --sweep sweep
gzip -c curve.csv >packed
holds sh -c "$moelab import-curve - --label piped --sweep sweep <packed"
head -c 30 packed >cut.csv
refuses 2 "cut.csv: truncated gzip" $moelab import-curve cut.csv --label cut --sweep sweep
$moelab table final --sweep sweep >said
holds grep -q "torch (foreign)" said
holds grep -q "piped (foreign)" said
cp -r results/runs/torch-s1-* before
holds $moelab run sweep.yaml -q
holds diff -r before results/runs/torch-s1-*
$moelab table final --sweep sweep >said
holds grep -q "torch (foreign)" said

# A damaged checkpoint: the run says so and begins anew rather than go on from it.
dir=$(ls -d results/runs/sweep-s1-*)
rm "$dir/DONE"
for ckpt in "$dir"/ckpt/*; do
	printf 'damaged' | dd of="$ckpt" bs=1 seek=3000 conv=notrunc status=none
done
$moelab run sweep.yaml >said 2>&1
holds test -e "$dir/DONE"
holds grep -q "is of no use" "$dir/log.txt"

# A damaged run.json: nothing is trained over it, and what is said mends it.
echo garbage >"$dir/run.json"
refuses 2 "$dir/run.json:1: damaged: '[' or '{' expected near 'garbage': \`moelab rm $dir\` takes the run away" \
	$moelab run sweep.yaml
holds $moelab rm "$dir" --yes
holds $moelab run sweep.yaml -q
holds test -e "$dir/DONE"

tests_end

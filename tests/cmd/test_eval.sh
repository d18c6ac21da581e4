#!/bin/sh
# moelab eval: protocols that must agree do, a run's own loss comes out again, positions sum up to the
# whole; what cannot be evaluated is one line.

. "$(dirname "$0")/holds.sh"
small_data

train() {
	holds $moelab train "$root/experiments/micro/$1.yaml" model.d_model=32 model.n_blocks=1 train.batch=4 \
		train.context=64 train.tokens=16384 eval.tokens=10000000 data.path=data $2 $3
}
train mamba
train transformer
train moe_mamba model.moe.n_experts=4
train mamba_mlp data.reset_at_eot=true
train moba model.attn.segment=8
train summary model.attn.segment=8

# losses ARGUMENTS...: a line "mode length loss" for each row
losses() {
	$moelab eval "$@" --format csv 2>said | grep -v '^#' | awk -F, '
		NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
		{ print $at["mode"], $at["length"], $at["loss"] }'
}
# same FILE: one loss in all of its lines
same() {
	awk '{ if (NR == 1) first = $3; if (($3 - first) ^ 2 > 1e-9) bad = 1 } END { exit bad || NR < 2 }' "$1"
}

# all of the split in windows of the training length: the evaluation of the run
for run in mamba transformer moe_mamba mamba_mlp; do
	kind=val
	[ $run = moe_mamba ] && kind=val_dropless
	losses $run --length 1x --tokens 10000000 >table
	$moelab query "SELECT 'reset', 64, loss FROM curve WHERE label = '$run' AND kind = '$kind' AND step = 64" \
		--format csv | tail -1 | tr , ' ' >>table
	holds test "$(wc -l <table)" = 2
	holds same table
done

# states that go on see what one long window sees, whatever the length; so does a ring that is long enough
losses mamba --mode carried --length 32,1x,4x --tokens 2048 >table
losses mamba --length 4x --tokens 2048 >>table
holds test "$(wc -l <table)" = 4
holds same table
losses mamba_mlp --mode carried --length 1x,4x --tokens 2048 >table
losses mamba_mlp --length 4x --tokens 2048 >>table
holds same table
losses transformer --mode reset,sliding,carried --length 4x --tokens 2048 >table
holds test "$(wc -l <table)" = 3
holds same table
for model in moba summary; do
	losses $model --mode reset,sliding,carried --length 4x --tokens 2048 >table
	holds test "$(wc -l <table)" = 3
	holds same table
done
# one window a segment carries nothing on, and that is said; of two the second goes on where the first ended
$moelab eval mamba --mode carried --length 1x --tokens 2048 >said
holds grep -q 'Warning: carried: each segment is one window of 64 tokens, so nothing is carried' said
for lengths in 2x 1x,4x; do
	$moelab eval mamba --mode carried --length $lengths --tokens 2048 >said
	holds test "$(grep -c carried: said) $(grep -c Warning said)" = "1 0"
done
# windows that do not overlap slide like those by themselves
losses transformer --mode reset,sliding --length 32 --stride 32 --tokens 2048 >table
holds same table
# nor does overlap matter where all that a token sees is in the window; tokens in front are there for experts, too
train transformer_moe "model.moe.n_experts=4 model.n_blocks=2" "model.attn.window=5 train.lr=1e-2 train.tokens=65536"
losses transformer_moe --mode reset,sliding --length 64,4x --stride 32 --tokens 2048 >all
grep -e 'reset,* 256' -e 'sliding 64' all >table
holds test "$(wc -l <table)" = 2
holds same table
# by themselves they are half a length apart; and a nat is 1 / ln 2 bits, of a little more than a byte, as documents end
$moelab eval transformer --mode sliding --length 32 --tokens 2048 --format csv >said
holds awk -F, '/^#/ { next } !n++ { for (i = 1; i <= NF; i++) at[$i] = i; next }
	{ x = $at["bits_per_byte"] * log(2) / $at["loss"]; good += $at["stride"] == 16 && x > 1 && x < 1.1 }
	END { exit n != 2 || good != 1 }' said
# and each token behind the first window has more in front where they do
losses transformer --mode sliding --length 32,128 --stride 8 --tokens 2048 >table
holds test "$(wc -l <table)" = 2
holds awk 'NR == 1 { a = $3 } NR == 2 { exit $3 == a }' table

# each token once: of 128 in a segment, in the first window or among the last 8 of a later one, with 24 in front
$moelab eval transformer --mode sliding --length 32,128 --stride 8 --tokens 2048 --by-position --format csv >table
holds test "$(awk -F, '$2 == 32 { n += $10 } END { print n }' table)" = 2048
holds test "$(awk -F, '$2 == 32 && $6 <= 16 { n += $10 } END { print n }' table)" = $((16 * 16))

# however many times the training length
train mamba2 train.context=4 train.tokens=1024
$moelab eval mamba2 --length 4004 --tokens 4004 >table
holds grep -q '| reset |   4004 |       1001x |' table

# losses by position, weighted by their tokens, are the loss
for mode in reset sliding carried; do
	$moelab eval transformer --mode $mode --length 4x --tokens 2048 --by-position --format csv | grep -v '^#' | awk -F, '
		NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
		{ n += $at["tokens"]; sum += $at["tokens"] * $at["loss"] }
		END { print "sum", n, sum / n }' >table
	losses transformer --mode $mode --length 4x --tokens 2048 >>table
	holds same table
	holds grep -q "^sum 2048 " table
done
holds test "$($moelab eval mamba --length 1x --by-position --json | grep -c context_low)" = 7

# the figure has the table's numbers
holds $moelab eval transformer --mode reset,carried --length 1x,4x --tokens 2048 --plot by_length.svg
holds test -s by_length.svg
losses transformer --mode carried --length 1x,4x --tokens 2048 | head -1 | cut -c 1-17 >table
holds test "$(grep -c "$(cut -d' ' -f3 table)" by_length.csv)" = 1
holds $moelab eval transformer --length 1x,4x --tokens 2048 --by-position --plot by_position.svg
holds test "$(grep -c 'reset 256' by_position.csv)" = 9

# refused WORDS ARGUMENTS...: exits with 2, and the line has the words
refused() {
	words=$1
	shift
	$moelab eval "$@" >text.out 2>said
	holds test $? = 2
	holds test "$(grep -c . said)" = 1
	holds grep -q "$words" said
}
refused "not reset, sliding or carried" mamba --mode all
refused "mode: none given" mamba --mode ""
refused "does not divide the longest" mamba --length 48,64
for model in moba summary; do
	refused "model.attn.segment is for all that is carried, 256" $model --mode carried --length 1x,4x --tokens 2048
done
refused "not a number of tokens" mamba --length 1y
refused "does not divide the length" mamba --mode sliding --stride 7
refused "stride 0: windows move by one token at least" mamba --mode sliding --stride 0
refused "svg" mamba --plot losses.txt
refused "too few for a segment" mamba --length 1000000
refused "not train, val or tune" mamba --split test
refused "takes one run"
refused "keeps no checkpoint of step 1" mamba --step 1
# a dataset that has moved, checkpoints that an archive left out
holds $moelab eval mamba --length 1x
cp out table
mv data moved
refused "data: the run's dataset is not there: --data DIR says where it is" mamba
holds $moelab eval mamba --length 1x --data moved
$moelab eval mamba --length 1x --data moved >said
holds cmp table said
refused_by() {
	"$@" >text.out 2>said
	holds test "$? $(grep -c . said)" = "2 1"
	holds grep -q "$words" said
}
words="data: the run's dataset is not there: data.path=DIR says where it is, --random"
refused_by $moelab trace mamba@64 -o step
refused_by $moelab explain mamba@64 train.batch=1 train.context=4
holds $moelab trace mamba@64 -o step data.path=moved
words="data: the run's dataset is not there: --data DIR says"
refused_by $moelab show moe_mamba --experts
holds $moelab show moe_mamba --experts --data moved
mv results/runs/mamba-s1-*/ckpt away
refused "the run kept 1 of its checkpoints, and none is there: archives of runs come without them" mamba --data moved
mv away "$(echo results/runs/mamba-s1-*)/ckpt"
mv moved data
printf 'some text that is not long\n\n' >other
holds $moelab data import other --tokenizer gpt2 --val 0 --tune 0 -o data2 -q
refused "import the text with the model's" mamba --data data2
tests_end

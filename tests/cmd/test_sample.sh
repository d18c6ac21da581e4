#!/bin/sh
# moelab sample: text from a run's checkpoint; the same for any number of threads, from argument, file and
# standard input; what cannot be sampled is one line.

. "$(dirname "$0")/holds.sh"
small_data

train() {
	holds $moelab train "$root/experiments/micro/$1.yaml" model.d_model=32 model.n_blocks=1 train.batch=4 \
		train.context=64 train.tokens=16384 eval.tokens=512 data.path=data $2
}
train mamba
train transformer
train moe_mamba model.moe.n_experts=4
train mamba_mlp checkpoint.keep=0

# text ARGUMENTS...: what is printed, in the file text; its messages in the file said
sample() {
	$moelab sample "$@" >text.out 2>said
}

for run in mamba transformer moe_mamba; do
	holds sample $run --prompt "line 1" --tokens 50 --seed 7 --threads 1
	mv text.out one
	holds test "$(wc -c <one)" -gt 5
	holds sample $run --prompt "line 1" --tokens 50 --seed 7 --threads 4
	holds cmp one text.out
	holds sample $run --prompt "line 1" --tokens 50 --seed 8
	holds test "$(cmp one text.out)"
done
printf 'line 1' >prompt
holds sample mamba --prompt "line 1" --tokens 20
mv text.out one
holds sample mamba --prompt-file prompt --tokens 20
holds cmp one text.out
$moelab sample results/runs/mamba-s1-* --prompt-file - --tokens 20 <prompt >text.out 2>said
holds cmp one text.out
gzip -c prompt | $moelab sample results/runs/mamba-s1-* --prompt-file - --tokens 20 >text.out 2>said
holds cmp one text.out

# in one file, what is said of the text is a line of its own behind it
$moelab sample mamba --prompt "line 1" --tokens 20 >both 2>&1
holds grep -q '^20 tokens behind' both

# the likeliest token has no seed; the reference chooses the same
holds sample mamba --prompt "line 1" --tokens 30 --temperature 0 --seed 1
mv text.out one
holds sample mamba --prompt "line 1" --tokens 30 --temperature 0 --seed 2
holds cmp one text.out
holds sample mamba --prompt "line 1" --tokens 30 --top-k 1 --device ref
holds cmp one text.out
holds grep -q "temperature, top-k, top-p, min-p in this order" said

# refused WORDS ARGUMENTS...: exits with 2, and the line has the words
refused() {
	words=$1
	shift
	sample "$@"
	holds test $? = 2
	holds test "$(grep -c . said)" = 1
	holds grep -q -- "$words" said
}
refused "keeps no checkpoint: .moelab rm. it, then train it with checkpoint.keep=1" mamba_mlp --prompt x
refused "keeps no checkpoint of step 3, but of 64" mamba --prompt x --step 3
refused "prompt is empty" mamba --prompt ""
for tokens in 2147483647 9223372036854775807; do
	refused "--tokens $tokens behind 1 of the prompt: more than 2147483647" mamba --prompt x --tokens $tokens
done
refused "one of them" mamba
refused "one of them" mamba --prompt x --prompt-file prompt
refused "takes one run" --prompt x
refused "no run" nothing --prompt x
refused "257 tokens, tokenizer gpt2 50257" mamba --prompt x --tokenizer gpt2
refused "top-p 2" mamba --prompt x --top-p 2
refused "unknown tokenizer" mamba --prompt x --tokenizer none

# texts while it trains: at each tenth step and the last, of each prompt; the run is the same without them
cat >with.yaml <<END
base: [$root/experiments/micro/mamba.yaml]
model: {d_model: 16, n_blocks: 1}
train: {batch: 2, context: 32, tokens: 1600}
eval: {tokens: 512, every: 25}
data: {path: data}
samples: {every: 10, prompts: ["line 1", of a text], tokens: 5, temperature: 1}
END
holds $moelab train with.yaml --results a
holds $moelab train with.yaml --results b samples.every=0
values() {
	$moelab query "$2" --db $1/lab.db --format csv | tail -n +2
}
values a "SELECT identity FROM runs" >with
values b "SELECT identity FROM runs" >without
holds cmp with without
values a "SELECT step, loss, ce FROM curve JOIN step USING (run_id, step) ORDER BY kind, step" >with
values b "SELECT step, loss, ce FROM curve JOIN step USING (run_id, step) ORDER BY kind, step" >without
holds test -s with
holds cmp with without
holds test "$(values a "SELECT count(*) FROM event WHERE kind = 'sample'")" = 6
holds test "$(values b "SELECT count(*) FROM event WHERE kind = 'sample'")" = 0
holds test "$(values a "SELECT count(*) FROM event WHERE kind = 'sample' AND step = 25 AND
	(text LIKE 'line 1%' OR text LIKE 'of a text%') AND length(text) > 9")" = 2
$moelab show with --db a/lab.db >shown
holds test "$(grep -c '^sample at step' shown)" = 6
holds grep -q '^line 1' shown
$moelab show with --db a/lab.db --json >shown
holds test "$(grep -c '"text": "line 1' shown)" = 3
for wrong in 'samples.prompts=[]' 'samples.prompts=text' 'samples.prompts=[""]' 'samples.prompts=[[a]]'; do
	$moelab train with.yaml "$wrong" --results c >text.out 2>said
	holds test $? -ne 0
	holds grep -q "samples.prompts" said
done

# without its dataset the tokenizer is the one with as many tokens
mv data gone
holds sample mamba --prompt "line 1" --tokens 30 --temperature 0
holds cmp one text.out
tests_end

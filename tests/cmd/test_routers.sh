#!/bin/sh
# What is told of routers: the rule of an evaluation, routers that no token takes anything of, capacities below 1,
# keys without effect; and advice that works for models that mix tokens of several sequences.

. "$(dirname "$0")/holds.sh"
small_data

cat >small.yaml <<END
base: [$root/experiments/micro/moe_mamba.yaml]
question: who takes what?
set: {model.d_model: 32, model.n_blocks: 1, model.moe.n_experts: 4, model.moe.d_expert: 16, train.batch: 4,
  train.context: 32, train.tokens: 256, eval.tokens: 1024, eval.every: 1, log.every: 1, data.path: data}
baseline: one
variants:
  one: {}
  none: {set: {model.moe.router: threshold, model.moe.threshold_rate: 1e3, model.moe.n_experts: 12,
    model.moe.max_k: 12}}
  chosen: {set: {model.moe.router: expert_choice, model.moe.allow_future: true}}
  ranked: {set: {model.moe.router: expert_choice_batch, model.moe.capacity_factor: 0.5}}
  hashed: {set: {model.moe.router: hash, model.moe.top_k: 2}}
  moved: {set: {model.moe.drop_target: 0.5, model.moe.control_rate: 1}}
  falling: {set: {model.moe.capacity_decay: 0.1, model.moe.capacity_least: 0.1}}
END

# a capacity below 1 is said before anything starts, and in the run's own record
said="ranked: model.moe.capacity_factor leaves an expert 0.5 of a choice in each routing group: it takes 1, 2 times"
$moelab plan small.yaml >out 2>err
holds test "$(grep -c "$said" err)" = 1
$moelab run small.yaml -j 1 2>err
holds test "$(grep -c "$said" err)" = 1
holds test "$($moelab query "SELECT count(*) FROM event WHERE kind = 'warning' AND text LIKE '%it takes 1, 2 times%'" \
	--format csv | tail -1)" = 1

# logged LABEL: what its log says of evaluation
logged() {
	sed -n 's/^evaluation: //p' "results/runs/$1-s1"-*/log.txt
}
holds test "$(logged one)" = "val: capacity factor 1; val_dropless, at the end: all that tokens choose"
holds test "$(logged none)" = "val: all that tokens choose; val_dropless, at the end: all that tokens choose"
holds test "$(logged ranked)" = "val: capacity factor 0.5, by rank; val_dropless, at the end: by a cutoff of scores"
holds test "$(logged chosen)" = "val: by a cutoff of scores; val_dropless, at the end: by a cutoff of scores"
holds test "$(logged moved)" = "val: capacity factor 1 at first, then as training has moved it; val_dropless, at \
the end: all that tokens choose"

# cells LABEL COLUMN...: of the table of routers
$moelab table routers --sweep small --format csv 2>err | grep -v '^#' >routers
cells() {
	label=$1
	shift
	awk -F, -v label="$label" -v columns="$*" '
		NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
		$1 ~ "^" label {
			n = split(columns, c, " ")
			for (k = 1; k <= n; k++)
				printf "%s%s", $at[c[k]], k < n ? " " : "\n"
		}' \
		routers
}
holds test "$(cells none router choices eval_choices eval_rule unserved most drop dead)" = "threshold 0 0 all 1  0 12"
holds test "$(cells chosen eval_rule)" = cutoff
holds test "$(cells ranked eval_rule)" = "rank 0.5"
holds test "$(cells falling eval_rule)" = "capacity 0.8187"	# exp(-0.2): two steps
holds test "$(cells one eval_rule)" = "capacity 1"
holds test "$(cells hashed choices eval_choices eval_rule entropy unserved)" = "2 2 all  0"
holds awk "BEGIN { exit !($(cells chosen eval_choices) > 0.1) }"
holds test "$(cells moved eval_rule)" = "capacity $($moelab query "SELECT printf('%.4g', avg(mean)) FROM state JOIN \
	run USING (run_id) WHERE dir LIKE '%moved%' AND step = 2" --format csv | tail -1)"

# a rule that looks ahead in training is stamped in every table, which says what that means for losses
for table in final load routers speedup cost; do
	$moelab table $table --sweep small >out 2>err
	holds test "$(grep -c 'future can change its output, .*training loss .* unless by a cutoff: chosen$' out)" = 1
done

# of rows without Switch the table says why nothing is held against it
{
	sed '/^baseline/,$d' small.yaml
	echo 'baseline: hashed'
	echo 'variants: {hashed: {set: {model.moe.router: hash, model.moe.top_k: 2}}, placed: {set: {model.moe.router: fixed}}}'
} >hashes.yaml
holds $moelab run hashes.yaml -j 1
holds sh -c "$moelab table routers --sweep hashes | grep -q 'to switch: no row has that router\$'"
holds sh -c "$moelab table routers --sweep small | grep -q 'to switch: difference to one, the first row of that name\$'"

# so are its pairs with another run, and the run by itself, which also says by what it was evaluated
$moelab compare one chosen >out
holds test "$(grep -c 'future can change its output, .* unless by a cutoff: chosen s1$' out)" = 1
$moelab compare one ranked >out
holds test "$(grep -c 'future can change' out)" = 0
# facts RUN
facts() {
	$moelab show "$1" | sed -n 's/^\(depends_on\|evaluated_by\)  *//p' | tr '\n' ,
}
holds test "$(facts chosen)" = "F: its own future, in training,cutoff,"
holds test "$(facts ranked)" = "B: other sequences of the batch,rank 0.5,"
holds test "$(facts hashed)" = "A: its own past,all,"
# and the losses of its routers by their parts, those that it has
told() {
	$moelab show "$1" | awk '$1 ~ /^(aux|balance|z|importance|load_cv2|mean_entropy)$/ && $2 + 0 == $2 { printf "%s ", $1 }'
}
holds test "$(told hashed)" = "aux balance z importance mean_entropy "
holds test "$(told one)" = "aux balance z "
for run in chosen one; do
	$moelab eval $run --length 1x >told.$run
done
holds grep -q "; mixtures without capacity, where experts choose tokens by a cutoff of scores; f32$" told.chosen
holds grep -q "; mixtures without capacity; f32$" told.one

# refused WORDS COMMAND...
refused() {
	words=$1
	shift
	"$@" >out 2>err
	holds test $? = 2
	holds test "$(grep -c . err)" = 1
	holds grep -qF -e "$words" err
}
said="model.moe.noise_scale has no effect here (command line): it is for noise other than none (routers noisy, gumbel)"
refused "$said" \
	$moelab train "$root/experiments/micro/moe_mamba.yaml" data.path=data model.moe.noise_scale=0.1

# of many configurations a refusal names the one
refused "small.yaml: chosen: with model.moe.select expert_choice" $moelab plan small.yaml model.moe.allow_future=false

# a run's step is traced and explained under whatever name the run has
holds $moelab trace one@2 -o by_label
holds $moelab trace "results/runs/$(ls results/runs | grep '^one-')@2" -o by_path
holds $moelab trace "$(ls results/runs | grep '^one-')@2" -o by_name --db nowhere
holds cmp by_label by_path
holds cmp by_label by_name
holds $moelab explain one-s1@2 train.batch=2 train.context=8 --only route
refused 'no run "none of these" in results/lab.db' $moelab trace "none of these@2" -o by_label

# groups of 2 sequences: what a refusal says can be done, can be done
holds $moelab train "$root/experiments/micro/moe_mamba.yaml" model.d_model=32 model.n_blocks=1 train.batch=4 \
	train.context=32 train.tokens=384 eval.tokens=1024 data.path=data model.moe.router=tokens \
	model.moe.group_sequences=2 model.moe.n_experts=4 model.moe.d_expert=16
refused "--length 1x --tokens N\` measures it, N a multiple of 2 x train.context" $moelab sample moe_mamba --prompt line
refused "--length 1x --tokens N\` measures it, N a multiple of 2 x train.context" $moelab eval moe_mamba --length 4x
holds $moelab eval moe_mamba --length 1x --tokens 64
holds $moelab eval moe_mamba --length 1x --tokens 640
sevens="$root/experiments/micro/moe_mamba.yaml model.d_model=32 model.n_blocks=1 train.context=32 data.path=data \
	model.moe.group_tokens=14"
refused "train.batch and train.micro_batch to multiples of 7 sequences" $moelab params $sevens train.batch=4
holds $moelab params $sevens train.batch=7
printf 'base: [%s/experiments/micro/moe_mamba.yaml]\nmodel: {d_model: 32, n_blocks: 1, moe: {router: tokens,
  n_experts: 8, d_expert: 16, group_sequences: 2}}\n' "$root" >more.yaml
refused "experts grow in number where tokens choose them" $moelab grow moe_mamba more.yaml -o grown

# every router by name is told of in the table of routers
names=$($moelab help spec | sed -n 's/^  model\.moe\.router  *word  *switch  *\([a-z_|]*\) .*/\1/p' | tr '|' ' ')
holds test "$(echo $names | wc -w)" -gt 15
for name in $names; do
	holds grep -q "^  | \`$name\` | " "$root/experiments/README.md"
done

# the micro-batch that fits: groups that nothing is taken over are not kept whole
$moelab trace "$root/experiments/micro/moe_mamba.yaml" -o big --random train.batch=65536 \
	model.moe.router=threshold 2>err
holds grep -q 'needs .*; train.micro_batch=[0-9]* fits' err
holds test "$(grep -c whole err)" = 0

tests_end

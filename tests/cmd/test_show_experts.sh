#!/bin/sh
# moelab show RUN --experts: choices add up, tokens by hash have two experts each and keep them, those of a router
# that learns move; what cannot be shown is one line.

. "$(dirname "$0")/holds.sh"
small_data

# train SPEC KEY=VALUE...: a checkpoint at each step, of which the last three are kept
train() {
	spec=$1
	shift
	holds $moelab train "$root/experiments/micro/$spec.yaml" model.d_model=32 model.n_blocks=1 train.batch=4 \
		train.context=64 train.tokens=16384 eval.tokens=4096 data.path=data checkpoint.every=0 checkpoint.keep=3 "$@"
}
train transformer_moe model.moe.router=hash model.moe.top_k=2 model.moe.n_experts=4 model.moe.d_expert=16
train moe_mamba model.moe.router=topk model.moe.n_experts=4 model.moe.d_expert=16 train.lr=1e-2
train mamba

# sums RUN ARGUMENTS...: of loads, of kinds of tokens, and what the router keeps
sums() {
	$moelab show "$@" --experts --format csv 2>said | grep -v '^#' | awk -F, '
		NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
		{ load += $at["load"]; kinds += $at["kinds"]; kept = $at["kept"] }
		END { printf "%.6f %d %s\n", load, kinds, kept }'
}
sums transformer_moe >hash
sums moe_mamba >topk
read -r load kinds kept <hash
holds test "$load $((kinds % 2)) $kept" = "2.000000 0 1"
read -r load more kept <topk
holds test "$load" = 2.000000
holds test "$more" -gt "$kinds"
holds awk "BEGIN { exit !($kept > 0.3 && $kept < 1) }"
# a checkpoint is not compared with itself
sums moe_mamba --since 64 >topk
read -r load more kept <topk
holds test -z "$kept"
$moelab show moe_mamba --experts --step 62 >shown
holds grep -q 'step 62 alone: --since names an older checkpoint' shown
holds test "$(grep -c 'keeps one' shown)" = 0
$moelab show moe_mamba --experts >shown
holds grep -q '" " ' shown
holds grep -q 'choices at step 62 that the same tokens make at step 64' shown

# experts of unequal widths are told with these
train transformer_moe model.moe.router=hmoe model.moe.n_experts=4 model.moe.d_expert=16 model.moe.expert_sizes=1:3
$moelab show 'model.moe.expert_sizes=1:3' --experts --format csv 2>said | grep -v '^#' | cut -d, -f3 |
	tr '\n' ' ' >shown
holds grep -qx 'width 8 24 8 24 ' shown

# experts that choose do it by cutoff here, which is said; tokens that none takes are counted once for each router
train parallel_moe_mamba model.moe.router=expert_choice model.moe.allow_future=true model.moe.capacity_factor=0.5 \
	model.moe.n_experts=4 model.moe.d_expert=16 eval.tokens=1000000
$moelab show parallel_moe_mamba --experts >shown
holds grep -q 'by a cutoff of scores' shown
unserved() {
	$moelab show "$@" --experts --format csv 2>said | grep -v '^#' | awk -F, '
		NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
		{ load += $at["load"]; last = $at["unserved"] } END { printf "%.6f %.6f\n", load, last }'
}
unserved parallel_moe_mamba >cutoff
$moelab query "SELECT printf('%.6f %.6f', choices, unserved) AS x FROM eval JOIN run USING (run_id) WHERE dir LIKE \
	'%parallel%' AND kind = 'val_dropless'" --format csv | tail -1 >logged
holds cmp cutoff logged
holds awk '{ exit !($2 > 0.1 && $2 < 1) }' cutoff
holds test "$(unserved moe_mamba)" = "2.000000 0.000000"

# refused WORDS ARGUMENTS...
refused() {
	words=$1
	shift
	$moelab show "$@" --experts >said 2>&1 && echo "no error: $*" >said
	holds grep -q "$words" said
}
refused 'keeps no checkpoint of step 3' moe_mamba --step 3
refused 'has no router' mamba

# what training moves by a rule is in the table of states, behind each step that logs routers
train parallel_moe_mamba model.moe.router=gumbel model.moe.temperature_decay=0.02 model.moe.n_experts=4 \
	model.moe.d_expert=16 log.every=1
of_states() {
	$moelab query "SELECT $1 FROM state WHERE state LIKE '%.moe.router.temperature'" --format csv | tail -1
}
holds test "$(of_states 'count(*)')" = 64
holds test "$(of_states 'sum(abs(mean - max(0.5, exp(-0.02 * step))) > 1e-5 OR least <> most)')" = 0

tests_end

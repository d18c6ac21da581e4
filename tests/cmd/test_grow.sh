#!/bin/sh
# moelab grow: experts of a dense layer begin with its loss, and the run that trains them names their file; more
# experts of a mixture; what cannot be grown is one line.

. "$(dirname "$0")/holds.sh"
small_data

small="model.d_model=32 model.n_blocks=1 train.batch=4 train.context=64 train.tokens=8192 eval.tokens=512 \
	data.path=data"
holds $moelab train "$root/experiments/micro/mamba_mlp.yaml" $small model.ffn.d_hidden=48
holds $moelab train "$root/experiments/micro/moe_mamba.yaml" $small model.moe.n_experts=4

# loss LABEL step: of the validation windows
loss() {
	$moelab query "SELECT printf('%.5f', loss) FROM eval e JOIN run r USING (run_id) WHERE r.label = '$1'
		AND e.kind = 'val' AND e.step = $2" | sed -n '3p' | tr -dc 0-9.
}

cat >grown.yaml <<END
base: [$root/experiments/micro/moe_mamba.yaml]
model: {moe: {n_experts: 3, d_expert: 24, top_k: 2, weight: renorm, capacity_factor: 0}}
END
two="model.moe.n_experts=6"
holds $moelab grow mamba_mlp grown.yaml $small $two -o grown.safetensors
holds $moelab train grown.yaml $small $two train.init_from=grown.safetensors
holds test -n "$(loss mamba_mlp 32)"
holds test "$(loss mamba_mlp 32)" = "$(loss grown 0)"

holds $moelab grow moe_mamba "$root/experiments/micro/moe_mamba.yaml" $small model.moe.n_experts=8 -o more.safetensors

# refused WORD ARGUMENTS...: the growth is refused with a message that has the word
refused() {
	word=$1
	shift
	! $moelab grow "$@" >text 2>&1 && grep -q "$word" text
}
holds refused "takes a run" mamba_mlp
holds refused "divides it" mamba_mlp grown.yaml $small model.moe.d_expert=20 -o none
holds refused "to a multiple of" moe_mamba "$root/experiments/micro/moe_mamba.yaml" $small model.moe.n_experts=6 -o none
holds test ! -e none
$moelab grow mamba_mlp grown.yaml $small $two -o grown.yaml/none 2>text
holds test "$?,$(wc -l <text)" = 4,1
holds $moelab train "$root/experiments/micro/moe_mamba.yaml" $small model.moe.n_experts=8 \
	train.init_from=more.safetensors
tests_end

#!/bin/sh
# Hybrids written in a spec: what is refused and with which words, and the shares that a run logs.

. "$(dirname "$0")/holds.sh"
small_data

stack() {	# a spec of one block: the pattern, more lines of the model
	printf 'model:\n  arch: stack\n  d_model: 16\n  n_blocks: 1\n  pattern: %s\n' "$1"
	printf '%b' "$2"
	printf 'train: {batch: 2, micro_batch: 1, context: 16, tokens: 160, lr: 0.05, warmup: 0}\n'
	printf 'data: {path: data}\neval: {tokens: 32}\nlog: {every: 1}\n'
}

refused() {	# pattern, words of the message
	stack "$1" "$3" >spec.yaml
	$moelab params spec.yaml >said 2>&1
	holds test $? = 2
	holds grep -q "spec.yaml:.*$2" said
}

refused '[{mix: [mamba]}]' 'mix takes a list of two layers'
refused '[{mix: {alpha: fixed}}]' 'mix takes a list of two layers'
refused '[{mix: {of: [attn, mamba], beta: 1}}]' 'layer "mix" has no key "beta"'
refused '[{mix: {of: [attn, mamba], alpha: half}}]' 'learned'
refused '[{mix: [mamba, xattn]}]' 'the same parameters'
refused '[{mix: [mamba, mamba2]}]' 'the same parameters' '  mamba2: {d_head: 8}\n'
refused '[{mix: [mamba2, gdn]}]' 'the same parameters' '  mamba2: {d_head: 8}\n'
refused '[{mix: [mamba3, gdn]}]' 'the same parameters' '  mamba3: {d_head: 8}\n'
refused '[{mamba3: {d_head: 5}}]' 'model.mamba3: expand 2 of model.d_model 16 gives 32 channels'
refused '[{mamba3: {d_head: 8, turned: 0}}]' 'is no pair of states'
refused '[{gdn: {a_min: 2, a_max: 1}}]' 'model.gdn.a_max 1 is below model.gdn.a_min 2'
refused '[{mix: [attn, local]}]' 'the same parameters'
refused '[{mix: [attn, {mix: [mamba, ffn]}]}]' 'the same parameters'
refused '[{mix: [ffn, {mix: [attn, mamba]}]}]' 'the same parameters'
refused '[{parallel: [mamba, mamba]}]' 'parallel takes two different layers'
refused '[{parallel: [mamba, {mamba: {d_state: 4}}]}]' 'parallel takes two different layers'
refused '[{parallel: [ffn, {mix: [attn, ffn]}]}]' 'the same parameters'
refused '[{parallel: [{mod: [ffn]}, {mod: [attn]}]}]' 'the same parameters'
refused '[{hymba: {n_heads: 3}}]' 'must divide the inner width 32'
refused '[{local: {width: 6, n_heads: 2}}]' 'must divide model.local.width 6'
refused '[{xattn: {queries: output}}]' 'state'
refused '[{shared: {n_heads: 2}}]' 'layer "shared" has no key "n_heads"'
refused '[shared]' 'must divide twice model.d_model 32' '  attn: {n_heads: 3}\n'
refused '[{mod: [mamba]}]' 'mod takes attn, ffn or both'
refused '[{mod: [attn, attn]}]' 'mod takes attn, ffn or both'
refused '[{mod: attn}]' 'mod takes a list of one or two layers'
refused '[{mod: {of: [ffn], share: 2}}]' 'share'
refused '[{attn: {window: 4, segment: 2}}]' 'are two ways to see less'
stack '[{attn: {segment: 2}}]' >spec.yaml	# and a text that is longer than what was trained on
holds sh -c "$moelab bench generate spec.yaml -n 1 --no-store >said 2>&1"
holds grep -q 'more segments of model.attn.segment' said
refused '[attn]' 'must divide the 4 heads of queries' '  attn: {n_heads: 4, n_kv_heads: 3}\n'

# A run: half of each at first, then what training makes of it; fixed it stays.
stack '[{mix: [attn, mamba]}, {mix: {of: [hymba, ffn], alpha: fixed}}]' '  attn: {n_heads: 2}\n' >spec.yaml
holds $moelab train spec.yaml -q
of_run() {	# an expression over the rows of a condition
	$moelab query "SELECT $1 FROM mix WHERE $2" --format csv | tail -1
}
holds test "$(of_run 'count(*)' 'step <= 5')" = 10
holds test "$(of_run 'sum(share = 0.5)' 'step = 1 OR mix = 1')" = 6
holds test "$(of_run 'sum(abs(share - 0.5) > 1e-4)' 'step > 1 AND mix = 0')" = 4

# The share of picked tokens is logged as well.
stack '[{mix: [attn, mamba]}, {mod: {of: [attn, ffn], share: 0.25}}]' '  attn: {n_heads: 2}\n' >spec.yaml
holds $moelab train spec.yaml -q seed=2
holds test "$(of_run 'count(*)' 'mix = 1 AND share BETWEEN 0 AND 1 AND run_id = 2')" = 5

# One set of weights, three uses: named once in a trace, their outputs by layer.
stack '[shared, shared, {shared: {d_state: 4}}]' '  attn: {n_heads: 4}\n' >spec.yaml
holds $moelab trace spec.yaml -o trace.safetensors --outputs -q
holds test "$(tr '{' '\n' <trace.safetensors | grep -ac '"param.shared.qkv.weight"')" = 1
holds test "$(tr '{' '\n' <trace.safetensors | grep -ac '"output.layers.[0-2].shared.ffn"')" = 3

tests_end

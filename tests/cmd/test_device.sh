#!/bin/sh
# Devices with memory of their own: where there is one (a GPU, or the emulator of EMULATED=1), equal runs
# have equal bits, also after kills, and a step of every architecture is the CPU's; where there is none,
# one line says why.

. "$(dirname "$0")/holds.sh"

small_data
cat >spec.yaml <<'END'
model: {arch: moe_mamba, d_model: 32, n_blocks: 1, moe: {n_experts: 4, d_expert: 32}}
train: {batch: 2, context: 32, tokens: 1536, lr: 1e-3}
data: {path: data}
eval: {tokens: 64}
END

# The hash of all data in a run's last checkpoint.
bits() { head -c 100000 "$1"/runs/*/ckpt/step_24.safetensors | grep -ao '"hash":"[0-9a-f]*"'; }

train() {
	folder=$1
	shift
	$moelab train spec.yaml --results "$folder" "$@" >log 2>&1
}

# The step of the run's newest checkpoint.
newest() { ls killed/runs/*/ckpt 2>/dev/null | tr -dc '0-9\n' | sort -n | tail -n 1; }

# The worker, all that the run's supervisor has started, is killed twice on its way.
killed() {
	for step in 4 12; do
		$moelab train spec.yaml --results killed --retries 0 checkpoint.every=0 "$@" >log 2>&1 &
		for i in $(seq 600); do [ "0$(newest)" -ge $step ] && break; sleep 0.1; done
		worker=$(children $!)
		[ -z "$worker" ] || kill -9 $worker
		wait $!
	done
	train killed checkpoint.every=0 "$@"
}

train none --device cuda && there=1 || there=0
if [ $there = 0 ]; then
	holds test "$(wc -l <log)" = 1
	holds test "$(grep -c 'device cuda: .*\(built without CUDA\|driver\|GPU\)' log)" = 1
	holds test ! -e none
	# Who plans needs no device, nor who finds that all runs are over; who would start some does.
	holds $moelab plan spec.yaml --device cuda
	train done
	holds train done --device cuda_f32
	holds grep -q ': 1 runs, 1 done' log
	train done --device cuda_f32 train.tokens=3072
	holds test "$?,$(wc -l <log)" = 4,1
fi
for device in cuda_f32 cuda; do
	[ $there = 1 ] || continue
	rm -rf one two killed
	train one --device $device
	mkdir two killed
	cp one/products.txt two 2>/dev/null
	cp one/products.txt killed 2>/dev/null
	train two --device $device checkpoint.every=0
	killed --device $device
	holds test -n "$(bits one)"
	holds test "$(bits one)" = "$(bits two)"
	holds test "$(bits one)" = "$(bits killed)"
done

# The likeliest text, token by token, is the CPU's; so is the loss of windows that go on from each other.
likeliest() {
	$moelab sample two/runs/* --prompt "line 1 of a text, and more of it" --tokens 20 --temperature 0 --device $1
}
carried() {
	$moelab eval two/runs/* --mode carried --length 1x,2x --tokens 128 --format csv --device $1 |
		grep -v '^#' | cut -d, -f5 | sed 's/\(\.....\).*/\1/'
}
if [ $there = 1 ]; then
	rm -rf two
	train two --device cuda_f32
	for what in likeliest carried; do
		$what cpu >on_cpu
		$what cuda_f32 >on_gpu
		holds test -s on_gpu
		holds cmp on_cpu on_gpu
	done
	holds likeliest cuda
fi

# One architecture on both devices: values within 1e-4, gradients within 1e-3.
same_step() {
	for device in cpu cuda_f32; do
		$moelab trace "$@" -o $device --random --device $device train.batch=2 train.context=40 \
			model.n_blocks=1 || return
	done
	$moelab trace compare cpu cuda_f32 --tolerance 1e-4
}

# Every architecture by one recipe or the other in turn, one of them with documents (tests/gpu_check.sh has all four
# of each).
recipe=paper documents=true other=modern
for spec in "$root"/experiments/micro/*.yaml; do
	[ $there = 1 ] && [ "${spec##*/}" != common.yaml ] || continue
	holds same_step "$spec" recipe=$recipe data.reset_at_eot=$documents
	set -- $other $recipe
	recipe=$1 other=$2
	[ $recipe = paper ] && documents=true || documents=false
done

tests_end

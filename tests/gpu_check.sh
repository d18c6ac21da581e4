#!/bin/bash
# On a machine with a GPU: all that an emulator cannot show. From the top of a checkout:
#   tests/gpu_check.sh FOLDER [STAGE...]
# FOLDER holds moelab, the programs that run there and cmocka's library: build/cuda/gpu, by make CUDA=1 gpu-programs
# (with STATIC=1 for a machine without the libraries; copied with links followed). Each
# check prints a line and has a time limit; the last line is the sum.
#   facts       GPU, driver, rates
#   ops         every operator on cuda_f32 and cuda against the reference, ten times the same bits
#   models      whole architectures, the graph's programs
#   traces      steps of all architectures, both recipes, documents: cuda_f32 against cpu
#   runs        equal runs, kill and resume, keep 0
#   large       tensors beyond 2^31 elements
#   sanitizers  compute-sanitizer on all operators
#   scan        the scan's time by itself
#   grouped     the experts' products over segments by themselves
#   speed       bench step of the 25m models
set -u
dir=$1
shift
stages=${*:-facts ops models traces runs large sanitizers scan grouped speed}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
moelab=$dir/moelab
export LD_LIBRARY_PATH=$dir${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}	# cmocka's, where it is not installed

# check SECONDS NAME COMMAND...: one line, and the end of what it printed if it failed.
check() {
	local limit=$1 name=$2 start=$SECONDS
	shift 2
	timeout -k 5 "$limit" bash -c '"$@"' check "$@" >"$work/log" 2>&1
	local code=$?
	if [ $code = 0 ]; then
		passed=$((passed + 1))
		echo "ok    $name, $((SECONDS - start)) s"
	else
		failed=$((failed + 1))
		echo "FAIL  $name (code $code), $((SECONDS - start)) s"
		grep -aE 'FAIL|ERROR|rror|differ|apart' "$work/log" | head -n 25 | sed 's/^/      /'
		tail -n 5 "$work/log" | sed 's/^/      | /'
	fi
}

facts() {
	nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm --format=csv,noheader
	$moelab doctor
}

ops() {
	check 60 "instructions" "$dir/test_prim"
	for device in cuda_f32 cuda; do
		check 300 "operators on $device" env MOELAB_DEVICE=$device "$dir/test_ops"
	done
	for program in test_route test_moe test_cross_entropy; do
		check 300 "$program" "$dir/$program"
	done
	check 100 "scan, staged" env MOELAB_DEVICE=cuda_scan MOELAB_OP=scan "$dir/test_ops"
}

models() {
	check 100 "graph" "$dir/test_graph"
	check 500 "architectures" bash -c "for kind in devices recompute recorded accumulation causal masked; do \
		for letter in g h i l m p r s t x; do echo \"\$letter*: \$kind*\"; done; done |
		OMP_NUM_THREADS=2 xargs -d '\n' -P $(nproc) -n 1 '$dir/test_arch'"
	check 100 "documents" "$dir/test_documents"
}

# Tensors of B, traced on a device, that part from the float64 trace A, and further than twice as far as
# those of C, traced on the CPU: at a kink of relu, and where Adam divides by a gradient near 0, rounding decides.
parts() {
	paste <($moelab trace compare "$1" "$2" --tolerance 1e-4) <($moelab trace compare "$1" "$3" --tolerance 1e-4) |
		awk -F '\t' '$1 == "" {bad = 1} $1 ~ /parts$/ {split($1, u, /[]] +/); split($2, v, /[]] +/)
			if (u[2] + 0 > 2 * v[2]) {print $1 "; the CPU: " v[2]; bad = 1}} END {exit bad || NR < 10}'
}

# One line a difference; the traces of one spec beside those of the others.
trace() {
	local spec=$1 recipe=$2 documents=$3 device to
	to=$work/$(basename "$spec" .yaml)-$recipe-$documents
	for device in ref cpu cuda_f32; do
		timeout 200 $moelab trace "$spec" -o "$to-$device" --random --device $device train.batch=2 train.context=192 \
			model.n_blocks=2 recipe="$recipe" data.reset_at_eot="$documents" >"$to" 2>&1 || break
	done
	parts "$to-ref" "$to-cuda_f32" "$to-cpu" >>"$to" 2>&1 || { echo "FAILED: $(basename "$to")"; tail -n 5 "$to"; false; }
	rm -f "$to"-*
}

traces() {
	check 550 "traces of all architectures, recipes, documents" bash -c "grep -l '^model:' experiments/micro/*.yaml |
		grep -v common.yaml | while read spec; do for r in paper modern; do for d in false true; do \
			echo \$spec \$r \$d; done; done; done |
		OMP_NUM_THREADS=2 xargs -P 12 -n 3 bash -c 'trace \$0 \$1 \$2'"
}

hash_of() {
	head -c 200000 "$1"/runs/*/ckpt/step_*.safetensors | grep -ao '"hash":"[0-9a-f]*"' | tail -n 1
}

train() {
	local root=$1
	shift
	${as-} $moelab train experiments/micro/moe_mamba.yaml --results "$root" data.path="$work/data" \
		train.tokens=122880 eval.tokens=4096 "$@"
}

equal() {
	[ -n "$(hash_of "$1")" ] && [ "$(hash_of "$1")" = "$(hash_of "$2")" ]
}

# Killed every few steps until it is done: the same bits as the run that was not.
killed() {
	for i in 1 2 3 4; do
		# In its place, so that the worker is the child of $!.
		as=exec train "$work/killed" --device "$1" --retries 0 checkpoint.every=0.2 & pid=$!
		sleep "3.$i"
		worker=$(grep -ls "^PPid:[[:space:]]*$pid\$" /proc/[0-9]*/status | cut -d/ -f3)
		[ -z "$worker" ] || kill -9 $worker
		wait $pid && break
	done
	train "$work/killed" --device "$1" checkpoint.every=0.2
}

runs() {
	find src -name '*.c' -exec cat {} + >"$work/text"
	check 60 "import" $moelab data import "$work/text" --tokenizer byte -o "$work/data"
	for device in cuda_f32 cuda; do
		rm -rf "$work"/one "$work"/two "$work"/killed
		check 100 "run on $device" train "$work/one" --device $device
		mkdir "$work/two" "$work/killed"	# the same algorithms of products for all three
		cp "$work/one/products.txt" "$work/two"
		cp "$work/one/products.txt" "$work/killed"
		check 100 "run on $device again" train "$work/two" --device $device
		check 10 "the same bits on $device" equal "$work/one" "$work/two"
		check 200 "kill -9 and resume on $device" killed $device
		check 10 "the same bits after kills on $device" equal "$work/one" "$work/killed"
	done
	check 60 "too large says what fits" sh -c "! $moelab train experiments/25m/mamba.yaml --device cuda \
		--results $work/large data.path=$work/data data.vocab=257 train.batch=2048 >$work/said 2>&1
		cat $work/large/runs/*/log.txt $work/said | grep 'micro_batch=[0-9]* fits'"
}

# Two steps of 1,152 sequences at once, of which a block has tensors beyond 2^31 elements, and in
# micro-batches of 64: cross-entropies and gradient norms equal to rounding.
beyond() {
	local n root
	for n in 64 1152; do
		root=$work/beyond-$1-$n
		$moelab train experiments/25m/$1.yaml --device cuda_f32 --results "$root" data.path="$work/data" \
			data.vocab=257 model.n_blocks=1 $2 train.batch=1152 train.micro_batch=$n train.tokens=2359296 \
			eval.tokens=4096 checkpoint.keep=0 || return
		$moelab query --db "$root/lab.db" "select ce, grad_norm from step order by step" --format csv |
			tee "$root/steps"
	done
	paste -d , "$work/beyond-$1-64/steps" "$root/steps" | awk -F , 'NR > 1 {for (i = 1; i < 3; i++)
		if ($i / $(i + 2) > 1.0001 || $i / $(i + 2) < 0.9999) bad = 1} END {exit bad || NR != 3}'
}

large() {
	find src -name '*.c' -exec cat {} + >"$work/text"
	check 60 "import" $moelab data import "$work/text" --tokenizer byte -o "$work/data"
	check 200 "mamba, tensors beyond 2^31 elements" beyond mamba
	check 200 "moe_mamba, tensors beyond 2^31 elements" beyond moe_mamba model.moe.group_tokens=65536
	check 200 "transformer, tensors beyond 2^31 elements" beyond transformer
}

# One tool on one operator: slow, so all side by side. Products are plain loops there: cuBLASLt, whose kernels are not
# ours to check, takes the tools minutes to load, and racecheck fails inside it.
sanitize() {
	MOELAB_DEVICE=$2 MOELAB_OP=$3 compute-sanitizer --tool "$1" --error-exitcode 9 "$dir/test_ops_plain" \
		>"$work/$1-$2-$3" 2>&1 || { echo "FAILED: $1 $2 $3"; grep -a '=====' "$work/$1-$2-$3" | head -n 8; false; }
}

sanitizers() {
	local names tool
	names=$(grep -l '^const struct op op_' src/op/*.c | xargs -n 1 basename -s .c)
	for tool in memcheck racecheck initcheck synccheck; do
		check 600 "$tool, all operators" bash -c "for d in cuda cuda_f32; do for o in $(echo $names); do \
			echo $tool \$d \$o; done; done | OMP_NUM_THREADS=2 xargs -P $(nproc) -n 3 bash -c 'sanitize \$0 \$1 \$2'"
	done
}

scan() {
	check 100 "scan by itself" "$dir/gpu_scan" check
	"$dir/gpu_scan" time
}

grouped() {
	check 60 "products over segments" "$dir/gpu_grouped" check
	"$dir/gpu_grouped" time
}

speed() {
	for model in mamba moe_mamba transformer_moe transformer; do
		$moelab bench step experiments/25m/$model.yaml --device cuda -n 15 --db "$work/lab.db"
	done
}

export -f parts trace beyond train killed equal hash_of sanitize
export dir work moelab
for stage in $stages; do
	echo "== $stage"
	$stage
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]

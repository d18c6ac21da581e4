#!/bin/sh
# moelab bench: figures of operators, steps and scales, kept in a database where a slower one shows.

. "$(dirname "$0")/holds.sh"

# says TEXT COMMAND...: succeeds and prints TEXT
says() {
	text=$1
	shift
	holds sh -c '"$@" >said 2>&1 && grep -qF -- "$0" said' "$text" "$@"
}

# is VALUE SQL: the single value of a question to the database
is() {
	value=$($moelab query "$2" --format csv 2>&1 | sed -n 2p)
	holds test "$value" = "$1"
	[ "$value" = "$1" ] || echo "$2: $value, not $1"
}

tiny() {
	cat <<-END
	base: [$root/experiments/micro/$1.yaml]
	model: {d_model: 8, n_blocks: 2$2}
	train: {batch: 2, context: 16}
	END
}
tiny mamba >mamba.yaml
tiny moe_mamba ', moe: {n_experts: 4, d_expert: 16}' >moe.yaml

# Operators: all that a mixture needs, each near the reference, in full and by name.
holds $moelab bench op moe.yaml -T 1 --tokens 64
is 13 "SELECT count(DISTINCT name) FROM benches WHERE kind = 'op' AND metric = 'forward_ms' AND value > 0"
is 0 "SELECT count(*) FROM benches WHERE metric LIKE '%error' AND NOT value < 1e-5"
is 10 "SELECT count(DISTINCT name) FROM benches WHERE metric = 'backward_error'"
is 1 "SELECT count(*) FROM benches WHERE name = 'scan' AND metric = 'forward_ms' AND shape LIKE '[4, 16, 16]%'"
is 4 "SELECT count(DISTINCT name || metric) FROM benches WHERE name LIKE '%one core' AND value > 0"
is 2 "SELECT count(*) FROM benches WHERE kind = 'ceiling' AND value > 1e6"
$moelab bench op moe.yaml -T 1 --tokens 64 --only linear --all --json >said
holds test "$(grep -c '"operator":' said)" -gt 2
holds test "$(grep -c '"operator": *"linear"' said)" -gt 2
# The head does all its products in forward: backward is bounded by copies, and has no rate of FLOPs.
$moelab bench op moe.yaml -T 1 --tokens 512 --only cross_entropy --no-store model.d_model=64 >said
holds grep -q '^| cross_entropy .* F | *[0-9]* B |' said
$moelab bench step mamba.yaml -n 1 -T 1 --no-store >said
holds grep -Eq '^cross_entropy +1 +[0-9. ]+% +[0-9.]+ +- ' said

# A step as a whole, and with one key changed.
says "tokens/s" $moelab bench step mamba.yaml -n 1 -T 1
holds $moelab bench step mamba.yaml -n 2 -T 1 --against train.recompute=block
is 1 "SELECT count(*) FROM benches a JOIN benches b ON b.metric = a.metric AND b.value < a.value
	WHERE a.metric = 'activation_bytes' AND b.name = a.name || ' train.recompute=block'"

# Scales: the number of experts has an explanation, the others have none.
says "above the explained cost" $moelab bench scale moe.yaml -n 1 -T 1 --format csv
holds test "$(grep -c '^experts,.*,[0-9][0-9.e+-]*,[0-9][0-9.e+-]*$' said)" = 4
holds test "$(grep -c '^context,.*,,$' said)" = 4

# Text as it grows: what a token reads stays for Mamba and grows by keys and values for a transformer.
tiny transformer ', attn: {n_heads: 1}' >transformer.yaml
holds $moelab bench generate mamba.yaml transformer.yaml -n 1 -T 1 --plot speed.svg
is 12 "SELECT count(*) FROM benches WHERE kind = 'generate' AND metric = 'tokens_per_s' AND value > 0"
holds test "$(grep -c '^"tokens/s"\|^tokens/s\|mamba,\|transformer,' speed.csv)" -ge 12
holds test -s speed.svg
# The same figure of what is kept, which is not kept again.
holds $moelab bench generate mamba.yaml transformer.yaml --kept --plot again.svg
holds cmp speed.csv again.csv
is 12 "SELECT count(*) FROM benches WHERE kind = 'generate' AND metric = 'tokens_per_s' AND value > 0"
holds sh -c '! "$0" bench generate moe.yaml --kept 2>said && grep -q "nothing is kept of moe.yaml on cpu" said' $moelab
# read SPEC: bytes at 16 tokens and at 16384
read_bytes() {
	$moelab bench generate $1 -n 1 -T 1 --no-store --format csv | grep '^16,\|^16384,' | cut -d, -f5 | tr '\n' ' '
}
set -- $(read_bytes mamba.yaml)
holds test "$1" = "$2"
set -- $(read_bytes transformer.yaml)	# two layers of keys and values, 8 floats each
holds test $(($2 - $1)) = $((2 * 2 * 8 * 4 * (16384 - 16)))
holds $moelab bench generate moe.yaml -n 1 -T 2 --length 16
holds sh -c '! "$0" bench generate mamba.yaml moe.yaml --kept 2>said &&
	grep -q "moe.yaml was measured on .* with 2 threads, what stands before it on .* with 1: measure" said' $moelab

# A text is as long as asked for, or as the model can go on.
lengths() {
	$moelab bench generate "$@" -n 1 --no-store --format csv 2>out | tee said | grep '^[1-9]' | cut -d, -f1 | tr '\n' ' '
}
holds test "$(lengths mamba.yaml --length 100)" = "16 64 100 "
tiny transformer ', attn: {n_heads: 1, segment: 1}' >segments.yaml
holds test "$(lengths segments.yaml --length 2100)" = "16 64 256 1024 "
holds grep -q 'Warning: no longer text: .*segments.yaml: .* more segments of model.attn.segment' said
holds sh -c '! "$0" bench generate mamba.yaml --length 0 2>said && grep -q "bench: --length 0: not 1 to " said' $moelab
$moelab bench step mamba.yaml --plot speed.svg >said 2>&1
holds test $? = 2
holds grep -q "bench step has no figure" said

# Slower than before: the same figures an hour later, with scans that take three times as long.
sed -n '/"op","scan"/{s/"wall":"[^"]*"/"wall":"2999-01-01T00:00:00Z"/
s/"scan","\([^"]*\)","forward_ms",[0-9.e-]*/"scan","\1","forward_ms",1e3/;p;q}' results/bench.jsonl >later
cat later >>results/bench.jsonl
holds $moelab ingest
is scan "SELECT name FROM bench_change WHERE worse > 1.1 AND value = 1000 AND wall LIKE '2999%'"
says "| scan" $moelab bench compare
rm results/lab.db
holds $moelab ingest
is scan "SELECT name FROM bench_change WHERE worse > 1.1 AND value = 1000 AND wall LIKE '2999%'"

# Nothing is kept if asked, and nothing is timed for bad input.
holds $moelab bench step mamba.yaml -n 1 -T 1 --no-store --db other/lab.db
holds test ! -e other
holds sh -c '! "$0" bench steps mamba.yaml 2>said &&
	grep -q "takes step, op, scale, generate or compare, not steps" said' $moelab
holds sh -c '! "$0" bench op nowhere 2>said && grep -q "no specs in experiments/nowhere" said' $moelab
holds sh -c '! "$0" bench op moe.yaml --only scam 2>said && grep -q "no operator" said' $moelab
holds sh -c '! "$0" bench op mamba.yaml --only experts 2>said && grep -q "mamba.yaml: no model there uses" said' $moelab

holds sh -c '! "$0" bench scale mamba.yaml --only experts 2>said && grep -q "no axis .experts" said' $moelab

tests_end

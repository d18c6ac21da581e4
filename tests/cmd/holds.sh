# What the tests of commands share; sourced as their first line, `tests_end` is their last. Environment:
# MOELAB, the program. They run in a folder of their own and end like a program of cmocka.

root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
ln -s "${MOELAB:?}" moelab && moelab=./moelab	# no space in it, wherever the repository lies
passed=0 failed=0

# holds CONDITION...: a command that succeeds; what it prints is in the file out
holds() {
	if "$@" >out 2>&1; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "failed: $*"
		cat out
	fi
}

# A small dataset of bytes: the folder data, of the file text.
small_data() {
	awk 'BEGIN { for (i = 0; i < 4000; i++) print "line " i " of a text\n" }' >text
	holds $moelab data import text --tokenizer byte --split blank:64 --group-by block:4096 -o data -q
}

# small_sweep TOKENS SEEDS [EVAL]: sweep.yaml, the runs of a model of one block on that data
small_sweep() {
	cat >sweep.yaml <<END
base: [$root/experiments/micro/mamba.yaml]
set:
  model: {d_model: 16, n_blocks: 1}
  train: {batch: 2, context: 16, tokens: $1}
  data.path: data
  eval: {tokens: 64${3:+, $3}}
seeds: [$2]
END
}

# children PID: the numbers of its child processes
children() { grep -ls "^PPid:[[:space:]]*$1\$" /proc/[0-9]*/status | cut -d/ -f3; }

tests_end() {
	echo "[  PASSED  ] $passed test(s)."
	[ $failed -eq 0 ] || echo "[  FAILED  ] $failed test(s), listed above"
	[ $failed -eq 0 ]
}

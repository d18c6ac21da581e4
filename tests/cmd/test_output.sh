#!/bin/sh
# Output that does not arrive: data that are lost are an error, whoever prints them; a log that nobody
# reads any more stops no work. And an address space that is too small is one line.

. "$(dirname "$0")/holds.sh"
small_data

cat >sweep.yaml <<END
base: [$root/experiments/micro/mamba.yaml]
set: {model: {d_model: 8, n_blocks: 1}, train: {batch: 2, context: 16, tokens: 96}, data.path: data,
  eval.tokens: 32}
variants: {a: {}, b: {set: {train.lr: 1e-2}}}
seeds: [1, 2]
baseline: a
END

# --- a log line into a pipe without a reader: the runs go on
{ $moelab run sweep.yaml -v -j 1 -T 1 2>&1; echo $? >code; } | head -c 1 >/dev/null
holds test "$(cat code)" = 0
holds test "$($moelab query "SELECT count(*) FROM runs WHERE state = 'done'" --format csv | tail -1)" = 4

# --- a full disk and a closed descriptor
# lost COMMAND...: exits with 4 and says why in one line
lost() {
	for to in "/dev/full" "&-"; do
		eval '"$@"' ">$to" 2>said </dev/null
		status=$?
		if [ $status -eq 4 ] && [ "$(grep -c . said)" -eq 1 ] &&
			grep -q "cannot write to standard output" said; then
			passed=$((passed + 1))
		else
			failed=$((failed + 1))
			echo "$* >$to: exit status $status, not 4; or not one line:"
			cat said
		fi
	done
}
for command in "$root"/src/cmd/*.c; do
	name=$(sed -n 's/^	*\.name = "\([a-z-]*\)",.*/\1/p' "$command" | head -1)
	grep -q "^const struct cmd cmd_" "$command" && [ "$name" ] && [ "$name" != worker ] || continue
	lost $moelab "$name" --help
done
lost $moelab --help
lost $moelab help
lost $moelab help spec
holds test -z "$($moelab help spec | grep '^Keys of' | sort | uniq -d)"
lost $moelab --version
lost $moelab ls
lost $moelab status
lost $moelab watch sweep
lost $moelab show a-s1
lost $moelab why a-s1
lost $moelab logs a-s1
lost $moelab diff a-s1 b-s1
lost $moelab compare a-s1 a-s2
lost $moelab query "SELECT * FROM runs"
many="WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 30000) SELECT i FROM n"
lost $moelab query "$many"	# more than a buffer
lost $moelab export csv a-s1
lost $moelab params "$root/experiments/micro/mamba.yaml"
lost $moelab plan sweep.yaml
lost $moelab data info data
for format in md csv json latex html; do
	lost $moelab table final --format $format
done
lost $moelab plot loss --format term
lost $moelab plot loss -q --caption - -o a.svg
lost $moelab bench compare

# For programs all that is known of a run; two runs differ, no third; a table that cannot be kept is an error.
holds test "$($moelab show a-s1 --json | head -c 1)" = "{"
$moelab diff a-s1 b-s1 a-s2 2>said
holds test "$? $(wc -l <said)" = "2 1"
# A table's form is by the name of its file, unless it is given.
for form in csv.csv latex.tex json.json html.html md.md md.txt; do
	holds $moelab table final -o "kept.${form#*.}"
	$moelab table final --format "${form%.*}" >told
	holds cmp "kept.${form#*.}" told
done
holds $moelab table final --format md -o kept.csv
holds cmp kept.md kept.csv
$moelab table final -o /dev/full 2>said
holds test "$? $(wc -l <said)" = "4 1"
# Losses stand in their own columns.
$moelab ls a-s1 | awk -F'|' '/ a /{ gsub(/ /, ""); print $8 ":" $9 }' >losses
holds test "$(cat losses)" = "$($moelab query "SELECT printf('%.4f:%.4f', train_loss, loss) FROM runs
	WHERE label = 'a' AND seed = 1" --format csv | tail -n 1)"

# The same measures in all forms of export: a step is a whole number, what was not measured is left out.
$moelab export csv a-s1 >rows
holds test "$(cut -d, -f1-4 rows | sed -n '1p;$p' | cut -d, -f1,2,4 | paste -sd' ')" = 'label,seed,step "a",1,3'
$moelab export jsonl a-s1 >rows
holds test "$(grep -c '"step":[0-9]*,' rows)" = "$(wc -l <rows)"
holds test "$(head -n 1 rows | grep -c '"val_loss":5[0-9.]*' )" = 1
holds $moelab export tensorboard a-s1 -o events -q
holds grep -qra "train/loss" events
$moelab export csv a-s1 -o rows.csv >rows 2>said
holds test "$?,$(cat rows said | wc -l)" = 2,1

# Standard output under its name: the same bytes, behind what was written before; lost ones are told.
trace="$moelab trace $root/experiments/micro/mamba.yaml --random train.batch=1 train.context=16 model.n_blocks=1"
holds $trace -o t.st
echo before >all
$trace -o - >>all
tail -c +8 all >piped
holds cmp t.st piped
holds test ! -e -
$trace -o - >/dev/full 2>said
holds test "$? $(wc -l <said)" = "4 1"
holds grep -q "cannot write /dev/stdout: No space" said
$moelab table final -o - >piped; $moelab table final >plain
holds cmp plain piped

# A reader who has seen enough is no fault.
{ $moelab help spec; echo $? >code; } 2>said | head -n 1 >/dev/null
holds test ! -s said
$moelab query "$many" 2>said | head -n 1 >/dev/null
holds test ! -s said

# --- ulimit -v; the address sanitizer takes terabytes
(ulimit -v 20000000; $moelab --version) >out 2>&1 || { tests_end; exit; }
for size in 60000 150000; do
	(ulimit -v $size; exec timeout 60 $moelab --version) >out 2>said
	status=$?
	holds test "$status $(wc -l <said)" = "4 1"
	holds grep -q "address space is too small (ulimit -v)" said
done
(ulimit -v 350000; exec timeout 60 $moelab trace "$root/experiments/micro/mamba.yaml" --random -o t.st \
	train.batch=1 train.context=16) >out 2>said
status=$?
holds test "$status $(wc -l <said)" = "4 1"
holds grep -q "address space is too small (ulimit -v)" said

(ulimit -v 450000; OMP_NUM_THREADS=1 exec timeout 60 $moelab run sweep.yaml -j 1 -T 1 --results small) >out 2>said
status=$?
holds test "$status" = 0

tests_end

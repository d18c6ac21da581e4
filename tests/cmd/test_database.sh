#!/bin/sh
# The database is an index of the run directories: `run` brings it up to them, whatever became of it, and
# no two programs write it, whatever they call it.

. "$(dirname "$0")/holds.sh"
small_data

cat >sweep.yaml <<END
base: [$root/experiments/micro/mamba.yaml]
set: {model: {d_model: 8, n_blocks: 1}, train: {batch: 2, context: 16, tokens: 96}, data.path: data,
  eval.tokens: 32}
variants: {a: {}, b: {set: {train.lr: 1e-2}}}
seeds: [1]
baseline: a
END
run="$moelab run sweep.yaml -j 1 --threads 1"
states() {
	$moelab query "SELECT label, state, loss IS NOT NULL FROM runs ORDER BY label" --db "$1" --format csv | tail -n +2
}
both='a,done,1
b,done,1'

# --- deleted, another one, left alone before, an older copy
holds $run
holds test "$(states results/lab.db)" = "$both"
printf 'step,tokens,loss\n0,0,5.5\n3,96,5.25\n' >curve.csv
holds $moelab import-curve curve.csv --label torch --sweep sweep
rm results/lab.db
$run 2>said
holds grep -q "3 runs taken into results/lab.db" said
holds test "$(states results/lab.db)" = "$both
torch,done,1"
$run 2>said
holds test $? = 0
holds sh -c '! grep -q taken said'
holds $run --db other.db
holds test "$(states other.db | head -2)" = "$both"
holds $run --results shared --shared
holds test ! -e shared/lab.db
holds $run --results shared
holds test "$(states shared/lab.db)" = "$both"
holds $run --results older --restrict variant=a
cp older/lab.db old.db
holds $run --results older
cp old.db older/lab.db
holds $run --results older
holds test "$(states older/lab.db)" = "$both"

# --- a sweep is the runs that its file names, and foreign ones, also in a database made anew
sed 's/train.lr: 1e-2/train.lr: 2e-2/' sweep.yaml >changed.yaml
mv changed.yaml sweep.yaml
$run 2>said
holds test $? = 0
holds grep -q "^sweep: 1 runs of an earlier version leave it; they stay in results/runs" said
$run 2>said
holds sh -c '! grep -q leave said'
members() { $moelab query "SELECT label, sweep FROM runs ORDER BY sweep IS NULL, label" --format csv | tail -n +2; }
members >live
holds test "$(cat live)" = 'a,sweep
b,sweep
torch,sweep
b,'
rm results/lab.db
$moelab ingest 2>said
holds grep -q "1 runs are in no sweep" said
members >anew
holds cmp live anew
holds test "$($moelab ls --where 'sweep IS NULL' --format csv | tail -n +2 | cut -d, -f2)" = b

# --- a sweep that was renamed in its file: the file means the last one that was run from it
cp -r results twice
{ cat sweep.yaml; echo "name: another"; } >again.yaml
mv sweep.yaml kept.yaml
mv again.yaml sweep.yaml
holds $run --results twice
for older in another sweep; do
	sed -i 's/"planned": "[^"]*"/"planned": "2030-01-01T00:00:00Z"/' twice/sweeps/*.json
	sed -i 's/"planned": "2030/"planned": "2020/' twice/sweeps/$older.json
	$moelab status sweep.yaml --db twice/lab.db --format csv >said
	holds test "$(tail -1 said | cut -d, -f1)" != $older
done
mv kept.yaml sweep.yaml

# --- another file by the same name
mkdir elsewhere
sed 's|data.path: data|data.path: ../data|; s/2e-2/3e-2/' sweep.yaml >elsewhere/sweep.yaml
cp -r results named
$moelab run elsewhere/sweep.yaml -j 1 --threads 1 --results named 2>said
holds test $? = 0
holds grep -q "warning: sweep was the sweep of sweep.yaml, and 1 runs of that leave it" said

# --- a damaged record of a sweep is named and passed over; runs are taken in all the same
for text in '{' '[]' '{"name": "sweep"}' '{"name": "sweep", "runs": [{"run": 5}]}'; do
	echo "$text" >older/sweeps/sweep.json
	rm older/lab.db
	$moelab ingest --results older 2>said
	holds test $? = 0
	holds grep -q "warning: older/sweeps/sweep.json:[12]: .*: passed over; .moelab run. of the sweep writes" said
	holds test "$(states older/lab.db)" = "$both"
done
holds $run --results older --restrict variant=a
holds grep -q '"label": "b"' older/sweeps/sweep.json

# --- results of two machines that both ran `a`, to other bits: one of the two is followed, and not a mixture
holds $run --results one
cp -r one two
rm two/lab.db*
for dir in two/runs/a-*; do
	rm -r "$dir/DONE" "$dir/ckpt"
	awk '/"t":"step","step":3,/ { exit } { sub(/"ce":5/, "\"ce\":7") } { print }' "$dir/metrics.jsonl" >cut
	cp cut "$dir/metrics.jsonl"
done
followed() {
	$moelab query "SELECT r.dir, r.state, count(*), sum(ce > 6.9) FROM run r JOIN step USING (run_id)
		WHERE label = 'a'" --db merged.db --format csv | tail -n +2 | sed 's/-s1-[0-9a-f]*//'
}
holds $moelab ingest --results two --db merged.db
holds test "$(followed)" = two/runs/a,lost,2,2
$moelab ingest --results one --db merged.db 2>said
holds test "$(followed)" = one/runs/a,done,3,0		# where it is over
holds grep -q "^1 runs below one, such as b-s1-.*, have other directories, which merged.db goes on to follow" said
$moelab ingest --results two --db merged.db 2>said
holds test "$(followed)" = one/runs/a,done,3,0		# the first of two that are
holds grep -q "^1 runs below two, such as a-s1-" said
holds $run --results two --db merged.db			# those of the folder that is named
holds test "$(followed)" = two/runs/a,done,3,0
holds $run --results one --db merged.db
holds test "$(followed)" = one/runs/a,done,3,0

# --- through a link: the same file, and run directories where it is
mkdir links
ln -s ../results/lab.db links/alias.db
holds $run --db links/alias.db
holds test "$($moelab query "SELECT dir FROM run WHERE label = 'a'" --format csv | tail -1 | cut -c1-5)" = runs/
holds $moelab logs a-s1 --db links/alias.db

# --- what is no database is named once, with a way out, and left as it is
yes 'no database, but long enough to be looked at' | head -n 200 >text.db
for command in ls status ingest "query SELECT"; do
	$moelab $command --db text.db >out 2>said
	holds test "$? $(wc -l <said)" = "4 1"
	holds grep -q "text.db: file is not a database: .* or name another with --db" said
done
holds test "$(sort -u text.db | wc -l)" = 1

# --- while another writes
long="train.tokens=400000 checkpoint.every=1000"
$run --results long $long -q 2>said &
first=$!
for i in $(seq 100); do test -s long/lab.db && break; sleep 0.1; done
ln -s long/lab.db alias.db
for name in alias.db long/../long/lab.db; do
	$run --results second $long --db $name >told 2>&1
	holds test $? -eq 4
	holds grep -q "long/lab.db is written by another moelab" told
done
for i in $(seq 100); do ls long/runs/a-*/metrics.jsonl >/dev/null 2>&1 && break; sleep 0.1; done
rm long/lab.db*
wait $first
holds test $? -eq 0
holds grep -q "warning: database long/lab.db was deleted or replaced" said
holds test "$(states long/lab.db)" = "$both"
holds test "$($moelab query "SELECT count(*) FROM step WHERE step = 12500" --db long/lab.db --format csv | tail -1)" = 2

tests_end

#!/bin/sh
# moelab data import: what is read, and what is refused, as the command line has it.

. "$(dirname "$0")/holds.sh"

# refuses CODE TEXT ARGUMENT...: an import that exits with CODE and prints one line, which holds TEXT.
refuses() {
	code=$1 text=$2
	shift 2
	$moelab data import "$@" --tokenizer byte -o new >out 2>err </dev/null
	status=$?
	if [ $status -eq "$code" ] && [ "$(wc -l <err)" -eq 1 ] && grep -qF -- "$text" err && [ ! -e new ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "data import $*: exit status $status, not $code; or not one line with: $text"
		cat err
	fi
}
shares="--val 0.1 --tune 0.1"	# the default depends on the size, which a pipe does not tell
import() { $moelab data import "$@" --tokenizer byte --force $shares -q; }
hash_of() { $moelab data info "$1" | sed -n 's/.*hash //p'; }
same() { [ -n "$(hash_of "$1")" ] && [ "$(hash_of "$1")" = "$(hash_of "$2")" ]; }

small_data

# --- shares
refuses 2 "--val -0.1: not a share" text --val -0.1
refuses 2 "--tune -1: not a share" text --tune -1
refuses 2 "--val nan: not a share" text --val nan
refuses 2 "--val 1: not a share" text --val 1
refuses 2 "--val x: not a share" text --val x
refuses 2 "nothing to train on" text --val 0.5 --tune 0.5

# --- what is looked at: the splits of each source, sequences from one on and as numbers, tokens that changed since
holds $moelab data import text --tokenizer byte -o looked --val 0.2 --tune 0.05 -q
$moelab data info looked --sources >said
holds test "$(awk '$1 == "val" { print $2 }' said)" = "$(awk '$NF == "text" { print $5 }' said)"
holds test "$(awk '$1 == "tune" { print $2 }' said)" = "$(awk '$NF == "text" { print $6 }' said)"
$moelab data batches looked -n 4 --context 8 | tail -n 1 >last
$moelab data batches looked --first 3 -n 1 --context 8 >fourth
holds cmp fourth last
$moelab data batches looked --sampling stream --batch 1 -n 2 --context 8 --ids >said
holds test "$(awk 'NR == 1 { print $NF }' said)" = "$(awk 'NR == 2 { print $2 }' said)"
holds $moelab data info looked --check
printf Q | dd of=looked/val_000000.bin bs=1 seek=1100 conv=notrunc 2>out
$moelab data info looked --check >out 2>said
holds test $? = 2
(trap "" XFSZ; ulimit -f 8; $moelab data import text --tokenizer byte -o full -q) 2>said	# as on a full disk
holds test $? = 4
holds test ! -e full
$moelab data import text --tokenizer byte -o text/new 2>said
holds test "$?,$(wc -l <said)" = 4,1
holds grep -q 'cannot make folder text:' said
$moelab data make copy text/new 2>said
holds test "$?,$(wc -l <said)" = 4,1

# --- JSON lines of any name, packed in any way, from standard input, several at once
awk 'BEGIN { for (i = 0; i < 600; i++)
	printf "{\"text\": \"word %d of a text\", \"id\": 18446744073709551615, \"url\": \"http://h%d.org/\"}\n",
		i, i % 150 }' >a.jsonl
holds import a.jsonl -o plain
for pack in "gzip -c" "xz -c" "zstd -qc"; do
	command -v "${pack%% *}" >/dev/null || continue	# tests/data/test_codec.c needs no programs
	$pack a.jsonl >packed
	holds import packed -o packed.d
	holds same plain packed.d
	holds import - -o piped.d <packed
	holds same plain piped.d
	cat packed | import - -o piped.d
	holds same plain piped.d
	head -c 900 packed >cut
	refuses 2 "cut: truncated ${pack%% *}" cut
	cat packed packed >twice
	cat a.jsonl a.jsonl >b.jsonl
	holds import twice -o packed.d
	holds import b.jsonl -o twice.d
	holds same twice.d packed.d
done
gzip -c a.jsonl >a.gz
holds import a.jsonl b.jsonl a.gz -o several.d
holds sh -c './moelab data info several.d --sources | grep -q "25.00 %            600 .* a.gz"'

# --- what is no text, and lines that cannot be read
printf 'PAR1 and so on' >a.parquet
refuses 2 "a.parquet: not text but Parquet" a.parquet
printf 'BZh91AY&SY and so on' >a.bz2
refuses 2 "a.bz2: not text but bzip2" a.bz2
printf '\377\376a\0b\0' >a.txt
refuses 2 "a.txt: not text but UTF-16" a.txt
sed '5s/"text"/"title"/' a.jsonl >one.jsonl
sed '1~50s/"text"/"title"/' a.jsonl >many.jsonl
$moelab data import one.jsonl --tokenizer byte -o one.d 2>said
holds grep -q "one.jsonl: 1 of 600 lines skipped as bad JSON, the first is line 5: no member" said
refuses 2 "many.jsonl: 12 of 600 lines are bad JSON, the first is line 1: no member" many.jsonl
refuses 2 "one.jsonl:5:1: bad JSON line" one.jsonl --strict
holds import many.jsonl -o many.d --lenient

# --- groups
sed 's/h[0-9]*.org/one.org/' a.jsonl | awk '{ sub("org/", "org/" NR); print }' >site.jsonl
$moelab data import site.jsonl --tokenizer byte $shares -o site.d 2>said
holds grep -q "grouped by url: of coarser groups too few are there" said
sed 's/"url".*/"x": 1}/' a.jsonl >none.jsonl
$moelab data import none.jsonl --tokenizer byte -o none.d 2>said
holds grep -q "600 documents without url" said
refuses 2 "no group of documents fell into split val" site.jsonl --group-by url-host
# documents of twice the last one's lines: of the first set the longest happens to be held out
for k in 4 5; do
	awk -v k=$k 'BEGIN { for (i = 0; i < 20; i++) { print "document " i " of " k
		for (j = 0; j < 2 ^ i / 64; j++) print "line"
		print "" } }' >uneven
	holds $moelab data import uneven --tokenizer byte --split blank:1 --group-by document --val 0.3 --tune 0 \
		-o uneven.d --force
	holds test "$(grep -c "split val has more text than train, where 0.3 of all was asked for" out)" = $((k == 4))
done

# --- a symbolic link stands for what it points to
mkdir real
mv site.d real/d
ln -s real/d link
holds import a.jsonl -o link
holds test -L link
holds same plain real/d

# --- tasks
$moelab data make mqar set.d train=16x2:50 tests=16x2:5,32x4:5 vocab=20 2>said
holds grep -q "set.d: mqar, 50 rows of 16 tokens to train, 2 test sets, .*; vocabulary 21" said
holds $moelab data info set.d --check
holds sh -c './moelab data info set.d | grep -q "^test 32x4  *5  *32"'
$moelab data batches set.d --split 32x4 -n 2 >said
holds grep -Eq "^1	([0-9]+ ){8,}.*[0-9]+>[0-9]+" said
$moelab data batches set.d --split 64x4 2>said
holds grep -q "no split \"64x4\" (there is: train, val, tune, 16x2, 32x4)" said
holds sh -c './moelab data make mqar | grep -q "  power=0.01	weight of slot i"'
$moelab data make mqar set.d 2>said
holds test "$?" = 2 -a "$(wc -l <said)" = 1
holds $moelab data make mqar set.d train=16x2:50 tests=16x2:5,32x4:5 vocab=20 --force -q

# --- a run on them: its scores are in the table, also of a database that is made anew
spec="$root/experiments/micro/mamba.yaml"
keys="model.d_model=8 model.n_blocks=1 data.path=set.d data.vocab=21 train.context=16 train.batch=4 train.tokens=640"
holds $moelab train "$spec" $keys
$moelab table recall --sweep micro/mamba --format csv >table
holds grep -q "tokens_val,.*tokens_16x2,.*tokens_32x4," table
$moelab query "SELECT count(*) FROM recall WHERE step = 10 AND n_answers IN (10, 20)" --format csv >said
holds test "$(tail -1 said)" = 2
rm results/lab.db
holds $moelab ingest
$moelab table recall --sweep micro/mamba --format csv >again
holds cmp table again
holds $moelab plot recall --sweep micro/mamba --format svg -o figure.svg
holds sh -c "./moelab explain '$spec' $keys train.batch=1 model.ssm.d_state=1 | grep -q -- ' -> -1'"

# --- its checkpoint says the same, and other sets are asked of it
$moelab query "SELECT test, loss, accuracy, n_tokens, answer_accuracy, n_answers FROM recall
	WHERE step = 10 AND test <> 'val'" --format csv | grep -v '^#' | sed 1d >scores
$moelab eval mamba --format csv | grep -v '^#' | awk -F, 'NR > 1 { print $1 "," $3 "," $5 "," $4 "," $7 "," $6 }' >again
holds test "$(wc -l <scores)" = 2
holds awk -F, 'NR == FNR { for (i = 2; i <= 6; i++) x[$1, i] = $i; next }
	{ for (i = 2; i <= 6; i++) bad += (x[$1, i] - $i) ^ 2 > 1e-12 } END { exit bad || FNR != 2 }' scores again
holds $moelab data make mqar other.d train=16x2:50 tests=64x8:5 vocab=20 -q
holds sh -c "$moelab eval mamba --data other.d --format csv | grep -q '^64x8,5,'"
refuses_eval() {
	words=$1
	shift
	$moelab eval mamba "$@" >out 2>said
	holds test "$? $(wc -l <said)" = "2 1"
	holds grep -q "$words" said
}
refuses_eval "set.d: holds rows of examples, whose test sets are scored: --length says nothing of them" --length 1x
holds $moelab data make mqar bare.d train=16x2:50 tests= vocab=20 -q
refuses_eval "bare.d: has no test sets" --data bare.d
holds $moelab data make mqar wide.d train=16x2:50 tests=16x2:5 vocab=30 -q
refuses_eval "wide.d: its tokens are 31 (mqar), the model's 21: make the examples with the ids" --data wide.d
printf '{"set":"x","context":"","choices":["a b","b a"],"answer":0}\n' >questions
refuses_eval "set.d: holds examples of mqar, whose tokens are ids and no text" --questions questions
# what takes more than the machine has is said so, whatever the address space
holds $moelab data make mqar long.d train=16x2:50 tests=16777216x2:1 vocab=20 -q
printf 'base: [%s]\nmodel: {head: copy}\n' "$spec" >pointer.yaml
holds $moelab train pointer.yaml $keys -q
$moelab eval pointer --data long.d >out 2>said
holds test "$? $(wc -l <said)" = "2 1"
holds grep -q "of memory, this machine has .* free: fewer or shorter sequences take less" said
rm -r long.d

# --- a model of text, trained in micro-batches, is asked examples in bytes of text
holds $moelab data make phonebook book.d train=3:5 tests=3:7 val=1 tune=0 -q
holds $moelab train "$root/experiments/micro/transformer.yaml" model.d_model=16 model.n_blocks=1 train.batch=4 \
	train.micro_batch=2 train.context=64 train.tokens=512 eval.tokens=128 data.path=plain -q
holds sh -c "$moelab eval transformer --data book.d --format csv | grep -q '^3,7,.*,70,.*,7,'"

tests_end

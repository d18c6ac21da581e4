#!/bin/sh
# moelab data ask, eval --questions: what is asked stands in the text, scores are the model's losses, ties and
# long contexts; what cannot be asked is one line.

. "$(dirname "$0")/holds.sh"
small_data
holds $moelab train "$root/experiments/micro/moe_mamba.yaml" model.d_model=32 model.n_blocks=1 train.batch=4 \
	train.context=64 train.tokens=65536 eval.tokens=1024 data.path=data model.moe.n_experts=4 train.lr=1e-2

# asked FILE: a line "set acc acc_norm ppl" for each set
asked() {
	$moelab eval moe_mamba --questions "$1" --format csv 2>said | grep -v '^#' | awk -F, '
		NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
		{ norm = $at["acc_norm"]; print $at["set"], $at["acc"], norm == "" ? "-" : norm, $at["ppl"] }'
}
question() {	# SET CONTEXT CHOICES ANSWER
	printf '{"set":"%s","context":"%s","choices":[%s],"answer":%s}\n' "$@"
}

# log p is the sum of the losses that eval has for the same tokens: every document of data2 is one text
awk 'BEGIN { for (i = 0; i < 500; i++) print "Quick zephyrs blow, vexing daft Jim once more\n" }' >text2
holds $moelab data import text2 --tokenizer byte --split blank:8 --val 0.5 --tune 0 -o data2 -q
loss=$($moelab eval moe_mamba --data data2 --length 32 --tokens 32 --format csv | grep -v '^#' | tail -1 | cut -d, -f5)
question one "Q" '"uick zephyrs blow, vexing daft J"' 0 >q
asked q >table
holds awk -v loss="$loss" '{ d = log($4) / (32 * loss) - 1; exit !(NR == 1 && d < 1e-4 && d > -1e-4) }' table
# an empty context is an end of text, a blank at a context's end the choice's
question one "" '"line"' 0 >q
question two "line 17" '" of"' 0 >>q
question three "line 17 " '"of"' 0 >>q
question four "line 17\\n" '"of"' 0 >>q
question five "line 17" '"\nof"' 0 >>q
asked q >table
same='function same(p, q) { return p / q < 1.00001 && q / p < 1.00001 }'		# but for rounding
holds awk "$same"' NR == 2 { p = $4 } NR == 3 && !same($4, p) { bad = 1 } NR == 4 { p = $4 }
	NR == 5 && !same($4, p) { bad = 1 } END { exit bad || NR != 5 }' table
# of a long context the last tokens in front of the choice count: 64 with those of the choice but the last
long=$(printf 'line %s of a text ' 1 2 3 4 5 6 7 8)
question one "$long" '"line"' 0 >q
question two "$(printf %s "$long" | tail -c 61)" '"line"' 0 >>q
question three "$(printf %s "$long" | tail -c 50)" '"line"' 0 >>q
asked q >table
holds awk "$same"' { p[NR] = $4 } END { exit !(same(p[1], p[2]) && !same(p[1], p[3])) }' table
question one "line 17" '" of"' 0 >>q
$moelab eval moe_mamba --questions q >said 2>&1
holds grep -q 'Warning: one: 1 of 2 contexts are longer than the training context of 64 tokens' said
holds test "$(grep -c 'are cut in front' said)" = 1

# the model has learnt its text; equal choices share, and shares are per set; characters, not sums, for acc_norm
{
	question easy "line 20" '" of a text"," fo a text"' 0
	question easy "line 21" '" zz qqqq"," of a text"' 1
	question ties "line" '" 1"," 1"," 1"," 1"' 2
	question norm "line 11" '" o"," of a text"' 1
} >q
asked q >table
holds grep -q '^easy 1,* 1' table
holds grep -q '^ties 0.25 0.25' table
holds grep -q '^norm 0 1' table
# of two questions, one right: the error of their mean; the mean of 1/2 and 1/4; the mean of log p; every token counts
{
	question pair "line 20" '" of a text"," fo a text"' 0
	question pair "line 21" '" zz qqqq"," of a text","x","y"' 0
	question a "line 17" '" of"' 0
	question b "line 20" '" fo a"' 0
	question both "line 17" '" of"' 0
	question both "line 20" '" fo a"' 0
	question wrong "line 20" '"zof a text"' 0
} >q
asked q >table
holds awk "$same"' { p[$1] = $4; acc[$1] = $2 }
	END { exit !(same(p["both"] ^ 2, p["a"] * p["b"]) && !same(p["a"], p["b"]) && acc["wrong"] == 0) }' table
$moelab eval moe_mamba --questions q --format csv 2>said | grep '^pair' >table
holds grep -q '^pair,2,0.375,0.5,0.5,' table

# questions of the dataset's own text; tests/data/test_ask.c looks at them
awk 'BEGIN {
	split("river garden window morning silver letter answer captain journey evening", noun, " ")
	for (i = 0; i < 6000; i++) {
		a = noun[1 + i % 10]; b = noun[1 + int(i / 7) % 10]; c = i % 3 ? "garden" : noun[1 + int(i / 3) % 10]
		print "one " a " and then the " b " of the " c " by the " a ".\n"
	}
}' >text3
holds $moelab data import text3 --tokenizer byte --split blank:256 --group-by block:2048 --val 0.2 -o data3 -q
holds $moelab data ask data3 -o asked -n 50 --context 60
cp out kept
holds grep -q 'cloze: 50 questions' kept
holds $moelab data ask data3 -o again -n 50 --context 60
holds cmp asked again
holds $moelab data ask data3 -o again -n 50 --context 60 --seed 2
holds test "$(cmp -s asked again; echo $?)" = 1
# sets are told of by name, also where one between them is empty: no last word here is of four letters
sed 's/ [a-z]*[.]$/ sea./' text3 >text4
holds $moelab data import text4 --tokenizer byte --split blank:256 --group-by block:2048 --val 0.2 -o data4 -q
holds $moelab data ask data4 -o again -n 50 --context 60
cp out kept
for set in order cloze copy; do
	holds grep -q "again: $set: 50 questions" kept
done
$moelab data ask data4 -o again -n 50 --context 60 2>said >out
holds test "$(grep -c 'no question of the set' said)" = 4
holds grep -q 'no question of the set article: the text has no two English words that it exchanges' said
holds grep -q 'no question of the set last: its words have 4 letters at least, and stand 20 times' said
asked asked >table
holds test "$(wc -l <table)" = 4
holds grep -q 'order [01]' table
gzip -c asked >asked.gz
asked asked.gz >packed
holds cmp table packed

# minimal pairs of one word exchanged, a row each; fewer than asked for is said; tests/data/test_pairs.c looks at them
awk 'BEGIN {
	for (i = 0; i < 4000; i++)
		print "Item " i ": then " (i % 2 ? "they are old and asked him" : "he is a guest who told us") \
			(i % 20 ? " nothing" : i % 40 ? " an idle word" : " a cross word") ".\n"
}' >text5
holds $moelab data import text5 --tokenizer byte --split blank:256 --group-by block:2048 --val 0.2 -o data5 -q
holds $moelab data ask data5 -o pairs -n 60 --sets pronoun,article,agreement
cp out kept
holds grep -q 'pairs: agreement: 60 questions$' kept
holds grep -q 'pairs: article: [1-5][0-9] questions, of 60 asked for$' kept
holds test "$(grep -c '"set":"agreement".*"choices":\["Item [0-9]*: then they are' pairs)" = 30
asked pairs >table
holds test "$(cut -d' ' -f1 table | paste -sd' ' -)" = 'agreement article pronoun'
$moelab data ask data5 -o all -n 60 2>said >out
holds test "$(grep -c . all)" -gt "$(grep -c . pairs)"
grep -E '"set":"(agreement|article|pronoun)"' all >some
holds cmp some pairs

refused() {	# WORDS COMMAND...: one line with the words
	words=$1
	shift
	"$@" >out 2>said
	holds test $? = 2
	holds test "$(grep -c . said)" = 1
	holds grep -q "$words" said
}
question one "" '"line"' 1 >q
refused '^moelab: q:1: answer must be the number of a choice' $moelab eval moe_mamba --questions q
{ echo; echo '{"set": '; } >q
refused '^moelab: q:2: ' $moelab eval moe_mamba --questions q
: >q
refused 'holds no questions' $moelab eval moe_mamba --questions q
question one "" '"line"' 0 >q
question one "" '"line","eline"' 0 >>q
refused 'some of its questions have one choice' $moelab eval moe_mamba --questions q
question one "l" "\"\\nfirst\\n$long\"" 0 >q
refused '^moelab: "first": .* more than the training context of 64: `moelab data ask --context`' $moelab eval moe_mamba --questions q
for option in '--data data' '--split val' '--mode reset' '--length 1x' '--stride 4' '--tokens 64' --by-position \
	'--plot p.svg'; do
	refused "eval --questions .*: ${option%% *} says nothing of them" $moelab eval moe_mamba --questions asked $option
done
refused 'no sentence to ask about' $moelab data ask data -o q
refused 'pairs of one word exchanged come in twos' $moelab data ask data5 -o q -n 1 --sets pronoun,article
holds sh -c "$moelab data ask data5 -o q -n 1 2>said"
holds grep -q 'no question of the set pronoun: pairs of one word exchanged come in twos' said
refused 'needs a dataset' $moelab data ask data
refused 'no set of questions "pronouns": there are order,cloze,last' $moelab data ask data3 -o q --sets order,pronouns
refused 'data ask: --context 0: 1 or more must stand here' $moelab data ask data -o q --context 0
tests_end

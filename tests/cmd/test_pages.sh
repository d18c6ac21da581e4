#!/bin/bash
# Pages (*.md) name what there is: each link's file and heading, images, the files of this repository that stand in
# code, and of each `moelab ...` there the command, its options, the table or plot, the sweeps.

. "$(dirname "$0")/holds.sh"
export LC_ALL=C

# A line for each thing that a page names: page, kind, thing.
cat >named.awk <<'END'
function say(kind, thing) { print page "\t" kind "\t" thing }

# As GitHub calls it in links.
function heading(text,		slug) {
	slug = tolower(text)
	gsub(/\]\([^)]*\)/, "", slug)
	gsub(/[!-,.\/:-@[\\\]^`{-~]/, "", slug)
	gsub(/ /, "-", slug)
	slug = page "#" slug
	say("heading", slug (seen[slug]++ ? "-" seen[slug] - 1 : ""))
}

function links(text,	target, path) {
	while (match(text, /\]\([^) ]*/)) {
		target = substr(text, RSTART + 2, RLENGTH - 2)
		text = substr(text, RSTART + RLENGTH)
		if (target ~ /^[a-z]+:/)
			continue
		path = target ~ /^#/ ? page target : folder target
		while (sub(/[^\/.][^\/]*\/\.\.\//, "", path)) {}
		if (path ~ /#/)
			say("anchor", path)
		sub(/#.*/, "", path)
		say("link", path)
	}
}

# A shell's $variable and a word in capitals (NAME) stand for anything; square is CONTRIBUTING's example.
function files(code,	word, before) {
	while (match(code, /(experiments|results\/published|src|sweeps|tests)\/[A-Za-z0-9_.\/{},*$-]+/)) {
		word = substr(code, RSTART, RLENGTH)
		before = substr(code, RSTART - 1, RSTART > 1)
		code = substr(code, RSTART + RLENGTH)
		sub(/[.,]+$/, "", word)
		gsub(/\$[A-Za-z]+/, "*", word)
		if (word !~ /README/)
			gsub(/[A-Z]+|square/, "*", word)
		if (before !~ /[A-Za-z0-9_.\/-]/)
			say("file", word)
	}
}

function command(text,	word, n, i, name) {
	n = split(text, word, /[ \t]+/)
	if (word[1] !~ /^[a-z]/ || word[1] == "help")
		return
	text = word[1] == "data" && word[2] ~ /^[a-z]+$/ ? word[1] " " word[2] : word[1]
	say("command", text)
	if (word[1] ~ /^(table|plot)$/ && word[2] ~ /^[a-z|]+$/)
		for (i = split(word[2], name, "|"); i > 0; i--)
			say("name", text "\t" name[i])
	for (i = 2; i <= n; i++) {
		if (word[i] ~ /^--?[A-Za-z][a-z-]*$/)
			say("option", text "\t" word[i])
		if (word[i - 1] == "--sweep")
			sweeps(word[i])
	}
}

function sweeps(list,	name, i) {
	for (i = split(list, name, ","); i > 0; i--) {
		sub(/\.tune$/, "", name[i])
		files("sweeps/" name[i] ".yaml")
	}
}

function commands(code,	part, i) {
	sub(/(^|[ \t])#.*/, "", code)
	for (i = split(code, part, /&&|;|[ \t]\|[ \t]|\|\|/); i > 0; i--)
		if (match(part[i], /(^|[ \t(])(\.\/)?moelab[ \t]+/))
			command(substr(part[i], RSTART + RLENGTH))
}

# What stands between blank lines; code between ``.
function paragraph(	part, i, n) {
	n = split(text, part, "`")
	for (i = 1; i <= n; i++)
		if (i % 2)
			links(part[i])
		else {
			files(part[i])
			commands(part[i])
		}
	text = ""
}

FNR == 1 {
	paragraph()
	page = folder = FILENAME
	sub(/[^\/]*$/, "", folder)
	fenced = 0
}
/^ *```/ {
	paragraph()
	fenced = !fenced
	shell = /```$/
	next
}
fenced || (text == "" && /^(    |\t)/) {
	files($0)
	line = line $0
	if (fenced && !shell)
		line = ""
	else if (!sub(/\\$/, "", line)) {
		commands(line)
		line = ""
	}
	next
}
/^#+ / {
	paragraph()
	sub(/^#+ +/, "")
	heading($0)
}
/^ *$/ { paragraph(); next }
{ text = text " " $0 }
END { paragraph() }
END

declare -A headings help

# stands KIND THING: the thing is there.
stands() {
	local word command=${2%$'\t'*}
	case $1 in
	link) [ -e "$2" ] ;;
	anchor) [[ ${headings[$2]-} || $2 != *.md#* ]] ;;
	file)
		for word in $(set -f; eval "echo $2"); do
			compgen -G "$word" >/dev/null || return
		done ;;
	command) [ "${help[$command]+said}" ] || help[$command]=$("$work/moelab" help $command 2>/dev/null) ;;
	name) [[ ${help[$command]-} == *$'\n'"  ${2#*$'\t'} "* ]] ;;
	option) [[ ${help[$command]-} =~ (^|[[:space:]])${2#*$'\t'}([[:space:],]|$) ]] ;;
	esac
}

# missing PAGE...: what the pages name and is not there, a line each
missing() (
	local page kind thing
	cd "$root" || return
	awk -f "$work/named.awk" "$@" | sort -u >"$work/named"
	while IFS=$'\t' read -r page kind thing; do
		[ "$kind" != heading ] || headings[$thing]=1
	done <"$work/named"
	while IFS=$'\t' read -r page kind thing; do
		[ "$kind" = heading ] || stands "$kind" "$thing" || echo "$page: $kind $thing"
	done <"$work/named"
)

pages=$(cd "$root" && find README.md CONTRIBUTING.md experiments plots/README.md results/README.md results/published \
	src sweeps tests -name '*.md')
missing $pages >found
holds diff /dev/null found
holds test "$(wc -l <named)" -gt 1000

# It would notice: a page half of which is there.
cat >page.md <<'END'
# The `first`, of_all: a-b?
## Twice
## Twice
[It](page.md#the-first-of_all-a-b), [this](#twice-1), [that](#twice-2) and
[another](page.md#none), ![drawn](none.svg), `[N](none)`; `experiments/micro/{mamba,none}.yaml`,
`src/arch/NAME.c`, `src/NAME/none.c`, `moelab plot loss|none
--sweep S`.
```
./moelab help spec; ./moelab nothing && ./moelab data import FILE -o data/x --none   # --neither
for s in a b; do ./moelab table final --sweep micro/table1.tune,micro/none \
	--label a=b --no-label; ./moelab plan sweeps/micro/$s.yaml sweeps/$s/none.yaml; done
```

    ./moelab trace SPEC --outputs \
        --no-outputs
END
missing "$work/page.md" | sed "s,$work/,,g" >found
cat >expected <<'END'
page.md: anchor page.md#none
page.md: anchor page.md#twice-2
page.md: command nothing
page.md: file experiments/micro/{mamba,none}.yaml
page.md: file src/*/none.c
page.md: file sweeps/*/none.yaml
page.md: file sweeps/micro/none.yaml
page.md: link none.svg
page.md: name plot	none
page.md: option data import	--none
page.md: option table	--no-label
page.md: option trace	--no-outputs
END
holds diff expected found

tests_end

#!/bin/sh
# Every #include "..." of src/LAYER and tests/LAYER names a file of a layer that the Makefile's table
# allows there, written "layer/file.h". Exempt: lists made by the build (*.inc), and headers that
# tests share (no slash). Every folder of src/ is a layer of that table, and the diagram in README.md
# (arrows, also several in a row) has the table's rows, all of them and no others.

cd "$(dirname "$0")/.." || exit 1
bad=0

# check FOLDER LAYER...: includes in FOLDER of other layers than these
check() {
	folder=$1
	shift
	allowed=$(echo "$@" | tr ' ' '|')
	case $folder in tests/*) free='[^/"]*\.h' ;; *) free='[^/"]*\.inc' ;; esac
	found=$(grep -rnE --include='*.[ch]' --include='*.cu' --include='*.cuh' \
		'^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "$folder" 2>/dev/null |
		grep -vE "include[[:space:]]*\"(($allowed)/|$free\")")
	[ -z "$found" ] && return
	echo "$found"
	echo "$folder may include: $*"
	bad=1
}

layers=$(MAKEFLAGS= make -s --no-print-directory print-layers) || exit 1
while read -r layer others; do
	check "src/$layer" "$layer" $others
	check "tests/$layer" "$layer" $others
done <<END
$layers
END

for folder in src/*/; do
	layer=$(basename "$folder")
	[ -z "$(ls "$folder")" ] || echo "$layers" | grep -q "^$layer\b" ||
		{ echo "$folder is no layer of the Makefile's table"; bad=1; }
done

drawn=$(grep -oE '[a-z]+( -> [a-z]+)+' README.md |
	awk '{ for (i = 1; i < NF; i += 2) print $i " -> " $(i + 2) }' | sort -u)
rows=$(sed -n 's/^may_include_\([a-z]*\) *:= *\(.*\)/\1 \2/p' Makefile |
	awk '{ for (i = 2; i <= NF; i++) print $1 " -> " $i }' | sort -u)
if [ "$drawn" != "$rows" ]; then
	echo "README.md draws other rows than the Makefile's table has (<: README, >: Makefile):"
	a=$(mktemp) && b=$(mktemp) && echo "$drawn" >"$a" && echo "$rows" >"$b" && diff "$a" "$b" | grep '^[<>]'
	rm -f "$a" "$b"
	bad=1
fi
exit $bad

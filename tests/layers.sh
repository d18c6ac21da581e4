#!/bin/sh
# Every #include "..." of src/LAYER and tests/LAYER names a file of a layer that the Makefile's table
# allows there, written "layer/file.h". Exempt: lists made by the build (*.inc), and headers that
# tests share (no slash).

cd "$(dirname "$0")/.." || exit 1
bad=0

# check FOLDER LAYER...: includes in FOLDER of other layers than these
check() {
	folder=$1
	shift
	allowed=$(echo "$@" | tr ' ' '|')
	case $folder in tests/*) free='[^/"]*\.h' ;; *) free='[^/"]*\.inc' ;; esac
	found=$(grep -rnE --include='*.[ch]' --include='*.cu' --include='*.cuh' '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "$folder" 2>/dev/null |
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
exit $bad

#!/bin/bash
# Published tables say what their CSV says: row by row, every number that a tables/NAME.md prints is one of
# its row in NAME.csv, or half the width of an interval there, rounded as printed. Null rows, shares of
# tokens and the best loss of who missed a target are printed alone.
# And archives that are published give the tables beside them, to the byte.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# agrees CSV MD: names the first number that the CSV lacks.
agrees() {
	awk '
	# Is number n, of "unit" 1, 1e-2, 1e3 ... and printed to "step", one of row r?
	function known(r, n, unit, step,	i, half) {
		for (i = 1; i <= width[r]; i++) {
			if (near(n, value[r, i] / unit, step))
				return 1
			if (i > 1 && near(n, (value[r, i] - value[r, i - 1]) / 2 / unit, step))
				return 1
		}
		return 0
	}
	function near(n, v, step) {
		return v - n <= 0.5001 * step && n - v <= 0.5001 * step
	}
	function check(r, text,		n, rest, sign, unit, step, digits) {
		while (match(text, /[0-9][0-9]*(,[0-9][0-9][0-9])*(\.[0-9]+)?(e[-+]?[0-9]+)?/)) {
			n = substr(text, RSTART, RLENGTH)
			sign = RSTART > 1 && substr(text, RSTART - 1, 1) == "-" ? -1 : 1
			text = rest = substr(text, RSTART + RLENGTH)
			gsub(/,/, "", n)
			digits = n ~ /\./ ? length(n) - index(n, ".") : 0
			step = n ~ /e/ ? n * 1e-2 : 10 ^ -digits
			unit = rest ~ /^ ?%/ ? 1e-2 : rest ~ /^K/ ? 1e3 : rest ~ /^M/ ? 1e6 : rest ~ /^B/ ? 1e9 : 1
			unit = rest ~ /^ MiB/ ? 2 ^ 20 : rest ~ /^ GiB/ ? 2 ^ 30 : unit
			if (!known(r, sign * n, unit, step) && !known(r, n, unit, step))
				return fault(r, n)
		}
		return 0
	}
	function fault(r, n) {
		print FILENAME ": row " r ": " n " is not in the CSV"
		exit bad = 1
	}
	FNR == 1 {file++}
	/(^|,)null,|^share of|\| (null:|share of)/ {next}
	file == 1 && !/^#/ && header++ {
		row++
		width[row] = split($0, cell, ",")
		for (i = 1; i <= width[row]; i++)
			value[row, i] = cell[i]
	}
	file == 2 && /^\|/ && line++ > 1 {
		sub(/^\| *[^|]*\|/, "")
		gsub(/\(best [^)]*\)/, "")
		if (check(line - 2, $0))
			exit
	}
	END {
		if (!bad && (row < 1 || line - 2 != row)) {
			print FILENAME ": " line - 2 " rows, its CSV has " row
			bad = 1
		}
		exit bad
	}' "$1" "$2"
}

passed=0
for csv in results/published/*/*/tables/*.csv results/published/demo/*.csv; do
	agrees "$csv" "${csv%.csv}.md"
	passed=$((passed + 1))
done

# It would notice: a digit changed, a row left out.
csv=results/published/micro/table1/tables/final.csv
sed '/transformer_moe/s/1\.715/1.705/' "${csv%.csv}.md" >"$work/digit.md"
sed '/transformer_moe/d' "${csv%.csv}.md" >"$work/row.md"
for fault in digit row; do
	if agrees $csv "$work/$fault.md" >/dev/null; then
		echo "a planted fault was not noticed: $fault"
		exit 1
	fi
done

# gives SWEEP FOLDER: the tables of the archive FOLDER.tar.xz, made anew, are those in FOLDER.
gives() {
	local tables=results/published/$2/tables file name sweep
	mkdir "$work/lab"
	tar -xJf "results/published/$2.tar.xz" -C "$work/lab"
	"$MOELAB" ingest -q --results "$work/lab"
	for file in "$tables"/*; do
		name=$(basename "${file%.*}")
		sweep=$1
		[ "$name" != tune ] || sweep=$1.tune
		"$MOELAB" table "$name" --db "$work/lab/lab.db" --sweep "$sweep" --format "${file##*.}" |
			cmp - "$file" || return 1
	done
	rm -r "$work/lab"
}

gives 25m-en/hybrids 25m/hybrids
gives micro-en/balance micro/balance
passed=$((passed + 2))
echo "[  PASSED  ] $passed test(s)."

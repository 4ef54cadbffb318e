#!/bin/sh
# labels.sh - each release/acquire pair carries a label at both ends: [x.R1] at
# the release, [x.A1] at the acquire.  This finds ends without a partner, and
# ends that stand in a comment only: at least one occurrence of each must have
# the operation itself within the next lines.
#
# usage: tests/lint/labels.sh [DIRECTORY...]   (default: include shm ipc procs)
cd "$(dirname "$0")/../.." || exit 2
[ $# -gt 0 ] || set -- include shm ipc procs
find "$@" -name '*.[ch]' 2>/dev/null | sort | xargs awk '
BEGIN {
	NEAR = 12 # lines from a label to its operation
	op["R"] = "fence *\\(|cmm_smp_mb|memory_order_(release|acq_rel|seq_cst)|prcu_assign|atomic_(store|exchange|fetch_[a-z]+) *\\("
	op["A"] = "fence *\\(|cmm_smp_mb|memory_order_(acquire|acq_rel|seq_cst)|prcu_dereference|atomic_(load|exchange|fetch_[a-z]+) *\\("
}

FNR == 1 { split("", open) }

{
	line = $0
	while (match(line, /\[[a-z_]+\.[RA][0-9]+(\/[RA][0-9]+)*\]/)) {
		label = substr(line, RSTART + 1, RLENGTH - 2)
		line = substr(line, RSTART + RLENGTH)
		dot = index(label, ".")
		n = split(substr(label, dot + 1), ends, "/")
		for (i = 1; i <= n; i++) {
			end = substr(label, 1, dot) ends[i]
			if (!(end in first))
				first[end] = FILENAME ":" FNR
			open[end] = FNR
		}
	}
	for (end in open) {
		side = substr(end, index(end, ".") + 1, 1)
		if (FNR - open[end] > NEAR)
			delete open[end]
		else if ($0 ~ op[side])
			done[end] = 1
	}
}

END {
	for (end in first) {
		dot = index(end, ".")
		side = substr(end, dot + 1, 1)
		partner = substr(end, 1, dot) (side == "R" ? "A" : "R") substr(end, dot + 2)
		if (!(partner in first)) {
			printf "%s: [%s] has no partner [%s]\n", first[end], end, partner
			bad++
		} else if (!(end in done)) {
			printf "%s: [%s] stands at no %s\n", first[end], end, \
				side == "R" ? "release" : "acquire"
			bad++
		}
		pairs += side == "R"
	}
	printf "labels: %d pairs, %d mistakes\n", pairs, bad
	exit bad > 0
}' || exit 1

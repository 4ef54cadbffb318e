#!/usr/bin/env bash
# What does not belong in the tree: unfinished marks, paths of a machine, files
# in which a stranger gets lost.
cd "$(dirname "$0")/../.." || exit 1
bad=0
complain() { sed "s/^/$1: /"; bad=1; }

found=$(git grep -nE '\b(TODO|FIXME|XXX|HACK)\b' -- '*.c' '*.h' '*.sh' '*.md' Makefile ':!tests/lint' || true)
[ -z "$found" ] || complain unfinished <<<"$found"
found=$(git grep -nE '(^|[^[:alnum:]_.])/(root|work|home)/' -- ':!tests/lint' ':!LICENSE' || true)
[ -z "$found" ] || complain 'path of a machine' <<<"$found"
found=$(git ls-files '*.c' '*.h' | xargs wc -l | awk '$2 != "total" && $1 > 1500 {print $2 ": " $1 " lines"}')
[ -z "$found" ] || complain 'too long' <<<"$found"
for folder in $(git ls-files | grep / | xargs -n1 dirname | grep -vE '^(\.ci|docs/decisions|include(/weft)?|tests/(fuzz/corpus|parity)/.*|procs)$|corpus|/gen$|/schema$|^tests/unit$|^docs$' | sort -u); do
	[ -f "$folder/README.md" ] || { echo "no README.md: $folder"; bad=1; }
done
exit $bad

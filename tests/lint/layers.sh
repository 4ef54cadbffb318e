#!/usr/bin/env bash
# Includes point down only: shm <- ipc <- procs/kube <- procs/lib <- a process.
# Prints each include that does not, and fails.
cd "$(dirname "$0")/../.." || exit 1

shm='weft/(base|segment|prcu|arena|cache|cache_write|fault)\.h|weft/faults\.def|shm/'
ipc="$shm|weft/(value|json|kept|ring|msg|http_head)\.h|weft/messages\.def|ipc/"
kube="$ipc|weft/(kube|schema)\.h|kube_types\.h|procs/kube/"
lib="$kube|weft/(proc|place)\.h|procs/lib/"

# What a file may include, by where it stands.
allowed() {
	case $1 in
	shm/*) echo "$shm" ;;
	ipc/*) echo "$ipc" ;;
	procs/kube/*) echo "$kube" ;;
	procs/lib/* | procs/main.c) echo "$lib|procs/supervisor/commands\.h" ;;
	# Both sides of what lies on disk.
	procs/store/* | procs/checkpoint/*) echo "$lib|procs/(store|checkpoint)/" ;;
	procs/*) echo "$lib|$(dirname "$1")/" ;;
	include/*) echo "weft/|kube_types\.h" ;;
	*) echo . ;;
	esac
}

bad=0
for file in $(git ls-files '*.c' '*.h'); do
	outside=$(sed -n 's/^#include "\([^"]*\)".*/\1/p' "$file" | grep -vE "^($(allowed "$file"))" | grep -v '^build\|^gen/\|\.pb-c\.h$')
	# A name without a folder is a neighbour or generated.
	for name in $(grep / <<<"$outside"); do
		echo "$file includes $name"
		bad=1
	done
done
exit $bad

#!/usr/bin/env bash
# Each point of faults.def stands in the sources exactly once; those that can
# fail, and no others, as fault_fails().
cd "$(dirname "$0")/../.." || exit 1
bad=0
while read -r name can_fail; do
	found=$(git grep -hoE "fault_(at|fails)\($name\)" -- shm ipc procs)
	[ "$(grep -c . <<<"$found")" = 1 ] || { echo "$name stands at $(grep -c . <<<"$found") places"; bad=1; }
	case $found in
	fault_fails*) [ "$can_fail" = yes ] || { echo "$name can fail, its text does not begin with 'refused:'"; bad=1; } ;;
	*) [ "$can_fail" = no ] || { echo "$name cannot fail"; bad=1; } ;;
	esac
done < <(sed -nE 's/^FAULT\((\w+), "(refused:)?.*/\1 \2/p' include/weft/faults.def | awk '{print $1, (NF > 1 ? "yes" : "no")}')
exit $bad

#!/usr/bin/env bash
# HTTP itself: kept connections, pipelining, chunks, Expect, old versions, TLS.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
command -v python3 >/dev/null || { echo "skipped: no python3"; exit 0; }

start_cluster
if python3 "$here/raw.py" "$KUBECONFIG"; then pass 'raw'; else fail 'raw'; fi

# Each server has its own order of changes: between them the store decides, and who was
# slower makes the change again, as often as it takes.
if on_weft; then
	"$WEFT" scale --data "$data" apiserver=4 >/dev/null
	served() { "$WEFT" status --data "$data" | grep -c '^apiserver/.* running'; }
	soon '4 API servers' 30 4 served
	if ONLY=contended python3 "$here/raw.py" "$KUBECONFIG"; then pass 'patches through all of them'; else fail 'patches through all of them'; fi
fi
finish

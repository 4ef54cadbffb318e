#!/usr/bin/env bash
# HTTP/2: frames, windows, floods; an API server that ends.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
command -v python3 >/dev/null || { echo "skipped: no python3"; exit 0; }

# In KiB, of the API server.
memory() { awk '/^VmRSS/ {print $2}' "/proc/$1/status"; }

watches_open() { k get --raw /metrics | awk '/^weft_watches\{process="apiserver"/ {n += $2} END {print n}'; }

start_cluster
if on_weft; then
	server=$("$WEFT" status --data "$data" --json | python3 -c '
import json, sys
print(next(p["pid"] for p in json.load(sys.stdin)["processes"] if p["process"] == "apiserver"))')
	before=$(memory "$server")
fi
if python3 "$here/http2.py" "$KUBECONFIG"; then pass 'http2'; else fail 'http2'; fi
if on_weft; then
	is 'the API server is the same' alive "$(kill -0 "$server" 2>/dev/null && echo alive)"
	grown=$(($(memory "$server") - before))
	like "it has not grown for it: $grown KiB" '^-?[0-9]{1,5}$' "$grown"
	soon 'no watch is left' 10 0 watches_open

	ONLY=ending python3 "$here/http2.py" "$KUBECONFIG" >"$work/ending" &
	client=$!
	soon 'a client with a watch' 10 connected head -n 1 "$work/ending"
	kill "$weft_pid"
	if wait "$client"; then pass 'clients are told that an API server ends'; else fail 'clients are told that an API server ends' "$(cat "$work/ending")"; fi
fi
finish

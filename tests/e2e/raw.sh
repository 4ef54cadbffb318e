#!/usr/bin/env bash
# HTTP itself: kept connections, pipelining, chunks, Expect, old versions, TLS.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
command -v python3 >/dev/null || { echo "skipped: no python3"; exit 0; }

start_cluster
if python3 "$here/raw.py" "$KUBECONFIG"; then pass 'raw'; else fail 'raw'; fi
finish

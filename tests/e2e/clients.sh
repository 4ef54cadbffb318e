#!/usr/bin/env bash
# Hostile, slow and dying clients: none disturbs others, nothing is left behind.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
command -v python3 >/dev/null || { echo "skipped: no python3"; exit 0; }
on_weft || { echo "skipped: looks at weft's processes"; exit 0; }

start_cluster
if python3 "$here/clients.py" "$KUBECONFIG" "$data" "$WEFT"; then pass 'clients'; else fail 'clients'; fi
is 'nodes live' 3 "$(k get nodes --no-headers | grep -c ' Ready')"
finish

#!/usr/bin/env bash
# Lists in pages while objects change: together they are one state.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
command -v python3 >/dev/null || { echo "skipped: no python3"; exit 0; }

start_cluster
if python3 "$here/pages.py" "$KUBECONFIG"; then pass 'pages'; else fail 'pages'; fi
finish

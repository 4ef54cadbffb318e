#!/usr/bin/env bash
# Watches of many kinds while objects change at random: each change once, in order.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
command -v python3 >/dev/null || { echo "skipped: no python3"; exit 0; }

start_cluster
if python3 "$here/watches.py" "$KUBECONFIG"; then pass 'watches'; else fail 'watches'; fi
finish

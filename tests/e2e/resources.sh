#!/usr/bin/env bash
# Every verb of every resource once, with the smallest objects that are valid,
# compared with the facts that real Kubernetes gave (tests/parity/api/resources.facts).
#   tests/e2e/resources.sh [--record]     E2E_KUBECONFIG=FILE: against that cluster
. "$(dirname "$0")/lib.sh"
start_cluster
facts=$root/tests/parity/api/resources.facts
"$root/tests/parity/resources" "$root/procs/kube/schema/resources.tsv" >"$work/resources.requests"
if [ "${1:-}" = --record ]; then
	"$root/tests/parity/replay" "$work/resources.requests" "$KUBECONFIG" --record &&
		mv "$work/resources.facts" "$facts"
	exit
fi
cp "$facts" "$work/resources.facts"
"$root/tests/parity/replay" "$work/resources.requests" "$KUBECONFIG" | cut -c1-400
exit "${PIPESTATUS[0]}"

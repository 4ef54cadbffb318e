#!/usr/bin/env bash
# Requests whose code, reason and message are known from real Kubernetes
# (tests/parity/api/NAME.requests, NAME.facts), sent again.
#   tests/e2e/parity.sh [--record] [NAME...]     E2E_KUBECONFIG=FILE: to that cluster
. "$(dirname "$0")/lib.sh"
start_cluster
record=''
[ "${1:-}" = --record ] && { record=--record; shift; }
for name in "${@:-core semantics}"; do
	for one in $name; do
		echo "== $one"
		"$root/tests/parity/replay" "$root/tests/parity/api/$one.requests" "$KUBECONFIG" $record |
			cut -c1-400 || exit
		[ "${PIPESTATUS[0]}" = 0 ] || bad=$((bad + 1))
	done
done
exit "$((bad > 0))"

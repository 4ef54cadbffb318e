# lib.sh - what the end-to-end tests share.  Source it; `finish` ends a test.
#
# A test runs against a cluster of its own (WEFT, the program), or against any
# other one (E2E_KUBECONFIG): the same script then shows what real Kubernetes
# does.  Every check prints one line; the test fails if any check did.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
WEFT=${WEFT:-$root/build/weft}
KUBECTL=${KUBECTL:-kubectl}
checks=0 bad=0
work=$(mktemp -d)
weft_pid=''

cleanup() {
	[ -z "$weft_pid" ] || { kill "$weft_pid" 2>/dev/null; wait "$weft_pid" 2>/dev/null; }
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

k() { timeout "${K_TIMEOUT:-30}" "$KUBECTL" "$@"; }

# start_cluster [CONFIG]: a new cluster on a free port, or the one given.
start_cluster() {
	if [ -n "${E2E_KUBECONFIG:-}" ]; then
		export KUBECONFIG=$E2E_KUBECONFIG
		return
	fi
	data=$work/data
	mkdir -p "$data"
	run_weft "$@"
}

# (Re)start weft on $data and wait until it serves.
run_weft() {
	local args=(--data "$data" --listen 127.0.0.1:0)
	[ -z "${1:-}" ] || args+=(-c "$1")
	: >"$work/ready"
	"$WEFT" up "${args[@]}" >"$work/ready" 2>"$work/weft.err" &
	weft_pid=$!
	for _ in $(seq 200); do
		grep -q '^ready' "$work/ready" && break
		kill -0 "$weft_pid" 2>/dev/null || break
		sleep 0.05
	done
	grep -q '^ready' "$work/ready" || { echo "weft did not start:"; cat "$work/weft.err"; exit 1; }
	export KUBECONFIG=$data/kubeconfig
}

pass() { checks=$((checks + 1)); echo "  ok    $1"; }
fail() { checks=$((checks + 1)); bad=$((bad + 1)); echo "  FAIL  $1"; shift; printf '        %s\n' "$@"; }

# is NAME WANTED GOT: equal texts.
is() { if [ "$2" = "$3" ]; then pass "$1"; else fail "$1" "wanted: $2" "got:    $3"; fi; }
# like NAME REGEX GOT (extended; any line).
like() { if grep -qE -- "$2" <<<"$3"; then pass "$1"; else fail "$1" "wanted: $2" "got:    $3"; fi; }
unlike() { if grep -qE -- "$2" <<<"$3"; then fail "$1" "not wanted: $2" "got:    $3"; else pass "$1"; fi; }
# soon NAME SECONDS WANTED COMMAND...: its output becomes WANTED within SECONDS.
soon() {
	local name=$1 until=$((SECONDS + $2)) wanted=$3 got
	shift 3
	while :; do
		got=$("$@" 2>&1)
		[ "$got" = "$wanted" ] && { pass "$name"; return; }
		[ "$SECONDS" -lt "$until" ] || break
		sleep 0.1
	done
	fail "$name" "wanted: $wanted" "got:    $got"
}
# soon_like NAME SECONDS REGEX COMMAND...
soon_like() {
	local name=$1 until=$((SECONDS + $2)) wanted=$3 got
	shift 3
	while :; do
		got=$("$@" 2>&1)
		grep -qE -- "$wanted" <<<"$got" && { pass "$name"; return; }
		[ "$SECONDS" -lt "$until" ] || break
		sleep 0.1
	done
	fail "$name" "wanted: $wanted" "got:    $got"
}

on_weft() { [ -z "${E2E_KUBECONFIG:-}" ]; }

finish() {
	echo "$((checks - bad)) of $checks checks passed"
	[ "$bad" = 0 ]
	exit
}

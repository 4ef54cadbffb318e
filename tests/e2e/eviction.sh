#!/usr/bin/env bash
# How fast lost nodes are tainted NoExecute: so many a second in each zone, fewer or none when a
# zone is partly lost, all when it is wholly lost, nobody when all zones are.
#
# The nodes are this script's own: it says whether they are ready, and renews their Leases.
# Against real Kubernetes its controllers need the same figures:
#   --node-eviction-rate=0.25 --node-monitor-period=2s --node-monitor-grace-period=8s
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

cat >"$work/config.yaml" <<'Y'
nodes: {count: 0, grace: 8s, evictionRate: 0.25}
Y
start_cluster "$work/config.yaml"
on_weft && "$WEFT" scale --data "$data" nodelifecycle=2 >/dev/null # the limit is for all of them

nodes="a0 a1 a2 a3 a4 b0 b1 b2"
for n in $nodes; do cat <<Y
---
apiVersion: v1
kind: Node
metadata: {name: $n, labels: {topology.kubernetes.io/zone: "${n:0:1}"}, annotations: {weft.dev/vanish: "true"}}
Y
done | k create -f - >/dev/null
# Set what the nodes say of themselves: READY NODE...
say() {
	local is=$1 n said=()
	shift
	for n in "$@"; do
		k patch node "$n" --subresource status --type strategic -p '{"status":{"conditions":[{"type":"Ready","status":"'"$is"'","reason":"Said","message":"so"}]}}' >/dev/null &
		said+=($!)
	done
	wait "${said[@]}"
}
# Those that live, whatever they say.
alive=$work/alive
leases() {
	local now n
	now=$(date -u +%Y-%m-%dT%H:%M:%S.%6NZ)
	for n in $(cat "$alive"); do
		printf -- '---\napiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: %s, namespace: kube-node-lease}\nspec: {holderIdentity: %s, leaseDurationSeconds: 40, renewTime: "%s"}\n' "$n" "$n" "$now"
	done | k apply -f - >/dev/null 2>&1
}
echo "$nodes" >"$alive"
leases
while :; do leases; sleep 1; done &
beat=$!
trap 'kill $beat 2>/dev/null; cleanup' EXIT

# Nodes that are tainted NoExecute, in order of name.
tainted() {
	k get nodes -o go-template='{{range .items}}{{$n := .metadata.name}}{{range .spec.taints}}{{if eq .effect "NoExecute"}}{{$n}}={{.key}} {{end}}{{end}}{{end}}' |
		sed 's,node.kubernetes.io/,,g; s/ $//'
}
count() { tainted | wc -w; }
in_zone() { tainted | tr ' ' '\n' | grep -c "^$1"; }
# Those of a zone that came sooner after another than the rate allows (times are whole seconds).
too_soon() {
	k get nodes -o go-template='{{range .items}}{{$n := .metadata.name}}{{range .spec.taints}}{{if eq .effect "NoExecute"}}{{.timeAdded}} {{$n}}{{"\n"}}{{end}}{{end}}{{end}}' |
		grep " $1" | sort | while read -r time node; do
		time=$(date -d "$time" +%s)
		[ $((time - ${last:-0})) -ge 3 ] || echo "$node"
		last=$time
	done
}
# since NAME MOST COMMAND WANTED: it becomes so within that many seconds from now.
since() {
	local name=$1 most=$2 wanted=$4 from=$EPOCHREALTIME took
	while took=$(awk -v a="$from" -v b="$EPOCHREALTIME" 'BEGIN {printf "%.1f", b - a}'); awk -v t="$took" -v m="$most" 'BEGIN {exit !(t < m)}'; do
		[ "$($3)" = "$wanted" ] && { pass "$name ($took s)"; return; }
		sleep 0.1
	done
	fail "$name" "wanted: $wanted within $most s" "got:    $($3)"
}
stays() { # NAME SECONDS COMMAND WANTED
	sleep "$2"
	is "$1" "$4" "$($3)"
}
a() { in_zone a; }
b() { in_zone b; }

say True $nodes
soon 'all are ready' 20 8 eval 'k get nodes --no-headers | grep -cw Ready'
soon 'nobody is tainted' 10 '' tainted
sleep 5

echo "one after another, in each zone"
say False a0 a1 b0
since 'the first of zone a at once' 6 a 1
soon 'that of zone b does not wait for it' 3 1 b
since 'the second of zone a after its time' 7 a 2
is 'with the taint of those that say so' 'a0=not-ready a1=not-ready b0=not-ready' "$(tainted)"

echo "a zone that is partly lost"
sleep 5 # its token is there
say False a2
stays 'three of five: nobody more' 9 a 2
is 'those that are tainted stay so' 'a0=not-ready a1=not-ready b0=not-ready' "$(tainted)"

echo "a zone that is wholly lost"
say False a3 a4
since 'goes on at its rate' 8 a 3
since 'one' 7 a 4
since 'after another' 7 a 5
is 'never faster' '' "$(too_soon a)"

echo "nodes that are no longer heard of"
echo "b0 b1 b2" >"$alive"
soon 'have the other taint at once' 30 'a0=unreachable a1=unreachable a2=unreachable a3=unreachable a4=unreachable b0=not-ready' tainted

echo "all zones are lost"
say False b1
since 'the second of zone b' 7 b 2
say False b2
soon 'nobody is evicted' 20 '' tainted
stays 'nor later' 9 tainted ''
like 'but no new pods go there' 'unreachable:NoSchedule' "$(k get node a0 -o jsonpath='{range .spec.taints[*]}{.key}:{.effect}{" "}{end}')"
say True b0 b1
since 'one comes back: the others are tainted again' 12 a 1
since 'one by one' 7 a 2
since 'in each zone' 7 b 1
is 'never faster' '' "$(too_soon a)"
for n in $nodes; do k delete node "$n" --wait=false >/dev/null; done
finish

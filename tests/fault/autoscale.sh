#!/usr/bin/env bash
# Kinds with bounds get processes while work waits for them, and lose them when it is calm,
# in the middle of large rollouts; nothing comes twice, and the numbers do not flap.
cd "$(dirname "$0")/../.." && . tests/fault/cluster.bash

config=$dir/config.yaml
cat >"$config" <<'Y'
nodes: {pods: 200000}
processes: {replicaset: {min: 1, max: 3}, scheduler: {min: 1, max: 3}, node: {min: 1, max: 3}, gc: {min: 1, max: 2}}
autoscale: {upAge: 20ms, upAfter: 100ms, calmAge: 5ms, downAfter: 3s}
Y
begin
count_of() { "$weft" status --data "$data" --json | sed 's/.*"'"$1"'":{"processes":\([0-9]*\),.*/\1/'; }
changes() { grep -c "work has waited" "$data/log"; }

k create deployment burst --image=nginx --replicas=400000 >/dev/null || fail "create the burst"
roll
k rollout status deployment/burst --timeout=120s >/dev/null || fail "the burst does not end"
check nginx:1.15.$image
n=$(k get rs -l app=burst -o jsonpath='{.items[*].status.replicas}')
[ "$n" = 400000 ] || fail "$n pods instead of 400000"
grep -q "from 1 to 2 processes" "$data/log" || fail "nothing was scaled: $("$weft" status --data "$data")"
say "ok: scaled up $(changes) times under the burst"

k scale deployment burst --replicas=0 >/dev/null || fail "scale the burst"
roll
check nginx:1.15.$image
for _ in $(seq 150); do
	[ "$(count_of node)$(count_of scheduler)$(count_of replicaset)$(count_of gc)" = 1111 ] && break
	sleep 0.2
done
[ "$(count_of node)$(count_of scheduler)$(count_of replicaset)$(count_of gc)" = 1111 ] ||
	fail "not scaled down: $("$weft" status --data "$data"; grep 'work has waited' "$data/log")"
grep -q "showed no life" "$data/log" && fail "somebody was too busy to live: $(grep "showed no life" "$data/log")"
before=$(changes)
sleep 8
[ "$(changes)" = "$before" ] || fail "the numbers flap: $(grep 'work has waited' "$data/log")"
"$weft" status --data "$data" | grep -q '^node: 1 of 1 to 3 processes' || fail "weft status does not show it"
say "ok: back to one of each after $before changes, and calm"

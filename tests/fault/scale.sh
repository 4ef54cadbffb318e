#!/usr/bin/env bash
# The number of processes changes while rolling updates run; a shard that is
# killed while the map changes makes nothing come twice.
cd "$(dirname "$0")/../.." && . tests/fault/cluster.bash

begin
# Every kind up and down, in both spellings, alone and several at once.
for change in replicaset=3 "scheduler 2" node=3 "deployment=2 apiserver=2" "namespace 2 nodelifecycle 3 gc=2" \
	"replicaset 1 apiserver=3" "gc=1 scheduler=1" node=1 "deployment 1 namespace=1 nodelifecycle=1 apiserver=1"; do
	roll
	# shellcheck disable=SC2086 # words
	"$weft" scale --data "$data" $change >/dev/null || fail "weft scale $change"
	check nginx:1.15.$image
	say "ok: $change"
done

roll
"$weft" scale --data "$data" replicaset=4 >/dev/null &
scaling=$!
kill -9 "$(pid_of replicaset/0)"
wait $scaling || fail "weft scale replicaset=4 while replicaset/0 is killed"
all_run >/dev/null
check nginx:1.15.$image
"$weft" scale --data "$data" replicaset=0 2>/dev/null >/dev/null || fail "weft scale replicaset=0"
"$weft" scale --data "$data" replicaset=1 >/dev/null || fail "weft scale replicaset=1"
roll
check nginx:1.15.$image
say "ok: scaled while a shard is killed; to none and back"

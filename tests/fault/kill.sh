#!/usr/bin/env bash
# kill -9 of each process in the middle of a rolling update, twice; then of all
# of them at once, and of the supervisor.
cd "$(dirname "$0")/../.." && . tests/fault/cluster.bash

begin
for round in 1 2; do
	for process in deployment replicaset scheduler node gc namespace nodelifecycle apiserver checkpoint store; do
		roll
		pid=$(pid_of $process/0)
		[ "${pid:-0}" -gt 1 ] || fail "there is no $process"
		kill -9 "$pid"
		replaced $process "$pid"
		took=$(all_run)
		check nginx:1.15.$image
		say "ok: $process killed, all run after $took"
	done
done

roll
for pid in $("$weft" status --data "$data" | awk 'NR > 1 { print $2 }'); do kill -9 "$pid"; done
took=$(all_run)
check nginx:1.15.$image
say "ok: all killed at once, all run after $took"

for round in 1 2 3; do
	roll
	kill -9 "$supervisor"
	wait "$supervisor" 2>/dev/null
	up
	took=$(all_run)
	check nginx:1.15.$image
	say "ok: supervisor killed, weft up again, all run after $took"
done

kill -TERM "$supervisor"
wait "$supervisor" || fail "weft up ended with status $? after SIGTERM"
supervisor=
up
check nginx:1.15.$image
say "ok: stopped in order and started again; $(wc -l <"$dir/acked") acknowledged writes are there"

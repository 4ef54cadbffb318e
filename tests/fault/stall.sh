#!/usr/bin/env bash
# Processes that are stopped (SIGSTOP) in the middle of a rolling update are
# found, killed and replaced; stopped ones that go on disturb nobody.
cd "$(dirname "$0")/../.." && . tests/fault/cluster.bash

begin
for process in replicaset node store; do
	roll
	pid=$(pid_of $process/0)
	kill -STOP "$pid"
	replaced $process "$pid"
	all_run >/dev/null
	check nginx:1.15.$image
	say "ok: stopped $process replaced"
done

# Stopped for less than it takes to be noticed.
roll
for process in deployment replicaset scheduler; do
	pid=$(pid_of $process/0)
	kill -STOP "$pid" && sleep 1 && kill -CONT "$pid"
done
check nginx:1.15.$image
say "ok: stopped for a second and continued"

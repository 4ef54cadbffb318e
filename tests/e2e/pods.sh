#!/usr/bin/env bash
# Lives of single pods: init containers and sidecars, restarts, deadlines,
# images that cannot be pulled, deletion.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

on_weft || { echo "what containers do is set by weft's annotations"; finish; }
start_cluster
# pod NAME ANNOTATIONS SPEC: flow mappings.
pod() {
	cat <<Y
---
apiVersion: v1
kind: Pod
metadata: {name: $1, annotations: {$2}${4:+, $4}}
spec: {$3}
Y
}
one='containers: [{name: c, image: nginx}]'
state() { k get pod "$1" --no-headers 2>&1 | awk '{print $2, $3}'; }
phase() { k get pod "$1" -o jsonpath='{.status.phase}'; }
get() { k get pod "$1" -o jsonpath="$2"; }
condition() { get "$1" "{range .status.conditions[?(@.type==\"$2\")]}{.status} {.reason}{end}"; }
version() { k get --raw '/api/v1/pods?limit=1' | grep -o '"resourceVersion":"[0-9]*"' | head -n 1; }
{
	pod plain '' "$one"
	pod slow 'weft.dev/start: 1s, weft.dev/ready: 2s' "$one"
	pod crash 'weft.dev/run: 200ms, weft.dev/exit-code: "1"' "$one"
	pod again 'weft.dev/run: 200ms' "restartPolicy: OnFailure, $one"
	pod once 'weft.dev/run: 200ms' "restartPolicy: Never, $one"
	pod fails 'weft.dev/run: 200ms, weft.dev/exit-code: "3"' "restartPolicy: Never, $one"
	pod init 'weft.dev/run.first: 1s, weft.dev/run.second: 1s' "initContainers: [{name: first, image: busybox}, {name: side, image: busybox, restartPolicy: Always}, {name: second, image: busybox}], $one"
	pod badinit 'weft.dev/run.first: 100ms, weft.dev/exit-code.first: "1"' "restartPolicy: Never, initContainers: [{name: first, image: busybox}], $one"
	pod retried 'weft.dev/run.first: 100ms, weft.dev/exit-code.first: "1"' "initContainers: [{name: first, image: busybox}], $one"
	pod helped 'weft.dev/run.c: 1s' "restartPolicy: Never, initContainers: [{name: side, image: busybox, restartPolicy: Always}], $one"
	pod late '' "activeDeadlineSeconds: 2, $one"
	pod pull 'weft.dev/pull: error' "$one"
	pod slowly 'weft.dev/stop: 3s' "$one"
	pod short 'weft.dev/stop: 20s' "terminationGracePeriodSeconds: 2, $one"
	pod held '' "terminationGracePeriodSeconds: 1, $one" 'finalizers: [example.com/hold]'
	pod evicted '' "terminationGracePeriodSeconds: 1, $one" 'finalizers: [example.com/hold]'
	pod gate '' "readinessGates: [{conditionType: example.com/ok}], $one"
	pod host '' "hostNetwork: true, $one"
} >"$work/pods.yaml"
k apply -f "$work/pods.yaml" >/dev/null

echo "start"
soon 'runs' 10 '1/1 Running' state plain
is 'conditions' 'PodReadyToStartContainers=True Initialized=True Ready=True ContainersReady=True PodScheduled=True ' \
	"$(get plain '{range .status.conditions[*]}{.type}={.status} {end}')"
like 'addresses' '^(10|127)\.[0-9.]+ 127\.[0-9.]+$' "$(get plain '{.status.podIP} {.status.hostIP}')"
is 'on the host'"'"'s network' "$(get host '{.status.hostIP}')" "$(get host '{.status.podIP}')"
is 'no address twice' '' "$(k get pods -o jsonpath='{range .items[?(@.status.podIP)]}{.status.podIP} {.spec.hostNetwork}{"\n"}{end}' | grep -v true | sort | uniq -d)"
like 'identity' '^containerd://[0-9a-f]{64} nginx@sha256:[0-9a-f]{64}$' "$(get plain '{.status.containerStatuses[0].containerID} {.status.containerStatuses[0].imageID}')"
like 'events' 'Scheduled.*|Pulled.*|Created.*|Started' "$(k describe pod plain | sed -n '/^Events/,$p')"
soon 'takes its time' 10 '1/1 Running' state slow
is 'a gate keeps it from being ready' 'False ReadinessGatesNotReady' "$(condition gate Ready)"
k patch pod gate --subresource status --type strategic -p '{"status":{"conditions":[{"type":"example.com/ok","status":"True"}]}}' >/dev/null
soon_like 'until it opens' 10 '^True' condition gate Ready

echo "ends"
soon 'Completed' 10 '0/1 Completed' state once
is 'Succeeded' 'Succeeded False PodCompleted' "$(phase once) $(condition once Ready)"
soon 'OnFailure: 0 is no failure' 10 Succeeded phase again
soon 'Error' 10 '0/1 Error' state fails
is 'Failed, with its code' 'Failed 3 Error' "$(get fails '{.status.phase} {.status.containerStatuses[0].state.terminated.exitCode} {.status.containerStatuses[0].state.terminated.reason}')"
soon 'CrashLoopBackOff' 10 '0/1 CrashLoopBackOff' state crash
like 'and why' 'back-off [0-9]+s restarting failed container=c pod=crash_default' "$(get crash '{.status.containerStatuses[0].state.waiting.message}')"
is 'it was restarted at once, once' 1 "$(get crash '{.status.containerStatuses[0].restartCount}')"
is 'what it ended with is kept' 1 "$(get crash '{.status.containerStatuses[0].lastState.terminated.exitCode}')"
like 'the event' 'Warning +BackOff +pod/crash +Back-off restarting failed container c in pod crash_default' "$(k get events)"
soon 'past its deadline' 10 'Failed DeadlineExceeded' get late '{.status.phase} {.status.reason}'
soon 'a sidecar ends with the pod' 10 'Succeeded Completed' get helped '{.status.phase} {.status.initContainerStatuses[0].state.terminated.reason}'

echo "init containers"
soon 'in order, with a sidecar' 15 '2/2 Running' state init
is 'the sidecar runs on' '' "$(get init '{.status.initContainerStatuses[1].state.terminated}')"
is 'the others completed' 'Completed Completed' "$(get init '{.status.initContainerStatuses[0].state.terminated.reason} {.status.initContainerStatuses[2].state.terminated.reason}')"
soon 'a failed one ends the pod' 10 '0/1 Init:Error' state badinit
is 'which is Failed' Failed "$(phase badinit)"
soon 'or is tried again' 10 '0/1 Init:CrashLoopBackOff' state retried

echo "images"
soon 'ImagePullBackOff' 10 '0/1 ImagePullBackOff' state pull
like 'and why' 'Back-off pulling image "nginx": ErrImagePull' "$(get pull '{.status.containerStatuses[0].state.waiting.message}')"
was=$(version)
sleep 1
like 'waiting costs no writes' '^([0-9]|[1-4][0-9])$' "$(($(grep -o '[0-9]*' <<<"$(version)") - $(grep -o '[0-9]*' <<<"$was")))"

echo "deletion"
k delete pod slowly --wait=false >/dev/null
soon 'takes its time' 5 '1/1 Terminating' state slowly
like 'Killing' 'Killing +pod/slowly +Stopping container c' "$(k get events)"
start=$SECONDS
k delete pod short >/dev/null
is 'not longer than its grace period' 1 "$([ $((SECONDS - start)) -le 4 ] && echo 1)"
soon_like 'then it is gone' 10 'not found' k get pod slowly
k delete pod held --wait=false >/dev/null
soon 'one that is held shows that it has stopped' 10 Succeeded phase held
k patch pod held --type merge -p '{"metadata":{"finalizers":null}}' >/dev/null
soon_like 'and goes when it is let go' 10 'not found' k get pod held

echo "eviction"
evict() { # NAME OPTIONS
	k create --raw "/api/v1/namespaces/default/pods/$1/eviction" -f - 2>&1 <<-J
		{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "$1"}, "deleteOptions": {$2}}
	J
}
soon 'runs' 10 '1/1 Running' state evicted
like 'not if another is meant' 'the UID in the precondition .* does not match the UID in record' \
	"$(evict evicted '"preconditions": {"uid": "0149da02-fa45-4665-b0f8-f370165e84fc"}')"
like 'a trial changes nothing' '"status":"Success"' "$(evict evicted '"dryRun": ["All"]')"
is 'it stays as it was' '' "$(get evicted '{.metadata.deletionTimestamp}')$(condition evicted DisruptionTarget)"
like 'a version is that before it was marked' '"status":"Success"' \
	"$(evict evicted "\"preconditions\": {\"resourceVersion\": \"$(get evicted '{.metadata.resourceVersion}')\"}")"
is 'it says why it goes' 'True EvictionByEvictionAPI' "$(condition evicted DisruptionTarget)"
soon 'it goes' 10 Succeeded phase evicted
k patch pod evicted --type merge -p '{"metadata":{"finalizers":null}}' >/dev/null
k delete pod plain --force --grace-period=0 >/dev/null 2>&1
soon_like 'by force' 5 'not found' k get pod plain
k delete pod crash pull init >/dev/null
soon_like 'whatever it was doing' 10 'not found' k get pod pull
finish

#!/usr/bin/env bash
# ReplicaSets: what keeps them from making pods, which pods go first, when a pod
# counts as available.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

start_cluster
k create namespace sets >/dev/null
s() { k -n sets "$@"; }
# set NAME REPLICAS POD-SPEC [SPEC]: flow mappings.
set_of() {
	cat <<Y
---
apiVersion: apps/v1
kind: $1
metadata: {name: $2}
spec:
  replicas: $3
  selector: {matchLabels: {app: $2}}
${5:+  $5
}  template:
    metadata: {labels: {app: $2}}
    spec: {terminationGracePeriodSeconds: 1, ${4:+$4, }containers: [{name: c, image: nginx}]}
Y
}
status() { s get rs "$1" -o jsonpath='{.status.replicas}/{.status.readyReplicas}/{.status.availableReplicas}'; }
failure() { s get "$1" -o jsonpath='{range .status.conditions[?(@.type=="ReplicaFailure")]}{.status} {.reason} {.message}{end}'; }

echo "what they may not make"
set_of Deployment lonely 2 'serviceAccountName: nobody' | s apply -f - >/dev/null
soon_like 'the Deployment says so' 15 '^True FailedCreate pods "lonely-[a-z0-9]+-" is forbidden: error looking up service account sets/nobody: serviceaccount "nobody" not found$' failure deploy/lonely
like 'its ReplicaSet too' 'FailedCreate' "$(failure "$(s get rs -l app=lonely -o name)")"
soon_like 'the event' 10 'Warning +FailedCreate +replicaset/lonely-.* Error creating: pods "lonely-' s get events
s create serviceaccount nobody >/dev/null
# Kubernetes' back-off grows without end; a change makes it look again.
s patch deploy lonely --type merge -p '{"spec":{"replicas":3}}' >/dev/null
soon 'then it may' 40 3 s get deploy lonely -o jsonpath='{.status.readyReplicas}'
soon 'and says nothing more' 15 '' failure deploy/lonely
set_of ReplicaSet classless 1 'priorityClassName: unknown' | s apply -f - >/dev/null
soon_like 'a priority that there is not' 15 'no PriorityClass with name unknown was found' failure rs/classless
s delete rs classless >/dev/null
cat <<'Y' | k apply -f - >/dev/null
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: gold}
value: 7
preemptionPolicy: Never
Y
set_of ReplicaSet golden 1 'priorityClassName: gold' | s apply -f - >/dev/null
soon 'and one that there is' 15 '7 Never' s get pods -l app=golden -o jsonpath='{.items[*].spec.priority} {.items[*].spec.preemptionPolicy}'

echo "which pods go first"
set_of ReplicaSet web 4 | s apply -f - >/dev/null
soon 'four run' 15 4/4/4 status web
dear=$(s get pods -l app=web -o jsonpath='{.items[1].metadata.name}')
cheap=$(s get pods -l app=web -o jsonpath='{.items[2].metadata.name}')
s annotate pod "$dear" controller.kubernetes.io/pod-deletion-cost=100 >/dev/null
s annotate pod "$cheap" controller.kubernetes.io/pod-deletion-cost=-100 >/dev/null
sleep 0.5
s scale rs web --replicas=3 >/dev/null
soon_like 'the cheapest' 15 'not found' s get pod "$cheap"
s scale rs web --replicas=1 >/dev/null
soon 'the dearest stays' 20 "$dear" s get pods -l app=web -o jsonpath='{.items[*].metadata.name}'
soon_like 'events' 10 "Deleted pod: $cheap" s get events
s scale rs web --replicas=0 >/dev/null
soon 'none' 15 0// status web

echo "when a pod is available"
set_of ReplicaSet patient 2 '' 'minReadySeconds: 5' | s apply -f - >/dev/null
soon 'ready, but too young' 15 2/2/ status patient
soon 'in time' 15 2/2/2 status patient

echo "a pod that is gone or done is replaced"
one=$(s get pods -l app=patient -o jsonpath='{.items[0].metadata.name}')
s delete pod "$one" --wait=false >/dev/null
soon 'two again' 20 2/2/2 status patient
one=$(s get pods -l app=patient -o jsonpath='{.items[0].metadata.name}')
s patch pod "$one" --subresource status --type merge -p '{"status":{"phase":"Failed"}}' >/dev/null
soon 'a failed one does not count' 20 2/2/2 status patient
is 'and stays' Failed "$(s get pod "$one" -o jsonpath='{.status.phase}')"
k delete namespace sets --wait=false >/dev/null
k delete priorityclass gold >/dev/null
finish

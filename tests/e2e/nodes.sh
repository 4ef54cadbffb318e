#!/usr/bin/env bash
# A node that is lost: NotReady, taints, eviction, replacement elsewhere; and
# what happens when it comes back, or is deleted.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

on_weft || { echo "nodes are made to vanish, which only weft's can"; finish; }
cat >"$work/config.yaml" <<'Y'
nodes: {count: 3, grace: 2s}
Y
start_cluster "$work/config.yaml"

echo "nodes"
ready() { k get nodes --no-headers | awk '{print $2}' | sort | uniq -c | xargs; }
soon 'three are ready' 10 '3 Ready' ready
like 'wide' 'node-0 +Ready +<none> +.* +v1\.37\.[0-9]+ +127\.[0-9.]+ +<none> +weft' "$(k get nodes -o wide)"
is 'conditions' 'MemoryPressure=False DiskPressure=False PIDPressure=False Ready=True ' \
	"$(k get node node-0 -o jsonpath='{range .status.conditions[*]}{.type}={.status} {end}')"
soon 'the Lease is the node'"'"'s' 10 'node-0 node-0 40' k -n kube-node-lease get lease node-0 \
	-o jsonpath='{.spec.holderIdentity} {.metadata.ownerReferences[0].name} {.spec.leaseDurationSeconds}'
renewed() { k -n kube-node-lease get lease node-0 -o jsonpath='{.spec.renewTime}'; }
before=$(renewed)
sleep 2
is 'and renewed' 1 "$([[ $(renewed) > $before ]] && echo 1)"
like 'events' 'RegisteredNode +node/node-0 +Node node-0 event: Registered Node node-0 in Controller' "$(k get events)"

cat <<'Y' | k apply -f - >/dev/null
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      tolerations:
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 2}
      topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: web}}}]
      containers: [{name: c, image: nginx}]
Y
available() { k get deploy web -o jsonpath='{.status.availableReplicas}'; }
soon 'a Deployment on all of them' 15 3 available
on() { k get pods -l app=web -o jsonpath="{.items[?(@.spec.nodeName==\"$1\")].metadata.name}"; }
lost=$(on node-1)
like 'one of them on node-1' '^web-' "$lost"

echo "a node vanishes"
k annotate node node-1 weft.dev/vanish=true >/dev/null
status() { k get node "$1" --no-headers | awk '{print $2}'; }
soon 'NotReady' 15 NotReady status node-1
is 'the others are well' 'Ready Ready' "$(status node-0) $(status node-2)"
is 'conditions' 'Unknown NodeStatusUnknown Kubelet stopped posting node status.' \
	"$(k get node node-1 -o jsonpath='{range .status.conditions[?(@.type=="Ready")]}{.status} {.reason} {.message}{end}')"
taints() { k get node node-1 -o jsonpath='{range .spec.taints[*]}{.key}:{.effect} {end}'; }
soon 'taints' 10 'node.kubernetes.io/unreachable:NoSchedule node.kubernetes.io/unreachable:NoExecute ' taints
soon_like 'event' 10 'NodeNotReady +node/node-1 +Node node-1 status is now: NodeNotReady' k get events
soon 'its pods are not ready' 10 False k get pod "$lost" -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}'
soon_like 'they are evicted in time' 15 'TaintManagerEviction.*Marking for deletion Pod default/web' k get events
soon 'and say why' 5 DeletionByTaintManager k get pod "$lost" -o jsonpath='{.status.conditions[?(@.type=="DisruptionTarget")].reason}'
soon 'replaced elsewhere' 15 3 available
like 'they stay, as nobody can end them' 'Terminating' "$(k get pod "$lost")"
unlike 'nothing new goes there' 'Running' "$(k get pods -l app=web --field-selector spec.nodeName=node-1 | grep -v Terminating)"

echo "it comes back"
k annotate node node-1 weft.dev/vanish- >/dev/null
soon 'Ready' 15 Ready status node-1
soon 'without taints' 10 '' taints
soon_like 'what was evicted ends' 15 'not found' k get pod "$lost"

echo "a node is deleted while it is away"
lost=$(on node-2 | awk '{print $1}')
k annotate node node-2 weft.dev/vanish=true >/dev/null
soon 'NotReady' 15 NotReady status node-2
k delete node node-2 >/dev/null
soon_like 'its pods are collected' 70 'not found' k get pod "$lost"
soon 'all run elsewhere' 15 3 available
soon_like 'its Lease goes with it' 15 'not found' k -n kube-node-lease get lease node-2
soon_like 'event' 10 'RemovingNode +node/node-2 +Node node-2 event: Removing Node node-2 from Controller' k get events

echo "a node of one's own"
cat <<'Y' | k apply -f - >/dev/null
apiVersion: v1
kind: Node
metadata: {name: own, labels: {mine: "yes"}}
Y
soon 'is played too' 10 Ready status own
finish

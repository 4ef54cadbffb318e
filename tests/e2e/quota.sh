#!/usr/bin/env bash
# ResourceQuotas: what is refused and how it is said, what counts, what the status
# says, and what workloads do about it.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

start_cluster
ns=quotas-$$
k create namespace $ns >/dev/null
q() { k -n $ns "$@"; }
used() { q get quota "$1" -o jsonpath="{.status.used}" | tr -d '"{}'; }
hard() { q get quota "$1" -o jsonpath="{.status.hard}" | tr -d '"{}'; }
# pod NAME [RESOURCES] [SPEC]: flow mappings.
pod() {
	cat <<Y | q create "${dry[@]}" -f - 2>&1
apiVersion: v1
kind: Pod
metadata: {name: $1}
spec: {terminationGracePeriodSeconds: 1, ${3:+$3, }containers: [{name: c, image: nginx, resources: ${2:-{\}}}]}
Y
}
dry=()
gone() { q delete pod "$@" --grace-period=0 --force --wait=false >/dev/null 2>&1; }

echo "pods and what they ask for"
q create quota basic --hard=pods=2,requests.cpu=1,limits.memory=1Gi,count/pods=4 >/dev/null
soon 'the status' 15 'count/pods:0,limits.memory:0,pods:0,requests.cpu:0' used basic
is 'its limits' 'count/pods:4,limits.memory:1Gi,pods:2,requests.cpu:1' "$(hard basic)"
is 'what is not stated' 'Error from server (Forbidden): error when creating "STDIN": pods "a" is forbidden: failed quota: basic: must specify limits.memory for: c; requests.cpu for: c' "$(pod a)"
is 'what is' 'pod/a created' "$(pod a '{requests: {cpu: 600m}, limits: {memory: 512Mi}}')"
soon 'is taken' 15 'count/pods:1,limits.memory:512Mi,pods:1,requests.cpu:600m' used basic
is 'too much' 'Error from server (Forbidden): error when creating "STDIN": pods "b" is forbidden: exceeded quota: basic, requested: limits.memory=768Mi,requests.cpu=600m, used: limits.memory=512Mi,requests.cpu=600m, limited: limits.memory=1Gi,requests.cpu=1' \
	"$(pod b '{requests: {cpu: 600m}, limits: {memory: 768Mi}}')"
dry=(--dry-run=server)
is 'a dry run' 'pod/b created (server dry run)' "$(pod b '{requests: {cpu: 100m}, limits: {memory: 512Mi}}')"
dry=()
is 'what is left' 'pod/b created' "$(pod b '{requests: {cpu: 0.1}, limits: {memory: 512Mi}}')"
is 'one too many' 'Error from server (Forbidden): error when creating "STDIN": pods "c" is forbidden: exceeded quota: basic, requested: limits.memory=1,pods=1, used: limits.memory=1Gi,pods=2, limited: limits.memory=1Gi,pods=2' \
	"$(pod c '{requests: {cpu: 0}, limits: {memory: 1}}')"
like 'described' 'pods +2 +2' "$(q describe quota basic)"
like 'in a table' 'basic +count/pods: 2/4, pods: 2/2, requests.cpu: 700m/1 +limits.memory: 1Gi/1Gi' "$(q get quota)"

echo "pods that have ended"
q patch pod a --subresource status --type merge -p '{"status":{"phase":"Failed"}}' >/dev/null
soon 'do not count' 20 'count/pods:2,limits.memory:512Mi,pods:1,requests.cpu:100m' used basic
is 'so there is room' 'pod/c created' "$(pod c '{requests: {cpu: 0}, limits: {memory: 1}}')"
gone a b c
soon 'all gone' 20 'count/pods:0,limits.memory:0,pods:0,requests.cpu:0' used basic
q delete quota basic >/dev/null

echo "objects of other kinds"
q create quota kinds --hard=configmaps=3,count/deployments.apps=1,services=2,services.nodeports=2,services.loadbalancers=0,persistentvolumeclaims=1,requests.storage=2Gi,count/leases.coordination.k8s.io=1 >/dev/null
soon 'what is there' 15 'configmaps:1,count/deployments.apps:0,count/leases.coordination.k8s.io:0,persistentvolumeclaims:0,requests.storage:0,services:0,services.loadbalancers:0,services.nodeports:0' used kinds
q create configmap one >/dev/null
q create configmap two >/dev/null
is 'ConfigMaps' 'error: failed to create configmap: configmaps "three" is forbidden: exceeded quota: kinds, requested: configmaps=1, used: configmaps=3, limited: configmaps=3' "$(q create configmap three 2>&1)"
like 'a changed one is no new one' configured "$(q create configmap one --from-literal=a=b --dry-run=client -o yaml | q apply -f - 2>&1)"
q create deployment first --image=nginx --replicas=0 >/dev/null
like 'Deployments' 'deployments.apps "second" is forbidden: exceeded quota: kinds, requested: count/deployments.apps=1, used: count/deployments.apps=1, limited: count/deployments.apps=1$' "$(q create deployment second --image=nginx 2>&1)"
like 'node ports' 'services "s" is forbidden: exceeded quota: kinds, requested: services.nodeports=3, used: services.nodeports=0, limited: services.nodeports=2$' "$(q create service nodeport s --tcp=1 --tcp=2 --tcp=3 2>&1)"
like 'two of them' created "$(q create service nodeport s --tcp=1 --tcp=2 2>&1)"
like 'one more' 'services "s" is forbidden: exceeded quota: kinds, requested: services.nodeports=1, used: services.nodeports=2, limited: services.nodeports=2$' "$(q patch svc s -p '{"spec":{"ports":[{"name":"more","port":3}]}}' 2>&1)"
like 'a load balancer' 'requested: services.loadbalancers=1, used: services.loadbalancers=0, limited: services.loadbalancers=0$' "$(q patch svc s -p '{"spec":{"type":"LoadBalancer"}}' 2>&1)"
like 'a Service of its own' patched "$(q patch svc s -p '{"spec":{"type":"ClusterIP","ports":[{"port":1,"nodePort":null},{"port":2,"nodePort":null}]}}' 2>&1)"
claim() {
	cat <<Y | q create -f - 2>&1
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: $1}
spec: {storageClassName: none, accessModes: [ReadWriteOnce], resources: {requests: {storage: $2}}}
Y
}
like 'a large claim' 'persistentvolumeclaims "c" is forbidden: exceeded quota: kinds, requested: requests.storage=3Gi, used: requests.storage=0, limited: requests.storage=2Gi$' "$(claim c 3Gi)"
like 'a small one' created "$(claim c 1Gi)"
lease() { printf 'apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: %s}\n' "$1" | q create -f - 2>&1; }
like 'a Lease' created "$(lease a)"
like 'two' 'leases.coordination.k8s.io "b" is forbidden: exceeded quota: kinds' "$(lease b)"
soon 'all of it' 20 'configmaps:3,count/deployments.apps:1,count/leases.coordination.k8s.io:1,persistentvolumeclaims:1,requests.storage:1Gi,services:1,services.loadbalancers:0,services.nodeports:0' used kinds
q delete quota kinds >/dev/null

echo "scopes"
q create quota short --hard=pods=1 --scopes=Terminating >/dev/null
q create quota lazy --hard=pods=1 --scopes=BestEffort,NotTerminating >/dev/null
cat <<'Y' | q create -f - >/dev/null
apiVersion: v1
kind: ResourceQuota
metadata: {name: critical}
spec:
  hard: {pods: "1"}
  scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: In, values: [system-node-critical]}]}
Y
for name in short lazy critical; do soon "$name" 15 pods:0 used $name; done
pod job '' 'activeDeadlineSeconds: 300' >/dev/null
soon 'one with a deadline' 15 pods:1 used short
like 'another' 'pods "job2" is forbidden: exceeded quota: short, requested: pods=1, used: pods=1, limited: pods=1$' "$(pod job2 '' 'activeDeadlineSeconds: 300')"
is 'is not the lazy one' pods:0 "$(used lazy)"
pod idle >/dev/null
like 'nor is another lazy one' 'exceeded quota: lazy' "$(pod idler)"
like 'one that asks for something is not lazy' created "$(pod busy '{requests: {cpu: 1m}}')"
like 'and is late for a deadline' 'pods "busy" is forbidden: exceeded quota: short, requested: pods=1, used: pods=1, limited: pods=1$' "$(q patch pod busy -p '{"spec":{"activeDeadlineSeconds":300}}' 2>&1)"
like 'a critical one' created "$(pod vital '{requests: {cpu: 1m}}' 'priorityClassName: system-node-critical')"
like 'two' 'exceeded quota: critical' "$(pod vital2 '{requests: {cpu: 1m}}' 'priorityClassName: system-node-critical')"
like 'scopes that do not fit' 'spec.scopes: Invalid value: \["BestEffort"\]: unsupported scope applied to resource' "$(q create quota odd --hard=requests.cpu=1 --scopes=BestEffort 2>&1)"
gone job idle busy vital
q delete quota short lazy critical >/dev/null

echo "workloads"
q create quota few --hard=pods=3 >/dev/null
soon 'none yet' 20 pods:0 used few
q create deployment web --image=nginx --replicas=6 >/dev/null
soon 'as many as may be' 30 3 q get deployment web -o jsonpath='{.status.readyReplicas}'
failure() { q get "$1" -o jsonpath='{range .status.conditions[?(@.type=="ReplicaFailure")]}{.status} {.reason} {.message}{end}'; }
wanted='^True FailedCreate pods "web-[a-z0-9]+-[a-z0-9]{5}" is forbidden: exceeded quota: few, requested: pods=1, used: pods=[23], limited: pods=3$'
soon_like 'the Deployment says why' 20 "$wanted" failure deploy/web
like 'so does its ReplicaSet' "$wanted" "$(failure "$(q get rs -l app=web -o name)")"
soon_like 'and an event' 15 'Warning +FailedCreate +replicaset/web-[a-z0-9]+ +Error creating: pods "web-[a-z0-9]+-[a-z0-9]{5}" is forbidden: exceeded quota: few' q get events
q patch quota few -p '{"spec":{"hard":{"pods":"5"}}}' >/dev/null
soon 'raised, it goes on' 60 5 q get deployment web -o jsonpath='{.status.readyReplicas}'
gone "$(q get pods -l app=web -o jsonpath='{.items[0].metadata.name}')"
soon 'what goes is replaced' 60 pods:5 used few
on_weft && {
	before=$(used few)
	kill -9 $weft_pid
	wait $weft_pid 2>/dev/null
	sleep 0.3
	run_weft
	is 'after a restart as before' "$before" "$(used few)"
	like 'and no pod more' 'exceeded quota: few, requested: pods=1, used: pods=5, limited: pods=5$' "$(pod late)"
}
q delete quota few >/dev/null
soon 'without a quota, all of them' 60 6 q get deployment web -o jsonpath='{.status.readyReplicas}'
soon 'and nothing to complain of' 20 '' failure deploy/web
k delete namespace $ns --wait=false >/dev/null
finish

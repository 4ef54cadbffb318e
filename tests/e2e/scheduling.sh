#!/usr/bin/env bash
# Where pods go, and what those are told that have to wait.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

cat >"$work/config.yaml" <<'Y'
nodes: {count: 3, cpu: 64, memory: 512Gi, pods: 1000}
Y
start_cluster "$work/config.yaml"
k create namespace sched >/dev/null
s() { k -n sched "$@"; }
soon_like 'every namespace has its account' 10 default s get serviceaccount -o name

# pod NAME SPEC [LABEL] [CONTAINER]: flow mappings of what goes beside the image.
pod() {
	cat <<Y
---
apiVersion: v1
kind: Pod
metadata: {name: $1, labels: {app: $1, ${3:-a: b}}}
spec: {terminationGracePeriodSeconds: 1, containers: [{name: c, image: nginx${4:+, $4}}]${2:+, $2}}
Y
}
requests() { echo "resources: {requests: {$1}, limits: {$1}}"; }
why() { s get pod "$1" -o jsonpath='{.status.conditions[?(@.type=="PodScheduled")].message}'; }
waits() { soon "$1" 10 "$2" why "$1"; }
node_of() { s get pod "$1" -o jsonpath='{.spec.nodeName}'; }
bound() { s get pods -l "$1" -o jsonpath='{range .items[*]}{.spec.nodeName}{"\n"}{end}' | grep -c .; }
hopeless='preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.'
nobody='preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod.'

echo "pods that fit nowhere"
{
	pod cpu '' '' "$(requests 'cpu: "65"')"
	pod both '' '' "$(requests 'cpu: "65", memory: 600Gi')"
	pod gpu '' '' "$(requests 'example.com/gpu: "1"')"
	pod selector 'nodeSelector: {disk: ssd}'
	pod byname 'affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchFields: [{key: metadata.name, operator: In, values: [nope]}]}]}}}'
	pod friend 'affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{labelSelector: {matchLabels: {app: none}}, topologyKey: kubernetes.io/hostname}]}}'
	pod spread 'topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: spread}}}]'
	pod gated 'schedulingGates: [{name: example.com/wait}]'
	pod foreign 'schedulerName: another'
} | s apply -f - >/dev/null
waits cpu "0/3 nodes are available: 3 Insufficient cpu. $hopeless"
waits both "0/3 nodes are available: 3 Insufficient cpu, 3 Insufficient memory. $hopeless"
waits gpu "0/3 nodes are available: 3 Insufficient example.com/gpu. $hopeless"
waits selector "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector. $hopeless"
waits byname "0/3 nodes are available: 3 node(s) didn't satisfy plugin(s) [NodeAffinity]. $hopeless"
waits friend "0/3 nodes are available: 3 node(s) didn't match pod affinity rules. $hopeless"
waits spread "0/3 nodes are available: 3 node(s) didn't match pod topology spread constraints (missing required label). $hopeless"
waits gated 'Scheduling is blocked due to non-empty scheduling gates'
is 'another scheduler'"'"'s pod is left alone' '' "$(why foreign)"
soon_like 'the event' 10 'Warning +FailedScheduling +pod/cpu +0/3 nodes are available: 3 Insufficient cpu' s get events
s patch pod gated --type json -p '[{"op":"remove","path":"/spec/schedulingGates"}]' >/dev/null
soon_like 'a gate opens' 10 node- node_of gated
k label node node-2 disk=ssd >/dev/null
soon 'a node gets the label' 15 node-2 node_of selector
k label node node-2 disk- >/dev/null

echo "ports and anti-affinity"
anti='affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{labelSelector: {matchLabels: {grp: anti}}, topologyKey: kubernetes.io/hostname}]}}'
for i in 1 2 3 4; do
	pod "port$i" '' 'grp: ports' 'ports: [{containerPort: 80, hostPort: 8080}]'
	pod "anti$i" "$anti" 'grp: anti'
done | s apply -f - >/dev/null
soon 'one port a node' 15 3 bound grp=ports
soon 'one a node that keep apart' 15 3 bound grp=anti
last() { s get pods -l "$1" -o jsonpath='{range .items[?(@.status.phase=="Pending")]}{.status.conditions[?(@.type=="PodScheduled")].message}{"\n"}{end}' | grep preemption; }
soon 'the fourth port' 10 "0/3 nodes are available: 3 node(s) didn't have free ports for the requested pod ports. $nobody" last grp=ports
soon 'the fourth apart' 10 "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules. $nobody" last grp=anti
pod plain '' 'grp: anti' | s apply -f - >/dev/null
waits plain "0/3 nodes are available: 3 node(s) didn't satisfy existing pods anti-affinity rules. $nobody"
first=$(s get pods -l grp=ports -o jsonpath='{.items[?(@.spec.nodeName=="node-0")].metadata.name}')
s delete pod "$first" >/dev/null
soon 'a port is free again' 20 3 bound grp=ports
s delete pods --all --force --grace-period=0 >/dev/null 2>&1

echo "spread"
cat <<'Y' | s apply -f - >/dev/null
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: even}
spec:
  replicas: 6
  selector: {matchLabels: {app: even}}
  template:
    metadata: {labels: {app: even}}
    spec:
      terminationGracePeriodSeconds: 1
      topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: even}}}]
      containers: [{name: c, image: nginx}]
Y
spread_of() { s get pods -l app=even -o jsonpath='{range .items[*]}{.spec.nodeName}{"\n"}{end}' | sort | uniq -c | awk '{print $1}' | xargs; }
soon 'evenly' 15 '2 2 2' spread_of
s delete rs even >/dev/null

echo "taints and cordons, several reasons at once"
k cordon node-0 >/dev/null
k taint node node-1 dedicated=db:NoSchedule >/dev/null
pod mixed '' '' "$(requests 'cpu: "65"')" | s apply -f - >/dev/null
waits mixed '0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.'
pod tolerant 'nodeName: null, tolerations: [{key: dedicated, operator: Exists}], nodeSelector: {kubernetes.io/hostname: node-1}' | s apply -f - >/dev/null
soon 'a toleration' 10 node-1 node_of tolerant
k taint node node-2 gone=yes:NoExecute >/dev/null
pod homeless | s apply -f - >/dev/null
waits homeless "0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) had untolerated taint(s). $hopeless"
k uncordon node-0 >/dev/null
soon 'uncordoned' 15 node-0 node_of homeless
k taint node node-1 dedicated- >/dev/null
k taint node node-2 gone- >/dev/null
s delete pods --all --force --grace-period=0 >/dev/null 2>&1

echo "preemption"
cat <<'Y' | k apply -f - >/dev/null
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: high}
value: 1000
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: patient}
value: 1000
preemptionPolicy: Never
Y
for i in 0 1 2; do
	pod "low$i" '' 'grp: low' "$(requests 'cpu: "60"')"
done | sed 's/metadata: {/metadata: {annotations: {weft.dev\/stop: 4s}, finalizers: [example.com\/hold], /; s/Seconds: 1/Seconds: 5/' | s apply -f - >/dev/null
soon 'three fill the nodes' 15 3 bound grp=low
pod patient 'priorityClassName: patient' '' "$(requests 'cpu: "50"')" | s apply -f - >/dev/null
waits patient '0/3 nodes are available: 3 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never.'
pod urgent 'priorityClassName: high' '' "$(requests 'cpu: "50"')" | s apply -f - >/dev/null
nominated() { s get pod urgent -o jsonpath='{.status.nominatedNodeName}'; }
soon_like 'a node is promised' 10 '^node-' nominated
promised=$(nominated)
victim=$(s get pods -l grp=low -o jsonpath='{.items[?(@.metadata.deletionTimestamp)].metadata.name}')
like 'one has to go' '^low.$' "$victim"
is 'and is told why' 'PreemptionByScheduler default-scheduler: preempting to accommodate a higher priority pod' \
	"$(s get pod "$victim" -o jsonpath='{.status.conditions[?(@.type=="DisruptionTarget")].reason} {.status.conditions[?(@.type=="DisruptionTarget")].message}')"
soon_like 'the event' 10 "Normal +Preempted +pod/$victim +Preempted by pod [-0-9a-f]{36} on node $promised" s get events
for i in 0 1 2; do s patch pod "low$i" --type merge -p '{"metadata":{"finalizers":null}}' >/dev/null; done
soon 'it takes the place' 30 "$promised" node_of urgent
is 'the promise is kept and gone' '' "$(nominated)"

echo "a pod is on a node before there is one"
pod early 'nodeName: late' '' | s create -f - >/dev/null
sleep 0.5
echo '{"apiVersion":"v1","kind":"Node","metadata":{"name":"late","labels":{"which":"late"}},"status":{"allocatable":{"cpu":"8","memory":"8Gi","pods":"2"}}}' | k create -f - >/dev/null
for i in 1 2; do pod "late$i" 'nodeSelector: {which: late}' '' | s create -f - >/dev/null; done
on_late() { s get pods -o jsonpath='{range .items[?(@.spec.nodeName=="late")]}{.metadata.name}{"\n"}{end}' | wc -l; }
soon 'there is room for one more' 10 2 on_late
waits late2 "0/4 nodes are available: 1 Too many pods, 3 node(s) didn't match Pod's node affinity/selector. preemption: 0/4 nodes are available: 1 No preemption victims found for incoming pod, 3 Preemption is not helpful for scheduling."
k delete node late >/dev/null
s delete pod late1 late2 early --force --grace-period=0 >/dev/null 2>&1

if on_weft; then
	echo "several schedulers"
	"$WEFT" scale --data "$data" scheduler=3 >/dev/null || fail 'three schedulers'
	s delete pods --all --force --grace-period=0 >/dev/null 2>&1
	set_of() { # NAME REPLICAS SPEC
		cat <<-Y
		---
		apiVersion: apps/v1
		kind: ReplicaSet
		metadata: {name: $1}
		spec:
		  replicas: $2
		  selector: {matchLabels: {app: $1}}
		  template:
		    metadata: {labels: {app: $1}}
		    spec: {terminationGracePeriodSeconds: 1, $3}
		Y
	}
	by_node() { s get pods -l "app=$1" -o jsonpath='{range .items[?(@.spec.nodeName)]}{.spec.nodeName}{"\n"}{end}' | sort | uniq -c | awk '{print $1}' | xargs; }
	{
		set_of apart 40 'affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{labelSelector: {matchLabels: {app: apart}}, topologyKey: kubernetes.io/hostname}]}}, containers: [{name: c, image: nginx}]'
		set_of spread 90 'topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: spread}}}], containers: [{name: c, image: nginx}]'
		set_of full 120 'containers: [{name: c, image: nginx, resources: {requests: {cpu: "2"}}}]'
	} | s create -f - >/dev/null
	# A client that binds by itself, to a node that is being filled.
	for i in $(seq 20); do pod "own$i" 'schedulerName: another' '' 'resources: {requests: {cpu: "2"}}'; done | s create -f - >/dev/null
	for i in $(seq 20); do
		printf '{"apiVersion":"v1","kind":"Binding","metadata":{"name":"own%s"},"target":{"kind":"Node","name":"node-0"}}' "$i" |
			k create --raw "/api/v1/namespaces/sched/pods/own$i/binding" -f - >/dev/null 2>&1
	done
	soon 'apart: one a node' 20 '1 1 1' by_node apart
	soon 'spread: evenly' 20 '30 30 30' by_node spread
	asked() { s get pods -o jsonpath='{range .items[?(@.spec.nodeName)]}{.spec.nodeName} {.spec.containers[0].resources.requests.cpu}{"\n"}{end}' | awk '{n[$1] += $2} END {for (i in n) print i, n[i]}' | sort; }
	# node-0 may have more than it holds, but only what the client put there by itself.
	sleep 2
	over=$(asked | awk '$1 != "node-0" && $2 > 64')
	is 'no node is overfilled' '' "$over"
	own=$(s get pods -o jsonpath='{range .items[?(@.spec.nodeName=="node-0")]}{.metadata.name}{"\n"}{end}' | grep -c '^own')
	is 'the client has bound its own' 20 "$own"
	like 'nor that one by a scheduler' '^(6[0-4]|[1-5]?[0-9])$' "$(s get pods -l app=full -o jsonpath='{range .items[?(@.spec.nodeName=="node-0")]}2{"\n"}{end}' | awk '{n += $1} END {print n + 0}')"
	is 'the rest is full' '' "$(asked | awk '$1 != "node-0" && $2 < 63')"
fi
k delete namespace sched --wait=false >/dev/null
k delete priorityclass high patient >/dev/null
finish

#!/usr/bin/env bash
# The life of the documentation's nginx Deployment, with real kubectl: create,
# new image, bad image, undo, scale, rollover, pause, adopt, recreate, delete.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

cat >"$work/config.yaml" <<'Y'
nodes:
  rules:
  - {image: "nginx:1.161", pull: error}
Y
start_cluster "$work/config.yaml"
D=nginx-deployment
manifest=$root/examples/nginx-deployment.yaml
path() { k get "$1" -o jsonpath="$2"; }
names() { k get "$1" -l app=nginx -o jsonpath='{range .items[*]}{.metadata.name}{"\n"}{end}'; }
ready() { path deploy/$D '{.status.readyReplicas}/{.status.updatedReplicas}/{.status.replicas}'; }
reason() { path deploy/$D '{.status.conditions[?(@.type=="Progressing")].reason}'; }
running() { k get pods -l app=nginx --no-headers 2>/dev/null | grep -c '1/1 *Running'; }
# Pods that are on their way out are another matter (and take KWOK's nodes a while).
staying() { k get pods -l app=nginx --no-headers -o custom-columns="D:.metadata.deletionTimestamp,X:$1" 2>/dev/null | sed -n 's/^<none> *//p'; }
count_pods() { staying .metadata.name | wc -l; }
count_rs() { k get rs --no-headers 2>/dev/null | wc -l; }
sizes() { k get rs --no-headers | awk '$2 > 0 {print $2}' | sort -n | xargs; }
rolled() { is 'rollout status' "deployment \"$D\" successfully rolled out" "$(k rollout status deploy/$D --timeout=30s | tail -n 1)"; }
scaled_events() { k describe deploy $D | sed -n '/^Events:/,$p' | sed -n 's/.*\(Scaled .*\)/\1/p'; }

echo "create"
is 'apply' "deployment.apps/$D created" "$(k apply -f "$manifest")"
rolled
like 'get deployments' "^$D +3/3 +3 +3 +[0-9]+s$" "$(k get deployments --no-headers)"
is 'columns' 'NAME READY UP-TO-DATE AVAILABLE AGE' "$(k get deployments | head -n 1 | tr -s ' ' | sed 's/ $//')"
hash1=$(path rs '{.items[0].metadata.labels.pod-template-hash}')
like 'get rs' "^$D-$hash1 +3 +3 +3 +[0-9]+s$" "$(k get rs --no-headers)"
is 'pods carry the hash' 3 "$(k get pods --show-labels --no-headers | grep -c "Running.*app=nginx,pod-template-hash=$hash1")"
is 'event' "Scaled up replica set $D-$hash1 from 0 to 3" "$(scaled_events)"

echo "a pod is deleted"
first=$(names pods | head -n 1)
k delete pod "$first" >/dev/null
soon 'it is replaced' 10 3 running
unlike 'by another' "$first" "$(names pods)"

echo "a new image"
k get rs -l app=nginx -w --no-headers >"$work/rs.watch" 2>/dev/null &
watcher=$!
sleep 0.5
is 'set image' "deployment.apps/$D image updated" "$(k set image deploy/$D nginx=nginx:1.16.1)"
rolled
kill $watcher 2>/dev/null; wait $watcher 2>/dev/null
# Lines of a watch show one ReplicaSet each: add up what all want and have ready.
read -r most least < <(awk '{want[$1] = $2; ready[$1] = $4; w = r = 0
	for (n in want) {w += want[n]; r += ready[n]}
	if (w > most) most = w; if (NR == 1 || r < least) least = r} END {print most, least}' "$work/rs.watch")
is 'at most 4 in all' 1 "$([ "$most" -le 4 ] && echo 1)"
is 'at least 3 ready' 1 "$([ "$least" -ge 3 ] && echo 1)"
hash2=$(path rs '{range .items[?(@.spec.replicas==3)]}{.metadata.labels.pod-template-hash}{end}')
is 'events' "Scaled up replica set $D-$hash1 from 0 to 3
Scaled up replica set $D-$hash2 from 0 to 1
Scaled down replica set $D-$hash1 from 3 to 2
Scaled up replica set $D-$hash2 from 1 to 2
Scaled down replica set $D-$hash1 from 2 to 1
Scaled up replica set $D-$hash2 from 2 to 3
Scaled down replica set $D-$hash1 from 1 to 0" "$(scaled_events)"
description=$(k describe deploy $D)
like 'strategy' '25% max unavailable, 25% max surge' "$description"
like 'Available' 'Available +True +MinimumReplicasAvailable' "$description"
like 'Progressing' 'Progressing +True +NewReplicaSetAvailable' "$description"
# kubectl before 1.24 leaves out what has no pods.
like 'OldReplicaSets' "OldReplicaSets: +(<none>|$D-$hash1 \(0/0 replicas created\))" "$description"
like 'NewReplicaSet' "NewReplicaSet: +$D-$hash2 \(3/3 replicas created\)" "$description"
like 'Replicas' '3 desired \| 3 updated \| 3 total \| 3 available \| 0 unavailable' "$description"

if on_weft; then
	echo "an image that cannot be pulled"
	k patch deploy $D --type merge -p '{"spec":{"progressDeadlineSeconds":3}}' >/dev/null
	k set image deploy/$D nginx=nginx:1.161 >/dev/null
	soon_like 'ErrImagePull or ImagePullBackOff' 10 'ImagePullBackOff|ErrImagePull' k get pods
	soon_like 'ImagePullBackOff' 10 'ImagePullBackOff' k get pods
	is 'the old pods serve' 3 "$(running)"
	like 'rollout status hangs' 'Waiting for deployment "nginx-deployment" rollout to finish: 1 out of 3 new replicas have been updated' \
		"$(k rollout status deploy/$D --timeout=1s 2>&1)"
	soon 'ProgressDeadlineExceeded' 15 ProgressDeadlineExceeded reason
	like 'rollout status says so' 'exceeded its progress deadline' "$(k rollout status deploy/$D --timeout=5s 2>&1)"
	echo "undo"
	is 'undo' "deployment.apps/$D rolled back" "$(k rollout undo deploy/$D)"
	rolled
	is 'the image is back' nginx:1.16.1 "$(path deploy/$D '{.spec.template.spec.containers[0].image}')"
	k patch deploy $D --type merge -p '{"spec":{"progressDeadlineSeconds":600}}' >/dev/null
fi

echo "history"
k annotate deploy/$D kubernetes.io/change-cause='image updated to 1.16.1' >/dev/null
soon_like 'change cause' 10 'image updated to 1.16.1' k rollout history deploy/$D
like 'a revision in full' 'Image:.*nginx:1.14.2' "$(k rollout history deploy/$D --revision=1)"
is 'undo to a revision' "deployment.apps/$D rolled back" "$(k rollout undo deploy/$D --to-revision=1)"
rolled
is 'its image' nginx:1.14.2 "$(path deploy/$D '{.spec.template.spec.containers[0].image}')"
is 'its ReplicaSet is used again' 3 "$(path "rs/$D-$hash1" '{.spec.replicas}')"

echo "scale, and roll over in the middle"
is 'scale' "deployment.apps/$D scaled" "$(k scale deploy/$D --replicas=10)"
soon 'ten are ready' 20 10/10/10 ready
k set image deploy/$D nginx=nginx:2 >/dev/null
k set image deploy/$D nginx=nginx:3 >/dev/null
images() { staying '.spec.containers[0].image' | sort | uniq -c | sed 's/^ *//'; }
soon 'the last one wins' 30 '10 nginx:3' images
soon 'ten of it' 20 10/10/10 ready

if on_weft; then
	echo "proportional scaling"
	k patch deploy $D --type merge -p '{"spec":{"strategy":{"rollingUpdate":{"maxSurge":3,"maxUnavailable":2}}}}' >/dev/null
	k set image deploy/$D nginx=nginx:1.161 >/dev/null
	soon 'a stuck rollout: 8 old, 5 new' 15 '5 8' sizes
	k scale deploy/$D --replicas=15 >/dev/null
	soon 'five more are spread: 11 to 7' 15 '7 11' sizes
	k rollout undo deploy/$D >/dev/null
	rolled
fi
k scale deploy/$D --replicas=3 >/dev/null
soon 'three again' 20 3/3/3 ready

echo "pause, change, resume"
is 'pause' "deployment.apps/$D paused" "$(k rollout pause deploy/$D)"
before=$(count_rs)
k set image deploy/$D nginx=nginx:4 >/dev/null
k set resources deploy/$D -c=nginx --limits=cpu=200m,memory=512Mi >/dev/null
soon 'the condition says so' 10 DeploymentPaused reason
sleep 0.5
is 'nothing is rolled out' "$before" "$(count_rs)"
is 'resume' "deployment.apps/$D resumed" "$(k rollout resume deploy/$D)"
rolled
is 'one rollout' "$((before + 1))" "$(count_rs)"

echo "labels only, and the selector"
revision=$(path deploy/$D '{.metadata.annotations.deployment\.kubernetes\.io/revision}')
k label deploy $D tier=front >/dev/null
sleep 0.3
is 'no rollout' "$revision" "$(path deploy/$D '{.metadata.annotations.deployment\.kubernetes\.io/revision}')"
like 'the selector cannot change' 'spec.selector: Invalid value: .*: field is immutable' \
	"$(k patch deploy $D --type merge -p '{"spec":{"selector":{"matchLabels":{"app":"other"}},"template":{"metadata":{"labels":{"app":"other"}}}}}' 2>&1)"

echo "adopt and release"
one=$(names pods | head -n 1)
k label pod "$one" app=gone --overwrite >/dev/null
soon 'a relabelled pod is released' 10 '' k get pod "$one" -o jsonpath='{.metadata.ownerReferences}'
soon 'and replaced' 10 3 running
k label pod "$one" app=nginx --overwrite >/dev/null
soon 'an orphan is adopted, and one too many goes' 10 3 count_pods
is 'all are owned' 3 "$(staying '.metadata.ownerReferences[0].kind' | grep -c ReplicaSet)"

echo "Recreate" # of another Deployment: the first has so many events that they are combined
sed 's/nginx-deployment/again/; s/app: nginx/app: again/' "$manifest" | k apply -f - >/dev/null
k rollout status deploy/again --timeout=30s >/dev/null
old=$(k get rs -l app=again -o jsonpath='{.items[0].metadata.name}')
k patch deploy again --type json -p '[{"op":"replace","path":"/spec/strategy","value":{"type":"Recreate"}}]' >/dev/null
k set image deploy/again nginx=nginx:5 >/dev/null
like 'rollout status' 'successfully rolled out' "$(k rollout status deploy/again --timeout=30s | tail -n 1)"
fresh=$(k get rs -l app=again -o jsonpath='{range .items[?(@.spec.replicas==3)]}{.metadata.name}{end}')
is 'all went, then all came' "Scaled up replica set $old from 0 to 3
Scaled down replica set $old from 3 to 0
Scaled up replica set $fresh from 0 to 3" "$(k describe deploy again | sed -n 's/.*\(Scaled .*\)/\1/p')"
k delete deploy again >/dev/null
k set image deploy/$D nginx=nginx:5 >/dev/null
rolled

echo "outputs"
like 'yaml' '^kind: Deployment' "$(k get deploy $D -o yaml)"
like 'json' '"kind": "Deployment"' "$(k get deploy $D -o json)"
is 'name' "deployment.apps/$D" "$(k get deploy $D -o name)"
like 'wide' 'nginx +nginx:5 +app=nginx' "$(k get deploy -o wide)"
is 'wait' "deployment.apps/$D condition met" "$(k wait deploy/$D --for=condition=Available --timeout=10s)"
if on_weft; then like 'logs' '.' "$(k logs "$(names pods | head -n 1)" 2>&1)"; fi
k get pods -w --no-headers >"$work/watch" 2>/dev/null & watcher=$!
sleep 0.5; k delete pod "$(names pods | head -n 1)" >/dev/null; sleep 1
kill $watcher 2>/dev/null; wait $watcher 2>/dev/null
like 'a watch shows the new pod run' '1/1 +Running' "$(tail -n +4 "$work/watch")"

echo "delete"
k delete deploy $D --cascade=orphan >/dev/null
is 'orphan: the ReplicaSets stay' 1 "$([ "$(count_rs)" -gt 0 ] && echo 1)"
is 'without an owner' '' "$(k get rs -o jsonpath='{range .items[*]}{.metadata.ownerReferences}{end}')"
k delete rs -l app=nginx >/dev/null
soon 'background: pods follow' 20 0 count_pods
k apply -f "$manifest" >/dev/null
rolled
if on_weft; then # pods that take a moment to stop let the finalizer be seen
	k patch deploy $D --type merge -p '{"spec":{"template":{"metadata":{"annotations":{"weft.dev/stop":"2s"}}}}}' >/dev/null
	rolled
fi
k delete deploy $D --cascade=foreground --wait=false >/dev/null
if on_weft; then is 'foreground: the finalizer is there meanwhile' '["foregroundDeletion"]' "$(path deploy/$D '{.metadata.finalizers}')"; fi
soon_like 'and all of it goes' 30 'not found' k get deploy $D
is 'with its ReplicaSets' '' "$(names rs)"
soon 'and pods' 20 '' names pods
finish

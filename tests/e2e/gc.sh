#!/usr/bin/env bash
# What becomes of objects when their owners go: background, foreground, orphans,
# several owners, owners that are none, circles.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

start_cluster
k create namespace gc >/dev/null
k create namespace elsewhere >/dev/null
g() { k -n gc "$@"; }
# cm NAME OWNERS [NAMESPACE]: owners as JSON, separated by commas.
cm() {
	printf '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"%s","ownerReferences":[%s]}}' "$1" "${2:-}" |
		k -n "${3:-gc}" create -f - >/dev/null
}
uid() { k -n "${2:-gc}" get cm "$1" -o jsonpath='{.metadata.uid}'; }
# ref NAME UID [MORE]: an ownerReference.
ref() { printf '{"apiVersion":"v1","kind":"ConfigMap","name":"%s","uid":"%s"%s}' "$1" "$2" "${3:-}"; }
blocks=',"blockOwnerDeletion":true'
owners() { g get cm "$1" -o jsonpath='{.metadata.ownerReferences[*].name}'; }
names() { g get cm -o jsonpath='{range .items[*]}{.metadata.name}{"\n"}{end}' | grep -v kube-root | xargs; }
hold() { g patch cm "$1" --type merge -p '{"metadata":{"finalizers":["example.com/hold"]}}' >/dev/null; }
let_go() { g patch cm "$1" --type merge -p '{"metadata":{"finalizers":null}}' >/dev/null; }
own() { g patch cm "$1" --type merge -p "{\"metadata\":{\"ownerReferences\":[$2]}}" >/dev/null; }
finalizers() { g get cm "$1" -o jsonpath='{.metadata.finalizers}'; }
nobody=11111111-1111-1111-1111-111111111111

echo "owners that are none"
cm a; cm b
a=$(uid a) b=$(uid b)
cm two "$(ref a "$a"),$(ref b "$b")"
cm absent "$(ref nobody $nobody)"
cm half "$(ref a "$a"),$(ref nobody $nobody)"
cm kind "{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"name\":\"a\",\"uid\":\"$a\"}"
cm name "$(ref b "$a")"
cm unserved "{\"apiVersion\":\"foo.example/v1\",\"kind\":\"Foo\",\"name\":\"a\",\"uid\":\"$a\"}"
cm outside '' elsewhere
cm cross "$(ref outside "$(uid outside elsewhere)")"
soon 'absent, of another kind, name or namespace: gone' 20 'a b half two unserved' names
soon 'a reference to nobody is dropped' 10 a owners half
soon_like 'an owner in another namespace is told' 10 'OwnerRefInvalidNamespace +configmap/cross +ownerRef \[v1/ConfigMap, namespace: gc, name: outside, uid: [-0-9a-f]+\] does not exist in namespace "gc"' g get events

echo "background, several owners"
g delete cm a >/dev/null
soon 'one is left: it stays' 15 'b two unserved' names
soon 'without the other' 10 b owners two

echo "foreground"
cm p
p=$(uid p)
cm blocker "$(ref p "$p" $blocks)"; cm free "$(ref p "$p")"
hold blocker; hold free
g delete cm p --cascade=foreground --wait=false >/dev/null
soon 'the owner waits' 10 '["foregroundDeletion"]' finalizers p
deleting() { g get cm "$1" -o jsonpath='{.metadata.deletionTimestamp}' | grep -c T; }
soon 'the dependents are being deleted' 10 1 deleting blocker
let_go blocker
soon 'only for those that block' 15 'b free two unserved' names
let_go free

echo "a chain, from its end"
cm c1; cm c2 "$(ref c1 "$(uid c1)" $blocks)"; cm c3 "$(ref c2 "$(uid c2)" $blocks)"
hold c3
g delete cm c1 --cascade=foreground --wait=false >/dev/null
soon 'the middle waits too' 10 '["foregroundDeletion"]' finalizers c2
is 'and the first' '["foregroundDeletion"]' "$(finalizers c1)"
let_go c3
soon 'then all go' 15 'b two unserved' names

echo "orphans"
cm o
o=$(uid o)
cm child "$(ref o "$o" ',"controller":true')"; cm friend "$(ref o "$o")"
g delete cm o --cascade=orphan >/dev/null
is 'the owner is gone' 'b child friend two unserved' "$(names)"
is 'nobody owns them' '' "$(owners child)$(owners friend)"
g delete cm child friend >/dev/null

echo "circles"
cm x; cm y "$(ref x "$(uid x)" $blocks)"
own x "$(ref y "$(uid y)" $blocks)"
sleep 1
is 'a circle keeps itself' 'b two unserved x y' "$(names)"
g delete cm x --cascade=foreground --wait=false >/dev/null
soon 'foreground opens it' 15 'b two unserved' names
cm x; cm y "$(ref x "$(uid x)")"
own x "$(ref y "$(uid y)")"
g delete cm x >/dev/null
soon 'background too' 15 'b two unserved' names

echo "workloads"
cat <<'Y' | g apply -f - >/dev/null
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: c, image: nginx}]}
Y
pods() { g get pods -o name | wc -l; }
soon 'three pods' 10 3 pods
g delete rs web --cascade=orphan >/dev/null
is 'orphaned pods stay' 3 "$(pods)"
g get rs -o name >"$work/rs"
g apply -f - >/dev/null <<'Y'
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: heir}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: c, image: nginx}]}
Y
soon 'an heir adopts them, and one too many goes' 20 2 pods
is 'all are its' 2 "$(g get pods -o jsonpath='{range .items[*]}{.metadata.ownerReferences[0].name}{"\n"}{end}' | grep -c heir)"
g delete rs heir --cascade=foreground --wait=true >/dev/null
is 'foreground: no pod outlives it' 0 "$(pods)"
k delete namespace gc elsewhere --wait=false >/dev/null
finish

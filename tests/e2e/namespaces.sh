#!/usr/bin/env bash
# The life of a namespace: what each has, deletion and what holds it up.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

start_cluster
condition() { k get ns "$1" -o jsonpath="{range .status.conditions[?(@.type==\"$2\")]}{.status} {.reason}: {.message}{end}"; }
has() { k -n "$1" get sa,cm -o name 2>/dev/null | sort | xargs; }
both='configmap/kube-root-ca.crt serviceaccount/default'

echo "what each has"
for ns in default kube-node-lease kube-public kube-system; do
	soon_like "$ns" 10 Active k get ns "$ns"
done
k create namespace one >/dev/null
is 'label and finalizer' 'one ["kubernetes"] Active' "$(k get ns one -o jsonpath='{.metadata.labels.kubernetes\.io/metadata\.name} {.spec.finalizers} {.status.phase}')"
soon 'account and CA' 10 "$both" has one
k -n one delete cm kube-root-ca.crt >/dev/null
k -n one delete sa default >/dev/null
soon 'they come back' 10 "$both" has one
for ns in default kube-system kube-public; do
	like "$ns may not go" 'this namespace may not be deleted' "$(k delete ns $ns --wait=false 2>&1)"
done

echo "deletion"
k -n one create cm plain >/dev/null
k -n one create cm held >/dev/null
k -n one patch cm held --type merge -p '{"metadata":{"finalizers":["example.com/hold"]}}' >/dev/null
cat <<'Y' | k apply -f - >/dev/null
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: one, finalizers: [example.com/hold]}
spec: {terminationGracePeriodSeconds: 1, containers: [{name: c, image: nginx}]}
Y
soon_like 'a pod runs' 10 'Running' k -n one get pod p
k delete ns one --wait=false >/dev/null
soon_like 'Terminating' 10 'Terminating' k get ns one
like 'nothing new' 'unable to create new content in namespace one because it is being terminated' "$(k -n one create cm late 2>&1)"
sleep 1
like 'pods go first' 'plain' "$(k -n one get cm -o name)"
k -n one patch pod p --type merge -p '{"metadata":{"finalizers":null}}' >/dev/null
soon 'what remains' 40 'True SomeResourcesRemain: Some resources are remaining: configmaps. has 1 resource instances' condition one NamespaceContentRemaining
is 'and why' 'True SomeFinalizersRemain: Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances' \
	"$(condition one NamespaceFinalizersRemaining)"
is 'nothing failed' 'False ContentDeleted: All content successfully deleted, may be waiting on finalization' \
	"$(condition one NamespaceDeletionContentFailure)"
k -n one patch cm held --type merge -p '{"metadata":{"finalizers":null}}' >/dev/null
soon_like 'and it is gone' 40 'not found' k get ns one
k create namespace one >/dev/null
soon 'a new one of the name begins anew' 10 "$both" has one
k delete ns one >/dev/null
finish

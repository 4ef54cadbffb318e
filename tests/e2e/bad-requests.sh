#!/usr/bin/env bash
# Bad requests: each is answered as Kubernetes answers it, and nothing that was
# there before is lost or changed by any.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
command -v python3 >/dev/null || { echo "skipped: no python3"; exit 0; }

start_cluster
replay=$root/tests/parity/replay
lists=$root/tests/parity/api
answered() { # NAME LIST
	local out
	out=$("$replay" "$lists/$2.requests" "$KUBECONFIG" 2>&1)
	if grep -q ', 0 differ$' <<<"$out"; then pass "$1 ($(tail -n 1 <<<"$out"))"; else fail "$1" "$out"; fi
}

k create configmap before --from-literal=a=1 >/dev/null
k create deployment before --image=nginx --replicas=2 >/dev/null
soon 'something runs' 20 2 k get deploy before -o 'jsonpath={.status.readyReplicas}'
before=$(k get cm,deploy,rs,pods,sa,secrets -o name | sort)
on_weft && pids=$(pgrep -P "$weft_pid" | xargs)

echo "as Kubernetes"
answered 'all in its words' bad
soon_like 'the namespace of it is gone' 30 'not found' k get ns bad
if on_weft; then
	echo "in words of its own"
	answered 'all refused' refused
	soon_like 'the namespace of it is gone' 30 'not found' k get ns bad
fi

echo "nothing is lost"
is 'the same objects' "$before" "$(k get cm,deploy,rs,pods,sa,secrets -o name | sort)"
is 'as they were' 1 "$(k get cm before -o 'jsonpath={.data.a}')"
if on_weft; then is 'no process ended' "$pids" "$(pgrep -P "$weft_pid" | xargs)"; fi

echo "manifests, through kubectl"
manifest() { printf "$2" >"$work/bad.yaml"; like "$1" "$3" "$(k apply -f "$work/bad.yaml" 2>&1)"; }
manifest 'broken YAML' 'kind: ConfigMap\n  name: x\n' 'error (parsing|converting YAML to JSON).*line [12]'
manifest 'a tab' 'kind: ConfigMap\nmetadata:\n\tname: x\n' 'found character that cannot start any token'
manifest 'no kind' 'apiVersion: v1\nmetadata: {name: x}\n' "Object 'Kind' is missing|kind not set"
manifest 'an unknown kind' 'apiVersion: v1\nkind: Thing\nmetadata: {name: x}\n' 'no matches for kind "Thing" in version "v1"'
manifest 'an old version' 'apiVersion: extensions/v1beta1\nkind: Deployment\nmetadata: {name: x}\n' 'no matches for kind "Deployment" in version "extensions/v1beta1"'
manifest 'an unknown field' 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndate: {a: b}\n' '(unknown field "date"|strict decoding error: unknown field "date")'
manifest 'a wrong type' 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: 1}\n' 'cannot be handled as a ConfigMap|invalid type'
manifest 'a bad name' 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: X_}\n' 'metadata.name: Invalid value: "X_": a lowercase RFC 1123 subdomain'
manifest 'a bad port' 'apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: 70000}]}\n' 'spec.ports\[0\].port: Invalid value: 70000: must be between 1 and 65535'
manifest 'a Deployment whose selector is not of its pods' \
	'apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: c}}, spec: {containers: [{name: c, image: i}]}}}\n' \
	'selector` does not match template `labels`'
like 'no such resource' "the server doesn't have a resource type \"things\"" "$(k get things 2>&1)"
like 'no such object' 'Error from server \(NotFound\): configmaps "none" not found' "$(k get cm none 2>&1)"
like 'made twice' 'configmaps "before" already exists' "$(k create cm before 2>&1)"
like 'a stale version' 'the object has been modified; please apply your changes to the latest version' \
	"$(k get cm before -o json | sed 's/"resourceVersion": "[0-9]*"/"resourceVersion": "1"/' | k replace -f - 2>&1)"
head -c 3300000 /dev/zero | tr '\0' y >"$work/big"
like 'too big' 'too (large|long)|Too long' "$(k create cm big --from-file="$work/big" 2>&1 | cut -c 1-400)"
is 'and none of it is there' "$before" "$(k get cm,deploy,rs,pods,sa,secrets -o name | sort)"
finish

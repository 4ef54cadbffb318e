#!/usr/bin/env bash
# kubectls of several ages: the walk with each, and what the walk does not use.
# Debian's kubernetes-client comes from its package when apt-get can have it; the
# newest is built from its Go module if there is go and KUBECTL_GO=1.  Others:
# KUBECTLS="PATH ...".
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

found=(${KUBECTLS:-})
[ "${#found[@]}" != 0 ] || found=("$(command -v "$KUBECTL")")
if command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null &&
	(cd "$work" && timeout 60 apt-get download kubernetes-client && dpkg-deb -x ./*.deb debian) >/dev/null 2>&1; then
	found+=("$work/debian/usr/bin/kubectl")
else
	echo "skipped: Debian's kubernetes-client cannot be had"
fi
if [ "${KUBECTL_GO:-}" = 1 ] && command -v go >/dev/null; then
	mkdir "$work/newest"
	(cd "$work/newest" && go mod init newest && go get k8s.io/kubectl@latest k8s.io/component-base@latest &&
		printf 'package main\n\nimport (\n\t"k8s.io/component-base/cli"\n\t"k8s.io/kubectl/pkg/cmd"\n)\n\nfunc main() { cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()) }\n' >main.go &&
		go mod tidy && go build -o kubectl .) >/dev/null 2>&1 && found+=("$work/newest/kubectl") ||
		fail 'the newest kubectl from its Go module'
fi

start_cluster
manifest=$root/examples/nginx-deployment.yaml

short_checks() {
	local d=nginx-deployment
	like 'version' 'Server Version' "$(k version 2>&1)"
	is 'apply' "deployment.apps/$d created" "$(k apply -f "$manifest")"
	is 'apply again' "deployment.apps/$d unchanged" "$(k apply -f "$manifest")"
	soon '3 are ready' 20 3 k get deploy $d -o 'jsonpath={.status.readyReplicas}'
	like 'get all' "replicaset.apps/$d-" "$(k get all)"
	like 'explain' 'rollingUpdate.*<' "$(k explain deployment.spec.strategy --recursive)"
	like 'explain a field' 'replicas.*<integer>' "$(k explain deployment.spec.replicas)"
	is 'diff: none' '0 ' "$(k diff -f "$manifest" >"$work/diff" 2>&1; echo "$? $(cat "$work/diff")")"
	sed 's/replicas: 3/replicas: 4/' "$manifest" >"$work/four.yaml"
	like 'diff' '\+ *replicas: 4' "$(k diff -f "$work/four.yaml" 2>&1)"
	like 'edit' "deployment.apps/$d edited" "$(KUBE_EDITOR="sed -i s/1.14.2/1.16.1/" k edit deploy $d 2>&1)"
	is 'it is edited' nginx:1.16.1 "$(k get deploy $d -o 'jsonpath={.spec.template.spec.containers[0].image}')"
	is 'create: dry run' deployment.apps/dry "$(k create deployment dry --image=nginx --dry-run=server -o name)"
	like 'create: dry run of the client' 'image: nginx' "$(k create deployment dry --image=nginx --dry-run=client -o yaml)"
	is 'create' configmap/one "$(k create configmap one --from-literal=a=b -o name)"
	is 'create a Job' job.batch/once "$(k create job once --image=busybox -o name)"
	is 'run' pod/single "$(k run single --image=nginx -o name)"
	like 'replace' 'configmap/one replaced' "$(k get cm one -o yaml | sed 's/a: b/a: c/' | k replace -f - 2>&1)"
	like 'patch' 'configmap/one patched' "$(k patch cm one --type json -p '[{"op":"add","path":"/data/x","value":"y"}]')"
	like 'label' 'configmap/one labeled' "$(k label cm one x=y)"
	like 'annotate' 'configmap/one annotated' "$(k annotate cm one x=y)"
	like 'expose' 'service/nginx-deployment exposed' "$(k expose deploy $d --port=80)"
	like 'autoscale' "horizontalpodautoscaler.autoscaling/$d autoscaled" "$(k autoscale deploy $d --max=5 2>&1)"
	like 'taint' 'node/node-0 tainted' "$(k taint node node-0 a=b:PreferNoSchedule 2>&1)"
	like 'cordon' 'node/node-0 cordoned' "$(k cordon node-0)"
	like 'drain' 'node/node-0 (drained|evicted)' "$(k drain node-0 --ignore-daemonsets --force --timeout=25s 2>&1)"
	like 'uncordon' 'node/node-0 uncordoned' "$(k uncordon node-0)"
	k taint node node-0 a- >/dev/null
	like 'describe a pod' 'Node:|Status:' "$(k describe pods -l app=nginx)"
	like 'describe a node' 'Allocatable' "$(k describe node node-0)"
	like 'events' 'Scheduled' "$(k get events)"
	like 'api-resources' '^deployments +deploy +apps/v1 +true +Deployment' "$(k api-resources)"
	like 'api-versions' '^apps/v1$' "$(k api-versions)"
	is 'can-i' yes "$(k auth can-i create pods)"
	like 'can-i: a list' '\*\.\*' "$(k auth can-i --list)"
	like 'cluster-info' 'control plane|master' "$(k cluster-info)"
	like 'get in pages' 'pod/' "$(k get pods --chunk-size=1 -o name)"
	like 'get by field' 'node-0' "$(k get nodes --field-selector metadata.name=node-0)"
	like 'sorted' 'nginx' "$(k get pods --sort-by=.metadata.name)"
	like 'columns of one'\''s own' 'NAME' "$(k get pods -o custom-columns=NAME:.metadata.name)"
	like 'a raw path' 'ok' "$(k get --raw /readyz)"
	k delete deploy,svc,hpa $d >/dev/null
	k delete cm/one job/once pod/single >/dev/null 2>&1
	soon 'deleted' 30 '' k get pods,deploy -o name
}

for KUBECTL in "${found[@]}"; do
	echo "$("$KUBECTL" version --client 2>/dev/null | grep -o 'v[0-9][0-9.]*' | head -n 1) $KUBECTL"
	short_checks
	on_weft || continue
	out=$(KUBECTL=$KUBECTL WEFT=$WEFT timeout 200 "$here/walk.sh" 2>&1)
	# Before 1.27 kubectl left the old ReplicaSets out of its description when they have no replicas.
	is 'the walk' '' "$(grep -A 2 FAIL <<<"$out")"
done
finish

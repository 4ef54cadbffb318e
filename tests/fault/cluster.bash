# cluster.bash - what the fault tests share: a cluster of their own, a writer
# whose acknowledged writes are noted, a watcher of the Deployment's promises.
# Sourced.  WEFT and KUBECTL may be set; KEEP=1 keeps the directory.  A script that has a
# configuration of its own writes it to $dir and names it in `config`.
set -u
weft=${WEFT:-build/weft}
kubectl=${KUBECTL:-kubectl}
dir=$(mktemp -d /tmp/weft-fault-XXXXXX)
data=$dir/data
export KUBECONFIG=$data/kubeconfig
supervisor= writer= watcher= config=
replicas=40 surge=10 unavailable=10 # 25% of 40

say() { echo "$(date +%T) $*"; }
fail() {
	say "FAILED: $*"
	tail -n 30 "$data/log" 2>/dev/null | cut -c1-300
	exit 1
}

# Only processes that we started, by their pids.
finish() {
	for pid in $writer $watcher $supervisor; do kill "$pid" 2>/dev/null; done
	[ -n "$supervisor" ] && wait "$supervisor" 2>/dev/null
	[ -n "${KEEP:-}" ] && say "kept: $dir" || rm -rf "$dir"
}
trap finish EXIT
trap 'exit 1' INT TERM

# The same port after a restart, so that kubeconfigs stay good.
port=
up() {
	: >"$dir/ready"
	"$weft" up ${config:+-c "$config"} --data "$data" --nodes 5 --listen "127.0.0.1:${port:-0}" >"$dir/ready" 2>>"$dir/stderr" &
	supervisor=$!
	for _ in $(seq 200); do
		grep -q '^ready' "$dir/ready" && break
		kill -0 "$supervisor" 2>/dev/null || fail "weft up ended: $(tail -n 3 "$dir/stderr")"
		sleep 0.05
	done
	grep -q '^ready' "$dir/ready" || fail "weft up is not ready after 10 s"
	port=$(sed 's/.*:\([0-9]*\) .*/\1/' "$dir/ready")
}

k() { timeout 30 "$kubectl" --request-timeout=20s "$@"; }

# The pid of PROCESS/SHARD.
pid_of() { "$weft" status --data "$data" | awk -v p="$1" '$1 == p { print $2 }'; }

# Wait until PROCESS/0 is no longer PID.
replaced() { # PROCESS PID
	local now
	for _ in $(seq 500); do
		now=$(pid_of "$1/0")
		[ "${now:-0}" -gt 1 ] && [ "$now" != "$2" ] && return 0
		sleep 0.02
	done
	fail "$1 (pid $2) was not replaced"
}

# Wait until every process runs again; prints how long it took.
all_run() {
	local start=$EPOCHREALTIME
	for _ in $(seq 400); do
		"$weft" status --data "$data" >/dev/null && {
			awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.0f ms\n", (b - a) * 1000 }'
			return 0
		}
		sleep 0.02
	done
	fail "not every process runs: $("$weft" status --data "$data")"
}

deployment() { # IMAGE
	cat <<-YAML
	apiVersion: apps/v1
	kind: Deployment
	metadata: {name: web, namespace: default}
	spec:
	  replicas: $replicas
	  selector: {matchLabels: {app: web}}
	  template:
	    metadata: {labels: {app: web}}
	    spec:
	      terminationGracePeriodSeconds: 1
	      containers: [{name: web, image: "$1"}]
	YAML
}

# Create ConfigMaps for ever; the name of each acknowledged one goes to the list.
write_on() {
	local i=0
	while :; do
		i=$((i + 1))
		timeout 20 "$kubectl" create configmap "acked-$i" --from-literal=n="$i" >/dev/null 2>&1 &&
			echo "acked-$i" >>"$dir/acked"
		sleep 0.05
	done
}

# Pods that count: not on their way out, not ended.
count_pods() {
	k get pods -l app=web -o 'go-template={{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.uid}}{{"\n"}}{{end}}{{end}}' 2>/dev/null
}

# What its ReplicaSets ask for: that is what Kubernetes keeps within replicas and
# surge.  Pods of one that was scaled down may still be there for a moment.
count_wanted() {
	k get rs -l app=web -o 'jsonpath={range .items[*]}{.spec.replicas}{"\n"}{end}' 2>/dev/null | awk '{n += $1} END {print n + 0}'
}

# Note every time the Deployment asks for more pods than replicas and surge.
watch_on() {
	local n
	while :; do
		n=$(count_wanted)
		[ "$n" -gt $((replicas + surge)) ] && echo "$n pods are asked for, at most $((replicas + surge)) are allowed" >>"$dir/broken"
		echo "$n" >>"$dir/counts"
		sleep 0.1
	done
}

# Everything that must hold when calm: the rollout ends, exactly the pods asked
# for, all of one template, every acknowledged write there, unchanged.
check() { # IMAGE
	local n images missing
	k rollout status deployment/web --timeout=30s >/dev/null || fail "the rollout does not end: $(k get deploy,rs,pods | head -n 60)"
	for _ in $(seq 50); do
		n=$(count_pods | wc -l)
		[ "$n" = "$replicas" ] && break
		sleep 0.2
	done
	[ "$n" = "$replicas" ] || fail "$n pods instead of $replicas"
	images=$(k get pods -l app=web -o 'go-template={{range .items}}{{if and (not .metadata.deletionTimestamp) (eq .status.phase "Running")}}{{(index .spec.containers 0).image}}{{"\n"}}{{end}}{{end}}' | sort -u)
	[ "$images" = "$1" ] || fail "images: $images instead of $1"
	[ -s "$dir/broken" ] && fail "$(sort -u "$dir/broken")"
	[ -s "$dir/acked" ] || return 0
	sort "$dir/acked" >"$dir/must"
	k get configmaps -o name | sed 's,.*/,,' | sort >"$dir/there"
	missing=$(comm -23 "$dir/must" "$dir/there" | head -n 3)
	[ -z "$missing" ] || fail "acknowledged, but not there: $missing"
}

begin() {
	up
	: >"$dir/acked" && : >"$dir/broken" && : >"$dir/counts"
	deployment nginx:1.14.0 | k apply -f - >/dev/null || fail "apply"
	check nginx:1.14.0
	write_on & writer=$!
	watch_on & watcher=$!
}

image=0
# Start a rolling update, and give it a moment to be in its middle.
roll() {
	image=$((image + 1))
	k set image deployment/web web=nginx:1.15.$image >/dev/null || fail "set image"
	sleep "0.0$((RANDOM % 9 + 1))"
}

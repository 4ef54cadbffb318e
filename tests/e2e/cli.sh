#!/usr/bin/env bash
# The command line: what it prints, its exit status, and that each error says
# what to do next.
cd "$(dirname "$0")/../.." || exit 1
set -u
weft=${WEFT:-build/weft}
dir=$(mktemp -d /tmp/weft-cli-XXXXXX)
supervisor=
finish() {
	[ -n "$supervisor" ] && kill "$supervisor" 2>/dev/null && wait "$supervisor"
	rm -rf "$dir"
}
trap finish EXIT

# expect STATUS PATTERN ARGUMENTS...: run weft, look for PATTERN in what it says.
expect() {
	local status=$1 pattern=$2 out code
	shift 2
	out=$(timeout 20 "$weft" "$@" 2>&1)
	code=$?
	if [ "$code" != "$status" ] || ! grep -qE -- "$pattern" <<<"$out"; then
		echo "FAILED: weft $*: status $code instead of $status, or no '$pattern' in: $out"
		exit 1
	fi
}

expect 2 'usage: weft COMMAND'
expect 2 "there is no command 'dance' \(see .weft help.\)" dance
expect 0 'usage: weft COMMAND' help
expect 0 'usage: weft up' help up
expect 2 "there is no command 'dance'" help dance
expect 0 '^  replicaset: 1' help config
expect 0 '^weft [0-9.]+ \(build [0-9a-f]{16}\)' version
expect 0 '^weft [0-9.]+' --version
expect 2 "'now' is not expected" version now
expect 2 "^weft: there is no option '--wrong' \(see .weft help up.\)" up --wrong
expect 2 "^weft: there is no option '-x'" status -x
expect 2 "^weft: '--nodes' needs a value" up --nodes
expect 2 "'many' is not a number of pages" top -n many
expect 0 'usage: weft scale' scale --help
expect 2 "'here' is not expected" up here
expect 2 "\-\-nodes: 'x' is not a whole number" up --nodes x
expect 2 "\-\-listen: 'here' is not an address and port" up --listen here
expect 1 "configuration '/nowhere.yaml': No such file" up -c /nowhere.yaml
expect 1 'start one with .weft up --data /nowhere' status --data /nowhere
expect 1 'start one with' top --data "$dir"
expect 1 'start one with' scale --data "$dir" replicaset=2
expect 2 'name a process and a number' scale --data "$dir"
expect 2 "'x' is not a resourceVersion" journal --data "$dir" --after x
expect 1 'start one with' journal --data "$dir"
expect 2 "'replicaset' is not PROCESS=N" scale --data "$dir" replicaset
expect 2 "'many' is not a number" scale --data "$dir" replicaset=many
expect 2 "'many' is not a number" scale --data "$dir" gc=2 replicaset many
expect 2 "'-1' is not a number" scale --data "$dir" replicaset=-1
expect 2 "'' is not a number" scale --data "$dir" replicaset=
expect 2 "'gc' is not PROCESS=N" scale --data "$dir" replicaset=2 gc
expect 2 'replicaset is named twice' scale --data "$dir" replicaset=2 replicaset 3
expect 2 "there is no process 'etcd'" scale --data "$dir" replicaset=2 etcd=2

printf 'nodes:\n  count: 3\n  cuont: 4\n' >"$dir/bad.yaml"
expect 2 "bad.yaml:3: unknown key 'nodes.cuont'; did you mean 'nodes.count'" up -c "$dir/bad.yaml"
printf 'nodes: [\n' >"$dir/bad.yaml"
expect 2 'bad.yaml: invalid YAML at line' up -c "$dir/bad.yaml"
mkdir "$dir/old" && echo 99 >"$dir/old/version"
expect 1 "is of version '99', this weft reads version" up --data "$dir/old"
echo text >"$dir/file"
expect 1 "directory '.*/file" up --data "$dir/file/below"
if [ "$(id -u)" != 0 ]; then
	mkdir -m 0500 "$dir/closed"
	expect 1 'Permission denied' up --data "$dir/closed/below"
fi

"$weft" up --data "$dir/data" --nodes 1 --listen 127.0.0.1:0 >"$dir/ready" 2>"$dir/err" &
supervisor=$!
for _ in $(seq 100); do grep -q . "$dir/ready" && break; sleep 0.1; done
[ "$(wc -l <"$dir/ready")" = 1 ] || { echo "FAILED: not one line: $(cat "$dir/ready" "$dir/err")"; exit 1; }
grep -qE "^ready https://127.0.0.1:[0-9]+ $dir/data/kubeconfig$" "$dir/ready" || { echo "FAILED: $(cat "$dir/ready")"; exit 1; }
[ "$(stat -c %a "$dir/data/kubeconfig" "$dir/data" | tr '\n' ' ')" = '600 700 ' ] || { echo "FAILED: modes"; exit 1; }
port=$(sed 's/.*:\([0-9]*\) .*/\1/' "$dir/ready")

expect 1 "another weft \(pid $supervisor\) runs on" up --data "$dir/data"
expect 1 "127.0.0.1:$port is in use" up --data "$dir/other" --listen "127.0.0.1:$port"
sleep 0.5
expect 0 '^replicaset/0 +[0-9]+ +running' status --data "$dir/data"
expect 0 '"process":"store","shard":0' status --data "$dir/data" --json
if command -v python3 >/dev/null; then
	"$weft" status --data "$dir/data" --json | python3 -m json.tool >/dev/null ||
		{ echo "FAILED: status --json is no JSON"; exit 1; }
fi
expect 0 'journal [0-9]+ to [0-9]+' top --data "$dir/data" -n 1
expect 0 'replicaset has 2 processes now' scale --data "$dir/data" replicaset=2
expect 0 '^replicaset/1 ' status --data "$dir/data"
expect 0 'replicaset has 1 process now' scale --data "$dir/data" replicaset 1
expect 0 'replicaset has 3 processes now' scale --data "$dir/data" replicaset=3 gc=2
expect 0 'gc has 1 process now' scale --data "$dir/data" replicaset 1 gc 1
expect 1 'there is always one store' scale --data "$dir/data" store=2
expect 1 'replicaset has 2 processes now' scale --data "$dir/data" store=2 replicaset=2
expect 1 'at most 32' scale --data "$dir/data" replicaset=33

expect 0 '"resourceVersion":[0-9]+,"operation":"create","resource":"namespaces","name":"default",.*"by":"namespace"' journal --data "$dir/data"
last=$("$weft" journal --data "$dir/data" | tail -n 1 | sed 's/{"resourceVersion":\([0-9]*\),.*/\1/')
[ -z "$("$weft" journal --data "$dir/data" --after "$last")" ] || { echo "FAILED: a change after $last"; exit 1; }
"$weft" journal --data "$dir/data" -f >"$dir/journal" &
journal=$!
for _ in $(seq 100); do [ -s "$dir/journal" ] && break; sleep 0.05; done

kill "$supervisor"
wait "$supervisor" || { echo "FAILED: status $? after SIGTERM"; exit 1; }
supervisor=
wait "$journal" || { echo "FAILED: status $? of the journal after the end"; exit 1; }
expect 1 "no cluster runs on '$dir/data': start one with" status --data "$dir/data"
echo "the command line says what it should"

#!/usr/bin/env bash
# A disk that is full: writes are refused with the reason, reads and what needs
# no disk go on, no process ends, and when there is room again so is all the rest.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
on_weft || { echo "skipped: needs the data directory"; exit 0; }
disk=$work/disk
mkdir "$disk"
mount -t tmpfs -o size=16m weft-test "$disk" 2>/dev/null || { echo "skipped: cannot mount a small disk here"; exit 0; }
cleanup() {
	[ -z "$weft_pid" ] || { kill "$weft_pid" 2>/dev/null; wait "$weft_pid" 2>/dev/null; }
	umount "$disk"
	rm -rf "$work"
}

data=$disk/data
printf 'log: {segment: 1Mi}\n' >"$work/config.yaml"
run_weft "$work/config.yaml"
head -c 300000 /dev/zero | tr '\0' y >"$work/large"
k create deployment web --image=nginx --replicas=2 >/dev/null
ready() { k get deploy web -o 'jsonpath={.status.readyReplicas}'; }
soon 'something runs' 20 2 ready
pids=$(pgrep -P "$weft_pid" | xargs)
answer() { # a request's code and message
	curl -s --cacert "$data/pki/ca.crt" --cert "$data/pki/admin.crt" --key "$data/pki/admin.key" --max-time 10 "$@" |
		tr -d '\n' | sed -n 's/.*"message": *"\([^}]*\)", *"reason.*"code": *\([0-9]*\).*/\2 \1/p'
}
url=$(k config view -o 'jsonpath={.clusters[0].cluster.server}')

echo "full"
dd if=/dev/zero of="$disk/filler" bs=64k 2>/dev/null
made=0
for i in $(seq 20); do k create configmap "large$i" --from-file="$work/large" >/dev/null 2>"$work/why" || break; made=$i; done
like 'a write is refused' 'No space left on device' "$(cat "$work/why")"
is 'what was acknowledged is there' "$made" "$(k get cm -o name | grep -c large)"
is 'reads go on' 2 "$(ready)"
{ printf '{"metadata":{"name":"x"},"data":{"x":"'; cat "$work/large"; printf '"}}'; } >"$work/body"
like 'the code' '^500 .*No space left on device' \
	"$(answer -X POST -H 'Content-Type: application/json' --data-binary "@$work/body" "$url/api/v1/namespaces/default/configmaps")"
is 'nothing of it is there' '' "$(k get cm x -o name 2>/dev/null)"
sleep 3 # the checkpoint cannot be written either
is 'no process has ended' "$pids" "$(pgrep -P "$weft_pid" | xargs)"
is 'nodes live: their leases need no disk' 3 "$(k get nodes --no-headers | grep -c ' Ready')"

echo "room again"
rm "$disk/filler"
soon 'writes are taken' 15 configmap/after sh -c "$KUBECTL create configmap after -o name 2>&1 || $KUBECTL get configmap after -o name"
soon 'large ones too' 15 configmap/more sh -c "$KUBECTL create configmap more --from-file='$work/large' -o name 2>&1 || $KUBECTL get configmap more -o name"
k scale deploy web --replicas=4 >/dev/null
soon 'controllers go on' 20 4 ready
is 'no process has ended' "$pids" "$(pgrep -P "$weft_pid" | xargs)"

echo "killed and started again"
before=$(k get cm,deploy,rs,pods -o name | sort)
kill -9 "$weft_pid"; wait "$weft_pid" 2>/dev/null; sleep 0.3
run_weft "$work/config.yaml"
is 'all is there' "$before" "$(k get cm,deploy,rs,pods -o name | sort)"

echo "a start on a full disk"
kill "$weft_pid"; wait "$weft_pid" 2>/dev/null; weft_pid=''
mkdir "$disk/other"
dd if=/dev/zero of="$disk/filler" bs=64k 2>/dev/null; dd if=/dev/zero of="$disk/filler2" bs=512 2>/dev/null
timeout 20 "$WEFT" up --data "$disk/other" --listen 127.0.0.1:0 >"$work/out" 2>&1
is 'an empty directory: status 1' 1 $?
like 'and why' 'No space left on device' "$(cat "$work/out")"
rm -f "$disk"/filler*
run_weft "$work/config.yaml"
is 'all is there' "$before" "$(k get cm,deploy,rs,pods -o name | sort)"
finish

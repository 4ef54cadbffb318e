#!/usr/bin/env bash
# Damage to what lies in the data directory.  weft starts and has everything, or
# it refuses in one sentence that names the file and says what to do, ends with
# status 1, and has changed nothing: with the good file back, all is there.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
on_weft || { echo "skipped: needs the data directory"; exit 0; }

start_cluster
k create deployment web --image=nginx --replicas=3 >/dev/null
for i in $(seq 8); do k create configmap "cm$i" --from-literal=n="$i" >/dev/null; done
soon 'something runs' 20 3 k get deploy web -o 'jsonpath={.status.readyReplicas}'
sleep 1 # so that some of it is in the checkpoint
k create configmap last >/dev/null
objects() { k get cm,deploy,rs,pods -o name 2>&1 | sort; }
before=$(objects)
kill -9 "$weft_pid"; wait "$weft_pid" 2>/dev/null; weft_pid=''
sleep 0.3
cp -a "$data" "$work/good"

# flip FILE OFFSET [N]: change a bit in each of N bytes.
flip() {
	dd if="$data/$1" bs=1 skip="$2" count="${3:-1}" status=none | LC_ALL=C tr '\000-\177\200-\377' '\200-\377\000-\177' >"$work/bytes"
	dd if="$work/bytes" of="$data/$1" bs=1 seek="$2" conv=notrunc status=none
}
cut_to() { truncate -s "$2" "$data/$1"; }
gone() { rm -r "${data:?}/$1"; }
empty() { : >"$data/$1"; }
text() { echo "nonsense" >"$data/$1"; }

# Start on the data directory; sets $code (or 'serves') and $said.
start_on() {
	: >"$work/ready"
	"$WEFT" up --data "$data" --listen 127.0.0.1:0 >"$work/ready" 2>"$work/said" &
	weft_pid=$!
	code=serves
	until grep -q '^ready' "$work/ready"; do
		kill -0 "$weft_pid" 2>/dev/null || { wait "$weft_pid"; code=$?; weft_pid=''; break; }
		sleep 0.05
	done
	said=$(cat "$work/said")
}
stop() { [ -z "$weft_pid" ] || { kill "$weft_pid"; wait "$weft_pid" 2>/dev/null; weft_pid=''; }; }
good_again() { stop; rm -rf "$data"; cp -a "$work/good" "$data"; }

# serves NAME DAMAGE...: it starts, and everything is there.
serves() {
	local name=$1
	shift
	"$@"
	start_on
	is "$name: it starts" serves "$code"
	[ "$code" = serves ] && is "$name: nothing is missing" "$before" "$(objects)"
	good_again
}
stored=1
# refused NAME PATTERN DAMAGE...: it does not start, and says why.
refused() {
	local name=$1 pattern=$2
	shift 2
	"$@"
	(cd "$data" && find log-data checkpoint -type f ! -name lock.mdb -exec sha1sum {} +) >"$work/sums" 2>/dev/null
	start_on
	is "$name: it ends with status 1" 1 "$code"
	like "$name: it says why" "$pattern" "$said"
	[ -z "$stored" ] || is "$name: it has changed nothing" '' "$(cd "$data" && sha1sum --quiet -c "$work/sums" 2>&1)"
	good_again
}

echo "nothing is wrong"
serves 'killed and started again' true

echo "the log"
log=log-data/log-00000001
refused 'a batch in the middle' "log file 'log-00000001' is damaged at offset [0-9]+: .*restore the data directory.*move 'log-data'" flip $log 20000
refused 'its head' "log-00000001' is damaged at offset 0" flip $log 8 8
refused 'cut short' "log-00000001' is damaged at offset 50000: it is cut short" cut_to $log 50000
refused 'empty' "log-00000001' is damaged at offset 0: too short" empty $log
refused 'another cluster' "log-00000001' belongs to another cluster" gone weft-data
refused 'the identity' "'weft-data' is damaged" text weft-data

echo "the checkpoint"
db=checkpoint/data.mdb
refused 'no database' "checkpoint '.*': open: MDB_INVALID.*restore the data directory.*moving 'checkpoint'" flip $db 0 8192
refused 'cut short' "checkpoint '.*/data.mdb': it is cut short, or cannot be read.*restore the data directory" cut_to $db 8192
serves 'empty, and the log reaches back to the beginning' empty $db
serves 'gone, and the log reaches back to the beginning' gone checkpoint

echo "a log that was moved away"
gone log-data
start_on
is 'it goes on from the checkpoint' serves "$code"
like 'and says so' 'there is no log: going on from the checkpoint' "$(cat "$data/log")"
is 'with what that has' 3 "$(k get pods --no-headers | wc -l)"
k create configmap later >/dev/null
kill -9 "$weft_pid"; wait "$weft_pid" 2>/dev/null; weft_pid=''
start_on
is 'and writes after it last' configmap/later "$(k get cm later -o name)"
good_again

echo "the directory"
refused 'another version' "is of version 'nonsense', this weft reads version" text version
chmod 0 "$data/log-data"
if [ "$(id -u)" = 0 ]; then chmod 700 "$data/log-data"; echo "  (root may do all: no test of rights)"
else start_on; is 'no rights to the log' 1 "$code"; chmod 700 "$data/log-data"; good_again; fi

echo "keys and certificates"
stored='' # the store starts, only clients cannot be served
refused "the authority's key" "pki/ca.key' is missing, damaged or of another pair: restore it, or remove" gone pki/ca.key
refused "the authority's certificate" "pki/ca.crt' is missing, damaged" gone pki/ca.crt
refused "the authority's key, empty" 'ca.key.* is missing, damaged' empty pki/ca.key
refused 'the key of tokens' "pki/sa.key' is missing, damaged" text pki/sa.key
serves "the server's certificate: made anew" text pki/apiserver.crt
serves "the server's key: made anew" empty pki/apiserver.key
serves "the admin's certificate: made anew" text pki/admin.crt
serves 'the kubeconfig: written anew' empty kubeconfig
finish

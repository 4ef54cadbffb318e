#!/usr/bin/env bash
# The load generator tells the truth: what it says it did is there, a server that
# stands still is charged for all requests that were due meanwhile, and a seed repeats
# itself.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

load=$(dirname "$WEFT")/bench/load/load
make -s -C "$root" B="$(dirname "$WEFT")" "$load" || { echo "the load generator does not build"; exit 1; }
cat >"$work/config.yaml" <<'Y'
nodes: {count: 10, pods: 200}
Y
start_cluster "$work/config.yaml"

# figure FILE NAME KEY: that member of the figure.
figure() { python3 -c 'import json, sys
r = {r["name"]: r for r in map(json.loads, open(sys.argv[1]))}
print(r[sys.argv[2]][sys.argv[3]])' "$1" "$2" "$3"; }
run() { WEFT_BENCH_JSON=$work/told timeout 90 "$load" "$@" >"$work/out" 2>"$work/log"; }
at_least() { awk -v a="$3" -v b="$2" 'BEGIN { exit !(a >= b) }' && pass "$1" || fail "$1" "wanted at least $2" "got $3"; }
at_most() { awk -v a="$3" -v b="$2" 'BEGIN { exit !(a <= b) }' && pass "$1" || fail "$1" "wanted at most $2" "got $3"; }

echo "load"
run api --ops create --rate 300 --seconds 2 --connections 4 --objects 5 --keep
is 'creates end well' 0 $?
made=$(figure "$work/told" create/4 count)
is 'and are all there' "$made" "$(k -n load get configmaps -o name | grep -c '/c-')"
is 'at the rate that was asked for' 600 "$made"

rm "$work/told"
run api --ops delete --namespace none --seconds 1
is 'there was nothing to delete' 0 "$(figure "$work/told" delete/64 count)"

rm "$work/told"
run api --ops get=2+patch=1+create=1+delete=1 --rate 500 --seconds 2 --connections 8 --namespace mix
is 'a mix ends well' 0 $?
at_least 'of which gets are two fifths' 300 "$(figure "$work/told" get/8 count)"

if on_weft; then
	rm "$work/told"
	server=$("$WEFT" status --data "$data" | awk '/^apiserver/ { print $2; exit }')
	(sleep 1.5; kill -STOP "$server"; sleep 1; kill -CONT "$server") &
	run api --ops get --rate 200 --seconds 4 --connections 2 --objects 5 --namespace stall
	wait $!
	is 'a pause loses no request' 800 "$(figure "$work/told" get/2 count)"
	# One in four was due while the server stood still, and waited half a second on average.
	at_least 'and is charged for all that were due in it' 300 "$(python3 -c 'import json, sys
r = [r for r in map(json.loads, open(sys.argv[1])) if r["name"] == "get/2"][0]
print(dict(map(tuple, r["percentiles"]))[90])' "$work/told")"
fi

for streams in 0 20; do
	rm "$work/told"
	run watch --watchers 50 --rate 10 --seconds 2 --namespace "watch-$streams" --streams $streams
	is "watchers end well, $streams on a connection" 0 $?
	at_least 'every watcher sees every write' 950 "$(figure "$work/told" watch/50 count)"
done

rm "$work/told"
run api --ops create --rate 300 --seconds 2 --connections 8 --streams 4 --namespace shared --keep
made=$(figure "$work/told" create/8 count)
is 'creates on shared connections end well, too' 600 "$made"
is 'and are all there, too' "$made" "$(k -n shared get configmaps -o name | grep -c '/c-')"

rm "$work/told"
run deployments --count 5 --replicas 20 --namespace deployments
is 'Deployments end well' 0 $?
is 'each step is told' 'create/5x20 delete/5x20 down/5x20 roll/5x20 up/5x20' \
	"$(python3 -c 'import json, sys; print(*sorted(json.loads(l)["name"] for l in open(sys.argv[1])))' "$work/told")"

"$root/bench/report" -o "$work/page.html" "$work/told" "$work/told" >/dev/null
is 'the report has a row for each figure' 5 "$(grep -o 'x20<small>' "$work/page.html" | wc -l)"
printf '%s\n' '{"name":"watch/1000","unit":"ms","figure":2.5,"target":5,"ratio":2,"machine":"m","time":0}' >"$work/some"
like 'the table has what was measured' '^\| one write seen by 1,000 watchers, p99: 1,000 connections \| 2.5 ms \| 5 \| 2.00 ' "$("$root/bench/table" "$work/some")"

run deployments --ops create --count 2 --replicas 60 --namespace scan --keep
rm "$work/told"
run scan --limit 50
is 'a list ends well' 0 $?
like 'and is whole' "scan/50: $(k get pods -A -o name | wc -l) items" "$(cat "$work/log")"

run churn --count 3 --replicas 10 --rate 20 --seconds 1 --seed 7 --namespace churn2 --keep
run churn --count 3 --replicas 10 --rate 20 --seconds 1 --seed 7 --namespace churn3 --keep
is 'a seed repeats itself' "$(k -n churn2 get deployments -o jsonpath='{.items[*].spec.replicas}')" \
	"$(k -n churn3 get deployments -o jsonpath='{.items[*].spec.replicas}')"
finish

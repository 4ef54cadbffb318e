#!/usr/bin/env bash
# A ServiceAccount's token: good as long as its account is there, and only whole.
. "$(dirname "$0")/lib.sh"
start_cluster
server=$(k config view --minify -o 'jsonpath={.clusters[0].cluster.server}')
code() { curl -sk -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $1" "$server/apis"; }
k create namespace token-test >/dev/null
k -n token-test create serviceaccount a >/dev/null
token=$(k -n token-test create token a)
for again in first second; do is "a token is good, $again time" 200 "$(code "$token")"; done
is 'one of another signature is not' 401 "$(code "${token%??????}AAAAAA")"
is 'it was not the other one that was remembered' 200 "$(code "$token")"
# What it may is asked each time with the answers that are remembered.
may() { curl -sk -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $token" "$server/api/v1/namespaces/token-test/$1"; }
is 'it may nothing yet' 403 "$(may configmaps)"
k -n token-test create role reader --verb=get,list --resource=configmaps >/dev/null
k -n token-test create rolebinding reader --role=reader --serviceaccount=token-test:a >/dev/null
soon 'it may what it is granted' 10 200 may configmaps
is 'by name, too' 404 "$(may configmaps/none)"
is 'and nothing else' 403 "$(may secrets)"
k -n token-test patch role reader --type=json -p '[{"op":"replace","path":"/rules/0/resources/0","value":"secrets"}]' >/dev/null
soon 'not when the role has changed' 10 403 may configmaps
is 'but what it says now' 200 "$(may secrets)"
k -n token-test delete rolebinding reader >/dev/null
soon 'nothing without the binding' 10 403 may secrets
k -n token-test create role one --verb=get --resource=secrets --resource-name=mine >/dev/null
k -n token-test create rolebinding one --role=one --serviceaccount=token-test:a >/dev/null
soon 'one thing by its name' 10 404 may secrets/mine
is 'and no other' 403 "$(may secrets/yours)"
is 'nor all of them' 403 "$(may secrets)"
k -n token-test delete serviceaccount a >/dev/null
soon 'without its account it is not' 15 401 code "$token"
k -n token-test create serviceaccount a >/dev/null
is 'nor for another account of the name' 401 "$(code "$token")"
k delete namespace token-test --wait=false >/dev/null
finish

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
k -n token-test delete serviceaccount a >/dev/null
soon 'without its account it is not' 15 401 code "$token"
k -n token-test create serviceaccount a >/dev/null
is 'nor for another account of the name' 401 "$(code "$token")"
k delete namespace token-test --wait=false >/dev/null
finish

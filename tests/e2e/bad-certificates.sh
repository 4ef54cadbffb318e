#!/usr/bin/env bash
# Who is let in: no credential, a wrong one, an old one, one without rights.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
command -v openssl >/dev/null && command -v curl >/dev/null || { echo "skipped: no openssl or curl"; exit 0; }
on_weft || { echo "skipped: needs the authority's key"; exit 0; }

start_cluster
url=$(k config view -o 'jsonpath={.clusters[0].cluster.server}')
ca=$data/pki/ca.crt
k create configmap keep >/dev/null
page=/api/v1/namespaces/default/configmaps
# ask OPTIONS...: the answer's status and its message.
ask() { curl -sk --max-time 10 "$@" "$url$page" | tr -d '\n' | sed -n 's/.*"message":"\([^}]*\)","reason.*"code":\([0-9]*\).*/\2 \1/p'; }
# A client certificate: certificate NAME SUBJECT [DAYS] [CA] [KEY of the CA]
certificate() {
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$work/$1.key" -out "$work/$1.csr" -subj "$2" 2>/dev/null
	openssl x509 -req -in "$work/$1.csr" -CA "${4:-$ca}" -CAkey "${5:-$data/pki/ca.key}" -set_serial 7 \
		-days "${3:-1}" -out "$work/$1.crt" 2>/dev/null
}
with() { echo --cert "$work/$1.crt" --key "$work/$1.key"; }

echo "nobody"
is 'no credential' '403 configmaps is forbidden: User \"system:anonymous\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\"' "$(ask)"
is 'healthz is for all' ok "$(curl -sk "$url/healthz")"

echo "wrong credentials"
is 'a token' '401 Unauthorized' "$(ask -H 'Authorization: Bearer nonsense')"
is 'a token that looks like one' '401 Unauthorized' "$(ask -H 'Authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.')"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$work/other.key" -out "$work/other.crt" -days 1 -subj /O=system:masters/CN=admin 2>/dev/null
is 'a certificate signed by itself' '401 Unauthorized' "$(ask $(with other))"
certificate forged /O=system:masters/CN=admin 1 "$work/other.crt" "$work/other.key"
is 'one of another authority' '401 Unauthorized' "$(ask $(with forged))"
certificate old /O=system:masters/CN=admin -1
is 'one that has ended' '401 Unauthorized' "$(ask $(with old))"

echo "a user without rights"
certificate jane /O=team/CN=jane
is 'may not' '403 configmaps is forbidden: User \"jane\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\"' "$(ask $(with jane))"
is 'and not in the name of another' '403 users \"admin\" is forbidden: User \"jane\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope' \
	"$(ask $(with jane) -H 'Impersonate-User: admin')"
is 'not as a group' '403 users \"jane\" is forbidden: User \"jane\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope' \
	"$(ask $(with jane) -H 'Impersonate-User: jane' -H 'Impersonate-Group: system:masters')"
k create role reader --verb=get,list --resource=configmaps >/dev/null
k create rolebinding reader --role=reader --group=team >/dev/null
is 'until a binding lets her' keep "$(curl -sk $(with jane) "$url$page" | grep -o '"name": "keep"' | cut -d'"' -f4)"

echo "as another, for the admin"
like 'who has no rights' 'User "joe" cannot list resource "secrets"' "$(k get secrets --as joe 2>&1)"
is 'can-i: no' no "$(k auth can-i delete pods --as joe 2>&1)"
is 'can-i: yes' yes "$(k auth can-i list configmaps --as jane --as-group team 2>&1)"

echo "a server that is not trusted"
sed "s/certificate-authority-data: .*/certificate-authority-data: $(base64 -w0 "$work/other.crt")/" "$KUBECONFIG" >"$work/distrust"
like 'another authority' 'x509: certificate signed by unknown authority' \
	"$(k --kubeconfig "$work/distrust" get cm 2>&1)"
like 'plain HTTP' '^(000|400)' "$(curl -s -o /dev/null -w '%{http_code}' --max-time 5 "${url/https/http}/api" 2>&1)"
is 'it serves on' configmap/keep "$(k get cm keep -o name)"

echo "certificates of its own"
is 'keys are for their owner alone' 600 "$(stat -c %a "$data"/pki/*.key | sort -u)"
finish

/*
 * auth.c - who asks, and whether they may.
 *
 * Client certificates signed by the cluster's authority (common name is the
 * user, organisations are groups) and ServiceAccount tokens.  Without either a
 * request is anonymous.
 */
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include "procs/apiserver/api.h"
#include "procs/apiserver/rbac.h"
#include "procs/apiserver/token.h"
#include "procs/apiserver/verbs.h"

/* --- Who ---------------------------------------------------------------------------- */

static const struct user anonymous = {
	.name = STR("system:anonymous"),
	.groups = {STR("system:unauthenticated")},
	.ngroups = 1,
	.anonymous = true,
};

bool user_in_group(const struct user *u, const char *group)
{
	for (uint32_t i = 0; i < u->ngroups; i++)
		if (str_is(u->groups[i], group))
			return true;
	return false;
}

const struct user *user_copy(zone *z, const struct user *u)
{
	struct user *copy = zone_alloc(z, sizeof(*copy));

	*copy = *u;
	copy->name = zone_str(z, u->name);
	copy->uid = zone_str(z, u->uid);
	copy->pod_name = zone_str(z, u->pod_name);
	copy->pod_uid = zone_str(z, u->pod_uid);
	for (uint32_t i = 0; i < u->ngroups; i++)
		copy->groups[i] = zone_str(z, u->groups[i]);
	return copy;
}

static void user_add_group(struct user *u, struct str group)
{
	if (u->ngroups < GROUPS_MAX)
		u->groups[u->ngroups++] = group;
}

static struct str dn_part(zone *z, gnutls_x509_crt_t crt, const char *oid, unsigned i)
{
	char text[256];
	size_t n = sizeof(text);

	if (gnutls_x509_crt_get_dn_by_oid(crt, oid, i, 0, text, &n))
		return (struct str){"", 0};
	return zone_str(z, (struct str){text, (uint32_t)n});
}

static bool user_from_cert(struct peer *peer, const gnutls_datum_t *der)
{
	gnutls_x509_crt_t crt;
	struct user *u = &peer->user;
	struct str org;

	if (gnutls_x509_crt_init(&crt))
		return false;
	if (!gnutls_x509_crt_import(crt, der, GNUTLS_X509_FMT_DER)) {
		peer->z = zone_new();
		u->name = dn_part(peer->z, crt, GNUTLS_OID_X520_COMMON_NAME, 0);
		for (unsigned i = 0; i < GROUPS_MAX - 1; i++) {
			org = dn_part(peer->z, crt, GNUTLS_OID_X520_ORGANIZATION_NAME, i);
			if (!org.n)
				break;
			user_add_group(u, org);
		}
		user_add_group(u, STR("system:authenticated"));
		u->masters = user_in_group(u, "system:masters");
	}
	gnutls_x509_crt_deinit(crt);
	return u->name.n > 0;
}

/* Looks at the connection's certificate once.  True: there is none, or it is
 * good. */
static bool peer_check(struct request *q)
{
	struct peer *peer = q->peer;
	gnutls_session_t tls = request_tls(q);
	const gnutls_datum_t *chain;
	unsigned n = 0, status = 0;

	if (!peer)
		return true;
	if (peer->checked)
		return peer->valid || !peer->user.name.n;
	peer->checked = true;
	chain = tls ? gnutls_certificate_get_peers(tls, &n) : NULL;
	if (!chain || !n)
		return true;
	peer->user.name = STR("?"); /* there is one; until it has been read */
	if (gnutls_certificate_verify_peers2(tls, &status) || status)
		return false;
	peer->user.name = STR("");
	peer->valid = user_from_cert(peer, &chain[0]);
	if (!peer->valid)
		peer->user.name = STR("?");
	return peer->valid;
}

void peer_free(struct peer *peer)
{
	if (peer->z)
		zone_free(peer->z);
	*peer = (struct peer){0};
}

bool auth_identify(struct request *q)
{
	struct str header = str_trim(request_header(q, "Authorization"));
	struct str scheme = STR("Bearer ");

	q->user = &anonymous;
	if (header.n > scheme.n && !strncasecmp(header.p, scheme.p, scheme.n)) {
		struct str text = {header.p + scheme.n, header.n - scheme.n}, why;

		q->token = token_check(q->api, str_cut(&text, ' '), &why);
		if (q->token)
			q->user = &q->token->user;
		return q->token != NULL;
	}
	if (!peer_check(q))
		return false;
	if (q->peer && q->peer->valid)
		q->user = &q->peer->user;
	return true;
}

/* --- Whether ------------------------------------------------------------------------ */

/* `pods "x" is forbidden: ` is put in front of this by the status. */
static struct str why_not(struct request *q, const char *verb)
{
	const struct target *t = &q->t;
	struct buf b = {0};
	struct str why;

	buf_printf(&b, "User \"" STR_FMT "\" cannot %s ", STR_ARG(q->user->name), verb);
	if (!t->r) {
		buf_printf(&b, "path \"" STR_FMT "\"", STR_ARG(q->path));
	} else {
		buf_printf(&b, "resource \"%s", t->r->resource);
		if (t->sub.n)
			buf_printf(&b, "/" STR_FMT, STR_ARG(t->sub));
		buf_printf(&b, "\" in API group \"%s\"", t->r->group);
		if (t->ns.n)
			buf_printf(&b, " in the namespace \"" STR_FMT "\"", STR_ARG(t->ns));
		else
			buf_puts(&b, " at the cluster scope");
	}
	why = zone_str(q->z, buf_str(&b));
	buf_free(&b);
	return t->r ? why : zone_printf(q->z, "forbidden: " STR_FMT, STR_ARG(why));
}

bool auth_allowed(struct request *q, struct str *why)
{
	struct access a = {
		.verb = str_of(request_verb(q)),
		.path = q->path,
	};

	if (q->user->masters || (q->t.kind == TARGET_PLAIN && plain_public(q->path)))
		return true;
	if (q->t.r) {
		a.group = str_of(q->t.r->group);
		a.resource = str_of(q->t.r->resource);
		a.sub = q->t.sub;
		a.ns = q->t.ns;
		a.name = q->t.name;
	}
	if (rbac_allows(q->api, q->z, q->user, &a))
		return true;
	*why = why_not(q, request_verb(q));
	return false;
}

/*
 * token.c - ServiceAccount tokens: signing, checking, TokenRequest.
 */
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <xxhash.h>
#include "procs/apiserver/body.h"
#include "procs/apiserver/item.h"
#include "procs/apiserver/token.h"
#include "procs/apiserver/verbs.h"

#define ISSUER		   "https://kubernetes.default.svc"
#define LIFETIME_DEFAULT_S 3600
#define LIFETIME_MIN_S	   600
#define RS_BYTES	   32 /* of each half of an ES256 signature */

/* --- Base64 for URLs ---------------------------------------------------------------- */

static void add_b64url(struct buf *out, const void *p, size_t n)
{
	gnutls_datum_t in = {(unsigned char *)p, (unsigned)n}, b64 = {0};

	weft_assert(!gnutls_base64_encode2(&in, &b64));
	for (unsigned i = 0; i < b64.size && b64.data[i] != '='; i++)
		buf_putc(out, b64.data[i] == '+'   ? '-'
			      : b64.data[i] == '/' ? '_'
						   : (char)b64.data[i]);
	gnutls_free(b64.data);
}

static bool from_b64url(zone *z, struct str text, struct str *out)
{
	char *b64 = zone_alloc(z, text.n + 4u);
	uint32_t n = text.n;
	gnutls_datum_t in, raw = {0};

	for (uint32_t i = 0; i < n; i++)
		b64[i] = text.p[i] == '-' ? '+' : text.p[i] == '_' ? '/' : text.p[i];
	while (n % 4)
		b64[n++] = '=';
	in = (gnutls_datum_t){(unsigned char *)b64, n};
	if (!n || gnutls_base64_decode2(&in, &raw))
		return false;
	*out = zone_str(z, (struct str){(char *)raw.data, raw.size});
	gnutls_free(raw.data);
	return true;
}

/* --- Keys --------------------------------------------------------------------------- */

/* Loaded once from the PEM text. */
static gnutls_privkey_t signing_key(struct api *api)
{
	gnutls_datum_t pem = {(unsigned char *)api->pki.sa_key.p, api->pki.sa_key.n};

	if (api->token_key)
		return api->token_key;
	weft_assert(!gnutls_privkey_init(&api->token_key));
	weft_assert(!gnutls_privkey_import_x509_raw(api->token_key, &pem, GNUTLS_X509_FMT_PEM, NULL,
						    0));
	return api->token_key;
}

static gnutls_pubkey_t checking_key(struct api *api)
{
	if (api->token_pub)
		return api->token_pub;
	weft_assert(!gnutls_pubkey_init(&api->token_pub));
	weft_assert(!gnutls_pubkey_import_privkey(api->token_pub, signing_key(api), 0, 0));
	return api->token_pub;
}

/* The key's id: the start of its fingerprint. */
static struct str key_id(struct api *api, zone *z)
{
	unsigned char id[64];
	size_t n = sizeof(id);
	struct buf b = {0};
	struct str out;

	weft_assert(!gnutls_pubkey_get_key_id(checking_key(api), GNUTLS_KEYID_USE_SHA256, id, &n));
	add_b64url(&b, id, n);
	out = zone_str(z, buf_str(&b));
	buf_free(&b);
	return out;
}

/* --- Signing ------------------------------------------------------------------------ */

/* A signature's two numbers as 32 bytes each. */
static void add_fixed(struct buf *out, const gnutls_datum_t *n)
{
	const unsigned char *p = n->data;
	unsigned size = n->size;

	while (size > RS_BYTES && !*p)
		p++, size--;
	for (unsigned i = size; i < RS_BYTES; i++)
		buf_putc(out, 0);
	buf_add(out, p, size);
}

static struct str sign(struct api *api, zone *z, const value *claims)
{
	struct buf json = {0}, text = {0}, raw = {0};
	gnutls_datum_t data, sig = {0}, r = {0}, s = {0};
	struct str out;

	buf_printf(&json, "{\"alg\":\"ES256\",\"kid\":\"" STR_FMT "\"}", STR_ARG(key_id(api, z)));
	add_b64url(&text, json.p, json.n);
	json.n = 0;
	json_encode(&json, claims, NULL);
	buf_putc(&text, '.');
	add_b64url(&text, json.p, json.n);
	data = (gnutls_datum_t){(unsigned char *)text.p, (unsigned)text.n};
	weft_assert(!gnutls_privkey_sign_data2(signing_key(api), GNUTLS_SIGN_ECDSA_SHA256, 0, &data,
					       &sig));
	weft_assert(!gnutls_decode_rs_value(&sig, &r, &s));
	add_fixed(&raw, &r);
	add_fixed(&raw, &s);
	buf_putc(&text, '.');
	add_b64url(&text, raw.p, raw.n);
	out = zone_str(z, buf_str(&text));
	gnutls_free(sig.data);
	gnutls_free(r.data);
	gnutls_free(s.data);
	buf_free(&json);
	buf_free(&text);
	buf_free(&raw);
	return out;
}

/* --- Checking ----------------------------------------------------------------------- */

static bool signature_good(struct api *api, struct str signed_text, struct str raw)
{
	gnutls_datum_t r = {(unsigned char *)raw.p, RS_BYTES};
	gnutls_datum_t s = {(unsigned char *)raw.p + RS_BYTES, RS_BYTES};
	gnutls_datum_t data = {(unsigned char *)signed_text.p, signed_text.n}, sig = {0};
	bool good;

	if (raw.n != 2 * RS_BYTES || gnutls_encode_rs_value(&sig, &r, &s))
		return false;
	good = gnutls_pubkey_verify_data2(checking_key(api), GNUTLS_SIGN_ECDSA_SHA256, 0, &data,
					  &sig) >= 0;
	gnutls_free(sig.data);
	return good;
}

static void set_user(zone *z, const value *k8s, struct user *u)
{
	struct str ns = v_get_str(k8s, "namespace");
	const value *sa = v_get(k8s, "serviceaccount"), *pod = v_get(k8s, "pod");

	*u = (struct user){
		.name = zone_printf(z, "system:serviceaccount:" STR_FMT ":" STR_FMT, STR_ARG(ns),
				    STR_ARG(v_get_str(sa, "name"))),
		.uid = v_get_str(sa, "uid"),
		.pod_name = v_get_str(pod, "name"),
		.pod_uid = v_get_str(pod, "uid"),
	};
	u->groups[0] = STR("system:serviceaccounts");
	u->groups[1] = zone_printf(z, "system:serviceaccounts:" STR_FMT, STR_ARG(ns));
	u->groups[2] = STR("system:authenticated");
	u->ngroups = 3;
}

static void set_bound(const value *v, struct bound *b)
{
	b->there = v != NULL;
	b->name = v_get_str(v, "name");
	b->uid_good = uid_parse(v_get_str(v, "uid"), b->uid);
}

static bool decode(struct api *api, struct token *t, struct str *why)
{
	struct str text = t->text, raw, json;
	const char *dot = memrchr(text.p, '.', text.n), *first = memchr(text.p, '.', text.n);
	value *claims = v_new(t->z, v_null()), *k8s;

	*why = STR("token is malformed");
	if (!dot || first == dot ||
	    !from_b64url(t->z, (struct str){dot + 1, text.n - (uint32_t)(dot + 1 - text.p)},
			 &raw) ||
	    !from_b64url(t->z, (struct str){first + 1, (uint32_t)(dot - first - 1)}, &json))
		return false;
	*why = STR("signature is not valid");
	if (!signature_good(api, (struct str){text.p, (uint32_t)(dot - text.p)}, raw))
		return false;
	*why = STR("token is malformed");
	if (json_decode(t->z, json, claims, NULL, NULL))
		return false;
	k8s = v_get(claims, "kubernetes.io");
	t->ends_s = v_get_int(claims, "exp", 0);
	t->begins_s = v_get_int(claims, "nbf", 0);
	t->issued_here = str_eq(v_get_str(claims, "iss"), STR(ISSUER));
	t->ns = v_get_str(k8s, "namespace");
	set_bound(v_get(k8s, "serviceaccount"), &t->account);
	set_bound(v_get(k8s, "pod"), &t->pod);
	set_user(t->z, k8s, &t->user);
	return true;
}

/* What the text says, if we have signed it. */
static struct token *token_read(struct api *api, struct str text, struct str *why)
{
	zone *z = zone_new();
	struct token *t = zone_alloc(z, sizeof(*t));

	*t = (struct token){.refs = 1, .z = z, .text = zone_str(z, text)};
	if (decode(api, t, why))
		return t;
	zone_free(z);
	return NULL;
}

void token_drop(struct token *t)
{
	if (t && !--t->refs)
		zone_free(t->z);
}

void tokens_forget(struct api *api)
{
	for (size_t i = 0; i < KNOWN_TOKENS; i++) {
		token_drop(api->known_tokens[i]);
		api->known_tokens[i] = NULL;
	}
}

/* A live object of this name is the one that is meant. */
static bool alive(struct api *api, uint16_t type, struct str ns, const struct bound *b)
{
	struct cache *c = api_cache(api);
	const struct entry *e;
	bool yes;

	cache_lock(c);
	e = b->uid_good ? cache_find(c, type, ns, b->name) : NULL;
	yes = e && cache_live(c, e) && !memcmp(e->uid, b->uid, sizeof(b->uid));
	cache_unlock(c);
	return yes;
}

static bool holds_now(struct api *api, const struct token *t, struct str *why)
{
	int64_t now = clock_wall_s();

	*why = STR("token has expired");
	if (now >= t->ends_s)
		return false;
	*why = STR("token is not valid yet");
	if (now + 60 < t->begins_s)
		return false;
	*why = STR("token was not issued here");
	if (!t->issued_here)
		return false;
	*why = STR("service account has been deleted");
	if (!alive(api, TYPE_SERVICEACCOUNT, t->ns, &t->account))
		return false;
	*why = STR("pod has been deleted");
	return !t->pod.there || alive(api, TYPE_POD, t->ns, &t->pod);
}

/* Reading a token and checking its signature costs ten times the rest of a small
 * request, and clients send one token over and over: what those that were sent
 * last say is kept.  Whether it still holds is looked at each time. */
struct token *token_check(struct api *api, struct str text, struct str *why)
{
	struct token **slot = &api->known_tokens[XXH3_64bits(text.p, text.n) % KNOWN_TOKENS],
		     *t = *slot;

	if (!t || !str_eq(t->text, text)) {
		t = token_read(api, text, why);
		if (!t)
			return NULL;
		token_drop(*slot);
		*slot = t;
	}
	if (!holds_now(api, t, why))
		return NULL;
	t->refs++;
	return t;
}

/* --- TokenRequest ------------------------------------------------------------------- */

static bool read_account(struct request *q, struct str *uid)
{
	struct cache *c = api_cache(q->api);
	const struct entry *e;
	char text[37];

	cache_lock(c);
	e = cache_find(c, TYPE_SERVICEACCOUNT, q->t.ns, q->t.name);
	if (e)
		uid_format(e->uid, text);
	cache_unlock(c);
	if (e)
		*uid = zone_str(q->z, str_of(text));
	return e != NULL;
}

static value named(zone *z, struct str name, struct str uid)
{
	value v = v_map();

	v_set(z, &v, "name", v_str(name));
	v_set(z, &v, "uid", v_str(uid));
	return v;
}

static value make_claims(struct request *q, const value *spec, struct str uid, int64_t now,
			 int64_t lifetime)
{
	const value *bound = v_get(spec, "boundObjectRef"), *aud = v_get(spec, "audiences");
	value claims = v_map(), k8s = v_map(), audiences = v_array();
	zone *z = q->z;

	v_append(z, &audiences, v_cstr(ISSUER));
	v_set(z, &k8s, "namespace", v_str(q->t.ns));
	if (bound && str_eq(v_get_str(bound, "kind"), STR("Pod")))
		v_set(z, &k8s, "pod", named(z, v_get_str(bound, "name"), v_get_str(bound, "uid")));
	v_set(z, &k8s, "serviceaccount", named(z, q->t.name, uid));
	v_set(z, &claims, "aud", v_len(aud) ? *aud : audiences);
	v_set(z, &claims, "exp", v_int(now + lifetime));
	v_set(z, &claims, "iat", v_int(now));
	v_set(z, &claims, "iss", v_cstr(ISSUER));
	v_set(z, &claims, "kubernetes.io", k8s);
	v_set(z, &claims, "nbf", v_int(now));
	v_set(z, &claims, "sub",
	      v_str(zone_printf(z, "system:serviceaccount:" STR_FMT ":" STR_FMT, STR_ARG(q->t.ns),
				STR_ARG(q->t.name))));
	return claims;
}

enum outcome token_create(struct request *q)
{
	static const struct kube_resource request = {.group = "authentication.k8s.io",
						     .version = "v1",
						     .resource = "tokenrequests",
						     .kind = "TokenRequest"};
	value v, claims, status = v_map(), *spec;
	int64_t now = clock_wall_s(), lifetime;
	struct kube_errors errs = {.z = q->z};
	struct str uid;
	char when[21];

	if (negotiate(q, false, false) ||
	    body_typed(q, "authentication.k8s.io/v1", "TokenRequest", &v))
		return ANSWERED;
	if (!read_account(q, &uid))
		return answer_status(q, kube_status_not_found(q->z, q->t.r, q->t.name));
	spec = v_map_at(q->z, &v, "spec");
	lifetime = v_get_int(spec, "expirationSeconds", LIFETIME_DEFAULT_S);
	if (lifetime < LIFETIME_MIN_S)
		kube_error_add(
			&errs, STR("spec.expirationSeconds"), "FieldValueInvalid",
			"Invalid value: %lld: may not specify a duration less than 10 minutes",
			(long long)lifetime);
	if (errs.n)
		return answer_status(q, kube_status_invalid(q->z, &request, STR(""), &errs));
	claims = make_claims(q, spec, uid, now, lifetime);
	time_format((uint32_t)(now + lifetime), when);
	v_set(q->z, &status, "token", v_str(sign(q->api, q->z, &claims)));
	v_set(q->z, &status, "expirationTimestamp", v_str(zone_str(q->z, str_of(when))));
	v_set(q->z, spec, "audiences", *v_get(&claims, "aud"));
	v_set(q->z, spec, "expirationSeconds", v_int(lifetime));
	v_set(q->z, v_map_at(q->z, &v, "metadata"), "name", v_str(q->t.name));
	v_set(q->z, v_map_at(q->z, &v, "metadata"), "namespace", v_str(q->t.ns));
	v_set(q->z, &v, "status", status);
	return answer_value(q, 201, &v);
}

/* --- For others to check our tokens ------------------------------------------------- */

enum outcome openid_configuration(struct request *q)
{
	zone *z = q->z;
	value v = v_map();

	v_set(z, &v, "issuer", v_cstr(ISSUER));
	v_set(z, &v, "jwks_uri",
	      v_str(zone_printf(z, "https://%s/openid/v1/jwks", q->api->address)));
	v_append(z, v_array_at(z, &v, "response_types_supported"), v_cstr("id_token"));
	v_append(z, v_array_at(z, &v, "subject_types_supported"), v_cstr("public"));
	v_append(z, v_array_at(z, &v, "id_token_signing_alg_values_supported"), v_cstr("ES256"));
	return answer_value(q, 200, &v);
}

static struct str coordinate(zone *z, const gnutls_datum_t *n)
{
	struct buf raw = {0}, text = {0};
	struct str out;

	add_fixed(&raw, n);
	add_b64url(&text, raw.p, raw.n);
	out = zone_str(z, buf_str(&text));
	buf_free(&raw);
	buf_free(&text);
	return out;
}

enum outcome openid_keys(struct request *q)
{
	gnutls_ecc_curve_t curve;
	gnutls_datum_t x = {0}, y = {0};
	value v = v_map(), key = v_map();
	zone *z = q->z;

	weft_assert(!gnutls_pubkey_export_ecc_raw(checking_key(q->api), &curve, &x, &y));
	v_set(z, &key, "use", v_cstr("sig"));
	v_set(z, &key, "kty", v_cstr("EC"));
	v_set(z, &key, "kid", v_str(key_id(q->api, z)));
	v_set(z, &key, "crv", v_cstr("P-256"));
	v_set(z, &key, "alg", v_cstr("ES256"));
	v_set(z, &key, "x", v_str(coordinate(z, &x)));
	v_set(z, &key, "y", v_str(coordinate(z, &y)));
	v_append(z, v_array_at(z, &v, "keys"), key);
	gnutls_free(x.data);
	gnutls_free(y.data);
	answer_value(q, 200, &v);
	q->content_type = "application/jwk-set+json";
	return ANSWERED;
}

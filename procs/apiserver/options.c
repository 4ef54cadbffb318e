/*
 * options.c - the options of lists and watches.
 */
#include <gnutls/gnutls.h>
#include "procs/apiserver/malformed.h"
#include "procs/apiserver/options.h"

/* --- Continue tokens ---------------------------------------------------------------- */

/* Base64 for URLs, without padding, of {"v","rv","start","left"}. */
struct str continue_encode(zone *z, const struct continue_at *at)
{
	struct buf json = {0};
	gnutls_datum_t in, out = {0};
	struct str key, text;
	char *p;
	uint32_t n;

	key = zone_printf(z, STR_FMT "/" STR_FMT, STR_ARG(at->ns), STR_ARG(at->name));
	buf_printf(&json, "{\"v\":\"meta.k8s.io/v1\",\"rv\":%lld,\"start\":",
		   at->rv ? (long long)at->rv : -1LL);
	json_quote(&json, key);
	if (at->left >= 0)
		buf_printf(&json, ",\"left\":%lld", (long long)at->left);
	buf_putc(&json, '}');
	in = (gnutls_datum_t){(unsigned char *)json.p, (unsigned)json.n};
	weft_assert(!gnutls_base64_encode2(&in, &out));
	text = zone_str(z, (struct str){(char *)out.data, out.size});
	gnutls_free(out.data);
	buf_free(&json);
	p = (char *)text.p;
	for (n = 0; n < text.n && p[n] != '='; n++)
		p[n] = p[n] == '+' ? '-' : p[n] == '/' ? '_' : p[n];
	p[n] = '\0';
	return (struct str){p, n};
}

static bool token_json(zone *z, struct str token, struct str *json)
{
	uint32_t n = token.n;
	char *b64 = zone_alloc(z, n + 4);
	gnutls_datum_t in, out = {0};

	for (uint32_t i = 0; i < n; i++)
		b64[i] = token.p[i] == '-' ? '+' : token.p[i] == '_' ? '/' : token.p[i];
	while (n % 4)
		b64[n++] = '=';
	in = (gnutls_datum_t){(unsigned char *)b64, n};
	if (gnutls_base64_decode2(&in, &out))
		return false;
	*json = zone_str(z, (struct str){(char *)out.data, out.size});
	gnutls_free(out.data);
	return true;
}

int continue_decode(zone *z, struct str token, struct continue_at *at, struct str *message)
{
	struct str json, start;
	const char *slash;
	int64_t rv;
	value v;

	*message = STR("invalid continue token: continue key is not valid: illegal base64 data at "
		       "input byte 0");
	if (!token_json(z, token, &json))
		return WEFT_EINVAL;
	*message = zone_printf(z, "invalid continue token: continue key is not valid: " STR_FMT,
			       STR_ARG(json_complaint(z, json)));
	if (json_decode(z, json, &v, NULL, NULL))
		return WEFT_EINVAL;
	if (!str_eq(v_get_str(&v, "v"), STR("meta.k8s.io/v1"))) {
		*message = zone_printf(z,
				       "invalid continue token: continue key is not valid: server "
				       "does not recognize this encoded version " STR_FMT,
				       STR_ARG(v_get_str(&v, "v")));
		return WEFT_EINVAL;
	}
	start = v_get_str(&v, "start");
	rv = v_get_int(&v, "rv", 0);
	*message = STR("invalid continue token: continue key is not valid: incorrect encoded start "
		       "resourceVersion (version meta.k8s.io/v1)");
	if (!rv)
		return WEFT_EINVAL;
	*message = STR("invalid continue token: continue key is not valid: encoded start key empty "
		       "(version meta.k8s.io/v1)");
	if (!start.n)
		return WEFT_EINVAL;
	*message = zone_printf(z, "invalid continue token: continue key is not valid: " STR_FMT,
			       STR_ARG(start));
	slash = memchr(start.p, '/', start.n);
	if (!slash || rv < -1 || (start.n > 2 && !memcmp(start.p, "../", 3)))
		return WEFT_EINVAL;
	at->rv = rv > 0 ? (uint64_t)rv : 0;
	at->ns = (struct str){start.p, (uint32_t)(slash - start.p)};
	at->name = (struct str){slash + 1, start.n - at->ns.n - 1};
	at->left = v_get_int(&v, "left", -1);
	return at->name.n && start.n <= KEY_MAX ? WEFT_OK : WEFT_EINVAL;
}

/* --- resourceVersion ---------------------------------------------------------------- */

enum outcome answer_expired(struct request *q, struct str message)
{
	return answer_status(q, kube_status_expired(q->z, message));
}

static void answer_too_large(struct request *q, uint64_t want, uint64_t have)
{
	zone *z = q->z;
	struct str why = zone_printf(z, "Timeout: Too large resource version: %llu, current: %llu",
				     (unsigned long long)want, (unsigned long long)have);
	value status = kube_status(z, 504, "Timeout", why);
	value cause = v_map(), *details = v_map_at(z, &status, "details");

	v_set(z, &cause, "reason", v_cstr("ResourceVersionTooLarge"));
	v_set(z, &cause, "message", v_cstr("Too large resource version"));
	v_append(z, v_array_at(z, details, "causes"), cause);
	v_set(z, v_map_at(z, &status, "details"), "retryAfterSeconds", v_int(1));
	answer_status(q, status);
}

/* A list says what kind of thing is invalid; get and watch let Go's own words
 * through. */
static int parse_version(struct request *q, bool is_list, uint64_t *rv)
{
	struct str text = query_get(&q->query, "resourceVersion"), why;
	char *end;

	*rv = 0;
	if (!text.n)
		return WEFT_OK;
	errno = 0;
	*rv = strtoull(text.p, &end, 10);
	if (!*end && !errno && text.p[0] >= '0' && text.p[0] <= '9')
		return WEFT_OK;
	why = zone_printf(q->z,
			  "resourceVersion: Invalid value: \"" STR_FMT
			  "\": strconv.ParseUint: parsing \"" STR_FMT "\": invalid syntax",
			  STR_ARG(text), STR_ARG(text));
	if (is_list)
		answer_bad_request(
			q, zone_printf(q->z, "invalid resource version: " STR_FMT, STR_ARG(why)));
	else
		answer_plain_error(q, why);
	return WEFT_EINVAL;
}

int options_version(struct request *q, bool is_list, uint64_t *rv)
{
	uint64_t have = cache_rv(api_cache(q->api));

	if (parse_version(q, is_list, rv))
		return WEFT_EINVAL;
	if (*rv <= have)
		return WEFT_OK;
	answer_too_large(q, *rv, have);
	return WEFT_EINVAL;
}

/* --- ListOptions -------------------------------------------------------------------- */

/* A way in which options do not go together. */
struct clash {
	bool is;
	const char *field, *reason;
	const char *why;
};

static int answer_clashes(struct request *q, const struct clash *list, size_t n)
{
	static const struct kube_resource r = {.group = "meta.k8s.io", .kind = "ListOptions"};
	struct kube_errors errs = {.z = q->z};

	for (size_t i = 0; i < n; i++)
		if (list[i].is)
			kube_error_add(&errs, str_of(list[i].field), list[i].reason, "%s",
				       list[i].why);
	if (!errs.n)
		return WEFT_OK;
	answer_status(q, kube_status_invalid(q->z, &r, STR(""), &errs));
	return WEFT_EINVAL;
}

static const char forbidden[] = "FieldValueForbidden", unsupported[] = "FieldValueNotSupported";
static const char match_field[] = "resourceVersionMatch", initial_field[] = "sendInitialEvents";

static const char *unsupported_match(struct request *q, struct str match, const char *known)
{
	return zone_printf(q->z, "Unsupported value: \"" STR_FMT "\": supported values: %s",
			   STR_ARG(match), known)
		.p;
}

static int check_watch(struct request *q, const struct list_options *o, struct str match)
{
	bool other = match.n && o->match != MATCH_NOT_OLDER;
	const struct clash clashes[] = {
		{o->has_send_initial && o->match != MATCH_NOT_OLDER, match_field, forbidden,
		 "Forbidden: sendInitialEvents requires setting resourceVersionMatch to "
		 "NotOlderThan"},
		{match.n && !o->has_send_initial, match_field, forbidden,
		 "Forbidden: resourceVersionMatch is forbidden for watch unless "
		 "sendInitialEvents is provided"},
		{other, match_field, unsupported, unsupported_match(q, match, "\"NotOlderThan\"")},
		{o->continues, match_field, forbidden,
		 "Forbidden: resourceVersionMatch is forbidden when continue is provided"},
	};

	return answer_clashes(q, clashes, countof(clashes));
}

static int check_list(struct request *q, const struct list_options *o, struct str match)
{
	const struct clash clashes[] = {
		{match.n && !o->has_version, match_field, forbidden,
		 "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is "
		 "provided"},
		{match.n && o->continues, match_field, forbidden,
		 "Forbidden: resourceVersionMatch is forbidden when continue is provided"},
		{match.n && o->match == MATCH_UNSET, match_field, unsupported,
		 unsupported_match(q, match, "\"Exact\", \"NotOlderThan\", \"\"")},
		{o->match == MATCH_EXACT && o->has_version && !o->version, match_field, forbidden,
		 "Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion "
		 "\"0\""},
		{o->has_send_initial, initial_field, forbidden,
		 "Forbidden: sendInitialEvents is forbidden for list"},
	};

	return answer_clashes(q, clashes, countof(clashes));
}

static int parse_match(struct request *q, struct list_options *o)
{
	struct str match = query_get(&q->query, match_field);

	o->continues = query_get(&q->query, "continue").n > 0;
	o->has_send_initial = query_has(&q->query, initial_field);
	o->send_initial = query_bool(&q->query, initial_field);
	if (str_eq(match, STR("NotOlderThan")))
		o->match = MATCH_NOT_OLDER;
	else if (str_eq(match, STR("Exact")))
		o->match = MATCH_EXACT;
	return o->is_watch ? check_watch(q, o, match) : check_list(q, o, match);
}

static int parse_continue(struct request *q, struct list_options *o)
{
	struct str token = query_get(&q->query, "continue"), why;

	if (!o->continues)
		return WEFT_OK;
	if (o->has_version && o->version) {
		answer_bad_request(q, STR("specifying resource version is not allowed when using "
					  "continue"));
		return WEFT_EINVAL;
	}
	if (!continue_decode(q->z, token, &o->from, &why))
		return WEFT_OK;
	answer_bad_request(q, why);
	return WEFT_EINVAL;
}

int options_parse(struct request *q, bool is_watch, struct list_options *o)
{
	struct str why;

	*o = (struct list_options){.is_watch = is_watch};
	if (query_int(q->z, &q->query, "limit", 0, &o->limit, &why) ||
	    query_int(q->z, &q->query, "timeoutSeconds", 0, &o->timeout_s, &why)) {
		answer_bad_request(q, why);
		return WEFT_EINVAL;
	}
	o->bookmarks = query_bool(&q->query, "allowWatchBookmarks");
	o->has_version = query_get(&q->query, "resourceVersion").n > 0;
	if (is_watch ? options_version(q, false, &o->version) : parse_version(q, true, &o->version))
		return WEFT_EINVAL;
	if (parse_match(q, o) || (!is_watch && parse_continue(q, o)))
		return WEFT_EINVAL;
	if (o->limit < 0)
		o->limit = 0;
	if (o->match == MATCH_UNSET && o->version && o->limit && !is_watch)
		o->match = MATCH_EXACT;
	return is_watch || o->match == MATCH_EXACT ? WEFT_OK
						   : options_version(q, true, &o->version);
}

/*
 * body.c - request bodies.
 */
#include <stdio.h>
#include <strings.h>
#include "procs/apiserver/body.h"
#include "procs/apiserver/malformed.h"
#include "weft/schema.h"

#define SNIPPET_MAX 30 /* bytes of a bad body that its error shows */

/* --- Decoding ----------------------------------------------------------------------- */

/* The media type without parameters. */
static struct str content_type(struct request *q)
{
	struct str type = request_header(q, "Content-Type");
	const char *semi = memchr(type.p, ';', type.n);

	if (semi)
		type.n = (uint32_t)(semi - type.p);
	while (type.n && type.p[type.n - 1] == ' ')
		type.n--;
	return type;
}

static bool same_type(struct str a, const char *b)
{
	return a.n == strlen(b) && !strncasecmp(a.p, b, a.n);
}

static void answer_unknown_format(struct request *q)
{
	answer_status(q, kube_status(q->z, 415, "UnsupportedMediaType",
				     STR("the body of the request was in an unknown format - "
					 "accepted media types include: application/json, "
					 "application/yaml, "
					 "application/vnd.kubernetes.protobuf")));
}

/* What the error about a bad body shows of it. */
static struct str snippet(struct request *q)
{
	struct str body = buf_str(&q->body), start = body;
	const char *more = "";
	char *hex;

	if (!body.n)
		return STR("<empty>");
	if (body.n > SNIPPET_MAX) {
		start.n = SNIPPET_MAX;
		more = " ...";
	}
	if (body.p[0] == '{') {
		start.n = utf8_valid_prefix(start);
		return zone_printf(q->z, STR_FMT "%s", STR_ARG(start), more);
	}
	hex = zone_alloc(q->z, 2 * start.n + 1);
	for (uint32_t i = 0; i < start.n; i++)
		snprintf(hex + 2 * i, 3, "%02x", (uint8_t)start.p[i]);
	return zone_printf(q->z, "%s%s", hex, more);
}

/* DeleteOptions are decoded by other rules, with shorter errors. */
static bool is_options(const char *kind)
{
	return !strcmp(kind, "DeleteOptions");
}

static int answer_unrecognized(struct request *q, const char *kind, struct str why)
{
	answer_bad_request(
		q, is_options(kind) ? why
				    : zone_printf(q->z,
						  "the object provided is unrecognized (must be of "
						  "type %s): " STR_FMT " (" STR_FMT ")",
						  kind, STR_ARG(why), STR_ARG(snippet(q))));
	return WEFT_EINVAL;
}

static int answer_bad_json(struct request *q, const char *kind, const struct err *e)
{
	struct str why = json_complaint(q->z, buf_str(&q->body));

	if (!why.n)
		why = str_of(e->msg);
	return answer_unrecognized(
		q, kind,
		zone_printf(q->z, "couldn't get version/kind; json parse error: " STR_FMT,
			    STR_ARG(why)));
}

/* "yaml: line 3: ..." */
static struct str yaml_complaint(zone *z, const struct err *e)
{
	static const char ours[] = "invalid YAML at ";
	bool has = !strncmp(e->msg, ours, strlen(ours));

	return zone_printf(z, "yaml: %s", e->msg + (has ? strlen(ours) : 0));
}

static int decode(struct request *q, const char *kind, value *out, struct json_notes *notes)
{
	struct str type = content_type(q), body = buf_str(&q->body);
	struct err e = {0};

	if (!type.n || same_type(type, "application/json") || same_type(type, "*/*")) {
		if (!json_decode(q->z, body, out, notes, &e))
			return WEFT_OK;
		return answer_bad_json(q, kind, &e);
	} else if (same_type(type, "application/yaml")) {
		if (!yaml_decode(q->z, body, out, notes, &e))
			return WEFT_OK;
		return answer_unrecognized(q, kind, yaml_complaint(q->z, &e));
	} else if (same_type(type, "application/vnd.kubernetes.protobuf")) {
		struct str why;

		if (!kube_protobuf_decode(q->z, body, out, &why))
			return WEFT_OK;
		answer_bad_request(q, why);
	} else {
		answer_unknown_format(q);
	}
	return WEFT_EINVAL;
}

/* --- Kind --------------------------------------------------------------------------- */

/* What Go's decoder calls a JSON value. */
static const char *go_kind(const value *v)
{
	if (v_is_array(v))
		return "array";
	if (v_is_str(v))
		return "string";
	if (v_is_map(v))
		return "object";
	return v->type == MSGPACK_OBJECT_BOOLEAN ? "bool" : "number";
}

/* `obj` is an object (null is an empty one), and its kind and apiVersion are
 * words. */
static int check_head(struct request *q, value *obj, const char *kind)
{
	static const char *const words[] = {"apiVersion", "kind"};
	struct str api_version;
	const value *v;

	if (v_is_null(obj))
		*obj = v_map();
	if (!v_is_map(obj))
		return answer_unrecognized(
			q, kind,
			zone_printf(q->z,
				    "couldn't get version/kind; json parse error: json: cannot "
				    "unmarshal %s into Go value of type struct { APIVersion string "
				    "\"json:\\\"apiVersion,omitempty\\\"\"; Kind string "
				    "\"json:\\\"kind,omitempty\\\"\" }",
				    go_kind(obj)));
	for (size_t i = 0; i < countof(words); i++) {
		v = v_get(obj, words[i]);
		if (v && !v_is_null(v) && !v_is_str(v))
			return answer_unrecognized(
				q, kind,
				zone_printf(q->z,
					    "couldn't get version/kind; json parse error: json: "
					    "cannot unmarshal %s into Go struct field .%s of type "
					    "string",
					    go_kind(v), words[i]));
	}
	api_version = v_get_str(obj, "apiVersion");
	for (uint32_t i = 0, slashes = 0; i < api_version.n; i++) {
		slashes += api_version.p[i] == '/';
		if (slashes > 1)
			return answer_unrecognized(
				q, kind,
				zone_printf(q->z, "unexpected GroupVersion string: " STR_FMT,
					    STR_ARG(api_version)));
	}
	return WEFT_OK;
}

/* Kinds of objects and their lists. */
static bool registered(struct str group, struct str version, struct str kind)
{
	struct str list = STR("List"), of = kind;

	if (kube_by_kind(group, version, kind))
		return true;
	if (kind.n <= list.n || memcmp(kind.p + kind.n - list.n, list.p, list.n))
		return false;
	of.n -= list.n;
	return kube_by_kind(group, version, of) != NULL;
}

/* `obj` says that it is what is wanted, or nothing (then it is told). */
static int check_kind(struct request *q, value *obj, const char *api_version, const char *kind)
{
	struct str got_kind = v_get_str(obj, "kind"), got_version = v_get_str(obj, "apiVersion");
	struct str group, version, why;

	if (check_head(q, obj, kind))
		return WEFT_EINVAL;
	if (!got_kind.n)
		v_set(q->z, obj, "kind", v_cstr(kind));
	if (!got_version.n)
		v_set(q->z, obj, "apiVersion", v_cstr(api_version));
	got_kind = v_get_str(obj, "kind");
	got_version = v_get_str(obj, "apiVersion");
	/* What kubectl up to 1.21 sends; the same fields. */
	if (!strcmp(kind, "Eviction") && str_eq(got_version, STR("policy/v1beta1"))) {
		v_set(q->z, obj, "apiVersion", v_cstr(api_version));
		got_version = str_of(api_version);
	}
	if (str_is(got_kind, kind) && str_is(got_version, api_version))
		return WEFT_OK;
	kube_split_version(got_version, &group, &version);
	if (is_options(kind))
		why = zone_printf(q->z,
				  "no kind \"" STR_FMT "\" is registered for version \"" STR_FMT
				  "\" in scheme \"pkg/runtime/scheme.go:111\"",
				  STR_ARG(got_kind), STR_ARG(got_version));
	else if (!registered(group, version, got_kind))
		why = zone_printf(q->z,
				  STR_FMT
				  " in version \"" STR_FMT "\" cannot be handled as a %s: no "
				  "kind \"" STR_FMT "\" is registered for version \"" STR_FMT
				  "\" in scheme \"pkg/runtime/scheme.go:111\"",
				  STR_ARG(got_kind), STR_ARG(version), kind, STR_ARG(got_kind),
				  STR_ARG(got_version));
	else
		why = zone_printf(q->z,
				  STR_FMT " in version \"" STR_FMT "\" cannot be handled as a %s: "
					  "converting (" STR_FMT "." STR_FMT
					  ") to (core.%s): unknown "
					  "conversion",
				  STR_ARG(got_kind), STR_ARG(version), kind, STR_ARG(version),
				  STR_ARG(got_kind), kind);
	answer_bad_request(q, why);
	return WEFT_EINVAL;
}

/* --- Fields ------------------------------------------------------------------------- */

enum validation { VALIDATE_WARN, VALIDATE_STRICT, VALIDATE_IGNORE, VALIDATE_UNKNOWN };

static enum validation field_validation(const struct request *q)
{
	struct str text = query_get(&q->query, "fieldValidation");

	if (!text.n || str_eq(text, STR("Warn")))
		return VALIDATE_WARN;
	if (str_eq(text, STR("Strict")))
		return VALIDATE_STRICT;
	return str_eq(text, STR("Ignore")) ? VALIDATE_IGNORE : VALIDATE_UNKNOWN;
}

/* Each note as a warning, or all in one line. */
static void add_notes(struct request *q, struct buf *line, const char *what, const struct str *list,
		      uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct str text =
			zone_printf(q->z, "%s field \"" STR_FMT "\"", what, STR_ARG(list[i]));

		if (!line) {
			answer_warn(q, text);
			continue;
		}
		if (line->n)
			buf_puts(line, ", ");
		buf_addstr(line, text);
	}
}

/* A patch is read for itself before what it made is: its duplicates come
 * first. */
static void add_all_notes(struct request *q, struct buf *line, const struct kube_notes *unknown,
			  const struct json_notes *twice)
{
	bool first = q->method == METHOD_PATCH;

	if (twice && first)
		add_notes(q, line, "duplicate", twice->duplicate, twice->nduplicate);
	add_notes(q, line, "unknown", unknown->unknown, unknown->nunknown);
	if (twice && !first)
		add_notes(q, line, "duplicate", twice->duplicate, twice->nduplicate);
}

/* The object cannot be decoded.  A patch's error shows what the patch made. */
static void answer_cannot_handle(struct request *q, const struct kube_resource *r, const char *kind,
				 const char *version, struct str why, const struct remake *patched)
{
	struct kube_resource none = {.group = "", .resource = "", .kind = ""};
	struct kube_errors errs = {.z = q->z};
	struct buf text = {0}, quoted = {0};
	value status, made;

	if (!patched) {
		answer_bad_request(q, r ? kube_cannot_handle(q->z, r, why)
					: zone_printf(q->z,
						      "%s in version \"%s\" cannot be handled as a "
						      "%s: " STR_FMT,
						      kind, version, kind, STR_ARG(why)));
		return;
	}
	made = patched->make(q, patched->arg);
	json_encode(&text, &made, NULL);
	json_quote(&quoted, buf_str(&text));
	buf_free(&text);
	kube_error_add(&errs, STR("patch"), "FieldValueInvalid",
		       "Invalid value: " STR_FMT ": " STR_FMT, (int)quoted.n, quoted.p,
		       STR_ARG(why));
	buf_free(&quoted);
	status = kube_status_invalid(q->z, &none, STR(""), &errs);
	v_del(v_get(&status, "details"), "kind");
	answer_status(q, status);
}

/* Unknown and duplicate fields, as fieldValidation says. */
static int judge_fields(struct request *q, const struct kube_resource *r, const char *kind,
			const char *version, const struct kube_notes *unknown,
			const struct json_notes *twice, const struct remake *patched)
{
	struct buf line = {0};
	struct str why;

	switch (field_validation(q)) {
	case VALIDATE_UNKNOWN:
		answer_bad_option(q, options_kind(q), "fieldValidation", "FieldValueNotSupported",
				  zone_printf(q->z,
					      "Unsupported value: \"" STR_FMT
					      "\": supported values: \"\", \"Ignore\", \"Strict\", "
					      "\"Warn\"",
					      STR_ARG(query_get(&q->query, "fieldValidation"))));
		return WEFT_EINVAL;
	case VALIDATE_IGNORE:
		return WEFT_OK;
	case VALIDATE_WARN:
		add_all_notes(q, NULL, unknown, twice);
		return WEFT_OK;
	case VALIDATE_STRICT:
		break;
	}
	add_all_notes(q, &line, unknown, twice);
	if (!line.n)
		return WEFT_OK;
	why = zone_printf(q->z, "strict decoding error: " STR_FMT, (int)line.n, line.p);
	buf_free(&line);
	answer_cannot_handle(q, r, kind, version, why, patched);
	return WEFT_EINVAL;
}

int body_check(struct request *q, const struct kube_resource *r, value *obj,
	       const struct json_notes *notes, const struct remake *patched)
{
	struct kube_notes unknown = {0};
	struct str why;

	if (!kube_check(q->z, r, obj, &unknown, &why))
		return judge_fields(q, r, r->kind, r->version, &unknown, notes, patched);
	answer_cannot_handle(q, r, r->kind, r->version, why, patched);
	return WEFT_EINVAL;
}

int body_object(struct request *q, const struct kube_resource *r, value *out)
{
	struct json_notes notes = {0};

	if (decode(q, r->kind, out, &notes) || check_kind(q, out, r->api_version, r->kind))
		return WEFT_EINVAL;
	return body_check(q, r, out, &notes, NULL);
}

int body_typed(struct request *q, const char *api_version, const char *kind, value *out)
{
	struct json_notes notes = {0};
	struct kube_notes unknown = {0};
	struct str group, version, why;
	const struct kube_schema *schema;

	if (decode(q, kind, out, &notes) || check_kind(q, out, api_version, kind))
		return WEFT_EINVAL;
	kube_split_version(str_of(api_version), &group, &version);
	schema = kube_schema_of(str_of(api_version), str_of(kind));
	if (!schema)
		return WEFT_OK;
	if (!kube_check_as(q->z, schema, out, &unknown, &why))
		return judge_fields(q, NULL, kind, version.p, &unknown, &notes, NULL);
	answer_bad_request(q, is_options(kind)
				      ? why
				      : zone_printf(q->z,
						    "%s in version \"" STR_FMT
						    "\" cannot be handled as a %s: " STR_FMT,
						    kind, STR_ARG(version), kind, STR_ARG(why)));
	return WEFT_EINVAL;
}

/* validate_errors.c - how errors of validation are put, and the checks that all share. */
#include <stdarg.h>
#include <stdio.h>

#include "procs/kube/go_text.h"
#include "procs/kube/validate.h"
#include "weft/json.h"

/* --- Paths ------------------------------------------------------------------------- */

static void put_path(struct buf *out, const struct at *at)
{
	if (!at)
		return;
	put_path(out, at->up);
	if (at->name)
		buf_printf(out, "%s%s", out->n ? "." : "", at->name);
	else if (at->key.p)
		buf_printf(out, "[" STR_FMT "]", STR_ARG(at->key));
	else
		buf_printf(out, "[%u]", at->index);
}

static struct str path_of(struct validation *v, const struct at *at)
{
	struct buf b = {0};
	struct str s;

	put_path(&b, at);
	s = zone_str(v->z, buf_str(&b));
	buf_free(&b);
	return s;
}

/* --- Errors ------------------------------------------------------------------------ */

static void put_shown(struct validation *v, struct buf *out, const value *shown)
{
	if (v_is_str(shown))
		buf_addstr(out, go_quote(v->z, v_as_str(shown)));
	else if (shown)
		json_encode(out, shown, NULL);
	else
		buf_puts(out, "null");
}

static struct str detail_of(zone *z, const char *fmt, va_list ap)
{
	char text[2048];
	int n = vsnprintf(text, sizeof(text), fmt, ap);

	return zone_str(z, (struct str){text, n < (int)sizeof(text) ? (uint32_t)n
								    : (uint32_t)sizeof(text) - 1});
}

void bad_required(struct validation *v, const struct at *at, const char *detail)
{
	kube_error_add(v->errs, path_of(v, at), "FieldValueRequired", "Required value%s%s",
		       detail ? ": " : "", detail ? detail : "");
}

void bad_invalid(struct validation *v, const struct at *at, const value *shown, const char *fmt,
		 ...)
{
	struct buf b = {0};
	struct str detail;
	va_list ap;

	va_start(ap, fmt);
	detail = detail_of(v->z, fmt, ap);
	va_end(ap);
	put_shown(v, &b, shown);
	kube_error_add(v->errs, path_of(v, at), "FieldValueInvalid",
		       "Invalid value: " STR_FMT ": " STR_FMT, STR_ARG(buf_str(&b)),
		       STR_ARG(detail));
	buf_free(&b);
}

void bad_forbidden(struct validation *v, const struct at *at, const char *fmt, ...)
{
	struct str detail;
	va_list ap;

	va_start(ap, fmt);
	detail = detail_of(v->z, fmt, ap);
	va_end(ap);
	kube_error_add(v->errs, path_of(v, at), "FieldValueForbidden", "Forbidden: " STR_FMT,
		       STR_ARG(detail));
}

void bad_supported(struct validation *v, const struct at *at, const value *shown,
		   const char *const *list)
{
	struct buf b = {0};

	put_shown(v, &b, shown);
	buf_puts(&b, ": supported values: ");
	for (const char *const *p = list; *p; p++)
		buf_printf(&b, "%s\"%s\"", p > list ? ", " : "", *p);
	kube_error_add(v->errs, path_of(v, at), "FieldValueNotSupported",
		       "Unsupported value: " STR_FMT, STR_ARG(buf_str(&b)));
	buf_free(&b);
}

void bad_duplicate(struct validation *v, const struct at *at, const value *shown)
{
	struct buf b = {0};

	put_shown(v, &b, shown);
	kube_error_add(v->errs, path_of(v, at), "FieldValueDuplicate", "Duplicate value: " STR_FMT,
		       STR_ARG(buf_str(&b)));
	buf_free(&b);
}

void bad_not_found(struct validation *v, const struct at *at, struct str what, const char *detail)
{
	kube_error_add(v->errs, path_of(v, at), "FieldValueNotFound", "Not found: " STR_FMT "%s%s",
		       STR_ARG(go_quote(v->z, what)), detail ? ": " : "", detail ? detail : "");
}

void bad_too_long(struct validation *v, const struct at *at, uint32_t max)
{
	kube_error_add(v->errs, path_of(v, at), "FieldValueTooLong",
		       "Too long: may not be more than %u bytes", max);
}

/* --- Small checks ------------------------------------------------------------------ */

bool has_prefix(struct str s, const char *prefix)
{
	size_t n = strlen(prefix);

	return s.n >= n && !memcmp(s.p, prefix, n);
}

bool has_backstep(struct str path)
{
	for (uint32_t start = 0, i = 0; i <= path.n; i++) {
		if (i < path.n && path.p[i] != '/')
			continue;
		if (i - start == 2 && path.p[start] == '.' && path.p[start + 1] == '.')
			return true;
		start = i + 1;
	}
	return false;
}

bool is_str(const value *map, const char *key, const char *text)
{
	return str_is(v_get_str(map, key), text);
}

bool check_name(struct validation *v, const struct at *at, struct str s, name_check *check)
{
	struct texts t = {.n = 0};

	check(&t, s);
	for (uint32_t i = 0; i < t.n; i++)
		bad_invalid(v, at, SHOW(s), "%s", t.text[i]);
	return !t.n;
}

bool check_required(struct validation *v, const struct at *at, const value *map, const char *key)
{
	if (v_get_str(map, key).n)
		return true;
	bad_required(v, FIELD(at, key), NULL);
	return false;
}

bool check_one_of(struct validation *v, const struct at *at, const value *map, const char *key,
		  const char *const *list)
{
	const value *m = v_get(map, key);

	if (v_is_null(m))
		return true;
	for (const char *const *p = list; *p; p++)
		if (str_is(v_as_str(m), *p))
			return true;
	bad_supported(v, FIELD(at, key), m, list);
	return false;
}

bool check_not_negative(struct validation *v, const struct at *at, const value *map,
			const char *key)
{
	const value *m = v_get(map, key);

	if (v_as_int(m, 0) >= 0)
		return true;
	bad_invalid(v, FIELD(at, key), m, "must be greater than or equal to 0");
	return false;
}

bool check_between(struct validation *v, const struct at *at, const value *map, const char *key,
		   int64_t low, int64_t high)
{
	const value *m = v_get(map, key);

	if (v_as_int(m, low) >= low && v_as_int(m, low) <= high)
		return true;
	bad_invalid(v, FIELD(at, key), m, "must be between %lld and %lld, inclusive",
		    (long long)low, (long long)high);
	return false;
}

void check_port(struct validation *v, const struct at *at, const value *port)
{
	int64_t n = v_as_int(port, 0);

	if (v_is_str(port))
		check_name(v, at, v_as_str(port), names_port);
	else if (n < 1 || n > 65535)
		bad_invalid(v, at,
			    v_is_null(port)
				    ? &(const value){.type = MSGPACK_OBJECT_POSITIVE_INTEGER}
				    : port,
			    "must be between 1 and 65535, inclusive");
}

bool is_same(const value *a, const value *b)
{
	return (v_is_null(a) && v_is_null(b)) || (a && b && v_equal(a, b));
}

bool check_immutable(struct validation *v, const struct at *at, const value *now, const value *was)
{
	if (is_same(now, was))
		return true;
	bad_invalid(v, at, now, "field is immutable");
	return false;
}

/* --- Labels, annotations, selectors ------------------------------------------------ */

#define ANNOTATIONS_MAX (256 * 1024)

void check_labels(struct validation *v, const struct at *at, const value *labels)
{
	v_each_kv(kv, labels) {
		check_name(v, at, v_as_str(&kv->key), names_qualified);
		check_name(v, at, v_as_str(&kv->val), names_label_value);
	}
}

void check_annotations(struct validation *v, const struct at *at, const value *annotations)
{
	uint64_t size = 0;

	v_each_kv(kv, annotations) {
		struct str key = v_as_str(&kv->key);
		char *lower = zone_alloc(v->z, key.n + 1);

		for (uint32_t i = 0; i < key.n; i++)
			lower[i] = key.p[i] >= 'A' && key.p[i] <= 'Z' ? key.p[i] + 32 : key.p[i];
		check_name(v, at, (struct str){lower, key.n}, names_qualified);
		size += key.n + v_as_str(&kv->val).n;
	}
	if (size > ANNOTATIONS_MAX)
		bad_too_long(v, at, ANNOTATIONS_MAX);
}

static void check_requirement(struct validation *v, const struct at *at, const value *e)
{
	struct str op = v_get_str(e, "operator");
	uint32_t n = v_len(v_get(e, "values")), i = 0;
	const struct at *values = FIELD(at, "values");

	if (str_eq(op, STR("In")) || str_eq(op, STR("NotIn"))) {
		if (!n)
			bad_required(v, values,
				     "must be specified when `operator` is 'In' or 'NotIn'");
	} else if (str_eq(op, STR("Exists")) || str_eq(op, STR("DoesNotExist"))) {
		if (n)
			bad_forbidden(v, values,
				      "may not be specified when `operator` is "
				      "'Exists' or 'DoesNotExist'");
	} else {
		bad_invalid(v, FIELD(at, "operator"), SHOW(op), "not a valid selector operator");
	}
	check_name(v, FIELD(at, "key"), v_get_str(e, "key"), names_qualified);
	v_each(el, v_get(e, "values"))
		check_name(v, INDEX(values, i++), v_as_str(el), names_label_value);
}

void check_selector(struct validation *v, const struct at *at, const value *selector)
{
	const struct at *list = FIELD(at, "matchExpressions");
	uint32_t i = 0;

	check_labels(v, FIELD(at, "matchLabels"), v_get(selector, "matchLabels"));
	v_each(e, v_get(selector, "matchExpressions"))
		check_requirement(v, INDEX(list, i++), e);
}

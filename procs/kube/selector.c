/*
 * selector.c - label selectors: their requirements, matching, printing, and
 * how they are made from objects.  (selector_parse.c reads queries.)
 */
#include "selector.h"
#include "go_text.h"
#include "label_syntax.h"
#include "peek.h"

#include <stdlib.h>

/* --- Making ---------------------------------------------------------------------- */

static bool to_int(struct str s, int64_t *out)
{
	char text[24], *end;

	if (!s.n || s.n >= sizeof text || s.p[0] == ' ' || s.p[0] == '\t')
		return false;
	memcpy(text, s.p, s.n);
	text[s.n] = 0;
	errno = 0;
	*out = strtoll(text, &end, 10);
	return !errno && end == text + s.n;
}

void requirement_value(zone *z, struct requirement *r, struct str v)
{
	struct str *grown;
	uint32_t at = 0;

	while (at < r->nvalues && str_cmp(r->values[at], v) < 0)
		at++;
	if (at < r->nvalues && str_eq(r->values[at], v))
		return;
	if ((r->nvalues & (r->nvalues - 1)) == 0) { /* full at each power of two */
		grown = zone_alloc(z, (r->nvalues ? 2 * r->nvalues : 1) * sizeof *grown);
		if (r->nvalues)
			memcpy(grown, r->values, r->nvalues * sizeof *grown);
		r->values = grown;
	}
	memmove(r->values + at + 1, r->values + at, (r->nvalues - at) * sizeof *r->values);
	r->values[at] = v;
	r->nvalues++;
}

/* Errors as Go's aggregate prints them: alone, or in brackets. */
struct problems {
	zone *z;
	struct str text;
	uint32_t n;
};

static void problem(struct problems *p, struct str text)
{
	p->text = p->n++ ? zone_printf(p->z, STR_FMT ", " STR_FMT, STR_ARG(p->text), STR_ARG(text))
			 : text;
}

static void check_value(struct problems *p, const struct requirement *r, uint32_t i)
{
	struct str v = r->values[i], quoted = go_quote(p->z, v);
	struct str why = label_value_problem(p->z, v);
	int64_t n;

	if ((r->op == OP_GREATER || r->op == OP_LESS) && !to_int(v, &n))
		problem(p, zone_printf(p->z,
				       "values[%u]: Invalid value: " STR_FMT
				       ": for 'Gt', 'Lt' operators, the value must be an integer",
				       i, STR_ARG(quoted)));
	if (why.n)
		problem(p,
			zone_printf(p->z,
				    "values[%u][" STR_FMT "]: Invalid value: " STR_FMT ": " STR_FMT,
				    i, STR_ARG(r->key), STR_ARG(quoted), STR_ARG(why)));
}

static void check(struct problems *p, const struct requirement *r)
{
	struct str why = label_key_problem(p->z, r->key), quoted = go_quote(p->z, r->key);

	if (why.n)
		problem(p, zone_printf(p->z, "key: Invalid value: " STR_FMT ": " STR_FMT,
				       STR_ARG(quoted), STR_ARG(why)));
	if ((r->op == OP_IN || r->op == OP_NOT_IN) && !r->nvalues)
		problem(p, STR("values: Invalid value: []: for 'in', 'notin' operators, values "
			       "set can't be empty"));
	if ((r->op == OP_EXISTS || r->op == OP_NOT_EXISTS) && r->nvalues)
		problem(p, STR("values: Invalid value: values set must be empty for exists and "
			       "does not exist"));
	for (uint32_t i = 0; i < r->nvalues; i++)
		check_value(p, r, i);
}

int selector_add(zone *z, struct kube_selector *s, const struct requirement *r, struct str *message)
{
	struct problems p = {.z = z};
	struct requirement *grown;

	check(&p, r);
	if (p.n) {
		*message = p.n == 1 ? p.text : zone_printf(z, "[" STR_FMT "]", STR_ARG(p.text));
		return WEFT_EINVAL;
	}
	if (s->n == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 4;
		grown = zone_alloc(z, s->cap * sizeof *grown);
		if (s->n)
			memcpy(grown, s->r, s->n * sizeof *grown);
		s->r = grown;
	}
	s->r[s->n] = *r;
	if (r->op == OP_GREATER || r->op == OP_LESS)
		to_int(r->values[0], &s->r[s->n].bound);
	s->n++;
	return WEFT_OK;
}

/* Stable, so that requirements of one key keep their order. */
void selector_sort(struct kube_selector *s)
{
	for (uint32_t i = 1; i < s->n; i++) {
		struct requirement r = s->r[i];
		uint32_t at = i;

		for (; at > 0 && str_cmp(s->r[at - 1].key, r.key) > 0; at--)
			s->r[at] = s->r[at - 1];
		s->r[at] = r;
	}
}

static struct kube_selector *new_selector(zone *z)
{
	struct kube_selector *s = zone_alloc(z, sizeof *s);

	memset(s, 0, sizeof *s);
	return s;
}

/* One label that has to be there with this value.  Not checked: what is stored
 * in an object was checked when it was written. */
static void add_equals(zone *z, struct kube_selector *s, struct str key, struct str v)
{
	struct requirement r = {.key = key, .op = OP_EQUALS};
	struct str ignored;

	requirement_value(z, &r, v);
	if (selector_add(z, s, &r, &ignored) != WEFT_OK)
		s->nothing = true; /* no object can carry such a label */
}

static int add_expression(zone *z, struct kube_selector *s, const value *expr, struct str *message)
{
	static const struct {
		const char *name;
		enum selector_op op;
	} ops[] = {
		{"In", OP_IN},
		{"NotIn", OP_NOT_IN},
		{"Exists", OP_EXISTS},
		{"DoesNotExist", OP_NOT_EXISTS},
	};
	struct requirement r = {.key = v_get_str(expr, "key")};
	struct str name = v_get_str(expr, "operator"), quoted;
	size_t i = 0;

	while (i < countof(ops) && !str_is(name, ops[i].name))
		i++;
	if (i == countof(ops)) {
		quoted = go_quote(z, name);
		*message = zone_printf(z, STR_FMT " is not a valid label selector operator",
				       STR_ARG(quoted));
		return WEFT_EINVAL;
	}
	r.op = ops[i].op;
	v_each(v, v_get(expr, "values"))
		requirement_value(z, &r, v_as_str(v));
	return selector_add(z, s, &r, message);
}

int kube_selector_from(zone *z, const value *label_selector, struct kube_selector **out,
		       struct str *message)
{
	struct kube_selector *s = *out = new_selector(z);

	s->nothing = v_is_null(label_selector);
	v_each_kv(kv, v_get(label_selector, "matchLabels"))
		add_equals(z, s, v_as_str(&kv->key), v_as_str(&kv->val));
	v_each(expr, v_get(label_selector, "matchExpressions"))
		if (add_expression(z, s, expr, message) != WEFT_OK)
			return WEFT_EINVAL;
	selector_sort(s);
	return WEFT_OK;
}

struct kube_selector *kube_selector_from_map(zone *z, const value *map)
{
	struct kube_selector *s = new_selector(z);

	v_each_kv(kv, map)
		add_equals(z, s, v_as_str(&kv->key), v_as_str(&kv->val));
	selector_sort(s);
	return s;
}

bool kube_selector_empty(const struct kube_selector *s)
{
	return !s->n && !s->nothing;
}

/* --- Matching ----------------------------------------------------------------------- */

static bool has_value(const struct requirement *r, struct str v)
{
	for (uint32_t i = 0; i < r->nvalues; i++)
		if (str_eq(r->values[i], v))
			return true;
	return false;
}

/* `v` is NULL when the label is absent. */
static bool fulfils(const struct requirement *r, const struct str *v)
{
	int64_t n;

	switch (r->op) {
	case OP_IN:
	case OP_EQUALS:
	case OP_DOUBLE_EQUALS:
		return v && has_value(r, *v);
	case OP_NOT_IN:
	case OP_NOT_EQUALS:
		return !v || !has_value(r, *v);
	case OP_EXISTS:
		return v;
	case OP_NOT_EXISTS:
		return !v;
	case OP_GREATER:
		return v && to_int(*v, &n) && n > r->bound;
	case OP_LESS:
		return v && to_int(*v, &n) && n < r->bound;
	}
	return false;
}

bool kube_selector_match(const struct kube_selector *s, struct str labels)
{
	for (uint32_t i = 0; i < s->n; i++) {
		struct str raw = peek_get(labels, s->r[i].key), v;
		struct peek k = peek_of(raw);

		if (raw.n)
			v = peek_str(&k);
		if (!fulfils(&s->r[i], raw.n ? &v : NULL))
			return false;
	}
	return !s->nothing;
}

bool kube_selector_match_value(const struct kube_selector *s, const value *labels)
{
	for (uint32_t i = 0; i < s->n; i++) {
		const value *found = v_getn(labels, s->r[i].key);
		struct str v = v_as_str(found);

		if (!fulfils(&s->r[i], found ? &v : NULL))
			return false;
	}
	return !s->nothing;
}

/* --- Printing ----------------------------------------------------------------------- */

static void print_values(struct buf *b, const struct requirement *r)
{
	for (uint32_t i = 0; i < r->nvalues; i++) {
		if (i)
			buf_putc(b, ',');
		buf_addstr(b, r->values[i]);
	}
}

static void print_requirement(struct buf *b, const struct requirement *r)
{
	static const char *const between[] = {
		[OP_IN] = " in (",	   [OP_NOT_IN] = " notin (", [OP_EQUALS] = "=",
		[OP_DOUBLE_EQUALS] = "==", [OP_NOT_EQUALS] = "!=",   [OP_EXISTS] = "",
		[OP_NOT_EXISTS] = "",	   [OP_GREATER] = ">",	     [OP_LESS] = "<",
	};

	if (r->op == OP_NOT_EXISTS)
		buf_putc(b, '!');
	buf_addstr(b, r->key);
	buf_puts(b, between[r->op]);
	print_values(b, r);
	if (r->op == OP_IN || r->op == OP_NOT_IN)
		buf_putc(b, ')');
}

struct str kube_selector_print(zone *z, const struct kube_selector *s)
{
	struct buf b = {0};
	struct str out;

	for (uint32_t i = 0; i < s->n; i++) {
		if (i)
			buf_putc(&b, ',');
		print_requirement(&b, &s->r[i]);
	}
	out = zone_str(z, buf_str(&b));
	buf_free(&b);
	return out;
}

/*
 * check.c - what a client sent against the schema: types, unknown fields, nulls,
 * canonical scalars.
 *
 * Errors are those of Go's JSON decoder.  It goes on after a value of a wrong
 * type and reports the first of them at the end, unless a type with a parser of
 * its own (quantity, time) refuses a value: that ends everything at once.
 */
#include "procs/kube/scalar.h"
#include "weft/kube.h"
#include "weft/schema.h"

/* Where the walk is: a chain of frames on the C stack, innermost first. */
struct at {
	const struct at *up;
	struct str key; /* of a field or map; p == NULL: `index` counts */
	uint32_t index;
	const struct kube_field *field; /* NULL for list elements and map values */
	const struct kube_schema *in;	/* the object type that has the field */
};

struct check {
	zone *z;
	struct kube_notes *notes;
	uint32_t cap;
	struct str saved; /* the first wrong type */
	struct str fatal; /* what ended the walk */
};

static void check_value(struct check *c, const struct kube_schema *s, value *v,
			const struct at *at);

/* --- Paths ------------------------------------------------------------------- */

/* "spec.containers[0].foo", as strict decoding names a field. */
static void put_path(struct buf *out, const struct at *at)
{
	if (!at)
		return;
	put_path(out, at->up);
	if (!at->key.p) {
		buf_printf(out, "[%u]", at->index);
		return;
	}
	if (out->n)
		buf_putc(out, '.');
	buf_addstr(out, at->key);
}

/* "spec.containers.ports", with embedded structs, as Go's type errors have it. */
static void put_go_path(struct buf *out, const struct at *at)
{
	if (!at)
		return;
	put_go_path(out, at->up);
	if (!at->field)
		return;
	if (at->field->go_in)
		buf_printf(out, ".%s", at->field->go_in);
	buf_putc(out, '.');
	buf_addstr(out, at->key);
}

static struct str take_text(struct check *c, struct buf *b)
{
	struct str s = zone_str(c->z, buf_str(b));

	buf_free(b);
	return s;
}

static void note_unknown(struct check *c, const struct at *at)
{
	struct kube_notes *n = c->notes;
	struct buf path = {0};

	if (!n)
		return;
	if (n->nunknown == c->cap) {
		struct str *more;

		c->cap = c->cap ? c->cap * 2 : 8;
		more = zone_alloc(c->z, c->cap * sizeof(*more));
		if (n->nunknown)
			memcpy(more, n->unknown, n->nunknown * sizeof(*more));
		n->unknown = more;
	}
	put_path(&path, at);
	n->unknown[n->nunknown++] = take_text(c, &path);
}

/* --- Wrong types --------------------------------------------------------------- */

/* What Go calls the value: "string", "number 3.5" (the digits only where a
 * number was wanted). */
static void put_found(struct buf *out, const value *v, bool digits)
{
	static const char *const names[] = {
		[MSGPACK_OBJECT_BOOLEAN] = "bool",
		[MSGPACK_OBJECT_STR] = "string",
		[MSGPACK_OBJECT_ARRAY] = "array",
		[MSGPACK_OBJECT_MAP] = "object",
	};

	if (v->type < countof(names) && names[v->type]) {
		buf_puts(out, names[v->type]);
		return;
	}
	buf_puts(out, "number");
	if (!digits)
		return;
	if (v->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
		buf_printf(out, " %llu", (unsigned long long)v->via.u64);
	else if (v->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
		buf_printf(out, " %lld", (long long)v->via.i64);
	else if (v->via.f64 == (double)(int64_t)v->via.f64)
		buf_printf(out, " %.1f", v->via.f64);
	else
		buf_printf(out, " %.17g", v->via.f64);
}

/* "json: cannot unmarshal string into Go struct field PodSpec.spec.x of type int32" */
static void wrong_type(struct check *c, const value *v, const struct at *at, const char *type,
		       bool digits)
{
	const struct at *f = at;
	const char *dot;
	struct buf b = {0};

	if (c->saved.p)
		return;
	while (f && !f->field)
		f = f->up;
	buf_puts(&b, "json: cannot unmarshal ");
	put_found(&b, v, digits);
	if (f) {
		dot = strrchr(f->in->go_name, '.');
		buf_printf(&b, " into Go struct field %s", dot ? dot + 1 : f->in->go_name);
		put_go_path(&b, f);
	} else {
		buf_puts(&b, " into Go value");
	}
	buf_printf(&b, " of type %s", type);
	c->saved = take_text(c, &b);
}

/* The Go name of a scalar: the field's own ("v1.Protocol"), or the plain one. */
static const char *go_type(const struct kube_schema *s, const struct at *at)
{
	while (at && !at->field)
		at = at->up;
	return at && at->field->go_type && s->kind <= SCHEMA_DOUBLE && s->kind >= SCHEMA_STRING
		       ? at->field->go_type
		       : s->go_name;
}

static bool is_number(const value *v)
{
	return v_is_int(v) || v->type == MSGPACK_OBJECT_FLOAT64 ||
	       v->type == MSGPACK_OBJECT_FLOAT32;
}

/* --- Scalars --------------------------------------------------------------------- */

static bool int_fits(const value *v, int64_t min, int64_t max)
{
	if (v->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
		return v->via.u64 <= (uint64_t)max;
	return v->type == MSGPACK_OBJECT_NEGATIVE_INTEGER && v->via.i64 >= min;
}

static void check_int(struct check *c, const struct kube_schema *s, value *v, const struct at *at)
{
	bool small = s->kind != SCHEMA_INT64;

	if (!int_fits(v, small ? INT32_MIN : INT64_MIN, small ? INT32_MAX : INT64_MAX))
		wrong_type(c, v, at, s->kind == SCHEMA_INT_OR_STRING ? "int32" : go_type(s, at),
			   is_number(v));
}

static void check_int_or_string(struct check *c, const struct kube_schema *s, value *v,
				const struct at *at)
{
	if (!v_is_str(v))
		check_int(c, s, v, at);
}

static void check_string(struct check *c, const struct kube_schema *s, value *v,
			 const struct at *at)
{
	if (!v_is_str(v))
		wrong_type(c, v, at, go_type(s, at), false);
}

static void check_bool(struct check *c, const struct kube_schema *s, value *v, const struct at *at)
{
	if (v->type != MSGPACK_OBJECT_BOOLEAN)
		wrong_type(c, v, at, go_type(s, at), false);
}

static void check_double(struct check *c, const struct kube_schema *s, value *v,
			 const struct at *at)
{
	if (!is_number(v))
		wrong_type(c, v, at, go_type(s, at), false);
}

/* A parser of the kinds below: canonical text, or false and the reason. */
typedef bool scalar_fn(zone *z, struct str text, struct str *out, struct str *why);

static void canonical(struct check *c, value *v, scalar_fn *fn, bool fatal)
{
	struct str out, why;

	if (fn(c->z, v_as_str(v), &out, &why))
		*v = v_str(out);
	else if (fatal)
		c->fatal = why;
	else if (!c->saved.p)
		c->saved = why;
}

static void check_bytes(struct check *c, const struct kube_schema *s, value *v, const struct at *at)
{
	if (v_is_str(v))
		canonical(c, v, scalar_base64, false);
	else
		wrong_type(c, v, at, s->go_name, false);
}

static void check_time(struct check *c, const struct kube_schema *s, value *v, const struct at *at)
{
	if (v_is_str(v))
		canonical(c, v, s->kind == SCHEMA_TIME ? scalar_time : scalar_microtime, true);
	else
		wrong_type(c, v, at, "string", false);
}

static void check_quantity(struct check *c, const struct kube_schema *s, value *v,
			   const struct at *at)
{
	struct str out, why;

	if (scalar_quantity(c->z, v, &out, &why))
		*v = v_str(out);
	else
		c->fatal = why;
}

/* --- Structures --------------------------------------------------------------------- */

/* A null in a list or map: what Go's zero value of the type prints as. */
static value zero_of(const struct kube_schema *s)
{
	switch (s->kind) {
	case SCHEMA_STRING:
	case SCHEMA_BYTES:
		return v_cstr("");
	case SCHEMA_BOOL:
		return v_bool(false);
	case SCHEMA_INT32:
	case SCHEMA_INT64:
	case SCHEMA_DOUBLE:
	case SCHEMA_INT_OR_STRING:
		return v_int(0);
	case SCHEMA_QUANTITY:
		return v_cstr("0");
	case SCHEMA_OBJECT:
		return v_map();
	default:
		return v_null();
	}
}

static bool is_empty(const value *v)
{
	switch (v->type) {
	case MSGPACK_OBJECT_NIL:
		return true;
	case MSGPACK_OBJECT_BOOLEAN:
		return !v->via.boolean;
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
		return v->via.u64 == 0;
	case MSGPACK_OBJECT_FLOAT64:
		return v->via.f64 == 0;
	case MSGPACK_OBJECT_STR:
		return v->via.str.size == 0;
	case MSGPACK_OBJECT_MAP:
		return v->via.map.size == 0;
	case MSGPACK_OBJECT_ARRAY:
		return v->via.array.size == 0;
	default:
		return false;
	}
}

/* Check one member; false: it is to be dropped. */
static bool check_member(struct check *c, const struct kube_schema *s, msgpack_object_kv *kv,
			 const struct at *up)
{
	struct at at = {.up = up, .key = v_as_str(&kv->key), .in = s};

	at.field = schema_field(s, at.key);
	if (!at.field) {
		note_unknown(c, &at);
		return false;
	}
	if (v_is_null(&kv->val) && at.field->type->kind != SCHEMA_ANY)
		return false;
	check_value(c, at.field->type, &kv->val, &at);
	if (at.field->mode == MODE_OMIT ||
	    (at.field->mode == MODE_NULL && at.field->type->kind != SCHEMA_OBJECT))
		return !is_empty(&kv->val);
	return true;
}

static void check_object(struct check *c, const struct kube_schema *s, value *v,
			 const struct at *at)
{
	uint32_t kept = 0;

	if (!v_is_map(v)) {
		wrong_type(c, v, at, s->go_name, false);
		return;
	}
	v_each_kv(kv, v) {
		bool keep = check_member(c, s, kv, at);

		if (c->fatal.p)
			return;
		if (keep)
			v->via.map.ptr[kept++] = *kv;
	}
	v->via.map.size = kept;
}

static void check_map(struct check *c, const struct kube_schema *s, value *v, const struct at *up)
{
	if (!v_is_map(v)) {
		wrong_type(c, v, up, s->go_name, false);
		return;
	}
	v_each_kv(kv, v) {
		struct at at = {.up = up, .key = v_as_str(&kv->key)};

		if (v_is_null(&kv->val))
			kv->val = zero_of(s->item);
		else
			check_value(c, s->item, &kv->val, &at);
		if (c->fatal.p)
			return;
	}
}

static void check_list(struct check *c, const struct kube_schema *s, value *v, const struct at *up)
{
	struct at at = {.up = up};

	if (!v_is_array(v)) {
		wrong_type(c, v, up, s->go_name, false);
		return;
	}
	v_each(el, v) {
		if (v_is_null(el))
			*el = zero_of(s->item);
		else
			check_value(c, s->item, el, &at);
		if (c->fatal.p)
			return;
		at.index++;
	}
}

typedef void check_fn(struct check *c, const struct kube_schema *s, value *v, const struct at *at);

static check_fn *const checks[] = {
	[SCHEMA_OBJECT] = check_object,
	[SCHEMA_LIST] = check_list,
	[SCHEMA_MAP] = check_map,
	[SCHEMA_STRING] = check_string,
	[SCHEMA_BYTES] = check_bytes,
	[SCHEMA_BOOL] = check_bool,
	[SCHEMA_INT32] = check_int,
	[SCHEMA_INT64] = check_int,
	[SCHEMA_DOUBLE] = check_double,
	[SCHEMA_QUANTITY] = check_quantity,
	[SCHEMA_TIME] = check_time,
	[SCHEMA_MICROTIME] = check_time,
	[SCHEMA_INT_OR_STRING] = check_int_or_string,
	[SCHEMA_RAW] = NULL,
	[SCHEMA_ANY] = NULL,
};

static void check_value(struct check *c, const struct kube_schema *s, value *v, const struct at *at)
{
	if (checks[s->kind])
		checks[s->kind](c, s, v, at);
}

/* --- Entry points ------------------------------------------------------------------- */

int kube_check_as(zone *z, const struct kube_schema *schema, value *obj, struct kube_notes *notes,
		  struct str *message)
{
	struct check c = {.z = z, .notes = notes};

	if (notes)
		*notes = (struct kube_notes){0};
	check_value(&c, schema, obj, NULL);
	if (!c.fatal.p && !c.saved.p)
		return WEFT_OK;
	*message = c.fatal.p ? c.fatal : c.saved;
	return WEFT_EINVAL;
}

int kube_check(zone *z, const struct kube_resource *r, value *obj, struct kube_notes *notes,
	       struct str *message)
{
	return kube_check_as(z, r->schema, obj, notes, message);
}

struct str kube_cannot_handle(zone *z, const struct kube_resource *r, struct str why)
{
	return zone_printf(z, "%s in version \"%s\" cannot be handled as a %s: " STR_FMT, r->kind,
			   r->version, r->kind, STR_ARG(why));
}

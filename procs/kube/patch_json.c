/*
 * patch_json.c - JSON patch (RFC 6902), with the leniencies and the words of
 * the library that Kubernetes uses: negative indexes count from the end, and
 * a member that is not there tests equal to null.
 */
#include "weft/kube.h"

#include <limits.h>

struct patching {
	zone *z;
	value *doc;
	const value *op;
	struct str path;
	struct str *message;
};

/* Where a path leads: a member of a map, or an element of an array. */
struct place {
	value *in; /* NULL: no such map or array */
	struct str key;
};

#define fail(p, ...) (*(p)->message = zone_printf((p)->z, __VA_ARGS__), WEFT_ECONFLICT)

/* --- Paths ------------------------------------------------------------------------ */

static struct str unescape(zone *z, struct str part)
{
	char *to;
	uint32_t n = 0;

	if (!part.n || !memchr(part.p, '~', part.n))
		return part;
	to = zone_alloc(z, part.n);
	for (uint32_t i = 0; i < part.n; i++) {
		bool escape = part.p[i] == '~' && i + 1 < part.n &&
			      (part.p[i + 1] == '0' || part.p[i + 1] == '1');

		to[n++] = !escape ? part.p[i] : part.p[++i] == '0' ? '~' : '/';
	}
	return (struct str){to, n};
}

/* Digits with an optional sign, as strconv.Atoi takes them. */
static bool to_index(struct str key, int64_t *out)
{
	uint32_t i = key.n && (key.p[0] == '-' || key.p[0] == '+');

	*out = 0;
	if (i == key.n || key.n > 18)
		return false;
	for (; i < key.n; i++) {
		if (key.p[i] < '0' || key.p[i] > '9')
			return false;
		*out = *out * 10 + (key.p[i] - '0');
	}
	if (key.p[0] == '-')
		*out = -*out;
	return true;
}

enum { NOT_AN_INDEX = -1, OUT_OF_RANGE = -2 };

/* An element's index in an array of n; *given is the number that was asked for. */
static int64_t index_in(struct str key, uint32_t n, int64_t *given)
{
	int64_t i;

	if (!to_index(key, &i))
		return NOT_AN_INDEX;
	*given = i;
	if (i < -(int64_t)n || i >= (int64_t)n)
		return OUT_OF_RANGE;
	return i < 0 ? i + n : i;
}

static value *child(value *in, struct str key)
{
	int64_t i, given;

	if (v_is_map(in))
		return v_getn(in, key);
	i = index_in(key, v_len(in), &given);
	return i < 0 ? NULL : v_at(in, (uint32_t)i);
}

static bool is_container(const value *v)
{
	return v_is_map(v) || v_is_array(v);
}

static struct place find(zone *z, value *doc, struct str path)
{
	struct place at = {.in = doc};
	uint32_t start, end = 0;

	while (end < path.n && path.p[end] != '/')
		end++;
	if (end == path.n)
		return (struct place){NULL, STR("")};
	for (;;) {
		for (start = ++end; end < path.n && path.p[end] != '/'; end++)
			;
		at.key = unescape(z, (struct str){path.p + start, end - start});
		if (end == path.n)
			break;
		at.in = child(at.in, at.key);
		if (!is_container(at.in))
			return (struct place){NULL, STR("")};
	}
	return at;
}

/* --- What is done at a place -------------------------------------------------------- */

#define NO_INDEX(key) "strconv.Atoi: parsing \"" STR_FMT "\": invalid syntax"
#define BAD_INDEX     "Unable to access invalid index: %lld: invalid index referenced"

/* "error in remove for path: '/a/b': <why>" */
static int index_error(struct patching *p, const char *what, struct str path, struct str key,
		       int64_t i, int64_t given)
{
	if (i == NOT_AN_INDEX)
		return fail(p, "error in %s: '" STR_FMT "': " NO_INDEX(key), what, STR_ARG(path),
			    STR_ARG(key));
	return fail(p, "error in %s: '" STR_FMT "': " BAD_INDEX, what, STR_ARG(path),
		    (long long)given);
}

static void insert(zone *z, value *array, uint32_t at, value v)
{
	v_append(z, array, v);
	memmove(array->via.array.ptr + at + 1, array->via.array.ptr + at,
		(array->via.array.size - 1 - at) * sizeof v);
	array->via.array.ptr[at] = v;
}

/* `what`: how errors begin ("add for path", "move for path"). */
static int add_at(struct patching *p, const char *what, struct place at, value v)
{
	int64_t i, given;

	if (v_is_map(at.in)) {
		v_setn(p->z, at.in, at.key, v);
		return WEFT_OK;
	}
	if (str_eq(at.key, STR("-"))) {
		v_append(p->z, at.in, v);
		return WEFT_OK;
	}
	i = index_in(at.key, v_len(at.in) + 1, &given);
	if (i == NOT_AN_INDEX)
		return fail(p,
			    "error in %s: '" STR_FMT
			    "': value was not a proper array index: '" STR_FMT
			    "': " NO_INDEX(at.key),
			    what, STR_ARG(p->path), STR_ARG(at.key), STR_ARG(at.key));
	if (i < 0)
		return index_error(p, what, p->path, at.key, i, given);
	insert(p->z, at.in, (uint32_t)i, v);
	return WEFT_OK;
}

static int remove_at(struct patching *p, const char *what, struct str path, struct place at)
{
	int64_t i, given = 0;

	if (v_is_map(at.in)) {
		if (v_deln(at.in, at.key))
			return WEFT_OK;
		return fail(p,
			    "error in %s: '" STR_FMT "': Unable to remove nonexistent key: " STR_FMT
			    ": missing value",
			    what, STR_ARG(path), STR_ARG(at.key));
	}
	i = index_in(at.key, v_len(at.in), &given);
	if (i < 0)
		return index_error(p, what, path, at.key, i, given);
	v_remove(at.in, (uint32_t)i);
	return WEFT_OK;
}

/* --- Operations --------------------------------------------------------------------- */

static value op_value(const struct patching *p)
{
	const value *v = v_get(p->op, "value");

	return v ? v_copy(p->z, v) : v_null();
}

static int op_add(struct patching *p)
{
	struct place at;

	if (!v_is_str(v_get(p->op, "path")))
		return fail(p, "add operation failed to decode path: missing value");
	at = find(p->z, p->doc, p->path);
	if (!at.in)
		return fail(p,
			    "add operation does not apply: doc is missing path: \"" STR_FMT
			    "\": missing value",
			    STR_ARG(p->path));
	return add_at(p, "add for path", at, op_value(p));
}

static int op_remove(struct patching *p)
{
	struct place at;

	if (!v_is_str(v_get(p->op, "path")))
		return fail(p, "remove operation failed to decode path: missing value");
	at = find(p->z, p->doc, p->path);
	if (!at.in)
		return fail(p,
			    "remove operation does not apply: doc is missing path: \"" STR_FMT
			    "\": missing value",
			    STR_ARG(p->path));
	return remove_at(p, "remove for path", p->path, at);
}

#define NO_PATH "operation missing path field: missing value"
#define NO_FROM "operation, missing from field: missing value"

static int op_replace(struct patching *p)
{
	struct place at;
	int64_t i, given;

	if (!v_is_str(v_get(p->op, "path")))
		return fail(p, "replace operation failed to decode path: " NO_PATH);
	if (!p->path.n) {
		value v = op_value(p);

		if (!is_container(&v))
			return fail(p, "replace operation hit impossible case: missing value");
		*p->doc = v;
		return WEFT_OK;
	}
	at = find(p->z, p->doc, p->path);
	if (!at.in)
		return fail(p,
			    "replace operation does not apply: doc is missing path: " STR_FMT
			    ": missing value",
			    STR_ARG(p->path));
	if (v_is_map(at.in)) {
		v_setn(p->z, at.in, at.key, op_value(p));
		return WEFT_OK;
	}
	i = index_in(at.key, v_len(at.in), &given);
	if (i < 0)
		return fail(p,
			    "replace operation does not apply: doc is missing key: " STR_FMT
			    ": missing value",
			    STR_ARG(p->path));
	at.in->via.array.ptr[i] = op_value(p);
	return WEFT_OK;
}

static int op_move(struct patching *p)
{
	struct str from = v_get_str(p->op, "from");
	struct place at;
	value *moved, v;
	int err;

	if (!v_is_str(v_get(p->op, "from")))
		return fail(p, "move operation failed to decode from: " NO_FROM);
	at = find(p->z, p->doc, from);
	if (!at.in)
		return fail(p,
			    "move operation does not apply: doc is missing from path: " STR_FMT
			    ": missing value",
			    STR_ARG(from));
	moved = child(at.in, at.key);
	v = moved ? *moved : v_null();
	err = remove_at(p, "move for path", at.key, at);
	if (err)
		return err;
	if (!v_is_str(v_get(p->op, "path")))
		return fail(p, "move operation failed to decode path: " NO_PATH);
	at = find(p->z, p->doc, p->path);
	if (!at.in)
		return fail(
			p,
			"move operation does not apply: doc is missing destination path: " STR_FMT
			": missing value",
			STR_ARG(p->path));
	return add_at(p, "move for path", at, v);
}

static int op_copy(struct patching *p)
{
	struct str from = v_get_str(p->op, "from");
	struct place at;
	value *copied, v;
	int64_t i, given = 0;

	if (!v_is_str(v_get(p->op, "from")))
		return fail(p, "copy operation failed to decode from: " NO_FROM);
	at = find(p->z, p->doc, from);
	if (!at.in)
		return fail(p,
			    "copy operation does not apply: doc is missing from path: " STR_FMT
			    ": missing value",
			    STR_ARG(from));
	i = v_is_map(at.in) ? 0 : index_in(at.key, v_len(at.in), &given);
	if (i < 0)
		return index_error(p, "copy for from", from, at.key, i, given);
	copied = child(at.in, at.key);
	v = copied ? v_copy(p->z, copied) : v_null();
	if (!v_is_str(v_get(p->op, "path")))
		return fail(p, "copy operation failed to decode path: missing value");
	at = find(p->z, p->doc, p->path);
	if (!at.in)
		return fail(
			p,
			"copy operation does not apply: doc is missing destination path: " STR_FMT
			": missing value",
			STR_ARG(p->path));
	return add_at(p, "copy for path", at, v);
}

static int op_test(struct patching *p)
{
	const value *expected = v_get(p->op, "value"), *is = p->doc;
	struct place at;
	int64_t i, given = 0;

	if (!v_is_str(v_get(p->op, "path")))
		return fail(p, "test operation failed to decode path: " NO_PATH);
	if (p->path.n) {
		at = find(p->z, p->doc, p->path);
		if (!at.in)
			return fail(p,
				    "test operation does not apply: is missing path: " STR_FMT
				    ": missing value",
				    STR_ARG(p->path));
		i = v_is_map(at.in) ? 0 : index_in(at.key, v_len(at.in), &given);
		if (i < 0)
			return index_error(p, "test for path", p->path, at.key, i, given);
		is = child(at.in, at.key);
	}
	if (v_is_null(is) ? v_is_null(expected) : expected && v_equal(is, expected))
		return WEFT_OK;
	return fail(p, "testing value " STR_FMT " failed: test failed", STR_ARG(p->path));
}

static const struct {
	const char *name;
	int (*run)(struct patching *p);
} operations[] = {
	{"add", op_add},   {"remove", op_remove}, {"replace", op_replace},
	{"move", op_move}, {"copy", op_copy},	  {"test", op_test},
};

static int run(struct patching *p)
{
	const value *op = v_get(p->op, "op");
	struct str name = v_is_str(op) ? v_as_str(op) : STR("unknown");

	p->path = v_get_str(p->op, "path");
	for (size_t i = 0; i < countof(operations); i++)
		if (str_is(name, operations[i].name))
			return operations[i].run(p);
	return fail(p, "Unexpected kind: " STR_FMT, STR_ARG(name));
}

/* --- The patch ---------------------------------------------------------------------- */

static int malformed(zone *z, const value *v, const char *wanted, struct str *message)
{
	const char *is = v_is_map(v)			     ? "object"
			 : v_is_array(v)		     ? "array"
			 : v_is_str(v)			     ? "string"
			 : v->type == MSGPACK_OBJECT_BOOLEAN ? "bool"
							     : "number";

	*message = zone_printf(z, "json: cannot unmarshal %s into Go value of type jsonpatch.%s",
			       is, wanted);
	return WEFT_EINVAL;
}

int kube_patch_json(zone *z, value *obj, const value *patch, struct str *message)
{
	value doc;
	struct patching p = {.z = z, .doc = &doc, .message = message};
	int err;

	if (v_is_null(patch))
		return WEFT_OK;
	if (!v_is_array(patch))
		return malformed(z, patch, "Patch", message);
	v_each(op, patch)
		if (!v_is_map(op) && !v_is_null(op))
			return malformed(z, op, "Operation", message);
	doc = v_copy(z, obj);
	v_each(op, patch) {
		p.op = op;
		err = run(&p);
		if (err)
			return err;
	}
	*obj = doc;
	return WEFT_OK;
}

/*
 * yaml.c - YAML in and out through libyaml's events, read as sigs.k8s.io/yaml
 * reads it: plain scalars by YAML 1.1 (yes and on are booleans, 010 is eight,
 * 0x1f and 1_000 are numbers, 1:30 is not), keys made strings, << merged in
 * the order in which it stands, and a number that is whole an integer.
 *
 * An alias gives a copy of what it names, as nothing in a tree may be shared.
 * How much all aliases of a document make is bounded.
 */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

#include "ipc/builder.h"

/* Values that all aliases of a document may add up to. */
#define ALIASED_MAX 400000

/* --- Scalars ------------------------------------------------------------------- */

enum scalar { SCALAR_STR, SCALAR_NULL, SCALAR_BOOL, SCALAR_INT, SCALAR_FLOAT, SCALAR_UNSUPPORTED };

static const struct word {
	const char *text;
	enum scalar kind;
	bool b;
} words[] = {
	{"y", SCALAR_BOOL, true},
	{"Y", SCALAR_BOOL, true},
	{"yes", SCALAR_BOOL, true},
	{"Yes", SCALAR_BOOL, true},
	{"YES", SCALAR_BOOL, true},
	{"true", SCALAR_BOOL, true},
	{"True", SCALAR_BOOL, true},
	{"TRUE", SCALAR_BOOL, true},
	{"on", SCALAR_BOOL, true},
	{"On", SCALAR_BOOL, true},
	{"ON", SCALAR_BOOL, true},
	{"n", SCALAR_BOOL, false},
	{"N", SCALAR_BOOL, false},
	{"no", SCALAR_BOOL, false},
	{"No", SCALAR_BOOL, false},
	{"NO", SCALAR_BOOL, false},
	{"false", SCALAR_BOOL, false},
	{"False", SCALAR_BOOL, false},
	{"FALSE", SCALAR_BOOL, false},
	{"off", SCALAR_BOOL, false},
	{"Off", SCALAR_BOOL, false},
	{"OFF", SCALAR_BOOL, false},
	{"", SCALAR_NULL, false},
	{"~", SCALAR_NULL, false},
	{"null", SCALAR_NULL, false},
	{"Null", SCALAR_NULL, false},
	{"NULL", SCALAR_NULL, false},
	/* JSON has none of these. */
	{".nan", SCALAR_UNSUPPORTED, false},
	{".NaN", SCALAR_UNSUPPORTED, false},
	{".NAN", SCALAR_UNSUPPORTED, false},
	{".inf", SCALAR_UNSUPPORTED, false},
	{".Inf", SCALAR_UNSUPPORTED, false},
	{".INF", SCALAR_UNSUPPORTED, false},
	{"+.inf", SCALAR_UNSUPPORTED, false},
	{"+.Inf", SCALAR_UNSUPPORTED, false},
	{"+.INF", SCALAR_UNSUPPORTED, false},
	{"-.inf", SCALAR_UNSUPPORTED, false},
	{"-.Inf", SCALAR_UNSUPPORTED, false},
	{"-.INF", SCALAR_UNSUPPORTED, false},
};

/* No number that means one is longer. */
#define NUMBER_MAX 400

/* The text without its underscores; false if it is too long for a number. */
static bool without_underscores(struct str s, char out[NUMBER_MAX + 1])
{
	uint32_t n = 0;

	if (s.n > NUMBER_MAX)
		return false;
	for (uint32_t i = 0; i < s.n; i++)
		if (s.p[i] != '_')
			out[n++] = s.p[i];
	out[n] = '\0';
	return n > 0;
}

/* The base that a number's prefix names; passes it. */
static int number_base(const char **p)
{
	static const struct {
		char letter;
		int base;
	} prefixes[] = {{'x', 16}, {'o', 8}, {'b', 2}};

	if ((*p)[0] != '0' || !(*p)[1])
		return 10;
	for (size_t i = 0; i < countof(prefixes); i++) {
		if (tolower((*p)[1]) == prefixes[i].letter) {
			*p += 2;
			return prefixes[i].base;
		}
	}
	*p += 1;
	return 8;
}

/* An integer of any base; one beyond int64 becomes a double, as it does when
 * JSON is read. */
static bool parse_integer(const char *p, value *out)
{
	bool negative = *p == '-';
	uint64_t u;
	char *end;
	int base;

	if (*p == '-' || *p == '+')
		p++;
	base = number_base(&p);
	if (!isalnum((unsigned char)*p)) /* strtoull takes a sign and spaces */
		return false;
	if (base == 16 && p[0] == '0' && tolower(p[1]) == 'x') /* and a second prefix */
		return false;
	errno = 0;
	u = strtoull(p, &end, base);
	if (*end || errno || (negative && u > (uint64_t)INT64_MAX + 1))
		return false;
	if (negative)
		*out = v_int((int64_t)-u);
	else
		*out = u > INT64_MAX ? v_float((double)u) : v_uint(u);
	return true;
}

static size_t digits(const char *p)
{
	return strspn(p, "0123456789");
}

/* [-+]? ( . digits | digits [ . digits* ] ) ( [eE] [-+]? digits )? */
static bool looks_float(const char *p)
{
	size_t whole, part = 0;

	p += *p == '-' || *p == '+';
	whole = digits(p);
	p += whole;
	if (*p == '.') {
		part = digits(p + 1);
		p += 1 + part;
	}
	if (!whole && !part)
		return false;
	if (*p != 'e' && *p != 'E')
		return !*p;
	p++;
	p += *p == '-' || *p == '+';
	return digits(p) && !p[digits(p)];
}

/* A double; one that is whole is written as an integer in JSON, and so is one. */
static bool parse_float(const char *p, value *out)
{
	double d;

	if (!looks_float(p))
		return false;
	d = strtod(p, NULL);
	if (!isfinite(d))
		return false;
	if (d == floor(d) && fabs(d) < 9223372036854775808.0)
		*out = v_int((int64_t)d);
	else
		*out = v_float(d);
	return true;
}

/* What a plain scalar means; *out is set but for SCALAR_UNSUPPORTED. */
static enum scalar resolve(struct str s, value *out)
{
	char number[NUMBER_MAX + 1];

	*out = v_str(s);
	if (s.n && !strchr("+-.0123456789yYnNtTfFoO~", s.p[0]))
		return SCALAR_STR;
	for (size_t i = 0; i < countof(words); i++) {
		if (!str_is(s, words[i].text))
			continue;
		*out = words[i].kind == SCALAR_BOOL ? v_bool(words[i].b) : v_null();
		return words[i].kind;
	}
	if (!strchr("+-.0123456789", s.p[0]) || memchr(s.p, '\0', s.n) ||
	    !without_underscores(s, number))
		return SCALAR_STR;
	if (s.p[0] != '.' && parse_integer(number, out))
		return SCALAR_INT;
	return parse_float(number, out) ? SCALAR_FLOAT : SCALAR_STR;
}

/* --- In -------------------------------------------------------------------------- */

struct anchor {
	struct str name;
	value v;
	bool open; /* inside of it */
};

struct loader {
	struct builder b;
	yaml_parser_t parser;
	struct anchor *anchors;
	uint32_t nanchors, cap;
	int32_t open_anchor[VALUE_DEPTH_MAX + 1]; /* of each open container, or -1 */
	uint32_t aliased;
	void (*on_key)(void *arg, struct str path, unsigned line);
	void *arg;
	struct err *e;
};

static unsigned line_of(const yaml_event_t *ev)
{
	return (unsigned)ev->start_mark.line + 1;
}

static int refuse(struct loader *l, const yaml_event_t *ev, const char *why)
{
	return err_set(l->e, WEFT_EINVAL, "invalid YAML at line %u: %s", line_of(ev), why);
}

static int too_deep(struct loader *l, const yaml_event_t *ev)
{
	return refuse(l, ev, "nested too deep");
}

/* A later anchor of the same name takes its place.  Returns its index, -1 if
 * there is none to note. */
static int32_t anchor_note(struct loader *l, const yaml_char_t *name, value v, bool open)
{
	struct str s;
	struct anchor *a;

	if (!name)
		return -1;
	if (l->nanchors == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 16;
		l->anchors = realloc(l->anchors, l->cap * sizeof(*l->anchors));
		weft_assert(l->anchors);
	}
	s = str_of((const char *)name);
	a = &l->anchors[l->nanchors];
	*a = (struct anchor){zone_str(l->b.z, s), v, open};
	return (int32_t)l->nanchors++;
}

static struct anchor *anchor_find(struct loader *l, struct str name)
{
	for (uint32_t i = l->nanchors; i-- > 0;)
		if (str_eq(l->anchors[i].name, name))
			return &l->anchors[i];
	return NULL;
}

/* A copy with containers of its own; false when it makes too much. */
static bool expand(struct loader *l, value v, unsigned depth, value *out)
{
	if (depth > VALUE_DEPTH_MAX || ++l->aliased > ALIASED_MAX)
		return false;
	*out = v;
	if (v_is_array(&v))
		*out = v_array_of(l->b.z, v.via.array.ptr, v.via.array.size);
	else if (v_is_map(&v))
		*out = v_map_of(l->b.z, v.via.map.ptr, v.via.map.size);
	v_each(el, out)
		if (!expand(l, *el, depth + 1, el))
			return false;
	v_each_kv(kv, out)
		if (!expand(l, kv->val, depth + 1, &kv->val))
			return false;
	return true;
}

/* A merge key stands on the stack as null: no other key is. */
static void push_merge(struct loader *l)
{
	struct builder_frame *f = builder_frame(&l->b);

	f->quiet = true;
	builder_add(&l->b, v_null());
}

/* The shortest form that reads back the same float (not double): how
 * sigs.k8s.io/yaml writes keys. */
static struct str float_key(zone *z, double d)
{
	char text[40];
	int n = 0, exponent, decimals;

	if (!isfinite((float)d))
		return d < 0 ? STR("-.inf") : STR(".inf");
	do
		snprintf(text, sizeof(text), "%.*e", n, (double)(float)d);
	while (strtof(text, NULL) != (float)d && ++n < 9);
	exponent = atoi(strchr(text, 'e') + 1);
	decimals = n > exponent ? n - exponent : 0;
	if (exponent >= -4 && exponent < 6)
		snprintf(text, sizeof(text), "%.*f", decimals, (double)(float)d);
	return zone_str(z, str_of(text));
}

/* A scalar as a key; its text, or why it cannot be one. */
static const char *key_text(struct loader *l, const value *v, enum scalar kind, struct str text,
			    struct str *key)
{
	*key = text;
	switch (kind) {
	case SCALAR_STR:
		*key = v_as_str(v);
		return NULL;
	case SCALAR_BOOL:
		*key = v_as_bool(v, false) ? STR("true") : STR("false");
		return NULL;
	case SCALAR_INT:
		if (!v_is_int(v))
			return "a key is out of range";
		*key = zone_printf(l->b.z, "%lld", (long long)v_as_int(v, 0));
		return NULL;
	case SCALAR_FLOAT:
		*key = float_key(l->b.z, v_is_int(v) ? (double)v_as_int(v, 0) : v->via.f64);
		return NULL;
	default:
		return "a key is null";
	}
}

#define YAML_TAG(name) "tag:yaml.org,2002:" name

static const struct {
	const char *tag;
	enum scalar kind;
} tags[] = {
	{YAML_TAG("null"), SCALAR_NULL},
	{YAML_TAG("bool"), SCALAR_BOOL},
	{YAML_TAG("int"), SCALAR_INT},
	{YAML_TAG("float"), SCALAR_FLOAT},
};

/* What the scalar of an event means; NULL, or what is wrong with it. */
static const char *scalar_of(const yaml_event_t *ev, struct str text, value *v, enum scalar *kind)
{
	const char *tag = (const char *)ev->data.scalar.tag;
	bool plain = ev->data.scalar.plain_implicit;

	*v = v_str(text);
	*kind = SCALAR_STR;
	if (!tag) {
		if (plain)
			*kind = resolve(text, v);
		return *kind == SCALAR_UNSUPPORTED ? "JSON has no such number" : NULL;
	}
	if (strcmp(tag, YAML_TAG("binary")) == 0)
		return "!!binary is not supported";
	for (size_t i = 0; i < countof(tags); i++) {
		if (strcmp(tag, tags[i].tag) != 0)
			continue;
		*kind = resolve(text, v);
		if (*kind == tags[i].kind || (*kind == SCALAR_INT && tags[i].kind == SCALAR_FLOAT))
			return NULL;
		return "a value is not what its tag says";
	}
	return NULL;
}

static void report_key(struct loader *l, const yaml_event_t *ev, struct str key)
{
	struct buf path = {0};

	if (!l->on_key)
		return;
	builder_path(&l->b, key, &path);
	l->on_key(l->arg, buf_str(&path), line_of(ev));
	buf_free(&path);
}

static int add_key(struct loader *l, const yaml_event_t *ev, const value *v, enum scalar kind,
		   struct str text)
{
	struct str key;
	const char *bad = key_text(l, v, kind, text, &key);

	if (bad)
		return refuse(l, ev, bad);
	report_key(l, ev, key);
	builder_key(&l->b, key);
	return WEFT_OK;
}

static int on_scalar(struct loader *l, const yaml_event_t *ev)
{
	struct str text = {(const char *)ev->data.scalar.value, (uint32_t)ev->data.scalar.length};
	bool plain = ev->data.scalar.plain_implicit;
	enum scalar kind;
	const char *bad;
	value v;

	if (builder_wants_key(&l->b) && plain && str_eq(text, STR("<<"))) {
		push_merge(l);
		return WEFT_OK;
	}
	text = zone_str(l->b.z, text);
	bad = scalar_of(ev, text, &v, &kind);
	if (bad)
		return refuse(l, ev, bad);
	anchor_note(l, ev->data.scalar.anchor, v, false);
	if (builder_wants_key(&l->b))
		return add_key(l, ev, &v, kind, text);
	return builder_add(&l->b, v) ? WEFT_OK : too_deep(l, ev);
}

static int on_alias(struct loader *l, const yaml_event_t *ev)
{
	struct anchor *a = anchor_find(l, str_of((const char *)ev->data.alias.anchor));
	value v;

	if (!a)
		return refuse(l, ev, "an alias names no anchor");
	if (a->open)
		return refuse(l, ev, "an anchor contains itself");
	if (!expand(l, a->v, l->b.depth, &v))
		return refuse(l, ev, "aliases expand to too much");
	if (!builder_wants_key(&l->b))
		return builder_add(&l->b, v) ? WEFT_OK : too_deep(l, ev);
	if (!v_is_str(&v))
		return refuse(l, ev, "a key is no string");
	return add_key(l, ev, &v, SCALAR_STR, v_as_str(&v));
}

static int on_open(struct loader *l, const yaml_event_t *ev, const yaml_char_t *anchor, bool map)
{
	if (builder_wants_key(&l->b))
		return refuse(l, ev, "a key is a list or a map");
	if (!builder_open(&l->b, map))
		return too_deep(l, ev);
	l->open_anchor[l->b.depth - 1] = anchor_note(l, anchor, v_null(), true);
	return WEFT_OK;
}

/* The members of `map` go where the merge key stands. */
static bool merge_map(struct buf *out, const value *map)
{
	if (!v_is_map(map))
		return false;
	buf_add(out, map->via.map.ptr, map->via.map.size * sizeof(msgpack_object_kv));
	return true;
}

/* Of several the first counts most, so it comes last. */
static bool merge(struct buf *out, const value *v)
{
	if (!v_is_array(v))
		return merge_map(out, v);
	for (uint32_t i = v_len(v); i-- > 0;)
		if (!merge_map(out, v_at(v, i)))
			return false;
	return true;
}

/* Puts what is merged in the place of the innermost map's merge keys. */
static bool merge_members(struct loader *l)
{
	struct builder *b = &l->b;
	uint32_t start = builder_frame(b)->start;
	struct buf members = {0};
	bool ok = true;
	const value *v;

	for (uint32_t i = start; ok && i < b->n; i += 2) {
		v = &b->stack[i];
		if (v_is_null(v))
			ok = merge(&members, v + 1);
		else
			buf_add(&members, v, 2 * sizeof(*v));
	}
	b->n = start;
	v = (const value *)members.p;
	for (size_t i = 0; ok && i < members.n / sizeof(*v); i++)
		builder_add(b, v[i]);
	buf_free(&members);
	return ok;
}

static int on_close(struct loader *l, const yaml_event_t *ev)
{
	int32_t anchor = l->open_anchor[l->b.depth - 1];

	if (builder_frame(&l->b)->quiet && !merge_members(l))
		return refuse(l, ev, "<< takes a map or a list of maps");
	if (!builder_close(&l->b))
		return too_deep(l, ev);
	if (anchor >= 0) {
		l->anchors[anchor].v = builder_top(&l->b);
		l->anchors[anchor].open = false;
	}
	return WEFT_OK;
}

static int on_event(struct loader *l, const yaml_event_t *ev)
{
	switch (ev->type) {
	case YAML_SCALAR_EVENT:
		return on_scalar(l, ev);
	case YAML_ALIAS_EVENT:
		return on_alias(l, ev);
	case YAML_SEQUENCE_START_EVENT:
		return on_open(l, ev, ev->data.sequence_start.anchor, false);
	case YAML_MAPPING_START_EVENT:
		return on_open(l, ev, ev->data.mapping_start.anchor, true);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		return on_close(l, ev);
	default:
		return WEFT_OK;
	}
}

static int syntax_error(struct loader *l)
{
	const yaml_parser_t *p = &l->parser;
	size_t line = p->problem_mark.line;

	if (p->error == YAML_MEMORY_ERROR)
		weft_fatal("out of memory for YAML");
	return err_set(l->e, WEFT_EINVAL, "invalid YAML at line %zu: %s", line + 1,
		       p->problem ? p->problem : "not understood");
}

/* Events up to the end of the first document. */
static int load(struct loader *l)
{
	yaml_event_type_t type = YAML_NO_EVENT;
	yaml_event_t ev;
	int rc = WEFT_OK;

	while (!rc && type != YAML_DOCUMENT_END_EVENT && type != YAML_STREAM_END_EVENT) {
		if (!yaml_parser_parse(&l->parser, &ev))
			return syntax_error(l);
		type = ev.type;
		rc = on_event(l, &ev);
		yaml_event_delete(&ev);
	}
	if (!rc && l->b.n == 0)
		builder_add(&l->b, v_null()); /* no document */
	return rc;
}

static int decode(struct loader *l, struct str text, value *out)
{
	int rc;

	if (!yaml_parser_initialize(&l->parser))
		weft_fatal("out of memory for YAML");
	yaml_parser_set_input_string(&l->parser, (const unsigned char *)text.p, text.n);
	rc = load(l);
	if (!rc)
		*out = builder_result(&l->b);
	yaml_parser_delete(&l->parser);
	free(l->anchors);
	builder_free(&l->b);
	return rc;
}

int yaml_decode(zone *z, struct str text, value *out, struct json_notes *notes, struct err *e)
{
	struct loader l = {.b = {.z = z, .notes = notes}, .e = e};

	if (notes)
		*notes = (struct json_notes){0};
	return decode(&l, text, out);
}

int yaml_decode_lines(zone *z, struct str text, value *out,
		      void (*cb)(void *arg, struct str path, unsigned line), void *arg,
		      struct err *e)
{
	struct loader l = {.b = {.z = z}, .on_key = cb, .arg = arg, .e = e};

	return decode(&l, text, out);
}

/* --- Out ------------------------------------------------------------------------- */

static int write_out(void *arg, unsigned char *p, size_t n)
{
	buf_add(arg, p, n);
	return 1;
}

static void emit(yaml_emitter_t *em, yaml_event_t *ev)
{
	if (!yaml_emitter_emit(em, ev))
		weft_fatal("YAML: %s", em->problem ? em->problem : "out of memory");
}

static void emit_scalar(yaml_emitter_t *em, struct str s, yaml_scalar_style_t style)
{
	yaml_event_t ev;

	if (!yaml_scalar_event_initialize(&ev, NULL, NULL, (const yaml_char_t *)s.p, (int)s.n, 1, 1,
					  style))
		weft_fatal("YAML: a string is not UTF-8");
	emit(em, &ev);
}

/* What some reader takes for more than a string: << as a key, and 1:30, which
 * is a number in YAML 1.1. */
static bool special(struct str s)
{
	if (str_eq(s, STR("<<")))
		return true;
	return s.n && memchr(s.p, ':', s.n) && strchr("+-0123456789", s.p[0]) != NULL;
}

static void emit_string(yaml_emitter_t *em, struct str s)
{
	value v;

	if (s.n && memchr(s.p, '\n', s.n))
		emit_scalar(em, s, YAML_LITERAL_SCALAR_STYLE);
	else if (resolve(s, &v) == SCALAR_STR && !special(s))
		emit_scalar(em, s, YAML_PLAIN_SCALAR_STYLE);
	else
		emit_scalar(em, s, YAML_DOUBLE_QUOTED_SCALAR_STYLE);
}

/* Numbers, booleans and null look in YAML as they do in JSON. */
static void emit_plain(yaml_emitter_t *em, const value *v)
{
	struct buf text = {0};

	json_encode(&text, v, NULL);
	emit_scalar(em, buf_str(&text), YAML_PLAIN_SCALAR_STYLE);
	buf_free(&text);
}

static void emit_value(yaml_emitter_t *em, const value *v)
{
	yaml_event_t ev;

	if (v_is_map(v)) {
		yaml_mapping_start_event_initialize(&ev, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE);
		emit(em, &ev);
		v_each_kv(kv, v) {
			emit_string(em, v_as_str(&kv->key));
			emit_value(em, &kv->val);
		}
		yaml_mapping_end_event_initialize(&ev);
		emit(em, &ev);
	} else if (v_is_array(v)) {
		yaml_sequence_start_event_initialize(&ev, NULL, NULL, 1, YAML_BLOCK_SEQUENCE_STYLE);
		emit(em, &ev);
		v_each(el, v)
			emit_value(em, el);
		yaml_sequence_end_event_initialize(&ev);
		emit(em, &ev);
	} else if (v_is_str(v)) {
		emit_string(em, v_as_str(v));
	} else {
		emit_plain(em, v);
	}
}

void yaml_encode(struct buf *out, const value *v)
{
	yaml_emitter_t em;
	yaml_event_t ev;

	if (!yaml_emitter_initialize(&em))
		weft_fatal("out of memory for YAML");
	yaml_emitter_set_output(&em, write_out, out);
	yaml_emitter_set_unicode(&em, 1);
	yaml_emitter_set_width(&em, -1);
	yaml_stream_start_event_initialize(&ev, YAML_UTF8_ENCODING);
	emit(&em, &ev);
	yaml_document_start_event_initialize(&ev, NULL, NULL, NULL, 1);
	emit(&em, &ev);
	emit_value(&em, v);
	yaml_document_end_event_initialize(&ev, 1);
	emit(&em, &ev);
	yaml_stream_end_event_initialize(&ev);
	emit(&em, &ev);
	yaml_emitter_delete(&em);
}

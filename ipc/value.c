/*
 * value.c - trees of msgpack objects: making, reading, changing, and their
 * stored form.
 *
 * Members of a map and elements of an array lie behind a small head that says
 * how many slots there are and how many of them are taken:
 *
 *	struct slots { cap, used } | slot 0 | slot 1 | ...
 *
 * A container whose own size equals `used` owns the free slots and appends in
 * place; any other (an older shallow copy, one that lost members) moves to
 * slots of its own first.  So appending costs O(1) on average, and never
 * changes what another copy of the container sees.
 */
#include <stdio.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "ipc/mp.h"
#include "weft/value.h"

/* Many requests fit into one chunk. */
#define ZONE_CHUNK (16 * 1024)
#define ZONE_SMALL 1024
#define SLOTS_MIN  4

struct slots {
	uint32_t cap, used;
};

/* --- Making --------------------------------------------------------------- */

static zone *zone_of(size_t chunk)
{
	zone *z = msgpack_zone_new(chunk);

	weft_assert(z);
	return z;
}

zone *zone_new(void)
{
	return zone_of(ZONE_CHUNK);
}

zone *zone_new_small(void)
{
	return zone_of(ZONE_SMALL);
}

void zone_free(zone *z)
{
	if (z)
		msgpack_zone_free(z);
}

void zone_reset(zone *z)
{
	msgpack_zone_clear(z);
}

void *zone_alloc(zone *z, size_t n)
{
	void *p = msgpack_zone_malloc(z, n);

	weft_assert(p);
	return p;
}

static char *zone_chars(zone *z, size_t n)
{
	char *p = msgpack_zone_malloc_no_align(z, n);

	weft_assert(p);
	return p;
}

struct str zone_str(zone *z, struct str s)
{
	char *p;

	if (!s.n)
		return STR("");
	p = zone_chars(z, s.n);
	memcpy(p, s.p, s.n);
	return (struct str){p, s.n};
}

struct str zone_printf(zone *z, const char *fmt, ...)
{
	va_list ap, again;
	char *p;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	weft_assert(n >= 0);
	p = zone_chars(z, (size_t)n + 1);
	vsnprintf(p, (size_t)n + 1, fmt, again);
	va_end(again);
	return (struct str){p, (uint32_t)n};
}

value v_null(void)
{
	return (value){.type = MSGPACK_OBJECT_NIL};
}

value v_bool(bool b)
{
	return (value){.type = MSGPACK_OBJECT_BOOLEAN, .via.boolean = b};
}

value v_int(int64_t i)
{
	if (i >= 0)
		return v_uint((uint64_t)i);
	return (value){.type = MSGPACK_OBJECT_NEGATIVE_INTEGER, .via.i64 = i};
}

value v_uint(uint64_t u)
{
	return (value){.type = MSGPACK_OBJECT_POSITIVE_INTEGER, .via.u64 = u};
}

value v_float(double d)
{
	return (value){.type = MSGPACK_OBJECT_FLOAT64, .via.f64 = d};
}

value v_str(struct str s)
{
	return (value){.type = MSGPACK_OBJECT_STR, .via.str = {.size = s.n, .ptr = s.p}};
}

value v_cstr(const char *s)
{
	return v_str(str_of(s));
}

value v_map(void)
{
	return (value){.type = MSGPACK_OBJECT_MAP};
}

value v_array(void)
{
	return (value){.type = MSGPACK_OBJECT_ARRAY};
}

value *v_new(zone *z, value v)
{
	value *p = zone_alloc(z, sizeof(*p));

	*p = v;
	return p;
}

/* Slots of `each` bytes for `cap` members, `used` of them taken. */
static void *slots_new(zone *z, size_t each, uint32_t cap, uint32_t used)
{
	struct slots *s;

	if (!cap)
		return NULL;
	s = zone_alloc(z, sizeof(*s) + each * cap);
	s->cap = cap;
	s->used = used;
	return s + 1;
}

/* Slots that have room for one more behind the `n` at `p`: these, or a larger
 * copy.  The new slot counts as taken. */
static void *slots_grow(zone *z, void *p, size_t each, uint32_t n)
{
	struct slots *s = p ? (struct slots *)p - 1 : NULL;
	void *grown;

	if (s) {
		weft_assert(n <= s->used && s->used <= s->cap);
		if (n == s->used && n < s->cap) {
			s->used++;
			return p;
		}
	}
	weft_assert(n < UINT32_MAX / 2);
	grown = slots_new(z, each, n < SLOTS_MIN / 2 ? SLOTS_MIN : 2 * n, n + 1);
	if (n)
		memcpy(grown, p, each * n);
	return grown;
}

value v_array_of(zone *z, const value *el, uint32_t n)
{
	value v = v_array();

	v.via.array.size = n;
	v.via.array.ptr = slots_new(z, sizeof(*el), n, n);
	if (n && el)
		memcpy(v.via.array.ptr, el, n * sizeof(*el));
	return v;
}

value v_map_of(zone *z, const msgpack_object_kv *kv, uint32_t n)
{
	value v = v_map();

	v.via.map.size = n;
	v.via.map.ptr = slots_new(z, sizeof(*kv), n, n);
	if (n && kv)
		memcpy(v.via.map.ptr, kv, n * sizeof(*kv));
	return v;
}

static value copy_bytes(zone *z, value v)
{
	struct str s;

	switch (v.type) {
	case MSGPACK_OBJECT_STR:
		return v_str(zone_str(z, (struct str){v.via.str.ptr, v.via.str.size}));
	case MSGPACK_OBJECT_BIN:
		s = zone_str(z, (struct str){v.via.bin.ptr, v.via.bin.size});
		v.via.bin.ptr = s.p;
		return v;
	case MSGPACK_OBJECT_EXT:
		s = zone_str(z, (struct str){v.via.ext.ptr, v.via.ext.size});
		v.via.ext.ptr = s.p;
		return v;
	default:
		return v;
	}
}

value v_copy(zone *z, const value *v)
{
	value c;

	if (!v)
		return v_null();
	if (v_is_array(v)) {
		c = v_array_of(z, v->via.array.ptr, v->via.array.size);
		v_each(el, &c)
			*el = v_copy(z, el);
		return c;
	}
	if (v_is_map(v)) {
		c = v_map_of(z, v->via.map.ptr, v->via.map.size);
		v_each_kv(kv, &c) {
			kv->key = copy_bytes(z, kv->key);
			kv->val = v_copy(z, &kv->val);
		}
		return c;
	}
	return copy_bytes(z, *v);
}

/* --- Reading ---------------------------------------------------------------- */

bool v_is_map(const value *v)
{
	return v && v->type == MSGPACK_OBJECT_MAP;
}

bool v_is_array(const value *v)
{
	return v && v->type == MSGPACK_OBJECT_ARRAY;
}

bool v_is_str(const value *v)
{
	return v && v->type == MSGPACK_OBJECT_STR;
}

bool v_is_int(const value *v)
{
	return v && (v->type == MSGPACK_OBJECT_POSITIVE_INTEGER ||
		     v->type == MSGPACK_OBJECT_NEGATIVE_INTEGER);
}

bool v_is_null(const value *v)
{
	return !v || v->type == MSGPACK_OBJECT_NIL;
}

static bool key_is(const msgpack_object_kv *kv, struct str key)
{
	return kv->key.type == MSGPACK_OBJECT_STR && kv->key.via.str.size == key.n &&
	       (key.n == 0 || memcmp(kv->key.via.str.ptr, key.p, key.n) == 0);
}

static msgpack_object_kv *find(const value *map, struct str key)
{
	v_each_kv(kv, map)
		if (key_is(kv, key))
			return kv;
	return NULL;
}

value *v_getn(const value *map, struct str key)
{
	msgpack_object_kv *kv = find(map, key);

	return kv ? &kv->val : NULL;
}

value *v_get(const value *map, const char *key)
{
	return v_getn(map, str_of(key));
}

value *v_path(const value *v, const char *dotted)
{
	const char *dot = strchrnul(dotted, '.');

	for (;; dotted = dot + 1, dot = strchrnul(dotted, '.')) {
		v = v_getn(v, (struct str){dotted, (uint32_t)(dot - dotted)});
		if (!v || !*dot)
			return (value *)v;
	}
}

struct str v_as_str(const value *v)
{
	if (!v_is_str(v))
		return STR("");
	return (struct str){v->via.str.ptr, v->via.str.size};
}

/* A double that is whole and fits: 2^63 itself does not. */
static bool whole(double d)
{
	return d >= -9223372036854775808.0 && d < 9223372036854775808.0 && d == (double)(int64_t)d;
}

int64_t v_as_int(const value *v, int64_t absent)
{
	if (!v)
		return absent;
	switch (v->type) {
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
		return v->via.u64 <= INT64_MAX ? (int64_t)v->via.u64 : absent;
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
		return v->via.i64;
	case MSGPACK_OBJECT_FLOAT32:
	case MSGPACK_OBJECT_FLOAT64:
		return whole(v->via.f64) ? (int64_t)v->via.f64 : absent;
	default:
		return absent;
	}
}

bool v_as_bool(const value *v, bool absent)
{
	return v && v->type == MSGPACK_OBJECT_BOOLEAN ? v->via.boolean : absent;
}

struct str v_get_str(const value *map, const char *key)
{
	return v_as_str(v_get(map, key));
}

int64_t v_get_int(const value *map, const char *key, int64_t absent)
{
	return v_as_int(v_get(map, key), absent);
}

bool v_get_bool(const value *map, const char *key, bool absent)
{
	return v_as_bool(v_get(map, key), absent);
}

uint32_t v_len(const value *v)
{
	if (v_is_map(v))
		return v->via.map.size;
	return v_is_array(v) ? v->via.array.size : 0;
}

value *v_at(const value *array, uint32_t i)
{
	if (!v_is_array(array) || i >= array->via.array.size)
		return NULL;
	return &array->via.array.ptr[i];
}

static bool array_equal(const value *a, const value *b)
{
	if (v_len(a) != v_len(b))
		return false;
	for (uint32_t i = 0; i < v_len(a); i++)
		if (!v_equal(v_at(a, i), v_at(b, i)))
			return false;
	return true;
}

/* Usually the order is the same, so look at the same place first. */
static bool map_equal(const value *a, const value *b)
{
	if (v_len(a) != v_len(b))
		return false;
	for (uint32_t i = 0; i < v_len(a); i++) {
		const msgpack_object_kv *kv = &a->via.map.ptr[i], *other = &b->via.map.ptr[i];
		struct str key = v_as_str(&kv->key);

		if (!key_is(other, key))
			other = find(b, key);
		if (!other || !v_equal(&kv->val, &other->val))
			return false;
	}
	return true;
}

bool v_equal(const value *a, const value *b)
{
	if (!a || !b)
		return v_is_null(a) && v_is_null(b);
	if (a->type != b->type)
		return false;
	switch (a->type) {
	case MSGPACK_OBJECT_NIL:
		return true;
	case MSGPACK_OBJECT_BOOLEAN:
		return a->via.boolean == b->via.boolean;
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
		return a->via.u64 == b->via.u64;
	case MSGPACK_OBJECT_FLOAT32:
	case MSGPACK_OBJECT_FLOAT64:
		return a->via.f64 == b->via.f64;
	case MSGPACK_OBJECT_STR:
		return str_eq(v_as_str(a), v_as_str(b));
	case MSGPACK_OBJECT_ARRAY:
		return array_equal(a, b);
	case MSGPACK_OBJECT_MAP:
		return map_equal(a, b);
	case MSGPACK_OBJECT_BIN:
		return str_eq((struct str){a->via.bin.ptr, a->via.bin.size},
			      (struct str){b->via.bin.ptr, b->via.bin.size});
	case MSGPACK_OBJECT_EXT:
		return a->via.ext.type == b->via.ext.type &&
		       str_eq((struct str){a->via.ext.ptr, a->via.ext.size},
			      (struct str){b->via.ext.ptr, b->via.ext.size});
	}
	return false;
}

/* --- Changing --------------------------------------------------------------- */

value *v_setn(zone *z, value *map, struct str key, value v)
{
	value *at = v_getn(map, key);
	msgpack_object_map *m = &map->via.map;

	if (at) {
		*at = v;
		return at;
	}
	if (!v_is_map(map))
		*map = v_map();
	m->ptr = slots_grow(z, m->ptr, sizeof(*m->ptr), m->size);
	m->ptr[m->size] = (msgpack_object_kv){v_str(key), v};
	return &m->ptr[m->size++].val;
}

value *v_set(zone *z, value *map, const char *key, value v)
{
	return v_setn(z, map, str_of(key), v);
}

static value *member_at(zone *z, value *map, const char *key, value empty)
{
	value *at = v_get(map, key);

	if (at && !v_is_null(at))
		return at;
	return v_set(z, map, key, empty);
}

value *v_map_at(zone *z, value *map, const char *key)
{
	return member_at(z, map, key, v_map());
}

value *v_array_at(zone *z, value *map, const char *key)
{
	return member_at(z, map, key, v_array());
}

bool v_deln(value *map, struct str key)
{
	msgpack_object_kv *kv = find(map, key);

	if (!kv)
		return false;
	map->via.map.size--;
	memmove(kv, kv + 1, (size_t)((char *)(map->via.map.ptr + map->via.map.size) - (char *)kv));
	return true;
}

bool v_del(value *map, const char *key)
{
	return v_deln(map, str_of(key));
}

value *v_append(zone *z, value *array, value v)
{
	msgpack_object_array *a = &array->via.array;

	if (!v_is_array(array))
		*array = v_array();
	a->ptr = slots_grow(z, a->ptr, sizeof(*a->ptr), a->size);
	a->ptr[a->size] = v;
	return &a->ptr[a->size++];
}

void v_remove(value *array, uint32_t i)
{
	msgpack_object_array *a = &array->via.array;

	if (!v_at(array, i))
		return;
	a->size--;
	memmove(&a->ptr[i], &a->ptr[i + 1], (a->size - i) * sizeof(*a->ptr));
}

/* --- msgpack ----------------------------------------------------------------- */

struct decoder {
	zone *z;
	const char *p, *end;
	/* Values that may still be claimed: each takes a byte at least, so a
	 * length that claims more is false, and memory stays in proportion. */
	size_t budget;
};

static bool decode_one(struct decoder *d, unsigned depth, value *out);

static bool claim(struct decoder *d, size_t n)
{
	if (n > d->budget)
		return false;
	d->budget -= n;
	return true;
}

static bool decode_array(struct decoder *d, unsigned depth, uint32_t n, value *out)
{
	if (!claim(d, n))
		return false;
	*out = v_array_of(d->z, NULL, n);
	v_each(el, out)
		if (!decode_one(d, depth + 1, el))
			return false;
	return true;
}

static bool decode_map(struct decoder *d, unsigned depth, uint32_t n, value *out)
{
	struct mp_item key;

	if (!claim(d, 2 * (size_t)n))
		return false;
	*out = v_map_of(d->z, NULL, n);
	v_each_kv(kv, out) {
		if (!mp_next(&d->p, d->end, &key) || key.type != MSGPACK_OBJECT_STR)
			return false;
		kv->key = v_str((struct str){key.p, key.n});
		if (!decode_one(d, depth + 1, &kv->val))
			return false;
	}
	return true;
}

static bool decode_hole(const struct mp_item *it, value *out)
{
	if (!mp_is_hole(it->ext, it->n))
		return false;
	*out = (value){.type = MSGPACK_OBJECT_EXT,
		       .via.ext = {.type = it->ext, .size = it->n, .ptr = it->p}};
	return true;
}

static bool decode_one(struct decoder *d, unsigned depth, value *out)
{
	struct mp_item it;

	if (depth > VALUE_DEPTH_MAX || !mp_next(&d->p, d->end, &it))
		return false;
	switch (it.type) {
	case MSGPACK_OBJECT_NIL:
		*out = v_null();
		return true;
	case MSGPACK_OBJECT_BOOLEAN:
		*out = v_bool(it.b);
		return true;
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
		*out = v_uint(it.u);
		return true;
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
		*out = v_int(it.i);
		return true;
	case MSGPACK_OBJECT_FLOAT64:
		*out = v_float(it.f);
		return true;
	case MSGPACK_OBJECT_STR:
		*out = v_str((struct str){it.p, it.n});
		return true;
	case MSGPACK_OBJECT_ARRAY:
		return decode_array(d, depth, it.n, out);
	case MSGPACK_OBJECT_MAP:
		return decode_map(d, depth, it.n, out);
	case MSGPACK_OBJECT_EXT:
		return decode_hole(&it, out);
	default:
		return false;
	}
}

int v_decode(zone *z, struct str bytes, value *out)
{
	struct decoder d = {z, bytes.p, bytes.p + bytes.n, bytes.n};

	if (!bytes.n || !decode_one(&d, 0, out) || d.p != d.end)
		return WEFT_EINVAL;
	return WEFT_OK;
}

/* Room for the head of an item in `out`, and its end. */
static char *head_begin(struct buf *out)
{
	buf_reserve(out, MP_HEAD_MAX);
	return out->p + out->n;
}

static void head_end(struct buf *out, const char *p)
{
	out->n = (size_t)(p - out->p);
}

static void encode_members(struct buf *out, const value *v)
{
	v_each(el, v)
		v_encode(out, el);
	v_each_kv(kv, v) {
		v_encode(out, &kv->key);
		v_encode(out, &kv->val);
	}
}

void v_encode(struct buf *out, const value *v)
{
	char *p = head_begin(out);
	struct str body = {NULL, 0};

	switch (v ? v->type : MSGPACK_OBJECT_NIL) {
	case MSGPACK_OBJECT_NIL:
		mp_pack_nil(&p);
		break;
	case MSGPACK_OBJECT_BOOLEAN:
		v->via.boolean ? mp_pack_true(&p) : mp_pack_false(&p);
		break;
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
		mp_pack_uint64(&p, v->via.u64);
		break;
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
		mp_pack_int64(&p, v->via.i64);
		break;
	case MSGPACK_OBJECT_FLOAT32:
	case MSGPACK_OBJECT_FLOAT64:
		mp_pack_double(&p, v->via.f64);
		break;
	case MSGPACK_OBJECT_STR:
		mp_pack_str(&p, v->via.str.size);
		body = (struct str){v->via.str.ptr, v->via.str.size};
		break;
	case MSGPACK_OBJECT_BIN:
		mp_pack_bin(&p, v->via.bin.size);
		body = (struct str){v->via.bin.ptr, v->via.bin.size};
		break;
	case MSGPACK_OBJECT_EXT:
		mp_pack_ext(&p, v->via.ext.size, v->via.ext.type);
		body = (struct str){v->via.ext.ptr, v->via.ext.size};
		break;
	case MSGPACK_OBJECT_ARRAY:
		mp_pack_array(&p, v->via.array.size);
		break;
	case MSGPACK_OBJECT_MAP:
		mp_pack_map(&p, v->via.map.size);
		break;
	}
	head_end(out, p);
	buf_addstr(out, body);
	encode_members(out, v);
}

/* --- uids -------------------------------------------------------------------- */

static const char suffix_alphabet[] = "bcdfghjklmnpqrstvwxz2456789";
#define SUFFIX_BASE  (sizeof(suffix_alphabet) - 1)
#define SUFFIX_FIRST 20 /* where the byte that comes first stands: '2' */

static uint32_t first_four(const uint8_t uid[16])
{
	return uid[0] | uid[1] << 8 | uid[2] << 16 | (uint32_t)uid[3] << 24;
}

/* The first four bytes as a number, in base 27, lowest digit last.  Whoever
 * makes a uid can thus choose its suffix. */
void uid_suffix5(const uint8_t uid[16], char out[5])
{
	uint32_t x = first_four(uid);

	for (int i = 4; i >= 0; i--, x /= SUFFIX_BASE)
		out[i] = suffix_alphabet[x % SUFFIX_BASE];
}

void uid_set_suffix5(uint8_t uid[16], uint32_t place)
{
	uint32_t x = 0, all = 1, old = first_four(uid);

	weft_assert(place < UID_SUFFIXES);
	for (int i = 0; i < 5; i++, place /= SUFFIX_BASE, all *= SUFFIX_BASE)
		x += (place % SUFFIX_BASE + SUFFIX_FIRST) % SUFFIX_BASE * all;
	/* What a suffix leaves open stays as it was, but for what does not fit. */
	x += old / all % (UINT32_MAX / all) * all;
	for (int i = 0; i < 4; i++)
		uid[i] = (uint8_t)(x >> 8 * i);
}

static const char hex_digits[] = "0123456789abcdef";

/* Whether a dash stands before byte i. */
static bool dash_before(int i)
{
	return i == 4 || i == 6 || i == 8 || i == 10;
}

void uid_format(const uint8_t uid[16], char out[37])
{
	for (int i = 0; i < 16; i++) {
		if (dash_before(i))
			*out++ = '-';
		*out++ = hex_digits[uid[i] >> 4];
		*out++ = hex_digits[uid[i] & 15];
	}
	*out = '\0';
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool uid_parse(struct str text, uint8_t uid[16])
{
	const char *p = text.p;
	int hi, lo;

	if (text.n != 36)
		return false;
	for (int i = 0; i < 16; i++, p += 2) {
		if (dash_before(i) && *p++ != '-')
			return false;
		hi = hex_value(p[0]);
		lo = hex_value(p[1]);
		if (hi < 0 || lo < 0)
			return false;
		uid[i] = (uint8_t)(hi << 4 | lo);
	}
	return true;
}

/* --- Templates ----------------------------------------------------------------- */

value v_hole(zone *z, enum hole_type type, uint8_t i, struct str prefix)
{
	bool indexed = type <= HOLE_UINT || type == HOLE_UID64;
	uint32_t n = (indexed ? 1 : 0) + (type <= HOLE_UINT ? 0 : prefix.n);
	char *p = zone_chars(z, n + 1);

	if (indexed)
		p[0] = (char)i;
	if (type > HOLE_UINT && prefix.n)
		memcpy(p + indexed, prefix.p, prefix.n);
	return (value){.type = MSGPACK_OBJECT_EXT,
		       .via.ext = {.type = (int8_t)type, .size = n, .ptr = p}};
}

static void add_ipv4(struct buf *out, uint32_t a)
{
	for (int shift = 24; shift >= 0; shift -= 8) {
		unsigned part = a >> shift & 255;

		if (part >= 100)
			buf_putc(out, (char)('0' + part / 100));
		if (part >= 10)
			buf_putc(out, (char)('0' + part / 10 % 10));
		buf_putc(out, (char)('0' + part % 10));
		if (shift)
			buf_putc(out, '.');
	}
}

static bool add_time(struct buf *out, uint32_t wall_s)
{
	char text[21];

	if (!wall_s)
		return false;
	time_format(wall_s, text);
	buf_add(out, text, 20);
	return true;
}

static void add_uid64(struct buf *out, const uint8_t uid[16], uint8_t salt)
{
	char text[64], *p = text;

	for (unsigned k = 0; k < 4; k++) {
		uint64_t h = XXH64(uid, 16, salt * 4u + k);

		for (int shift = 60; shift >= 0; shift -= 4)
			*p++ = hex_digits[h >> shift & 15];
	}
	buf_add(out, text, sizeof(text));
}

/* The holes that hold an index into h->holes. */
static bool number_text(enum hole_type type, uint32_t n, struct buf *out)
{
	if (type == HOLE_TIME)
		return add_time(out, n);
	if (type == HOLE_IPV4)
		add_ipv4(out, n);
	else
		buf_printf(out, "%u", n);
	return true;
}

bool hole_text(const msgpack_object_ext *ext, const struct hole_values *h, struct buf *out,
	       bool *number)
{
	struct str s = {ext->ptr, ext->size};
	enum hole_type type = (enum hole_type)ext->type;
	uint8_t index;
	char suffix[5];

	*number = type == HOLE_UINT;
	if (!h || !mp_is_hole(ext->type, ext->size))
		return false;
	if (type <= HOLE_UINT) {
		index = (uint8_t)s.p[0];
		return index < h->nholes && number_text(type, h->holes[index], out);
	}
	if (!h->uid && (type == HOLE_UID5 || type == HOLE_UID64))
		return false;
	if (type == HOLE_UID64) {
		buf_add(out, s.p + 1, s.n - 1);
		add_uid64(out, h->uid, (uint8_t)s.p[0]);
		return true;
	}
	buf_addstr(out, s);
	if (type == HOLE_UID5) {
		uid_suffix5(h->uid, suffix);
		buf_add(out, suffix, sizeof(suffix));
	} else {
		buf_addstr(out, type == HOLE_NAME ? h->name : h->node);
	}
	return true;
}

static value filled(zone *z, const msgpack_object_ext *ext, const struct hole_values *h,
		    struct buf *text)
{
	bool number;

	text->n = 0;
	if (!hole_text(ext, h, text, &number))
		return v_null();
	if (number)
		return v_uint(h->holes[(uint8_t)ext->ptr[0]]);
	return v_str(zone_str(z, buf_str(text)));
}

static void fill(zone *z, value *v, const struct hole_values *h, struct buf *text)
{
	if (v->type == MSGPACK_OBJECT_EXT)
		*v = filled(z, &v->via.ext, h, text);
	v_each(el, v)
		fill(z, el, h, text);
	v_each_kv(kv, v)
		fill(z, &kv->val, h, text);
}

void v_fill(zone *z, value *v, const struct hole_values *h)
{
	struct buf text = {0};

	fill(z, v, h, &text);
	buf_free(&text);
}

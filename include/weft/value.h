/*
 * value.h - a JSON-like value as a tree: msgpack-c's own msgpack_object in a
 * msgpack_zone.  It is the one working form of objects outside the cache: JSON,
 * YAML and stored msgpack all decode into it and encode from it.
 *
 * Everything made here lives in the zone and goes with it; nothing is freed
 * one by one.  Trees may point into the bytes they were decoded from.
 * Maps keep the order of their keys; keys are always strings.
 */
#ifndef WEFT_VALUE_H
#define WEFT_VALUE_H

#include <msgpack.h>
#include "weft/base.h"

typedef msgpack_object value;
typedef msgpack_zone zone;

/* --- Making --------------------------------------------------------------- */

zone *zone_new(void);
zone *zone_new_small(void); /* for little that lasts, where there are many */
void zone_free(zone *z);
/* Forget everything, keep one chunk: for a zone reused per request. */
void zone_reset(zone *z);
void *zone_alloc(zone *z, size_t n);
struct str zone_str(zone *z, struct str s); /* a copy */
struct str zone_printf(zone *z, const char *fmt, ...)
	__attribute__((format(printf, 2, 3))); /* ends with a NUL */

value v_null(void);
value v_bool(bool b);
value v_int(int64_t i);
value v_uint(uint64_t u);
value v_float(double d);
value v_str(struct str s);   /* borrows */
value v_cstr(const char *s); /* borrows */
value v_map(void);	     /* empty */
value v_array(void);	     /* empty */
/* Of n elements or members that are copied (shallow; NULL: to be filled in by
 * the caller).  Never point via.array.ptr or via.map.ptr at memory of your own:
 * the slots have a head. */
value v_array_of(zone *z, const value *el, uint32_t n);
value v_map_of(zone *z, const msgpack_object_kv *kv, uint32_t n);
value *v_new(zone *z, value v);
value v_copy(zone *z, const value *v); /* deep, strings too */

/* --- Reading: all accept NULL and wrong types and then say "absent" ---------- */

bool v_is_map(const value *v);
bool v_is_array(const value *v);
bool v_is_str(const value *v);
bool v_is_int(const value *v);
bool v_is_null(const value *v); /* NULL pointer too */
/* Member of a map, or NULL. */
value *v_get(const value *map, const char *key);
value *v_getn(const value *map, struct str key);
/* Follows "spec.template.metadata" through maps; NULL if any is absent. */
value *v_path(const value *v, const char *dotted);
struct str v_as_str(const value *v);		  /* empty if not a string */
int64_t v_as_int(const value *v, int64_t absent); /* also for floats that are whole */
bool v_as_bool(const value *v, bool absent);
struct str v_get_str(const value *map, const char *key);
int64_t v_get_int(const value *map, const char *key, int64_t absent);
bool v_get_bool(const value *map, const char *key, bool absent);
uint32_t v_len(const value *v); /* members or elements, 0 otherwise */
value *v_at(const value *array, uint32_t i);
bool v_equal(const value *a,
	     const value *b); /* maps: order does not matter; 1 == 1.0 does not hold */

/* The first element (member) and the end; both NULL if there is none. */
static inline value *v_elements(const value *v, value **end)
{
	value *p = v && v->type == MSGPACK_OBJECT_ARRAY ? v->via.array.ptr : NULL;

	*end = p ? p + v->via.array.size : NULL;
	return p;
}

static inline msgpack_object_kv *v_members(const value *v, msgpack_object_kv **end)
{
	msgpack_object_kv *p = v && v->type == MSGPACK_OBJECT_MAP ? v->via.map.ptr : NULL;

	*end = p ? p + v->via.map.size : NULL;
	return p;
}

/* v_each(el, containers) { ... el ... }: nothing for what is no array (map).
 * Nothing may be added to or removed from it meanwhile. */
#define v_each(el, array_) \
	for (value * el##_end, *el = v_elements((array_), &el##_end); el < el##_end; el++)
#define v_each_kv(kv, map_) \
	for (msgpack_object_kv * kv##_end, *kv = v_members((map_), &kv##_end); kv < kv##_end; kv++)

/* --- Changing --------------------------------------------------------------- */

/* Set or add a member; returns where it lies now: until the next member is
 * added.  `key` is borrowed.  What is no map becomes an empty one first (and no
 * array, in v_append()): objects may hold anything anywhere.  A shallow copy (value b = *a) shares a's members:
 * setting and deleting shows in both, adding only in the one added to. */
value *v_set(zone *z, value *map, const char *key, value v);
value *v_setn(zone *z, value *map, struct str key, value v);
/* The member, made an empty map (array) first if it is absent or null. */
value *v_map_at(zone *z, value *map, const char *key);
value *v_array_at(zone *z, value *map, const char *key);
bool v_del(value *map, const char *key);
bool v_deln(value *map, struct str key);
value *v_append(zone *z, value *array, value v);
void v_remove(value *array, uint32_t i); /* keeps order */

/* --- msgpack ----------------------------------------------------------------- */

#define VALUE_DEPTH_MAX 128

/* WEFT_EINVAL for anything but exactly one well-formed value with string keys,
 * nested at most VALUE_DEPTH_MAX deep (the outermost value is at depth 0), and
 * for msgpack's bin and any extension that is no hole.  Strings point into
 * `bytes`, and are not checked to be UTF-8. */
int v_decode(zone *z, struct str bytes, value *out);
void v_encode(struct buf *out, const value *v);

/* --- Templates ------------------------------------------------------------------
 * A stored part may hold msgpack extension values in place of strings, so that
 * a million objects share it.  They are filled in from the object when it is
 * read.  What is filled in is always a JSON string, or a number for UINT. */
enum hole_type {
	HOLE_TIME = 1, /* payload: u8 i.  holes[i] as RFC 3339 seconds; null if 0 */
	HOLE_IPV4 = 2, /* payload: u8 i.  holes[i] as a dotted address, its first byte highest */
	HOLE_UINT = 3, /* payload: u8 i.  holes[i] as a number */
	HOLE_NAME = 4, /* payload: prefix.  prefix + the object's name */
	HOLE_UID5 = 5, /* payload: prefix.  prefix + 5 characters made from the uid */
	HOLE_NODE = 6, /* payload: prefix.  prefix + the pod's node's name */
	HOLE_UID64 =
		7, /* payload: u8 salt, prefix.  prefix + 64 hex digits made from uid and salt */
};

struct hole_values {
	const uint32_t *holes;
	uint8_t nholes;
	const uint8_t *uid;
	struct str name;
	struct str node;
};

value v_hole(zone *z, enum hole_type type, uint8_t i, struct str prefix);
/* Replace every hole below *v; strings are made in the zone.  A hole that
 * cannot be filled (index out of range) becomes null. */
void v_fill(zone *z, value *v, const struct hole_values *h);
/* The text of one hole into `out`, unquoted; false if it is null.  *number is
 * set when it is a JSON number. */
bool hole_text(const msgpack_object_ext *ext, const struct hole_values *h, struct buf *out,
	       bool *number);
/* The 5 characters of HOLE_UID5, also used for generated names: Kubernetes'
 * alphabet "bcdfghjklmnpqrstvwxz2456789".  They are uid[0..3], a little-endian
 * number, modulo 27^5 in base 27: a maker of uids can choose them. */
void uid_suffix5(const uint8_t uid[16], char out[5]);
/* Give a uid the suffix at `place`, from 0, of all that there are in byte order. */
#define UID_SUFFIXES 14348907u /* 27^5 */
void uid_set_suffix5(uint8_t uid[16], uint32_t place);
void uid_format(const uint8_t uid[16], char out[37]); /* 8-4-4-4-12 */
bool uid_parse(struct str text, uint8_t uid[16]);

#endif

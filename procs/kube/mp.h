/*
 * mp.h - reading stored msgpack without building a tree.  Parts are read at
 * every write and for every object of a list, so what is needed of them is
 * picked out of the bytes directly.
 *
 * A cursor trusts nothing: lengths are checked against the bytes that are
 * left, and the first thing that is wrong sets `bad`, after which all reads say
 * "nothing" and the cursor stays at the end.
 */
#ifndef WEFT_KUBE_MP_H
#define WEFT_KUBE_MP_H

#include "weft/value.h"

struct mp {
	const uint8_t *p, *end;
	bool bad;
};

enum mp_kind { MP_BAD, MP_NIL, MP_BOOL, MP_INT, MP_FLOAT, MP_STR, MP_ARRAY, MP_MAP, MP_EXT };

/* One value's head.  For strings and extensions the payload is passed over
 * already; for arrays and maps `n` members (keys and values are two each in a
 * map, counted as one) follow. */
struct mp_item {
	enum mp_kind kind;
	uint32_t n;
	int64_t i;	 /* MP_INT (saturated), MP_BOOL */
	double f;	 /* MP_FLOAT */
	struct str s;	 /* MP_STR, payload of MP_EXT */
	int8_t ext_type; /* MP_EXT */
};

static inline struct mp mp_of(struct str bytes)
{
	const uint8_t *p = (const uint8_t *)bytes.p;

	return (struct mp){p, p ? p + bytes.n : p, false};
}

/* The next value's head; false at anything malformed or at the end. */
bool mp_read(struct mp *m, struct mp_item *it);
/* Pass over one whole value. */
void mp_skip(struct mp *m);
/* The bytes of one whole value, passed over; empty if malformed. */
struct str mp_raw(struct mp *m);
/* Enter a map (array): the number of members; 0 for any other value, which is
 * passed over. */
uint32_t mp_map(struct mp *m);
uint32_t mp_array(struct mp *m);
/* A string; empty for any other value, which is passed over. */
struct str mp_str(struct mp *m);
/* An integer (also a float that is whole); `absent` for any other value. */
int64_t mp_int(struct mp *m, int64_t absent);
bool mp_bool(struct mp *m, bool absent);

/* The raw bytes of a map's member `key`; empty if there is none. */
struct str mp_get(struct str map, struct str key);
/* As mp_get along "a.b.c". */
struct str mp_path(struct str map, const char *dotted);
/* True if the bytes are exactly one well-formed value with string keys, nested
 * at most VALUE_DEPTH_MAX deep: what v_decode() takes. */
bool mp_valid(struct str bytes);

#endif

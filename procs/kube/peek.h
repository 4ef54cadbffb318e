/*
 * peek.h - picking things out of stored msgpack without building a tree.
 * Parts are looked at for every write and for every object of a list.
 *
 * A cursor trusts nothing: the first thing that is wrong sets `bad`, after
 * which all reads say "nothing" and the cursor stays at the end.
 */
#ifndef WEFT_KUBE_PEEK_H
#define WEFT_KUBE_PEEK_H

#include "ipc/mp.h"
#include "weft/value.h"

struct peek {
	const char *p, *end;
	bool bad;
};

static inline struct peek peek_of(struct str bytes)
{
	return (struct peek){bytes.p, bytes.p ? bytes.p + bytes.n : NULL, false};
}

/* The next item's head (and the whole item if it is no array or map); false at
 * anything malformed or at the end. */
bool peek_item(struct peek *k, struct mp_item *it);
/* Pass over one whole value. */
void peek_skip(struct peek *k);
/* The bytes of one whole value, passed over; empty if malformed. */
struct str peek_raw(struct peek *k);
/* Enter a map (array): the number of members; 0 for any other value, which is
 * passed over. */
uint32_t peek_map(struct peek *k);
uint32_t peek_array(struct peek *k);
/* A string; empty for any other value, which is passed over. */
struct str peek_str(struct peek *k);
/* An integer, saturated (also a float that is whole); `absent` for any other
 * value. */
int64_t peek_int(struct peek *k, int64_t absent);
bool peek_bool(struct peek *k, bool absent);

/* The bytes of a map's member `key`; empty if there is none. */
struct str peek_get(struct str map, struct str key);
/* As peek_get along "a.b.c". */
struct str peek_path(struct str map, const char *dotted);
/* True if the bytes are exactly one well-formed value with string keys, nested
 * at most VALUE_DEPTH_MAX deep: what v_decode() takes, but for the kinds of
 * extensions. */
bool peek_valid(struct str bytes);

#endif

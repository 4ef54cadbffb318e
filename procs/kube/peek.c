/*
 * peek.c - see peek.h.
 */
#include "peek.h"

static uint64_t below(const struct mp_item *it)
{
	return it->type == MSGPACK_OBJECT_MAP	  ? 2ull * it->n
	       : it->type == MSGPACK_OBJECT_ARRAY ? it->n
						  : 0;
}

/* Each value takes at least one byte, so a container that claims more than is
 * left is malformed; that also bounds every loop over members. */
bool peek_item(struct peek *k, struct mp_item *it)
{
	if (!k->bad && mp_next(&k->p, k->end, it) && below(it) <= (uint64_t)(k->end - k->p))
		return true;
	k->bad = true;
	k->p = k->end;
	return false;
}

/* Pass over a small integer or a short string: most of what is stored. */
static inline bool skip_short(struct peek *k)
{
	uint8_t b = k->p < k->end ? (uint8_t)*k->p : 0xc1;
	uint32_t n;

	if (b < 0x80 || b >= 0xe0)
		n = 1;
	else if (b >= 0xa0 && b < 0xc0)
		n = 1 + (b & 0x1f);
	else
		return false;
	if ((size_t)(k->end - k->p) < n)
		return false;
	k->p += n;
	return true;
}

static void skip_below(struct peek *k, const struct mp_item *head)
{
	struct mp_item it;

	for (uint64_t left = below(head); left; left--) {
		if (skip_short(k))
			continue;
		if (!peek_item(k, &it))
			return;
		left += below(&it);
	}
}

void peek_skip(struct peek *k)
{
	struct mp_item it;

	if (!skip_short(k) && peek_item(k, &it))
		skip_below(k, &it);
}

struct str peek_raw(struct peek *k)
{
	const char *start = k->p;

	peek_skip(k);
	if (k->bad)
		return (struct str){NULL, 0};
	return (struct str){start, (uint32_t)(k->p - start)};
}

/* The next item if it is of the wanted type; anything else is passed over. */
static bool typed(struct peek *k, msgpack_object_type type, struct mp_item *it)
{
	if (!peek_item(k, it))
		return false;
	if (it->type == type)
		return true;
	skip_below(k, it);
	return false;
}

uint32_t peek_map(struct peek *k)
{
	struct mp_item it;

	return typed(k, MSGPACK_OBJECT_MAP, &it) ? it.n : 0;
}

uint32_t peek_array(struct peek *k)
{
	struct mp_item it;

	return typed(k, MSGPACK_OBJECT_ARRAY, &it) ? it.n : 0;
}

struct str peek_str(struct peek *k)
{
	struct mp_item it;

	return typed(k, MSGPACK_OBJECT_STR, &it) ? (struct str){it.p, it.n} : (struct str){NULL, 0};
}

int64_t peek_int(struct peek *k, int64_t absent)
{
	struct mp_item it;

	if (!peek_item(k, &it))
		return absent;
	switch ((int)it.type) {
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
		return it.u > INT64_MAX ? INT64_MAX : (int64_t)it.u;
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
		return it.i;
	case MSGPACK_OBJECT_FLOAT64:
		if (it.f >= -9e15 && it.f <= 9e15 && it.f == (double)(int64_t)it.f)
			return (int64_t)it.f;
	}
	skip_below(k, &it);
	return absent;
}

bool peek_bool(struct peek *k, bool absent)
{
	struct mp_item it;

	return typed(k, MSGPACK_OBJECT_BOOLEAN, &it) ? it.b : absent;
}

struct str peek_get(struct str map, struct str key)
{
	struct peek k = peek_of(map);

	if (!map.n)
		return (struct str){NULL, 0};
	for (uint32_t n = peek_map(&k); n && !k.bad; n--) {
		if (str_eq(peek_str(&k), key))
			return peek_raw(&k);
		peek_skip(&k);
	}
	return (struct str){NULL, 0};
}

struct str peek_path(struct str map, const char *dotted)
{
	while (*dotted && map.n) {
		size_t n = strcspn(dotted, ".");

		map = peek_get(map, (struct str){dotted, (uint32_t)n});
		dotted += n + (dotted[n] == '.');
	}
	return map;
}

/* An open map or array: values still to come, and whether every other one is
 * a key. */
struct level {
	uint64_t left;
	bool map;
};

static bool skip_key(struct peek *k)
{
	struct mp_item it;
	bool is_short = k->p < k->end && ((uint8_t)*k->p & 0xe0) == 0xa0;

	if (is_short)
		return skip_short(k);
	return peek_item(k, &it) && it.type == MSGPACK_OBJECT_STR;
}

/* Open a map or array that has members; false if that is too deep. */
static bool open_level(struct level *at, int *depth, const struct mp_item *it)
{
	bool map = it->type == MSGPACK_OBJECT_MAP;

	if ((!map && it->type != MSGPACK_OBJECT_ARRAY) || !it->n)
		return true;
	if (*depth == VALUE_DEPTH_MAX)
		return false;
	at[++*depth] = (struct level){below(it), map};
	return true;
}

bool peek_valid(struct str bytes)
{
	struct level at[VALUE_DEPTH_MAX + 1];
	struct peek k = peek_of(bytes);
	struct mp_item it;
	int depth = 0;

	at[0] = (struct level){1, false};
	while (depth >= 0) {
		struct level *l = &at[depth];
		bool key = l->map && l->left % 2 == 0;

		if (!l->left) {
			depth--;
			continue;
		}
		l->left--;
		if (key ? skip_key(&k) : skip_short(&k))
			continue;
		if (key || !peek_item(&k, &it) || !open_level(at, &depth, &it))
			return false;
	}
	return k.p == k.end;
}

/*
 * mp.c - see mp.h.
 */
#include "mp.h"

#include <limits.h>

static uint64_t take_be(struct mp *m, unsigned n)
{
	uint64_t v = 0;

	if ((size_t)(m->end - m->p) < n) {
		m->bad = true;
		return 0;
	}
	while (n--)
		v = v << 8 | *m->p++;
	return v;
}

static void take_bytes(struct mp *m, struct mp_item *it, enum mp_kind kind, uint64_t n)
{
	it->kind = kind;
	if (m->bad || (uint64_t)(m->end - m->p) < n) {
		m->bad = true;
		return;
	}
	it->s = (struct str){(const char *)m->p, (uint32_t)n};
	it->n = (uint32_t)n;
	m->p += n;
}

static void take_ext(struct mp *m, struct mp_item *it, uint64_t n)
{
	it->ext_type = (int8_t)take_be(m, 1);
	take_bytes(m, it, MP_EXT, n);
}

/* Each member takes at least one byte, so a count beyond what is left is
 * malformed; that also bounds every loop over members. */
static void take_count(struct mp *m, struct mp_item *it, enum mp_kind kind, uint64_t n)
{
	it->kind = kind;
	it->n = (uint32_t)n;
	if (n > (uint64_t)(m->end - m->p))
		m->bad = true;
}

static void take_int(struct mp_item *it, int64_t i)
{
	it->kind = MP_INT;
	it->i = i;
}

static void take_uint64(struct mp *m, struct mp_item *it)
{
	uint64_t u = take_be(m, 8);

	take_int(it, u > INT64_MAX ? INT64_MAX : (int64_t)u);
}

static void take_float(struct mp *m, struct mp_item *it, bool wide)
{
	uint64_t u = take_be(m, wide ? 8 : 4);
	uint32_t u32 = (uint32_t)u;
	float f;

	it->kind = MP_FLOAT;
	if (wide) {
		memcpy(&it->f, &u, sizeof it->f);
	} else {
		memcpy(&f, &u32, sizeof f);
		it->f = f;
	}
}

static void read_wide(struct mp *m, struct mp_item *it, uint8_t c)
{
	switch (c) {
	case 0xc0: it->kind = MP_NIL; break;
	case 0xc2:
	case 0xc3: it->kind = MP_BOOL; it->i = c & 1; break;
	case 0xc4: take_bytes(m, it, MP_STR, take_be(m, 1)); break;
	case 0xc5: take_bytes(m, it, MP_STR, take_be(m, 2)); break;
	case 0xc6: take_bytes(m, it, MP_STR, take_be(m, 4)); break;
	case 0xc7: take_ext(m, it, take_be(m, 1)); break;
	case 0xc8: take_ext(m, it, take_be(m, 2)); break;
	case 0xc9: take_ext(m, it, take_be(m, 4)); break;
	case 0xca: take_float(m, it, false); break;
	case 0xcb: take_float(m, it, true); break;
	case 0xcc: take_int(it, (int64_t)take_be(m, 1)); break;
	case 0xcd: take_int(it, (int64_t)take_be(m, 2)); break;
	case 0xce: take_int(it, (int64_t)take_be(m, 4)); break;
	case 0xcf: take_uint64(m, it); break;
	case 0xd0: take_int(it, (int8_t)take_be(m, 1)); break;
	case 0xd1: take_int(it, (int16_t)take_be(m, 2)); break;
	case 0xd2: take_int(it, (int32_t)take_be(m, 4)); break;
	case 0xd3: take_int(it, (int64_t)take_be(m, 8)); break;
	case 0xd4:
	case 0xd5:
	case 0xd6:
	case 0xd7:
	case 0xd8: take_ext(m, it, 1u << (c - 0xd4)); break;
	case 0xd9: take_bytes(m, it, MP_STR, take_be(m, 1)); break;
	case 0xda: take_bytes(m, it, MP_STR, take_be(m, 2)); break;
	case 0xdb: take_bytes(m, it, MP_STR, take_be(m, 4)); break;
	case 0xdc: take_count(m, it, MP_ARRAY, take_be(m, 2)); break;
	case 0xdd: take_count(m, it, MP_ARRAY, take_be(m, 4)); break;
	case 0xde: take_count(m, it, MP_MAP, take_be(m, 2)); break;
	case 0xdf: take_count(m, it, MP_MAP, take_be(m, 4)); break;
	default: m->bad = true;
	}
}

bool mp_read(struct mp *m, struct mp_item *it)
{
	uint8_t c;

	memset(it, 0, sizeof *it);
	if (m->bad || m->p >= m->end) {
		m->bad = true;
		return false;
	}
	c = *m->p++;
	if (c < 0x80)
		take_int(it, c);
	else if (c < 0x90)
		take_count(m, it, MP_MAP, c & 15);
	else if (c < 0xa0)
		take_count(m, it, MP_ARRAY, c & 15);
	else if (c < 0xc0)
		take_bytes(m, it, MP_STR, c & 31);
	else if (c >= 0xe0)
		take_int(it, (int8_t)c);
	else
		read_wide(m, it, c);
	if (!m->bad)
		return true;
	memset(it, 0, sizeof *it);
	m->p = m->end;
	return false;
}

/* The values below a head that is already read. */
static void skip_below(struct mp *m, const struct mp_item *head)
{
	uint64_t left = head->kind == MP_MAP ? 2ull * head->n : head->kind == MP_ARRAY ? head->n : 0;
	struct mp_item it;

	while (left-- && mp_read(m, &it))
		left += it.kind == MP_MAP ? 2ull * it.n : it.kind == MP_ARRAY ? it.n : 0;
}

void mp_skip(struct mp *m)
{
	struct mp_item it;

	if (mp_read(m, &it))
		skip_below(m, &it);
}

struct str mp_raw(struct mp *m)
{
	const uint8_t *start = m->p;

	mp_skip(m);
	if (m->bad)
		return (struct str){NULL, 0};
	return (struct str){(const char *)start, (uint32_t)(m->p - start)};
}

/* Read a head of the wanted kind; pass over anything else. */
static bool read_kind(struct mp *m, enum mp_kind kind, struct mp_item *it)
{
	if (!mp_read(m, it))
		return false;
	if (it->kind == kind)
		return true;
	skip_below(m, it);
	return false;
}

uint32_t mp_map(struct mp *m)
{
	struct mp_item it;

	return read_kind(m, MP_MAP, &it) ? it.n : 0;
}

uint32_t mp_array(struct mp *m)
{
	struct mp_item it;

	return read_kind(m, MP_ARRAY, &it) ? it.n : 0;
}

struct str mp_str(struct mp *m)
{
	struct mp_item it;

	return read_kind(m, MP_STR, &it) ? it.s : (struct str){NULL, 0};
}

int64_t mp_int(struct mp *m, int64_t absent)
{
	struct mp_item it;

	if (!mp_read(m, &it))
		return absent;
	if (it.kind == MP_INT)
		return it.i;
	if (it.kind == MP_FLOAT && it.f >= -9e15 && it.f <= 9e15 && it.f == (double)(int64_t)it.f)
		return (int64_t)it.f;
	skip_below(m, &it);
	return absent;
}

bool mp_bool(struct mp *m, bool absent)
{
	struct mp_item it;

	return read_kind(m, MP_BOOL, &it) ? it.i != 0 : absent;
}

struct str mp_get(struct str map, struct str key)
{
	struct mp m = mp_of(map);
	uint32_t n = map.n ? mp_map(&m) : 0;

	while (n-- && !m.bad) {
		if (str_eq(mp_str(&m), key))
			return mp_raw(&m);
		mp_skip(&m);
	}
	return (struct str){NULL, 0};
}

struct str mp_path(struct str map, const char *dotted)
{
	while (*dotted && map.n) {
		size_t n = strcspn(dotted, ".");

		map = mp_get(map, (struct str){dotted, (uint32_t)n});
		dotted += n + (dotted[n] == '.');
	}
	return map;
}

/* Below each of the open maps and arrays: values still to come, and whether
 * every other one is a key. */
struct level {
	uint64_t left;
	bool map;
};

bool mp_valid(struct str bytes)
{
	struct level at[VALUE_DEPTH_MAX + 1];
	struct mp m = mp_of(bytes);
	struct mp_item it;
	int depth = 0;

	at[0] = (struct level){1, false};
	while (depth >= 0) {
		struct level *l = &at[depth];

		if (!l->left) {
			depth--;
			continue;
		}
		if (!mp_read(&m, &it) || (l->map && l->left % 2 == 0 && it.kind != MP_STR))
			return false;
		l->left--;
		if (it.kind != MP_MAP && it.kind != MP_ARRAY)
			continue;
		if (depth == VALUE_DEPTH_MAX)
			return false;
		at[++depth] = it.kind == MP_MAP ? (struct level){2ull * it.n, true}
						: (struct level){it.n, false};
	}
	return m.p == m.end;
}

/*
 * mp.h - msgpack, one item at a time: what the value, JSON and message codecs
 * of this folder are built on.
 *
 * Writing is msgpack-c's own template with plain memory as its target.
 * Reading is done here: msgpack-c's unpacker builds trees 32 levels deep and
 * allocates what a length claims before it has seen the bytes.
 */
#ifndef WEFT_IPC_MP_H
#define WEFT_IPC_MP_H

#include <msgpack.h>
#include "weft/base.h"

/* --- Writing: mp_pack_uint64(&p, 7), mp_pack_str(&p, n), ... ------------------ */

/* The most bytes that one mp_pack_*() writes, bodies aside. */
#define MP_HEAD_MAX 9

static inline int mp_append(char **p, const void *b, size_t n)
{
	memcpy(*p, b, n);
	*p += n;
	return 0;
}

#define msgpack_pack_inline_func(name)		   static inline int mp_pack##name
#define msgpack_pack_inline_func_fixint(name)	   static inline int mp_pack_fix##name
#define msgpack_pack_user			   char **
#define msgpack_pack_append_buffer(user, buf, len) return mp_append(user, buf, len)
#include <msgpack/pack_template.h>

/* --- Reading ------------------------------------------------------------------- */

/* One item.  Of a container only its head is read: n elements or pairs follow. */
struct mp_item {
	msgpack_object_type type; /* floats are always FLOAT64 */
	int8_t ext;		  /* of EXT */
	uint32_t n;		  /* bytes of STR, BIN, EXT; elements of ARRAY; pairs of MAP */
	union {
		uint64_t u;    /* POSITIVE_INTEGER */
		int64_t i;     /* NEGATIVE_INTEGER */
		double f;      /* FLOAT64 */
		bool b;	       /* BOOLEAN */
		const char *p; /* STR, BIN, EXT: inside the bytes read */
	};
};

static inline uint64_t mp_be(const char *p, unsigned n)
{
	uint64_t u = 0;

	while (n--)
		u = u << 8 | (uint8_t)*p++;
	return u;
}

/* A head followed by a length of `len` bytes. */
static inline bool mp_take_len(const char **p, const char *end, unsigned len, uint32_t *n)
{
	if ((size_t)(end - *p) < len)
		return false;
	*n = (uint32_t)mp_be(*p, len);
	*p += len;
	return true;
}

static inline bool mp_take_body(const char **p, const char *end, struct mp_item *it)
{
	if ((size_t)(end - *p) < it->n)
		return false;
	it->p = *p;
	*p += it->n;
	return true;
}

static inline bool mp_take_ext(const char **p, const char *end, struct mp_item *it)
{
	it->type = MSGPACK_OBJECT_EXT;
	if (*p >= end)
		return false;
	it->ext = (int8_t) * (*p)++;
	return mp_take_body(p, end, it);
}

static inline bool mp_take_uint(const char **p, const char *end, unsigned len, struct mp_item *it)
{
	if ((size_t)(end - *p) < len)
		return false;
	it->type = MSGPACK_OBJECT_POSITIVE_INTEGER;
	it->u = mp_be(*p, len);
	*p += len;
	return true;
}

static inline bool mp_take_int(const char **p, const char *end, unsigned len, struct mp_item *it)
{
	unsigned shift = 64 - 8 * len;

	if (!mp_take_uint(p, end, len, it))
		return false;
	it->i = (int64_t)(it->u << shift) >> shift;
	if (it->i < 0)
		it->type = MSGPACK_OBJECT_NEGATIVE_INTEGER;
	return true;
}

static inline bool mp_take_float(const char **p, const char *end, unsigned len, struct mp_item *it)
{
	uint32_t u32;
	float f;

	if (!mp_take_uint(p, end, len, it))
		return false;
	it->type = MSGPACK_OBJECT_FLOAT64;
	if (len == 4) {
		u32 = (uint32_t)it->u;
		memcpy(&f, &u32, sizeof(f));
		it->f = f;
	}
	return true;
}

/* Everything but the short forms. */
static inline bool mp_next_long(const char **p, const char *end, uint8_t b, struct mp_item *it)
{
	switch (b) {
	case 0xc0:
		it->type = MSGPACK_OBJECT_NIL;
		return true;
	case 0xc2:
	case 0xc3:
		it->type = MSGPACK_OBJECT_BOOLEAN;
		it->b = b & 1;
		return true;
	case 0xc4:
	case 0xc5:
	case 0xc6:
		it->type = MSGPACK_OBJECT_BIN;
		return mp_take_len(p, end, 1u << (b - 0xc4), &it->n) && mp_take_body(p, end, it);
	case 0xc7:
	case 0xc8:
	case 0xc9:
		return mp_take_len(p, end, 1u << (b - 0xc7), &it->n) && mp_take_ext(p, end, it);
	case 0xca:
	case 0xcb:
		return mp_take_float(p, end, 4u << (b - 0xca), it);
	case 0xcc:
	case 0xcd:
	case 0xce:
	case 0xcf:
		return mp_take_uint(p, end, 1u << (b - 0xcc), it);
	case 0xd0:
	case 0xd1:
	case 0xd2:
	case 0xd3:
		return mp_take_int(p, end, 1u << (b - 0xd0), it);
	case 0xd4:
	case 0xd5:
	case 0xd6:
	case 0xd7:
	case 0xd8:
		it->n = 1u << (b - 0xd4);
		return mp_take_ext(p, end, it);
	case 0xd9:
	case 0xda:
	case 0xdb:
		it->type = MSGPACK_OBJECT_STR;
		return mp_take_len(p, end, 1u << (b - 0xd9), &it->n) && mp_take_body(p, end, it);
	case 0xdc:
	case 0xdd:
		it->type = MSGPACK_OBJECT_ARRAY;
		return mp_take_len(p, end, 2u << (b - 0xdc), &it->n);
	case 0xde:
	case 0xdf:
		it->type = MSGPACK_OBJECT_MAP;
		return mp_take_len(p, end, 2u << (b - 0xde), &it->n);
	}
	return false; /* 0xc1: never used */
}

/* Read one item at *p and pass it; false if [*p, end) does not begin with one.
 * What a container claims to hold has not been checked. */
static inline bool mp_next(const char **p, const char *end, struct mp_item *it)
{
	uint8_t b;

	if (*p >= end)
		return false;
	b = (uint8_t) * (*p)++;
	if (b >= 0xa0 && b <= 0xbf) {
		it->type = MSGPACK_OBJECT_STR;
		it->n = b & 0x1f;
		return mp_take_body(p, end, it);
	}
	if (b < 0x80) {
		it->type = MSGPACK_OBJECT_POSITIVE_INTEGER;
		it->u = b;
		return true;
	}
	if (b < 0xa0) {
		it->type = b < 0x90 ? MSGPACK_OBJECT_MAP : MSGPACK_OBJECT_ARRAY;
		it->n = b & 0x0f;
		return true;
	}
	if (b >= 0xe0) {
		it->type = MSGPACK_OBJECT_NEGATIVE_INTEGER;
		it->i = (int8_t)b;
		return true;
	}
	return mp_next_long(p, end, b, it);
}

/* Whether an EXT item is a hole (value.h) with a payload of the right form. */
static inline bool mp_is_hole(int8_t type, uint32_t n)
{
	/* 1..3 hold an index, 4..6 any prefix, 7 a salt and a prefix. */
	return (type >= 1 && type <= 3 && n == 1) || (type >= 4 && type <= 6) ||
	       (type == 7 && n >= 1);
}

#endif

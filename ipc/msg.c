/*
 * msg.c - encoder, decoder and printer of every message, made from
 * messages.def.
 *
 * On the wire: a msgpack array of the kind's number and its fields.  Numbers
 * and booleans are msgpack's own, STR is str, UID is bin of 16 or 0 bytes, and
 * arrays of numbers are bin in little-endian order, so that they are one
 * memcpy.  Decoded arrays are copied to where they are aligned and where their
 * sender cannot reach them any more.
 */
#include "ipc/mp.h"
#include "weft/msg.h"
#include "weft/value.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "arrays in messages are copied as they lie in memory");

/* Numbers below this one are requests. */
#define FIRST_ANSWER 32

/* How much of a string or an array is printed. */
#define PRINT_BYTES    64
#define PRINT_ELEMENTS 8

/* --- Fields: the most bytes that one takes -------------------------------------- */

#define SIZE_NUMBER  MP_HEAD_MAX
#define size_U8(v)   SIZE_NUMBER
#define size_U16(v)  SIZE_NUMBER
#define size_U32(v)  SIZE_NUMBER
#define size_U64(v)  SIZE_NUMBER
#define size_I32(v)  SIZE_NUMBER
#define size_I64(v)  SIZE_NUMBER
#define size_BOOL(v) SIZE_NUMBER
#define size_STR(v)  (MP_HEAD_MAX + (size_t)(v).n)
#define size_UID(v)  (MP_HEAD_MAX + (size_t)(v).n)
#define size_U32S(v) (MP_HEAD_MAX + (size_t)(v).n * 4)
#define size_U64S(v) (MP_HEAD_MAX + (size_t)(v).n * 8)

/* --- Fields: encoding ------------------------------------------------------------ */

static inline void put_bin(char **p, const void *bytes, size_t n)
{
	mp_pack_bin(p, n);
	if (n)
		mp_append(p, bytes, n);
}

#define put_U8(p, v)  mp_pack_uint8(p, v)
#define put_U16(p, v) mp_pack_uint16(p, v)
#define put_U32(p, v) mp_pack_uint32(p, v)
#define put_U64(p, v) mp_pack_uint64(p, v)
#define put_I32(p, v) mp_pack_int32(p, v)
#define put_I64(p, v) mp_pack_int64(p, v)

static inline void put_BOOL(char **p, bool v)
{
	v ? mp_pack_true(p) : mp_pack_false(p);
}

static inline void put_UID(char **p, struct str v)
{
	put_bin(p, v.p, v.n);
}

static inline void put_U32S(char **p, struct u32s v)
{
	put_bin(p, v.p, (size_t)v.n * 4);
}

static inline void put_U64S(char **p, struct u64s v)
{
	put_bin(p, v.p, (size_t)v.n * 8);
}

static inline void put_STR(char **p, struct str v)
{
	mp_pack_str(p, v.n);
	if (v.n)
		mp_append(p, v.p, v.n);
}

/* --- Fields: decoding ------------------------------------------------------------- */

struct reader {
	const char *p, *end;
	struct msg_scratch *scratch; /* room for all arrays has been made */
};

static bool take_uint(struct reader *r, uint64_t max, uint64_t *u)
{
	struct mp_item it;

	if (!mp_next(&r->p, r->end, &it) || it.type != MSGPACK_OBJECT_POSITIVE_INTEGER)
		return false;
	*u = it.u;
	return it.u <= max;
}

static bool take_int(struct reader *r, int64_t min, int64_t max, int64_t *i)
{
	struct mp_item it;

	if (!mp_next(&r->p, r->end, &it) || (it.type != MSGPACK_OBJECT_POSITIVE_INTEGER &&
					     it.type != MSGPACK_OBJECT_NEGATIVE_INTEGER))
		return false;
	*i = it.i;
	if (it.type == MSGPACK_OBJECT_POSITIVE_INTEGER)
		return it.u <= (uint64_t)max;
	return it.i >= min;
}

#define TAKE_UINT(kind, type, max)                         \
	static bool take_##kind(struct reader *r, type *v) \
	{                                                  \
		uint64_t u = 0;                            \
		bool ok = take_uint(r, max, &u);           \
                                                           \
		*v = (type)u;                              \
		return ok;                                 \
	}
TAKE_UINT(U8, uint8_t, UINT8_MAX)
TAKE_UINT(U16, uint16_t, UINT16_MAX)
TAKE_UINT(U32, uint32_t, UINT32_MAX)
TAKE_UINT(U64, uint64_t, UINT64_MAX)

#define TAKE_INT(kind, type, min, max)                                             \
	__attribute__((unused)) static bool take_##kind(struct reader *r, type *v) \
	{                                                                          \
		int64_t i = 0;                                                     \
		bool ok = take_int(r, min, max, &i);                               \
                                                                                   \
		*v = (type)i;                                                      \
		return ok;                                                         \
	}
TAKE_INT(I32, int32_t, INT32_MIN, INT32_MAX)
TAKE_INT(I64, int64_t, INT64_MIN, INT64_MAX)

static bool take_BOOL(struct reader *r, bool *v)
{
	struct mp_item it;

	if (!mp_next(&r->p, r->end, &it) || it.type != MSGPACK_OBJECT_BOOLEAN)
		return false;
	*v = it.b;
	return true;
}

static bool take_bytes(struct reader *r, msgpack_object_type type, struct str *v)
{
	struct mp_item it;

	if (!mp_next(&r->p, r->end, &it) || it.type != type)
		return false;
	*v = (struct str){it.p, it.n};
	return true;
}

static bool take_STR(struct reader *r, struct str *v)
{
	return take_bytes(r, MSGPACK_OBJECT_STR, v);
}

static bool take_UID(struct reader *r, struct str *v)
{
	return take_bytes(r, MSGPACK_OBJECT_BIN, v) && (v->n == 0 || v->n == 16);
}

/* The array's elements, copied to the scratch buffer at a multiple of 8. */
static bool take_array(struct reader *r, uint32_t each, const void **p, uint32_t *n)
{
	struct buf *mem = &r->scratch->mem;
	struct str s;

	if (!take_bytes(r, MSGPACK_OBJECT_BIN, &s) || s.n % each)
		return false;
	mem->n = align_up(mem->n, (size_t)8);
	*p = mem->p + mem->n;
	*n = s.n / each;
	memcpy(mem->p + mem->n, s.p, s.n);
	mem->n += s.n;
	return true;
}

static bool take_U32S(struct reader *r, struct u32s *v)
{
	const void *p;

	if (!take_array(r, 4, &p, &v->n))
		return false;
	v->p = p;
	return true;
}

static bool take_U64S(struct reader *r, struct u64s *v)
{
	const void *p;

	if (!take_array(r, 8, &p, &v->n))
		return false;
	v->p = p;
	return true;
}

/* --- Fields: printing --------------------------------------------------------------- */

#define print_U8(out, v)   buf_printf(out, "%u", v)
#define print_U16(out, v)  buf_printf(out, "%u", v)
#define print_U32(out, v)  buf_printf(out, "%u", v)
#define print_U64(out, v)  buf_printf(out, "%llu", (unsigned long long)(v))
#define print_I32(out, v)  buf_printf(out, "%d", v)
#define print_I64(out, v)  buf_printf(out, "%lld", (long long)(v))
#define print_BOOL(out, v) buf_puts(out, (v) ? "true" : "false")

static bool printable(struct str s)
{
	for (uint32_t i = 0; i < s.n; i++)
		if (s.p[i] < ' ' || s.p[i] > '~' || s.p[i] == '"' || s.p[i] == '\\')
			return false;
	return s.n <= PRINT_BYTES;
}

/* In quotes if it is short text, else only its length. */
static void print_STR(struct buf *out, struct str v)
{
	if (printable(v))
		buf_printf(out, "\"" STR_FMT "\"", STR_ARG(v));
	else
		buf_printf(out, "<%u bytes>", v.n);
}

static void print_UID(struct buf *out, struct str v)
{
	char text[37] = "none";

	if (v.n == 16)
		uid_format((const uint8_t *)v.p, text);
	buf_puts(out, text);
}

#define PRINT_ARRAY(kind, type)                                                               \
	static void print_##kind(struct buf *out, type v)                                     \
	{                                                                                     \
		buf_putc(out, '[');                                                           \
		for (uint32_t i = 0; i < v.n && i < PRINT_ELEMENTS; i++)                      \
			buf_printf(out, "%s%llu", i ? ", " : "", (unsigned long long)v.p[i]); \
		if (v.n > PRINT_ELEMENTS)                                                     \
			buf_printf(out, ", ... %u in all", v.n);                              \
		buf_putc(out, ']');                                                           \
	}
PRINT_ARRAY(U32S, struct u32s)
PRINT_ARRAY(U64S, struct u64s)

/* --- Messages ----------------------------------------------------------------------- */

/* Fields of each message, its number not counted. */
enum {
#define MSG(name, num)	   NFIELDS_##name = 0
#define FIELD(kind, field) +1
#define END(name)	   ,
#include "weft/messages.def"
#undef MSG
#undef FIELD
#undef END
#undef REQUEST_FIELDS
};

#define MSG(name, num)                                        \
	static size_t size_##name(const struct msg_##name *m) \
	{                                                     \
		return 2 * MP_HEAD_MAX
/* clang-format off */
#define FIELD(kind, field) + size_##kind(m->field)
/* clang-format on */
#define END(name) \
	;         \
	}
#include "weft/messages.def"
#undef MSG
#undef FIELD
#undef END
#undef REQUEST_FIELDS

#define MSG(name, num)                                                  \
	static char *encode_##name(const struct msg_##name *m, char *p) \
	{                                                               \
		mp_pack_array(&p, 1 + NFIELDS_##name);                  \
		mp_pack_uint8(&p, num);
#define FIELD(kind, field) put_##kind(&p, m->field);
#define END(name) \
	return p; \
	}
#include "weft/messages.def"
#undef MSG
#undef FIELD
#undef END
#undef REQUEST_FIELDS

/* Each returns the name of the field that is wrong, or NULL. */
#define MSG(name, num)                                                           \
	static const char *decode_##name(struct reader *r, struct msg_##name *m) \
	{
#define FIELD(kind, field)              \
	if (!take_##kind(r, &m->field)) \
		return #field;
#define END(name)    \
	return NULL; \
	}
#include "weft/messages.def"
#undef MSG
#undef FIELD
#undef END
#undef REQUEST_FIELDS

#define MSG(name, num)                                                        \
	static void print_##name(struct buf *out, const struct msg_##name *m) \
	{                                                                     \
		const char *comma = "";
#define FIELD(kind, field)                       \
	buf_printf(out, "%s" #field ":", comma); \
	print_##kind(out, m->field);             \
	comma = ", ";
#define END(name)    \
	(void)comma; \
	}
#include "weft/messages.def"
#undef MSG
#undef FIELD
#undef END
#undef REQUEST_FIELDS

/* Only the switches below turn a number into a type. */
#define FIELD(kind, field)
#define END(name)

size_t msg_size(const struct msg *m)
{
	switch (m->kind) {
#define MSG(nm, num)   \
	case MSG_##nm: \
		return size_##nm(&m->nm);
#include "weft/messages.def"
#undef MSG
#undef REQUEST_FIELDS
	}
	weft_fatal("message of unknown kind %d", m->kind);
}

size_t msg_encode(const struct msg *m, char *p)
{
	switch (m->kind) {
#define MSG(nm, num)   \
	case MSG_##nm: \
		return (size_t)(encode_##nm(&m->nm, p) - p);
#include "weft/messages.def"
#undef MSG
#undef REQUEST_FIELDS
	}
	weft_fatal("message of unknown kind %d", m->kind);
}

void msg_print(struct buf *out, const struct msg *m)
{
	switch (m->kind) {
#define MSG(nm, num)                     \
	case MSG_##nm:                   \
		buf_puts(out, #nm "{");  \
		print_##nm(out, &m->nm); \
		buf_putc(out, '}');      \
		return;
#include "weft/messages.def"
#undef MSG
#undef REQUEST_FIELDS
	}
	buf_printf(out, "unknown(%d){}", m->kind);
}

const char *msg_name(enum msg_kind kind)
{
	switch (kind) {
#define MSG(nm, num)   \
	case MSG_##nm: \
		return #nm;
#include "weft/messages.def"
#undef MSG
#undef REQUEST_FIELDS
	}
	return "unknown";
}

/* Fields of a kind on the wire; -1 for an unknown one. */
static int fields_of(uint64_t kind)
{
	switch (kind) {
#define MSG(nm, num) \
	case num:    \
		return NFIELDS_##nm;
#include "weft/messages.def"
#undef MSG
#undef REQUEST_FIELDS
	}
	return -1;
}

static const char *decode_fields(struct reader *r, struct msg *m)
{
	switch (m->kind) {
#define MSG(nm, num)   \
	case MSG_##nm: \
		return decode_##nm(r, &m->nm);
#include "weft/messages.def"
#undef MSG
#undef REQUEST_FIELDS
	}
	return "kind";
}

#undef FIELD
#undef END

int msg_decode(struct str bytes, struct msg *out, struct msg_scratch *scratch, struct err *e)
{
	struct reader r = {bytes.p, bytes.p + bytes.n, scratch};
	struct mp_item head;
	const char *bad;
	uint64_t kind;

	if (!bytes.n || !mp_next(&r.p, r.end, &head) || head.type != MSGPACK_OBJECT_ARRAY ||
	    !take_uint(&r, UINT8_MAX, &kind))
		return err_set(e, WEFT_EINVAL, "not a message (%u bytes)", bytes.n);
	if (fields_of(kind) < 0)
		return err_set(e, WEFT_EINVAL, "message of unknown kind %u", (unsigned)kind);
	out->kind = (enum msg_kind)kind;
	if (head.n != 1u + (uint32_t)fields_of(kind))
		return err_set(e, WEFT_EINVAL, "%s: %u fields, not %d", msg_name(out->kind),
			       head.n ? head.n - 1 : 0, fields_of(kind));
	/* Arrays are no longer than the bytes that they come from; 7 bytes at
	 * most are lost to align each. */
	scratch->mem.n = 0;
	buf_reserve(&scratch->mem, bytes.n + 8 * (size_t)head.n);
	bad = decode_fields(&r, out);
	if (bad)
		return err_set(e, WEFT_EINVAL, "%s: bad field '%s'", msg_name(out->kind), bad);
	if (r.p != r.end)
		return err_set(e, WEFT_EINVAL, "%s: %zu bytes too many", msg_name(out->kind),
			       (size_t)(r.end - r.p));
	return WEFT_OK;
}

_Static_assert(offsetof(struct msg_create, seq) == offsetof(struct msg_request, seq) &&
		       offsetof(struct msg_create, generation) ==
			       offsetof(struct msg_request, generation) &&
		       offsetof(struct msg_create, epoch) == offsetof(struct msg_request, epoch) &&
		       offsetof(struct msg_create, cause) == offsetof(struct msg_request, cause),
	       "REQUEST_FIELDS and struct msg_request");

struct msg_request *msg_request(struct msg *m)
{
	if ((unsigned)m->kind >= FIRST_ANSWER)
		return NULL;
	return (struct msg_request *)&m->create;
}

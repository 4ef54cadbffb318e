/* record.c - encoder, decoder and printer of the log's records. */
#include "procs/store/record.h"

struct rec_head {
	uint32_t kind;
	uint32_t n; /* bytes of fields, a multiple of 8 */
};

/* --- Encoding ------------------------------------------------------------------ */

/* How many bytes a field takes, and writing it; returns the place behind it. */

#define NUMBER(kind, as)                               \
	static size_t size_##kind(rec_##kind v)        \
	{                                              \
		return sizeof(as);                     \
	}                                              \
	static char *put_##kind(char *p, rec_##kind v) \
	{                                              \
		as wide = (as)v;                       \
                                                       \
		memcpy(p, &wide, sizeof(wide));        \
		return p + sizeof(wide);               \
	}
NUMBER(U8, uint32_t)
NUMBER(U16, uint32_t)
NUMBER(U32, uint32_t)
NUMBER(I32, uint32_t)
NUMBER(U64, uint64_t)
#undef NUMBER

/* A length, then the elements. */
static size_t size_array(uint32_t n, size_t size)
{
	return sizeof(n) + align_up(n * size, (size_t)4);
}

static char *put_array(char *p, const void *elements, uint32_t n, size_t size)
{
	size_t bytes = n * size, padded = align_up(bytes, (size_t)4);

	memcpy(p, &n, sizeof(n));
	p += sizeof(n);
	if (!n)
		return p;
	memcpy(p, elements, bytes);
	memset(p + bytes, 0, padded - bytes);
	return p + padded;
}

#define ARRAY(kind, size)                              \
	static size_t size_##kind(rec_##kind v)        \
	{                                              \
		return size_array(v.n, size);          \
	}                                              \
	static char *put_##kind(char *p, rec_##kind v) \
	{                                              \
		return put_array(p, v.p, v.n, size);   \
	}
ARRAY(STR, 1)
ARRAY(UID, 1)
ARRAY(UIDS, 16)
ARRAY(U32S, 4)
#undef ARRAY

static size_t fields_size(const struct rec *r)
{
	size_t n = 0;

	switch (r->kind) {
#define REC(nm, num) \
	case num: {  \
		const struct rec_##nm *m = &r->nm;
#define FIELD(kind, field) n += size_##kind(m->field);
#define END(nm) \
	break;  \
	}
#include "procs/store/records.def"
#undef REC
#undef FIELD
#undef END
#undef RECORD_FIELDS
	}
	return n;
}

static char *put_fields(char *p, const struct rec *r)
{
	switch (r->kind) {
#define REC(nm, num) \
	case num: {  \
		const struct rec_##nm *m = &r->nm;
#define FIELD(kind, field) p = put_##kind(p, m->field);
#define END(nm) \
	break;  \
	}
#include "procs/store/records.def"
#undef REC
#undef FIELD
#undef END
#undef RECORD_FIELDS
	}
	return p;
}

void rec_encode(struct buf *out, const struct rec *r)
{
	size_t n = fields_size(r), padded = align_up(n, (size_t)8);
	struct rec_head h = {.kind = (uint32_t)r->kind, .n = (uint32_t)padded};
	char *p;

	buf_reserve(out, sizeof(h) + padded);
	p = out->p + out->n;
	memcpy(p, &h, sizeof(h));
	p = put_fields(p + sizeof(h), r);
	memset(p, 0, padded - n);
	out->n += sizeof(h) + padded;
}

/* --- Decoding ------------------------------------------------------------------ */

/* The fields of one record; `bad` once anything ran past the end. */
struct fields {
	const char *p;
	size_t n;
	bool bad;
};

/* The next n bytes, or NULL: at the end (padding aside), or past it. */
static const void *take(struct fields *f, size_t n)
{
	const char *p = f->p;

	if (n > f->n) {
		f->bad = f->bad || f->n >= 8;
		f->n = 0;
		return NULL;
	}
	f->p += n;
	f->n -= n;
	return p;
}

static uint64_t get_U64(struct fields *f)
{
	const void *p = take(f, sizeof(uint64_t));
	uint64_t v = 0;

	if (p)
		memcpy(&v, p, sizeof(v));
	return v;
}

static uint32_t get_U32(struct fields *f)
{
	const void *p = take(f, sizeof(uint32_t));
	uint32_t v = 0;

	if (p)
		memcpy(&v, p, sizeof(v));
	return v;
}

static uint8_t get_U8(struct fields *f)
{
	return (uint8_t)get_U32(f);
}

static uint16_t get_U16(struct fields *f)
{
	return (uint16_t)get_U32(f);
}

static int32_t get_I32(struct fields *f)
{
	return (int32_t)get_U32(f);
}

static const void *get_array(struct fields *f, size_t size, uint32_t *n)
{
	const void *p;

	*n = get_U32(f);
	p = take(f, align_up(*n * size, (size_t)4));
	if (!p && *n) {
		f->bad = true;
		*n = 0;
	}
	return p;
}

static struct str get_STR(struct fields *f)
{
	struct str s;

	s.p = get_array(f, 1, &s.n);
	return s;
}

static struct str get_UID(struct fields *f)
{
	struct str s = get_STR(f);

	f->bad = f->bad || (s.n != 0 && s.n != 16);
	return s;
}

static struct uids get_UIDS(struct fields *f)
{
	struct uids u;

	u.p = get_array(f, 16, &u.n);
	return u;
}

static struct u32s get_U32S(struct fields *f)
{
	struct u32s u;

	u.p = get_array(f, 4, &u.n);
	return u;
}

static bool decode_fields(struct fields *f, struct rec *r)
{
	switch (r->kind) {
#define REC(nm, num) \
	case num: {  \
		struct rec_##nm *m = &r->nm;
#define FIELD(kind, field) m->field = get_##kind(f);
#define END(nm)         \
	return !f->bad; \
	}
#include "procs/store/records.def"
#undef REC
#undef FIELD
#undef END
#undef RECORD_FIELDS
	}
	return false;
}

int rec_decode(struct str *bytes, struct rec *out)
{
	struct rec_head h;
	struct fields f;

	if (!bytes->n)
		return 0;
	if (bytes->n < sizeof(h))
		return WEFT_ECORRUPT;
	memcpy(&h, bytes->p, sizeof(h));
	if (h.n > bytes->n - sizeof(h) || h.n % 8)
		return WEFT_ECORRUPT;
	memset(out, 0, sizeof(*out));
	out->kind = (enum rec_kind)h.kind;
	f = (struct fields){bytes->p + sizeof(h), h.n, false};
	if (!decode_fields(&f, out))
		return WEFT_ECORRUPT;
	bytes->p += sizeof(h) + h.n;
	bytes->n -= (uint32_t)sizeof(h) + h.n;
	return 1;
}

/* --- Printing ------------------------------------------------------------------ */

#define print_number(b, v) buf_printf(b, "%lld", (long long)(v))
#define print_U8	   print_number
#define print_U16	   print_number
#define print_U32	   print_number
#define print_U64	   print_number
#define print_I32	   print_number
#define print_UIDS(b, v)   buf_printf(b, "%u uids", (v).n)
#define print_U32S(b, v)   buf_printf(b, "%u numbers", (v).n)

static void print_UID(struct buf *b, struct str s)
{
	for (uint32_t i = 0; i < s.n; i++)
		buf_printf(b, "%02x", (uint8_t)s.p[i]);
}

static void print_STR(struct buf *b, struct str s)
{
	buf_putc(b, '"');
	for (uint32_t i = 0; i < s.n; i++)
		if (s.p[i] >= ' ' && s.p[i] < 127 && s.p[i] != '"' && s.p[i] != '\\')
			buf_putc(b, s.p[i]);
		else
			buf_printf(b, "\\x%02x", (uint8_t)s.p[i]);
	buf_putc(b, '"');
}

static void print_name(struct buf *b, size_t start, const char *field)
{
	if (b->n > start)
		buf_puts(b, ", ");
	buf_printf(b, "%s:", field);
}

void rec_print(struct buf *out, const struct rec *r)
{
	size_t start;

	buf_printf(out, "%s{", rec_name(r->kind));
	start = out->n;
	switch (r->kind) {
#define REC(nm, num) \
	case num: {  \
		const struct rec_##nm *m = &r->nm;
#define FIELD(kind, field)              \
	print_name(out, start, #field); \
	print_##kind(out, m->field);
#define END(nm) \
	break;  \
	}
#include "procs/store/records.def"
#undef REC
#undef FIELD
#undef END
#undef RECORD_FIELDS
	}
	buf_putc(out, '}');
}

const char *rec_name(enum rec_kind kind)
{
	switch (kind) {
#define REC(nm, num) \
	case num:    \
		return #nm;
#define FIELD(kind, field)
#define END(nm)
#include "procs/store/records.def"
#undef REC
#undef FIELD
#undef END
#undef RECORD_FIELDS
	}
	return "unknown";
}

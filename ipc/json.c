/*
 * json.c - JSON in through yajl, JSON out by hand.
 *
 * Out is the hot half: a LIST of a million pods goes from stored msgpack to
 * text in one pass, with room reserved once for each string and no tree in
 * between.  Text is what Go's encoding/json writes and so what kube-apiserver
 * sends: <, > and & escaped, numbers in Go's form.
 */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <yajl/yajl_parse.h>

#include "ipc/builder.h"
#include "ipc/mp.h"

/* --- Strings ------------------------------------------------------------------ */

/* How each byte goes into a string: 0 as it is, 'u' as \u00XX, '8' perhaps the
 * start of U+2028 or U+2029, anything else after a backslash. */
static const char escape[256] = {
	[0x00 ... 0x07] = 'u', ['\b'] = 'b', ['\t'] = 't',	    ['\n'] = 'n', [0x0b] = 'u',
	['\f'] = 'f',	       ['\r'] = 'r', [0x0e ... 0x1f] = 'u', ['"'] = '"',  ['\\'] = '\\',
	['<'] = 'u',	       ['>'] = 'u',  ['&'] = 'u',	    [0xe2] = '8',
};

static const char hex_digits[] = "0123456789abcdef";

/* The longest form of one byte. */
#define ESCAPE_MAX 6

/* Writes one byte that is not safe, s[0] of `left`; returns how many were read. */
static uint32_t put_escaped(char **out, const char *s, uint32_t left)
{
	uint8_t c = (uint8_t)*s;
	char *o = *out;

	if (escape[c] == '8') {
		if (left < 3 || (uint8_t)s[1] != 0x80 || ((uint8_t)s[2] & 0xfe) != 0xa8) {
			*(*out)++ = *s;
			return 1;
		}
		memcpy(o, "\\u202", 5);
		o[5] = hex_digits[s[2] & 15];
		*out = o + 6;
		return 3;
	}
	o[0] = '\\';
	o[1] = escape[c];
	*out = o + 2;
	if (escape[c] == 'u') {
		memcpy(o + 2, "00", 2);
		o[4] = hex_digits[c >> 4];
		o[5] = hex_digits[c & 15];
		*out = o + 6;
	}
	return 1;
}

#define EACH_BYTE(b) (0x0101010101010101u * (b))

/* Not 0 if one of 8 bytes is 0. */
static inline uint64_t zero_byte(uint64_t x)
{
	return (x - EACH_BYTE(1)) & ~x & EACH_BYTE(0x80);
}

/* Not 0 if one of 8 bytes may have to be escaped.  '<' and '>' differ in one
 * bit, and so do '"' and '&'; all that is not ASCII counts. */
static inline uint64_t unsafe8(uint64_t x)
{
	return ((x - EACH_BYTE(0x20)) & EACH_BYTE(0x80)) | (x & EACH_BYTE(0x80)) |
	       zero_byte((x | EACH_BYTE(2)) ^ EACH_BYTE('>')) |
	       zero_byte((x | EACH_BYTE(4)) ^ EACH_BYTE('&')) | zero_byte(x ^ EACH_BYTE('\\'));
}

/* The same for 16 bytes at once, which every processor of today has. */
typedef uint8_t bytes16 __attribute__((vector_size(16)));
typedef int8_t signed16 __attribute__((vector_size(16)));

static inline bytes16 unsafe16(bytes16 x)
{
	return (bytes16)((signed16)x < 0x20) | (bytes16)((x | 2) == '>') |
	       (bytes16)((x | 4) == '&') | (bytes16)(x == '\\');
}

/* Copies n >= 16 bytes; false if one of them may have to be escaped. */
static bool copy_plain16(char *out, const char *s, uint32_t n)
{
	bytes16 x, unsafe = {0};
	uint64_t half[2];

	for (uint32_t i = 0; i < n; i += 16) {
		uint32_t at = i + 16 <= n ? i : n - 16;

		memcpy(&x, s + at, 16);
		memcpy(out + at, &x, 16);
		unsafe |= unsafe16(x);
	}
	memcpy(half, &unsafe, 16);
	return !(half[0] | half[1]);
}

/* Copies n bytes; false if one of them may have to be escaped.  Nearly all
 * strings are short and plain: no loop over bytes, and no branch for what they
 * are.  The last words overlap those before. */
static inline bool copy_plain(char *out, const char *s, uint32_t n)
{
	uint64_t x, y, unsafe = 0;
	uint32_t lo, hi, i;

	if (n >= 16)
		return copy_plain16(out, s, n);
	if (n >= 8) {
		memcpy(&x, s, 8);
		memcpy(&y, s + n - 8, 8);
		memcpy(out, &x, 8);
		memcpy(out + n - 8, &y, 8);
		return !(unsafe8(x) | unsafe8(y));
	}
	if (n >= 4) {
		memcpy(&lo, s, 4);
		memcpy(&hi, s + n - 4, 4);
		memcpy(out, &lo, 4);
		memcpy(out + n - 4, &hi, 4);
		return !unsafe8(lo | (uint64_t)hi << 32);
	}
	for (i = 0; i < n; i++) {
		out[i] = s[i];
		unsafe |= (uint8_t)escape[(uint8_t)s[i]];
	}
	return !unsafe;
}

/* The body of a string; room for ESCAPE_MAX * n is there. */
static char *put_body(char *out, const char *s, uint32_t n)
{
	uint32_t i = 0;

	if (copy_plain(out, s, n))
		return out + n;
	while (i < n) {
		if (!escape[(uint8_t)s[i]])
			*out++ = s[i++];
		else
			i += put_escaped(&out, s + i, n - i);
	}
	return out;
}

static void quote(struct buf *out, const char *s, uint32_t n, char after)
{
	char *p;

	buf_reserve(out, ESCAPE_MAX * (size_t)n + 3);
	p = out->p + out->n;
	*p++ = '"';
	p = put_body(p, s, n);
	*p++ = '"';
	if (after)
		*p++ = after;
	out->n = (size_t)(p - out->p);
}

void json_quote(struct buf *out, struct str s)
{
	quote(out, s.p, s.n, 0);
}

/* --- Numbers -------------------------------------------------------------------- */

static void put_uint(struct buf *out, uint64_t u, bool negative)
{
	char text[24], *p = text + sizeof(text);

	if (u < 10 && !negative) {
		buf_putc(out, (char)('0' + u));
		return;
	}
	do
		*--p = (char)('0' + u % 10);
	while ((u /= 10));
	if (negative)
		*--p = '-';
	buf_add(out, p, (size_t)(text + sizeof(text) - p));
}

static void put_int(struct buf *out, int64_t i)
{
	put_uint(out, i < 0 ? -(uint64_t)i : (uint64_t)i, i < 0);
}

/* The fewest digits that read back as the same double, as "d.ddde+xx". */
static void shortest(double d, char text[40])
{
	for (int digits = 0; digits <= 16; digits++) {
		snprintf(text, 40, "%.*e", digits, d);
		if (strtod(text, NULL) == d)
			return;
	}
}

/* Go's form: plain from 1e-6 to 1e21, else with an exponent without zeros in
 * front.  JSON has no NaN and no infinity: null. */
static void put_float(struct buf *out, double d)
{
	char text[40], plain[40], *e, *point;
	int exponent, decimals;

	if (!isfinite(d)) {
		buf_puts(out, "null");
		return;
	}
	if (d == 0)
		d = 0; /* -0 would read back as the integer 0 */
	shortest(d, text);
	e = strchr(text, 'e');
	exponent = atoi(e + 1);
	if (exponent < -6 || exponent >= 21) {
		buf_add(out, text, (size_t)(e - text));
		buf_printf(out, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
		/* Go drops the zero of e-07, but not that of a positive one (there is none). */
		if (exponent < 0 && exponent > -10) {
			out->p[out->n - 2] = out->p[out->n - 1];
			out->n--;
		}
		return;
	}
	point = strchr(text, '.');
	decimals = (point ? (int)(e - point) - 1 : 0) - exponent;
	if (decimals >= 0) {
		snprintf(plain, sizeof(plain), "%.*f", decimals, d);
		buf_puts(out, plain);
		return;
	}
	/* Digits that the shortest form leaves out are zeros. */
	for (char *c = text; c < e; c++)
		if (c != point)
			buf_putc(out, *c);
	for (; decimals < 0; decimals++)
		buf_putc(out, '0');
}

/* --- Out ------------------------------------------------------------------------- */

/* Holes hold names and numbers, so that there is hardly ever something to
 * escape: look for it afterwards. */
static void put_hole(struct buf *out, const msgpack_object_ext *ext, const struct hole_values *h)
{
	size_t start = out->n;
	struct buf again = {0};
	bool number;

	buf_putc(out, '"');
	if (!hole_text(ext, h, out, &number)) {
		out->n = start;
		buf_puts(out, "null");
		return;
	}
	if (number) {
		memmove(out->p + start, out->p + start + 1, out->n - start - 1);
		out->n--;
		return;
	}
	for (size_t i = start + 1; i < out->n; i++) {
		if (!escape[(uint8_t)out->p[i]])
			continue;
		buf_add(&again, out->p + start + 1, out->n - start - 1);
		out->n = start;
		json_quote(out, buf_str(&again));
		buf_free(&again);
		return;
	}
	buf_putc(out, '"');
}

/* Where holes are, instead of what is in them. */
struct holes_seen {
	const char *base; /* of the bytes that are printed */
	struct buf list;  /* struct text_hole */
};

struct printer {
	struct buf *out;
	const char *p, *end;
	const struct hole_values *h;
	struct holes_seen *seen; /* NULL: fill them */
};

static bool print_one(struct printer *pr, unsigned depth);

static bool print_array(struct printer *pr, unsigned depth, uint32_t n)
{
	buf_putc(pr->out, '[');
	for (uint32_t i = 0; i < n; i++) {
		if (i)
			buf_putc(pr->out, ',');
		if (!print_one(pr, depth + 1))
			return false;
	}
	buf_putc(pr->out, ']');
	return true;
}

static bool print_map(struct printer *pr, unsigned depth, uint32_t n)
{
	struct mp_item key;

	buf_putc(pr->out, '{');
	for (uint32_t i = 0; i < n; i++) {
		if (i)
			buf_putc(pr->out, ',');
		if (!mp_next(&pr->p, pr->end, &key) || key.type != MSGPACK_OBJECT_STR)
			return false;
		quote(pr->out, key.p, key.n, ':');
		if (!print_one(pr, depth + 1))
			return false;
	}
	buf_putc(pr->out, '}');
	return true;
}

/* A hole in a text that is made ahead: what is printed there, and behind which byte. */
struct text_hole {
	uint32_t at;	  /* in the text */
	uint32_t payload; /* in the stored bytes */
	uint32_t n;	  /* of the payload */
	int8_t type;
};

static void note_hole(struct printer *pr, const struct mp_item *it)
{
	struct text_hole hole = {.at = (uint32_t)pr->out->n,
				 .payload = (uint32_t)(it->p - pr->seen->base),
				 .n = it->n,
				 .type = it->ext};

	buf_add(&pr->seen->list, &hole, sizeof(hole));
}

static bool print_hole(struct printer *pr, const struct mp_item *it)
{
	msgpack_object_ext ext = {.type = it->ext, .size = it->n, .ptr = it->p};

	if (!mp_is_hole(it->ext, it->n))
		return false;
	if (pr->seen)
		note_hole(pr, it);
	else
		put_hole(pr->out, &ext, pr->h);
	return true;
}

static bool print_one(struct printer *pr, unsigned depth)
{
	struct mp_item it;

	if (depth > VALUE_DEPTH_MAX || !mp_next(&pr->p, pr->end, &it))
		return false;
	switch (it.type) {
	case MSGPACK_OBJECT_STR:
		quote(pr->out, it.p, it.n, 0);
		return true;
	case MSGPACK_OBJECT_MAP:
		return print_map(pr, depth, it.n);
	case MSGPACK_OBJECT_ARRAY:
		return print_array(pr, depth, it.n);
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
		put_uint(pr->out, it.u, false);
		return true;
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
		put_int(pr->out, it.i);
		return true;
	case MSGPACK_OBJECT_BOOLEAN:
		buf_puts(pr->out, it.b ? "true" : "false");
		return true;
	case MSGPACK_OBJECT_NIL:
		buf_puts(pr->out, "null");
		return true;
	case MSGPACK_OBJECT_FLOAT64:
		put_float(pr->out, it.f);
		return true;
	case MSGPACK_OBJECT_EXT:
		return print_hole(pr, &it);
	default:
		return false;
	}
}

int json_from_msgpack(struct buf *out, struct str bytes, const struct hole_values *h)
{
	struct printer pr = {out, bytes.p, bytes.p + bytes.n, h, NULL};
	size_t before = out->n;

	if (bytes.n && print_one(&pr, 0) && pr.p == pr.end)
		return WEFT_OK;
	out->n = before;
	return WEFT_EINVAL;
}

/* --- Texts made ahead --------------------------------------------------------------- */

/* JSON with its holes left out, and the bytes that it was made from. */
struct json_text {
	struct kept_text head; /* key: a digest of the bytes */
	struct str bytes, json;
	struct text_hole *holes;
	uint32_t nholes;
};

#define TEXT_LEAST 64u /* bytes: printing anew costs as little */
#define TEXT_MOST  (32u << 10)

/* One block: the structure, holes, bytes, text.  NULL: malformed. */
static struct json_text *text_make(struct str bytes, uint64_t hash)
{
	struct holes_seen seen = {.base = bytes.p};
	struct buf json = {0};
	struct printer pr = {&json, bytes.p, bytes.p + bytes.n, NULL, &seen};
	struct json_text *t = NULL;
	size_t size;

	if (print_one(&pr, 0) && pr.p == pr.end) {
		size = sizeof(*t) + seen.list.n + bytes.n + json.n;
		t = malloc(size);
		weft_assert(t);
		*t = (struct json_text){.head = {hash, size}};
		t->holes = (struct text_hole *)(t + 1);
		t->nholes = (uint32_t)(seen.list.n / sizeof(*t->holes));
		t->bytes = (struct str){(char *)t->holes + seen.list.n, bytes.n};
		t->json = (struct str){t->bytes.p + bytes.n, (uint32_t)json.n};
		if (seen.list.n)
			memcpy(t->holes, seen.list.p, seen.list.n);
		memcpy((char *)t->bytes.p, bytes.p, bytes.n);
		memcpy((char *)t->json.p, json.p, json.n);
	}
	buf_free(&seen.list);
	buf_free(&json);
	return t;
}

static void text_print(struct buf *out, const struct json_text *t, const struct hole_values *h)
{
	uint32_t at = 0;

	for (uint32_t i = 0; i < t->nholes; i++) {
		const struct text_hole *hole = &t->holes[i];
		msgpack_object_ext ext = {
			.type = hole->type, .size = hole->n, .ptr = t->bytes.p + hole->payload};

		buf_add(out, t->json.p + at, hole->at - at);
		put_hole(out, &ext, h);
		at = hole->at;
	}
	buf_add(out, t->json.p + at, t->json.n - at);
}

/* The text of these bytes, if it was or is worth making. */
static const struct json_text *text_of(struct kept *x, struct str bytes, uint64_t hash)
{
	struct json_text *t = (struct json_text *)kept_find(x, hash);

	if (t && str_eq(t->bytes, bytes))
		return t;
	t = kept_wanted(x, hash) ? text_make(bytes, hash) : NULL;
	if (t)
		kept_put(x, &t->head);
	return t;
}

int json_from_shared(struct kept *x, struct buf *out, struct str bytes, uint64_t hash,
		     const struct hole_values *h)
{
	const struct json_text *t =
		x && bytes.n >= TEXT_LEAST && bytes.n <= TEXT_MOST ? text_of(x, bytes, hash) : NULL;

	if (!t)
		return json_from_msgpack(out, bytes, h);
	text_print(out, t, h);
	return WEFT_OK;
}

static void encode_array(struct buf *out, const value *v, const struct hole_values *h)
{
	const char *comma = "[";

	v_each(el, v) {
		buf_puts(out, comma);
		comma = ",";
		json_encode(out, el, h);
	}
	buf_puts(out, v_len(v) ? "]" : "[]");
}

static void encode_map(struct buf *out, const value *v, const struct hole_values *h)
{
	const char *comma = "{";

	v_each_kv(kv, v) {
		struct str key = v_as_str(&kv->key);

		buf_puts(out, comma);
		comma = ",";
		quote(out, key.p, key.n, ':');
		json_encode(out, &kv->val, h);
	}
	buf_puts(out, v_len(v) ? "}" : "{}");
}

void json_encode(struct buf *out, const value *v, const struct hole_values *h)
{
	switch (v ? v->type : MSGPACK_OBJECT_NIL) {
	case MSGPACK_OBJECT_STR:
		json_quote(out, v_as_str(v));
		return;
	case MSGPACK_OBJECT_MAP:
		encode_map(out, v, h);
		return;
	case MSGPACK_OBJECT_ARRAY:
		encode_array(out, v, h);
		return;
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
		put_uint(out, v->via.u64, false);
		return;
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
		put_int(out, v->via.i64);
		return;
	case MSGPACK_OBJECT_BOOLEAN:
		buf_puts(out, v->via.boolean ? "true" : "false");
		return;
	case MSGPACK_OBJECT_FLOAT32:
	case MSGPACK_OBJECT_FLOAT64:
		put_float(out, v->via.f64);
		return;
	case MSGPACK_OBJECT_EXT:
		put_hole(out, &v->via.ext, h);
		return;
	default:
		buf_puts(out, "null");
	}
}

/* --- In -------------------------------------------------------------------------- */

struct parser {
	struct builder b;
	const char *refused; /* why we stopped the parser, or NULL */
};

/* What the callbacks return: whether to go on. */
static int went(struct parser *ps, bool ok)
{
	if (!ok)
		ps->refused = "nested too deep";
	return ok;
}

static int on_null(void *arg)
{
	struct parser *ps = arg;

	return went(ps, builder_add(&ps->b, v_null()));
}

static int on_boolean(void *arg, int b)
{
	struct parser *ps = arg;

	return went(ps, builder_add(&ps->b, v_bool(b != 0)));
}

/* Digits alone, with a minus perhaps, that fit int64: Kubernetes' integers. */
static bool parse_int(const char *s, size_t n, int64_t *i)
{
	bool negative = n && *s == '-';
	uint64_t u = 0;

	for (size_t k = negative; k < n; k++) {
		unsigned digit = (unsigned)(s[k] - '0');

		if (digit > 9 || u > (UINT64_MAX - digit) / 10)
			return false;
		u = u * 10 + digit;
	}
	if (u > (uint64_t)INT64_MAX + negative)
		return false;
	*i = negative ? (int64_t)-u : (int64_t)u;
	return true;
}

/* False if it does not fit a double. */
static bool parse_double(const char *s, size_t n, double *d)
{
	char small[64], *text = n < sizeof(small) ? small : malloc(n + 1);

	weft_assert(text);
	memcpy(text, s, n);
	text[n] = '\0';
	*d = strtod(text, NULL);
	if (text != small)
		free(text);
	return isfinite(*d);
}

static int on_number(void *arg, const char *s, size_t n)
{
	struct parser *ps = arg;
	int64_t i;
	double d;

	if (parse_int(s, n, &i))
		return went(ps, builder_add(&ps->b, v_int(i)));
	if (parse_double(s, n, &d))
		return went(ps, builder_add(&ps->b, v_float(d)));
	ps->refused = "number out of range";
	return 0;
}

static struct str kept(struct parser *ps, const unsigned char *s, size_t n)
{
	return zone_str(ps->b.z, (struct str){(const char *)s, (uint32_t)n});
}

static int on_string(void *arg, const unsigned char *s, size_t n)
{
	struct parser *ps = arg;

	return went(ps, builder_add(&ps->b, v_str(kept(ps, s, n))));
}

static int on_key(void *arg, const unsigned char *s, size_t n)
{
	struct parser *ps = arg;

	builder_key(&ps->b, kept(ps, s, n));
	return 1;
}

static int on_map(void *arg)
{
	struct parser *ps = arg;

	return went(ps, builder_open(&ps->b, true));
}

static int on_array(void *arg)
{
	struct parser *ps = arg;

	return went(ps, builder_open(&ps->b, false));
}

static int on_end(void *arg)
{
	struct parser *ps = arg;

	return went(ps, builder_close(&ps->b));
}

static const yajl_callbacks callbacks = {
	.yajl_null = on_null,
	.yajl_boolean = on_boolean,
	.yajl_number = on_number,
	.yajl_string = on_string,
	.yajl_start_map = on_map,
	.yajl_map_key = on_key,
	.yajl_end_map = on_end,
	.yajl_start_array = on_array,
	.yajl_end_array = on_end,
};

/* Bytes of the UTF-8 character at s[0] of `left`; 0 if it is none: cut short,
 * longer than needed, a surrogate, or above U+10FFFF. */
static uint32_t utf8_length(const uint8_t *s, uint32_t left)
{
	uint32_t n = s[0] < 0x80   ? 1
		     : s[0] < 0xc2 ? 0
		     : s[0] < 0xe0 ? 2
		     : s[0] < 0xf0 ? 3
		     : s[0] < 0xf5 ? 4
				   : 0;

	if (n > left)
		return 0;
	for (uint32_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

uint32_t utf8_valid_prefix(struct str text)
{
	const uint8_t *s = (const uint8_t *)text.p;
	uint32_t i = 0, n;
	uint64_t eight;

	while (i < text.n) {
		if (text.n - i >= 8) {
			memcpy(&eight, s + i, 8);
			if (!(eight & 0x8080808080808080u)) {
				i += 8;
				continue;
			}
		}
		n = utf8_length(s + i, text.n - i);
		if (!n)
			break;
		i += n;
	}
	return i;
}

/* The number that four hex digits at `p` make, or -1. */
static int32_t hex4(const char *p)
{
	int32_t u = 0;

	for (int i = 0; i < 4; i++) {
		if (!isxdigit((unsigned char)p[i]))
			return -1;
		u = u << 4 | ((p[i] & 15) + (p[i] > '9' ? 9 : 0));
	}
	return u;
}

/* Whether a \u escape with a number from `low` to `low` + 0x3ff is at `p`. */
static bool surrogate_at(const char *p, const char *end, int32_t low)
{
	return end - p >= 6 && p[0] == '\\' && p[1] == 'u' && (hex4(p + 2) & ~0x3ff) == low;
}

/* Makes U+FFFD of each half of a surrogate pair that stands alone, as Go does;
 * yajl would make bytes of it that are not UTF-8. */
static void mend_surrogates(char *p, const char *end)
{
	while ((p = memchr(p, '\\', (size_t)(end - p)))) {
		bool high = surrogate_at(p, end, 0xd800), low = surrogate_at(p, end, 0xdc00);

		if (high && surrogate_at(p + 6, end, 0xdc00))
			p += 12;
		else if (high || low)
			memcpy(p, "\\ufffd", 6);
		else
			p += end - p < 2 ? 1 : 2; /* what is escaped may be a backslash */
	}
}

/* Whether some half of a pair is written as an escape. */
static bool has_surrogates(const char *p, const char *end)
{
	for (; (p = memchr(p, '\\', (size_t)(end - p))); p++)
		if (end - p >= 6 && p[1] == 'u' && (p[2] | 0x20) == 'd')
			return true;
	return false;
}

/* The text, mended if it may need it; *copy is to be freed. */
static struct str with_whole_pairs(struct str text, char **copy)
{
	*copy = NULL;
	if (!text.n || !has_surrogates(text.p, text.p + text.n))
		return text;
	*copy = malloc(text.n);
	weft_assert(*copy);
	memcpy(*copy, text.p, text.n);
	mend_surrogates(*copy, *copy + text.n);
	return (struct str){*copy, text.n};
}

/* `at`: the byte where it is wrong.  yajl's sentence ends in a newline. */
static int syntax_error(yajl_handle y, const struct parser *ps, size_t at, struct err *e)
{
	unsigned char *why = NULL;
	int code;

	if (!ps->refused)
		why = yajl_get_error(y, 0, NULL, 0);
	code = err_set(e, WEFT_EINVAL, "invalid JSON at byte %zu: %.*s", at,
		       why ? (int)strcspn((char *)why, "\n") : 200,
		       why	     ? (const char *)why
		       : ps->refused ? ps->refused
				     : "not understood");
	if (why)
		yajl_free_error(y, why);
	return code;
}

/* Parses all of `text`.  What follows the value is looked at here: yajl takes
 * a string without end for nothing there. */
static int parse(yajl_handle y, const struct parser *ps, struct str text, struct err *e)
{
	size_t at;

	if (yajl_parse(y, (const unsigned char *)text.p, text.n) != yajl_status_ok)
		return syntax_error(y, ps, yajl_get_bytes_consumed(y), e);
	at = yajl_get_bytes_consumed(y);
	if (yajl_complete_parse(y) != yajl_status_ok)
		return syntax_error(y, ps, text.n, e);
	while (at < text.n && text.p[at] && strchr(" \t\r\n", text.p[at]))
		at++;
	if (at < text.n)
		return err_set(e, WEFT_EINVAL, "invalid JSON at byte %zu: trailing garbage", at);
	return WEFT_OK;
}

int json_decode(zone *z, struct str text, value *out, struct json_notes *notes, struct err *e)
{
	struct parser ps = {.b = {.z = z, .notes = notes}};
	uint32_t valid = utf8_valid_prefix(text);
	yajl_handle y;
	char *copy;
	int rc;

	if (notes)
		*notes = (struct json_notes){0};
	if (valid != text.n)
		return err_set(e, WEFT_EINVAL, "invalid JSON at byte %u: not UTF-8", valid);
	text = with_whole_pairs(text, &copy);
	y = yajl_alloc(&callbacks, NULL, &ps);
	weft_assert(y);
	yajl_config(y, yajl_dont_validate_strings, 1); /* done above, and stricter */
	yajl_config(y, yajl_allow_trailing_garbage, 1);
	rc = parse(y, &ps, text, e);
	if (!rc)
		*out = builder_result(&ps.b);
	yajl_free(y);
	free(copy);
	builder_free(&ps.b);
	return rc;
}

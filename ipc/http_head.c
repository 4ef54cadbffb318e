/*
 * http_head.c - request heads and chunked bodies.
 */
#include <stdlib.h>
#include <strings.h>
#include "weft/http_head.h"

#define LINES_USUAL	16    /* of a head */
#define SIZE_DIGITS_MAX 15    /* of a chunk's size */
#define SIZE_LINE_MAX	4096  /* bytes of the line with a chunk's size */
#define TRAILER_MAX	16384 /* bytes of the lines behind the last chunk */

/* --- Characters --------------------------------------------------------------------- */

/* What each byte may be in: a name (of a method, of a header), a header's value,
 * a request's target, a Host. */
enum { IN_TOKEN = 1, IN_VALUE = 2, IN_TARGET = 4, IN_HOST = 8 };
#define IN_TEXT (IN_VALUE | IN_TARGET)

static const uint8_t is_in[256] = {
	['\t'] = IN_VALUE,
	[' '] = IN_VALUE,
	['0' ... '9'] = IN_TEXT | IN_TOKEN | IN_HOST,
	['A' ... 'Z'] = IN_TEXT | IN_TOKEN | IN_HOST,
	['a' ... 'z'] = IN_TEXT | IN_TOKEN | IN_HOST,
	['!'] = IN_TEXT | IN_TOKEN | IN_HOST,
	['"'] = IN_TEXT,
	['#'] = IN_TEXT | IN_TOKEN,
	['$' ... '\''] = IN_TEXT | IN_TOKEN | IN_HOST,
	['(' ... ')'] = IN_TEXT | IN_HOST,
	['*' ... '+'] = IN_TEXT | IN_TOKEN | IN_HOST,
	[','] = IN_TEXT | IN_HOST,
	['-' ... '.'] = IN_TEXT | IN_TOKEN | IN_HOST,
	['/'] = IN_TEXT,
	[':' ... ';'] = IN_TEXT | IN_HOST,
	['<'] = IN_TEXT,
	['='] = IN_TEXT | IN_HOST,
	['>' ... '@'] = IN_TEXT,
	['['] = IN_TEXT | IN_HOST,
	['\\'] = IN_TEXT,
	[']'] = IN_TEXT | IN_HOST,
	['^'] = IN_TEXT | IN_TOKEN,
	['_'] = IN_TEXT | IN_TOKEN | IN_HOST,
	['`'] = IN_TEXT | IN_TOKEN,
	['{'] = IN_TEXT,
	['|'] = IN_TEXT | IN_TOKEN,
	['}'] = IN_TEXT,
	['~'] = IN_TEXT | IN_TOKEN | IN_HOST,
	[0x80 ... 0xff] = IN_TEXT,
};

static bool all_in(struct str s, uint8_t what)
{
	for (uint32_t i = 0; i < s.n; i++)
		if (!(is_in[(uint8_t)s.p[i]] & what))
			return false;
	return true;
}

#define EACH_BYTE(b) (0x0101010101010101u * (b))

/* Most of a head is values, and most values are plain: eight bytes at a time. */
static bool is_value(struct str s)
{
	uint64_t x;

	for (; s.n >= 8; s.p += 8, s.n -= 8) {
		memcpy(&x, s.p, 8);
		if (((x - EACH_BYTE(0x20)) | x | (x + EACH_BYTE(1))) & EACH_BYTE(0x80))
			break; /* not all are from 0x20 to 0x7e */
	}
	return all_in(s, IN_VALUE);
}

static bool same_word(struct str a, struct str b)
{
	return a.n == b.n && !strncasecmp(a.p, b.p, a.n);
}

/* --- Lines -------------------------------------------------------------------------- */

size_t head_end(struct str in, size_t *seen)
{
	const char *end = in.p + in.n, *p = in.p + *seen;

	for (; p < end && (p = memchr(p, '\n', (size_t)(end - p))); p++) {
		*seen = (size_t)(p - in.p);
		if (p == in.p || p[-1] == '\n' ||
		    (p[-1] == '\r' && (p - 1 == in.p || p[-2] == '\n')))
			return (size_t)(p + 1 - in.p);
	}
	if (!p)
		*seen = in.n;
	return 0;
}

/* The next line without its end; *text is moved behind it. */
static struct str next_line(struct str *text)
{
	struct str line = str_cut(text, '\n');

	if (line.n && line.p[line.n - 1] == '\r')
		line.n--;
	return line;
}

static int refuse(struct head_refusal *why, int code, const char *reason)
{
	*why = (struct head_refusal){code, reason};
	return WEFT_EINVAL;
}

/* --- The request line --------------------------------------------------------------- */

/* "HTTP/1.1" or "HTTP/1.0". */
static int parse_version(struct str version, bool *http10, struct head_refusal *why)
{
	bool known = version.n == 8 && !memcmp(version.p, "HTTP/", 5) && version.p[6] == '.' &&
		     version.p[5] >= '0' && version.p[5] <= '9' && version.p[7] >= '0' &&
		     version.p[7] <= '9';

	if (!known)
		return refuse(why, 400, "");
	if (version.p[5] != '1')
		return refuse(why, 505, "unsupported protocol version");
	*http10 = version.p[7] == '0';
	return WEFT_OK;
}

/* "http://host/path" names /path. */
static struct str without_authority(struct str target)
{
	static const char *const schemes[] = {"http://", "https://"};
	const char *slash;

	for (size_t i = 0; i < countof(schemes); i++) {
		uint32_t n = (uint32_t)strlen(schemes[i]);

		if (target.n < n || strncasecmp(target.p, schemes[i], n))
			continue;
		slash = memchr(target.p + n, '/', target.n - n);
		if (!slash)
			return STR("/");
		return (struct str){slash, target.n - (uint32_t)(slash - target.p)};
	}
	return target;
}

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/* Each % of the path is followed by two digits. */
static bool escapes_good(struct str target)
{
	for (uint32_t i = 0; i < target.n && target.p[i] != '?'; i++)
		if (target.p[i] == '%' &&
		    (i + 2 >= target.n || !is_hex(target.p[i + 1]) || !is_hex(target.p[i + 2])))
			return false;
	return true;
}

bool head_target_good(struct str target)
{
	return target.n && all_in(target, IN_TARGET) && escapes_good(target) &&
	       (target.p[0] == '/' || str_eq(target, STR("*")));
}

static int parse_request_line(struct str line, struct head *h, struct head_refusal *why)
{
	h->method = str_cut(&line, ' ');
	h->target = str_cut(&line, ' ');
	if (!h->method.n || !all_in(h->method, IN_TOKEN) || !h->target.n)
		return refuse(why, 400, "");
	if (parse_version(line, &h->http10, why))
		return WEFT_EINVAL;
	h->target = without_authority(h->target);
	if (!head_target_good(h->target))
		return refuse(why, 400, "");
	return WEFT_OK;
}

/* --- Header lines ------------------------------------------------------------------- */

/* There is room for LINES_USUAL, or the next power of two. */
void head_add(zone *z, struct head *h, struct str name, struct str value)
{
	struct head_line *lines = h->lines;
	uint32_t n = h->nlines;

	if (!n || (n >= LINES_USUAL && !(n & (n - 1)))) {
		h->lines = zone_alloc(z, (n ? 2 * n : LINES_USUAL) * sizeof(*lines));
		if (n)
			memcpy(h->lines, lines, n * sizeof(*lines));
	}
	h->lines[h->nlines++] = (struct head_line){name, value};
}

static int parse_lines(zone *z, struct str text, struct head *h, struct head_refusal *why)
{
	while (text.n) {
		struct str line = next_line(&text), value;
		const char *colon = line.n ? memchr(line.p, ':', line.n) : NULL;
		uint32_t n = colon ? (uint32_t)(colon - line.p) : 0;

		if (!line.n)
			break;
		if (!n || !all_in((struct str){line.p, n}, IN_TOKEN))
			return refuse(why, 400,
				      n && line.p[n - 1] == ' ' ? "invalid header name" : "");
		value = str_trim((struct str){colon + 1, line.n - n - 1});
		if (!is_value(value))
			return refuse(why, 400, "");
		((char *)value.p)[value.n] = '\0'; /* a blank or the line's end was there */
		head_add(z, h, (struct str){line.p, n}, value);
	}
	return WEFT_OK;
}

bool head_is(const struct head_line *line, const char *name)
{
	return same_word(line->name, str_of(name));
}

struct str head_get(const struct head *h, const char *name)
{
	struct str want = str_of(name);

	for (uint32_t i = 0; i < h->nlines; i++)
		if (same_word(h->lines[i].name, want))
			return h->lines[i].value;
	return (struct str){NULL, 0};
}

/* One of the words of a list, as "close" in "Connection: keep-alive, close". */
static bool has_word(struct str list, struct str word)
{
	while (list.n)
		if (same_word(str_trim(str_cut(&list, ',')), word))
			return true;
	return false;
}

/* A length in digits; -1 if it is none. */
static int64_t parse_length(struct str text)
{
	int64_t length = 0;

	if (!text.n)
		return -1;
	for (uint32_t i = 0; i < text.n; i++) {
		int digit = text.p[i] - '0';

		if (digit < 0 || digit > 9 || length > (INT64_MAX - digit) / 10)
			return -1;
		length = length * 10 + digit;
	}
	return length;
}

/* What the lines that HTTP itself reads say. */
struct framing {
	struct str host, length, encoding;
	uint32_t hosts, lengths, encodings;
};

static int take_framing(struct head *h, struct framing *f, struct head_refusal *why)
{
	for (uint32_t i = 0; i < h->nlines; i++) {
		struct str name = h->lines[i].name, value = h->lines[i].value;

		if (same_word(name, STR("host"))) {
			f->host = value;
			f->hosts++;
		} else if (same_word(name, STR("connection"))) {
			h->close |= has_word(value, STR("close"));
		} else if (same_word(name, STR("expect"))) {
			if (!same_word(value, STR("100-continue")))
				return refuse(why, 417, "");
			h->expects = true;
		} else if (same_word(name, STR("transfer-encoding"))) {
			f->encoding = value;
			f->encodings++;
		} else if (same_word(name, STR("content-length"))) {
			if (f->lengths && !str_eq(f->length, value))
				return refuse(why, 400, "");
			f->length = value;
			f->lengths++;
		}
	}
	return WEFT_OK;
}

static int parse_framing(struct head *h, struct head_refusal *why)
{
	struct framing f = {0};

	h->close = h->http10;
	if (take_framing(h, &f, why))
		return WEFT_EINVAL;
	if (f.hosts > 1)
		return refuse(why, 400, "");
	if (!f.hosts && !h->http10)
		return refuse(why, 400, "missing required Host header");
	if (!all_in(f.host, IN_HOST))
		return refuse(why, 400, "malformed Host header");
	h->length = f.lengths ? parse_length(f.length) : 0;
	if (h->length < 0)
		return refuse(why, 400, "");
	if (f.encodings && !h->http10) {
		if (f.encodings > 1 || !same_word(f.encoding, STR("chunked")))
			return refuse(why, 501, "Unsupported transfer encoding");
		/* The length is not looked at.  Whoever sent both may be two that do
		 * not agree where the body ends: nothing that follows is taken. */
		h->close |= f.lengths > 0;
		h->length = -1;
	}
	h->expects &= h->length && !h->http10;
	return WEFT_OK;
}

int head_parse(zone *z, struct str text, struct head *h, struct head_refusal *why)
{
	*h = (struct head){0};
	*why = (struct head_refusal){0, ""};
	if (parse_request_line(next_line(&text), h, why) || parse_lines(z, text, h, why) ||
	    parse_framing(h, why))
		return WEFT_EINVAL;
	return WEFT_OK;
}

/* --- Chunks ------------------------------------------------------------------------- */

static int hex_digit(char c)
{
	return !is_hex(c) ? -1 : c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

static enum chunks_state bad(struct chunks *c, const char *wrong)
{
	c->wrong = wrong;
	return CHUNKS_BAD;
}

/* The line with a chunk's size has ended. */
static enum chunks_state end_size(struct chunks *c)
{
	if (!c->cr)
		return bad(c, "chunked line ends with bare LF");
	if (!c->digits)
		return bad(c, "empty hex number for chunk length");
	c->at = c->left ? CHUNK_DATA : CHUNK_TRAILER;
	c->digits = c->line = 0;
	c->cr = c->blank = c->extension = false;
	return CHUNKS_MORE;
}

/* One byte of "1a2b;extension\r\n". */
static enum chunks_state take_size(struct chunks *c, char byte)
{
	int digit = hex_digit(byte);

	if (byte == '\n')
		return end_size(c);
	if (c->cr)
		return bad(c, "invalid CR in chunked line");
	if (++c->line > SIZE_LINE_MAX)
		return bad(c, "header line too long");
	if (byte == '\r') {
		c->cr = true;
	} else if (c->extension) {
		return CHUNKS_MORE;
	} else if (byte == ';' && !c->blank) {
		c->extension = true;
	} else if (digit >= 0 && !c->blank) {
		c->left = c->left << 4 | (unsigned)digit;
		if (++c->digits > SIZE_DIGITS_MAX)
			return bad(c, "http chunk length too large");
	} else if ((byte == ' ' || byte == '\t') && c->digits) {
		c->blank = true;
	} else {
		return bad(c, "invalid byte in chunk length");
	}
	return CHUNKS_MORE;
}

/* One byte of the "\r\n" behind a chunk's data. */
static enum chunks_state take_data_end(struct chunks *c, char byte)
{
	if (byte != (c->cr ? '\n' : '\r'))
		return bad(c, "malformed chunked encoding");
	c->at = c->cr ? CHUNK_SIZE_LINE : CHUNK_DATA_END;
	c->cr = !c->cr;
	return CHUNKS_MORE;
}

/* One byte of the lines behind the last chunk, which are headers that nobody reads;
 * the empty one ends the body. */
static enum chunks_state take_trailer(struct chunks *c, char byte)
{
	if (byte == '\n') {
		if (!c->line)
			return CHUNKS_END;
		if (!c->named)
			return bad(c, "malformed MIME header: missing colon");
		c->line = 0;
		c->cr = c->named = false;
		return CHUNKS_MORE;
	}
	if (++c->trailer > TRAILER_MAX)
		return bad(c, "header line too long");
	if (c->cr || (byte != '\r' && !(is_in[(uint8_t)byte] & (c->named ? IN_VALUE : IN_TOKEN)) &&
		      (byte != ':' || !c->line)))
		return bad(c, "malformed MIME header line");
	c->cr = byte == '\r';
	c->named |= byte == ':';
	c->line += !c->cr;
	return CHUNKS_MORE;
}

/* One byte that is no data. */
static enum chunks_state take_byte(struct chunks *c, char byte)
{
	switch (c->at) {
	case CHUNK_SIZE_LINE:
		return take_size(c, byte);
	case CHUNK_DATA_END:
		return take_data_end(c, byte);
	case CHUNK_TRAILER:
		return take_trailer(c, byte);
	case CHUNK_DATA:
		break;
	}
	return CHUNKS_BAD;
}

enum chunks_state chunks_take(struct chunks *c, struct str *in, struct str *data)
{
	enum chunks_state state = CHUNKS_MORE;

	while (in->n && state == CHUNKS_MORE) {
		if (c->at == CHUNK_DATA) {
			*data = (struct str){in->p, c->left < in->n ? (uint32_t)c->left : in->n};
			c->left -= data->n;
			c->at = c->left ? CHUNK_DATA : CHUNK_DATA_END;
			in->p += data->n;
			in->n -= data->n;
			return CHUNKS_DATA;
		}
		state = take_byte(c, *in->p);
		in->p++;
		in->n--;
	}
	return state;
}

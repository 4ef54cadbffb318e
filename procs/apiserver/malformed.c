/*
 * malformed.c - what is wrong with JSON text, in the words that Go programs
 * know.
 *
 * Runs only after decoding has failed.  It reads the text once more, as the
 * grammar has it: each function moves over what it is named for and returns
 * true, or notes the complaint and returns false.
 */
#include "procs/apiserver/malformed.h"

#define DEPTH_MAX 10000 /* of Go's decoder */

struct text {
	zone *z;
	const char *at, *end;
	uint32_t depth;
	struct str complaint;
};

static struct str character(zone *z, char c)
{
	struct buf quoted = {0};
	char utf8[2] = {(char)(0xc0 | (uint8_t)c >> 6), (char)(0x80 | ((uint8_t)c & 0x3f))};
	struct str out;

	if (c == '\'')
		return STR("'\\''");
	if (c == '"')
		return STR("'\"'");
	if ((uint8_t)c < 0x20 && c != '\t' && c != '\n' && c != '\r')
		return zone_printf(z, "'\\x%02x'", (uint8_t)c);
	/* A byte above ASCII is shown as the character of that number. */
	json_quote(&quoted, (uint8_t)c < 0x80 ? (struct str){&c, 1} : (struct str){utf8, 2});
	out = zone_printf(z, "'%.*s'", (int)quoted.n - 2, quoted.p + 1);
	buf_free(&quoted);
	return out;
}

/* The character at t->at does not belong there. */
static bool complain(struct text *t, const char *where)
{
	if (t->complaint.n)
		return false;
	if (t->at == t->end)
		t->complaint = STR("unexpected end of JSON input");
	else
		t->complaint = zone_printf(t->z, "invalid character " STR_FMT " %s",
					   STR_ARG(character(t->z, *t->at)), where);
	return false;
}

static bool is(const struct text *t, char c)
{
	return t->at < t->end && *t->at == c;
}

static bool is_digit(const struct text *t)
{
	return t->at < t->end && *t->at >= '0' && *t->at <= '9';
}

static void blanks(struct text *t)
{
	while (is(t, ' ') || is(t, '\t') || is(t, '\n') || is(t, '\r'))
		t->at++;
}

static bool hex4(struct text *t)
{
	for (int i = 0; i < 4; i++, t->at++)
		if (t->at == t->end || !memchr("0123456789abcdefABCDEF", *t->at, 22))
			return complain(t, "in \\u hexadecimal character escape");
	return true;
}

static bool escape(struct text *t)
{
	if (t->at == t->end || !memchr("bfnrt\\/\"u", *t->at, 9))
		return complain(t, "in string escape code");
	return *t->at++ != 'u' || hex4(t);
}

/* t->at is behind the opening quote. */
static bool string(struct text *t)
{
	while (t->at < t->end && *t->at != '"') {
		if ((uint8_t)*t->at < 0x20)
			return complain(t, "in string literal");
		if (*t->at++ == '\\' && !escape(t))
			return false;
	}
	if (t->at == t->end)
		return complain(t, "");
	t->at++;
	return true;
}

static bool digits(struct text *t, const char *where)
{
	if (!is_digit(t))
		return complain(t, where);
	while (is_digit(t))
		t->at++;
	return true;
}

static bool number(struct text *t)
{
	if (is(t, '-'))
		t->at++;
	if (is(t, '0'))
		t->at++;
	else if (!digits(t, "in numeric literal"))
		return false;
	if (is(t, '.')) {
		t->at++;
		if (!digits(t, "after decimal point in numeric literal"))
			return false;
	}
	if (!is(t, 'e') && !is(t, 'E'))
		return true;
	t->at++;
	if (is(t, '+') || is(t, '-'))
		t->at++;
	return digits(t, "in exponent of numeric literal");
}

static bool word(struct text *t, const char *wanted)
{
	for (const char *w = wanted; *w; w++, t->at++)
		if (!is(t, *w))
			return complain(
				t,
				zone_printf(t->z, "in literal %s (expecting '%c')", wanted, *w).p);
	return true;
}

static bool any_value(struct text *t);

static bool pair(struct text *t)
{
	blanks(t);
	if (!is(t, '"'))
		return complain(t, "looking for beginning of object key string");
	t->at++;
	if (!string(t))
		return false;
	blanks(t);
	if (!is(t, ':'))
		return complain(t, "after object key");
	t->at++;
	return any_value(t);
}

/* An array's or an object's members up to `close`; t->at is behind its opening
 * bracket. */
static bool members(struct text *t, char close, bool (*member)(struct text *), const char *where)
{
	blanks(t);
	if (is(t, close)) {
		t->at++;
		return true;
	}
	while (member(t)) {
		blanks(t);
		if (is(t, close)) {
			t->at++;
			return true;
		}
		if (!is(t, ','))
			return complain(t, where);
		t->at++;
	}
	return false;
}

static bool container(struct text *t)
{
	bool fine;

	if (++t->depth > DEPTH_MAX)
		return complain(t, "exceeded max depth");
	fine = *t->at++ == '{' ? members(t, '}', pair, "after object key:value pair")
			       : members(t, ']', any_value, "after array element");
	t->depth--;
	return fine;
}

static bool any_value(struct text *t)
{
	blanks(t);
	if (is(t, '{') || is(t, '['))
		return container(t);
	if (is(t, '"')) {
		t->at++;
		return string(t);
	}
	if (is(t, '-') || is_digit(t))
		return number(t);
	if (is(t, 't'))
		return word(t, "true");
	if (is(t, 'f'))
		return word(t, "false");
	if (is(t, 'n'))
		return word(t, "null");
	return complain(t, "looking for beginning of value");
}

struct str json_complaint(zone *z, struct str text)
{
	struct text t = {.z = z, .at = text.p, .end = text.p + text.n, .complaint = STR("")};

	if (any_value(&t)) {
		blanks(&t);
		if (t.at < t.end)
			complain(&t, "after top-level value");
	}
	return t.complaint;
}

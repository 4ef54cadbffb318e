/* scalar.c - times, base64 and quantities: their canonical form, or what is wrong with them. */
#include <time.h>

#include "procs/kube/scalar.h"
#include "weft/kube.h"

/* --- Times ------------------------------------------------------------------------ */

struct clock_text {
	int year, month, day, hour, minute, second, micro;
	int offset_s; /* east of UTC */
	struct str rest;
	const char *range; /* what is out of range */
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Take between `min` and `max` digits. */
static bool take_digits(struct str *s, uint32_t min, uint32_t max, int *out)
{
	uint32_t n = 0;

	*out = 0;
	while (n < max && n < s->n && is_digit(s->p[n]))
		*out = *out * 10 + (s->p[n++] - '0');
	if (n < min)
		return false;
	s->p += n;
	s->n -= n;
	return true;
}

/* A number with a range; outside of it, *range names it and the parse ends. */
static bool take_ranged(struct clock_text *t, uint32_t min, int *out, int low, int high,
			const char *name)
{
	if (!take_digits(&t->rest, min, 2, out))
		return false;
	if (*out < low || *out > high)
		t->range = name;
	return !t->range;
}

static bool take_year(struct clock_text *t)
{
	return take_digits(&t->rest, 4, 4, &t->year);
}

static bool take_month(struct clock_text *t)
{
	return take_ranged(t, 2, &t->month, 1, 12, "month");
}

static bool take_day(struct clock_text *t)
{
	return take_digits(&t->rest, 2, 2, &t->day);
}

static bool take_hour(struct clock_text *t)
{
	return take_ranged(t, 1, &t->hour, 0, 23, "hour");
}

static bool take_minute(struct clock_text *t)
{
	return take_ranged(t, 2, &t->minute, 0, 59, "minute");
}

static bool take_second(struct clock_text *t)
{
	return take_ranged(t, 2, &t->second, 0, 59, "second");
}

static bool is_point(char c)
{
	return c == '.' || c == ',';
}

/* Seconds and, where the form has no fraction of its own, one of any length. */
static bool take_second_and_rest(struct clock_text *t)
{
	if (!take_second(t))
		return false;
	if (t->rest.n >= 2 && is_point(t->rest.p[0]) && is_digit(t->rest.p[1]))
		do {
			t->rest.p++;
			t->rest.n--;
		} while (t->rest.n && is_digit(t->rest.p[0]));
	return true;
}

static bool take_micro(struct clock_text *t)
{
	struct str s = t->rest;

	if (!s.n || !is_point(s.p[0]))
		return false;
	s.p++;
	s.n--;
	if (!take_digits(&s, 6, 6, &t->micro))
		return false;
	t->rest = s;
	return true;
}

static bool take_zone(struct clock_text *t)
{
	struct str s = t->rest;
	int sign, hours, minutes;

	if (s.n && s.p[0] == 'Z') {
		t->rest = (struct str){s.p + 1, s.n - 1};
		return true;
	}
	if (s.n < 6 || (s.p[0] != '+' && s.p[0] != '-') || s.p[3] != ':')
		return false;
	sign = s.p[0] == '-' ? -1 : 1;
	s = (struct str){s.p + 1, s.n - 1};
	if (!take_digits(&s, 2, 2, &hours))
		return false;
	s = (struct str){s.p + 1, s.n - 1};
	if (!take_digits(&s, 2, 2, &minutes))
		return false;
	if (hours > 24)
		t->range = "time zone offset hour";
	else if (minutes > 60)
		t->range = "time zone offset minute";
	t->offset_s = sign * (hours * 3600 + minutes * 60);
	t->rest = s;
	return !t->range;
}

/* A form: elements, each with how Go's layouts write it. */
struct element {
	const char *layout;
	bool (*take)(struct clock_text *t); /* NULL: the layout's own text */
};
static const struct element time_form[] = {
	{"2006", take_year},
	{"-", NULL},
	{"01", take_month},
	{"-", NULL},
	{"02", take_day},
	{"T", NULL},
	{"15", take_hour},
	{":", NULL},
	{"04", take_minute},
	{":", NULL},
	{"05", take_second_and_rest},
	{"Z07:00", take_zone},
};
static const struct element microtime_form[] = {
	{"2006", take_year},   {"-", NULL}, {"01", take_month},	 {"-", NULL},
	{"02", take_day},      {"T", NULL}, {"15", take_hour},	 {":", NULL},
	{"04", take_minute},   {":", NULL}, {"05", take_second}, {".000000", take_micro},
	{"Z07:00", take_zone},
};

static bool take_literal(struct clock_text *t, const char *text)
{
	if (!t->rest.n || t->rest.p[0] != text[0])
		return false;
	t->rest.p++;
	t->rest.n--;
	return true;
}

static int days_in(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100) || year % 400 == 0;

	return days[month - 1] + (month == 2 && leap);
}

static bool parse_clock(zone *z, struct str text, const char *layout, const struct element *form,
			size_t n, struct clock_text *t, struct str *why)
{
	*t = (struct clock_text){.rest = text};
	for (size_t i = 0; i < n; i++) {
		struct str before = t->rest;

		if (form[i].take ? form[i].take(t) : take_literal(t, form[i].layout))
			continue;
		if (t->range)
			break;
		*why = zone_printf(z,
				   "parsing time \"" STR_FMT "\" as \"%s\": cannot parse \"" STR_FMT
				   "\" as \"%s\"",
				   STR_ARG(text), layout, STR_ARG(before), form[i].layout);
		return false;
	}
	if (!t->range && t->rest.n) {
		*why = zone_printf(z, "parsing time \"" STR_FMT "\": extra text: \"" STR_FMT "\"",
				   STR_ARG(text), STR_ARG(t->rest));
		return false;
	}
	if (!t->range && (t->day < 1 || t->day > days_in(t->year, t->month)))
		t->range = "day";
	if (t->range)
		*why = zone_printf(z, "parsing time \"" STR_FMT "\": %s out of range",
				   STR_ARG(text), t->range);
	return !t->range;
}

/* The moment in UTC, broken down. */
static struct tm to_utc(const struct clock_text *t)
{
	struct tm tm = {
		.tm_year = t->year - 1900,
		.tm_mon = t->month - 1,
		.tm_mday = t->day,
		.tm_hour = t->hour,
		.tm_min = t->minute,
		.tm_sec = t->second,
	};
	time_t s = timegm(&tm) - t->offset_s;

	gmtime_r(&s, &tm);
	return tm;
}

bool scalar_time(zone *z, struct str text, struct str *out, struct str *why)
{
	struct clock_text t;
	struct tm tm;

	if (!parse_clock(z, text, "2006-01-02T15:04:05Z07:00", time_form, countof(time_form), &t,
			 why))
		return false;
	*out = text;
	if (text.n == 20)
		return true;
	tm = to_utc(&t);
	*out = zone_printf(z, "%04d-%02d-%02dT%02d:%02d:%02dZ", tm.tm_year + 1900, tm.tm_mon + 1,
			   tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
	return true;
}

bool scalar_microtime(zone *z, struct str text, struct str *out, struct str *why)
{
	struct clock_text t;
	struct tm tm;

	if (!parse_clock(z, text, "2006-01-02T15:04:05.000000Z07:00", microtime_form,
			 countof(microtime_form), &t, why))
		return false;
	tm = to_utc(&t);
	*out = zone_printf(z, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", tm.tm_year + 1900,
			   tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, t.micro);
	return true;
}

/* --- base64 ------------------------------------------------------------------------- */

static const char base64_digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int base64_digit(char c)
{
	const char *at = c ? strchr(base64_digits, c) : NULL;

	return at ? (int)(at - base64_digits) : -1;
}

static uint32_t skip_breaks(struct str s, uint32_t i)
{
	while (i < s.n && (s.p[i] == '\n' || s.p[i] == '\r'))
		i++;
	return i;
}

/* The padding that starts at s.p[at], after `have` digits of its group.
 * Returns -1 if it ends the text as it should, else where it is wrong. */
static int64_t check_padding(struct str s, uint32_t at, uint32_t have)
{
	uint32_t i = at + 1;

	if (have < 2)
		return at;
	if (have == 2) {
		i = skip_breaks(s, i);
		if (i == s.n)
			return s.n;
		if (s.p[i] != '=')
			return (int64_t)i - 1;
		i++;
	}
	i = skip_breaks(s, i);
	return i < s.n ? (int64_t)i : -1;
}

bool scalar_base64(zone *z, struct str s, struct str *out, struct str *why)
{
	char *p = zone_alloc(z, s.n + 4);
	uint32_t n = 0, have = 0;
	int64_t wrong = -1;

	for (uint32_t i = 0; i < s.n && wrong < 0; i++) {
		int digit = base64_digit(s.p[i]);

		if (s.p[i] == '\n' || s.p[i] == '\r')
			continue;
		if (digit >= 0) {
			p[n++] = s.p[i];
			have = (have + 1) % 4;
			continue;
		}
		wrong = s.p[i] == '=' ? check_padding(s, i, have) : (int64_t)i;
		if (wrong < 0) { /* bits below the last byte count for nothing */
			int keep = have == 2 ? 0x30 : 0x3c;

			p[n - 1] = base64_digits[base64_digit(p[n - 1]) & keep];
			while (n % 4)
				p[n++] = '=';
			break;
		}
	}
	if (wrong < 0 && n % 4)
		wrong = (int64_t)s.n - have;
	if (wrong >= 0) {
		*why = zone_printf(z, "illegal base64 data at input byte %lld", (long long)wrong);
		return false;
	}
	*out = (struct str){p, n};
	return true;
}

struct str scalar_base64_bytes(zone *z, struct str text)
{
	char *p = zone_alloc(z, text.n / 4 * 3 + 3);
	uint32_t n = 0, bits = 0, have = 0;

	for (uint32_t i = 0; i < text.n && text.p[i] != '='; i++) {
		int digit = base64_digit(text.p[i]);

		if (digit < 0)
			continue;
		bits = bits << 6 | (uint32_t)digit;
		have += 6;
		if (have >= 8) {
			have -= 8;
			p[n++] = (char)(bits >> have);
		}
	}
	return (struct str){p, n};
}

/* --- Quantities --------------------------------------------------------------------- */

static uint32_t span(struct str s, uint32_t from, const char *set)
{
	while (from < s.n && s.p[from] && strchr(set, s.p[from]))
		from++;
	return from;
}

/* Which of Go's errors a text that is no quantity gets. */
static struct str quantity_error(struct str s)
{
	static const char digits[] = "0123456789";
	uint32_t start, i;

	if (!s.n)
		goto format;
	start = s.p[0] == '+' || s.p[0] == '-';
	i = span(s, start, digits);
	if (i < s.n && s.p[i] == '.')
		i = span(s, i + 1, digits);
	if (i == s.n)
		return STR("unable to parse numeric part of quantity");
	i = span(s, i, "eEinumkKMGTP");
	if (i < s.n && (s.p[i] == '+' || s.p[i] == '-'))
		i++;
	if (span(s, i, digits) == s.n)
		return STR("unable to parse quantity's suffix");
format:
	return STR("quantities must match the regular expression "
		   "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
}

static struct str trim(struct str s)
{
	while (s.n && (s.p[0] == ' ' || s.p[0] == '\t' || s.p[0] == '\n' || s.p[0] == '\r')) {
		s.p++;
		s.n--;
	}
	while (s.n && strchr(" \t\n\r", s.p[s.n - 1]))
		s.n--;
	return s;
}

bool scalar_quantity(zone *z, const value *v, struct str *out, struct str *why)
{
	value text = v_str(trim(v_as_str(v)));

	if (kube_quantity_canonical(z, v_is_str(v) ? &text : v, out))
		return true;
	*why = v_is_str(v) ? quantity_error(v_as_str(&text)) : quantity_error(STR("true"));
	return false;
}

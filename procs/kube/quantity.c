/*
 * quantity.c - amounts such as "100m", "1.5Gi", "2e3".
 *
 * A quantity is digits with an optional point, times a power of ten or of two
 * that its suffix names.  What is kept is a decimal number: up to 30 digits
 * and an exponent.  Amounts finer than a thousandth are rounded away from
 * zero, as Kubernetes does in lists of resources.
 */
#include "weft/kube.h"

#include <stdio.h>

typedef __int128 wide;

#define DIGITS_MAX 30
#define MILLI	   (-3)

enum family { DECIMAL_SI, BINARY_SI, EXPONENT };

struct quantity {
	bool minus;
	wide v; /* the amount is v * 10^exp */
	int exp;
	enum family family;
	struct str text; /* what was written, if that is kept; else empty */
};

static const struct suffix {
	const char *text;
	enum family family;
	int power; /* of 10 or of 2 */
} suffixes[] = {
	{"n", DECIMAL_SI, -9}, {"u", DECIMAL_SI, -6}, {"m", DECIMAL_SI, -3}, {"", DECIMAL_SI, 0},
	{"k", DECIMAL_SI, 3},  {"M", DECIMAL_SI, 6},  {"G", DECIMAL_SI, 9},  {"T", DECIMAL_SI, 12},
	{"P", DECIMAL_SI, 15}, {"E", DECIMAL_SI, 18}, {"Ki", BINARY_SI, 10}, {"Mi", BINARY_SI, 20},
	{"Gi", BINARY_SI, 30}, {"Ti", BINARY_SI, 40}, {"Pi", BINARY_SI, 50}, {"Ei", BINARY_SI, 60},
};

/* --- Reading -------------------------------------------------------------------- */

/* Digits from the 31st on count as a remainder that is rounded up. */
static void add_digit(struct quantity *q, int *kept, bool *more, int digit, bool fraction)
{
	if (*kept == DIGITS_MAX) {
		*more |= digit != 0;
		q->exp += !fraction;
		return;
	}
	q->v = q->v * 10 + digit;
	*kept += q->v != 0;
	q->exp -= fraction;
}

static uint32_t read_digits(struct str s, uint32_t i, struct quantity *q)
{
	bool fraction = false, more = false;
	int kept = 0;

	for (; i < s.n; i++) {
		if (s.p[i] == '.' && !fraction)
			fraction = true;
		else if (s.p[i] >= '0' && s.p[i] <= '9')
			add_digit(q, &kept, &more, s.p[i] - '0', fraction);
		else
			break;
	}
	q->v += more;
	return i;
}

/* "e3", "E-6": false if it is none. */
static bool read_exponent(struct str s, int *power)
{
	uint32_t i = 1;
	int sign = 1, v = 0;

	if (s.n < 2 || (s.p[0] != 'e' && s.p[0] != 'E'))
		return false;
	if (s.p[i] == '-' || s.p[i] == '+')
		sign = s.p[i++] == '-' ? -1 : 1;
	if (i == s.n)
		return false;
	for (; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9' || v > 100000)
			return false;
		v = v * 10 + (s.p[i] - '0');
	}
	*power = sign * v;
	return true;
}

static bool read_suffix(struct str s, struct suffix *out)
{
	for (size_t i = 0; i < countof(suffixes); i++) {
		if (str_is(s, suffixes[i].text)) {
			*out = suffixes[i];
			return true;
		}
	}
	*out = (struct suffix){"e", EXPONENT, 0};
	return read_exponent(s, &out->power);
}

/* Make the exponent at least `exp`, away from zero. */
static void round_to(struct quantity *q, int exp)
{
	while (q->exp < exp && q->v > 1) {
		q->v = q->v / 10 + (q->v % 10 != 0);
		q->exp++;
	}
	if (q->exp < exp)
		q->exp = exp;
}

/* Multiply by 2^power, up to the largest amount that has a power of two.  As
 * many doublings as fit come before the rounding: what looks like a fraction
 * may become whole. */
static void times_power_of_2(struct quantity *q, int power)
{
	static const wide units_max = INT64_MAX;

	for (; power > 0 && q->v < (wide)1 << 120; power--)
		q->v *= 2;
	round_to(q, MILLI);
	for (; q->exp > MILLI && q->v <= units_max * 1000; q->exp--)
		q->v *= 10;
	for (; power > 0 && q->v <= units_max * 1000; power--)
		q->v *= 2;
	q->exp = MILLI;
	if (q->v > units_max * 1000)
		q->v = units_max * 1000;
}

/* Kubernetes keeps the text of a decimal quantity that already looks canonical
 * to it ("1500m", but "1.500" too): up to 18 digits whose last stands for a
 * power of 1000, without a leading 0 or three zeros at the end. */
static bool kept_as_written(struct str number, const struct suffix *suffix)
{
	uint32_t i = 0, whole, fraction = 0, zeros = 0;
	int exp;

	i += number.n && (number.p[0] == '-' || number.p[0] == '+');
	while (i < number.n && number.p[i] == '0')
		i++;
	for (whole = 0; i + whole < number.n && number.p[i + whole] != '.'; whole++)
		;
	if (i + whole < number.n)
		fraction = number.n - i - whole - 1;
	for (uint32_t at = number.n; at > i && (number.p[at - 1] == '0' || number.p[at - 1] == '.');
	     at--)
		zeros += number.p[at - 1] == '0';
	exp = suffix->power - (int)fraction;
	return whole && whole + fraction <= 18 && zeros < 3 && exp >= MILLI && exp % 3 == 0;
}

/* The same for powers of two: shows only with a plus sign or leading zeros. */
static bool binary_kept(struct str number, const struct suffix *suffix, const struct quantity *q)
{
	return !memchr(number.p, '.', number.n) && (q->v & 7) &&
	       14 - (int)number.n - suffix->power * 3 / 10 >= 0;
}

static struct str trim(struct str s)
{
	while (s.n && (s.p[0] == ' ' || s.p[0] == '\t' || s.p[0] == '\n' || s.p[0] == '\r'))
		s.p++, s.n--;
	while (s.n && strchr(" \t\n\r", s.p[s.n - 1]))
		s.n--;
	return s;
}

/* Digits may be missing altogether: "Gi" is 0 as well as "0Gi". */
static bool parse(struct str s, struct quantity *q)
{
	struct suffix suffix;
	uint32_t i = 0;

	memset(q, 0, sizeof *q);
	s = trim(s);
	if (!s.n)
		return false;
	if (s.p[0] == '-' || s.p[0] == '+')
		q->minus = s.p[i++] == '-';
	i = read_digits(s, i, q);
	if (!read_suffix((struct str){s.p + i, s.n - i}, &suffix))
		return false;
	q->family = suffix.family;
	if (suffix.family == BINARY_SI) {
		if (binary_kept((struct str){s.p, i}, &suffix, q))
			q->text = s;
		times_power_of_2(q, suffix.power);
		return true;
	}
	q->exp += suffix.power;
	round_to(q, MILLI);
	if (kept_as_written((struct str){s.p, i}, &suffix))
		q->text = s;
	return true;
}

#define NUMBER_TEXT 40

/* A number is read as the text that JSON would show, which is put into `text`:
 * q->text may point into it. */
static bool parse_value(const value *v, char text[NUMBER_TEXT], struct quantity *q)
{
	int n;

	if (v_is_str(v))
		return parse(v_as_str(v), q);
	if (!v)
		return false;
	if (v->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
		n = snprintf(text, NUMBER_TEXT, "%llu", (unsigned long long)v->via.u64);
	else if (v->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
		n = snprintf(text, NUMBER_TEXT, "%lld", (long long)v->via.i64);
	else if (v->type == MSGPACK_OBJECT_FLOAT64 || v->type == MSGPACK_OBJECT_FLOAT32)
		n = snprintf(text, NUMBER_TEXT, "%.15g", v->via.f64);
	else
		return false;
	return parse((struct str){text, (uint32_t)n}, q);
}

bool kube_quantity_milli(const value *v, int64_t *milli)
{
	char text[NUMBER_TEXT];
	struct quantity q;

	if (!parse_value(v, text, &q))
		return false;
	for (; q.exp > MILLI && q.v && q.v <= INT64_MAX; q.exp--)
		q.v *= 10;
	*milli = q.v > INT64_MAX ? INT64_MAX : (int64_t)q.v;
	if (q.minus)
		*milli = -*milli;
	return true;
}

/* --- Printing --------------------------------------------------------------------- */

/* Digits followed by a suffix. */
static struct str print_number(zone *z, bool minus, wide v, const char *suffix)
{
	char text[48];
	size_t i = sizeof text;

	do
		text[--i] = (char)('0' + (int)(v % 10));
	while (v /= 10);
	if (minus)
		text[--i] = '-';
	return zone_printf(z, "%.*s%s", (int)(sizeof text - i), text + i, suffix);
}

static const char *suffix_text(enum family family, int power)
{
	for (size_t i = 0; i < countof(suffixes); i++)
		if (suffixes[i].family == family && suffixes[i].power == power)
			return suffixes[i].text;
	return NULL;
}

/* As few digits as an exponent that is a multiple of 3 allows. */
static struct str print_decimal(zone *z, struct quantity q)
{
	char exponent[16] = "";
	const char *suffix;

	for (; q.v % 10 == 0; q.exp++)
		q.v /= 10;
	for (; q.exp % 3; q.exp--)
		q.v *= 10;
	suffix = q.family == EXPONENT ? NULL : suffix_text(DECIMAL_SI, q.exp);
	if (!suffix && q.exp)
		snprintf(exponent, sizeof exponent, "e%d", q.exp);
	return print_number(z, q.minus, q.v, suffix ? suffix : exponent);
}

static struct str print_binary(zone *z, const struct quantity *q)
{
	wide v = q->v / 1000;
	int power = 0;

	for (; power < 60 && v % 1024 == 0; power += 10)
		v /= 1024;
	return print_number(z, q->minus, v, power ? suffix_text(BINARY_SI, power) : "");
}

static struct str print(zone *z, struct quantity q)
{
	if (!q.v)
		return STR("0");
	if (q.family == BINARY_SI && q.v >= 1024 * 1000 && q.v % 1000 == 0)
		return print_binary(z, &q);
	/* Below 1024, or with a fraction, powers of two say nothing. */
	q.family = q.family == EXPONENT ? EXPONENT : DECIMAL_SI;
	return print_decimal(z, q);
}

bool kube_quantity_canonical(zone *z, const value *v, struct str *out)
{
	char text[NUMBER_TEXT];
	struct quantity q;

	if (!parse_value(v, text, &q))
		return false;
	*out = q.text.n ? zone_str(z, q.text) : print(z, q);
	return true;
}

/* --- Amounts ------------------------------------------------------------------------ */

/* Sums of as many amounts as there can be objects stay within 127 bits. */
#define AMOUNT_MAX ((wide)1 << 90)

bool kube_amount(const value *v, struct kube_amount *out)
{
	char text[NUMBER_TEXT];
	struct quantity q;

	if (!parse_value(v, text, &q))
		return false;
	for (; q.exp > MILLI && q.v && q.v < AMOUNT_MAX; q.exp--)
		q.v *= 10;
	q.v = q.v < AMOUNT_MAX ? q.v : AMOUNT_MAX;
	*out = (struct kube_amount){q.minus ? -q.v : q.v, (uint8_t)q.family};
	return true;
}

void kube_amount_add(struct kube_amount *a, struct kube_amount b, int64_t times)
{
	if (!a->milli)
		a->form = b.form;
	a->milli += b.milli * times;
}

struct str kube_amount_print(zone *z, struct kube_amount a)
{
	struct quantity q = {.minus = a.milli < 0, .exp = MILLI, .family = (enum family)a.form};

	q.v = q.minus ? -a.milli : a.milli;
	return print(z, q);
}

/* --- Numbers that may be percentages ------------------------------------------------ */

static int64_t percent_of(struct str s, int64_t total, bool round_up)
{
	int64_t v = 0;
	uint32_t n = s.n - 1;

	if (s.n < 2 || s.n > 10 || s.p[n] != '%')
		return -1;
	for (uint32_t i = 0; i < n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return -1;
		v = v * 10 + (s.p[i] - '0');
	}
	return (int64_t)(((wide)v * total + (round_up ? 99 : 0)) / 100);
}

int64_t kube_int_or_percent(const value *v, int64_t total, bool round_up, int64_t absent)
{
	if (v_is_null(v))
		return absent;
	if (v_is_int(v))
		return v_as_int(v, -1);
	return v_is_str(v) ? percent_of(v_as_str(v), total, round_up) : -1;
}

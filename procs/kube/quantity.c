/*
 * quantity.c - amounts such as "100m", "1.5Gi", "2e3".
 *
 * A quantity is digits with an optional point, times a power of ten or of two
 * that its suffix names.  What is kept is an exact number of nano-units in 128
 * bits, which is more than any printable quantity (2^63 - 1 units) needs;
 * finer amounts are rounded away from zero, as Kubernetes does.
 */
#include "weft/kube.h"

#include <stdio.h>

typedef __int128 wide;

#define NANO 1000000000
#define UNITS_MAX INT64_MAX

enum family { DECIMAL_SI, BINARY_SI, EXPONENT };

struct quantity {
	wide nano;
	struct str text; /* what was written, if that is kept; else empty */
	enum family family;
};

struct suffix {
	const char *text;
	enum family family;
	int power; /* of 10 or of 2 */
};

/* Smallest first within each family: printing looks for the largest that fits. */
static const struct suffix suffixes[] = {
	{"n", DECIMAL_SI, -9}, {"u", DECIMAL_SI, -6}, {"m", DECIMAL_SI, -3}, {"", DECIMAL_SI, 0},
	{"k", DECIMAL_SI, 3},  {"M", DECIMAL_SI, 6},  {"G", DECIMAL_SI, 9},  {"T", DECIMAL_SI, 12},
	{"P", DECIMAL_SI, 15}, {"E", DECIMAL_SI, 18}, {"Ki", BINARY_SI, 10}, {"Mi", BINARY_SI, 20},
	{"Gi", BINARY_SI, 30}, {"Ti", BINARY_SI, 40}, {"Pi", BINARY_SI, 50}, {"Ei", BINARY_SI, 60},
};

static const wide nano_max = (wide)UNITS_MAX * NANO;

static wide power_of_10(int n)
{
	wide v = 1;

	while (n-- > 0)
		v *= 10;
	return v;
}

/* --- Reading -------------------------------------------------------------------- */

/* Digits with their scale: value = digits * 10^-scale.  At most 30 significant
 * digits are kept; `more` is set if any of the rest was not 0. */
struct digits {
	wide v;
	int scale;
	int kept;
	bool more, any;
};

#define DIGITS_MAX 30

static void add_digit(struct digits *d, int digit, bool fraction)
{
	d->any = true;
	if (d->kept == DIGITS_MAX) {
		d->more |= digit != 0;
		d->scale -= !fraction;
		return;
	}
	d->v = d->v * 10 + digit;
	d->kept += d->v != 0;
	d->scale += fraction;
}

static uint32_t read_digits(struct str s, uint32_t i, struct digits *d)
{
	bool fraction = false;

	for (; i < s.n; i++) {
		if (s.p[i] == '.' && !fraction)
			fraction = true;
		else if (s.p[i] >= '0' && s.p[i] <= '9')
			add_digit(d, s.p[i] - '0', fraction);
		else
			break;
	}
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
		if (str_eq(s, str_of(suffixes[i].text))) {
			*out = suffixes[i];
			return true;
		}
	}
	*out = (struct suffix){"e", EXPONENT, 0};
	return read_exponent(s, &out->power);
}

/* v * 10^n, away from zero when digits are lost; saturates above the largest
 * quantity.  v >= 0. */
static wide scale_10(wide v, int n, bool more)
{
	wide p;

	if (v == 0)
		return more;
	if (n >= 0) {
		for (; n > 0 && v <= nano_max; n--)
			v *= 10;
		return v;
	}
	if (n < -37)
		return 1;
	p = power_of_10(-n);
	return v / p + (v % p != 0 || more);
}

/* digits * 2^power in nano-units: as many doublings first as fit, so that a
 * fraction is not rounded before it has become whole. */
static wide scale_2(const struct digits *d, int power)
{
	wide v = d->v;

	for (; power > 0 && v < (wide)1 << 120; power--)
		v *= 2;
	v = scale_10(v, 9 - d->scale, d->more);
	for (; power > 0 && v <= nano_max; power--)
		v *= 2;
	return v;
}

/* Kubernetes keeps the text of a decimal quantity that already looks canonical
 * to it ("1500m", but "1.500" too): up to 18 digits whose last stands for a
 * power of 1000, without a leading 0 or three zeros at the end. */
static bool kept_as_written(struct str number, const struct suffix *suffix)
{
	uint32_t i = 0, whole, fraction = 0, zeros = 0;

	i += number.p[0] == '-' || number.p[0] == '+';
	while (i < number.n && number.p[i] == '0')
		i++;
	for (whole = 0; i + whole < number.n && number.p[i + whole] != '.'; whole++)
		;
	if (i + whole < number.n)
		fraction = number.n - i - whole - 1;
	for (uint32_t at = number.n; at > i && (number.p[at - 1] == '0' || number.p[at - 1] == '.');
	     at--)
		zeros += number.p[at - 1] == '0';
	return whole && whole + fraction <= 18 && zeros < 3 &&
	       suffix->power - (int)fraction >= -9 && (suffix->power - (int)fraction) % 3 == 0;
}

static bool parse(struct str s, struct quantity *q)
{
	struct digits d = {.v = 0};
	struct suffix suffix;
	bool minus = false;
	uint32_t i = 0;

	q->text = (struct str){NULL, 0};
	if (s.n && (s.p[0] == '-' || s.p[0] == '+'))
		minus = s.p[i++] == '-';
	i = read_digits(s, i, &d);
	if (!d.any || !read_suffix((struct str){s.p + i, s.n - i}, &suffix))
		return false;
	if (suffix.family == BINARY_SI)
		q->nano = scale_2(&d, suffix.power);
	else
		q->nano = scale_10(d.v, 9 - d.scale + suffix.power, d.more);
	if (q->nano > nano_max)
		q->nano = nano_max;
	if (minus)
		q->nano = -q->nano;
	q->family = suffix.family;
	if (suffix.family != BINARY_SI && kept_as_written((struct str){s.p, i}, &suffix))
		q->text = s;
	return true;
}

/* A number is read as the text that JSON would show. */
static bool parse_value(const value *v, struct quantity *q)
{
	char text[40];
	int n;

	if (v_is_str(v))
		return parse(v_as_str(v), q);
	if (!v)
		return false;
	if (v->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
		n = snprintf(text, sizeof text, "%llu", (unsigned long long)v->via.u64);
	else if (v->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
		n = snprintf(text, sizeof text, "%lld", (long long)v->via.i64);
	else if (v->type == MSGPACK_OBJECT_FLOAT64 || v->type == MSGPACK_OBJECT_FLOAT32)
		n = snprintf(text, sizeof text, "%.15g", v->via.f64);
	else
		return false;
	return parse((struct str){text, (uint32_t)n}, q);
}

bool kube_quantity_milli(const value *v, int64_t *milli)
{
	struct quantity q;
	wide m;

	if (!parse_value(v, &q))
		return false;
	m = q.nano / (NANO / 1000);
	m += q.nano > 0 && q.nano % (NANO / 1000) != 0;
	*milli = m > INT64_MAX ? INT64_MAX : m < INT64_MIN ? INT64_MIN : (int64_t)m;
	return true;
}

/* --- Printing --------------------------------------------------------------------- */

/* The largest suffix of the family that leaves no fraction. */
static const struct suffix *best_suffix(wide nano, enum family family)
{
	const struct suffix *best = &suffixes[0];

	for (size_t i = 0; i < countof(suffixes); i++) {
		const struct suffix *s = &suffixes[i];
		wide unit = s->family == BINARY_SI ? ((wide)1 << s->power) * NANO
						   : power_of_10(s->power + 9);

		if (s->family != (family == BINARY_SI ? BINARY_SI : DECIMAL_SI) && s->power != 0)
			continue;
		if (nano % unit == 0)
			best = s;
	}
	return best;
}

static struct str print(zone *z, const struct quantity *q)
{
	enum family family = q->family;
	wide magnitude = q->nano < 0 ? -q->nano : q->nano;
	const struct suffix *s;
	unsigned long long n;
	char tail[8] = "";

	if (q->nano == 0)
		return STR("0");
	/* Below 1024, or with a fraction, powers of two say nothing. */
	if (family == BINARY_SI && (magnitude < (wide)1024 * NANO || magnitude % NANO))
		family = DECIMAL_SI;
	s = best_suffix(magnitude, family);
	n = (unsigned long long)(s->family == BINARY_SI
					 ? magnitude / NANO / ((wide)1 << s->power)
					 : magnitude / power_of_10(s->power + 9));
	if (family != EXPONENT)
		snprintf(tail, sizeof tail, "%s", s->text);
	else if (s->power)
		snprintf(tail, sizeof tail, "e%d", s->power);
	return zone_printf(z, "%s%llu%s", q->nano < 0 ? "-" : "", n, tail);
}

bool kube_quantity_canonical(zone *z, const value *v, struct str *out)
{
	struct quantity q;

	if (!parse_value(v, &q))
		return false;
	*out = q.text.n ? zone_str(z, q.text) : print(z, &q);
	return true;
}

/* --- Numbers that may be percentages ------------------------------------------------- */

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

/* names.c - the forms of names: labels, subdomains, keys, ports, addresses. */
#include <arpa/inet.h>
#include <stdlib.h>

#include "procs/kube/names.h"

#define SUBDOMAIN_MAX 253
#define LABEL_MAX     63
#define PORT_NAME_MAX 15
#define CRON_JOB_MAX  52

#define SUBDOMAIN_TEXT                                                                        \
	"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, " \
	"'-' or '.', and must start and end with an alphanumeric character (e.g. "            \
	"'example.com', regex used for validation is "                                        \
	"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
#define LABEL_TEXT                                                                          \
	"a lowercase RFC 1123 label must consist of lower case alphanumeric characters or " \
	"'-', and must start and end with an alphanumeric character (e.g. 'my-name',  or "  \
	"'123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
#define QUALIFIED_TEXT                                                                        \
	"must consist of alphanumeric characters, '-', '_' or '.', and must start and end "   \
	"with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex " \
	"used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
#define VALUE_TEXT                                                                            \
	"a valid label must be an empty string or consist of alphanumeric characters, '-', "  \
	"'_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue', " \
	" or 'my_value',  or '12345', regex used for validation is "                          \
	"'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
#define CONFIG_KEY_TEXT                                                                      \
	"a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. " \
	"'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is "          \
	"'[-._a-zA-Z0-9]+')"
#define SEARCH_TEXT                                                                           \
	"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, " \
	"'_', '-' or '.', and must start and end with an alphanumeric character (e.g. "       \
	"'example.com', regex used for validation is "                                        \
	"'_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')"
#define HEADER_TEXT                                                                 \
	"a valid HTTP header must consist of alphanumeric characters or '-' (e.g. " \
	"'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')"
#define PERCENT_TEXT                                                                       \
	"a valid percent string must be a numeric string followed by an ending '%' (e.g. " \
	"'1%',  or '93%', regex used for validation is '[0-9]+%')"

static void say(struct texts *t, const char *text)
{
	if (t->n < TEXTS_MAX)
		t->text[t->n++] = text;
}

/* --- Character classes ------------------------------------------------------------- */

static bool is_lower(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
	return is_lower(c) || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Edges of class `edge`, the inside also of `inner`; at least one character. */
static bool has_form(struct str s, bool (*edge)(char), const char *inner)
{
	if (!s.n || !edge(s.p[0]) || !edge(s.p[s.n - 1]))
		return false;
	for (uint32_t i = 0; i < s.n; i++)
		if (!edge(s.p[i]) && (!s.p[i] || !strchr(inner, s.p[i])))
			return false;
	return true;
}

static bool is_label(struct str s)
{
	return has_form(s, is_lower, "-");
}

/* Labels with dots between them; `one` checks each. */
static bool is_dotted(struct str s, bool (*one)(struct str))
{
	for (uint32_t start = 0, i = 0; i <= s.n; i++) {
		if (i < s.n && s.p[i] != '.')
			continue;
		if (!one((struct str){s.p + start, i - start}))
			return false;
		start = i + 1;
	}
	return true;
}

/* --- Names -------------------------------------------------------------------------- */

void names_any(struct texts *t, struct str s)
{
}

void names_subdomain(struct texts *t, struct str s)
{
	if (s.n > SUBDOMAIN_MAX)
		say(t, "must be no more than 253 characters");
	if (!is_dotted(s, is_label))
		say(t, SUBDOMAIN_TEXT);
}

void names_cron_job(struct texts *t, struct str s)
{
	names_subdomain(t, s);
	if (s.n > CRON_JOB_MAX)
		say(t, "must be no more than 52 characters");
}

void names_label(struct texts *t, struct str s)
{
	if (s.n > LABEL_MAX)
		say(t, "must be no more than 63 characters");
	if (!is_label(s))
		say(t, is_dotted(s, is_label) ? "must not contain dots" : LABEL_TEXT);
}

static bool is_search_label(struct str s)
{
	if (s.n && s.p[0] == '_')
		s = (struct str){s.p + 1, s.n - 1};
	return has_form(s, is_lower, "-_");
}

void names_search_domain(struct texts *t, struct str s)
{
	if (s.n > SUBDOMAIN_MAX)
		say(t, "must be no more than 253 characters");
	if (!is_dotted(s, is_search_label))
		say(t, SEARCH_TEXT);
}

void names_path_segment(struct texts *t, struct str s)
{
	if (str_eq(s, STR(".")))
		say(t, "may not be '.'");
	else if (str_eq(s, STR("..")))
		say(t, "may not be '..'");
	else if (s.n && memchr(s.p, '/', s.n))
		say(t, "may not contain '/'");
	else if (s.n && memchr(s.p, '%', s.n))
		say(t, "may not contain '%'");
}

void names_qualified(struct texts *t, struct str s)
{
	const char *slash = s.n ? memchr(s.p, '/', s.n) : NULL;
	struct str prefix = {s.p, slash ? (uint32_t)(slash - s.p) : 0};
	struct str name = slash ? (struct str){slash + 1, s.n - prefix.n - 1} : s;

	if (slash && memchr(name.p, '/', name.n)) {
		say(t,
		    "a valid label key " QUALIFIED_TEXT
		    " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')");
		return;
	}
	if (slash && !prefix.n) {
		say(t, "prefix part must be non-empty");
	} else if (slash) {
		if (prefix.n > SUBDOMAIN_MAX)
			say(t, "prefix part must be no more than 253 bytes");
		if (!is_dotted(prefix, is_label))
			say(t, "prefix part " SUBDOMAIN_TEXT);
	}
	if (!name.n)
		say(t, "name part must be non-empty");
	else if (name.n > LABEL_MAX)
		say(t, "name part must be no more than 63 bytes");
	if (!has_form(name, is_alnum, "-_."))
		say(t, "name part " QUALIFIED_TEXT);
}

void names_label_value(struct texts *t, struct str s)
{
	if (s.n > LABEL_MAX)
		say(t, "must be no more than 63 bytes");
	if (s.n && !has_form(s, is_alnum, "-_."))
		say(t, VALUE_TEXT);
}

void names_config_key(struct texts *t, struct str s)
{
	bool bad = !s.n;

	if (s.n > SUBDOMAIN_MAX)
		say(t, "must be no more than 253 characters");
	for (uint32_t i = 0; i < s.n; i++)
		bad |= !is_alnum(s.p[i]) && (!s.p[i] || !strchr("-_.", s.p[i]));
	if (bad)
		say(t, CONFIG_KEY_TEXT);
	if (str_eq(s, STR(".")))
		say(t, "must not be '.'");
	else if (str_eq(s, STR("..")))
		say(t, "must not be '..'");
	else if (s.n > 2 && s.p[0] == '.' && s.p[1] == '.')
		say(t, "must not start with '..'");
}

void names_port(struct texts *t, struct str s)
{
	bool letters = false, other = false, twice = false;

	for (uint32_t i = 0; i < s.n; i++) {
		letters |= s.p[i] >= 'a' && s.p[i] <= 'z';
		other |= !is_lower(s.p[i]) && s.p[i] != '-';
		twice |= i && s.p[i] == '-' && s.p[i - 1] == '-';
	}
	if (s.n > PORT_NAME_MAX)
		say(t, "must be no more than 15 characters");
	if (other || !s.n)
		say(t, "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
	if (!letters)
		say(t, "must contain at least one letter (a-z)");
	if (twice)
		say(t, "must not contain consecutive hyphens");
	if (s.n && (s.p[0] == '-' || s.p[s.n - 1] == '-'))
		say(t, "must not begin or end with a hyphen");
}

void names_env(struct texts *t, struct str s)
{
	for (uint32_t i = 0; i < s.n; i++)
		if (s.p[i] < ' ' || s.p[i] > '~' || s.p[i] == '=') {
			say(t, "a valid environment variable name must consist only of printable "
			       "ASCII characters other than '='");
			return;
		}
}

void names_http_header(struct texts *t, struct str s)
{
	bool bad = !s.n;

	for (uint32_t i = 0; i < s.n; i++)
		bad |= !is_alnum(s.p[i]) && s.p[i] != '-';
	if (bad)
		say(t, HEADER_TEXT);
}

void names_percent(struct texts *t, struct str s)
{
	bool good = s.n > 1 && s.p[s.n - 1] == '%';

	for (uint32_t i = 0; good && i < s.n - 1; i++)
		good = is_digit(s.p[i]);
	if (!good)
		say(t, PERCENT_TEXT);
}

/* --- Addresses ---------------------------------------------------------------------- */

static bool parse_ip(struct str s, uint8_t out[16], int *bits)
{
	char text[INET6_ADDRSTRLEN];

	if (!s.n || s.n >= sizeof(text))
		return false;
	memcpy(text, s.p, s.n);
	text[s.n] = 0;
	*bits = memchr(text, ':', s.n) ? 128 : 32;
	return inet_pton(*bits == 128 ? AF_INET6 : AF_INET, text, out) == 1;
}

void names_ip(struct texts *t, struct str s)
{
	uint8_t ip[16];
	int bits;

	if (!parse_ip(s, ip, &bits))
		say(t, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
}

void names_cidr(struct texts *t, struct str s)
{
	const char *slash = s.n ? memchr(s.p, '/', s.n) : NULL;
	uint8_t ip[16];
	int bits = 0, length = 0;
	bool good = slash && parse_ip((struct str){s.p, (uint32_t)(slash - s.p)}, ip, &bits);
	const char *end = s.p + s.n;

	good = good && slash + 1 < end && end - slash <= 4;
	for (const char *p = good ? slash + 1 : end; p < end; p++) {
		good = good && is_digit(*p);
		length = length * 10 + (*p - '0');
	}
	if (!good || length > bits) {
		say(t, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
		return;
	}
	for (int i = length; i < bits; i++)
		if (ip[i / 8] >> (7 - i % 8) & 1) {
			say(t, "must not have bits set beyond the prefix length");
			return;
		}
}

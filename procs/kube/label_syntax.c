/*
 * label_syntax.c - see label_syntax.h.
 */
#include "label_syntax.h"

#define NAME_MAX_BYTES	 63
#define PREFIX_MAX_BYTES 253

#define NAME_RULE                                                                                 \
	"must consist of alphanumeric characters, '-', '_' or '.', and must start and end with "  \
	"an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for " \
	"validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
#define VALUE_RULE                                                                               \
	"a valid label must be an empty string or consist of alphanumeric characters, '-', '_' " \
	"or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or "    \
	"'my_value',  or '12345', regex used for validation is "                                 \
	"'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
#define SUBDOMAIN_RULE                                                                            \
	"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' " \
	"or '.', and must start and end with an alphanumeric character (e.g. 'example.com', "     \
	"regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?"                             \
	"(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"

static bool is_lower(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
	return is_lower(c) || (c >= 'A' && c <= 'Z');
}

static bool is_name(struct str s)
{
	if (!s.n || !is_alnum(s.p[0]) || !is_alnum(s.p[s.n - 1]))
		return false;
	for (uint32_t i = 0; i < s.n; i++)
		if (!is_alnum(s.p[i]) && s.p[i] != '-' && s.p[i] != '_' && s.p[i] != '.')
			return false;
	return true;
}

/* Labels of lower case letters, digits and inner dashes, joined by dots. */
static bool is_subdomain(struct str s)
{
	bool edge = true; /* a letter or digit must come */

	for (uint32_t i = 0; i < s.n; i++) {
		if (is_lower(s.p[i]))
			edge = false;
		else if (edge || (s.p[i] != '-' && s.p[i] != '.'))
			return false;
		else if (s.p[i] == '.' && s.p[i - 1] == '-')
			return false;
		else
			edge = s.p[i] == '.';
	}
	return s.n && !edge && s.p[s.n - 1] != '-';
}

struct list {
	zone *z;
	struct str text;
};

static void add(struct list *l, const char *problem)
{
	l->text = l->text.n ? zone_printf(l->z, STR_FMT "; %s", STR_ARG(l->text), problem)
			    : str_of(problem);
}

static void check_prefix(struct list *l, struct str prefix)
{
	if (!prefix.n) {
		add(l, "prefix part must be non-empty");
		return;
	}
	if (prefix.n > PREFIX_MAX_BYTES)
		add(l, "prefix part must be no more than 253 bytes");
	if (!is_subdomain(prefix))
		add(l, "prefix part " SUBDOMAIN_RULE);
}

static void check_name(struct list *l, struct str name)
{
	if (!name.n)
		add(l, "name part must be non-empty");
	else if (name.n > NAME_MAX_BYTES)
		add(l, "name part must be no more than 63 bytes");
	if (!is_name(name))
		add(l, "name part " NAME_RULE);
}

struct str label_key_problem(zone *z, struct str key)
{
	struct list l = {.z = z};
	const char *slash = key.n ? memchr(key.p, '/', key.n) : NULL;
	uint32_t n = slash ? (uint32_t)(slash - key.p) : 0;
	struct str name = slash ? (struct str){slash + 1, key.n - n - 1} : key;

	if (slash && name.n && memchr(name.p, '/', name.n))
		return STR("a valid label key " NAME_RULE
			   " with an optional DNS subdomain prefix and '/' (e.g. "
			   "'example.com/MyName')");
	if (slash)
		check_prefix(&l, (struct str){key.p, n});
	check_name(&l, name);
	return l.text;
}

struct str label_value_problem(zone *z, struct str v)
{
	struct list l = {.z = z};

	if (v.n > NAME_MAX_BYTES)
		add(&l, "must be no more than 63 bytes");
	if (v.n && !is_name(v))
		add(&l, VALUE_RULE);
	return l.text;
}

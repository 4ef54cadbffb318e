/* config.c - the table of configuration keys, and reading a file by it. */
#include "procs/supervisor/config.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "procs/kube/label_syntax.h"
#include "procs/kube/names.h"
#include "weft/json.h"
#include "weft/kube.h"

enum key_type {
	KEY_COUNT, /* a whole number, min..max */
	KEY_TEXT,
	KEY_MILLI,     /* "0.1"; becomes thousandths */
	KEY_SIZE,      /* "16Gi", "64Mi", or bytes; becomes bytes */
	KEY_TIME,      /* "10s", "250ms", "1h", or seconds; becomes ms */
	KEY_LISTEN,    /* address:port, or empty */
	KEY_CIDR,      /* 10.128.0.0/9 */
	KEY_CHOICE,    /* one of `choices`, separated by | */
	KEY_QUANTITY,  /* Kubernetes', more than 0 */
	KEY_PREFIX,    /* of nodes' names */
	KEY_LABEL,     /* a label's value; "*" is its key */
	KEY_DURABLE,   /* a choice; "*" is a resource */
	KEY_PROCESSES, /* a whole number, min..max, or bounds: {min: 1, max: 4} */
};

struct key {
	const char *path; /* "[]": each element of a list; last ".*": any key */
	enum key_type type;
	const char *absent; /* default; NULL: none */
	int64_t min, max;
	const char *choices;
	const char *help;
};

#define MANY 1000000

/* In the order of the printed file; keys of one section stand together. */
static const struct key keys[] = {
	{"data", KEY_TEXT, "", 0, 0, NULL,
	 "directory of everything that lasts; empty: /var/lib/weft for root, else "
	 "$XDG_DATA_HOME/weft"},
	{"listen", KEY_LISTEN, "127.0.0.1:6443", 0, 0, NULL,
	 "address and port of the API (TLS); port 0 picks a free one"},
	{"listenPlain", KEY_LISTEN, "", 0, 0, NULL,
	 "the same without TLS or authentication, on loopback only; empty: off"},
#define HELP_false(name) "how many " #name " processes run"
#define HELP_true(name)	 HELP_false(name) "; {min: 1, max: 4}: as many as its queue needs"
#define X(N, name, n, o, i, sharded, p)        \
	{"processes." #name,                   \
	 KEY_PROCESSES,                        \
	 #n,                                   \
	 PROC_##N <= PROC_CHECKPOINT ? 1 : 0,  \
	 PROC_##N <= PROC_CHECKPOINT ? 1 : 32, \
	 NULL,                                 \
	 HELP_##sharded(name)},
	PROC_KINDS(X)
#undef X
		{"autoscale.upAge", KEY_TIME, "1s", 10, 3600000, NULL,
		 "with bounds: when something in a queue has waited for this long"},
	{"autoscale.upAfter", KEY_TIME, "3s", 10, 3600000, NULL,
	 "at every look for this long, there is one process more"},
	{"autoscale.calmAge", KEY_TIME, "100ms", 0, 3600000, NULL,
	 "when nothing has waited for longer than this"},
	{"autoscale.downAfter", KEY_TIME, "1m", 10, 86400000, NULL,
	 "for this long, there is one fewer; longer, after one that turned out to be needed"},
	{"nodes.count", KEY_COUNT, "3", 0, MANY, NULL, "simulated nodes"},
	{"nodes.prefix", KEY_PREFIX, "node-", 0, 0, NULL, "their names: this and a number from 0"},
	{"nodes.cpu", KEY_QUANTITY, "32", 0, 0, NULL, "capacity of each, as Kubernetes quantities"},
	{"nodes.memory", KEY_QUANTITY, "256Gi", 0, 0, NULL, "memory of each"},
	{"nodes.ephemeralStorage", KEY_QUANTITY, "1Ti", 0, 0, NULL, "ephemeral-storage of each"},
	{"nodes.pods", KEY_COUNT, "110", 1, MANY, NULL, "pods that fit on each"},
	{"nodes.lease", KEY_TIME, "10s", 100, 3600000, NULL, "how often each renews its Lease"},
	{"nodes.grace", KEY_TIME, "50s", 200, 3600000, NULL,
	 "a node whose Lease is not renewed for this long counts as lost"},
	{"nodes.startupGrace", KEY_TIME, "60s", 200, 3600000, NULL,
	 "the same for one that has never said whether it is ready, from its creation on"},
	{"nodes.evictionRate", KEY_MILLI, "0.1", 0, 1000000, NULL,
	 "lost nodes of a zone that are tainted NoExecute each second (--node-eviction-rate)"},
	{"nodes.secondaryEvictionRate", KEY_MILLI, "0.01", 0, 1000000, NULL,
	 "the same for a large zone many of whose nodes are lost (--secondary-node-eviction-rate)"},
	{"nodes.unhealthyZoneThreshold", KEY_MILLI, "0.55", 0, 1000, NULL,
	 "how many: this share of the zone, and at least 3 (--unhealthy-zone-threshold)"},
	{"nodes.largeClusterSizeThreshold", KEY_COUNT, "50", 0, MANY, NULL,
	 "a zone of more nodes is large; in others nobody is evicted then "
	 "(--large-cluster-size-threshold)"},
	{"nodes.labels.*", KEY_LABEL, NULL, 0, 0, NULL, "labels that all of them have"},
	{"nodes.rules[].image", KEY_TEXT, NULL, 0, 0, NULL,
	 "for containers whose image matches this pattern (* and ?)"},
	{"nodes.rules[].namespace", KEY_TEXT, NULL, 0, 0, NULL,
	 "and pods of this namespace (a pattern)"},
	{"nodes.rules[].node", KEY_TEXT, NULL, 0, 0, NULL, "and on nodes of this name (a pattern)"},
	{"nodes.rules[].labels.*", KEY_LABEL, NULL, 0, 0, NULL, "and with these labels:"},
	{"nodes.rules[].start", KEY_TIME, NULL, 0, 86400000, NULL,
	 "how long the container takes to start"},
	{"nodes.rules[].ready", KEY_TIME, NULL, 0, 86400000, NULL, "then to become ready"},
	{"nodes.rules[].run", KEY_TIME, NULL, 0, 31622400000, NULL,
	 "how long it runs; absent: for ever, in a Job's pod not at all"},
	{"nodes.rules[].exitCode", KEY_COUNT, NULL, 0, 255, NULL, "with which exit code it ends"},
	{"nodes.rules[].pull", KEY_CHOICE, NULL, 0, 0, "ok|error",
	 "whether its image can be pulled"},
	{"nodes.rules[].stop", KEY_TIME, NULL, 0, 86400000, NULL,
	 "how long it takes to stop when its pod is deleted"},
	{"pods.cidr", KEY_CIDR, "127.128.0.0/9", 0, 0, NULL, "range of the pods' addresses"},
	{"services.cidr", KEY_CIDR, "10.96.0.0/12", 0, 0, NULL, "range of Services' addresses"},
	{"cache.max", KEY_SIZE, "16Gi", 16 << 20, INT64_C(64) << 30, NULL,
	 "the object cache may grow to this"},
	{"cache.first", KEY_SIZE, "2Mi", 1 << 20, INT64_C(64) << 30, NULL,
	 "memory that it reserves at start"},
	{"cache.journalMin", KEY_COUNT, "65536", 1024, INT64_C(1) << 30, NULL,
	 "changes that a watch can always go back"},
	{"cache.journalMax", KEY_COUNT, "524288", 1024, INT64_C(1) << 30, NULL,
	 "and at most, with many objects"},
	{"log.segment", KEY_SIZE, "16Mi", 1 << 20, INT64_C(1) << 30, NULL,
	 "size of the log's files"},
	{"durability.events", KEY_CHOICE, "memory", 0, 0, "sync|memory",
	 "whether a write is on disk before it is acknowledged, by resource"},
	{"durability.leases.coordination.k8s.io", KEY_CHOICE, "memory", 0, 0, "sync|memory",
	 "(all others: sync)"},
	{"durability.*", KEY_DURABLE, NULL, 0, 0, "sync|memory",
	 "any other resource, as plural.group"},
	{"events.perSecond", KEY_COUNT, "2000", 1, MANY, NULL,
	 "Events that one process may record, on average"},
	{"events.burst", KEY_COUNT, "5000", 1, MANY, NULL, "and at once"},
	{"events.ttl", KEY_TIME, "1h", 1000, 31622400000, NULL, "how long an Event is kept"},
	{"supervisor.stallAfter", KEY_TIME, "5s", 500, 3600000, NULL,
	 "a process that shows no life for this long, not counting when it waits for a core, "
	 "is killed and started again"},
	{"supervisor.stopWithin", KEY_TIME, "30s", 1000, 3600000, NULL,
	 "how long the store may take to stop before it is killed"},
	{"supervisor.logLevel", KEY_CHOICE, "info", 0, 0, "debug|info|warn|error",
	 "what goes into DATA/log"},
};

/* --- Texts to numbers --------------------------------------------------------------- */

struct unit {
	const char *suffix;
	int64_t factor;
};

/* "<digits>[.<digits>]<suffix>" times the suffix's factor; false if malformed. */
static bool scaled(struct str text, const struct unit *units, size_t n, int64_t *out)
{
	char copy[32], *end;
	double d;

	if (!text.n || text.n >= sizeof(copy) || text.p[0] < '0' || text.p[0] > '9')
		return false;
	memcpy(copy, text.p, text.n);
	copy[text.n] = 0;
	d = strtod(copy, &end);
	for (size_t i = 0; i < n; i++) {
		if (strcmp(end, units[i].suffix) != 0)
			continue;
		d *= (double)units[i].factor;
		if (d > 9e18)
			return false;
		*out = (int64_t)(d + 0.5);
		return true;
	}
	return false;
}

static bool read_size(struct str text, int64_t *bytes)
{
	static const struct unit units[] = {
		{"", 1},	 {"Ki", 1 << 10},	   {"Mi", 1 << 20},
		{"Gi", 1 << 30}, {"Ti", INT64_C(1) << 40}, {"k", 1000},
		{"M", 1000000},	 {"G", 1000000000},
	};

	return scaled(text, units, countof(units), bytes);
}

static bool read_milli(struct str text, int64_t *milli)
{
	static const struct unit units[] = {{"", 1000}};

	return scaled(text, units, countof(units), milli);
}

static bool read_time(struct str text, int64_t *ms)
{
	static const struct unit units[] = {
		{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}, {"", 1000},
	};

	return scaled(text, units, countof(units), ms);
}

bool config_listen_split(struct str text, struct str *host, uint16_t *port)
{
	uint32_t at = text.n, value = 0;

	while (at && text.p[at - 1] != ':')
		at--;
	if (!at || at == text.n || text.n - at > 5)
		return false;
	for (uint32_t i = at; i < text.n; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return false;
		value = value * 10 + (uint32_t)(text.p[i] - '0');
	}
	*host = (struct str){text.p, at - 1};
	if (host->n >= 2 && host->p[0] == '[' && host->p[host->n - 1] == ']')
		*host = (struct str){host->p + 1, host->n - 2};
	*port = (uint16_t)value;
	return value <= UINT16_MAX;
}

static bool is_address(struct str host)
{
	char copy[64];
	struct in6_addr any;

	if (!host.n || host.n >= sizeof(copy))
		return false;
	memcpy(copy, host.p, host.n);
	copy[host.n] = 0;
	return inet_pton(AF_INET, copy, &any) == 1 || inet_pton(AF_INET6, copy, &any) == 1;
}

static bool is_cidr(struct str text)
{
	char copy[32], *slash, *end;
	struct in_addr any;
	long bits;

	if (!text.n || text.n >= sizeof(copy))
		return false;
	memcpy(copy, text.p, text.n);
	copy[text.n] = 0;
	slash = strchr(copy, '/');
	if (!slash || slash[1] < '0' || slash[1] > '9')
		return false;
	*slash = 0;
	bits = strtol(slash + 1, &end, 10);
	return !*end && bits >= 4 && bits <= 30 && inet_pton(AF_INET, copy, &any) == 1;
}

static bool is_choice(const char *choices, struct str text)
{
	const char *at = choices;

	while (*at) {
		size_t n = strcspn(at, "|");

		if (n == text.n && memcmp(at, text.p, n) == 0)
			return true;
		at += n + (at[n] == '|');
	}
	return false;
}

/* --- One value by its key ----------------------------------------------------------- */

static int check_listen(struct str text, struct err *e)
{
	struct str host;
	uint16_t port;

	if (!text.n)
		return 0;
	if (!config_listen_split(text, &host, &port) || !is_address(host))
		return err_set(e, WEFT_EINVAL,
			       "'" STR_FMT "' is not an address and port, such as 127.0.0.1:6443",
			       STR_ARG(text));
	return 0;
}

static int check_range(const struct key *k, int64_t n, const char *unit, struct err *e)
{
	if (n >= k->min && n <= k->max)
		return 0;
	return err_set(e, WEFT_EINVAL, "%lld%s is out of range (%lld to %lld)", (long long)n, unit,
		       (long long)k->min, (long long)k->max);
}

static int check_quantity(struct str text, struct err *e)
{
	value v = v_str(text);
	int64_t milli;

	if (kube_quantity_milli(&v, &milli) && milli > 0)
		return 0;
	return err_set(e, WEFT_EINVAL, "'" STR_FMT "' is not a quantity, such as 4 or 256Gi",
		       STR_ARG(text));
}

static int check_prefix(zone *z, struct str text, struct err *e)
{
	struct texts wrong = {.n = 0};

	names_subdomain(&wrong, zone_printf(z, STR_FMT "0", STR_ARG(text)));
	return wrong.n ? err_set(e, WEFT_EINVAL, "'" STR_FMT "0' is no node's name: %s",
				 STR_ARG(text), wrong.text[0])
		       : 0;
}

static int check_label(zone *z, struct str text, struct err *e)
{
	struct str wrong = label_value_problem(z, text);

	return wrong.n ? err_set(e, WEFT_EINVAL, STR_FMT, STR_ARG(wrong)) : 0;
}

/* A scalar as the text that stood in the file. */
static bool scalar_text(zone *z, const value *v, struct str *text)
{
	switch (v->type) {
	case MSGPACK_OBJECT_STR:
		*text = v_as_str(v);
		return true;
	case MSGPACK_OBJECT_BOOLEAN:
		*text = v_as_bool(v, false) ? STR("true") : STR("false");
		return true;
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
		*text = zone_printf(z, "%lld", (long long)v_as_int(v, 0));
		return true;
	case MSGPACK_OBJECT_FLOAT32:
	case MSGPACK_OBJECT_FLOAT64:
		*text = zone_printf(z, "%g", v->via.f64);
		return true;
	case MSGPACK_OBJECT_NIL:
		*text = STR("");
		return true;
	default:
		return false;
	}
}

/* "replicaset" of "processes.replicaset". */
static enum proc_kind kind_of_key(const struct key *k)
{
	return (enum proc_kind)proc_kind_by_name(str_of(strchr(k->path, '.') + 1));
}

/* {min: 1, max: 4}.  Who has no queue has nothing to be scaled by. */
static int check_bounds(const struct key *k, const value *v, struct err *e)
{
	int64_t min = v_get_int(v, "min", 0), max = v_get_int(v, "max", 0);

	if (!proc_kind_info(kind_of_key(k))->sharded)
		return err_set(e, WEFT_EINVAL,
			       "a number is expected here: it is not scaled by itself");
	v_each_kv(kv, v)
		if (!str_eq(v_as_str(&kv->key), STR("min")) &&
		    !str_eq(v_as_str(&kv->key), STR("max")))
			return err_set(e, WEFT_EINVAL, "'" STR_FMT "' is neither min nor max",
				       STR_ARG(v_as_str(&kv->key)));
	if (!v_is_int(v_get(v, "min")) || !v_is_int(v_get(v, "max")))
		return err_set(e, WEFT_EINVAL,
			       "bounds are two whole numbers, such as {min: 1, max: 4}");
	if (min < 1 || min > max || max > k->max)
		return err_set(e, WEFT_EINVAL, "bounds from %lld to %lld are not within 1 and %lld",
			       (long long)min, (long long)max, (long long)k->max);
	return 0;
}

/* Check *v by its key and bring it into the form that children get. */
static int convert(zone *z, const struct key *k, value *v, struct err *e)
{
	struct str text;
	int64_t n = 0;

	if (k->type == KEY_PROCESSES && v_is_map(v))
		return check_bounds(k, v, e);
	if (!scalar_text(z, v, &text))
		return err_set(e, WEFT_EINVAL, "a single value is expected here");
	switch (k->type) {
	case KEY_TEXT:
		break;
	case KEY_COUNT:
	case KEY_PROCESSES:
		if (!v_is_int(v))
			return err_set(e, WEFT_EINVAL, "'" STR_FMT "' is not a whole number",
				       STR_ARG(text));
		return check_range(k, v_as_int(v, 0), "", e);
	case KEY_SIZE:
		if (!read_size(text, &n))
			return err_set(e, WEFT_EINVAL, "'" STR_FMT "' is not a size, such as 64Mi",
				       STR_ARG(text));
		*v = v_int(n);
		return check_range(k, n, " bytes", e);
	case KEY_MILLI:
		if (!read_milli(text, &n))
			return err_set(e, WEFT_EINVAL, "'" STR_FMT "' is not a number, such as 0.1",
				       STR_ARG(text));
		*v = v_int(n);
		return check_range(k, n, " thousandths", e);
	case KEY_TIME:
		if (!read_time(text, &n))
			return err_set(e, WEFT_EINVAL, "'" STR_FMT "' is not a time, such as 10s",
				       STR_ARG(text));
		*v = v_int(n);
		return check_range(k, n, " ms", e);
	case KEY_LISTEN:
		if (check_listen(text, e))
			return WEFT_EINVAL;
		break;
	case KEY_CIDR:
		if (!is_cidr(text))
			return err_set(e, WEFT_EINVAL,
				       "'" STR_FMT "' is not a range of IPv4 addresses, such as "
				       "127.128.0.0/9",
				       STR_ARG(text));
		break;
	case KEY_QUANTITY:
		if (check_quantity(text, e))
			return WEFT_EINVAL;
		break;
	case KEY_PREFIX:
		if (check_prefix(z, text, e))
			return WEFT_EINVAL;
		break;
	case KEY_LABEL:
		if (check_label(z, text, e))
			return WEFT_EINVAL;
		break;
	case KEY_CHOICE:
	case KEY_DURABLE:
		if (!is_choice(k->choices, text))
			return err_set(e, WEFT_EINVAL, "'" STR_FMT "' is none of %s", STR_ARG(text),
				       k->choices);
		break;
	}
	*v = v_str(text);
	return 0;
}

/* --- Keys --------------------------------------------------------------------------- */

enum match { MATCH_NONE, MATCH_SECTION, MATCH_KEY };

/* Is `path` the key `pattern`, or a section above it?  The ends of elements
 * ("[3]") match "[]"; a last "*" matches whatever is left. */
static enum match match_path(const char *pattern, struct str path)
{
	uint32_t i = 0;

	for (; *pattern && i < path.n; pattern++) {
		if (pattern[0] == '*' && !pattern[1])
			return MATCH_KEY;
		if (pattern[0] == '[' && path.p[i] == '[') {
			while (i < path.n && path.p[i] != ']')
				i++;
			i += i < path.n;
			pattern++;
			continue;
		}
		if (*pattern != path.p[i++])
			return MATCH_NONE;
	}
	if (i < path.n)
		return MATCH_NONE;
	if (!*pattern)
		return MATCH_KEY;
	return *pattern == '.' || *pattern == '[' ? MATCH_SECTION : MATCH_NONE;
}

static const struct key *find_key(struct str path, enum match *best)
{
	const struct key *found = NULL;

	*best = MATCH_NONE;
	for (size_t i = 0; i < countof(keys); i++) {
		enum match m = match_path(keys[i].path, path);

		if (m > *best) {
			*best = m;
			found = &keys[i];
		}
	}
	return found;
}

/* How many single-character changes make `a` into `b` (both short). */
static unsigned distance(struct str a, struct str b)
{
	unsigned row[64], diagonal, up;

	if (a.n >= countof(row) || b.n >= countof(row))
		return UINT32_MAX;
	for (unsigned j = 0; j <= b.n; j++)
		row[j] = j;
	for (unsigned i = 1; i <= a.n; i++) {
		diagonal = row[0];
		row[0] = i;
		for (unsigned j = 1; j <= b.n; j++) {
			up = row[j];
			row[j] = a.p[i - 1] == b.p[j - 1] ? diagonal : diagonal + 1;
			if (row[j] > up + 1)
				row[j] = up + 1;
			if (row[j] > row[j - 1] + 1)
				row[j] = row[j - 1] + 1;
			diagonal = up;
		}
	}
	return row[b.n];
}

/* The key that was probably meant, or NULL. */
static const char *nearest_key(struct str path)
{
	const char *best = NULL;
	unsigned least = 3;

	for (size_t i = 0; i < countof(keys); i++) {
		unsigned d = distance(path, str_of(keys[i].path));

		if (d < least) {
			least = d;
			best = keys[i].path;
		}
	}
	return best;
}

/* --- Reading a file ----------------------------------------------------------------- */

struct place {
	struct str path;
	unsigned line;
};

struct reading {
	struct config *c;
	const char *name;
	struct err *e;
	struct place *places;
	uint32_t nplaces;
	int rc;
};

static void note_place(void *arg, struct str path, unsigned line)
{
	struct reading *r = arg;
	struct place *more = realloc(r->places, (r->nplaces + 1) * sizeof(*more));

	if (!more)
		weft_fatal("out of memory for the configuration");
	r->places = more;
	r->places[r->nplaces++] = (struct place){zone_str(r->c->z, path), line};
}

static unsigned line_of(const struct reading *r, struct str path)
{
	for (uint32_t i = 0; i < r->nplaces; i++)
		if (str_eq(r->places[i].path, path))
			return r->places[i].line;
	return 1;
}

static int unknown_key(struct reading *r, struct str path)
{
	const char *meant = nearest_key(path);

	return err_set(r->e, WEFT_EINVAL,
		       "%s:%u: unknown key '" STR_FMT "'%s%s%s (see `weft help config`)", r->name,
		       line_of(r, path), STR_ARG(path), meant ? "; did you mean '" : "",
		       meant ? meant : "", meant ? "'?" : "");
}

/* Is it a resource, as plural.group? */
static bool is_resource(struct str name)
{
	uint32_t n;
	const struct kube_resource *r = kube_resources(&n);
	char full[256];

	for (uint32_t i = 0; i < n; i++) {
		snprintf(full, sizeof(full), "%s%s%s", r[i].resource, r[i].group[0] ? "." : "",
			 r[i].group);
		if (r[i].type && str_is(name, full))
			return true;
	}
	return false;
}

/* What the last "*" of a key stands for in `path`. */
static struct str any_name(const struct key *k, struct str path)
{
	const char *star = strrchr(k->path, '*'), *section = star - 1, *at;

	while (section > k->path && section[-1] != '.')
		section--;
	at = memmem(path.p, path.n, section, (size_t)(star - section));
	at += star - section;
	return (struct str){at, (uint32_t)(path.p + path.n - at)};
}

/* The part of a key that its "*" leaves open. */
static int check_any_name(struct reading *r, const struct key *k, struct str path)
{
	struct str wrong = STR("");

	if (k->type == KEY_LABEL)
		wrong = label_key_problem(r->c->z, any_name(k, path));
	else if (k->type == KEY_DURABLE && !is_resource(any_name(k, path)))
		wrong = STR("there is no such resource (plural.group, such as pods or "
			    "deployments.apps)");
	return wrong.n ? err_set(r->e, WEFT_EINVAL, "%s:%u: " STR_FMT ": " STR_FMT, r->name,
				 line_of(r, path), STR_ARG(path), STR_ARG(wrong))
		       : 0;
}

static int check_tree(struct reading *r, struct str path, value *v);

static int check_member(struct reading *r, struct str path, value *v)
{
	enum match m;
	const struct key *k = find_key(path, &m);
	struct err why;

	if (m == MATCH_NONE)
		return unknown_key(r, path);
	if (m == MATCH_SECTION)
		return check_tree(r, path, v);
	if (check_any_name(r, k, path))
		return WEFT_EINVAL;
	if (!convert(r->c->z, k, v, &why))
		return 0;
	return err_set(r->e, WEFT_EINVAL, "%s:%u: " STR_FMT ": %s", r->name, line_of(r, path),
		       STR_ARG(path), why.msg);
}

/* A section: a map, a list or nothing. */
static int check_tree(struct reading *r, struct str path, value *v)
{
	uint32_t i = 0;
	int rc;

	if (v_is_null(v)) {
		*v = v_map();
		return 0;
	}
	if (!v_is_map(v) && !v_is_array(v))
		return err_set(r->e, WEFT_EINVAL, "%s:%u: " STR_FMT ": a section is expected here",
			       r->name, line_of(r, path), STR_ARG(path));
	v_each_kv(kv, v) {
		struct str key = v_as_str(&kv->key);

		rc = check_member(r,
				  path.n ? zone_printf(r->c->z, STR_FMT "." STR_FMT, STR_ARG(path),
						       STR_ARG(key))
					 : key,
				  &kv->val);
		if (rc)
			return rc;
	}
	v_each(el, v) {
		rc = check_member(r, zone_printf(r->c->z, STR_FMT "[%u]", STR_ARG(path), i++), el);
		if (rc)
			return rc;
	}
	return 0;
}

/* Put `v` where `path` (maps only) says. */
static void put_path(zone *z, value *at, const char *path, value v)
{
	size_t n = strcspn(path, ".");
	struct str key = zone_str(z, (struct str){path, (uint32_t)n});
	value *next;

	/* The name of a resource has dots of its own. */
	if (strncmp(path, "leases.", 7) == 0) {
		v_setn(z, at, zone_str(z, str_of(path)), v);
		return;
	}
	if (!path[n]) {
		v_setn(z, at, key, v);
		return;
	}
	next = v_getn(at, key);
	if (!next)
		next = v_setn(z, at, key, v_map());
	put_path(z, next, path + n + 1, v);
}

static value *get_path(value *at, const char *path)
{
	size_t n = strcspn(path, ".");

	if (strncmp(path, "leases.", 7) == 0 || !path[n])
		return v_get(at, path);
	at = v_getn(at, (struct str){path, (uint32_t)n});
	return at ? get_path(at, path + n + 1) : NULL;
}

/* A default or an option as the value that a file would give. */
static value text_value(const struct key *k, const char *text)
{
	char *end;
	long long n = strtoll(text, &end, 10);

	bool number = k->type == KEY_COUNT || k->type == KEY_PROCESSES;

	return number && *text && !*end ? v_int(n) : v_str(str_of(text));
}

static int fill_defaults(struct config *c, struct err *e)
{
	for (size_t i = 0; i < countof(keys); i++) {
		const struct key *k = &keys[i];
		value v;

		if (!k->absent || get_path(&c->all, k->path))
			continue;
		v = text_value(k, k->absent);
		if (convert(c->z, k, &v, e))
			return err_wrap(e, "default of %s", k->path);
		put_path(c->z, &c->all, k->path, v);
	}
	return 0;
}

/* What the supervisor needs itself. */
static void take_own(struct config *c)
{
	const value *counts = v_get(&c->all, "processes");

	for (int k = 0; k < PROC_KIND_COUNT; k++) {
		const value *v = v_get(counts, proc_kind_info(k)->name);

		c->bounds[k].min = (uint32_t)v_get_int(v, "min", 0);
		c->bounds[k].max = (uint32_t)v_get_int(v, "max", 0);
		c->count[k] = (uint32_t)v_as_int(v, c->bounds[k].min);
	}
	c->autoscale = (struct autoscale_rules){
		.up_age_ms = v_as_int(v_path(&c->all, "autoscale.upAge"), 0),
		.up_after_ms = v_as_int(v_path(&c->all, "autoscale.upAfter"), 0),
		.calm_age_ms = v_as_int(v_path(&c->all, "autoscale.calmAge"), 0),
		.down_after_ms = v_as_int(v_path(&c->all, "autoscale.downAfter"), 0),
	};
	c->data = v_get_str(&c->all, "data");
	c->stall_ms = v_as_int(v_path(&c->all, "supervisor.stallAfter"), 5000);
	c->stop_ms = v_as_int(v_path(&c->all, "supervisor.stopWithin"), 30000);
	c->log_level = v_as_str(v_path(&c->all, "supervisor.logLevel"));
}

static int64_t most_processes(const struct config *c)
{
	int64_t sum = 0;

	for (int k = 0; k < PROC_KIND_COUNT; k++) {
		const value *v = v_get(v_get(&c->all, "processes"), proc_kind_info(k)->name);

		sum += v_as_int(v, v_get_int(v, "max", 0));
	}
	return sum;
}

static int check_across(struct config *c, const char *name, struct err *e)
{
	if (most_processes(c) > PROC_SLOTS)
		return err_set(e, WEFT_EINVAL, "%s: processes: %lld in all, at most %d can run",
			       name, (long long)most_processes(c), PROC_SLOTS);
	if (v_as_int(v_path(&c->all, "autoscale.calmAge"), 0) >=
	    v_as_int(v_path(&c->all, "autoscale.upAge"), 0))
		return err_set(e, WEFT_EINVAL,
			       "%s: autoscale.calmAge is not less than autoscale.upAge", name);
	if (v_as_int(v_path(&c->all, "cache.journalMin"), 0) >
	    v_as_int(v_path(&c->all, "cache.journalMax"), 0))
		return err_set(e, WEFT_EINVAL,
			       "%s: cache.journalMin is larger than cache.journalMax", name);
	if (v_as_int(v_path(&c->all, "cache.first"), 0) > v_as_int(v_path(&c->all, "cache.max"), 0))
		return err_set(e, WEFT_EINVAL, "%s: cache.first is larger than cache.max", name);
	return 0;
}

int config_read(struct config *c, const char *name, struct str text, struct err *e)
{
	struct reading r = {.c = c, .name = name, .e = e};
	int rc = 0;

	*c = (struct config){.z = zone_new(), .all = v_map()};
	if (text.n)
		rc = yaml_decode_lines(c->z, text, &c->all, note_place, &r, e);
	if (rc) {
		err_wrap(e, "%s", name);
		goto out;
	}
	if (v_is_null(&c->all))
		c->all = v_map();
	if (!v_is_map(&c->all)) {
		rc = err_set(e, WEFT_EINVAL, "%s:1: keys and values are expected", name);
		goto out;
	}
	rc = check_tree(&r, STR(""), &c->all);
	if (!rc)
		rc = fill_defaults(c, e);
	if (!rc)
		rc = check_across(c, name, e);
	if (!rc)
		take_own(c);
out:
	free(r.places);
	return rc;
}

int config_load(struct config *c, const char *path, struct err *e)
{
	struct buf text = {0};
	FILE *f;
	int rc, ch;

	if (!path)
		return config_read(c, "defaults", (struct str){0}, e);
	*c = (struct config){0};
	f = fopen(path, "re");
	if (!f)
		return err_errno(e, errno, "configuration '%s'", path);
	while ((ch = getc(f)) != EOF && text.n < 1 << 20)
		buf_putc(&text, (char)ch);
	rc = ferror(f) ? err_errno(e, errno, "configuration '%s'", path)
		       : config_read(c, path, buf_str(&text), e);
	fclose(f);
	buf_free(&text);
	return rc;
}

void config_free(struct config *c)
{
	if (c->z)
		zone_free(c->z);
	*c = (struct config){0};
}

int config_set(struct config *c, const char *option, const char *key, const char *text,
	       struct err *e)
{
	enum match m;
	const struct key *k = find_key(str_of(key), &m);
	value v;

	weft_assert(m == MATCH_KEY);
	v = text_value(k, zone_printf(c->z, "%s", text).p);
	if (convert(c->z, k, &v, e))
		return err_wrap(e, "%s", option);
	put_path(c->z, &c->all, key, v);
	take_own(c);
	return 0;
}

/* --- The documented file ------------------------------------------------------------ */

void config_each_key(void (*cb)(void *arg, const char *path, const char *absent, const char *help),
		     void *arg)
{
	for (size_t i = 0; i < countof(keys); i++)
		cb(arg, keys[i].path, keys[i].absent, keys[i].help);
}

/* Where the last name of a path begins; names of resources count as one. */
static size_t last_name(const char *path)
{
	const char *dot =
		strstr(path, "durability.") == path ? strchr(path, '.') : strrchr(path, '.');

	return dot ? (size_t)(dot - path) + 1 : 0;
}

/* Print the sections of `path` that the key before it was not in; returns the
 * key's depth.  What has no default is there as a comment. */
static int print_sections(struct buf *out, const char *path, const char *before, bool comment)
{
	size_t end = last_name(path), from = 0;
	int depth = 0;

	while (from < end) {
		size_t n = strcspn(path + from, ".");
		bool list = n > 2 && path[from + n - 1] == ']';

		if (strncmp(path, before, from + n + 1) != 0)
			buf_printf(out, "%s%*s%.*s:\n", comment && depth ? "  # " : "",
				   comment && depth ? 2 * depth - 2 : 2 * depth, "",
				   (int)(list ? n - 2 : n), path + from);
		from += n + 1;
		depth += list ? 2 : 1;
	}
	return depth;
}

/* A key without default: one line, as a comment. */
static void print_optional(struct buf *out, const struct key *k, int depth, bool first_of_element)
{
	const char *name = k->path + last_name(k->path);
	int indent = 2 * depth - 2 - (first_of_element ? 2 : 0);

	buf_printf(out, "  # %*s%s%s: ... # %s", indent, "", first_of_element ? "- " : "",
		   *name == '*' ? "NAME" : name, k->help);
	if (k->choices)
		buf_printf(out, " (%s)", k->choices);
	buf_puts(out, "\n");
}

void config_print(struct buf *out)
{
	const char *before = "";

	for (size_t i = 0; i < countof(keys); i++) {
		const struct key *k = &keys[i];
		int depth = print_sections(out, k->path, before, !k->absent);
		const char *name = k->path + last_name(k->path), *list = strstr(k->path, "[].");

		if (k->absent) {
			buf_printf(out, "%*s# %s", 2 * depth, "", k->help);
			if (k->choices)
				buf_printf(out, " (%s)", k->choices);
			buf_printf(out, "\n%*s%s: %s\n", 2 * depth, "", name,
				   *k->absent ? k->absent : "\"\"");
		} else {
			print_optional(out, k, depth,
				       list && strncmp(k->path, before, list - k->path) != 0);
		}
		before = k->path;
	}
}

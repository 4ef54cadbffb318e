/*
 * fields.c - field selectors: which fields each kind offers, and matching them
 * on stored bytes.
 */
#include "go_text.h"
#include "object.h"
#include "peek.h"

/* --- What each kind offers ---------------------------------------------------------- */

/* A field of a query and where it stands in the stored object. */
struct selectable {
	const char *label;
	const char *path;      /* in the stored version; NULL: always empty */
	const char *absent;    /* its text when it is not there */
	const char *else_path; /* looked at when `path` has no text */
};

/* clang-format off */
#define SAME(path) {path, path, "", NULL}
#define NAME_ONLY  SAME("metadata.name")
#define ANY	   SAME("metadata.name"), SAME("metadata.namespace")
#define END	   {NULL, NULL, NULL, NULL}
/* clang-format on */

static const struct selectable any_fields[] = {ANY, END};
static const struct selectable pod_fields[] = {
	ANY,
	SAME("spec.nodeName"),
	{"spec.host", "spec.nodeName", "", NULL},
	SAME("spec.restartPolicy"),
	SAME("spec.schedulerName"),
	SAME("spec.serviceAccountName"),
	{"spec.hostNetwork", "spec.hostNetwork", "false", NULL},
	SAME("status.phase"),
	SAME("status.podIP"),
	{"status.podIPs", NULL, "", NULL},
	SAME("status.nominatedNodeName"),
	END,
};
static const struct selectable node_fields[] = {
	NAME_ONLY,
	{"spec.unschedulable", "spec.unschedulable", "false", NULL},
	END,
};
static const struct selectable rc_fields[] = {
	ANY,
	{"status.replicas", "status.replicas", "0", NULL},
	END,
};
static const struct selectable job_fields[] = {
	ANY,
	{"status.successful", "status.succeeded", "0", NULL},
	END,
};
static const struct selectable namespace_fields[] = {NAME_ONLY, SAME("status.phase"), END};
static const struct selectable secret_fields[] = {ANY, SAME("type"), END};
static const struct selectable service_fields[] = {
	ANY,
	SAME("spec.clusterIP"),
	SAME("spec.type"),
	END,
};
static const struct selectable event_fields[] = {
	ANY,
	SAME("involvedObject.kind"),
	SAME("involvedObject.namespace"),
	SAME("involvedObject.name"),
	SAME("involvedObject.uid"),
	SAME("involvedObject.apiVersion"),
	SAME("involvedObject.resourceVersion"),
	SAME("involvedObject.fieldPath"),
	SAME("reason"),
	SAME("reportingComponent"),
	{"source", "source.component", "", "reportingComponent"},
	SAME("type"),
	END,
};
static const struct selectable new_event_fields[] = {
	ANY,
	{"regarding.kind", "involvedObject.kind", "", NULL},
	{"regarding.namespace", "involvedObject.namespace", "", NULL},
	{"regarding.name", "involvedObject.name", "", NULL},
	{"regarding.uid", "involvedObject.uid", "", NULL},
	{"regarding.apiVersion", "involvedObject.apiVersion", "", NULL},
	{"regarding.resourceVersion", "involvedObject.resourceVersion", "", NULL},
	{"regarding.fieldPath", "involvedObject.fieldPath", "", NULL},
	SAME("reason"),
	{"reportingController", "reportingComponent", "", NULL},
	SAME("type"),
	END,
};
static const struct selectable signer_fields[] = {NAME_ONLY, SAME("spec.signerName"), END};
static const struct selectable pod_certificate_fields[] = {
	NAME_ONLY, SAME("spec.signerName"), SAME("spec.podName"), SAME("spec.nodeName"), END,
};

#define NOT_SUPPORTED "field label not supported: "

/* Kinds that offer more than name and namespace, and how they refuse others. */
static const struct kind_fields {
	const char *group, *kind;
	const struct selectable *fields;
	const char *before, *after; /* around the label; quoted when `after` is set */
} kinds[] = {
	{"", "Pod", pod_fields, NOT_SUPPORTED, NULL},
	{"", "Node", node_fields, NOT_SUPPORTED, NULL},
	{"", "ReplicationController", rc_fields, NOT_SUPPORTED, NULL},
	{"", "Namespace", namespace_fields, NOT_SUPPORTED, NULL},
	{"", "Secret", secret_fields, NOT_SUPPORTED, NULL},
	{"", "Service", service_fields, NOT_SUPPORTED, NULL},
	{"", "Event", event_fields, NOT_SUPPORTED, NULL},
	{"events.k8s.io", "Event", new_event_fields, NOT_SUPPORTED, NULL},
	{"batch", "Job", job_fields, "field label ", " not supported for Job"},
	{"certificates.k8s.io", "CertificateSigningRequest", signer_fields, NOT_SUPPORTED, NULL},
	{"certificates.k8s.io", "ClusterTrustBundle", signer_fields, NOT_SUPPORTED, NULL},
	{"certificates.k8s.io", "PodCertificateRequest", pod_certificate_fields, NOT_SUPPORTED,
	 NULL},
};
static const struct kind_fields others = {
	NULL,
	NULL,
	any_fields,
	"",
	" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
};

static const struct kind_fields *fields_of(const struct kube_resource *r)
{
	for (size_t i = 0; i < countof(kinds); i++)
		if (strcmp(kinds[i].kind, r->kind) == 0 && strcmp(kinds[i].group, r->group) == 0)
			return &kinds[i];
	return &others;
}

/* --- Parsing ------------------------------------------------------------------------ */

struct term {
	const struct selectable *field;
	struct str value;
	bool negated;
};

struct kube_field_selector {
	uint32_t n;
	struct term term[];
};

/* Commas that no backslash escapes divide terms.  Empty terms are left out;
 * the rest comes sorted, as Kubernetes looks at them. */
static uint32_t split_terms(zone *z, struct str text, struct str **out)
{
	uint32_t n = 0, start = 0;
	bool escaped = false;
	struct str *terms;

	for (uint32_t i = 0; i < text.n; i++)
		n += text.p[i] == ',';
	terms = zone_alloc(z, (n + 1) * sizeof *terms);
	n = 0;
	for (uint32_t i = 0; i <= text.n; i++) {
		struct str term = {text.p + start, i - start};
		uint32_t at = n;

		if (i < text.n && (escaped || text.p[i] != ',')) {
			escaped = !escaped && text.p[i] == '\\';
			continue;
		}
		start = i + 1;
		if (!term.n)
			continue;
		for (; at > 0 && str_cmp(terms[at - 1], term) > 0; at--)
			terms[at] = terms[at - 1];
		terms[at] = term;
		n++;
	}
	*out = terms;
	return n;
}

/* Where the first operator stands; its length, 0 if there is none. */
static uint32_t find_operator(struct str term, uint32_t *at)
{
	for (*at = 0; *at < term.n; ++*at) {
		bool more = *at + 1 < term.n && term.p[*at + 1] == '=';

		if (term.p[*at] == '=')
			return more ? 2 : 1;
		if (term.p[*at] == '!' && more)
			return 2;
	}
	return 0;
}

#define INVALID "invalid field selector: "

static int unescape(zone *z, struct str s, struct str *out, struct str *message)
{
	char *to = zone_alloc(z, s.n + 1);
	uint32_t n = 0;

	for (uint32_t i = 0; i < s.n; i++) {
		if (s.p[i] == ',' || s.p[i] == '=') {
			*message =
				zone_printf(z, INVALID "unescaped character in value: %d", s.p[i]);
			return WEFT_EINVAL;
		}
		if (s.p[i] == '\\') {
			i++;
			if (i == s.n || !strchr("\\,=", s.p[i])) {
				*message = zone_printf(z, INVALID "invalid escape sequence: \\%.*s",
						       i < s.n, s.p + i);
				return WEFT_EINVAL;
			}
		}
		to[n++] = s.p[i];
	}
	*out = (struct str){to, n};
	return WEFT_OK;
}

static int find_field(zone *z, const struct kind_fields *kind, struct str label, struct term *t,
		      struct str *message)
{
	for (t->field = kind->fields; t->field->label; t->field++)
		if (str_is(label, t->field->label))
			return WEFT_OK;
	if (kind->after)
		label = go_quote(z, label);
	*message = zone_printf(z, "%s" STR_FMT "%s", kind->before, STR_ARG(label),
			       kind->after ? kind->after : "");
	return WEFT_EINVAL;
}

int kube_fields_parse(zone *z, const struct kube_resource *r, struct str text,
		      struct kube_field_selector **out, struct str *message)
{
	const struct kind_fields *kind = fields_of(r);
	struct kube_field_selector *s;
	struct str *terms, *labels;
	uint32_t n = split_terms(z, text, &terms);

	s = zone_alloc(z, sizeof *s + n * sizeof s->term[0]);
	labels = zone_alloc(z, (n + 1) * sizeof *labels);
	s->n = n;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t at, op = find_operator(terms[i], &at);

		if (!op) {
			*message = zone_printf(z,
					       "invalid selector: '" STR_FMT
					       "'; can't understand '" STR_FMT "'",
					       STR_ARG(text), STR_ARG(terms[i]));
			return WEFT_EINVAL;
		}
		labels[i] = (struct str){terms[i].p, at};
		s->term[i].negated = terms[i].p[at] == '!';
		if (unescape(z, (struct str){terms[i].p + at + op, terms[i].n - at - op},
			     &s->term[i].value, message) != WEFT_OK)
			return WEFT_EINVAL;
	}
	for (uint32_t i = 0; i < n; i++)
		if (find_field(z, kind, labels[i], &s->term[i], message) != WEFT_OK)
			return WEFT_EINVAL;
	*out = s;
	return WEFT_OK;
}

/* --- Matching ----------------------------------------------------------------------- */

/* The text of a stored scalar; false for anything else. */
static bool scalar_text(struct str raw, const struct hole_values *h, struct buf *out)
{
	struct peek k = peek_of(raw);
	struct mp_item it;
	bool number;

	if (!raw.n || !peek_item(&k, &it))
		return false;
	switch ((int)it.type) {
	case MSGPACK_OBJECT_STR:
		buf_add(out, it.p, it.n);
		return true;
	case MSGPACK_OBJECT_BOOLEAN:
		buf_puts(out, it.b ? "true" : "false");
		return true;
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
		buf_printf(out, "%llu", (unsigned long long)it.u);
		return true;
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
		buf_printf(out, "%lld", (long long)it.i);
		return true;
	case MSGPACK_OBJECT_EXT:
		return hole_text(&(msgpack_object_ext){it.ext, it.n, it.p}, h, out, &number);
	}
	return false;
}

static bool path_text(const struct cache *c, const struct entry *e, const struct version *v,
		      const char *path, struct buf *out)
{
	static const struct {
		const char *prefix;
		enum part part;
	} roots[] = {{"spec.", PART_SPEC}, {"status.", PART_STATUS}, {"", PART_REST}};
	struct hole_values h = object_holes(c, e, v);
	size_t i = 0, n;

	if (strcmp(path, "metadata.name") == 0) {
		buf_addstr(out, h.name);
		return true;
	}
	if (strcmp(path, "metadata.namespace") == 0) {
		buf_addstr(out, cache_ns(c, e));
		return true;
	}
	if (e->type == TYPE_POD && h.node.n && strcmp(path, "spec.nodeName") == 0) {
		buf_addstr(out, h.node);
		return true;
	}
	while (strncmp(path, roots[i].prefix, n = strlen(roots[i].prefix)) != 0)
		i++;
	return scalar_text(peek_path(cache_part(c, v, roots[i].part), path + n), &h, out);
}

static void field_text(const struct cache *c, const struct entry *e, const struct version *v,
		       const struct selectable *f, struct buf *out)
{
	if (f->path && path_text(c, e, v, f->path, out) && out->n)
		return;
	if (f->else_path && path_text(c, e, v, f->else_path, out) && out->n)
		return;
	buf_puts(out, f->absent);
}

bool kube_fields_match(const struct kube_field_selector *s, const struct cache *c,
		       const struct entry *e, const struct version *v)
{
	struct buf text = {0};
	bool match = true;

	for (uint32_t i = 0; i < s->n && match; i++) {
		text.n = 0;
		field_text(c, e, v, s->term[i].field, &text);
		match = str_eq(buf_str(&text), s->term[i].value) != s->term[i].negated;
	}
	buf_free(&text);
	return match;
}

struct str kube_fields_required(const struct kube_field_selector *s, const char *field)
{
	for (uint32_t i = 0; i < s->n; i++) {
		const char *path = s->term[i].field->path;

		if (!s->term[i].negated && path && strcmp(path, field) == 0)
			return s->term[i].value;
	}
	return (struct str){NULL, 0};
}

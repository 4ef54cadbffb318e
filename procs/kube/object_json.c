/*
 * object_json.c - objects as JSON, straight from stored bytes: how lists and
 * watches print.  No tree is built; what a list of a million pods costs is
 * what copying their bytes costs.
 */
#include <stdlib.h>

#include "object.h"
#include "peek.h"
#include "weft/json.h"

/* An object that is being printed. */
struct printing {
	struct buf *out;
	const struct cache *c;
	const struct entry *e;
	const struct version *v;
	struct hole_values holes;
	struct kube_texts *texts; /* may be NULL */
};

#define PUT(out, lit) buf_add((out), "" lit, sizeof(lit) - 1)

static void number(struct buf *out, uint64_t u)
{
	char text[20];
	size_t i = sizeof text;

	do
		text[--i] = (char)('0' + u % 10);
	while (u /= 10);
	buf_add(out, text + i, sizeof text - i);
}

static void timestamp(struct buf *out, uint32_t wall_s)
{
	char text[23];

	text[0] = '"';
	time_format(wall_s, text + 1);
	text[21] = '"';
	buf_add(out, text, 22);
}

/* False, and nothing is added, if the part is absent or damaged. */
static bool part_json(struct printing *p, enum part part)
{
	struct str bytes = cache_part(p->c, p->v, part);
	uint64_t hash = cache_part_hash(p->c, p->v, part); /* 0: no other object has it */
	struct kept *texts = p->texts && hash ? &p->texts->parts : NULL;

	return bytes.n && !json_from_shared(texts, p->out, bytes, hash, &p->holes);
}

/* The members of a part that is a map, each led by a comma; nothing for what is no
 * map.  The text ends with the last member. */
static void members(struct printing *p, enum part part)
{
	size_t start = p->out->n;

	if (!part_json(p, part) || p->out->n - start <= 2 || p->out->p[start] != '{') {
		p->out->n = start;
		return;
	}
	p->out->p[start] = ',';
	p->out->n--;
}

/* ,"name":<part>; nothing if the part is absent.  `lead` is ,"name": */
static void member(struct printing *p, const char *lead, size_t n, enum part part)
{
	size_t start = p->out->n;

	buf_add(p->out, lead, n);
	if (!part_json(p, part))
		p->out->n = start;
}

#define MEMBER(p, name, part) member(p, ",\"" name "\":", sizeof(",\"" name "\":") - 1, part)

static void metadata(struct printing *p)
{
	struct str ns = cache_ns(p->c, p->e);
	const struct version *v = p->v;
	struct buf *out = p->out;
	char uid[37];

	PUT(out, "\"metadata\":{\"name\":");
	json_quote(out, entry_name(p->e));
	if (ns.n) {
		PUT(out, ",\"namespace\":");
		json_quote(out, ns);
	}
	uid_format(p->e->uid, uid);
	PUT(out, ",\"uid\":\"");
	buf_add(out, uid, 36);
	PUT(out, "\",\"resourceVersion\":\"");
	number(out, v->rv);
	PUT(out, "\"");
	if (v->generation) {
		PUT(out, ",\"generation\":");
		number(out, v->generation);
	}
	PUT(out, ",\"creationTimestamp\":");
	timestamp(out, p->e->created_s);
	if (v->deletion_s) {
		PUT(out, ",\"deletionTimestamp\":");
		timestamp(out, v->deletion_s);
		if (v->grace_s >= 0) {
			PUT(out, ",\"deletionGracePeriodSeconds\":");
			number(out, (uint32_t)v->grace_s);
		}
	}
	MEMBER(p, "labels", PART_LABELS);
	members(p, PART_META);
	PUT(out, "}");
}

/* True if the pod was made with a node: the pods of a template are asked about one
 * after the other. */
static bool spec_names_node(struct printing *p)
{
	uint64_t hash = cache_part_hash(p->c, p->v, PART_SPEC);
	bool names;

	if (p->texts && p->texts->spec == hash)
		return p->texts->spec_names_node;
	names = peek_get(cache_part(p->c, p->v, PART_SPEC), STR("nodeName")).n > 0;
	if (p->texts) {
		p->texts->spec = hash;
		p->texts->spec_names_node = names;
	}
	return names;
}

/* A pod's node stands in its version; put it into the spec, unless the pod was
 * made with it. */
static void spec(struct printing *p)
{
	if (p->e->type != TYPE_POD || !p->holes.node.n || spec_names_node(p)) {
		MEMBER(p, "spec", PART_SPEC);
		return;
	}
	PUT(p->out, ",\"spec\":{\"nodeName\":");
	json_quote(p->out, p->holes.node);
	members(p, PART_SPEC);
	PUT(p->out, "}");
}

/* A version of the kind that is not the stored one goes through a tree. */
static void converted(struct buf *out, const struct cache *c, const struct kube_resource *r,
		      const struct entry *e, const struct version *v, bool with_type)
{
	zone *z = zone_new();
	value obj = kube_object(z, c, r, e, v, false);

	if (!with_type) {
		v_del(&obj, "apiVersion");
		v_del(&obj, "kind");
	}
	json_encode(out, &obj, NULL);
	zone_free(z);
}

static void with_type_json(struct buf *out, const struct kube_resource *r)
{
	PUT(out, "\"kind\":\"");
	buf_puts(out, r->kind);
	PUT(out, "\",\"apiVersion\":\"");
	buf_puts(out, r->api_version);
	PUT(out, "\",");
}

/* All that stands behind the type. */
static void print(struct printing *p)
{
	p->holes = object_holes(p->c, p->e, p->v);
	metadata(p);
	spec(p);
	MEMBER(p, "status", PART_STATUS);
	members(p, PART_REST);
	PUT(p->out, "}");
}

/* --- Kept --------------------------------------------------------------------------- */

#define OBJECT_TEXT_MOST (32u << 10)

/* What print() made of the version that has this number in this generation: a version
 * does not change, and no other has its number. */
struct object_text {
	struct kept_text head; /* key: resourceVersion */
	uint32_t generation;
	char json[];
};

static void keep_object(const struct printing *p, size_t start)
{
	size_t n = p->out->n - start, size = sizeof(struct object_text) + n;
	struct object_text *t;

	if (n > OBJECT_TEXT_MOST)
		return;
	t = malloc(size);
	weft_assert(t);
	*t = (struct object_text){.head = {p->v->rv, size}, .generation = cache_generation(p->c)};
	memcpy(t->json, p->out->p + start, n);
	kept_put(&p->texts->objects, &t->head);
}

static void print_or_copy(struct printing *p)
{
	struct kept *x = &p->texts->objects;
	const struct object_text *t = (struct object_text *)kept_find(x, p->v->rv);
	size_t start = p->out->n;

	if (t && t->generation == cache_generation(p->c)) {
		buf_add(p->out, t->json, t->head.size - sizeof(*t));
		return;
	}
	print(p);
	if (kept_wanted(x, p->v->rv))
		keep_object(p, start);
}

void kube_texts_free(struct kube_texts *texts)
{
	kept_free(&texts->objects);
	kept_free(&texts->parts);
}

void kube_object_json(struct buf *out, const struct cache *c, const struct kube_resource *r,
		      const struct entry *e, const struct version *v, bool with_type,
		      struct kube_texts *texts)
{
	struct printing p = {.out = out, .c = c, .e = e, .v = v, .texts = texts};

	if (!r->stored_version) {
		converted(out, c, r, e, v, with_type);
		return;
	}
	PUT(out, "{");
	if (with_type)
		with_type_json(out, r);
	if (texts)
		print_or_copy(&p);
	else
		print(&p);
}

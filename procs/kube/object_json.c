/*
 * object_json.c - objects as JSON, straight from stored bytes: how lists and
 * watches print.  No tree is built; what a list of a million pods costs is
 * what copying their bytes costs.
 */
#include "object.h"
#include "peek.h"
#include "weft/json.h"

/* Object members are written as ,"key":... one after the other; `{` of a
 * nested text is overwritten by the comma that joins it to what stands before. */
static void key(struct buf *out, const char *text)
{
	buf_putc(out, ',');
	buf_putc(out, '"');
	buf_puts(out, text);
	buf_add(out, "\":", 2);
}

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
	char text[21];

	time_format(wall_s, text);
	buf_putc(out, '"');
	buf_add(out, text, 20);
	buf_putc(out, '"');
}

/* The members of a stored map, each led by a comma; nothing for what is no
 * map.  The text ends with the last member. */
static void members(struct buf *out, struct str bytes, const struct hole_values *h)
{
	size_t start = out->n;

	if (!bytes.n || json_from_msgpack(out, bytes, h) != WEFT_OK || out->n - start <= 2 ||
	    out->p[start] != '{') {
		out->n = start;
		return;
	}
	out->p[start] = ',';
	out->n--;
}

/* ,"name":<part>; nothing if the part is absent. */
static void member(struct buf *out, const char *name, struct str bytes,
		   const struct hole_values *h)
{
	size_t start = out->n;

	if (!bytes.n)
		return;
	key(out, name);
	if (json_from_msgpack(out, bytes, h) != WEFT_OK)
		out->n = start;
}

static void metadata(struct buf *out, const struct cache *c, const struct entry *e,
		     const struct version *v, const struct hole_values *h)
{
	struct str ns = cache_ns(c, e);
	char uid[37];

	buf_puts(out, "\"metadata\":{\"name\":");
	json_quote(out, entry_name(e));
	if (ns.n) {
		key(out, "namespace");
		json_quote(out, ns);
	}
	uid_format(e->uid, uid);
	key(out, "uid");
	buf_putc(out, '"');
	buf_add(out, uid, 36);
	buf_putc(out, '"');
	key(out, "resourceVersion");
	buf_putc(out, '"');
	number(out, v->rv);
	buf_putc(out, '"');
	if (v->generation) {
		key(out, "generation");
		number(out, v->generation);
	}
	key(out, "creationTimestamp");
	timestamp(out, e->created_s);
	if (v->deletion_s) {
		key(out, "deletionTimestamp");
		timestamp(out, v->deletion_s);
		if (v->grace_s >= 0) {
			key(out, "deletionGracePeriodSeconds");
			number(out, (uint32_t)v->grace_s);
		}
	}
	member(out, "labels", cache_part(c, v, PART_LABELS), h);
	members(out, cache_part(c, v, PART_META), h);
	buf_putc(out, '}');
}

/* A pod's node stands in its version; put it into the spec, unless the pod was
 * made with it. */
static void pod_spec(struct buf *out, struct str spec, const struct hole_values *h)
{
	if (peek_get(spec, STR("nodeName")).n) {
		member(out, "spec", spec, h);
		return;
	}
	key(out, "spec");
	buf_puts(out, "{\"nodeName\":");
	json_quote(out, h->node);
	members(out, spec, h);
	buf_putc(out, '}');
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

void kube_object_json(struct buf *out, const struct cache *c, const struct kube_resource *r,
		      const struct entry *e, const struct version *v, bool with_type)
{
	struct hole_values h = object_holes(c, e, v);
	struct str spec = cache_part(c, v, PART_SPEC);

	if (!r->stored_version) {
		converted(out, c, r, e, v, with_type);
		return;
	}
	buf_putc(out, '{');
	if (with_type) {
		buf_puts(out, "\"kind\":\"");
		buf_puts(out, r->kind);
		buf_puts(out, "\",\"apiVersion\":\"");
		buf_puts(out, r->api_version);
		buf_puts(out, "\",");
	}
	metadata(out, c, e, v, &h);
	if (e->type == TYPE_POD && h.node.n)
		pod_spec(out, spec, &h);
	else
		member(out, "spec", spec, &h);
	member(out, "status", cache_part(c, v, PART_STATUS), &h);
	members(out, cache_part(c, v, PART_REST), &h);
	buf_putc(out, '}');
}

/*
 * item.c - which objects, and how one is printed.
 */
#include "procs/apiserver/item.h"

/* --- Which -------------------------------------------------------------------------- */

static int parse_labels(struct request *q, zone *z, struct filter *f)
{
	struct str text = zone_str(z, query_get(&q->query, "labelSelector")), why;

	if (!text.n || kube_selector_parse(z, text, &f->labels, &why) == WEFT_OK) {
		if (f->labels && kube_selector_empty(f->labels))
			f->labels = NULL;
		return WEFT_OK;
	}
	answer_bad_request(q, why);
	return WEFT_EINVAL;
}

static int parse_fields(struct request *q, zone *z, struct filter *f)
{
	struct str text = zone_str(z, query_get(&q->query, "fieldSelector")), why;

	if (!text.n)
		return WEFT_OK;
	if (kube_fields_parse(z, q->t.r, text, &f->fields, &why)) {
		answer_bad_request(q, why);
		return WEFT_EINVAL;
	}
	f->name = kube_fields_required(f->fields, "metadata.name");
	if (f->type == TYPE_POD)
		f->node = kube_fields_required(f->fields, "spec.nodeName");
	return WEFT_OK;
}

int filter_parse(struct request *q, zone *z, struct filter *f)
{
	*f = (struct filter){
		.type = q->t.r->type, .one_ns = q->t.ns.n > 0, .ns = zone_str(z, q->t.ns)};
	if (parse_labels(q, z, f) || parse_fields(q, z, f))
		return WEFT_EINVAL;
	if (q->t.name.n)
		f->name = zone_str(z, q->t.name);
	return WEFT_OK;
}

bool filter_covers(const struct filter *f, const struct cache *c, const struct entry *e)
{
	if (e->type != f->type || (f->one_ns && !str_eq(cache_ns(c, e), f->ns)))
		return false;
	return !f->name.n || str_eq(entry_name(e), f->name);
}

bool filter_on_node(const struct filter *f, const struct cache *c, const struct version *v)
{
	return !f->node.n || str_eq(cache_node_name(c, v), f->node);
}

static bool labels_match(const struct filter *f, const struct cache *c, const struct version *v,
			 struct filter_last *last)
{
	uint32_t labels = v->part[PART_LABELS];
	bool match;

	if (last && labels && labels == last->labels)
		return last->matched;
	match = kube_selector_match(f->labels, cache_part(c, v, PART_LABELS));
	if (last)
		*last = (struct filter_last){labels, match};
	return match;
}

bool filter_matches(const struct filter *f, const struct cache *c, const struct entry *e,
		    const struct version *v, struct filter_last *last)
{
	if (f->labels && !labels_match(f, c, v, last))
		return false;
	return !f->fields || kube_fields_match(f->fields, c, e, v);
}

bool filter_is_plain(const struct filter *f)
{
	return !f->labels && !f->fields && !f->name.n;
}

/* --- How ---------------------------------------------------------------------------- */

int form_parse(struct request *q, struct form *f)
{
	struct str include = query_get(&q->query, "includeObject");

	*f = (struct form){.r = q->t.r, .shape = q->shape};
	if (q->shape != SHAPE_TABLE || !include.n || str_eq(include, STR("Metadata")))
		return WEFT_OK;
	if (str_eq(include, STR("None"))) {
		f->include = INCLUDE_NONE;
	} else if (str_eq(include, STR("Object"))) {
		f->include = INCLUDE_OBJECT;
	} else {
		answer_bad_request(
			q,
			zone_printf(
				q->z,
				"Unable to convert to Table as requested: includeObject: Invalid "
				"value: \"" STR_FMT "\": must be 'Metadata', 'Object', 'None', "
				"or empty",
				STR_ARG(include)));
		return WEFT_EINVAL;
	}
	return WEFT_OK;
}

static value partial_of(zone *z, const value *obj)
{
	value v = v_map();
	const value *meta = v_get(obj, "metadata");

	v_set(z, &v, "kind", v_cstr("PartialObjectMetadata"));
	v_set(z, &v, "apiVersion", v_cstr("meta.k8s.io/v1"));
	v_set(z, &v, "metadata", meta ? *meta : v_map());
	return v;
}

static void add_row(struct buf *out, zone *z, const struct form *f, const value *obj)
{
	value cells = kube_table_cells(z, f->r, obj, clock_wall_s());
	value partial;

	buf_puts(out, "{\"cells\":");
	json_encode(out, &cells, NULL);
	buf_puts(out, ",\"object\":");
	switch (f->include) {
	case INCLUDE_NONE:
		buf_puts(out, "null");
		break;
	case INCLUDE_OBJECT:
		json_encode(out, obj, NULL);
		break;
	case INCLUDE_METADATA:
		partial = partial_of(z, obj);
		json_encode(out, &partial, NULL);
		break;
	}
	buf_putc(out, '}');
}

static void add_partial(struct buf *out, zone *z, const value *obj)
{
	value partial = partial_of(z, obj);

	json_encode(out, &partial, NULL);
}

void item_add(struct buf *out, struct api *api, const struct form *f, const struct entry *e,
	      const struct version *v)
{
	struct cache *c = api_cache(api);
	value obj;

	if (f->shape == SHAPE_OBJECT) {
		kube_object_json(out, c, f->r, e, v, false, &api->texts);
		return;
	}
	obj = kube_object(api->scratch, c, f->r, e, v, false);
	if (f->shape == SHAPE_TABLE)
		add_row(out, api->scratch, f, &obj);
	else
		add_partial(out, api->scratch, &obj);
	zone_reset(api->scratch);
}

void item_add_columns(struct buf *out, struct api *api, const struct form *f)
{
	value columns = kube_table_columns(api->scratch, f->r);

	buf_puts(out, "\"columnDefinitions\":");
	json_encode(out, &columns, NULL);
	zone_reset(api->scratch);
}

void item_add_value(struct buf *out, struct api *api, const struct form *f, value *obj,
		    bool columns)
{
	if (f->shape == SHAPE_OBJECT) {
		json_encode(out, obj, NULL);
		return;
	}
	if (f->shape == SHAPE_PARTIAL) {
		add_partial(out, api->scratch, obj);
		zone_reset(api->scratch);
		return;
	}
	buf_puts(out, "{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":"
		      "{\"resourceVersion\":");
	json_quote(out, v_as_str(v_path(obj, "metadata.resourceVersion")));
	buf_puts(out, "},");
	if (columns)
		item_add_columns(out, api, f);
	else
		buf_puts(out, "\"columnDefinitions\":null");
	buf_puts(out, ",\"rows\":[");
	add_row(out, api->scratch, f, obj);
	buf_puts(out, "]}");
	zone_reset(api->scratch);
}

void item_add_whole(struct buf *out, struct api *api, const struct form *f, const struct entry *e,
		    const struct version *v, bool columns)
{
	struct cache *c = api_cache(api);
	zone *z;
	value obj;

	if (f->shape == SHAPE_OBJECT) {
		kube_object_json(out, c, f->r, e, v, true, &api->texts);
		return;
	}
	z = zone_new();
	obj = kube_object(z, c, f->r, e, v, false);
	item_add_value(out, api, f, &obj, columns);
	zone_free(z);
}

void item_add_event(struct buf *out, struct api *api, const struct form *f, const char *type,
		    const struct entry *e, const struct version *v, bool columns)
{
	buf_puts(out, "{\"type\":\"");
	buf_puts(out, type);
	buf_puts(out, "\",\"object\":");
	item_add_whole(out, api, f, e, v, columns);
	buf_add(out, "}\n", 2);
}

bool item_read(struct request *q, uint32_t entry, uint64_t rv, value *obj)
{
	struct cache *c = api_cache(q->api);
	const struct entry *e = NULL;
	const struct version *v = NULL;

	cache_lock(c);
	if (!entry)
		e = cache_find(c, q->t.r->type, q->t.ns, q->t.name);
	else if (cache_entry_checked(c, entry, &e))
		e = NULL;
	if (e)
		v = rv ? cache_at(c, e, rv) : cache_live(c, e);
	if (v)
		*obj = kube_object(q->z, c, q->t.r, e, v, true);
	cache_unlock(c);
	return v != NULL;
}

/* --- Answers ------------------------------------------------------------------------ */

/* The version that write rv made or, if that was let go, the next one; NULL if the object has
 * gone, too: then another may lie in its place, which was made later. */
static const struct version *version_at(const struct cache *c, uint32_t entry, uint64_t rv,
					const struct entry **e)
{
	const struct version *v;

	if (cache_entry_checked(c, entry, e) || (*e)->created_rv > rv)
		return NULL;
	v = cache_newest(c, *e);
	while (v && v->rv > rv) {
		uint32_t prev = prcu_dereference(&v->prev);

		if (!prev)
			break;
		v = cache_version(c, (version_ref){prev});
	}
	return v;
}

bool answer_object(struct request *q, int code, uint32_t entry, uint64_t rv)
{
	struct cache *c = api_cache(q->api);
	struct form f;
	const struct entry *e;
	const struct version *v;

	if (form_parse(q, &f))
		return true;
	q->out.n = 0;
	cache_lock(c);
	v = version_at(c, entry, rv, &e);
	if (v)
		item_add_whole(&q->out, q->api, &f, e, v, true);
	cache_unlock(c);
	if (v)
		answer_json(q, code);
	return v != NULL;
}

enum outcome answer_made(struct request *q, int code, value *obj)
{
	struct form f;

	if (form_parse(q, &f))
		return ANSWERED;
	q->out.n = 0;
	item_add_value(&q->out, q->api, &f, obj, true);
	return answer_json(q, code);
}

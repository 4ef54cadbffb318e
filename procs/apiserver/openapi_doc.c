/*
 * openapi_doc.c - schemas and paths as OpenAPI values.
 */
#include "procs/apiserver/openapi_doc.h"

struct doc doc_new(zone *z, enum openapi version)
{
	struct doc d = {.z = z, .version = version};
	uint32_t n;

	kube_schemas(&n);
	d.wanted = zone_alloc(z, n * sizeof(*d.wanted));
	memset(d.wanted, 0, n * sizeof(*d.wanted));
	return d;
}

/* --- Types -------------------------------------------------------------------------- */

/* Scalars that clients know by a name of their own. */
static const struct special {
	const char *name, *type, *format;
	const char *one_of[2]; /* version 3: instead of `type` */
} specials[] = {
	[SCHEMA_QUANTITY] = {"io.k8s.apimachinery.pkg.api.resource.Quantity",
			     "string",
			     NULL,
			     {"string", "number"}},
	[SCHEMA_TIME] = {"io.k8s.apimachinery.pkg.apis.meta.v1.Time", "string", "date-time", {0}},
	[SCHEMA_MICROTIME] = {"io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
			      "string",
			      "date-time",
			      {0}},
	[SCHEMA_INT_OR_STRING] = {"io.k8s.apimachinery.pkg.util.intstr.IntOrString",
				  "string",
				  "int-or-string",
				  {"integer", "string"}},
};

static const struct {
	const char *type, *format;
} plain_types[] = {
	[SCHEMA_OBJECT] = {"object", NULL},    [SCHEMA_STRING] = {"string", NULL},
	[SCHEMA_RAW] = {"object", NULL},       [SCHEMA_BYTES] = {"string", "byte"},
	[SCHEMA_BOOL] = {"boolean", NULL},     [SCHEMA_INT32] = {"integer", "int32"},
	[SCHEMA_INT64] = {"integer", "int64"}, [SCHEMA_DOUBLE] = {"number", "double"},
	[SCHEMA_ANY] = {NULL, NULL},
};

static const struct special *special_of(uint8_t kind)
{
	return kind < countof(specials) && specials[kind].name ? &specials[kind] : NULL;
}

static value ref_to(struct doc *d, const char *name)
{
	const char *where = d->version == OPENAPI_V2 ? "#/definitions/" : "#/components/schemas/";
	value v = v_map();

	v_set(d->z, &v, "$ref", v_str(zone_printf(d->z, "%s%s", where, name)));
	return v;
}

static void set_type(zone *z, value *v, const char *type, const char *format)
{
	if (type)
		v_set(z, v, "type", v_cstr(type));
	if (format)
		v_set(z, v, "format", v_cstr(format));
}

/* A type as it is used: by reference if it has a name. */
static value type_use(struct doc *d, const struct kube_schema *s)
{
	const struct special *special = special_of(s->kind);
	value v = v_map();
	uint32_t n;

	if (special) {
		d->special[s->kind] = true;
		return ref_to(d, special->name);
	}
	if (s->name) {
		d->wanted[s - kube_schemas(&n)] = true;
		return ref_to(d, s->name);
	}
	switch (s->kind) {
	case SCHEMA_LIST:
		v_set(d->z, &v, "type", v_cstr("array"));
		v_set(d->z, &v, "items", type_use(d, s->item));
		break;
	case SCHEMA_MAP:
		v_set(d->z, &v, "type", v_cstr("object"));
		v_set(d->z, &v, "additionalProperties", type_use(d, s->item));
		break;
	default:
		set_type(d->z, &v, plain_types[s->kind].type, plain_types[s->kind].format);
	}
	return v;
}

/* --- Fields ------------------------------------------------------------------------- */

static value words(zone *z, const char *const *list)
{
	value v = v_array();

	for (; list && *list; list++)
		v_append(z, &v, v_cstr(*list));
	return v;
}

static void add_list_rules(zone *z, value *v, const struct kube_field *f)
{
	static const char *const list_types[] = {NULL, "atomic", "set", "map"};
	static const char *const map_types[] = {NULL, "atomic", "granular"};

	if (f->list_type == LIST_MAP)
		v_set(z, v, "x-kubernetes-list-map-keys", words(z, f->list_keys));
	if (f->list_type)
		v_set(z, v, "x-kubernetes-list-type", v_cstr(list_types[f->list_type]));
	if (f->map_type)
		v_set(z, v, "x-kubernetes-map-type", v_cstr(map_types[f->map_type]));
}

static void add_patch_rules(zone *z, value *v, const struct kube_field *f)
{
	static const struct {
		uint8_t bit;
		const char *name;
	} names[] = {
		{PATCH_MERGE, "merge"},
		{PATCH_RETAIN_KEYS, "retainKeys"},
		{PATCH_REPLACE, "replace"},
	};
	struct str text = STR("");

	for (size_t i = 0; i < countof(names); i++)
		if (f->patch & names[i].bit)
			text = zone_printf(z, STR_FMT "%s%s", STR_ARG(text), text.n ? "," : "",
					   names[i].name);
	if (f->merge_key)
		v_set(z, v, "x-kubernetes-patch-merge-key", v_cstr(f->merge_key));
	if (text.n)
		v_set(z, v, "x-kubernetes-patch-strategy", v_str(text));
}

static value field_value(struct doc *d, const struct kube_field *f)
{
	value type = type_use(d, f->type), v = v_map(), def;

	if (d->version == OPENAPI_V3 && f->default_json &&
	    !json_decode(d->z, str_of(f->default_json), &def, NULL, NULL))
		v_set(d->z, &v, "default", def);
	add_list_rules(d->z, &v, f);
	add_patch_rules(d->z, &v, f);
	if (d->version == OPENAPI_V3 && v_get(&type, "$ref") && v_len(&v)) {
		v_append(d->z, v_array_at(d->z, &v, "allOf"), type);
		return v;
	}
	v_each_kv(kv, &v)
		v_setn(d->z, &type, v_as_str(&kv->key), kv->val);
	return type;
}

static value gvk_value(zone *z, const char *group, const char *version, const char *kind)
{
	value v = v_map();

	v_set(z, &v, "group", v_cstr(group));
	v_set(z, &v, "kind", v_cstr(kind));
	v_set(z, &v, "version", v_cstr(version));
	return v;
}

static void add_fields(struct doc *d, value *v, const struct kube_schema *s)
{
	value required = v_array(), props = v_map();

	for (uint16_t i = 0; i < s->nfields; i++) {
		if (s->fields[i].required)
			v_append(d->z, &required, v_str(s->fields[i].name));
		v_setn(d->z, &props, s->fields[i].name, field_value(d, &s->fields[i]));
	}
	if (v_len(&required))
		v_set(d->z, v, "required", required);
	if (v_len(&props))
		v_set(d->z, v, "properties", props);
}

static value schema_value(struct doc *d, const struct kube_schema *s)
{
	value v = v_map();

	if (s->kind != SCHEMA_OBJECT) {
		set_type(d->z, &v, plain_types[s->kind].type, plain_types[s->kind].format);
		return v;
	}
	v_set(d->z, &v, "type", v_cstr("object"));
	add_fields(d, &v, s);
	for (const struct kube_gvk *g = s->gvks; g && g->kind; g++)
		v_append(d->z, v_array_at(d->z, &v, "x-kubernetes-group-version-kind"),
			 gvk_value(d->z, g->group, g->version, g->kind));
	if (s->map_type == MAP_ATOMIC)
		v_set(d->z, &v, "x-kubernetes-map-type", v_cstr("atomic"));
	return v;
}

static value special_value(struct doc *d, const struct special *s)
{
	value v = v_map();

	set_type(d->z, &v, d->version == OPENAPI_V3 && s->one_of[0] ? NULL : s->type, s->format);
	for (int i = 0; d->version == OPENAPI_V3 && i < 2 && s->one_of[i]; i++) {
		value one = v_map();

		set_type(d->z, &one, s->one_of[i], NULL);
		v_append(d->z, v_array_at(d->z, &v, "oneOf"), one);
	}
	return v;
}

value doc_schemas(struct doc *d)
{
	uint32_t n;
	const struct kube_schema *all = kube_schemas(&n);
	bool *done = zone_alloc(d->z, n * sizeof(*done));
	value out = v_map();
	bool more = true;

	memset(done, 0, n * sizeof(*done));
	while (more) {
		more = false;
		for (uint32_t i = 0; i < n; i++) {
			if (!d->wanted[i] || done[i])
				continue;
			done[i] = more = true;
			v_set(d->z, &out, all[i].name, schema_value(d, &all[i]));
		}
	}
	for (size_t i = 0; i < countof(specials); i++)
		if (d->special[i])
			v_set(d->z, &out, specials[i].name, special_value(d, &specials[i]));
	return out;
}

/* --- Paths -------------------------------------------------------------------------- */

struct parameter {
	const char *name, *type;
};

static const struct parameter write_parameters[] = {{"dryRun", "string"},
						    {"fieldManager", "string"},
						    {"fieldValidation", "string"},
						    {NULL, NULL}};
static const struct parameter patch_parameters[] = {{"dryRun", "string"},
						    {"fieldManager", "string"},
						    {"fieldValidation", "string"},
						    {"force", "boolean"},
						    {NULL, NULL}};
static const struct parameter delete_parameters[] = {{"dryRun", "string"},
						     {"gracePeriodSeconds", "integer"},
						     {"orphanDependents", "boolean"},
						     {"propagationPolicy", "string"},
						     {NULL, NULL}};
static const struct parameter list_parameters[] = {{"allowWatchBookmarks", "boolean"},
						   {"continue", "string"},
						   {"fieldSelector", "string"},
						   {"labelSelector", "string"},
						   {"limit", "integer"},
						   {"resourceVersion", "string"},
						   {"resourceVersionMatch", "string"},
						   {"sendInitialEvents", "boolean"},
						   {"timeoutSeconds", "integer"},
						   {"watch", "boolean"},
						   {NULL, NULL}};
static const struct parameter no_parameters[] = {{NULL, NULL}};

/* What a verb looks like in a description. */
static const struct operation {
	uint32_t verb;
	bool on_collection;
	const char *method, *action, *id;
	const struct parameter *parameters;
	bool takes_body;
} operations[] = {
	{VERB_LIST, true, "get", "list", "list", list_parameters, false},
	{VERB_CREATE, true, "post", "post", "create", write_parameters, true},
	{VERB_DELETECOLLECTION, true, "delete", "deletecollection", "deleteCollection",
	 delete_parameters, false},
	{VERB_GET, false, "get", "get", "read", no_parameters, false},
	{VERB_UPDATE, false, "put", "put", "replace", write_parameters, true},
	{VERB_PATCH, false, "patch", "patch", "patch", patch_parameters, true},
	{VERB_DELETE, false, "delete", "delete", "delete", delete_parameters, false},
};

static value parameter_value(struct doc *d, const char *name, const char *in, const char *type)
{
	value v = v_map(), schema = v_map();

	v_set(d->z, &v, "name", v_cstr(name));
	v_set(d->z, &v, "in", v_cstr(in));
	if (!strcmp(in, "path"))
		v_set(d->z, &v, "required", v_bool(true));
	if (d->version == OPENAPI_V2) {
		v_set(d->z, &v, "type", v_cstr(type));
		v_set(d->z, &v, "uniqueItems", v_bool(true));
		return v;
	}
	v_set(d->z, &schema, "type", v_cstr(type));
	v_set(d->z, &schema, "uniqueItems", v_bool(true));
	v_set(d->z, &v, "schema", schema);
	return v;
}

/* {"200": {"description": "OK", ...}} */
static value responses(struct doc *d, const struct kube_schema *s)
{
	value v = v_map(), ok = v_map(), *content;

	v_set(d->z, &ok, "description", v_cstr("OK"));
	if (s && d->version == OPENAPI_V2) {
		v_set(d->z, &ok, "schema", type_use(d, s));
	} else if (s) {
		content = v_map_at(d->z, &ok, "content");
		v_set(d->z, v_map_at(d->z, content, "application/json"), "schema", type_use(d, s));
	}
	v_set(d->z, &v, "200", ok);
	return v;
}

static value body_parameter(struct doc *d, const struct kube_schema *s)
{
	value v = v_map();

	v_set(d->z, &v, "name", v_cstr("body"));
	v_set(d->z, &v, "in", v_cstr("body"));
	v_set(d->z, &v, "required", v_bool(true));
	v_set(d->z, &v, "schema", type_use(d, s));
	return v;
}

struct subject {
	const struct kube_resource *r;
	const struct kube_subresource *s; /* NULL: the resource itself */
	const char *group, *version, *kind;
	const struct kube_schema *schema; /* may be NULL */
};

static value operation_value(struct doc *d, const struct operation *op, const struct subject *sub)
{
	value v = v_map(), params = v_array(), *content;
	const struct kube_schema *list = NULL;

	if (op->verb == VERB_LIST)
		list = kube_schema_named(zone_printf(
			d->z, "%sList", sub->schema && sub->schema->name ? sub->schema->name : ""));
	v_set(d->z, &v, "operationId",
	      v_str(zone_printf(d->z, "%s%s%s%s%s", op->id, sub->group, sub->version,
				sub->r->namespaced ? "Namespaced" : "", sub->kind)));
	for (const struct parameter *p = op->parameters; p->name; p++)
		v_append(d->z, &params, parameter_value(d, p->name, "query", p->type));
	if (op->takes_body && sub->schema && d->version == OPENAPI_V2)
		v_append(d->z, &params, body_parameter(d, sub->schema));
	if (op->takes_body && sub->schema && d->version == OPENAPI_V3) {
		content = v_map_at(d->z, v_map_at(d->z, &v, "requestBody"), "content");
		v_set(d->z,
		      v_map_at(d->z, content,
			       op->verb == VERB_PATCH ? "application/merge-patch+json" : "*/*"),
		      "schema", type_use(d, sub->schema));
	}
	if (v_len(&params))
		v_set(d->z, &v, "parameters", params);
	v_set(d->z, &v, "responses", responses(d, list ? list : sub->schema));
	v_set(d->z, &v, "x-kubernetes-action", v_cstr(op->action));
	v_set(d->z, &v, "x-kubernetes-group-version-kind",
	      gvk_value(d->z, sub->group, sub->version, sub->kind));
	return v;
}

static void add_path(struct doc *d, value *paths, struct str path, const struct subject *sub,
		     uint32_t verbs, bool collection, bool named)
{
	value item = v_map(), params = v_array();

	for (size_t i = 0; i < countof(operations); i++) {
		const struct operation *op = &operations[i];
		bool fits = op->on_collection == collection;

		if (sub->s && op->verb == VERB_CREATE)
			fits = true; /* .../pods/{name}/binding is posted to */
		if (fits && verbs & op->verb)
			v_set(d->z, &item, op->method, operation_value(d, op, sub));
	}
	if (!v_len(&item))
		return;
	if (named)
		v_append(d->z, &params, parameter_value(d, "name", "path", "string"));
	if (sub->r->namespaced && memmem(path.p, path.n, "{namespace}", 11))
		v_append(d->z, &params, parameter_value(d, "namespace", "path", "string"));
	v_append(d->z, &params, parameter_value(d, "pretty", "query", "string"));
	v_set(d->z, &item, "parameters", params);
	v_setn(d->z, paths, path, item);
}

static const struct kube_schema *schema_of_kind(const struct kube_resource *r,
						const struct kube_subresource *s)
{
	const struct kube_resource *other;

	if (!s || (!strcmp(s->kind, r->kind) && !s->group))
		return r->schema;
	other = kube_by_kind(str_of(s->group ? s->group : r->group),
			     str_of(s->version ? s->version : r->version), str_of(s->kind));
	return other ? other->schema : NULL;
}

static void add_resource(struct doc *d, const struct kube_resource *r, value *paths)
{
	const char *in_ns = r->namespaced ? "/namespaces/{namespace}" : "";
	struct subject sub = {r, NULL, r->group, r->version, r->kind, r->schema};
	struct str base = r->group[0] ? zone_printf(d->z, "/apis/%s/%s", r->group, r->version)
				      : zone_printf(d->z, "/api/%s", r->version);
	struct str own = zone_printf(d->z, STR_FMT "%s/%s", STR_ARG(base), in_ns, r->resource);

	add_path(d, paths, own, &sub, r->verbs, true, false);
	add_path(d, paths, zone_printf(d->z, STR_FMT "/{name}", STR_ARG(own)), &sub, r->verbs,
		 false, true);
	if (r->namespaced)
		add_path(d, paths, zone_printf(d->z, STR_FMT "/%s", STR_ARG(base), r->resource),
			 &sub, r->verbs & VERB_LIST, true, false);
	for (uint32_t i = 0; i < r->nsubs; i++) {
		sub.s = &r->subs[i];
		sub.group = sub.s->group ? sub.s->group : r->group;
		sub.version = sub.s->version ? sub.s->version : r->version;
		sub.kind = sub.s->kind;
		sub.schema = schema_of_kind(r, sub.s);
		add_path(d, paths,
			 zone_printf(d->z, STR_FMT "/{name}/%s", STR_ARG(own), sub.s->name), &sub,
			 sub.s->verbs, false, true);
	}
}

void doc_add_paths(struct doc *d, const char *group, const char *version, value *paths)
{
	uint32_t n;
	const struct kube_resource *r = kube_resources(&n);

	for (uint32_t i = 0; i < n; i++)
		if (!group || (!strcmp(r[i].group, group) && !strcmp(r[i].version, version)))
			add_resource(d, &r[i], paths);
}

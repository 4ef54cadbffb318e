/*
 * openapi_v2.c - /openapi/v2, as JSON and in the protobuf form of the gnostic
 * project (openapiv2.Document) that kubectl before 1.27 asks for.
 */
#include "procs/apiserver/openapi.h"
#include "procs/apiserver/openapi_doc.h"

#define PROTO_TYPE "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"

static struct buf kept_json, kept_proto;

static value make_document(zone *z)
{
	struct doc d = doc_new(z, OPENAPI_V2);
	value v = v_map(), info = v_map(), paths = v_map();
	uint32_t n;

	v_set(z, &info, "title", v_cstr("Kubernetes"));
	v_set(z, &info, "version", v_cstr("1.37"));
	doc_add_paths(&d, NULL, NULL, &paths);
	kube_schemas(&n);
	memset(d.wanted, true, n);
	v_set(z, &v, "swagger", v_cstr("2.0"));
	v_set(z, &v, "info", info);
	v_set(z, &v, "paths", paths);
	v_set(z, &v, "definitions", doc_schemas(&d));
	return v;
}

/* --- Protobuf ----------------------------------------------------------------------- */

static void add_varint(struct buf *out, uint64_t n)
{
	while (n >= 0x80) {
		buf_putc(out, (char)(n | 0x80));
		n >>= 7;
	}
	buf_putc(out, (char)n);
}

static void add_bytes(struct buf *out, unsigned field, struct str s)
{
	add_varint(out, field << 3 | 2);
	add_varint(out, s.n);
	buf_addstr(out, s);
}

static void add_text(struct buf *out, unsigned field, const value *v)
{
	if (v_is_str(v) && v_as_str(v).n)
		add_bytes(out, field, v_as_str(v));
}

static void add_bool(struct buf *out, unsigned field, bool b)
{
	if (b) {
		add_varint(out, field << 3);
		buf_putc(out, 1);
	}
}

/* A message inside a message: `make` writes its content. */
typedef void (*proto_make)(struct buf *out, const value *v);

static void add_message(struct buf *out, unsigned field, proto_make make, const value *v)
{
	struct buf inner = {0};

	make(&inner, v);
	add_bytes(out, field, buf_str(&inner));
	buf_free(&inner);
}

/* NamedX {name = 1, value = 2} */
static void add_named(struct buf *out, unsigned field, struct str name, proto_make make,
		      const value *v)
{
	struct buf inner = {0};

	add_bytes(&inner, 1, name);
	add_message(&inner, 2, make, v);
	add_bytes(out, field, buf_str(&inner));
	buf_free(&inner);
}

/* Any {yaml = 2} */
static void make_any(struct buf *out, const value *v)
{
	struct buf yaml = {0};

	yaml_encode(&yaml, v);
	if (!yaml.n || yaml.p[yaml.n - 1] != '\n')
		buf_putc(&yaml, '\n');
	add_bytes(out, 2, buf_str(&yaml));
	buf_free(&yaml);
}

static void add_extensions(struct buf *out, unsigned field, const value *v)
{
	v_each_kv(kv, v) {
		struct str key = v_as_str(&kv->key);

		if (key.n > 2 && key.p[0] == 'x' && key.p[1] == '-')
			add_named(out, field, key, make_any, &kv->val);
	}
}

static void make_schema(struct buf *out, const value *v);

/* TypeItem {value = 1} */
static void make_type(struct buf *out, const value *v)
{
	add_text(out, 1, v);
}

/* ItemsItem, AdditionalPropertiesItem, SchemaItem {schema = 1} */
static void make_schema_item(struct buf *out, const value *v)
{
	add_message(out, 1, make_schema, v);
}

/* Properties, Definitions {additional_properties = 1} */
static void make_named_schemas(struct buf *out, const value *v)
{
	v_each_kv(kv, v)
		add_named(out, 1, v_as_str(&kv->key), make_schema, &kv->val);
}

static void make_schema(struct buf *out, const value *v)
{
	const value *items = v_get(v, "items"), *props = v_get(v, "properties");
	const value *more = v_get(v, "additionalProperties"), *type = v_get(v, "type");

	add_text(out, 1, v_get(v, "$ref"));
	add_text(out, 2, v_get(v, "format"));
	v_each(r, v_get(v, "required"))
		add_text(out, 19, r);
	if (more)
		add_message(out, 21, make_schema_item, more);
	if (type)
		add_message(out, 22, make_type, type);
	if (items)
		add_message(out, 23, make_schema_item, items);
	if (props)
		add_message(out, 25, make_named_schemas, props);
	add_extensions(out, 31, v);
}

/* BodyParameter {name = 2, in = 3, required = 4, schema = 5} */
static void make_body_parameter(struct buf *out, const value *v)
{
	add_text(out, 2, v_get(v, "name"));
	add_text(out, 3, v_get(v, "in"));
	add_bool(out, 4, v_get_bool(v, "required", false));
	if (v_get(v, "schema"))
		add_message(out, 5, make_schema, v_get(v, "schema"));
}

static void make_query_parameter(struct buf *out, const value *v)
{
	add_text(out, 2, v_get(v, "in"));
	add_text(out, 4, v_get(v, "name"));
	add_text(out, 6, v_get(v, "type"));
}

static void make_path_parameter(struct buf *out, const value *v)
{
	add_bool(out, 1, true);
	add_text(out, 2, v_get(v, "in"));
	add_text(out, 4, v_get(v, "name"));
	add_text(out, 5, v_get(v, "type"));
}

/* NonBodyParameter {query = 3, path = 4} */
static void make_non_body(struct buf *out, const value *v)
{
	bool path = str_eq(v_get_str(v, "in"), STR("path"));

	add_message(out, path ? 4 : 3, path ? make_path_parameter : make_query_parameter, v);
}

/* Parameter {body = 1, non_body = 2} */
static void make_parameter(struct buf *out, const value *v)
{
	bool body = str_eq(v_get_str(v, "in"), STR("body"));

	add_message(out, body ? 1 : 2, body ? make_body_parameter : make_non_body, v);
}

/* ParametersItem {parameter = 1} */
static void make_parameter_item(struct buf *out, const value *v)
{
	add_message(out, 1, make_parameter, v);
}

/* Response {description = 1, schema = 2} */
static void make_response(struct buf *out, const value *v)
{
	add_text(out, 1, v_get(v, "description"));
	if (v_get(v, "schema"))
		add_message(out, 2, make_schema_item, v_get(v, "schema"));
}

/* ResponseValue {response = 1} */
static void make_response_value(struct buf *out, const value *v)
{
	add_message(out, 1, make_response, v);
}

static void make_responses(struct buf *out, const value *v)
{
	v_each_kv(kv, v)
		add_named(out, 1, v_as_str(&kv->key), make_response_value, &kv->val);
}

static void make_operation(struct buf *out, const value *v)
{
	add_text(out, 5, v_get(v, "operationId"));
	v_each(p, v_get(v, "parameters"))
		add_message(out, 8, make_parameter_item, p);
	add_message(out, 9, make_responses, v_get(v, "responses"));
	add_extensions(out, 13, v);
}

static void make_path_item(struct buf *out, const value *v)
{
	static const struct {
		const char *method;
		unsigned field;
	} methods[] = {{"get", 2}, {"put", 3}, {"post", 4}, {"delete", 5}, {"patch", 8}};

	for (size_t i = 0; i < countof(methods); i++)
		if (v_get(v, methods[i].method))
			add_message(out, methods[i].field, make_operation,
				    v_get(v, methods[i].method));
	v_each(p, v_get(v, "parameters"))
		add_message(out, 9, make_parameter_item, p);
}

/* Paths {path = 2} */
static void make_paths(struct buf *out, const value *v)
{
	v_each_kv(kv, v)
		add_named(out, 2, v_as_str(&kv->key), make_path_item, &kv->val);
}

static void make_info(struct buf *out, const value *v)
{
	add_text(out, 1, v_get(v, "title"));
	add_text(out, 2, v_get(v, "version"));
}

static void make_proto(struct buf *out, const value *v)
{
	add_text(out, 1, v_get(v, "swagger"));
	add_message(out, 2, make_info, v_get(v, "info"));
	add_message(out, 8, make_paths, v_get(v, "paths"));
	add_message(out, 9, make_named_schemas, v_get(v, "definitions"));
}

/* --- The request -------------------------------------------------------------------- */

static bool take_proto(void *arg, const struct accept *a)
{
	bool *proto = arg;
	static const char newer[] = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

	*proto = str_is(a->type, newer) || str_is(a->type, PROTO_TYPE);
	return *proto || str_eq(a->type, STR("application/json")) || str_eq(a->type, STR("*/*"));
}

enum outcome openapi_v2_get(struct request *q)
{
	bool proto = false;
	struct buf *kept;

	if (!accept_each(request_header(q, "Accept"), take_proto, &proto))
		return answer_status(q,
				     kube_status(q->z, 406, "NotAcceptable",
						 STR("only application/json and the protobuf form "
						     "of OpenAPI are served")));
	kept = proto ? &kept_proto : &kept_json;
	if (!kept->n) {
		zone *z = zone_new();
		value doc = make_document(z);

		if (proto)
			make_proto(kept, &doc);
		else
			json_encode(kept, &doc, NULL);
		zone_free(z);
	}
	buf_addstr(&q->out, buf_str(kept));
	q->code = 200;
	q->content_type = proto ? PROTO_TYPE : "application/json";
	return ANSWERED;
}

/*
 * protobuf.c - bodies in Kubernetes' protobuf form, as values.
 *
 * Go clients send built-in kinds in this form.  Field numbers come from
 * protobuf.txt, types from the schema.  Nothing of a message is trusted:
 * lengths are checked against what is left, depth is bounded, and unknown
 * fields are skipped as protobuf says.
 */
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>

#include "procs/kube/protobuf.h"
#include "weft/json.h"
#include "weft/kube.h"
#include "weft/schema.h"

enum wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

/* One field of a message. */
struct wire_field {
	unsigned number;
	enum wire wire;
	uint64_t n;	  /* varint and fixed */
	struct str bytes; /* WIRE_BYTES */
};

/* --- The wire ----------------------------------------------------------------------- */

static bool take_varint(struct str *in, uint64_t *out)
{
	*out = 0;
	for (unsigned shift = 0; shift < 64 && in->n; shift += 7) {
		uint8_t b = (uint8_t)*in->p;

		in->p++;
		in->n--;
		*out |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80))
			return true;
	}
	return false;
}

static bool take_bytes(struct str *in, uint64_t n, struct str *out)
{
	if (n > in->n)
		return false;
	*out = (struct str){in->p, (uint32_t)n};
	in->p += n;
	in->n -= (uint32_t)n;
	return true;
}

static bool take_fixed(struct str *in, unsigned size, uint64_t *out)
{
	struct str raw;

	if (!take_bytes(in, size, &raw))
		return false;
	*out = 0;
	for (unsigned i = size; i--;)
		*out = *out << 8 | (uint8_t)raw.p[i];
	return true;
}

static bool take_field(struct str *in, struct wire_field *f)
{
	uint64_t tag, n;

	if (!take_varint(in, &tag) || tag >> 3 > UINT32_MAX || !(tag >> 3))
		return false;
	*f = (struct wire_field){.number = (unsigned)(tag >> 3), .wire = (enum wire)(tag & 7)};
	switch (f->wire) {
	case WIRE_VARINT:
		return take_varint(in, &f->n);
	case WIRE_FIXED64:
		return take_fixed(in, 8, &f->n);
	case WIRE_FIXED32:
		return take_fixed(in, 4, &f->n);
	case WIRE_BYTES:
		return take_varint(in, &n) && take_bytes(in, n, &f->bytes);
	}
	return false;
}

/* The last field of this number; false if malformed.  f->number is 0 if there
 * is none. */
static bool find_field(struct str in, unsigned number, struct wire_field *out)
{
	struct wire_field f;

	*out = (struct wire_field){0};
	while (in.n) {
		if (!take_field(&in, &f))
			return false;
		if (f.number == number)
			*out = f;
	}
	return true;
}

/* --- Scalars that are messages ------------------------------------------------------ */

/* {seconds = 1, nanos = 2}; nothing in it is Go's zero time. */
static bool time_value(zone *z, struct str in, bool micro, value *out)
{
	struct wire_field s, ns;
	char text[28];

	if (!find_field(in, 1, &s) || !find_field(in, 2, &ns))
		return false;
	*out = v_null();
	if (!s.number && !ns.number)
		return true;
	if (micro)
		time_format_micro((int64_t)s.n * 1000000000 + (int64_t)ns.n, text);
	else
		time_format((uint32_t)s.n, text);
	*out = v_str(zone_str(z, str_of(text)));
	return true;
}

/* {type = 1, intVal = 2, strVal = 3} */
static bool int_or_string(zone *z, struct str in, value *out)
{
	struct wire_field type, num, text;

	if (!find_field(in, 1, &type) || !find_field(in, 2, &num) || !find_field(in, 3, &text))
		return false;
	*out = type.n ? v_str(zone_str(z, text.bytes)) : v_int((int32_t)num.n);
	return true;
}

/* {string = 1} */
static bool quantity(zone *z, struct str in, value *out)
{
	struct wire_field text;

	if (!find_field(in, 1, &text))
		return false;
	*out = v_str(zone_str(z, text.bytes));
	return true;
}

/* {raw = 1}: JSON */
static bool raw_json(zone *z, struct str in, value *out)
{
	struct wire_field raw;

	if (!find_field(in, 1, &raw))
		return false;
	*out = v_null();
	return !raw.bytes.n || !json_decode(z, raw.bytes, out, NULL, NULL);
}

static value base64(zone *z, struct str bytes)
{
	gnutls_datum_t in = {(unsigned char *)bytes.p, bytes.n}, b64 = {0};
	value v;

	if (!bytes.n || gnutls_base64_encode2(&in, &b64))
		return v_cstr("");
	v = v_str(zone_str(z, (struct str){(char *)b64.data, b64.size}));
	gnutls_free(b64.data);
	return v;
}

/* --- Messages ----------------------------------------------------------------------- */

static int compare_type(const void *key, const void *el)
{
	return strcmp(key, ((const struct proto_type *)el)->name);
}

static const struct proto_type *find_type(const char *name)
{
	return bsearch(name, proto_types, proto_type_count, sizeof(*proto_types), compare_type);
}

static bool message(zone *z, const struct kube_schema *s, const struct proto_type *t, struct str in,
		    value *out, int depth);

static bool single(zone *z, const struct kube_schema *s, const struct wire_field *f, value *out,
		   int depth);

/* {items = 1}, repeated strings: an array. */
static bool wrapped_list(zone *z, struct str in, value *out)
{
	struct wire_field f;

	*out = v_array();
	while (in.n) {
		if (!take_field(&in, &f))
			return false;
		if (f.number == 1 && f.wire == WIRE_BYTES)
			v_append(z, out, v_str(zone_str(z, f.bytes)));
	}
	return true;
}

/* {key = 1, value = 2}: one member of a map. */
static bool map_entry(zone *z, const struct kube_schema *s, struct str in, bool wrapped, value *map,
		      int depth)
{
	struct wire_field key, val;
	value v;

	if (!find_field(in, 1, &key) || !find_field(in, 2, &val))
		return false;
	if (!val.number) /* an empty value need not be written */
		val = (struct wire_field){.wire = WIRE_BYTES, .bytes = STR("")};
	if (wrapped ? !wrapped_list(z, val.bytes, &v) : !single(z, s->item, &val, &v, depth))
		return false;
	v_setn(z, map, zone_str(z, key.bytes), v);
	return true;
}

static bool single(zone *z, const struct kube_schema *s, const struct wire_field *f, value *out,
		   int depth)
{
	double d;

	switch (s->kind) {
	case SCHEMA_STRING:
		*out = v_str(zone_str(z, f->bytes));
		return f->wire == WIRE_BYTES && utf8_valid_prefix(f->bytes) == f->bytes.n;
	case SCHEMA_BYTES:
		*out = base64(z, f->bytes);
		return f->wire == WIRE_BYTES;
	case SCHEMA_BOOL:
		*out = v_bool(f->n != 0);
		return f->wire == WIRE_VARINT;
	case SCHEMA_INT32:
	case SCHEMA_INT64:
		*out = v_int((int64_t)f->n);
		return f->wire == WIRE_VARINT;
	case SCHEMA_DOUBLE:
		memcpy(&d, &f->n, sizeof(d));
		*out = v_float(d);
		return f->wire == WIRE_FIXED64;
	default:
		break;
	}
	if (f->wire != WIRE_BYTES)
		return false;
	switch (s->kind) {
	case SCHEMA_TIME:
	case SCHEMA_MICROTIME:
		return time_value(z, f->bytes, s->kind == SCHEMA_MICROTIME, out);
	case SCHEMA_QUANTITY:
		return quantity(z, f->bytes, out);
	case SCHEMA_INT_OR_STRING:
		return int_or_string(z, f->bytes, out);
	case SCHEMA_RAW:
	case SCHEMA_ANY:
		return raw_json(z, f->bytes, out);
	case SCHEMA_OBJECT:
		*out = v_map();
		return message(z, s, s->name ? find_type(s->name) : NULL, f->bytes, out, depth + 1);
	default:
		return false;
	}
}

/* Add what one field says to the object. */
static bool add_field(zone *z, const struct kube_schema *s, const struct proto_field *pf,
		      const struct wire_field *f, value *obj, int depth)
{
	const struct kube_field *field;
	value v;

	if (pf->inlined) {
		const struct proto_type *t = find_type(pf->inlined);

		return t && f->wire == WIRE_BYTES && message(z, s, t, f->bytes, obj, depth + 1);
	}
	field = schema_field(s, str_of(pf->name));
	if (!field)
		return true;
	if (field->type->kind == SCHEMA_MAP)
		return f->wire == WIRE_BYTES && map_entry(z, field->type, f->bytes, pf->wrapped,
							  v_map_at(z, obj, pf->name), depth);
	if (field->type->kind == SCHEMA_LIST && !pf->wrapped) {
		if (!single(z, field->type->item, f, &v, depth))
			return false;
		v_append(z, v_array_at(z, obj, pf->name), v);
		return true;
	}
	if (pf->wrapped ? !wrapped_list(z, f->bytes, &v) : !single(z, field->type, f, &v, depth))
		return false;
	v_set(z, obj, pf->name, v);
	return true;
}

static bool message(zone *z, const struct kube_schema *s, const struct proto_type *t, struct str in,
		    value *out, int depth)
{
	struct wire_field f;

	if (depth > VALUE_DEPTH_MAX)
		return false;
	while (in.n) {
		const struct proto_field *pf = NULL;

		if (!take_field(&in, &f))
			return false;
		for (unsigned i = 0; t && i < t->nfields && !pf; i++)
			if (t->fields[i].number == f.number)
				pf = &t->fields[i];
		if (pf && !add_field(z, s, pf, &f, out, depth))
			return false;
	}
	return true;
}

/* --- The envelope ---------------------------------------------------------- */

static int refuse(struct str *message, struct str why)
{
	*message = why;
	return WEFT_EINVAL;
}

/* "k8s\0", then {typeMeta = 1 {apiVersion = 1, kind = 2}, raw = 2}. */
int kube_protobuf_decode(zone *z, struct str bytes, value *out, struct str *why)
{
	static const char magic[4] = {'k', '8', 's', 0};
	struct wire_field meta, raw, api_version, kind;
	const struct kube_schema *s;

	if (bytes.n < sizeof(magic) || memcmp(bytes.p, magic, sizeof(magic)))
		return refuse(why, STR("provided data does not appear to be a protobuf message, "
				       "expected prefix [107 56 115 0]"));
	bytes.p += sizeof(magic);
	bytes.n -= sizeof(magic);
	if (!find_field(bytes, 1, &meta) || !find_field(bytes, 2, &raw) ||
	    !find_field(meta.bytes, 1, &api_version) || !find_field(meta.bytes, 2, &kind))
		return refuse(why, STR("the protobuf message is malformed"));
	s = kube_schema_of(api_version.bytes, kind.bytes);
	if (!s)
		return refuse(why, zone_printf(z,
					       "no kind \"" STR_FMT
					       "\" is registered for version \"" STR_FMT
					       "\" in scheme \"pkg/runtime/scheme.go:111\"",
					       STR_ARG(kind.bytes), STR_ARG(api_version.bytes)));
	*out = v_map();
	v_set(z, out, "kind", v_str(zone_str(z, kind.bytes)));
	v_set(z, out, "apiVersion", v_str(zone_str(z, api_version.bytes)));
	if (!message(z, s, find_type(s->name), raw.bytes, out, 0))
		return refuse(why, STR("the protobuf message is malformed"));
	return WEFT_OK;
}

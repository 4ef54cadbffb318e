/*
 * schema.h - Kubernetes' types as constant tables.
 *
 * A program (procs/kube/gen/) makes them at build time from
 * procs/kube/schema/{types.txt,resources.tsv}; nothing is built or read at run
 * time.  A type from a CustomResourceDefinition has the same form, made at run
 * time in a zone by whoever serves it.
 *
 * Every value has a schema, scalars too: walk objects by `fields`, lists and
 * maps by `item`.
 */
#ifndef WEFT_SCHEMA_H
#define WEFT_SCHEMA_H

#include "weft/base.h"

enum schema_kind {
	SCHEMA_OBJECT, /* `fields`; no fields: an empty struct, takes nothing */
	SCHEMA_LIST,   /* of `item` */
	SCHEMA_MAP,    /* string keys, values of `item` */
	SCHEMA_STRING,
	SCHEMA_BYTES, /* a string in base64 */
	SCHEMA_BOOL,
	SCHEMA_INT32,
	SCHEMA_INT64,
	SCHEMA_DOUBLE,
	SCHEMA_QUANTITY,
	SCHEMA_TIME,	  /* RFC 3339, whole seconds */
	SCHEMA_MICROTIME, /* RFC 3339, microseconds */
	SCHEMA_INT_OR_STRING,
	SCHEMA_RAW, /* an object of any form (RawExtension, FieldsV1) */
	SCHEMA_ANY, /* any value */
};

/* What is done with a field that is empty: absent, null, "", 0, false, {}, []. */
enum schema_mode {
	MODE_OMIT, /* never stored: an explicit 0 is the same as no field */
	MODE_PTR,  /* stored when it was given, even if empty; null is absent */
	MODE_ZERO, /* always stored: absent becomes "", 0, false or {} */
	MODE_NULL, /* always stored: absent becomes null */
};

enum schema_list { LIST_NONE, LIST_ATOMIC, LIST_SET, LIST_MAP };
enum schema_map { MAP_NONE, MAP_ATOMIC, MAP_GRANULAR };

enum schema_patch {
	PATCH_NONE = 0, /* lists and scalars are replaced, maps merged */
	PATCH_MERGE = 1,
	PATCH_RETAIN_KEYS = 2,
	PATCH_REPLACE = 4,
};

struct kube_schema;

struct kube_field {
	struct str name;
	const struct kube_schema *type;
	uint8_t mode;		      /* enum schema_mode */
	bool required;		      /* as the API description says; "" satisfies it */
	uint8_t list_type;	      /* enum schema_list */
	uint8_t map_type;	      /* enum schema_map */
	uint8_t patch;		      /* enum schema_patch, or-ed */
	const char *merge_key;	      /* strategic merge of a list; NULL: of scalars */
	const char *const *list_keys; /* LIST_MAP: the fields that identify an element */
	const char *default_json;     /* NULL: none; a JSON text */
	const char *go_type;	      /* of a named scalar ("v1.Protocol"), or NULL */
	const char *go_in;	      /* Go's embedded struct that has it, or NULL; for errors */
};

struct kube_gvk {
	const char *group, *version, *kind;
};

/* A union: at most one of `fields` is set, named by the discriminator. */
struct kube_union {
	const char *discriminator; /* "" : none */
	const char *const *fields; /* NULL-terminated: field, value, field, value ... */
};

struct kube_schema {
	uint8_t kind;	  /* enum schema_kind */
	uint8_t map_type; /* of an object: MAP_ATOMIC is replaced whole by apply */
	uint16_t nfields;
	uint16_t slot_mask; /* size of `slots` - 1 */
	uint32_t slot_seed;
	const struct kube_field *fields; /* by name, byte-wise */
	const uint8_t *slots;		 /* perfect hash: index of a field + 1, 0 for none */
	const struct kube_schema *item;	 /* of lists and maps */
	const char *name;	     /* "io.k8s.api.core.v1.Pod"; NULL for lists, maps, scalars */
	const char *go_name;	     /* "v1.Pod"; of scalars "string", "int32" */
	const struct kube_gvk *gvks; /* ends with kind == NULL; NULL if none */
	const struct kube_union *unions; /* ends with fields == NULL; NULL if none */
};

/* All named types, an array by name: for OpenAPI. */
const struct kube_schema *kube_schemas(uint32_t *n);
const struct kube_schema *kube_schema_named(struct str name);
/* "apps/v1" is of group "apps", version "v1"; "v1" of no group. */
void kube_split_version(struct str api_version, struct str *group, struct str *version);
/* The type of objects that say this of themselves ("apps/v1", "Deployment"); NULL: none. */
const struct kube_schema *kube_schema_of(struct str api_version, struct str kind);

/* The hash behind `slots`. */
static inline uint32_t schema_hash(struct str name, uint32_t seed)
{
	uint32_t h = seed;

	for (uint32_t i = 0; i < name.n; i++)
		h = (h ^ (uint8_t)name.p[i]) * 16777619u;
	return h ^ h >> 15;
}

/* A field of an object type, or NULL.  One hash, one compare. */
static inline const struct kube_field *schema_field(const struct kube_schema *s, struct str name)
{
	const struct kube_field *f;
	uint32_t i;

	if (s->kind != SCHEMA_OBJECT || !s->nfields)
		return NULL;
	i = s->slots[schema_hash(name, s->slot_seed) & s->slot_mask];
	if (!i)
		return NULL;
	f = &s->fields[i - 1];
	return str_eq(f->name, name) ? f : NULL;
}

/* The schema of a member: of a field, or of any key of a map; NULL if unknown. */
static inline const struct kube_schema *schema_member(const struct kube_schema *s, struct str name)
{
	const struct kube_field *f;

	if (s->kind == SCHEMA_MAP)
		return s->item;
	f = schema_field(s, name);
	return f ? f->type : NULL;
}

#endif

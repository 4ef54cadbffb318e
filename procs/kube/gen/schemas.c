/*
 * schemas.c - types as `struct kube_schema`.
 *
 * Named types become one array, `types`, sorted by name.  Each different list
 * or map type ("[Container]", "{string}") becomes one element of `nested`.
 */
#include <stdlib.h>
#include <string.h>

#include "procs/kube/gen/kubegen.h"
#include "procs/kube/gen/write.h"
#include "weft/schema.h"

static const struct scalar {
	const char *name, *kind, *go;
} scalars[] = {
	{"string", "SCHEMA_STRING", "string"},
	{"bytes", "SCHEMA_BYTES", "[]uint8"},
	{"bool", "SCHEMA_BOOL", "bool"},
	{"int32", "SCHEMA_INT32", "int32"},
	{"int64", "SCHEMA_INT64", "int64"},
	{"double", "SCHEMA_DOUBLE", "float64"},
	{"quantity", "SCHEMA_QUANTITY", "resource.Quantity"},
	{"time", "SCHEMA_TIME", "v1.Time"},
	{"microtime", "SCHEMA_MICROTIME", "v1.MicroTime"},
	{"intorstring", "SCHEMA_INT_OR_STRING", "intstr.IntOrString"},
};
#define NSCALARS (int)(sizeof(scalars) / sizeof(scalars[0]))

/* List and map types met so far; an element's own is always before it. */
struct nested {
	char *text;    /* in full names: "[io.k8s.api.core.v1.Container]" */
	char *go_name; /* "[]v1.Container" */
	char item[64]; /* C expression of the item's schema */
	bool map;
};
static struct nested *nested;
static int nnested, nested_cap;

struct resolved {
	char ref[64];  /* C expression */
	char *go_name; /* how Go's errors call it */
};

/* "v1.Pod" of "io.k8s.api.core.v1.Pod". */
static char *short_go(const struct gen_type *t)
{
	const char *dot = strrchr(t->package, '.');

	return gen_full_name(dot ? dot + 1 : t->package, t->name);
}

static struct resolved resolve(const struct gen *g, const char *package, const char *text);

static struct resolved resolve_nested(const struct gen *g, const char *package, const char *text)
{
	bool map = text[0] == '{';
	char *inner = strndup(text + 1, strlen(text) - 2), *full;
	struct resolved item = resolve(g, package, inner), r;
	int i = 0;

	if (asprintf(&full, "%c%s", text[0], item.ref) < 0 ||
	    asprintf(&r.go_name, "%s%s", map ? "map[string]" : "[]", item.go_name) < 0)
		gen_die("out of memory");
	while (i < nnested && strcmp(nested[i].text, full))
		i++;
	if (i == nnested) {
		nested = gen_grow(nested, nnested, &nested_cap, sizeof(*nested));
		nested[nnested].text = full;
		nested[nnested].go_name = r.go_name;
		nested[nnested].map = map;
		strcpy(nested[nnested++].item, item.ref);
	}
	snprintf(r.ref, sizeof(r.ref), "&nested[%d]", i);
	free(inner);
	return r;
}

/* The schema of a type as a field writes it. */
static struct resolved resolve(const struct gen *g, const char *package, const char *text)
{
	struct resolved r;
	int i;

	if (text[0] == '[' || text[0] == '{')
		return resolve_nested(g, package, text);
	for (i = 0; i < NSCALARS; i++)
		if (!strcmp(scalars[i].name, text)) {
			snprintf(r.ref, sizeof(r.ref), "&scalars[%d]", i);
			r.go_name = strdup(scalars[i].go);
			return r;
		}
	i = gen_find_type(g, gen_full_name(package, text));
	snprintf(r.ref, sizeof(r.ref), "&types[%d]", i);
	r.go_name = short_go(&g->types[i]);
	return r;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct gen_field *)a)->name, ((const struct gen_field *)b)->name);
}

/* A seed under which no two fields share a slot; false: none for this size. */
static bool find_seed(const struct gen_type *t, uint32_t mask, uint32_t *seed, uint8_t *slots)
{
	for (uint32_t s = 1; s < 20000; s++) {
		int i = 0;

		memset(slots, 0, mask + 1);
		for (; i < t->nfields; i++) {
			struct str name = str_of(t->fields[i].name);
			uint32_t h = schema_hash(name, s) & mask;

			if (slots[h])
				break;
			slots[h] = (uint8_t)(i + 1);
		}
		if (i == t->nfields) {
			*seed = s;
			return true;
		}
	}
	return false;
}

static void put_slots(const struct gen_type *t, int index, FILE *out, uint32_t *mask,
		      uint32_t *seed)
{
	uint8_t slots[4096];

	if (t->nfields > 255)
		gen_die("%s has more than 255 fields", t->full);
	for (*mask = 1; (int)*mask + 1 < t->nfields; *mask = *mask * 2 + 1)
		;
	while (!find_seed(t, *mask, seed, slots)) {
		*mask = *mask * 2 + 1;
		if (*mask >= sizeof(slots))
			gen_die("%s: no perfect hash", t->full);
	}
	fprintf(out, "static const uint8_t slots_%d[] = { ", index);
	for (uint32_t i = 0; i <= *mask; i++)
		fprintf(out, "%u, ", slots[i]);
	fputs("};\n", out);
}

/* One enum constant, checked against the words that there are. */
static const char *word(const char *what, const char *given, const char *const map[][2])
{
	for (int i = 0; map[i][0]; i++)
		if (!strcmp(map[i][0], given))
			return map[i][1];
	gen_die("%s: what is \"%s\"?", what, given);
}

static const char *const modes[][2] = {
	{"omit", "MODE_OMIT"}, {"ptr", "MODE_PTR"}, {"zero", "MODE_ZERO"},
	{"null", "MODE_NULL"}, {NULL, NULL},
};
static const char *const list_types[][2] = {
	{"atomic", "LIST_ATOMIC"},
	{"set", "LIST_SET"},
	{"map", "LIST_MAP"},
	{NULL, NULL},
};
static const char *const map_types[][2] = {
	{"atomic", "MAP_ATOMIC"},
	{"granular", "MAP_GRANULAR"},
	{NULL, NULL},
};
static const char *const patches[][2] = {
	{"merge", "PATCH_MERGE"},
	{"retainKeys", "PATCH_RETAIN_KEYS"},
	{"replace", "PATCH_REPLACE"},
	{"merge,retainKeys", "PATCH_MERGE | PATCH_RETAIN_KEYS"},
	{NULL, NULL},
};

/* A C string literal of a JSON text. */
static void put_quoted(FILE *out, const char *s)
{
	fputc('"', out);
	for (; *s; s++)
		fprintf(out, *s == '"' || *s == '\\' ? "\\%c" : "%c", *s);
	fputc('"', out);
}

static void put_field(const struct gen *g, const struct gen_type *t, const struct gen_field *f,
		      FILE *out)
{
	struct resolved r = resolve(g, t->package, f->type);

	fprintf(out, "\t{ .name = { \"%s\", %zu }, .type = %s, .mode = %s", f->name,
		strlen(f->name), r.ref, word(f->name, f->mode, modes));
	if (f->required)
		fputs(", .required = true", out);
	if (f->list)
		fprintf(out, ", .list_type = %s", word(f->name, f->list, list_types));
	if (f->map)
		fprintf(out, ", .map_type = %s", word(f->name, f->map, map_types));
	if (f->patch)
		fprintf(out, ", .patch = %s", word(f->name, f->patch, patches));
	if (f->key)
		fprintf(out, ", .merge_key = \"%s\"", f->key);
	if (f->keys) {
		fputs(", .list_keys = ", out);
		gen_put_strings(out, f->keys);
	}
	if (f->dflt) {
		fputs(", .default_json = ", out);
		put_quoted(out, f->dflt);
	}
	if (f->go)
		fprintf(out, ", .go_type = \"%s\"", f->go);
	if (f->in)
		fprintf(out, ", .go_in = \"%s\"", f->in);
	fputs(" },\n", out);
}

static void put_gvks(const struct gen_type *t, FILE *out)
{
	fputs(", .gvks = (const struct kube_gvk[]){ ", out);
	for (int i = 0; i < t->ngvks; i++) {
		char *copy = strdup(t->gvks[i]), *rest = copy;
		char *group = strsep(&rest, "/"), *version = strsep(&rest, "/");

		if (!version || !rest)
			gen_die("%s: gvk=%s", t->full, t->gvks[i]);
		fprintf(out, "{ \"%s\", \"%s\", \"%s\" }, ", group, version, rest);
		free(copy);
	}
	fputs("{ 0 } }", out);
}

/* "discriminator;field:Value,field:Value" */
static void put_unions(const struct gen_type *t, FILE *out)
{
	fputs(", .unions = (const struct kube_union[]){ ", out);
	for (int i = 0; i < t->nunions; i++) {
		char *copy = strdup(t->unions[i]), *rest = copy, *name = strsep(&rest, ";");

		if (!rest)
			gen_die("%s: union=%s", t->full, t->unions[i]);
		for (char *c = rest; *c; c++)
			if (*c == ':')
				*c = ',';
		fprintf(out, "{ \"%s\", ", name);
		gen_put_strings(out, rest);
		fputs(" }, ", out);
		free(copy);
	}
	fputs("{ 0 } }", out);
}

static void put_type(const struct gen_type *t, int index, uint32_t mask, uint32_t seed, FILE *out)
{
	const char *kind = !strcmp(t->form, "any")   ? "SCHEMA_ANY"
			   : !strcmp(t->form, "raw") ? "SCHEMA_RAW"
						     : "SCHEMA_OBJECT";

	fprintf(out, "\t{ .kind = %s, .name = \"%s\", .go_name = \"%s\"", kind, t->full,
		short_go(t));
	if (t->nfields)
		fprintf(out,
			", .nfields = %d, .fields = fields_%d, .slots = slots_%d, "
			".slot_mask = %u, .slot_seed = %u",
			t->nfields, index, index, mask, seed);
	if (t->map)
		fprintf(out, ", .map_type = %s", word(t->full, t->map, map_types));
	if (t->ngvks)
		put_gvks(t, out);
	if (t->nunions)
		put_unions(t, out);
	fputs(" },\n", out);
}

static void put_scalars_and_nested(FILE *out)
{
	fputs("static const struct kube_schema scalars[] = {\n", out);
	for (int i = 0; i < NSCALARS; i++)
		fprintf(out, "\t{ .kind = %s, .go_name = \"%s\" },\n", scalars[i].kind,
			scalars[i].go);
	fprintf(out, "};\nstatic const struct kube_schema nested[%d] = {\n", nnested);
	for (int i = 0; i < nnested; i++)
		fprintf(out, "\t{ .kind = %s, .item = %s, .go_name = \"%s\" },\n",
			nested[i].map ? "SCHEMA_MAP" : "SCHEMA_LIST", nested[i].item,
			nested[i].go_name);
	fputs("};\n", out);
}

void gen_put_schemas(const struct gen *g, FILE *out)
{
	uint32_t *masks = calloc((size_t)g->ntypes, sizeof(*masks));
	uint32_t *seeds = calloc((size_t)g->ntypes, sizeof(*seeds));

	if (!masks || !seeds)
		gen_die("out of memory");
	for (int i = 0; i < g->ntypes; i++) {
		qsort(g->types[i].fields, (size_t)g->types[i].nfields, sizeof(struct gen_field),
		      by_name);
		for (int f = 0; f < g->types[i].nfields; f++)
			resolve(g, g->types[i].package, g->types[i].fields[f].type);
	}
	fprintf(out, "static const struct kube_schema types[%d];\n", g->ntypes);
	fprintf(out, "static const struct kube_schema nested[%d];\n", nnested);
	put_scalars_and_nested(out);
	for (int i = 0; i < g->ntypes; i++) {
		const struct gen_type *t = &g->types[i];

		if (!t->nfields)
			continue;
		fprintf(out, "static const struct kube_field fields_%d[] = {\n", i);
		for (int f = 0; f < t->nfields; f++)
			put_field(g, t, &t->fields[f], out);
		fputs("};\n", out);
		put_slots(t, i, out, &masks[i], &seeds[i]);
	}
	fprintf(out, "static const struct kube_schema types[%d] = {\n", g->ntypes);
	for (int i = 0; i < g->ntypes; i++)
		put_type(&g->types[i], i, masks[i], seeds[i], out);
	fputs("};\n\n", out);
	fprintf(out,
		"const struct kube_schema *kube_schemas(uint32_t *n)\n"
		"{\n\t*n = %d;\n\treturn types;\n}\n\n",
		g->ntypes);
	free(masks);
	free(seeds);
}

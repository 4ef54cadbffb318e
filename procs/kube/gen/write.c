/* write.c - the schema as C source: numbers of kinds, resources, and the whole file. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "procs/kube/gen/kubegen.h"
#include "procs/kube/gen/write.h"

static bool is_sub(const struct gen_resource *r)
{
	return strchr(r->resource, '/') != NULL;
}

/* "-" in a column: nothing. */
static const char *or_empty(const char *s)
{
	return strcmp(s, "-") ? s : "";
}

static void put_upper(FILE *out, const char *s)
{
	for (; *s; s++)
		fputc(toupper((unsigned char)*s), out);
}

void gen_write_types_h(const struct gen *g, FILE *out)
{
	int max = 0;

	fputs("/* Made by kubegen from procs/kube/schema/resources.tsv. */\n"
	      "#ifndef WEFT_KUBE_TYPES_H\n#define WEFT_KUBE_TYPES_H\n\n"
	      "/* Kinds that are stored; the numbers are permanent. */\n"
	      "enum kube_type {\n\tTYPE_NONE = 0,\n",
	      out);
	for (int i = 0; i < g->nresources; i++) {
		const struct gen_resource *r = &g->resources[i];

		if (!strcmp(r->stored, "yes")) {
			fputs("\tTYPE_", out);
			put_upper(out, r->kind);
			fprintf(out, " = %s,\n", r->id);
		}
		if (atoi(r->id) > max)
			max = atoi(r->id);
	}
	fprintf(out, "\tTYPE_MAX = %d,\n};\n\n#endif\n", max + 1);
}

/* "S_CORE_V1_POD" of io.k8s.api.core.v1.Pod; other packages the same way:
 * S_META_V1_OBJECTMETA, S_APIEXTENSIONS_V1_JSON. */
static void put_schema_id(FILE *out, const char *full)
{
	const char *p = full + strlen(full);

	for (int dots = 0; p > full; p--)
		if (p[-1] == '.' && ++dots == 3)
			break;
	fputs("S_", out);
	for (; *p; p++)
		fputc(*p == '.' || *p == '-' ? '_' : toupper((unsigned char)*p), out);
}

void gen_write_ids_h(const struct gen *g, FILE *out)
{
	fputs("/* Made by kubegen: each type's place in kube_schemas(). */\n"
	      "#ifndef KUBE_SCHEMA_IDS_H\n#define KUBE_SCHEMA_IDS_H\n\nenum kube_schema_id {\n",
	      out);
	for (int i = 0; i < g->ntypes; i++) {
		fputc('\t', out);
		put_schema_id(out, g->types[i].full);
		fprintf(out, " = %d,\n", i);
	}
	fprintf(out, "\tS_COUNT = %d,\n};\n\n#endif\n", g->ntypes);
}

/* A list of words as a NULL-terminated array of strings, in place. */
void gen_put_strings(FILE *out, const char *words)
{
	char *copy = strdup(words), *rest = copy, *w;

	fputs("(const char *const[]){ ", out);
	while ((w = strsep(&rest, ",")))
		if (*w)
			fprintf(out, "\"%s\", ", w);
	fputs("NULL }", out);
	free(copy);
}

static void put_verbs(FILE *out, const char *verbs)
{
	char *copy = strdup(verbs), *rest = copy, *w;

	while ((w = strsep(&rest, ","))) {
		fputs("VERB_", out);
		put_upper(out, w);
		fputs(rest ? " | " : "", out);
	}
	free(copy);
}

/* The schema that has this group, version and kind, or -1 (options of proxies). */
static int find_gvk(const struct gen *g, const char *group, const char *version, const char *kind)
{
	char want[256];

	snprintf(want, sizeof(want), "%s/%s/%s", group, version, kind);
	for (int i = 0; i < g->ntypes; i++)
		for (int k = 0; k < g->types[i].ngvks; k++)
			if (!strcmp(g->types[i].gvks[k], want))
				return i;
	return -1;
}

/* One subresource; its kind may be written "group/version.Kind". */
static void put_sub(FILE *out, const struct gen_resource *r)
{
	char *kind = strdup(r->kind), *dot = strrchr(kind, '.'), *slash = strchr(kind, '/');

	fprintf(out, "\t{ .name = \"%s\", ", strchr(r->resource, '/') + 1);
	if (dot && slash) {
		*slash = *dot = 0;
		fprintf(out, ".kind = \"%s\", .group = \"%s\", .version = \"%s\", ", dot + 1, kind,
			slash + 1);
	} else {
		fprintf(out, ".kind = \"%s\", ", r->kind);
	}
	fputs(".verbs = ", out);
	put_verbs(out, r->verbs);
	fputs(" },\n", out);
	free(kind);
}

static int nsubs(const struct gen *g, int parent)
{
	int n = 0;

	while (parent + 1 + n < g->nresources && is_sub(&g->resources[parent + 1 + n]))
		n++;
	return n;
}

static void put_resource(const struct gen *g, int i, FILE *out)
{
	const struct gen_resource *r = &g->resources[i];
	const char *group = or_empty(r->group);
	int schema = find_gvk(g, group, r->version, r->kind);

	if (schema < 0)
		gen_die("no type for %s/%s %s", group, r->version, r->kind);
	fprintf(out, "\t{ .type = %d, .namespaced = %s, .stored_version = %s,\n", atoi(r->id),
		strcmp(r->scope, "Namespaced") ? "false" : "true",
		strcmp(r->stored, "yes") ? "false" : "true");
	fprintf(out, "\t  .group = \"%s\", .version = \"%s\",\n", group, r->version);
	fprintf(out, "\t  .resource = \"%s\", .singular = \"%s\",\n", r->resource, r->singular);
	fprintf(out, "\t  .kind = \"%s\", .list_kind = \"%sList\", .api_version = \"%s%s%s\",\n",
		r->kind, r->kind, group, *group ? "/" : "", r->version);
	fputs("\t  .short_names = ", out);
	gen_put_strings(out, or_empty(r->shorts));
	fputs(", .categories = ", out);
	gen_put_strings(out, or_empty(r->categories));
	fputs(",\n\t  .verbs = ", out);
	put_verbs(out, r->verbs);
	if (nsubs(g, i))
		fprintf(out, ",\n\t  .subs = subs_%d, .nsubs = %d", i, nsubs(g, i));
	fprintf(out, ",\n\t  .schema = &types[%d] },\n", schema);
}

static void put_resources(const struct gen *g, FILE *out)
{
	int n = 0;

	for (int i = 0; i < g->nresources; i++) {
		if (is_sub(&g->resources[i]))
			continue;
		if (nsubs(g, i))
			fprintf(out, "static const struct kube_subresource subs_%d[] = {\n", i);
		for (int s = 1; s <= nsubs(g, i); s++)
			put_sub(out, &g->resources[i + s]);
		if (nsubs(g, i))
			fputs("};\n", out);
	}
	fputs("\nconst struct kube_resource kube_resource_table[] = {\n", out);
	for (int i = 0; i < g->nresources; i++)
		if (!is_sub(&g->resources[i])) {
			put_resource(g, i, out);
			n++;
		}
	fprintf(out, "};\nconst uint32_t kube_nresources = %d;\n\n", n);
}

/* By number of a kind: the stored version. */
static void put_by_type(const struct gen *g, FILE *out)
{
	int n = 0;

	fputs("const struct kube_resource *const kube_type_table[TYPE_MAX] = {\n", out);
	for (int i = 0; i < g->nresources; i++) {
		if (is_sub(&g->resources[i]))
			continue;
		if (!strcmp(g->resources[i].stored, "yes"))
			fprintf(out, "\t[%s] = &kube_resource_table[%d],\n", g->resources[i].id, n);
		n++;
	}
	fputs("};\n", out);
}

void gen_write_tables(const struct gen *g, FILE *out)
{
	fputs("/* Made by kubegen from procs/kube/schema/. */\n"
	      "#include \"procs/kube/tables.h\"\n\n",
	      out);
	gen_put_schemas(g, out);
	put_resources(g, out);
	put_by_type(g, out);
}

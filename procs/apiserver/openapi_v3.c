/*
 * openapi_v3.c - /openapi/v3: an index, and a document for each group version.
 *
 * Documents are made when first asked for and kept.  The index names each with
 * a hash, so that clients need not fetch what they have; the hash is of the
 * build, as nothing else changes a document.
 */
#include <stdlib.h>
#include "procs/apiserver/openapi.h"
#include "procs/apiserver/openapi_doc.h"

static const char build_stamp[] = __DATE__ " " __TIME__;

/* One for each group version, in the order of kube_resources(). */
struct document {
	const char *group, *version;
	struct buf text;
	struct document *next;
};
static struct document *all_documents;

static struct document *find_document(const char *group, const char *version)
{
	struct document **k;

	for (k = &all_documents; *k; k = &(*k)->next)
		if (!strcmp((*k)->group, group) && !strcmp((*k)->version, version))
			return *k;
	*k = calloc(1, sizeof(**k));
	weft_assert(*k);
	(*k)->group = group;
	(*k)->version = version;
	return *k;
}

static struct str path_of(zone *z, const char *group, const char *version)
{
	return group[0] ? zone_printf(z, "apis/%s/%s", group, version)
			: zone_printf(z, "api/%s", version);
}

static uint64_t hash_of(struct str path)
{
	uint64_t h = 14695981039346656037u;

	for (uint32_t i = 0; i < path.n; i++)
		h = (h ^ (uint8_t)path.p[i]) * 1099511628211u;
	for (const char *p = build_stamp; *p; p++)
		h = (h ^ (uint8_t)*p) * 1099511628211u;
	return h;
}

static enum outcome index_get(struct request *q)
{
	uint32_t n;
	const struct kube_resource *r = kube_resources(&n);
	value v = v_map(), *paths = v_map_at(q->z, &v, "paths");

	for (uint32_t i = 0; i < n; i++) {
		struct str path = path_of(q->z, r[i].group, r[i].version);
		value one = v_map();

		v_set(q->z, &one, "serverRelativeURL",
		      v_str(zone_printf(q->z, "/openapi/v3/" STR_FMT "?hash=%016llX", STR_ARG(path),
					(unsigned long long)hash_of(path))));
		v_setn(q->z, paths, path, one);
	}
	return answer_value(q, 200, &v);
}

static void make_document(struct document *k)
{
	zone *z = zone_new();
	struct doc d = doc_new(z, OPENAPI_V3);
	value v = v_map(), info = v_map(), paths = v_map(), components = v_map();

	v_set(z, &info, "title", v_cstr("Kubernetes"));
	v_set(z, &info, "version", v_cstr("1.37"));
	doc_add_paths(&d, k->group, k->version, &paths);
	v_set(z, &components, "schemas", doc_schemas(&d));
	v_set(z, &v, "openapi", v_cstr("3.0.0"));
	v_set(z, &v, "info", info);
	v_set(z, &v, "paths", paths);
	v_set(z, &v, "components", components);
	json_encode(&k->text, &v, NULL);
	zone_free(z);
}

enum outcome openapi_v3_get(struct request *q)
{
	static const char prefix[] = "/openapi/v3/";
	uint32_t n;
	const struct kube_resource *r = kube_resources(&n);
	struct str path = q->path;

	if (path.n < sizeof(prefix))
		return index_get(q);
	path.p += sizeof(prefix) - 1;
	path.n -= sizeof(prefix) - 1;
	for (uint32_t i = 0; i < n; i++) {
		struct document *k;

		if (!str_eq(path, path_of(q->z, r[i].group, r[i].version)))
			continue;
		k = find_document(r[i].group, r[i].version);
		if (!k->text.n)
			make_document(k);
		buf_addstr(&q->out, buf_str(&k->text));
		q->code = 200;
		if (query_has(&q->query, "hash"))
			q->cacheable = true;
		return ANSWERED;
	}
	return answer_no_page(q);
}

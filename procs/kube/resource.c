/* resource.c - finding resources and types in the generated tables. */
#include "procs/kube/tables.h"

const struct kube_resource *kube_resources(uint32_t *n)
{
	*n = kube_nresources;
	return kube_resource_table;
}

/* The table's order: group, version, resource. */
static int compare(const struct kube_resource *r, struct str group, struct str version,
		   struct str resource)
{
	int c = str_cmp(str_of(r->group), group);

	if (!c)
		c = str_cmp(str_of(r->version), version);
	return c ? c : str_cmp(str_of(r->resource), resource);
}

const struct kube_resource *kube_resource(struct str group, struct str version, struct str resource)
{
	uint32_t low = 0, high = kube_nresources;

	while (low < high) {
		uint32_t mid = (low + high) / 2;
		int c = compare(&kube_resource_table[mid], group, version, resource);

		if (!c)
			return &kube_resource_table[mid];
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

const struct kube_resource *kube_by_kind(struct str group, struct str version, struct str kind)
{
	for (uint32_t i = 0; i < kube_nresources; i++) {
		const struct kube_resource *r = &kube_resource_table[i];

		if (str_is(kind, r->kind) && str_is(group, r->group) && str_is(version, r->version))
			return r;
	}
	return NULL;
}

const struct kube_resource *kube_by_type(uint16_t type)
{
	return type < TYPE_MAX ? kube_type_table[type] : NULL;
}

const struct kube_subresource *kube_subresource(const struct kube_resource *r, struct str name)
{
	for (uint32_t i = 0; i < r->nsubs; i++)
		if (str_is(name, r->subs[i].name))
			return &r->subs[i];
	return NULL;
}

bool kube_type_in_memory(uint16_t type)
{
	return type == TYPE_LEASE || type == TYPE_EVENT;
}

void kube_split_version(struct str api_version, struct str *group, struct str *version)
{
	struct str rest = api_version, first = str_cut(&rest, '/');
	bool grouped = first.n < api_version.n;

	*group = grouped ? first : STR("");
	*version = grouped ? rest : api_version;
}

const struct kube_schema *kube_schema_of(struct str api_version, struct str kind)
{
	struct str group, version;
	uint32_t n;
	const struct kube_schema *all = kube_schemas(&n);

	kube_split_version(api_version, &group, &version);
	for (uint32_t i = 0; i < n; i++)
		for (const struct kube_gvk *g = all[i].gvks; g && g->kind; g++)
			if (str_is(kind, g->kind) && str_is(group, g->group) &&
			    str_is(version, g->version))
				return &all[i];
	return NULL;
}

const struct kube_schema *kube_schema_named(struct str name)
{
	uint32_t low = 0, high;
	const struct kube_schema *types = kube_schemas(&high);

	while (low < high) {
		uint32_t mid = (low + high) / 2;
		int c = str_cmp(str_of(types[mid].name), name);

		if (!c)
			return &types[mid];
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

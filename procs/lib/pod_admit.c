/* pod_admit.c - admission of pods that controllers make; see pod_admit.h. */
#include "procs/lib/pod_admit.h"

static int refuse(zone *z, struct str prefix, struct str why, struct str *message)
{
	*message = zone_printf(z, "pods \"" STR_FMT "\" is forbidden: " STR_FMT, STR_ARG(prefix),
			       STR_ARG(why));
	return WEFT_EFORBIDDEN;
}

static bool is_built_in(struct str class)
{
	return str_eq(class, STR("system-node-critical")) ||
	       str_eq(class, STR("system-cluster-critical"));
}

static bool read_class(zone *z, const struct cache *c, const struct entry *e, value *class)
{
	const struct version *v = e ? cache_live(c, e) : NULL;

	if (v)
		*class = kube_part(z, c, e, v, PART_REST);
	return v != NULL;
}

/* The class for pods that name none: of several the lowest. */
static const struct entry *find_default(zone *z, const struct cache *c, value *class)
{
	const struct entry *e, *best = NULL;
	struct cache_iter it;
	value one;

	cache_iter_init(&it, c, TYPE_PRIORITYCLASS, (struct str){0}, (struct str){0},
			(struct str){0});
	while ((e = cache_iter_next(&it))) {
		if (!read_class(z, c, e, &one) || !v_get_bool(&one, "globalDefault", false) ||
		    (best && v_get_int(&one, "value", 0) >= v_get_int(class, "value", 0)))
			continue;
		best = e;
		*class = one;
	}
	return best;
}

static int admit_priority(zone *z, const struct cache *c, struct str prefix, value *spec,
			  struct str *message)
{
	struct str name = v_get_str(spec, "priorityClassName");
	const struct entry *e;
	value class, *policy;

	if (is_built_in(name))
		return WEFT_OK;
	e = name.n ? cache_find(c, TYPE_PRIORITYCLASS, (struct str){0}, name)
		   : find_default(z, c, &class);
	if (!e && !name.n)
		return WEFT_OK;
	if (!e || !read_class(z, c, e, &class))
		return refuse(z, prefix,
			      zone_printf(z, "no PriorityClass with name " STR_FMT " was found",
					  STR_ARG(name)),
			      message);
	if (!name.n)
		v_set(z, spec, "priorityClassName", v_str(entry_name(e)));
	v_set(z, spec, "priority", v_int(v_get_int(&class, "value", 0)));
	policy = v_get(&class, "preemptionPolicy");
	if (policy && !v_get(spec, "preemptionPolicy"))
		v_set(z, spec, "preemptionPolicy", *policy);
	return WEFT_OK;
}

int pod_admit(zone *z, const struct cache *c, struct str ns, struct str prefix, value *template,
	      struct str *message)
{
	value *spec = v_map_at(z, template, "spec");
	struct str account = v_get_str(spec, "serviceAccountName");

	if (!account.n)
		account = STR("default");
	if (!cache_find(c, TYPE_SERVICEACCOUNT, ns, account))
		return refuse(z, prefix,
			      zone_printf(z,
					  "error looking up service account " STR_FMT "/" STR_FMT
					  ": serviceaccount \"" STR_FMT "\" not found",
					  STR_ARG(ns), STR_ARG(account), STR_ARG(account)),
			      message);
	return admit_priority(z, c, prefix, spec, message);
}

/* validate_meta.c - metadata: names, labels, owners, finalizers; and what an update may change. */
#include "procs/kube/validate.h"

/* A name that is still to get a suffix may end in '-'. */
static void check_generate_name(struct validation *v, const struct at *at, struct str s,
				name_check *name)
{
	char *p = zone_alloc(v->z, s.n + 1);
	struct texts t = {.n = 0};

	memcpy(p, s.p, s.n);
	if (s.n && p[s.n - 1] == '-')
		p[s.n - 1] = 'a';
	name(&t, (struct str){p, s.n});
	for (uint32_t i = 0; i < t.n; i++)
		bad_invalid(v, at, SHOW(s), "%s", t.text[i]);
}

static void check_names(struct validation *v, const struct at *at, const value *meta,
			bool namespaced, name_check *name)
{
	struct str generate = v_get_str(meta, "generateName"), own = v_get_str(meta, "name");
	struct str ns = v_get_str(meta, "namespace");

	if (generate.n)
		check_generate_name(v, FIELD(at, "generateName"), generate, name);
	if (own.n)
		check_name(v, FIELD(at, "name"), own, name);
	else
		bad_required(v, FIELD(at, "name"), "name or generateName is required");
	if (namespaced && !ns.n)
		bad_required(v, FIELD(at, "namespace"), NULL);
	else if (namespaced)
		check_name(v, FIELD(at, "namespace"), ns, names_label);
	else if (ns.n)
		bad_forbidden(v, FIELD(at, "namespace"), "not allowed on this type");
}

/* --- Owners ------------------------------------------------------------------------ */

static void check_member(struct validation *v, const struct at *at, const value *map,
			 const char *key)
{
	if (!v_get_str(map, key).n)
		bad_required(v, FIELD(at, key), "must not be empty");
}

static void check_owner(struct validation *v, const struct at *at, const value *ref)
{
	struct str version = v_get_str(ref, "apiVersion");
	const char *slash = version.n ? memchr(version.p, '/', version.n) : NULL;

	if (!version.n)
		bad_required(v, FIELD(at, "apiVersion"), "must not be empty");
	else if (slash && memchr(slash + 1, '/', version.n - (size_t)(slash + 1 - version.p)))
		bad_invalid(v, FIELD(at, "apiVersion"), SHOW(version),
			    "must be <group>/<version> or <version>");
	check_member(v, at, ref, "kind");
	check_member(v, at, ref, "name");
	check_member(v, at, ref, "uid");
	if (is_str(ref, "kind", "Event") && is_str(ref, "apiVersion", "v1"))
		bad_invalid(v, at, ref, "/v1, Kind=Event is disallowed from being an owner");
}

static void check_owners(struct validation *v, const struct at *at, const value *refs)
{
	const value *first = NULL;
	uint32_t i = 0;

	v_each(ref, refs)
		check_owner(v, INDEX(at, i++), ref);
	v_each(ref, refs) {
		if (!v_get_bool(ref, "controller", false))
			continue;
		if (first) {
			bad_invalid(v, at, refs,
				    "Only one reference can have Controller set to true. Found "
				    "\"true\" in references for " STR_FMT "/" STR_FMT
				    " and " STR_FMT "/" STR_FMT,
				    STR_ARG(v_get_str(first, "kind")),
				    STR_ARG(v_get_str(first, "name")),
				    STR_ARG(v_get_str(ref, "kind")),
				    STR_ARG(v_get_str(ref, "name")));
			return;
		}
		first = ref;
	}
}

/* --- Finalizers -------------------------------------------------------------------- */

static bool in_list(const value *list, struct str s)
{
	v_each(el, list)
		if (str_eq(v_as_str(el), s))
			return true;
	return false;
}

static bool is_known_finalizer(struct str s)
{
	return str_eq(s, STR("orphan")) || str_eq(s, STR("foregroundDeletion")) ||
	       str_eq(s, STR("kubernetes"));
}

static void check_finalizers(struct validation *v, const struct at *at, const value *list)
{
	uint32_t i = 0;

	v_each(f, list)
		check_name(v, at, v_as_str(f), names_qualified);
	if (in_list(list, STR("orphan")) && in_list(list, STR("foregroundDeletion")))
		bad_invalid(v, at, list,
			    "finalizer orphan and foregroundDeletion cannot be both set");
	v_each(f, list) {
		struct str s = v_as_str(f);

		if (!(s.n && memchr(s.p, '/', s.n)) && !is_known_finalizer(s))
			bad_invalid(v, INDEX(at, i), f,
				    "name is neither a standard finalizer name nor is it fully "
				    "qualified");
		i++;
	}
}

/* --- Entry points ------------------------------------------------------------------ */

void check_metadata(struct validation *v, const struct at *at, const value *meta, bool namespaced,
		    name_check *name)
{
	check_names(v, at, meta, namespaced, name);
	check_labels(v, FIELD(at, "labels"), v_get(meta, "labels"));
	check_annotations(v, FIELD(at, "annotations"), v_get(meta, "annotations"));
	check_owners(v, FIELD(at, "ownerReferences"), v_get(meta, "ownerReferences"));
	check_finalizers(v, FIELD(at, "finalizers"), v_get(meta, "finalizers"));
}

/* Nothing may hold up a deletion that has begun. */
static void check_new_finalizers(struct validation *v, const struct at *at, const value *meta,
				 const value *was)
{
	struct buf b = {0};

	v_each(f, v_get(meta, "finalizers")) {
		if (in_list(v_get(was, "finalizers"), v_as_str(f)))
			continue;
		buf_printf(&b, "%s\"" STR_FMT "\"", b.n ? ", " : "", STR_ARG(v_as_str(f)));
	}
	if (b.n)
		bad_forbidden(v, FIELD(at, "finalizers"),
			      "no new finalizers can be added if the object is being deleted, "
			      "found new finalizers []string{" STR_FMT "}",
			      STR_ARG(buf_str(&b)));
	buf_free(&b);
}

void check_metadata_update(struct validation *v, const struct at *at, const value *meta,
			   const value *was)
{
	static const char *const fixed[] = {
		"name", "namespace", "uid", "deletionTimestamp", "deletionGracePeriodSeconds",
	};

	if (v_get_str(was, "deletionTimestamp").n)
		check_new_finalizers(v, at, meta, was);
	for (size_t i = 0; i < countof(fixed); i++)
		check_immutable(v, FIELD(at, fixed[i]), v_get(meta, fixed[i]),
				v_get(was, fixed[i]));
}

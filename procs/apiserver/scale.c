/*
 * scale.c - the scale of a workload: autoscaling/v1 Scale, read from and
 * written to the workload itself.
 */
#include "procs/apiserver/body.h"
#include "procs/apiserver/item.h"
#include "procs/apiserver/patch.h"
#include "procs/apiserver/verbs.h"
#include "weft/schema.h"

static struct str selector_text(zone *z, const struct kube_resource *r, const value *obj)
{
	const value *selector = v_path(obj, "spec.selector");
	struct kube_selector *s = NULL;
	struct str why;

	if (r->type == TYPE_REPLICATIONCONTROLLER)
		s = kube_selector_from_map(z, selector);
	else if (kube_selector_from(z, selector, &s, &why))
		s = NULL;
	return s ? kube_selector_print(z, s) : STR("");
}

/* The Scale of a workload. */
static value scale_of(zone *z, const struct kube_resource *r, const value *obj)
{
	static const char *const kept[] = {"name", "namespace", "uid", "resourceVersion",
					   "creationTimestamp"};
	value v = v_map(), meta = v_map(), spec = v_map(), status = v_map();
	struct str selector = selector_text(z, r, obj);
	int64_t replicas = v_as_int(v_path(obj, "spec.replicas"), 0);

	for (size_t i = 0; i < countof(kept); i++) {
		const value *m = v_get(v_get(obj, "metadata"), kept[i]);

		if (m)
			v_set(z, &meta, kept[i], *m);
	}
	if (replicas)
		v_set(z, &spec, "replicas", v_int(replicas));
	v_set(z, &status, "replicas", v_int(v_as_int(v_path(obj, "status.replicas"), 0)));
	if (selector.n)
		v_set(z, &status, "selector", v_str(selector));
	v_set(z, &v, "kind", v_cstr("Scale"));
	v_set(z, &v, "apiVersion", v_cstr("autoscaling/v1"));
	v_set(z, &v, "metadata", meta);
	v_set(z, &v, "spec", spec);
	v_set(z, &v, "status", status);
	return v;
}

enum outcome scale_get(struct request *q)
{
	value obj, scale;

	if (negotiate(q, false, false))
		return ANSWERED;
	if (!item_read(q, 0, 0, &obj))
		return answer_status(q, kube_status_not_found(q->z, q->t.r, q->t.name));
	scale = scale_of(q->z, q->t.r, &obj);
	return answer_value(q, 200, &scale);
}

/* --- Writing ------------------------------------------------------------------------ */

struct scaling {
	struct change ch;
	bool is_patch;
	value body; /* the Scale that was sent */
	struct patch patch;
};

static enum outcome answer_scale(struct request *q, uint32_t entry, uint64_t rv, value *made)
{
	value obj, scale;

	if (!entry || !item_read(q, entry, rv, &obj))
		obj = *made;
	scale = scale_of(q->z, q->t.r, &obj);
	return answer_value(q, 200, &scale);
}

static int refuse_negative(struct request *q, int64_t replicas)
{
	static const struct kube_resource scale = {
		.group = "autoscaling", .version = "v1", .resource = "scales", .kind = "Scale"};
	struct kube_errors errs = {.z = q->z};

	if (replicas >= 0)
		return WEFT_OK;
	kube_error_add(&errs, STR("spec.replicas"), "FieldValueInvalid",
		       "Invalid value: %lld: must be greater than or equal to 0",
		       (long long)replicas);
	answer_status(q, kube_status_invalid(q->z, &scale, q->t.name, &errs));
	return WEFT_EINVAL;
}

static int make_scaled(struct request *q, void *arg, value *old, value *obj)
{
	struct scaling *s = arg;
	value was = scale_of(q->z, s->ch.r, old),
	      scale = v_copy(q->z, s->is_patch ? &was : &s->body);
	int64_t replicas;

	if (s->is_patch) {
		struct str why;

		if (s->patch.form == PATCH_STRATEGIC)
			s->patch.form = PATCH_JSON_MERGE; /* a Scale has no lists */
		if (patch_apply(q, s->ch.r, &s->patch, &scale))
			return WEFT_EINVAL;
		if (kube_check_as(q->z, kube_schema_named(STR("io.k8s.api.autoscaling.v1.Scale")),
				  &scale, &(struct kube_notes){0}, &why)) {
			answer_bad_request(q, why);
			return WEFT_EINVAL;
		}
	}
	if (check_identity(q, &s->ch, &scale, old))
		return WEFT_EINVAL;
	replicas = v_as_int(v_path(&scale, "spec.replicas"), 0);
	if (refuse_negative(q, replicas))
		return WEFT_EINVAL;
	s->ch.once =
		!s->is_patch && names_version(v_as_str(v_path(&scale, "metadata.resourceVersion")));
	*obj = *old;
	v_set(q->z, v_map_at(q->z, obj, "spec"), "replicas", v_int(replicas));
	return WEFT_OK;
}

static struct scaling *scaling_new(struct request *q, bool is_patch)
{
	struct scaling *s = zone_alloc(q->z, sizeof(*s));

	*s = (struct scaling){.ch = {.r = q->t.r,
				     .ns = q->t.ns,
				     .name = q->t.name,
				     .make = make_scaled,
				     .arg = s,
				     .answer = answer_scale},
			      .is_patch = is_patch};
	s->ch.sub = STR("");
	return s;
}

enum outcome scale_update(struct request *q)
{
	struct scaling *s = scaling_new(q, false);

	if (negotiate(q, false, false) || dry_run_parse(q, &s->ch.dry_run) ||
	    body_typed(q, "autoscaling/v1", "Scale", &s->body))
		return ANSWERED;
	return write_change(q, &s->ch);
}

enum outcome scale_patch(struct request *q)
{
	struct scaling *s = scaling_new(q, true);

	if (negotiate(q, false, false) || dry_run_parse(q, &s->ch.dry_run) ||
	    patch_read(q, &s->patch))
		return ANSWERED;
	return write_change(q, &s->ch);
}

/* validate_placement.c - where a pod may go: selectors, affinity, tolerations, spread. */
#include "procs/kube/validate.h"

/* --- Tolerations ------------------------------------------------------------------- */

void check_toleration(struct validation *v, const struct at *at, const value *t)
{
	struct str key = v_get_str(t, "key"), val = v_get_str(t, "value");
	struct str op = v_get_str(t, "operator"), effect = v_get_str(t, "effect");
	const struct at *operator= FIELD(at, "operator");

	if (key.n)
		check_name(v, FIELD(at, "key"), key, names_qualified);
	else if (!str_eq(op, STR("Exists")))
		bad_invalid(v, operator, SHOW(op),
			    "operator must be Exists when `key` is empty, which means \"match all "
			    "values and all keys\"");
	if (!v_is_null(v_get(t, "tolerationSeconds")) && !str_eq(effect, STR("NoExecute")))
		bad_invalid(v, FIELD(at, "effect"), SHOW(effect),
			    "effect must be 'NoExecute' when `tolerationSeconds` is set");
	if (!op.n || str_eq(op, STR("Equal")))
		check_name(v, operator, val, names_label_value);
	else if (!str_eq(op, STR("Exists")))
		bad_supported(v, operator, SHOW(op), LIST("Equal", "Exists"));
	else if (val.n)
		bad_invalid(v, operator, SHOW(val),
			    "value must be empty when `operator` is 'Exists'");
	if (effect.n)
		check_one_of(v, at, t, "effect",
			     LIST("NoSchedule", "PreferNoSchedule", "NoExecute"));
}

/* --- Node affinity ----------------------------------------------------------------- */

static void check_node_expression(struct validation *v, const struct at *at, const value *e)
{
	struct str op = v_get_str(e, "operator");
	const struct at *values = FIELD(at, "values");
	uint32_t n = v_len(v_get(e, "values"));

	if (str_eq(op, STR("In")) || str_eq(op, STR("NotIn"))) {
		if (!n)
			bad_required(v, values,
				     "must be specified when `operator` is 'In' or 'NotIn'");
	} else if (str_eq(op, STR("Exists")) || str_eq(op, STR("DoesNotExist"))) {
		if (n)
			bad_forbidden(v, values,
				      "may not be specified when `operator` is "
				      "'Exists' or 'DoesNotExist'");
	} else if (str_eq(op, STR("Gt")) || str_eq(op, STR("Lt"))) {
		if (n != 1)
			bad_required(v, values,
				     "must be specified single value when `operator` is 'Lt' or "
				     "'Gt'");
	} else {
		bad_invalid(v, FIELD(at, "operator"), SHOW(op), "not a valid selector operator");
	}
	check_name(v, FIELD(at, "key"), v_get_str(e, "key"), names_qualified);
}

static void check_node_field(struct validation *v, const struct at *at, const value *e)
{
	struct str op = v_get_str(e, "operator"), key = v_get_str(e, "key");
	uint32_t i = 0;

	if (!str_eq(op, STR("In")) && !str_eq(op, STR("NotIn")))
		bad_invalid(v, FIELD(at, "operator"), SHOW(op), "not a valid selector operator");
	else if (v_len(v_get(e, "values")) != 1)
		bad_required(v, FIELD(at, "values"),
			     "must be only one value when `operator` is 'In' or 'NotIn' for node "
			     "field selector");
	if (!str_eq(key, STR("metadata.name"))) {
		bad_invalid(v, FIELD(at, "key"), SHOW(key), "not a valid field selector key");
		return;
	}
	v_each(el, v_get(e, "values"))
		check_name(v, INDEX(FIELD(at, "values"), i++), v_as_str(el), names_subdomain);
}

void check_node_selector_term(struct validation *v, const struct at *at, const value *term)
{
	uint32_t i = 0;

	v_each(e, v_get(term, "matchExpressions"))
		check_node_expression(v, INDEX(FIELD(at, "matchExpressions"), i++), e);
	i = 0;
	v_each(e, v_get(term, "matchFields"))
		check_node_field(v, INDEX(FIELD(at, "matchFields"), i++), e);
}

static void check_weight(struct validation *v, const struct at *at, const value *term)
{
	int64_t weight = v_get_int(term, "weight", 0);

	if (weight < 1 || weight > 100)
		bad_invalid(v, FIELD(at, "weight"), v_get(term, "weight"),
			    "must be in the range 1-100");
}

#define REQUIRED  "requiredDuringSchedulingIgnoredDuringExecution"
#define PREFERRED "preferredDuringSchedulingIgnoredDuringExecution"

static void check_node_affinity(struct validation *v, const struct at *at, const value *a)
{
	const value *required = v_get(a, REQUIRED), *terms = v_get(required, "nodeSelectorTerms");
	const struct at *list = FIELD(FIELD(at, REQUIRED), "nodeSelectorTerms");
	uint32_t i = 0;

	if (v_is_map(required) && !v_len(terms))
		bad_required(v, list, "must have at least one node selector term");
	v_each(t, terms)
		check_node_selector_term(v, INDEX(list, i++), t);
	i = 0;
	v_each(p, v_get(a, PREFERRED)) {
		const struct at *place = INDEX(FIELD(at, PREFERRED), i++);

		check_weight(v, place, p);
		check_node_selector_term(v, FIELD(place, "preference"), v_get(p, "preference"));
	}
}

/* --- Pod affinity ------------------------------------------------------------------ */

static void check_topology_key(struct validation *v, const struct at *at, const value *term)
{
	struct str key = v_get_str(term, "topologyKey");

	if (!key.n)
		bad_required(v, FIELD(at, "topologyKey"), "can not be empty");
	check_name(v, FIELD(at, "topologyKey"), key, names_qualified);
}

static void check_affinity_term(struct validation *v, const struct at *at, const value *term)
{
	check_selector(v, FIELD(at, "labelSelector"), v_get(term, "labelSelector"));
	check_selector(v, FIELD(at, "namespaceSelector"), v_get(term, "namespaceSelector"));
	v_each(ns, v_get(term, "namespaces"))
		check_name(v, FIELD(at, "namespace"), v_as_str(ns), names_label);
	check_topology_key(v, at, term);
}

static void check_pod_affinity(struct validation *v, const struct at *at, const value *a)
{
	uint32_t i = 0;

	v_each(t, v_get(a, REQUIRED))
		check_affinity_term(v, INDEX(FIELD(at, REQUIRED), i++), t);
	i = 0;
	v_each(p, v_get(a, PREFERRED)) {
		const struct at *place = INDEX(FIELD(at, PREFERRED), i++);

		check_weight(v, place, p);
		check_affinity_term(v, FIELD(place, "podAffinityTerm"),
				    v_get(p, "podAffinityTerm"));
	}
}

/* --- Spread ------------------------------------------------------------------------ */

static void check_min_domains(struct validation *v, const struct at *at, const value *c)
{
	const value *n = v_get(c, "minDomains");
	struct str when = v_get_str(c, "whenUnsatisfiable");

	if (v_is_null(n))
		return;
	if (v_as_int(n, 1) <= 0)
		bad_invalid(v, FIELD(at, "minDomains"), n, "must be greater than zero");
	if (!str_eq(when, STR("DoNotSchedule")))
		bad_invalid(
			v, FIELD(at, "minDomains"), n,
			"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not " STR_FMT,
			STR_ARG(when));
}

static void check_not_repeated(struct validation *v, const struct at *at, const value *list,
			       uint32_t i)
{
	const value *c = v_at(list, i);
	struct str key = v_get_str(c, "topologyKey"), when = v_get_str(c, "whenUnsatisfiable");

	for (uint32_t k = i + 1; k < v_len(list); k++) {
		struct str shown;

		if (!str_eq(v_get_str(v_at(list, k), "topologyKey"), key) ||
		    !str_eq(v_get_str(v_at(list, k), "whenUnsatisfiable"), when))
			continue;
		shown = zone_printf(v->z, "{" STR_FMT ", " STR_FMT "}", STR_ARG(key),
				    STR_ARG(when));
		bad_duplicate(v, FIELD(at, "{topologyKey, whenUnsatisfiable}"), SHOW(shown));
		return;
	}
}

static void check_spread(struct validation *v, const struct at *list, const value *constraints)
{
	for (uint32_t i = 0; i < v_len(constraints); i++) {
		const value *c = v_at(constraints, i);
		const struct at *at = INDEX(list, i);

		if (v_get_int(c, "maxSkew", 0) <= 0)
			bad_invalid(v, FIELD(at, "maxSkew"), v_get(c, "maxSkew"),
				    "must be greater than zero");
		if (!v_get_str(c, "topologyKey").n)
			bad_required(v, FIELD(at, "topologyKey"), "can not be empty");
		else
			check_name(v, FIELD(at, "topologyKey"), v_get_str(c, "topologyKey"),
				   names_qualified);
		check_one_of(v, at, c, "whenUnsatisfiable",
			     LIST("DoNotSchedule", "ScheduleAnyway"));
		check_not_repeated(v, at, constraints, i);
		check_min_domains(v, at, c);
		check_one_of(v, at, c, "nodeAffinityPolicy", LIST("Honor", "Ignore"));
		check_one_of(v, at, c, "nodeTaintsPolicy", LIST("Honor", "Ignore"));
		if (v_len(v_get(c, "matchLabelKeys")) && v_is_null(v_get(c, "labelSelector")))
			bad_forbidden(v, FIELD(at, "matchLabelKeys"),
				      "must not be specified when labelSelector is not set");
		check_selector(v, FIELD(at, "labelSelector"), v_get(c, "labelSelector"));
	}
}

void check_pod_placement(struct validation *v, const struct at *at, const value *spec)
{
	const value *affinity = v_get(spec, "affinity");
	const struct at *place = FIELD(at, "affinity");
	uint32_t i = 0;

	check_labels(v, FIELD(at, "nodeSelector"), v_get(spec, "nodeSelector"));
	check_node_affinity(v, FIELD(place, "nodeAffinity"), v_get(affinity, "nodeAffinity"));
	check_pod_affinity(v, FIELD(place, "podAffinity"), v_get(affinity, "podAffinity"));
	check_pod_affinity(v, FIELD(place, "podAntiAffinity"), v_get(affinity, "podAntiAffinity"));
	v_each(t, v_get(spec, "tolerations"))
		check_toleration(v, INDEX(FIELD(at, "tolerations"), i++), t);
	check_spread(v, FIELD(at, "topologySpreadConstraints"),
		     v_get(spec, "topologySpreadConstraints"));
}

/*
 * convert.c - between the versions of one kind.
 *
 * Events differ in names alone.  A HorizontalPodAutoscaler in version 1 knows
 * one metric; what it has no field for lies in annotations, as JSON.
 */
#include <ctype.h>

#include "weft/json.h"
#include "weft/kube.h"

static void set_version(zone *z, const struct kube_resource *to, value *obj)
{
	v_set(z, obj, "apiVersion", v_cstr(to->api_version));
	v_set(z, obj, "kind", v_cstr(to->kind));
}

/* Give a member another name. */
static void rename_member(value *map, const char *from, const char *to)
{
	v_each_kv(kv, map)
		if (str_is(v_as_str(&kv->key), from))
			kv->key = v_cstr(to);
}

/* Move a member out of `from`, under a new name; false if there is none. */
static bool move(zone *z, value *from, const char *key, value *to, const char *name)
{
	value *m = v_get(from, key), taken;

	if (v_is_null(m))
		return false;
	taken = *m;
	v_del(from, key);
	v_set(z, to, name, taken);
	return true;
}

/* --- Events ------------------------------------------------------------------------- */

/* Core's name, the name in events.k8s.io. */
static const char *const event_names[][2] = {
	{"involvedObject", "regarding"},
	{"message", "note"},
	{"source", "deprecatedSource"},
	{"firstTimestamp", "deprecatedFirstTimestamp"},
	{"lastTimestamp", "deprecatedLastTimestamp"},
	{"count", "deprecatedCount"},
	{"reportingComponent", "reportingController"},
};

static void convert_event(zone *z, const struct kube_resource *to, value *obj)
{
	bool core = !*to->group;

	for (size_t i = 0; i < countof(event_names); i++)
		rename_member(obj, event_names[i][core], event_names[i][!core]);
}

/* --- Metrics of an autoscaler ------------------------------------------------------- */

#define METRICS	   "autoscaling.alpha.kubernetes.io/metrics"
#define CURRENT	   "autoscaling.alpha.kubernetes.io/current-metrics"
#define CONDITIONS "autoscaling.alpha.kubernetes.io/conditions"
#define BEHAVIOR   "autoscaling.alpha.kubernetes.io/behavior"

/* How a source of version 2 is laid out in version 1: "a.b" is a member of a
 * member, and what has no row keeps its name. */
struct layout {
	const char *source;
	const char *names[8][2]; /* version 2, version 1 */
};

static const struct layout wanted[] = {
	{"resource",
	 {{"target.averageUtilization", "targetAverageUtilization"},
	  {"target.averageValue", "targetAverageValue"}}},
	{"containerResource",
	 {{"target.averageUtilization", "targetAverageUtilization"},
	  {"target.averageValue", "targetAverageValue"}}},
	{"pods",
	 {{"metric.name", "metricName"},
	  {"metric.selector", "selector"},
	  {"target.averageValue", "targetAverageValue"}}},
	{"object",
	 {{"metric.name", "metricName"},
	  {"metric.selector", "selector"},
	  {"target.value", "targetValue"},
	  {"target.averageValue", "averageValue"},
	  {"describedObject", "target"}}},
	{"external",
	 {{"metric.name", "metricName"},
	  {"metric.selector", "metricSelector"},
	  {"target.value", "targetValue"},
	  {"target.averageValue", "targetAverageValue"}}},
};

static const struct layout measured[] = {
	{"resource",
	 {{"current.averageUtilization", "currentAverageUtilization"},
	  {"current.averageValue", "currentAverageValue"}}},
	{"containerResource",
	 {{"current.averageUtilization", "currentAverageUtilization"},
	  {"current.averageValue", "currentAverageValue"}}},
	{"pods",
	 {{"metric.name", "metricName"},
	  {"metric.selector", "selector"},
	  {"current.averageValue", "currentAverageValue"}}},
	{"object",
	 {{"metric.name", "metricName"},
	  {"metric.selector", "selector"},
	  {"current.value", "currentValue"},
	  {"current.averageValue", "averageValue"},
	  {"describedObject", "target"}}},
	{"external",
	 {{"metric.name", "metricName"},
	  {"metric.selector", "metricSelector"},
	  {"current.value", "currentValue"},
	  {"current.averageValue", "currentAverageValue"}}},
};

/* Split "a.b"; false if there is no dot. */
static bool split_name(zone *z, const char *name, const char **outer, const char **inner)
{
	const char *dot = strchr(name, '.');

	*inner = dot ? dot + 1 : name;
	*outer = dot ? zone_printf(z, "%.*s", (int)(dot - name), name).p : NULL;
	return dot != NULL;
}

static void flatten_source(zone *z, const struct layout *l, value *source)
{
	value flat = v_map();

	for (int i = 0; i < 8 && l->names[i][0]; i++) {
		const char *outer, *inner;
		value *from = source;

		if (split_name(z, l->names[i][0], &outer, &inner))
			from = v_get(source, outer);
		move(z, from, inner, &flat, l->names[i][1]);
	}
	v_del(source, "target");
	v_del(source, "current");
	v_del(source, "metric");
	v_each_kv(kv, &flat)
		v_setn(z, source, v_as_str(&kv->key), kv->val);
}

static const char *target_type(const value *target)
{
	if (v_get(target, "averageUtilization"))
		return "Utilization";
	return v_get(target, "averageValue") ? "AverageValue" : "Value";
}

static void unflatten_source(zone *z, const struct layout *l, value *source, bool goal)
{
	value deep = v_map();

	for (int i = 0; i < 8 && l->names[i][0]; i++) {
		const char *outer, *inner;
		value *to = &deep;

		if (v_is_null(v_get(source, l->names[i][1])))
			continue;
		if (split_name(z, l->names[i][0], &outer, &inner))
			to = v_map_at(z, &deep, outer);
		move(z, source, l->names[i][1], to, inner);
	}
	v_each_kv(kv, &deep)
		v_setn(z, source, v_as_str(&kv->key), kv->val);
	if (goal)
		v_set(z, v_map_at(z, source, "target"), "type",
		      v_cstr(target_type(v_get(source, "target"))));
}

static void convert_metric(zone *z, value *metric, const struct layout *layouts, bool flatten)
{
	for (size_t i = 0; i < countof(wanted); i++) {
		value *source = v_get(metric, layouts[i].source);

		if (!v_is_map(source))
			continue;
		if (flatten)
			flatten_source(z, &layouts[i], source);
		else
			unflatten_source(z, &layouts[i], source, layouts == wanted);
	}
}

/* --- Annotations -------------------------------------------------------------------- */

static void put_annotation(zone *z, value *obj, const char *name, const value *v)
{
	value *annotations = v_map_at(z, v_map_at(z, obj, "metadata"), "annotations");
	struct buf b = {0};

	json_encode(&b, v, NULL);
	v_set(z, annotations, name, v_str(zone_str(z, buf_str(&b))));
	buf_free(&b);
}

static bool take_annotation(zone *z, value *obj, const char *name, value *out)
{
	value *meta = v_get(obj, "metadata"), *annotations = v_get(meta, "annotations");
	struct str text = v_get_str(annotations, name);
	bool good;

	if (!text.n)
		return false;
	good = !json_decode(z, text, out, NULL, NULL);
	v_del(annotations, name);
	if (!v_len(annotations))
		v_del(meta, "annotations");
	return good;
}

/* Keys with their first letter in upper or lower case, all the way down. */
static void recase(zone *z, value *v, int (*to)(int))
{
	v_each(el, v)
		recase(z, el, to);
	v_each_kv(kv, v) {
		struct str key = zone_str(z, v_as_str(&kv->key));

		if (key.n)
			((char *)key.p)[0] = (char)to((unsigned char)key.p[0]);
		kv->key = v_str(key);
		recase(z, &kv->val, to);
	}
}

/* --- Autoscalers -------------------------------------------------------------------- */

static bool is_cpu(const value *metric)
{
	return str_eq(v_get_str(metric, "type"), STR("Resource")) &&
	       str_eq(v_get_str(v_get(metric, "resource"), "name"), STR("cpu"));
}

/* The utilization of the CPU leaves the list and becomes a field; the rest of
 * the list goes into an annotation. */
static void lists_to_v1(zone *z, value *obj, value *part, const char *list, const char *goal,
			const char *field, const char *annotation, const struct layout *layouts)
{
	value rest = v_array(), *percent;

	v_each(m, v_get(part, list)) {
		percent = v_get(v_get(v_get(m, "resource"), goal), "averageUtilization");
		if (is_cpu(m) && percent && !v_get(part, field)) {
			v_set(z, part, field, *percent);
			continue;
		}
		convert_metric(z, m, layouts, true);
		v_append(z, &rest, *m);
	}
	v_del(part, list);
	if (v_len(&rest))
		put_annotation(z, obj, annotation, &rest);
}

static void hpa_to_v1(zone *z, value *obj)
{
	value *spec = v_map_at(z, obj, "spec"), *behavior, *conditions;

	lists_to_v1(z, obj, spec, "metrics", "target", "targetCPUUtilizationPercentage", METRICS,
		    wanted);
	spec = v_get(obj, "spec");
	behavior = v_get(spec, "behavior");
	if (v_is_map(behavior)) {
		v_each_kv(rules, behavior)
			if (v_is_map(&rules->val) && !v_get(&rules->val, "tolerance"))
				v_set(z, &rules->val, "tolerance", v_null());
		recase(z, behavior, toupper);
		put_annotation(z, obj, BEHAVIOR, behavior);
		v_del(v_get(obj, "spec"), "behavior");
	}
	lists_to_v1(z, obj, v_map_at(z, obj, "status"), "currentMetrics", "current",
		    "currentCPUUtilizationPercentage", CURRENT, measured);
	conditions = v_path(obj, "status.conditions");
	if (v_len(conditions))
		put_annotation(z, obj, CONDITIONS, conditions);
	v_del(v_get(obj, "status"), "conditions");
}

static value cpu_metric(zone *z, const char *goal, value percent)
{
	value target = v_map(), resource = v_map(), metric = v_map();

	v_set(z, &target, "averageUtilization", percent);
	if (!strcmp(goal, "target"))
		v_set(z, &target, "type", v_cstr("Utilization"));
	v_set(z, &resource, "name", v_cstr("cpu"));
	v_set(z, &resource, goal, target);
	v_set(z, &metric, "type", v_cstr("Resource"));
	v_set(z, &metric, "resource", resource);
	return metric;
}

static void lists_to_v2(zone *z, value *obj, const char *name, const char *list, const char *goal,
			const char *field, const char *annotation, const struct layout *layouts)
{
	value metrics = v_array(), *part, *percent;

	if (!take_annotation(z, obj, annotation, &metrics) || !v_is_array(&metrics))
		metrics = v_array();
	v_each(m, &metrics)
		convert_metric(z, m, layouts, false);
	part = v_map_at(z, obj, name);
	percent = v_get(part, field);
	if (!v_is_null(percent)) {
		value cpu = cpu_metric(z, goal, *percent);

		v_append(z, &metrics, cpu);
	}
	v_del(part, field);
	if (v_len(&metrics))
		v_set(z, part, list, metrics);
}

static void hpa_to_v2(zone *z, value *obj)
{
	value kept;

	lists_to_v2(z, obj, "spec", "metrics", "target", "targetCPUUtilizationPercentage", METRICS,
		    wanted);
	lists_to_v2(z, obj, "status", "currentMetrics", "current",
		    "currentCPUUtilizationPercentage", CURRENT, measured);
	if (take_annotation(z, obj, BEHAVIOR, &kept) && v_is_map(&kept)) {
		recase(z, &kept, tolower);
		v_set(z, v_get(obj, "spec"), "behavior", kept);
	}
	if (take_annotation(z, obj, CONDITIONS, &kept) && v_is_array(&kept))
		v_set(z, v_get(obj, "status"), "conditions", kept);
}

int kube_convert(zone *z, const struct kube_resource *from, const struct kube_resource *to,
		 value *obj)
{
	struct str message;

	if (from == to)
		return WEFT_OK;
	if (from->type != to->type || !from->type)
		return WEFT_EINVAL;
	if (from->type == TYPE_EVENT)
		convert_event(z, to, obj);
	else if (from->type == TYPE_HORIZONTALPODAUTOSCALER && !strcmp(to->version, "v1"))
		hpa_to_v1(z, obj);
	else if (from->type == TYPE_HORIZONTALPODAUTOSCALER)
		hpa_to_v2(z, obj);
	else
		return WEFT_EINVAL;
	set_version(z, to, obj);
	if (kube_check_as(z, to->schema, obj, NULL, &message)) /* what one version always has */
		return WEFT_EINVAL;
	kube_default_as(z, to->schema, obj);
	return WEFT_OK;
}

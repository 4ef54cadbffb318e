/*
 * condition.c - lists of {type, status, reason, message, times}.
 */
#include "weft/kube.h"

static int64_t find(const value *conditions, const char *type)
{
	for (uint32_t i = 0; i < v_len(conditions); i++)
		if (str_is(v_get_str(v_at(conditions, i), "type"), type))
			return i;
	return -1;
}

value *kube_condition(const value *conditions, const char *type)
{
	int64_t i = v_is_array(conditions) ? find(conditions, type) : -1;

	return i < 0 ? NULL : v_at(conditions, (uint32_t)i);
}

static value time_value(zone *z, uint32_t wall_s)
{
	char text[21];

	time_format(wall_s, text);
	return v_str(zone_str(z, (struct str){text, 20}));
}

bool kube_condition_set(zone *z, value *conditions, const char *type, const char *status,
			const char *reason, struct str message, uint32_t now_s, bool update_time)
{
	value *old = kube_condition(conditions, type);
	bool same_status = old && str_is(v_get_str(old, "status"), status);
	value since = same_status && v_get(old, "lastTransitionTime")
			      ? *v_get(old, "lastTransitionTime")
			      : time_value(z, now_s);
	value c = v_map();

	if (same_status && str_is(v_get_str(old, "reason"), reason) &&
	    str_eq(v_get_str(old, "message"), message))
		return false;
	v_set(z, &c, "type", v_cstr(type));
	v_set(z, &c, "status", v_cstr(status));
	if (update_time)
		v_set(z, &c, "lastUpdateTime", time_value(z, now_s));
	v_set(z, &c, "lastTransitionTime", since);
	if (reason && *reason)
		v_set(z, &c, "reason", v_cstr(reason));
	if (message.n)
		v_set(z, &c, "message", v_str(message));
	if (!v_is_array(conditions))
		*conditions = v_array();
	if (old && !update_time) {
		*old = c;
		return true;
	}
	kube_condition_del(conditions, type);
	v_append(z, conditions, c);
	return true;
}

bool kube_condition_del(value *conditions, const char *type)
{
	int64_t i = v_is_array(conditions) ? find(conditions, type) : -1;

	if (i < 0)
		return false;
	v_remove(conditions, (uint32_t)i);
	return true;
}

void kube_disruption_set(zone *z, value *status, const char *reason, const char *message,
			 uint32_t now_s, uint32_t generation)
{
	value *conditions;

	if (!v_is_map(status))
		*status = v_map();
	conditions = v_array_at(z, status, "conditions");
	kube_condition_set(z, conditions, "DisruptionTarget", "True", reason, str_of(message),
			   now_s, false);
	if (generation)
		v_set(z, kube_condition(conditions, "DisruptionTarget"), "observedGeneration",
		      v_uint(generation));
}

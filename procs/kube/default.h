/*
 * default.h - defaults that code sets in Kubernetes, by type.
 *
 * A walk over an object (default.c) visits every struct in it, outer before
 * inner, and looks its type up here: first the presets, then the function,
 * then what the schema says.  So a type has its defaults wherever it occurs.
 */
#ifndef KUBE_DEFAULT_H
#define KUBE_DEFAULT_H

#include "kube_schema_ids.h" /* generated */
#include "weft/value.h"

/* A field that is absent becomes this. */
enum preset_kind { PRESET_STR = 1, PRESET_INT, PRESET_BOOL, PRESET_MAP };
struct preset {
	const char *field; /* NULL ends a list */
	enum preset_kind kind;
	const char *text;
	int64_t number;
};

struct type_defaults {
	const struct preset *presets;
	void (*set)(zone *z, value *v); /* v is a map of this type */
};

extern const struct type_defaults kube_type_defaults[S_COUNT];

/* Set a member that is absent (or null). */
static inline void default_str(zone *z, value *map, const char *key, const char *text)
{
	if (v_is_null(v_get(map, key)))
		v_set(z, map, key, v_cstr(text));
}

static inline void default_int(zone *z, value *map, const char *key, int64_t n)
{
	if (v_is_null(v_get(map, key)))
		v_set(z, map, key, v_int(n));
}

static inline void default_bool(zone *z, value *map, const char *key, bool b)
{
	if (v_is_null(v_get(map, key)))
		v_set(z, map, key, v_bool(b));
}

/* Defaults of core types; the table names them. */
void default_replication_controller(zone *z, value *v);
void default_volume(zone *z, value *v);
void default_container(zone *z, value *v);
void default_service(zone *z, value *v);
void default_secret(zone *z, value *v);
void default_pod(zone *z, value *v);
void default_pod_status(zone *z, value *v);
void default_pod_spec(zone *z, value *v);
void default_namespace(zone *z, value *v);
void default_node_status(zone *z, value *v);
void default_limit_range_item(zone *z, value *v);

/* Everything else. */
void default_deployment_strategy(zone *z, value *v);
void default_daemonset_strategy(zone *z, value *v);
void default_statefulset_spec(zone *z, value *v);
void default_job(zone *z, value *v);
void default_hpa_v1_spec(zone *z, value *v);
void default_hpa_v2_spec(zone *z, value *v);
void default_hpa_behavior(zone *z, value *v);
void default_network_policy_spec(zone *z, value *v);
void default_rbac_subject(zone *z, value *v);
void default_csi_driver_spec(zone *z, value *v);
void default_crd(zone *z, value *v);

#endif

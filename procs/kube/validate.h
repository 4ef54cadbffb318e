/*
 * validate.h - what all validation shares: where the walk is, how errors are
 * put, and the checks that many kinds use.
 *
 * Places are chains of frames on the C stack (FIELD, KEY, INDEX); a path is
 * printed only for an error, so a good object costs no memory.
 */
#ifndef KUBE_VALIDATE_H
#define KUBE_VALIDATE_H

#include "procs/kube/names.h"
#include "weft/kube.h"

struct at {
	const struct at *up;
	const char *name; /* of a field; NULL: key or index */
	struct str key;	  /* key.p == NULL: index */
	uint32_t index;
};

#define FIELD(up_, name_) (&(const struct at){.up = (up_), .name = (name_)})
#define KEY(up_, key_)	  (&(const struct at){.up = (up_), .key = (key_)})
#define INDEX(up_, i_)	  (&(const struct at){.up = (up_), .index = (i_)})
#define SPEC		  FIELD(NULL, "spec")

/* Strings for checks that take a NULL-terminated list of them. */
/* clang-format off */
#define LIST(...) (const char *const[]){__VA_ARGS__, NULL}
/* clang-format on */

extern const value empty_text; /* "", as an error shows it */

struct validation {
	zone *z;
	struct kube_errors *errs;
	const struct kube_resource *r;
};

/* --- Errors.  `shown` is the value as the message shows it; NULL is null. ----------- */

void bad_required(struct validation *v, const struct at *at, const char *detail); /* or NULL */
void bad_invalid(struct validation *v, const struct at *at, const value *shown, const char *fmt,
		 ...) __attribute__((format(printf, 4, 5)));
void bad_forbidden(struct validation *v, const struct at *at, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void bad_supported(struct validation *v, const struct at *at, const value *shown,
		   const char *const *list); /* NULL-terminated: what there is */
void bad_duplicate(struct validation *v, const struct at *at, const value *shown);
void bad_not_found(struct validation *v, const struct at *at, struct str what,
		   const char *detail); /* or NULL */
void bad_too_long(struct validation *v, const struct at *at, uint32_t max);

/* --- Checks ------------------------------------------------------------------------- */

/* Each text that `check` has about `s` is an error at `at`; true if there is none. */
bool check_name(struct validation *v, const struct at *at, struct str s, name_check *check);
/* A member that is a string: required, and of a form. */
bool check_required(struct validation *v, const struct at *at, const value *map, const char *key);
/* map[key], if it is there, is one of the list (a string). */
bool check_one_of(struct validation *v, const struct at *at, const value *map, const char *key,
		  const char *const *list);
/* map[key], if it is there, is not negative. */
bool check_not_negative(struct validation *v, const struct at *at, const value *map,
			const char *key);
/* map[key], if it is there, is within bounds ("must be between 1 and 65535, inclusive"). */
bool check_between(struct validation *v, const struct at *at, const value *map, const char *key,
		   int64_t low, int64_t high);
/* A port by number or name. */
void check_port(struct validation *v, const struct at *at, const value *port);
/* Labels, at `at` itself (metadata.labels, spec.nodeSelector). */
void check_labels(struct validation *v, const struct at *at, const value *labels);
void check_annotations(struct validation *v, const struct at *at, const value *annotations);
/* A LabelSelector. */
void check_selector(struct validation *v, const struct at *at, const value *selector);
bool is_same(const value *a, const value *b); /* absent is null */
/* new == old, or "field is immutable". */
bool check_immutable(struct validation *v, const struct at *at, const value *now, const value *was);
bool has_prefix(struct str s, const char *prefix);
bool has_backstep(struct str path);				  /* ".." as one of its parts */
bool is_str(const value *map, const char *key, const char *text); /* map[key] is `text` */

/* A string as a value to show. */
#define SHOW(s) \
	(&(const value){.type = MSGPACK_OBJECT_STR, .via.str = {.size = (s).n, .ptr = (s).p}})

/* --- Parts that several kinds have -------------------------------------------------- */

/* Metadata of an object; `name` is the rule of its kind. */
void check_metadata(struct validation *v, const struct at *at, const value *meta, bool namespaced,
		    name_check *name);
void check_metadata_update(struct validation *v, const struct at *at, const value *meta,
			   const value *was);

enum pod_use { IN_POD, IN_TEMPLATE };
/* A pod's spec; `meta` is the metadata beside it. */
void check_pod_spec(struct validation *v, const struct at *at, const value *spec, const value *meta,
		    enum pod_use use);
/* A template: labels, annotations, spec. */
void check_template(struct validation *v, const struct at *at, const value *template);
/* The containers of a pod's spec (validate_container.c); `use` as above. */
void check_containers(struct validation *v, const struct at *at, const value *spec,
		      enum pod_use use);
void check_volumes(struct validation *v, const struct at *at, const value *spec);
void check_pod_placement(struct validation *v, const struct at *at, const value *spec);
void check_toleration(struct validation *v, const struct at *at, const value *t);
void check_node_selector_term(struct validation *v, const struct at *at, const value *term);
/* limits and requests of a container (or a pod: `claims` are its resourceClaims). */
void check_resources(struct validation *v, const struct at *at, const value *resources,
		     const value *claims);
void check_seccomp(struct validation *v, const struct at *at, const value *profile);
void check_field_ref(struct validation *v, const struct at *at, const value *ref, bool in_volume);
void check_resource_ref(struct validation *v, const struct at *at, const value *ref,
			bool in_volume);

/* --- Kinds -------------------------------------------------------------------------- */

typedef void validate_fn(struct validation *v, const value *obj, const value *old, struct str sub);

validate_fn validate_pod, validate_replicaset, validate_deployment, validate_daemonset,
	validate_statefulset, validate_job, validate_cronjob, validate_replication_controller,
	validate_pod_template;
validate_fn validate_service, validate_config_map, validate_secret, validate_service_account,
	validate_namespace, validate_node, validate_event, validate_lease;
validate_fn validate_claim, validate_volume, validate_quota, validate_limit_range;
validate_fn validate_priority_class, validate_storage_class, validate_controller_revision,
	validate_budget, validate_role, validate_role_binding, validate_hpa, validate_ingress,
	validate_slice, validate_network_policy, validate_endpoints, validate_runtime_class,
	validate_ingress_class, validate_csi_driver;

#endif

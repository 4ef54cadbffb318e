/* validate_pod.c - a pod's spec as a whole, and what an update may change in a pod. */
#include "procs/kube/validate.h"

/* --- Security ---------------------------------------------------------------------- */

static void check_id(struct validation *v, const struct at *at, const value *map, const char *key)
{
	check_between(v, at, map, key, 0, INT32_MAX);
}

static bool is_sysctl(struct str s)
{
	bool edge = true; /* at the start, or after a separator */
	char last = 0;

	for (uint32_t i = 0; i < s.n; i++) {
		bool word = (s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= '0' && s.p[i] <= '9');
		bool separator = s.p[i] == '.' || s.p[i] == '/';

		if (!word && (edge || !strchr("-_./", s.p[i])))
			return false;
		if (separator && (last == '-' || last == '_'))
			return false;
		edge = separator;
		last = s.p[i];
	}
	return s.n && s.n <= 253 && !edge && last != '-' && last != '_';
}

static void check_sysctls(struct validation *v, const struct at *at, const value *list)
{
	uint32_t i = 0;

	v_each(s, list) {
		struct str name = v_get_str(s, "name");
		const struct at *place = FIELD(INDEX(at, i++), "name");

		if (!name.n)
			bad_required(v, place, NULL);
		else if (!is_sysctl(name))
			bad_invalid(v, place, SHOW(name),
				    "must have at most 253 characters and match regex "
				    "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]"
				    "([-_a-z0-9]*[a-z0-9])?$");
	}
}

void check_seccomp(struct validation *v, const struct at *at, const value *p)
{
	static const char *const types[] = {"Localhost", "RuntimeDefault", "Unconfined", NULL};
	bool local = is_str(p, "type", "Localhost");

	if (v_is_null(p))
		return;
	if (!v_get_str(p, "type").n)
		bad_required(v, FIELD(at, "type"), "type is required when seccompProfile is set");
	else
		check_one_of(v, at, p, "type", types);
	if (local && !v_get_str(p, "localhostProfile").n)
		bad_required(v, FIELD(at, "localhostProfile"),
			     "must be set when seccomp type is Localhost");
	else if (!local && !v_is_null(v_get(p, "localhostProfile")))
		bad_invalid(v, FIELD(at, "localhostProfile"), v_get(p, "localhostProfile"),
			    "can only be set when seccomp type is Localhost");
}

static void check_pod_security(struct validation *v, const struct at *at, const value *s)
{
	uint32_t i = 0;

	check_id(v, at, s, "fsGroup");
	check_id(v, at, s, "runAsUser");
	check_id(v, at, s, "runAsGroup");
	v_each(g, v_get(s, "supplementalGroups")) {
		if (v_as_int(g, 0) < 0 || v_as_int(g, 0) > INT32_MAX)
			bad_invalid(v, INDEX(FIELD(at, "supplementalGroups"), i), g,
				    "must be between 0 and 2147483647, inclusive");
		i++;
	}
	check_sysctls(v, FIELD(at, "sysctls"), v_get(s, "sysctls"));
	check_one_of(v, at, s, "fsGroupChangePolicy", LIST("Always", "OnRootMismatch"));
	check_seccomp(v, FIELD(at, "seccompProfile"), v_get(s, "seccompProfile"));
}

/* --- DNS, names, gates ------------------------------------------------------------- */

static void check_dns(struct validation *v, const struct at *at, const value *spec)
{
	const value *config = v_get(spec, "dnsConfig");
	const struct at *place = FIELD(at, "dnsConfig");
	const value *servers = v_get(config, "nameservers"), *searches = v_get(config, "searches");
	uint32_t i = 0;

	check_one_of(v, at, spec, "dnsPolicy",
		     LIST("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"));
	if (is_str(spec, "dnsPolicy", "None") && v_is_null(config))
		bad_required(v, place, "must provide `dnsConfig` when `dnsPolicy` is None");
	else if (is_str(spec, "dnsPolicy", "None") && !v_len(servers))
		bad_required(v, FIELD(place, "nameservers"),
			     "must provide at least one DNS nameserver when `dnsPolicy` is None");
	if (v_len(servers) > 3)
		bad_invalid(v, FIELD(place, "nameservers"), servers,
			    "must not have more than 3 nameservers");
	v_each(s, servers)
		check_name(v, INDEX(FIELD(place, "nameservers"), i++), v_as_str(s), names_ip);
	if (v_len(searches) > 32)
		bad_invalid(v, FIELD(place, "searches"), searches,
			    "must not have more than 32 search paths");
	i = 0;
	v_each(s, searches) {
		struct str name = v_as_str(s);

		if (name.n && name.p[name.n - 1] == '.')
			name.n--;
		if (name.n)
			check_name(v, INDEX(FIELD(place, "searches"), i), name,
				   names_search_domain);
		i++;
	}
	i = 0;
	v_each(o, v_get(config, "options")) {
		if (!v_get_str(o, "name").n)
			bad_required(v, INDEX(FIELD(place, "options"), i), "must not be empty");
		i++;
	}
}

static void check_host_aliases(struct validation *v, const struct at *at, const value *list)
{
	uint32_t i = 0;

	v_each(a, list) {
		const struct at *place = INDEX(at, i++);
		uint32_t n = 0;

		check_name(v, FIELD(place, "ip"), v_get_str(a, "ip"), names_ip);
		v_each(h, v_get(a, "hostnames"))
			check_name(v, INDEX(FIELD(place, "hostnames"), n++), v_as_str(h),
				   names_subdomain);
	}
}

static void check_if_set(struct validation *v, const struct at *at, const value *spec,
			 const char *key, name_check *name)
{
	if (v_get_str(spec, key).n)
		check_name(v, FIELD(at, key), v_get_str(spec, key), name);
}

static void check_gates(struct validation *v, const struct at *at, const value *spec)
{
	const value *gates = v_get(spec, "schedulingGates");
	uint32_t i = 0;

	v_each(g, v_get(spec, "readinessGates"))
		check_name(v, FIELD(INDEX(FIELD(at, "readinessGates"), i++), "conditionType"),
			   v_get_str(g, "conditionType"), names_qualified);
	i = 0;
	v_each(g, gates) {
		const struct at *place = INDEX(FIELD(at, "schedulingGates"), i);

		check_name(v, place, v_get_str(g, "name"), names_qualified);
		for (uint32_t k = 0; k < i; k++)
			if (str_eq(v_get_str(v_at(gates, k), "name"), v_get_str(g, "name"))) {
				bad_duplicate(v, place, v_get(g, "name"));
				break;
			}
		i++;
	}
}

/* --- The spec ---------------------------------------------------------------------- */

static void check_grace(struct validation *v, const struct at *at, const value *spec)
{
	const value *deadline = v_get(spec, "activeDeadlineSeconds");

	check_not_negative(v, at, spec, "terminationGracePeriodSeconds");
	if (!v_is_null(deadline))
		check_between(v, at, spec, "activeDeadlineSeconds", 1, INT32_MAX);
}

void check_pod_spec(struct validation *v, const struct at *at, const value *spec, const value *meta,
		    enum pod_use use)
{
	check_volumes(v, FIELD(at, "volumes"), spec);
	check_containers(v, at, spec, use);
	check_one_of(v, at, spec, "restartPolicy", LIST("Always", "OnFailure", "Never"));
	check_dns(v, at, spec);
	check_pod_security(v, FIELD(at, "securityContext"), v_get(spec, "securityContext"));
	check_pod_placement(v, at, spec);
	check_gates(v, at, spec);
	check_grace(v, at, spec);
	check_if_set(v, at, spec, "serviceAccountName", names_subdomain);
	check_if_set(v, at, spec, "nodeName", names_subdomain);
	check_if_set(v, at, spec, "hostname", names_label);
	check_if_set(v, at, spec, "subdomain", names_label);
	check_if_set(v, at, spec, "priorityClassName", names_subdomain);
	check_if_set(v, at, spec, "runtimeClassName", names_subdomain);
	check_host_aliases(v, FIELD(at, "hostAliases"), v_get(spec, "hostAliases"));
	check_one_of(v, at, spec, "preemptionPolicy", LIST("PreemptLowerPriority", "Never"));
	if (v_is_map(v_get(spec, "os"))) {
		const value *name = v_get(v_get(spec, "os"), "name");

		if (!is_str(v_get(spec, "os"), "name", "linux") &&
		    !is_str(v_get(spec, "os"), "name", "windows"))
			bad_supported(v, FIELD(at, "os"), name, LIST("linux", "windows"));
	}
	if (v_get_bool(spec, "hostPID", false) && v_get_bool(spec, "shareProcessNamespace", false))
		bad_invalid(v, FIELD(at, "shareProcessNamespace"),
			    v_get(spec, "shareProcessNamespace"),
			    "ShareProcessNamespace and HostPID cannot both be enabled");
}

void check_template(struct validation *v, const struct at *at, const value *template)
{
	const value *meta = v_get(template, "metadata");

	check_labels(v, FIELD(at, "labels"), v_get(meta, "labels"));
	check_annotations(v, FIELD(at, "annotations"), v_get(meta, "annotations"));
	check_pod_spec(v, FIELD(at, "spec"), v_get(template, "spec"), meta, IN_TEMPLATE);
}

void validate_pod_template(struct validation *v, const value *obj, const value *old, struct str sub)
{
	check_template(v, FIELD(NULL, "template"), v_get(obj, "template"));
}

/* --- Updates ----------------------------------------------------------------------- */

/* Go on with what a client may not change taken from the old pod, and see
 * whether anything else differs. */
static void take(struct validation *v, value *now, const value *was, const char *key)
{
	const value *m = v_get(was, key);

	if (m)
		v_set(v->z, now, key, *m);
	else
		v_del(now, key);
}

static bool same_length(struct validation *v, const struct at *at, const value *now,
			const value *was, const char *list, const char *what)
{
	if (v_len(v_get(now, list)) == v_len(v_get(was, list)))
		return true;
	bad_forbidden(v, FIELD(at, list), "pod updates may not add or remove %s", what);
	return false;
}

/* Tolerations may be added; of those there were, only the seconds may change. */
static void check_tolerations_kept(struct validation *v, const struct at *at, const value *now,
				   const value *was)
{
	v_each(old, was) {
		bool kept = false;

		v_each(t, now) {
			value copy = v_copy(v->z, t);

			take(v, &copy, old, "tolerationSeconds");
			kept |= v_equal(&copy, old);
		}
		if (!kept) {
			bad_forbidden(v, at,
				      "existing toleration can not be modified except its "
				      "tolerationSeconds");
			return;
		}
	}
}

static void check_deadline_kept(struct validation *v, const struct at *at, const value *now,
				const value *was)
{
	int64_t a = v_as_int(now, -1), b = v_as_int(was, -1);

	if (v_is_null(was))
		return;
	if (v_is_null(now))
		bad_invalid(v, at, now ? now : NULL,
			    "must not update from a positive integer to nil "
			    "value");
	else if (a > b)
		bad_invalid(v, at, now, "must be less than or equal to previous value");
}

/* Gates may only be taken away. */
static void check_gates_kept(struct validation *v, const struct at *at, const value *now,
			     const value *was)
{
	uint32_t i = 0;

	v_each(g, now) {
		const struct at *place = FIELD(INDEX(at, i++), "name");
		bool known = false;

		v_each(old, was)
			known |= str_eq(v_get_str(old, "name"), v_get_str(g, "name"));
		if (!known)
			bad_forbidden(v, place,
				      "only deletion is allowed, but found new scheduling "
				      "gate '" STR_FMT "'",
				      STR_ARG(v_get_str(g, "name")));
	}
}

static void check_pod_update(struct validation *v, const value *obj, const value *old)
{
	static const char *const free_fields[] = {"activeDeadlineSeconds", "tolerations",
						  "schedulingGates"};
	static const char *const gated_fields[] = {"nodeSelector", "affinity"};
	const struct at *at = FIELD(NULL, "spec");
	const value *was = v_get(old, "spec"), *spec = v_get(obj, "spec");
	value now = v_copy(v->z, spec);
	uint32_t i = 0;

	if (!same_length(v, at, spec, was, "containers", "containers") ||
	    !same_length(v, at, spec, was, "initContainers", "containers"))
		return;
	check_deadline_kept(v, FIELD(at, "activeDeadlineSeconds"),
			    v_get(spec, "activeDeadlineSeconds"),
			    v_get(was, "activeDeadlineSeconds"));
	check_gates_kept(v, FIELD(at, "schedulingGates"), v_get(spec, "schedulingGates"),
			 v_get(was, "schedulingGates"));
	check_tolerations_kept(v, FIELD(at, "tolerations"), v_get(spec, "tolerations"),
			       v_get(was, "tolerations"));
	v_each(c, v_get(&now, "containers"))
		take(v, c, v_at(v_get(was, "containers"), i++), "image");
	i = 0;
	v_each(c, v_get(&now, "initContainers"))
		take(v, c, v_at(v_get(was, "initContainers"), i++), "image");
	for (i = 0; i < countof(free_fields); i++)
		take(v, &now, was, free_fields[i]);
	for (i = 0; v_len(v_get(was, "schedulingGates")) && i < countof(gated_fields); i++)
		take(v, &now, was, gated_fields[i]);
	if (v_get_int(was, "terminationGracePeriodSeconds", 0) < 0 &&
	    v_get_int(&now, "terminationGracePeriodSeconds", 0) == 1)
		take(v, &now, was, "terminationGracePeriodSeconds");
	if (!v_equal(&now, was))
		bad_forbidden(
			v, at,
			"pod updates may not change fields other than "
			"`spec.containers[*].image`,`spec.initContainers[*].image`,"
			"`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to "
			"existing tolerations),`spec.terminationGracePeriodSeconds` (allow it "
			"to be set to 1 if it was previously negative)");
}

static void check_pod_status(struct validation *v, const value *obj, const value *old)
{
	const struct at *at = FIELD(NULL, "status");

	if (v_get_str(v_get(obj, "status"), "nominatedNodeName").n)
		check_name(v, FIELD(at, "nominatedNodeName"),
			   v_get_str(v_get(obj, "status"), "nominatedNodeName"), names_subdomain);
	check_immutable(v, FIELD(at, "qosClass"), v_get(v_get(obj, "status"), "qosClass"),
			v_get(v_get(old, "status"), "qosClass"));
}

/* Containers for debugging may be added, and stay. */
static void check_ephemeral_update(struct validation *v, const value *obj, const value *old)
{
	const struct at *at = FIELD(FIELD(NULL, "spec"), "ephemeralContainers");
	const value *now = v_path(obj, "spec.ephemeralContainers");

	v_each(was, v_path(old, "spec.ephemeralContainers")) {
		const value *kept = NULL;

		v_each(c, now)
			if (str_eq(v_get_str(c, "name"), v_get_str(was, "name")))
				kept = c;
		if (!kept)
			bad_forbidden(v, at,
				      "existing ephemeral containers \"" STR_FMT
				      "\" may not be removed\n",
				      STR_ARG(v_get_str(was, "name")));
		else if (!v_equal(kept, was))
			bad_forbidden(v, at,
				      "existing ephemeral containers \"" STR_FMT
				      "\" may not be changed\n",
				      STR_ARG(v_get_str(was, "name")));
	}
}

void validate_pod(struct validation *v, const value *obj, const value *old, struct str sub)
{
	const struct at *at = FIELD(NULL, "spec");
	const value *spec = v_get(obj, "spec");

	if (str_eq(sub, STR("status"))) {
		check_pod_status(v, obj, old);
		return;
	}
	check_pod_spec(v, at, spec, v_get(obj, "metadata"), IN_POD);
	if (!old && v_len(v_get(spec, "ephemeralContainers")))
		bad_forbidden(v, FIELD(at, "ephemeralContainers"), "cannot be set on create");
	if (!old && v_get_str(spec, "nodeName").n && v_len(v_get(spec, "schedulingGates")))
		bad_forbidden(v, FIELD(at, "nodeName"),
			      "cannot be set until all schedulingGates have been cleared");
	if (old && !sub.n)
		check_pod_update(v, obj, old);
	else if (str_eq(sub, STR("ephemeralcontainers")))
		check_ephemeral_update(v, obj, old);
}

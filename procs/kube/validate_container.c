/* validate_container.c - containers: names, images, ports, environment, mounts, probes. */
#include "procs/kube/validate.h"

/* --- Ports ------------------------------------------------------------------------ */

static void check_port_names(struct validation *v, const struct at *at, const value *ports,
			     uint32_t i)
{
	struct str name = v_get_str(v_at(ports, i), "name");

	if (!name.n)
		return;
	if (!check_name(v, FIELD(at, "name"), name, names_port))
		return;
	for (uint32_t k = 0; k < i; k++)
		if (str_eq(v_get_str(v_at(ports, k), "name"), name)) {
			bad_duplicate(v, FIELD(at, "name"), SHOW(name));
			return;
		}
}

static void check_ports(struct validation *v, const struct at *list, const value *ports,
			bool host_network)
{
	for (uint32_t i = 0; i < v_len(ports); i++) {
		const value *p = v_at(ports, i);
		const struct at *at = INDEX(list, i);
		int64_t port = v_get_int(p, "containerPort", 0);
		int64_t host = v_get_int(p, "hostPort", 0);

		check_port_names(v, at, ports, i);
		if (!port)
			bad_required(v, FIELD(at, "containerPort"), NULL);
		else
			check_port(v, FIELD(at, "containerPort"), v_get(p, "containerPort"));
		if (host)
			check_port(v, FIELD(at, "hostPort"), v_get(p, "hostPort"));
		if (host_network && host != port)
			bad_invalid(v, FIELD(at, "hostPort"), v_get(p, "hostPort"),
				    "must match `containerPort` when `hostNetwork` is true");
		check_one_of(v, at, p, "protocol", LIST("SCTP", "TCP", "UDP"));
	}
}

/* --- Environment -------------------------------------------------------------------- */

static void check_key_ref(struct validation *v, const struct at *at, const value *ref)
{
	check_name(v, FIELD(at, "name"), v_get_str(ref, "name"), names_subdomain);
	if (!v_get_str(ref, "key").n)
		bad_required(v, FIELD(at, "key"), NULL);
	else
		check_name(v, FIELD(at, "key"), v_get_str(ref, "key"), names_config_key);
}

static bool is_env_field(struct str s)
{
	static const char *const fields[] = {
		"metadata.name",	   "metadata.namespace", "metadata.uid",   "spec.nodeName",
		"spec.serviceAccountName", "status.hostIP",	 "status.hostIPs", "status.podIP",
		"status.podIPs",
	};

	for (size_t i = 0; i < countof(fields); i++)
		if (str_is(s, fields[i]))
			return true;
	return has_prefix(s, "metadata.labels[") || has_prefix(s, "metadata.annotations[");
}

/* Paths that exist, but not for a container's environment. */
static bool is_other_field(struct str s)
{
	static const char *const fields[] = {
		"metadata.labels",	    "metadata.annotations",
		"spec.restartPolicy",	    "status.phase",
		"spec.schedulerName",	    "spec.hostNetwork",
		"status.nominatedNodeName",
	};

	for (size_t i = 0; i < countof(fields); i++)
		if (str_is(s, fields[i]))
			return true;
	return false;
}

void check_field_ref(struct validation *v, const struct at *at, const value *ref, bool in_volume)
{
	struct str path = v_get_str(ref, "fieldPath"), version = v_get_str(ref, "apiVersion");
	const struct at *place = FIELD(at, "fieldPath");
	bool meta = has_prefix(path, "metadata.") && !str_eq(path, STR("metadata."));

	if (!path.n) {
		bad_required(v, place, NULL);
		return;
	}
	if (!str_eq(version, STR("v1"))) {
		bad_invalid(v, place, SHOW(path),
			    "error converting fieldPath: unsupported pod version: " STR_FMT,
			    STR_ARG(version));
		return;
	}
	if (!is_env_field(path) && !is_other_field(path)) {
		bad_invalid(v, place, SHOW(path),
			    "error converting fieldPath: field label not supported: " STR_FMT,
			    STR_ARG(path));
		return;
	}
	if (in_volume && !meta)
		bad_supported(v, place, SHOW(path),
			      LIST("metadata.annotations", "metadata.labels", "metadata.name",
				   "metadata.namespace", "metadata.uid"));
	else if (!in_volume && !is_env_field(path))
		bad_supported(v, place, SHOW(path),
			      LIST("metadata.name", "metadata.namespace", "metadata.uid",
				   "spec.nodeName", "spec.serviceAccountName", "status.hostIP",
				   "status.hostIPs", "status.podIP", "status.podIPs"));
}

void check_resource_ref(struct validation *v, const struct at *at, const value *ref, bool in_volume)
{
	static const char *const known[] = {"limits.cpu",
					    "limits.ephemeral-storage",
					    "limits.memory",
					    "requests.cpu",
					    "requests.ephemeral-storage",
					    "requests.memory",
					    NULL};
	struct str resource = v_get_str(ref, "resource");

	if (in_volume && !v_get_str(ref, "containerName").n)
		bad_required(v, FIELD(at, "containerName"), NULL);
	if (!resource.n)
		bad_required(v, FIELD(at, "resource"), NULL);
	else if (!has_prefix(resource, "limits.hugepages-") &&
		 !has_prefix(resource, "requests.hugepages-"))
		check_one_of(v, at, ref, "resource", known);
}

static void check_value_from(struct validation *v, const struct at *at, const value *env)
{
	const value *from = v_get(env, "valueFrom");
	uint32_t n = 0;

	if (v_is_map(v_get(from, "fieldRef")) && ++n)
		check_field_ref(v, FIELD(at, "fieldRef"), v_get(from, "fieldRef"), false);
	if (v_is_map(v_get(from, "resourceFieldRef")) && ++n)
		check_resource_ref(v, FIELD(at, "resourceFieldRef"),
				   v_get(from, "resourceFieldRef"), false);
	if (v_is_map(v_get(from, "configMapKeyRef")) && ++n)
		check_key_ref(v, FIELD(at, "configMapKeyRef"), v_get(from, "configMapKeyRef"));
	if (v_is_map(v_get(from, "secretKeyRef")) && ++n)
		check_key_ref(v, FIELD(at, "secretKeyRef"), v_get(from, "secretKeyRef"));
	n += v_is_map(v_get(from, "fileKeyRef"));
	if (!n)
		bad_invalid(v, at, &empty_text,
			    "must specify one of: `fieldRef`, `resourceFieldRef`, "
			    "`configMapKeyRef`, `secretKeyRef` or `fileKeyRef`");
	else if (v_get_str(env, "value").n)
		bad_invalid(v, at, &empty_text, "may not be specified when `value` is not empty");
	if (n > 1)
		bad_invalid(v, at, &empty_text,
			    "may not have more than one field specified at a time");
}

static void check_env(struct validation *v, const struct at *list, const value *env)
{
	uint32_t i = 0;

	v_each(e, env) {
		const struct at *at = INDEX(list, i++);

		if (check_required(v, at, e, "name"))
			check_name(v, FIELD(at, "name"), v_get_str(e, "name"), names_env);
		if (v_is_map(v_get(e, "valueFrom")))
			check_value_from(v, FIELD(at, "valueFrom"), e);
	}
}

static bool check_source_name(struct validation *v, const struct at *at, const value *source,
			      const char *key)
{
	const value *ref = v_get(source, key);
	const struct at *place = FIELD(at, key);

	if (!v_is_map(ref))
		return false;
	if (check_required(v, place, ref, "name"))
		check_name(v, FIELD(place, "name"), v_get_str(ref, "name"), names_subdomain);
	return true;
}

static void check_env_from(struct validation *v, const struct at *list, const value *from)
{
	uint32_t i = 0, n;

	v_each(source, from) {
		const struct at *at = INDEX(list, i++);

		if (v_get_str(source, "prefix").n)
			check_name(v, FIELD(at, "prefix"), v_get_str(source, "prefix"), names_env);
		n = check_source_name(v, at, source, "configMapRef");
		n += check_source_name(v, at, source, "secretRef");
		if (n != 1)
			bad_invalid(v, list, &empty_text, "%s",
				    n ? "may not have more than one field specified at a time"
				      : "must specify one of: `configMapRef` or `secretRef`");
	}
}

/* --- Mounts ------------------------------------------------------------------------- */

static void check_sub_path(struct validation *v, const struct at *at, struct str s)
{
	if (s.n && s.p[0] == '/')
		bad_invalid(v, at, SHOW(s), "must be a relative path");
	if (has_backstep(s))
		bad_invalid(v, at, SHOW(s), "must not contain '..'");
}

static const value *volume_named(const value *volumes, struct str name)
{
	v_each(vol, volumes)
		if (name.n && str_eq(v_get_str(vol, "name"), name))
			return vol;
	return NULL;
}

static bool is_mounted_before(const value *mounts, uint32_t i)
{
	for (uint32_t k = 0; k < i; k++)
		if (str_eq(v_get_str(v_at(mounts, k), "mountPath"),
			   v_get_str(v_at(mounts, i), "mountPath")))
			return true;
	return false;
}

static void check_mount(struct validation *v, const struct at *list, const struct at *at,
			const value *m, const value *container)
{
	const char *both = "mountPropagation";

	if (v_get_str(m, "subPath").n)
		check_sub_path(v, FIELD(list, "subPath"), v_get_str(m, "subPath"));
	if (v_get_str(m, "subPathExpr").n && v_get_str(m, "subPath").n)
		bad_invalid(v, FIELD(at, "subPathExpr"), v_get(m, "subPathExpr"),
			    "subPathExpr and subPath are mutually exclusive");
	else if (v_get_str(m, "subPathExpr").n)
		check_sub_path(v, FIELD(list, "subPathExpr"), v_get_str(m, "subPathExpr"));
	check_one_of(v, list, m, both, LIST("Bidirectional", "HostToContainer", "None"));
	if (is_str(m, both, "Bidirectional") &&
	    !v_get_bool(v_get(container, "securityContext"), "privileged", false))
		bad_forbidden(v, FIELD(list, both),
			      "Bidirectional mount propagation is available only to privileged "
			      "containers");
}

static void check_mounts(struct validation *v, const struct at *list, const value *container,
			 const value *volumes)
{
	const value *mounts = v_get(container, "volumeMounts");
	uint32_t i = 0;

	v_each(m, mounts) {
		const struct at *at = INDEX(list, i);

		check_required(v, at, m, "name");
		if (!v_is_null(v_get(m, "name")) && v_is_str(v_get(m, "name")) &&
		    !volume_named(volumes, v_get_str(m, "name")))
			bad_not_found(v, FIELD(at, "name"), v_get_str(m, "name"), NULL);
		if (check_required(v, at, m, "mountPath") && is_mounted_before(mounts, i))
			bad_invalid(v, FIELD(at, "mountPath"), v_get(m, "mountPath"),
				    "must be unique");
		check_mount(v, list, at, m, container);
		i++;
	}
}

/* --- Handlers and probes ------------------------------------------------------------ */

static void check_exec(struct validation *v, const struct at *at, const value *h, const value *spec)
{
	if (!v_len(v_get(h, "command")))
		bad_required(v, FIELD(at, "command"), NULL);
}

static void check_http(struct validation *v, const struct at *at, const value *h, const value *spec)
{
	check_required(v, at, h, "path");
	check_port(v, FIELD(at, "port"), v_get(h, "port"));
	check_one_of(v, at, h, "scheme", LIST("HTTP", "HTTPS"));
	v_each(header, v_get(h, "httpHeaders"))
		check_name(v, FIELD(at, "httpHeaders"), v_get_str(header, "name"),
			   names_http_header);
}

static void check_tcp(struct validation *v, const struct at *at, const value *h, const value *spec)
{
	check_port(v, FIELD(at, "port"), v_get(h, "port"));
}

static void check_sleep(struct validation *v, const struct at *at, const value *h,
			const value *spec)
{
	int64_t grace = v_get_int(spec, "terminationGracePeriodSeconds", 30);
	int64_t n = v_get_int(h, "seconds", 0);

	if (n < 0 || n > grace)
		bad_invalid(
			v, at, v_get(h, "seconds"),
			"must be non-negative and less than terminationGracePeriodSeconds (%lld)",
			(long long)grace);
}

static const struct {
	const char *name;
	void (*check)(struct validation *v, const struct at *at, const value *h, const value *spec);
} handlers[] = {
	{"exec", check_exec}, {"httpGet", check_http}, {"tcpSocket", check_tcp},
	{"grpc", check_tcp},  {"sleep", check_sleep},
};

static void check_handler(struct validation *v, const struct at *at, const value *h,
			  const value *spec)
{
	uint32_t n = 0;

	for (size_t i = 0; i < countof(handlers); i++) {
		const value *one = v_get(h, handlers[i].name);

		if (!v_is_map(one))
			continue;
		if (n++)
			bad_forbidden(v, FIELD(at, handlers[i].name),
				      "may not specify more than 1 handler type");
		else
			handlers[i].check(v, FIELD(at, handlers[i].name), one, spec);
	}
	if (!n)
		bad_required(v, at, "must specify a handler type");
}

static void check_probe(struct validation *v, const struct at *up, const value *container,
			const char *name, const value *spec)
{
	const value *p = v_get(container, name), *grace = v_get(p, "terminationGracePeriodSeconds");
	const struct at *at = FIELD(up, name);
	bool readiness = !strcmp(name, "readinessProbe");

	if (!v_is_map(p))
		return;
	check_handler(v, at, p, spec);
	check_not_negative(v, at, p, "initialDelaySeconds");
	check_not_negative(v, at, p, "timeoutSeconds");
	check_not_negative(v, at, p, "periodSeconds");
	check_not_negative(v, at, p, "successThreshold");
	check_not_negative(v, at, p, "failureThreshold");
	if (!readiness && v_get_int(p, "successThreshold", 1) != 1)
		bad_invalid(v, FIELD(at, "successThreshold"), v_get(p, "successThreshold"),
			    "must be 1");
	if (v_is_null(grace))
		return;
	if (readiness)
		bad_invalid(v, FIELD(at, "terminationGracePeriodSeconds"), grace,
			    "must not be set for readinessProbes");
	else if (v_as_int(grace, 1) <= 0)
		bad_invalid(v, FIELD(at, "terminationGracePeriodSeconds"), grace,
			    "must be greater than 0");
}

static void check_lifecycle(struct validation *v, const struct at *at, const value *l,
			    const value *spec)
{
	if (v_is_map(v_get(l, "postStart")))
		check_handler(v, FIELD(at, "postStart"), v_get(l, "postStart"), spec);
	if (v_is_map(v_get(l, "preStop")))
		check_handler(v, FIELD(at, "preStop"), v_get(l, "preStop"), spec);
}

/* --- Security ----------------------------------------------------------------------- */

static void check_security(struct validation *v, const struct at *at, const value *s)
{
	const value *escalation = v_get(s, "allowPrivilegeEscalation");
	bool denied = escalation && !v_as_bool(escalation, true);

	if (!v_is_map(s))
		return;
	check_between(v, at, s, "runAsUser", 0, INT32_MAX);
	check_between(v, at, s, "runAsGroup", 0, INT32_MAX);
	check_one_of(v, at, s, "procMount", LIST("Default", "Unmasked"));
	check_seccomp(v, FIELD(at, "seccompProfile"), v_get(s, "seccompProfile"));
	if (denied && v_get_bool(s, "privileged", false))
		bad_invalid(v, at, s,
			    "cannot set `allowPrivilegeEscalation` to false and `privileged` to "
			    "true");
	v_each(c, v_get(v_get(s, "capabilities"), "add"))
		if (denied && (str_eq(v_as_str(c), STR("CAP_SYS_ADMIN"))))
			bad_invalid(v, at, s,
				    "cannot set `allowPrivilegeEscalation` to false and "
				    "`capabilities.Add` CAP_SYS_ADMIN");
}

/* --- Containers ------------------------------------------------------------ */

static bool has_blank_edge(struct str s)
{
	return s.n && (strchr(" \t\n\r", s.p[0]) || strchr(" \t\n\r", s.p[s.n - 1]));
}

static void check_image(struct validation *v, const struct at *at, const value *c, enum pod_use use)
{
	struct str image = v_get_str(c, "image");

	if (!image.n)
		bad_required(v, FIELD(at, "image"), NULL);
	else if (has_blank_edge(image))
		bad_invalid(v, FIELD(at, "image"), SHOW(image),
			    "must not have leading or trailing whitespace");
}

static void check_container(struct validation *v, const struct at *at, const value *c,
			    const value *spec, enum pod_use use)
{
	check_image(v, at, c, use);
	check_one_of(v, at, c, "terminationMessagePolicy", LIST("File", "FallbackToLogsOnError"));
	check_one_of(v, at, c, "imagePullPolicy", LIST("Always", "IfNotPresent", "Never"));
	check_ports(v, FIELD(at, "ports"), v_get(c, "ports"),
		    v_get_bool(spec, "hostNetwork", false));
	check_env(v, FIELD(at, "env"), v_get(c, "env"));
	check_env_from(v, FIELD(at, "envFrom"), v_get(c, "envFrom"));
	check_mounts(v, FIELD(at, "volumeMounts"), c, v_get(spec, "volumes"));
	check_resources(v, FIELD(at, "resources"), v_get(c, "resources"),
			v_get(spec, "resourceClaims"));
	check_security(v, FIELD(at, "securityContext"), v_get(c, "securityContext"));
}

static void check_helpers(struct validation *v, const struct at *at, const value *c,
			  const value *spec)
{
	check_lifecycle(v, FIELD(at, "lifecycle"), v_get(c, "lifecycle"), spec);
	check_probe(v, at, c, "livenessProbe", spec);
	check_probe(v, at, c, "readinessProbe", spec);
	check_probe(v, at, c, "startupProbe", spec);
}

/* What only a container that keeps running may have. */
static void check_init(struct validation *v, const struct at *at, const value *c, const value *spec)
{
	static const char *const fields[] = {"lifecycle", "livenessProbe", "readinessProbe",
					     "startupProbe"};

	if (is_str(c, "restartPolicy", "Always")) {
		check_helpers(v, at, c, spec);
		return;
	}
	for (size_t i = 0; i < countof(fields); i++)
		if (v_is_map(v_get(c, fields[i])))
			bad_forbidden(v, FIELD(at, fields[i]),
				      "may not be set for init containers without "
				      "restartPolicy=Always");
}

static const char *const lists[] = {"containers", "initContainers", "ephemeralContainers"};

/* Has an earlier container, of this list or one before, the same name? */
static bool is_name_taken(const value *spec, size_t list, uint32_t index, struct str name)
{
	for (size_t l = 0; l <= list; l++) {
		uint32_t i = 0;

		v_each(c, v_get(spec, lists[l])) {
			if (l == list && i++ >= index)
				break;
			if (str_eq(v_get_str(c, "name"), name))
				return true;
		}
	}
	return false;
}

static void check_container_name(struct validation *v, const struct at *at, const value *spec,
				 size_t list, uint32_t index, const value *c)
{
	struct str name = v_get_str(c, "name");

	if (!check_required(v, at, c, "name"))
		return;
	if (check_name(v, FIELD(at, "name"), name, names_label) &&
	    is_name_taken(spec, list, index, name))
		bad_duplicate(v, FIELD(at, "name"), SHOW(name));
}

/* One port of a node serves one container: "TCP/IP/80" as Kubernetes prints it. */
static void check_host_ports(struct validation *v, const struct at *at, const value *spec)
{
	struct str seen[64];
	uint32_t n = 0, i = 0;

	v_each(c, v_get(spec, "containers")) {
		const struct at *ports = FIELD(INDEX(FIELD(at, "containers"), i++), "ports");
		uint32_t k = 0;

		v_each(p, v_get(c, "ports")) {
			const struct at *place = FIELD(INDEX(ports, k++), "hostPort");
			struct str id;
			bool taken = false;

			if (!v_get_int(p, "hostPort", 0))
				continue;
			id = zone_printf(v->z, STR_FMT "/" STR_FMT "/%lld",
					 STR_ARG(v_get_str(p, "protocol")),
					 STR_ARG(v_get_str(p, "hostIP")),
					 (long long)v_get_int(p, "hostPort", 0));
			for (uint32_t s = 0; s < n; s++)
				taken |= str_eq(seen[s], id);
			if (taken)
				bad_duplicate(v, place, SHOW(id));
			else if (n < countof(seen))
				seen[n++] = id;
		}
	}
}

void check_containers(struct validation *v, const struct at *at, const value *spec,
		      enum pod_use use)
{
	if (!v_len(v_get(spec, "containers")))
		bad_required(v, FIELD(at, "containers"), NULL);
	for (size_t l = 0; l < countof(lists); l++) {
		const struct at *list = FIELD(at, lists[l]);
		uint32_t i = 0;

		v_each(c, v_get(spec, lists[l])) {
			const struct at *place = INDEX(list, i);

			check_container_name(v, place, spec, l, i, c);
			check_container(v, place, c, spec, use);
			if (l == 0)
				check_helpers(v, place, c, spec);
			else if (l == 1)
				check_init(v, place, c, spec);
			i++;
		}
	}
	check_host_ports(v, at, spec);
}

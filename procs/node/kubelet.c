/* kubelet.c - the life of a simulated pod; see kubelet.h. */
#include "procs/node/kubelet.h"

#include <stdio.h>
#include <xxhash.h>

#include "weft/kube.h"

#define BACKOFF_FIRST_S 10
#define BACKOFF_MAX_S	300
#define BACKOFF_RESET_S 600 /* a run this long clears the back-off */

/* One container, as it is looked at. */
struct container {
	const value *spec;
	value *status;
	struct behaviour b;
	uint8_t index; /* over all containers of the pod: salts ids */
	bool init, sidecar;
};

/* --- Texts and times ------------------------------------------------------------- */

static value now_value(struct kubelet_pod *p)
{
	char text[21];

	if (p->symbolic)
		return v_hole(p->z, HOLE_TIME, KUBELET_NOW, (struct str){0});
	time_format((uint32_t)(p->now_ms / 1000), text);
	return v_str(zone_str(p->z, str_of(text)));
}

static value ip_value(struct kubelet_pod *p, enum kubelet_hole which, uint32_t ip)
{
	if (p->symbolic)
		return v_hole(p->z, HOLE_IPV4, which, (struct str){0});
	return v_str(zone_printf(p->z, "%u.%u.%u.%u", ip >> 24, ip >> 16 & 255, ip >> 8 & 255,
				 ip & 255));
}

static value id_value(struct kubelet_pod *p, const struct container *c, uint32_t restarts)
{
	value hole =
		v_hole(p->z, HOLE_UID64, (uint8_t)(c->index + restarts * 31), STR("containerd://"));
	struct hole_values h = {.uid = p->uid};

	if (!p->symbolic)
		v_fill(p->z, &hole, &h);
	return hole;
}

/* An image's id: always the same for one name. */
static value image_id(struct kubelet_pod *p, struct str image)
{
	XXH128_hash_t a = XXH3_128bits(image.p, image.n);
	XXH128_hash_t b = XXH3_128bits_withSeed(image.p, image.n, 1);
	const char *colon = memrchr(image.p, ':', image.n);
	const char *slash = memrchr(image.p, '/', image.n);
	uint32_t n = colon && colon > slash ? (uint32_t)(colon - image.p) : image.n;

	return v_str(zone_printf(p->z, "%.*s@sha256:%016llx%016llx%016llx%016llx", (int)n, image.p,
				 (unsigned long long)a.high64, (unsigned long long)a.low64,
				 (unsigned long long)b.high64, (unsigned long long)b.low64));
}

/* Milliseconds of a time in a status; in symbolic mode every time is now. */
static int64_t time_ms(struct kubelet_pod *p, const value *v)
{
	int64_t ns;

	if (!v_is_str(v) || time_parse(v_as_str(v), &ns) != 0)
		return p->now_ms;
	return ns / 1000000;
}

static void wake(struct kubelet_pod *p, int64_t at_ms)
{
	if (!p->wake_ms || at_ms < p->wake_ms)
		p->wake_ms = at_ms;
}

/* `c`: NULL when it is about the pod. */
static void tell(struct kubelet_pod *p, const struct container *c, const char *type,
		 const char *reason, struct str message)
{
	struct kubelet_event *grown;
	struct str path = {0};

	if (c)
		path = zone_printf(p->z, "spec.%s{" STR_FMT "}",
				   c->init ? "initContainers" : "containers",
				   STR_ARG(v_get_str(c->spec, "name")));

	if (p->nevents == p->cap_events) {
		p->cap_events = p->cap_events ? p->cap_events * 2 : 8;
		grown = zone_alloc(p->z, p->cap_events * sizeof(*grown));
		if (p->nevents)
			memcpy(grown, p->events, p->nevents * sizeof(*grown));
		p->events = grown;
	}
	p->events[p->nevents++] = (struct kubelet_event){
		.type = type,
		.reason = reason,
		.message = message,
		.field_path = path,
	};
}

/* --- A container's states ----------------------------------------------------------- */

static const value *state_of(const struct container *c, const char *which)
{
	return v_get(v_get(c->status, "state"), which);
}

static void set_state(struct kubelet_pod *p, struct container *c, const char *which, value state)
{
	value outer = v_map();

	v_set(p->z, &outer, which, state);
	v_set(p->z, c->status, "state", outer);
}

static void set_waiting(struct kubelet_pod *p, struct container *c, const char *reason,
			struct str message)
{
	const value *waiting = state_of(c, "waiting");
	value state = v_map();

	if (str_is(v_get_str(waiting, "reason"), reason) &&
	    str_eq(v_get_str(waiting, "message"), message))
		return;
	if (message.n)
		v_set(p->z, &state, "message", v_str(message));
	v_set(p->z, &state, "reason", v_cstr(reason));
	set_state(p, c, "waiting", state);
	v_set(p->z, c->status, "ready", v_bool(false));
	v_set(p->z, c->status, "started", v_bool(false));
}

static void set_running(struct kubelet_pod *p, struct container *c)
{
	value state = v_map();
	uint32_t restarts = (uint32_t)v_get_int(c->status, "restartCount", 0);
	struct str image = v_get_str(c->spec, "image");

	v_set(p->z, &state, "startedAt", now_value(p));
	set_state(p, c, "running", state);
	v_set(p->z, c->status, "containerID", id_value(p, c, restarts));
	v_set(p->z, c->status, "imageID", image_id(p, image));
	v_set(p->z, c->status, "started", v_bool(true));
	if (!restarts)
		tell(p, c, "Normal", "Pulled",
		     zone_printf(p->z,
				 "Container image \"" STR_FMT
				 "\" already present on machine and can be accessed by the pod",
				 STR_ARG(image)));
	tell(p, c, "Normal", "Created", STR("Container created"));
	tell(p, c, "Normal", "Started", STR("Container started"));
}

static void set_terminated(struct kubelet_pod *p, struct container *c, int code, const char *reason)
{
	const value *running = state_of(c, "running");
	value state = v_map();
	value *started = v_get(running, "startedAt");

	v_set(p->z, &state, "exitCode", v_int(code));
	v_set(p->z, &state, "reason", v_cstr(reason));
	v_set(p->z, &state, "startedAt", started ? *started : now_value(p));
	v_set(p->z, &state, "finishedAt", now_value(p));
	if (v_get(c->status, "containerID"))
		v_set(p->z, &state, "containerID", *v_get(c->status, "containerID"));
	set_state(p, c, "terminated", state);
	v_set(p->z, c->status, "ready", v_bool(false));
	v_set(p->z, c->status, "started", v_bool(false));
}

/* --- Steps -------------------------------------------------------------------------- */

static struct str restart_policy(const struct kubelet_pod *p)
{
	return v_get_str(p->spec, "restartPolicy");
}

static bool restarts_after(const struct kubelet_pod *p, const struct container *c, int64_t code)
{
	struct str policy = restart_policy(p);

	if (c->sidecar)
		return true;
	if (str_eq(policy, STR("Never")))
		return false;
	if (c->init || str_eq(policy, STR("OnFailure")))
		return code != 0;
	return true;
}

static int64_t backoff_s(uint32_t attempts)
{
	int64_t s = BACKOFF_FIRST_S;

	while (attempts-- > 1 && s < BACKOFF_MAX_S)
		s *= 2;
	return s < BACKOFF_MAX_S ? s : BACKOFF_MAX_S;
}

/* An image that cannot be pulled: ErrImagePull at each attempt, ImagePullBackOff
 * between them. */
static void fail_pull(struct kubelet_pod *p, struct container *c)
{
	struct str image = v_get_str(c->spec, "image");
	struct str reason = v_get_str(state_of(c, "waiting"), "reason");
	struct str why = zone_printf(p->z,
				     "rpc error: code = NotFound desc = failed to pull and unpack "
				     "image \"" STR_FMT "\": not found",
				     STR_ARG(image));

	if (p->now_ms < p->pull_due_ms) {
		wake(p, p->pull_due_ms);
		return;
	}
	if (str_eq(reason, STR("ErrImagePull"))) {
		struct str message = zone_printf(
			p->z, "Back-off pulling image \"" STR_FMT "\": ErrImagePull: " STR_FMT,
			STR_ARG(image), STR_ARG(why));

		set_waiting(p, c, "ImagePullBackOff", message);
		tell(p, c, "Normal", "BackOff",
		     zone_printf(p->z, "Back-off pulling image \"" STR_FMT "\"", STR_ARG(image)));
		tell(p, c, "Warning", "Failed", STR("Error: ImagePullBackOff"));
		p->pull_next_ms = p->now_ms + backoff_s(p->pull_attempts) * 1000;
		wake(p, p->pull_next_ms);
		return;
	}
	set_waiting(p, c, "ErrImagePull", why);
	tell(p, c, "Normal", "Pulling",
	     zone_printf(p->z, "Pulling image \"" STR_FMT "\"", STR_ARG(image)));
	tell(p, c, "Warning", "Failed",
	     zone_printf(p->z, "Failed to pull image \"" STR_FMT "\": " STR_FMT, STR_ARG(image),
			 STR_ARG(why)));
	tell(p, c, "Warning", "Failed", STR("Error: ErrImagePull"));
	p->pull_failed = true;
	p->pull_next_ms = p->now_ms + 1000;
	wake(p, p->pull_next_ms);
}

/* From waiting to running, when it is time. */
static void try_start(struct kubelet_pod *p, struct container *c, int64_t since_ms)
{
	int64_t at_ms = since_ms + c->b.start_ms;
	bool first = !v_get_int(c->status, "restartCount", 0);

	if (p->now_ms < at_ms && first) {
		wake(p, at_ms);
		return;
	}
	if (c->b.pull_fails)
		fail_pull(p, c);
	else
		set_running(p, c);
}

static void try_finish(struct kubelet_pod *p, struct container *c)
{
	int64_t started_ms = time_ms(p, v_get(state_of(c, "running"), "startedAt"));

	if (c->b.run_ms != FOREVER_MS) {
		if (p->now_ms >= started_ms + c->b.run_ms) {
			set_terminated(p, c, c->b.exit_code,
				       c->b.exit_code ? "Error" : "Completed");
			return;
		}
		wake(p, started_ms + c->b.run_ms);
	}
	if (c->init && !c->sidecar)
		return;
	if (p->now_ms >= started_ms + c->b.ready_ms)
		v_set(p->z, c->status, "ready", v_bool(true));
	else
		wake(p, started_ms + c->b.ready_ms);
}

/* A container that ended and is to run again: at once the first time, then
 * with back-off, shown as CrashLoopBackOff. */
static void try_restart(struct kubelet_pod *p, struct container *c, const value *terminated,
			value *waiting_for)
{
	uint32_t restarts = (uint32_t)v_get_int(c->status, "restartCount", 0);
	int64_t finished = time_ms(p, v_get(terminated, "finishedAt"));
	int64_t ran = finished - time_ms(p, v_get(terminated, "startedAt"));
	int64_t delay_s = restarts && ran < BACKOFF_RESET_S * 1000 ? backoff_s(restarts) : 0;
	value last = v_map();

	if (p->now_ms < finished + delay_s * 1000) {
		wake(p, finished + delay_s * 1000);
		if (waiting_for)
			return;
		v_set(p->z, &last, "terminated", *terminated);
		v_set(p->z, c->status, "lastState", last);
		set_waiting(p, c, "CrashLoopBackOff",
			    zone_printf(p->z,
					"back-off %llds restarting failed container=" STR_FMT
					" pod=" STR_FMT "_" STR_FMT,
					(long long)delay_s, STR_ARG(v_get_str(c->spec, "name")),
					STR_ARG(p->name), STR_ARG(p->facts.ns)));
		tell(p, c, "Warning", "BackOff",
		     zone_printf(p->z,
				 "Back-off restarting failed container " STR_FMT " in pod " STR_FMT
				 "_" STR_FMT,
				 STR_ARG(v_get_str(c->spec, "name")), STR_ARG(p->name),
				 STR_ARG(p->facts.ns)));
		return;
	}
	v_set(p->z, &last, "terminated", *terminated);
	v_set(p->z, c->status, "lastState", last);
	v_set(p->z, c->status, "restartCount", v_int(restarts + 1));
	set_running(p, c);
	try_finish(p, c);
}

/* One step of a container that may run now. */
static void step(struct kubelet_pod *p, struct container *c, int64_t since_ms)
{
	const value *waiting = state_of(c, "waiting");
	const value *last = v_path(c->status, "lastState.terminated");
	const value *ended;

	if (str_eq(v_get_str(waiting, "reason"), STR("CrashLoopBackOff")) && last)
		try_restart(p, c, v_new(p->z, v_copy(p->z, last)), v_get(c->status, "state"));
	else if (waiting)
		try_start(p, c, since_ms);
	if (state_of(c, "running"))
		try_finish(p, c);
	/* Twice at most: the first restart is at once, the second backs off. */
	while ((ended = state_of(c, "terminated")) &&
	       restarts_after(p, c, v_get_int(ended, "exitCode", 0))) {
		try_restart(p, c, v_new(p->z, v_copy(p->z, ended)), NULL);
		if (state_of(c, "terminated") == ended)
			break;
	}
}

/* --- Statuses of containers --------------------------------------------------------- */

static value new_status(struct kubelet_pod *p, const value *spec, bool has_init)
{
	value status = v_map(), state = v_map(), waiting = v_map();
	value *resources = v_get(spec, "resources");

	v_set(p->z, &status, "name", v_str(v_get_str(spec, "name")));
	if (v_len(v_get(resources, "requests")))
		v_set(p->z, &status, "allocatedResources", *v_get(resources, "requests"));
	v_set(p->z, &status, "image", v_str(v_get_str(spec, "image")));
	v_set(p->z, &status, "imageID", v_cstr(""));
	v_set(p->z, &status, "lastState", v_map());
	v_set(p->z, &status, "ready", v_bool(false));
	if (v_len(resources))
		v_set(p->z, &status, "resources", *resources);
	v_set(p->z, &status, "restartCount", v_int(0));
	v_set(p->z, &status, "started", v_bool(false));
	v_set(p->z, &waiting, "reason", v_cstr(has_init ? "PodInitializing" : "ContainerCreating"));
	v_set(p->z, &state, "waiting", waiting);
	v_set(p->z, &status, "state", state);
	return status;
}

/* A status for each container of `key` that has none yet. */
static void ensure_statuses(struct kubelet_pod *p, const char *key, const char *status_key,
			    bool has_init)
{
	value *list;

	if (!v_len(v_get(p->spec, key)))
		return;
	list = v_array_at(p->z, &p->status, status_key);
	v_each(spec, v_get(p->spec, key)) {
		bool found = false;

		v_each(status, list)
			found |= str_eq(v_get_str(status, "name"), v_get_str(spec, "name"));
		if (!found)
			v_append(p->z, list, new_status(p, spec, has_init));
	}
}

static struct container container_at(struct kubelet_pod *p, const char *key, const char *status_key,
				     uint32_t i)
{
	struct container c = {.spec = v_at(v_get(p->spec, key), i), .index = (uint8_t)i};

	c.init = key[0] == 'i';
	c.sidecar = c.init && str_eq(v_get_str(c.spec, "restartPolicy"), STR("Always"));
	if (c.init)
		c.index = (uint8_t)(128 + i);
	v_each(status, v_get(&p->status, status_key))
		if (str_eq(v_get_str(status, "name"), v_get_str(c.spec, "name")))
			c.status = status;
	behaviour_of(p->rules, &p->facts, c.spec, &c.b);
	if (c.init && !c.sidecar && c.b.run_ms == FOREVER_MS)
		c.b.run_ms = 0;
	return c;
}

/* --- The pod ------------------------------------------------------------------------ */

/* Init containers one after the other; a sidecar counts once it has started.
 * True when the others may run; *failed when one has ended for good. */
static bool advance_init(struct kubelet_pod *p, bool *failed)
{
	uint32_t n = v_len(v_get(p->spec, "initContainers"));
	int64_t since = time_ms(p, v_get(&p->status, "startTime"));

	for (uint32_t i = 0; i < n; i++) {
		struct container c = container_at(p, "initContainers", "initContainerStatuses", i);
		const value *ended = state_of(&c, "terminated");

		if (!ended || v_get_int(ended, "exitCode", 0) || c.sidecar)
			step(p, &c, since);
		ended = state_of(&c, "terminated");
		if (c.sidecar) {
			if (!state_of(&c, "running"))
				return false;
			continue;
		}
		if (!ended)
			return false;
		if (v_get_int(ended, "exitCode", 0)) {
			*failed = !restarts_after(p, &c, v_get_int(ended, "exitCode", 0));
			return false;
		}
		v_set(p->z, c.status, "ready", v_bool(true));
		since = time_ms(p, v_get(ended, "finishedAt"));
	}
	return true;
}

static void advance_main(struct kubelet_pod *p)
{
	uint32_t n = v_len(v_get(p->spec, "containers"));
	int64_t since = time_ms(p, v_get(&p->status, "startTime"));

	for (uint32_t i = 0; i < n; i++) {
		struct container c = container_at(p, "containers", "containerStatuses", i);

		step(p, &c, since);
	}
}

/* Pods whose containers have all ended for good are done. */
static const char *phase_of(struct kubelet_pod *p, bool init_failed)
{
	uint32_t n = v_len(v_get(p->spec, "containers")), ended = 0, failed = 0, running = 0;

	if (init_failed)
		return "Failed";
	for (uint32_t i = 0; i < n; i++) {
		struct container c = container_at(p, "containers", "containerStatuses", i);
		const value *terminated = state_of(&c, "terminated");
		int64_t code = v_get_int(terminated, "exitCode", 0);

		if (terminated && !restarts_after(p, &c, code)) {
			ended++;
			failed += code != 0;
		} else if (!state_of(&c, "waiting") || v_get_int(c.status, "restartCount", 0) ||
			   v_len(v_get(c.status, "lastState"))) {
			running++;
		}
	}
	if (n && ended == n)
		return failed ? "Failed" : "Succeeded";
	return running || ended ? "Running" : "Pending";
}

static const char *const container_keys[][2] = {{"initContainers", "initContainerStatuses"},
						{"containers", "containerStatuses"}};

/* End what runs of one kind of containers, or (SIZE_MAX) of both. */
static void end_running(struct kubelet_pod *p, size_t which, int code)
{
	for (size_t k = 0; k < countof(container_keys); k++) {
		const char *key = container_keys[k][0], *statuses = container_keys[k][1];

		for (uint32_t i = 0; i < v_len(v_get(p->spec, key)); i++) {
			struct container c = container_at(p, key, statuses, i);

			if ((which == k || which == SIZE_MAX) && c.status &&
			    state_of(&c, "running"))
				set_terminated(p, &c, code, code ? "Error" : "Completed");
		}
	}
}

static void exceed_deadline(struct kubelet_pod *p)
{
	tell(p, NULL, "Normal", "DeadlineExceeded",
	     STR("Pod was active on the node longer than the specified deadline"));
	end_running(p, SIZE_MAX, 137);
	v_set(p->z, &p->status, "phase", v_cstr("Failed"));
	v_set(p->z, &p->status, "reason", v_cstr("DeadlineExceeded"));
	v_set(p->z, &p->status, "message",
	      v_cstr("Pod was active on the node longer than the specified deadline"));
}

static bool past_deadline(struct kubelet_pod *p)
{
	int64_t limit_s = v_get_int(p->spec, "activeDeadlineSeconds", -1);
	int64_t at_ms = time_ms(p, v_get(&p->status, "startTime")) + limit_s * 1000;

	if (limit_s < 0)
		return false;
	if (p->now_ms >= at_ms)
		return true;
	wake(p, at_ms);
	return false;
}

/* --- Conditions --------------------------------------------------------------------- */

static void add_condition(struct kubelet_pod *p, value *list, const value *old, const char *type,
			  bool is, const char *reason, struct str message)
{
	const value *was = kube_condition(old, type);
	struct str status = is ? STR("True") : STR("False");
	value *since = v_get(was, "lastTransitionTime");
	value condition = v_map();

	v_set(p->z, &condition, "lastProbeTime", v_null());
	v_set(p->z, &condition, "lastTransitionTime",
	      since && str_eq(v_get_str(was, "status"), status) ? *since : now_value(p));
	if (message.n)
		v_set(p->z, &condition, "message", v_str(message));
	v_set(p->z, &condition, "observedGeneration", v_uint(p->generation));
	if (reason)
		v_set(p->z, &condition, "reason", v_cstr(reason));
	v_set(p->z, &condition, "status", v_str(status));
	v_set(p->z, &condition, "type", v_cstr(type));
	v_append(p->z, list, condition);
}

/* Names of containers that are not ready: "[a b]". */
static struct str not_ready(struct kubelet_pod *p, const char *key)
{
	struct str names = {0};

	v_each(status, v_get(&p->status, key)) {
		if (v_get_bool(status, "ready", false))
			continue;
		names = zone_printf(p->z, STR_FMT "%s" STR_FMT, STR_ARG(names), names.n ? " " : "",
				    STR_ARG(v_get_str(status, "name")));
	}
	return names;
}

/* Readiness gates that do not hold, as the kubelet words it. */
static struct str gates_missing(struct kubelet_pod *p, const value *old)
{
	v_each(gate, v_get(p->spec, "readinessGates")) {
		struct str type = v_get_str(gate, "conditionType");
		struct str name = zone_printf(p->z, STR_FMT, STR_ARG(type));
		const value *condition = kube_condition(old, name.p);

		if (!condition)
			return zone_printf(
				p->z,
				"corresponding condition of pod readiness gate \"" STR_FMT
				"\" does not exist.",
				STR_ARG(type));
		if (!str_eq(v_get_str(condition, "status"), STR("True")))
			return zone_printf(p->z,
					   "the status of pod readiness gate \"" STR_FMT
					   "\" is not \"True\", but " STR_FMT,
					   STR_ARG(type), STR_ARG(v_get_str(condition, "status")));
	}
	return (struct str){0};
}

static bool is_ours(struct str type)
{
	static const char *const ours[] = {"PodReadyToStartContainers", "Initialized", "Ready",
					   "ContainersReady"};

	for (size_t i = 0; i < countof(ours); i++)
		if (str_is(type, ours[i]))
			return true;
	return false;
}

static void set_conditions(struct kubelet_pod *p, const char *phase, bool initialized)
{
	const value *old = v_get(&p->status, "conditions");
	struct str missing = not_ready(p, "containerStatuses"), gates = gates_missing(p, old);
	bool done = strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Failed") == 0;
	bool succeeded = strcmp(phase, "Succeeded") == 0;
	const char *why = succeeded ? "PodCompleted" : done ? "PodFailed" : "ContainersNotReady";
	bool ready = !missing.n && !done;
	struct str message = {0}, unfinished;
	value list = v_array();

	if (missing.n && !done)
		message = zone_printf(p->z, "containers with unready status: [" STR_FMT "]",
				      STR_ARG(missing));
	unfinished = not_ready(p, "initContainerStatuses");
	add_condition(p, &list, old, "PodReadyToStartContainers", !done, NULL, (struct str){0});
	add_condition(p, &list, old, "Initialized", initialized || succeeded,
		      succeeded	    ? "PodCompleted"
		      : initialized ? NULL
				    : "ContainersNotInitialized",
		      initialized || succeeded
			      ? (struct str){0}
			      : zone_printf(p->z,
					    "containers with incomplete status: [" STR_FMT "]",
					    STR_ARG(unfinished)));
	if (ready && gates.n)
		add_condition(p, &list, old, "Ready", false, "ReadinessGatesNotReady", gates);
	else
		add_condition(p, &list, old, "Ready", ready, ready ? NULL : why, message);
	add_condition(p, &list, old, "ContainersReady", ready, ready ? NULL : why, message);
	v_each(condition, old)
		if (!is_ours(v_get_str(condition, "type")))
			v_append(p->z, &list, *condition);
	v_set(p->z, &p->status, "conditions", list);
}

/* --- Advance ------------------------------------------------------------------------ */

bool kubelet_has_address(const value *status)
{
	const value *ip = v_get(status, "podIP");

	return ip && (ip->type == MSGPACK_OBJECT_EXT || v_as_str(ip).n);
}

bool kubelet_is_new(const value *status)
{
	return !v_len(v_get(status, "containerStatuses")) && !v_get(status, "startTime") &&
	       !kubelet_has_address(status);
}

/* The member `one` of the status is the address, `all` the list that has it only. */
static void set_address(struct kubelet_pod *p, const char *one, const char *all, value address)
{
	value list = v_array(), item = v_map();

	v_set(p->z, &item, "ip", address);
	v_append(p->z, &list, item);
	v_set(p->z, &p->status, one, address);
	v_set(p->z, &p->status, all, list);
}

/* Those that are missing: others may have written one, or taken one away. */
static void set_addresses(struct kubelet_pod *p)
{
	bool host_network = v_get_bool(p->spec, "hostNetwork", false);
	value host = ip_value(p, KUBELET_HOST_IP, p->host_ip);
	value pod = host_network ? host : ip_value(p, KUBELET_POD_IP, p->pod_ip);

	if (!v_get(&p->status, "hostIP"))
		set_address(p, "hostIP", "hostIPs", host);
	if (!kubelet_has_address(&p->status))
		set_address(p, "podIP", "podIPs", pod);
}

static void begin(struct kubelet_pod *p)
{
	bool has_init = v_len(v_get(p->spec, "initContainers")) > 0;

	if (!v_is_map(&p->status))
		p->status = v_map();
	if (!v_get(&p->status, "startTime"))
		v_set(p->z, &p->status, "startTime", now_value(p));
	set_addresses(p);
	v_set(p->z, &p->status, "observedGeneration", v_uint(p->generation));
	ensure_statuses(p, "initContainers", "initContainerStatuses", has_init);
	ensure_statuses(p, "containers", "containerStatuses", has_init);
}

bool kubelet_advance(struct kubelet_pod *p)
{
	struct str phase = v_get_str(&p->status, "phase");
	value before = v_copy(p->z, &p->status);
	bool init_failed = false, initialized;
	const char *now_phase;

	p->wake_ms = p->pull_next_ms = 0;
	if (str_eq(phase, STR("Succeeded")) || str_eq(phase, STR("Failed")))
		return false;
	begin(p);
	initialized = advance_init(p, &init_failed);
	if (initialized)
		advance_main(p);
	now_phase = phase_of(p, init_failed);
	if (past_deadline(p)) {
		exceed_deadline(p);
		now_phase = "Failed";
	}
	if (strcmp(now_phase, "Succeeded") == 0 || strcmp(now_phase, "Failed") == 0) {
		end_running(p, 0, 0); /* its sidecars stop when it is done */
		p->wake_ms = 0;
	}
	if (p->pull_next_ms)
		p->pull_due_ms = p->pull_next_ms;
	v_set(p->z, &p->status, "phase", v_cstr(now_phase));
	set_conditions(p, now_phase, initialized);
	return !v_equal(&before, &p->status);
}

void kubelet_stopped(struct kubelet_pod *p)
{
	const char *phase = "Succeeded";

	end_running(p, SIZE_MAX, 0);
	v_each(status, v_get(&p->status, "containerStatuses"))
		if (v_get_int(v_path(status, "state.terminated"), "exitCode", 1))
			phase = "Failed";
	v_set(p->z, &p->status, "phase", v_cstr(phase));
	set_conditions(p, phase, true);
}

int64_t kubelet_stop(struct kubelet_pod *p, int64_t grace_s)
{
	int64_t longest = 0;

	for (uint32_t i = 0; i < v_len(v_get(p->spec, "containers")); i++) {
		struct container c = container_at(p, "containers", "containerStatuses", i);

		if (!c.status || !state_of(&c, "running"))
			continue;
		if (c.b.stop_ms > longest)
			longest = c.b.stop_ms;
		tell(p, &c, "Normal", "Killing",
		     zone_printf(p->z, "Stopping container " STR_FMT,
				 STR_ARG(v_get_str(c.spec, "name"))));
	}
	return longest < grace_s * 1000 ? longest : grace_s * 1000;
}

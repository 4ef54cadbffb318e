/*
 * table_pod.c - what `kubectl get pods` shows of a pod: how many containers are
 * ready, one word for its state, and how often it restarted.
 */
#include "table_print.h"

/* What its containers make of a pod. */
struct pod_state {
	const struct row *row;
	struct str reason;
	int64_t restarts;
	int64_t last_restart_s; /* 0: none is known */
	int ready, total;
	bool initializing;
};

static struct str formatted(const struct pod_state *p, const char *prefix, const char *what,
			    int64_t n)
{
	return zone_printf(p->row->z, "%s%s:%lld", prefix, what, (long long)n);
}

/* Why a container ended: its reason, else its signal or exit code. */
static struct str terminated_reason(const struct pod_state *p, const value *terminated,
				    const char *prefix)
{
	struct str reason = v_get_str(terminated, "reason");
	int64_t signal = v_get_int(terminated, "signal", 0);

	if (reason.n)
		return zone_printf(p->row->z, "%s" STR_FMT, prefix, STR_ARG(reason));
	if (signal)
		return formatted(p, prefix, "Signal", signal);
	return formatted(p, prefix, "ExitCode", v_get_int(terminated, "exitCode", 0));
}

static void add_restarts(const value *status, int64_t *restarts, int64_t *last_s)
{
	int64_t ended = timestamp_s(v_path(status, "lastState.terminated.finishedAt"));

	*restarts += v_get_int(status, "restartCount", 0);
	if (ended > *last_s)
		*last_s = ended;
}

/* --- Init containers ---------------------------------------------------------------- */

/* A sidecar: an init container that goes on running. */
static bool is_sidecar(const value *container)
{
	return str_eq(v_get_str(container, "restartPolicy"), STR("Always"));
}

static const value *init_container(const struct pod_state *p, struct str name)
{
	v_each(c, v_path(p->row->obj, "spec.initContainers"))
		if (str_eq(v_get_str(c, "name"), name))
			return c;
	return NULL;
}

/* Takes one init container's status; true when the next one counts too, false
 * when the pod waits for this one. */
static bool take_init(struct pod_state *p, const value *status, uint32_t i)
{
	const value *terminated = v_path(status, "state.terminated");
	struct str waiting = v_as_str(v_path(status, "state.waiting.reason"));
	bool sidecar = is_sidecar(init_container(p, v_get_str(status, "name")));

	if (terminated && v_get_int(terminated, "exitCode", 0) == 0)
		return true;
	if (sidecar && v_get_bool(status, "started", false)) {
		p->ready += v_get_bool(status, "ready", false);
		return true;
	}
	p->initializing = true;
	if (terminated)
		p->reason = terminated_reason(p, terminated, "Init:");
	else if (waiting.n && !str_eq(waiting, STR("PodInitializing")))
		p->reason = zone_printf(p->row->z, "Init:" STR_FMT, STR_ARG(waiting));
	else
		p->reason = zone_printf(p->row->z, "Init:%u/%u", i,
					v_len(v_path(p->row->obj, "spec.initContainers")));
	return false;
}

/* Restarts of ordinary init containers only count while the pod initializes. */
static void take_init_containers(struct pod_state *p, int64_t *sidecar_restarts,
				 int64_t *sidecar_last_s)
{
	uint32_t i = 0;

	v_each(status, v_path(p->row->obj, "status.initContainerStatuses")) {
		add_restarts(status, &p->restarts, &p->last_restart_s);
		if (is_sidecar(init_container(p, v_get_str(status, "name"))))
			add_restarts(status, sidecar_restarts, sidecar_last_s);
		if (!take_init(p, status, i++))
			break;
	}
}

/* --- Containers --------------------------------------------------------------------- */

/* The state of the first container that has something to say stands for the
 * pod, so they are taken from the last to the first. */
static void take_containers(struct pod_state *p)
{
	const value *list = v_path(p->row->obj, "status.containerStatuses");
	struct str error = {NULL, 0};
	bool running = false;

	for (uint32_t i = v_len(list); i-- > 0;) {
		const value *status = v_at(list, i), *terminated;
		struct str waiting = v_as_str(v_path(status, "state.waiting.reason"));

		add_restarts(status, &p->restarts, &p->last_restart_s);
		terminated = v_path(status, "state.terminated");
		if (waiting.n) {
			p->reason = waiting;
		} else if (terminated) {
			p->reason = terminated_reason(p, terminated, "");
			if (v_get_int(terminated, "exitCode", 0))
				error = p->reason;
		} else if (v_get_bool(status, "ready", false) && v_path(status, "state.running")) {
			running = true;
			p->ready++;
		}
	}
	if (!str_eq(p->reason, STR("Completed")))
		return;
	if (running && is_condition_true(v_path(p->row->obj, "status.conditions"), "Ready"))
		p->reason = STR("Running");
	else if (error.n)
		p->reason = error;
	else if (running)
		p->reason = STR("NotReady");
}

/* --- The pod ------------------------------------------------------------------------ */

static struct str first_reason(const value *obj)
{
	struct str reason = v_as_str(v_path(obj, "status.reason"));

	if (!reason.n)
		reason = v_as_str(v_path(obj, "status.phase"));
	v_each(c, v_path(obj, "status.conditions"))
		if (str_eq(v_get_str(c, "type"), STR("PodScheduled")) &&
		    str_eq(v_get_str(c, "reason"), STR("SchedulingGated")))
			reason = STR("SchedulingGated");
	return reason;
}

static void take_deletion(struct pod_state *p)
{
	struct str phase = v_as_str(v_path(p->row->obj, "status.phase"));

	if (!v_path(p->row->obj, "metadata.deletionTimestamp"))
		return;
	if (str_eq(v_as_str(v_path(p->row->obj, "status.reason")), STR("NodeLost")))
		p->reason = STR("Unknown");
	else if (!str_eq(phase, STR("Succeeded")) && !str_eq(phase, STR("Failed")))
		p->reason = STR("Terminating");
}

static struct pod_state pod_state(const struct row *row)
{
	struct pod_state p = {.row = row, .reason = first_reason(row->obj)};
	int64_t sidecar_restarts = 0, sidecar_last_s = 0;

	p.total = (int)v_len(v_path(row->obj, "spec.containers"));
	v_each(c, v_path(row->obj, "spec.initContainers"))
		p.total += is_sidecar(c);
	take_init_containers(&p, &sidecar_restarts, &sidecar_last_s);
	if (!p.initializing ||
	    is_condition_true(v_path(row->obj, "status.conditions"), "Initialized")) {
		p.restarts = sidecar_restarts;
		p.last_restart_s = sidecar_last_s;
		take_containers(&p);
	}
	take_deletion(&p);
	return p;
}

static value ready(const struct row *row, const struct column *c)
{
	struct pod_state p = pod_state(row);

	return cell_of(zone_printf(row->z, "%d/%d", p.ready, p.total));
}

static value status(const struct row *row, const struct column *c)
{
	return cell_of(pod_state(row).reason);
}

static value restarts(const struct row *row, const struct column *c)
{
	struct pod_state p = pod_state(row);
	struct str ago;

	if (!p.restarts || !p.last_restart_s)
		return cell_of(zone_printf(row->z, "%lld", (long long)p.restarts));
	ago = human_duration(row->z, (int64_t)row->now_s - p.last_restart_s);
	return cell_of(
		zone_printf(row->z, "%lld (" STR_FMT " ago)", (long long)p.restarts, STR_ARG(ago)));
}

static value ip(const struct row *row, const struct column *c)
{
	struct str ip = v_get_str(v_at(v_path(row->obj, "status.podIPs"), 0), "ip");

	if (!ip.n)
		ip = v_as_str(v_path(row->obj, "status.podIP"));
	return ip.n ? cell_of(ip) : cell_cstr("<none>");
}

static value gates(const struct row *row, const struct column *c)
{
	const value *list = v_path(row->obj, "spec.readinessGates");
	const value *conditions = v_path(row->obj, "status.conditions");
	int n = 0;

	if (!v_len(list))
		return cell_cstr("<none>");
	v_each(gate, list) {
		struct str type =
			zone_printf(row->z, STR_FMT, STR_ARG(v_get_str(gate, "conditionType")));

		n += is_condition_true(conditions, type.p);
	}
	return cell_of(zone_printf(row->z, "%d/%u", n, v_len(list)));
}

const struct column table_pod_columns[] = {
	COLUMN_NAME,
	COLUMN("Ready", ready, NULL, NULL),
	COLUMN("Status", status, NULL, NULL),
	COLUMN("Restarts", restarts, NULL, NULL),
	COLUMN_AGE,
	COLUMN_WIDE("IP", ip, NULL, NULL),
	COLUMN_WIDE("Node", cell_text, "spec.nodeName", "<none>"),
	COLUMN_WIDE("Nominated Node", cell_text, "status.nominatedNodeName", "<none>"),
	COLUMN_WIDE("Readiness Gates", gates, NULL, NULL),
	COLUMN_END,
};

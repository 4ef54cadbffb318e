/*
 * log.c - logs of simulated pods; and what needs a real container, refused.
 */
#include "procs/apiserver/item.h"
#include "procs/apiserver/verbs.h"

enum outcome streaming_refused(struct request *q)
{
	return answer_status(
		q,
		kube_status(q->z, 501, "NotImplemented",
			    zone_printf(q->z,
					"%s \"" STR_FMT
					"\" is simulated: there is no process that " STR_FMT
					" could reach",
					q->t.r->singular, STR_ARG(q->t.name), STR_ARG(q->t.sub))));
}

/* --- Which container ---------------------------------------------------------------- */

static const value *find_named(const value *list, struct str name)
{
	v_each(el, list)
		if (str_eq(v_get_str(el, "name"), name))
			return el;
	return NULL;
}

static const value *find_container(const value *pod, struct str name)
{
	static const char *const lists[] = {"spec.containers", "spec.initContainers",
					    "spec.ephemeralContainers"};
	const value *found = NULL;

	for (size_t i = 0; i < countof(lists) && !found; i++)
		found = find_named(v_path(pod, lists[i]), name);
	return found;
}

static const value *find_status(const value *pod, struct str name)
{
	static const char *const lists[] = {"status.containerStatuses",
					    "status.initContainerStatuses",
					    "status.ephemeralContainerStatuses"};
	const value *found = NULL;

	for (size_t i = 0; i < countof(lists) && !found; i++)
		found = find_named(v_path(pod, lists[i]), name);
	return found;
}

static struct str names_of(zone *z, const value *list)
{
	struct buf b = {0};
	struct str out;

	v_each(el, list)
		buf_printf(&b, "%s" STR_FMT, b.n ? " " : "", STR_ARG(v_get_str(el, "name")));
	out = zone_str(z, buf_str(&b));
	buf_free(&b);
	return out;
}

/* The container that is meant; NULL: answered. */
static const value *choose_container(struct request *q, const value *pod)
{
	struct str name = query_get(&q->query, "container");
	const value *all = v_path(pod, "spec.containers"), *found;

	if (!name.n && v_len(all) == 1)
		return v_at(all, 0);
	if (!name.n) {
		answer_bad_request(q,
				   zone_printf(q->z,
					       "a container name must be specified for pod " STR_FMT
					       ", choose one of: [" STR_FMT "]",
					       STR_ARG(q->t.name), STR_ARG(names_of(q->z, all))));
		return NULL;
	}
	found = find_container(pod, name);
	if (!found)
		answer_bad_request(
			q, zone_printf(q->z, "container " STR_FMT " is not valid for pod " STR_FMT,
				       STR_ARG(name), STR_ARG(q->t.name)));
	return found;
}

/* --- What it says ------------------------------------------------------------------- */

struct log_options {
	bool follow, previous, timestamps;
	int64_t tail, limit, since_s;
	int64_t since_ns; /* wall; 0: from the beginning */
};

static int read_options(struct request *q, struct log_options *o)
{
	struct str since = query_get(&q->query, "sinceTime"), why;

	o->follow = query_bool(&q->query, "follow");
	o->previous = query_bool(&q->query, "previous");
	o->timestamps = query_bool(&q->query, "timestamps");
	if (query_int(q->z, &q->query, "tailLines", -1, &o->tail, &why) ||
	    query_int(q->z, &q->query, "limitBytes", -1, &o->limit, &why) ||
	    query_int(q->z, &q->query, "sinceSeconds", -1, &o->since_s, &why)) {
		answer_bad_request(q, why);
		return WEFT_EINVAL;
	}
	if (o->since_s >= 0)
		o->since_ns = clock_wall_ns() - o->since_s * 1000000000;
	if (since.n)
		(void)time_parse(since, &o->since_ns);
	return WEFT_OK;
}

struct line {
	int64_t wall_ns;
	struct str text;
};

static void add_line(struct request *q, struct line *lines, int *n, struct str when,
		     struct str text)
{
	int64_t ns = 0;

	if (when.n && !time_parse(when, &ns))
		lines[(*n)++] = (struct line){ns, text};
}

/* What a simulated container has to tell: what it is, and how it ended. */
static int make_lines(struct request *q, const value *pod, const value *c, const value *state,
		      struct line lines[4])
{
	const value *running = v_get(state, "running"), *ended = v_get(state, "terminated");
	struct str began = v_get_str(running ? running : ended, "startedAt");
	int n = 0;

	add_line(q, lines, &n, began,
		 zone_printf(q->z,
			     "simulated container " STR_FMT " of image " STR_FMT
			     " started in pod " STR_FMT "/" STR_FMT " on node " STR_FMT,
			     STR_ARG(v_get_str(c, "name")), STR_ARG(v_get_str(c, "image")),
			     STR_ARG(q->t.ns), STR_ARG(q->t.name),
			     STR_ARG(v_as_str(v_path(pod, "spec.nodeName")))));
	add_line(q, lines, &n, v_get_str(ended, "finishedAt"),
		 zone_printf(q->z, "simulated container " STR_FMT " ended with exit code %lld",
			     STR_ARG(v_get_str(c, "name")),
			     (long long)v_get_int(ended, "exitCode", 0)));
	return n;
}

static void print_lines(struct request *q, const struct log_options *o, const struct line *lines,
			int n)
{
	int first = o->tail >= 0 && o->tail < n ? n - (int)o->tail : 0;
	char when[28];

	q->out.n = 0;
	for (int i = first; i < n; i++) {
		if (lines[i].wall_ns < o->since_ns)
			continue;
		time_format_micro(lines[i].wall_ns, when);
		if (o->timestamps)
			buf_printf(&q->out, "%s ", when);
		buf_addstr(&q->out, lines[i].text);
		buf_putc(&q->out, '\n');
	}
	if (o->limit >= 0 && q->out.n > (size_t)o->limit)
		q->out.n = (size_t)o->limit;
}

/* --- Following ---------------------------------------------------------------------- */

#define LOOK_NS INT64_C(250000000)

/* A log that is followed until its container ends. */
struct follow {
	struct follow *next, **link;
	struct request *q;
	struct log_options o;
	struct str container;
	bool ended;
};

static struct follow *follows; /* of this process */
static int64_t look_ns;

/* The container's last words, once it has ended or its pod is gone. */
static bool follow_look(struct follow *f)
{
	const value *c, *state;
	struct line lines[4];
	value pod;
	int n;

	if (!item_read(f->q, 0, 0, &pod))
		return true;
	c = find_container(&pod, f->container);
	state = v_get(find_status(&pod, f->container), "state");
	if (v_get(state, "running"))
		return false;
	n = v_get(state, "terminated") ? make_lines(f->q, &pod, c, state, lines) : 0;
	if (n > 1)
		print_lines(f->q, &f->o, lines + 1, n - 1);
	return true;
}

static enum stream_state follow_fill(struct request *q, void *arg, struct buf *out)
{
	struct follow *f = arg;

	return f->ended ? STREAM_END : STREAM_IDLE;
}

static void follow_close(struct request *q, void *arg)
{
	struct follow *f = arg;

	*f->link = f->next;
	if (f->next)
		f->next->link = f->link;
}

static const struct stream_ops follow_stream = {.fill = follow_fill, .close = follow_close};

int64_t log_turn(struct api *api, int64_t now_ns)
{
	if (!follows)
		return 0;
	if (now_ns < look_ns)
		return look_ns;
	look_ns = now_ns + LOOK_NS;
	for (struct follow *f = follows; f; f = f->next) {
		if (f->ended || !follow_look(f))
			continue;
		f->ended = true;
		stream_wake(f->q);
	}
	return look_ns;
}

static enum outcome follow_start(struct request *q, const struct log_options *o,
				 struct str container)
{
	struct follow *f = zone_alloc(q->z, sizeof(*f));

	*f = (struct follow){.q = q, .o = *o, .container = container};
	f->o.tail = -1;
	f->next = follows;
	f->link = &follows;
	if (follows)
		follows->link = &f->next;
	follows = f;
	return answer_stream(q, 200, &follow_stream, f);
}

/* --- The request -------------------------------------------------------------------- */

static enum outcome answer_waiting(struct request *q, const value *c, const value *state)
{
	struct str reason = v_as_str(v_path(state, "waiting.reason"));

	return answer_bad_request(
		q, zone_printf(q->z,
			       "container \"" STR_FMT "\" in pod \"" STR_FMT
			       "\" is waiting to start: " STR_FMT,
			       STR_ARG(v_get_str(c, "name")), STR_ARG(q->t.name),
			       STR_ARG(reason.n ? reason : STR("ContainerCreating"))));
}

enum outcome log_get(struct request *q)
{
	struct log_options o = {0};
	const value *c, *status, *state;
	struct line lines[4];
	value pod;
	int n;

	q->pretty = false;
	if (!item_read(q, 0, 0, &pod))
		return answer_status(q, kube_status_not_found(q->z, q->t.r, q->t.name));
	if (read_options(q, &o))
		return ANSWERED;
	c = choose_container(q, &pod);
	if (!c)
		return ANSWERED;
	status = find_status(&pod, v_get_str(c, "name"));
	state = v_get(status, o.previous ? "lastState" : "state");
	if (o.previous && !v_get(state, "terminated"))
		return answer_bad_request(q, zone_printf(q->z,
							 "previous terminated container \"" STR_FMT
							 "\" in pod \"" STR_FMT "\" not found",
							 STR_ARG(v_get_str(c, "name")),
							 STR_ARG(q->t.name)));
	if (!v_get(state, "running") && !v_get(state, "terminated"))
		return answer_waiting(q, c, state);
	n = make_lines(q, &pod, c, state, lines);
	print_lines(q, &o, lines, n);
	q->code = 200;
	q->content_type = "text/plain";
	if (!o.follow || v_get(state, "terminated"))
		return ANSWERED;
	return follow_start(q, &o, v_get_str(c, "name"));
}

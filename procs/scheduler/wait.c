/* wait.c - pods for which there is no node: why, and until when. */
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "procs/scheduler/scheduler.h"

#define BACKOFF_FIRST_NS INT64_C(1000000000)
#define BACKOFF_MAX_NS	 INT64_C(10000000000)
#define TELL_MAX	 4096u	     /* pods told in one turn */
#define TELL_ROOM	 (64u << 10) /* bytes free in the ring before the next is told */
#define PREEMPT_MAX	 64u	     /* pods of one kind that may make room in one turn */

/* --- Reasons --------------------------------------------------------------------- */

struct tally {
	const char *text;
	uint32_t n;
};

static void tally_add(struct tally *t, uint32_t *n, uint32_t cap, const char *text)
{
	uint32_t i = 0;

	while (i < *n && strcmp(t[i].text, text) != 0)
		i++;
	if (i == cap)
		return;
	if (i == *n)
		t[(*n)++] = (struct tally){text, 0};
	t[i].n++;
}

/* As texts: "10 ..." goes before "2 ...". */
static int by_text(const void *a, const void *b)
{
	char x[300], y[300];
	const struct tally *p = a, *q = b;

	snprintf(x, sizeof(x), "%u %s", p->n, p->text);
	snprintf(y, sizeof(y), "%u %s", q->n, q->text);
	return strcmp(x, y);
}

static void print_tally(struct buf *out, struct tally *t, uint32_t n)
{
	qsort(t, n, sizeof(*t), by_text);
	for (uint32_t i = 0; i < n; i++)
		buf_printf(out, "%s %u %s", i ? "," : "", t[i].n, t[i].text);
	if (n)
		buf_puts(out, ".");
}

static void refuse_of(struct scheduler *self, struct kind *k, const struct node *node,
		      struct reasons *why)
{
	if (filter_static(k, node, why) && filter_fit(self, k, node, why))
		filter_terms(self, k, node, why);
}

/* "0/3 nodes are available: 3 Insufficient cpu." into `out`, what would help
 * into `help`: "0/3 nodes are available: 3 Preemption is not ..."; and
 * k->waits_for. */
static void explain(struct scheduler *self, struct kind *k, struct buf *out, struct buf *help)
{
	struct tally why[32], helps[2];
	uint32_t n = 0, nhelps = 0;

	k->waits_for = MOVES(MOVE_NODES) | MOVES(MOVE_REFUSED);
	if (!self->npresent) {
		buf_puts(out, "no nodes available to schedule pods");
		return;
	}
	for (uint32_t i = 0; i < self->nnodes; i++) {
		struct reasons r = {.n = 0};

		if (!self->nodes[i].present)
			continue;
		refuse_of(self, k, &self->nodes[i], &r);
		for (uint32_t j = 0; j < r.n; j++)
			tally_add(why, &n, countof(why), r.text[j]);
		tally_add(helps, &nhelps, countof(helps),
			  r.hopeless ? "Preemption is not helpful for scheduling"
				     : "No preemption victims found for incoming pod");
		k->waits_for |= r.waits;
	}
	buf_printf(out, "0/%u nodes are available:", self->npresent);
	print_tally(out, why, n);
	buf_puts(out, " preemption: ");
	buf_printf(help, "0/%u nodes are available:", self->npresent);
	print_tally(help, helps, nhelps);
}

/* --- Telling ------------------------------------------------------------------------ */

static value unschedulable(zone *z, const struct version *v, const value *old, struct str message)
{
	value condition = v_map();
	char now[21];

	time_format(clock_wall_s(), now);
	v_set(z, &condition, "lastProbeTime", v_null());
	v_set(z, &condition, "lastTransitionTime",
	      old && str_eq(v_get_str(old, "status"), STR("False"))
		      ? *v_get(old, "lastTransitionTime")
		      : v_str(zone_str(z, str_of(now))));
	v_set(z, &condition, "message", v_str(message));
	v_set(z, &condition, "observedGeneration", v_uint(v->generation));
	v_set(z, &condition, "reason", v_cstr("Unschedulable"));
	v_set(z, &condition, "status", v_cstr("False"));
	v_set(z, &condition, "type", v_cstr("PodScheduled"));
	return condition;
}

static void send_status(struct scheduler *self, const struct entry *e, const struct version *v,
			const value *status)
{
	struct buf bytes = {0};
	struct msg m = {.kind = MSG_update};

	v_encode(&bytes, status);
	m.update = (struct msg_update){
		.cause = v->rv,
		.type = TYPE_POD,
		.ns = cache_ns(self->c, e),
		.name = entry_name(e),
		.uid = {(const char *)e->uid, 16},
		.rv = v->rv,
		.mask = 1u << PART_STATUS,
		.status = buf_str(&bytes),
	};
	if (proc_send(self->proc, &m, note_refusal, self))
		self->moved[MOVE_REFUSED]++;
	buf_free(&bytes);
}

/* Put it into the pod's status; `nominated`: the node that is promised, or NULL. */
static void set_unschedulable(struct scheduler *self, const struct entry *e,
			      const struct version *v, struct str message,
			      const struct node *nominated)
{
	zone *z = self->z;
	value status = kube_part(z, self->c, e, v, PART_STATUS), condition, before;
	value *conditions, *old;

	if (!v_is_map(&status))
		status = v_map();
	before = v_copy(z, &status);
	conditions = v_array_at(z, &status, "conditions");
	old = kube_condition(conditions, "PodScheduled");
	condition = unschedulable(z, v, old, message);
	if (old)
		*old = condition;
	else
		v_append(z, conditions, condition);
	if (nominated)
		v_set(z, &status, "nominatedNodeName", v_cstr(nominated->name));
	if (!v_equal(&before, &status))
		send_status(self, e, v, &status);
}

static void tell(struct scheduler *self, struct pending *p, const struct entry *e,
		 const struct version *v, struct str message, const struct node *nominated)
{
	static const struct event_source source = {.component = "default-scheduler"};
	/* After a refusal everybody is told once more. */
	uint32_t hash =
		(uint32_t)XXH3_64bits_withSeed(message.p, message.n, self->moved[MOVE_REFUSED]) | 1;

	if (p->told != hash)
		set_unschedulable(self, e, v, message, nominated);
	p->told = hash;
	proc_event(self->proc, e, &source, "Warning", "FailedScheduling", message);
}

bool wait_tell(struct scheduler *self, struct kind *k)
{
	for (uint32_t told = 0; k->blocked && k->tell_at < k->n; k->tell_at++) {
		struct pending *p = &k->queue[k->tell_at];
		const struct version *v;
		const struct entry *e = place_waiting(self, p, &v);

		if (!e)
			continue;
		if (told == TELL_MAX || !proc_can_send(self->proc, TELL_ROOM))
			return false;
		tell(self, p, e, v, buf_str(&k->why), NULL);
		if (++told % 256 == 0)
			zone_reset(self->z);
	}
	return true;
}

/* --- Blocking ----------------------------------------------------------------------- */

/* Drop those that wait no more.  Of the others all are told anew once their back-off is over;
 * before, only those who do not know yet. */
static void compact(struct scheduler *self, struct kind *k)
{
	uint32_t kept = 0, know = 0;

	for (uint32_t i = k->at; i < k->n; i++) {
		const struct version *v;

		if (!place_waiting(self, &k->queue[i], &v))
			continue;
		know += i < k->tell_at;
		k->queue[kept++] = k->queue[i];
	}
	k->at = 0;
	k->tell_at = k->early ? know : 0;
	k->n = kept;
}

/* Make room for the first pods of the queue: each is told what was done for it.
 * Those behind are told what is in k->why. */
static void make_room(struct scheduler *self, struct kind *k, struct str why)
{
	for (; k->tell_at < k->n && k->tell_at < PREEMPT_MAX; k->tell_at++) {
		struct pending *p = &k->queue[k->tell_at];
		const struct version *v;
		const struct entry *e = place_waiting(self, p, &v);
		struct node *node;
		struct str text;
		uint32_t victims;

		if (!e)
			continue;
		if (preempt_still_leaving(self, k, e, v)) {
			text = zone_printf(self->z,
					   STR_FMT "not eligible due to a terminating pod "
						   "on the nominated node.",
					   STR_ARG(why));
			tell(self, p, e, v, text, NULL);
			continue;
		}
		victims = preempt_for(self, k, e, &node);
		if (!victims)
			return;
		nominate(self, p, k, node);
		text = zone_printf(self->z,
				   STR_FMT "found a potential placement for pod on node "
					   "%s, preempting %u victims",
				   STR_ARG(why), node->name, victims);
		tell(self, p, e, v, text, node);
	}
}

void wait_block(struct scheduler *self, struct kind *k, int64_t now_ns)
{
	struct buf help = {0};

	compact(self, k);
	k->why.n = 0;
	explain(self, k, &k->why, &help);
	k->moves_seen = moves_of(self, k->waits_for);
	if (!k->may_preempt && help.n) {
		help.n = 0;
		buf_puts(&help, "not eligible due to preemptionPolicy=Never.");
	}
	if (k->may_preempt && help.n)
		make_room(self, k, zone_str(self->z, buf_str(&k->why)));
	buf_addstr(&k->why, buf_str(&help));
	buf_free(&help);
	k->blocked = true;
	k->owed = k->early;
	if (k->early)
		return;
	k->backoff_ns = k->backoff_ns ? k->backoff_ns * 2 : BACKOFF_FIRST_NS;
	if (k->backoff_ns > BACKOFF_MAX_NS)
		k->backoff_ns = BACKOFF_MAX_NS;
	k->retry_ns = now_ns + k->backoff_ns;
}

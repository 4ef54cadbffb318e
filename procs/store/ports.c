/* ports.c - requests in, replies out. */
#include "procs/store/ports.h"

#include <stdlib.h>

#include "procs/store/route.h"
#include "weft/fault.h"

void ports_init(struct ports *p, struct store *s, struct committer *c, uint32_t generation)
{
	memset(p, 0, sizeof(*p));
	p->s = s;
	p->c = c;
	p->generation = generation;
	p->routes_type = NO_ROUTES_TYPE;
	memset(p->target, -1, sizeof(p->target));
}

void ports_free(struct ports *p)
{
	for (uint32_t i = 0; i < PROC_SLOTS; i++)
		for (uint32_t k = 0; k < PORT_WORK_TYPES; k++)
			buf_free(&p->port[i].work[k].refs);
	free(p->routed.key);
	for (uint32_t i = 0; i < PORT_AHEAD; i++) {
		buf_free(&p->ahead[i].record);
		buf_free(&p->ahead[i].scratch.mem);
	}
}

/* --- Opening and closing ------------------------------------------------------------ */

void ports_retarget(struct ports *p)
{
	memset(p->target, -1, sizeof(p->target));
	for (uint32_t i = 0; i < PROC_SLOTS; i++) {
		const struct port *t = &p->port[i];

		if (t->open && t->routed && !t->dead && t->shard < PORT_SHARDS_MAX)
			p->target[t->kind][t->shard] = (int16_t)i;
	}
}

int port_open(struct ports *p, uint32_t slot, uint32_t kind, uint32_t shard, uint32_t incarnation,
	      const struct ring_out *requests, struct ring_in *in, uint32_t size,
	      struct ring_out *out, const struct ring_in *inbox, int bell)
{
	struct port *t = &p->port[slot];
	int rc;

	weft_assert(slot < PROC_SLOTS && kind < PROC_KIND_COUNT);
	port_close(p, slot);
	rc = ring_consumer(&t->in, requests, in, size, -1);
	if (rc)
		return rc;
	ring_producer(&t->out, out, inbox, bell);
	t->open = t->routed = true;
	t->slot = slot;
	t->kind = kind;
	t->shard = shard;
	t->incarnation = incarnation;
	ports_retarget(p);
	return WEFT_OK;
}

void port_close(struct ports *p, uint32_t slot)
{
	struct port *t = &p->port[slot];

	for (uint32_t k = 0; k < t->nwork; k++)
		t->work[k].refs.n = 0;
	t->open = t->dead = t->routed = t->touched = t->dropped = false;
	t->owed = t->drained_at = 0;
	t->bad = t->nwork = 0;
	ports_retarget(p);
}

void port_mark(struct ports *p, uint32_t slot)
{
	struct ring *out = &p->port[slot].out;

	ring_mark_overflow(out);
	ring_ring(out);
}

void ports_set_map(struct ports *p, uint32_t kind, uint32_t epoch, uint32_t count)
{
	p->epoch[kind] = epoch;
	p->count[kind] = count < PORT_SHARDS_MAX ? count : PORT_SHARDS_MAX;
	p->routes_type = NO_ROUTES_TYPE;
	ports_retarget(p);
}

/* --- Requests ----------------------------------------------------------------------- */

static void malformed(struct ports *p, struct port *t, const char *why)
{
	int64_t now = proc_mono_ns();

	p->malformed++;
	if (!t->bad || now - t->bad_since > 1000000000) {
		t->bad_since = now;
		t->bad = 0;
	}
	if (++t->bad <= PORT_HOSTILE)
		log_warn("malformed record from %s/%u (slot %u): %s", proc_kind_info(t->kind)->name,
			 t->shard, t->slot, why);
	if (t->bad == PORT_HOSTILE)
		p->hostile = PROC_WHO(t->slot, t->incarnation);
}

#define REPLY_BYTES_MAX 96 /* without its strings */

static uint64_t reply_room(const struct waiting *w)
{
	return REPLY_BYTES_MAX + w->name_n + w->message_n + 5ull * w->skipped_n;
}

/* One record.  The producer may still write to what was peeked: it is copied
 * before it is looked at.  False if there is nothing to do for it. */
static bool read_record(struct ports *p, struct port *t, struct str bytes, struct port_ahead *a)
{
	struct msg_request *q;
	struct err e = {0};

	a->record.n = 0;
	buf_addstr(&a->record, bytes);
	if (msg_decode(buf_str(&a->record), &a->m, &a->scratch, &e)) {
		malformed(p, t, e.msg);
		return false;
	}
	q = msg_request(&a->m);
	if (!q)
		malformed(p, t, "not a request");
	/* That of another generation is lost, as its sender has been told. */
	return q && q->generation == p->generation;
}

/* What a request for one object will touch; false if it is another. */
static bool note_named(const struct msg *m, struct cw_ahead *fetch)
{
	const struct msg_create *c = &m->create;
	const struct msg_update *u = &m->update;
	const struct msg_remove *r = &m->remove;

	if (m->kind == MSG_create)
		cw_ahead_key(fetch, c->type, c->ns, c->name, c->spec, c->rest.n);
	else if (m->kind == MSG_update)
		cw_ahead_key(fetch, u->type, u->ns, u->name, u->spec.n ? u->spec : u->status,
			     u->rest.n);
	else if (m->kind == MSG_remove)
		cw_ahead_key(fetch, r->type, r->ns, r->name, (struct str){0}, 0);
	else
		return false;
	return true;
}

static void do_request(struct ports *p, struct port *t, struct port_ahead *a, uint32_t near)
{
	struct caller who = {t->slot, t->incarnation, (uint16_t)t->slot, (uint16_t)t->kind};
	const struct msg_request *q = msg_request(&a->m);
	struct batch *b = p->s->batch;

	if (proc_kind_info(t->kind)->sharded && q->epoch != p->epoch[t->kind]) {
		store_refuse(p->s, &who, q->seq, WEFT_EFENCED, weft_strerror(WEFT_EFENCED));
	} else {
		p->s->near = near;
		store_apply(p->s, &who, &a->m);
	}
	t->owed += reply_room(&b->replies[b->nreplies - 1]);
	fault_at(store_applied);
}

/* A reply to a request that names one object is no longer than this, as a rule. */
#define REPLY_USUAL 1024

/* Is there room for one more reply, after those to `ahead` requests? */
static bool has_room(const struct port *t, uint32_t ahead)
{
	uint64_t owed = t->owed + (uint64_t)ahead * REPLY_USUAL;

	return ring_used(&t->out) + owed < (uint64_t)t->out.size / 8 * 7;
}

/* Read some requests: those for one object, or one for many.  Returns how many;
 * *rc as ring_peek(), *bytes grows by what was read. */
static uint32_t read_some(struct ports *p, struct port *t, uint64_t *bytes, int *rc)
{
	uint64_t end = *bytes + PORT_AHEAD_BYTES;
	bool named = true;
	uint32_t n = 0;
	struct str rec;

	while (named && n < PORT_AHEAD && *bytes < end) {
		struct port_ahead *a = &p->ahead[n];

		if (!t->dead && !has_room(t, n)) {
			p->blocked |= n == 0;
			if (ring_used(&t->out) > t->out.size)
				malformed(p, t, "its inbox's end is damaged");
			break;
		}
		*rc = ring_peek(&t->in, &rec);
		if (*rc <= 0)
			break;
		*bytes += rec.n;
		if (read_record(p, t, rec, a)) {
			named = note_named(&a->m, &p->fetch[n]);
			n++;
		}
		ring_next(&t->in);
	}
	p->nfetch = named ? n : n - 1;
	return n;
}

static void do_some(struct ports *p, struct port *t, uint32_t n)
{
	fault_at(store_drain);
	if (p->nfetch > 1)
		cw_ahead_fetch(p->s->w, p->fetch, p->nfetch);
	for (uint32_t i = 0; i < n; i++)
		do_request(p, t, &p->ahead[i], i < p->nfetch ? p->fetch[i].ref : 0);
}

/* Has the port had its share of this turn? */
static bool is_served(const struct ports *p, uint64_t bytes, uint64_t rv_before)
{
	return bytes / PORT_UNIT_BYTES + (p->s->rv - rv_before) >= PORT_TURN_COST;
}

static bool port_drain(struct ports *p, struct port *t)
{
	uint64_t bytes = 0, rv = p->s->rv;
	uint32_t n = 1;
	int rc = 1;

	while (n && rc > 0 && !is_served(p, bytes, rv) && !commit_full(p->c)) {
		n = read_some(p, t, &bytes, &rc);
		do_some(p, t, n);
	}
	if (rc < 0)
		malformed(p, t, "its ring is damaged");
	if (rc <= 0 && t->dead && !t->drained_at && !commit_full(p->c))
		t->drained_at = p->c->filled;
	if (bytes) {
		ring_release(&t->in);
		p->c->prompt |= t->kind == PROC_APISERVER;
	}
	return bytes != 0;
}

bool ports_drain(struct ports *p)
{
	bool did = false;
	uint32_t i;

	p->blocked = false;
	for (i = 0; i < PROC_SLOTS && !commit_full(p->c); i++) {
		struct port *t = &p->port[(p->first + i) % PROC_SLOTS];

		if (t->open)
			did |= port_drain(p, t);
	}
	p->first = (p->first + (i < PROC_SLOTS ? i : 1)) % PROC_SLOTS;
	return did;
}

bool ports_sleep(struct ports *p)
{
	for (uint32_t i = 0; i < PROC_SLOTS; i++)
		if (p->port[i].open && !ring_sleep(&p->port[i].in)) {
			if (!has_room(&p->port[i], 0))
				continue;
			ports_awake(p);
			return false;
		}
	return true;
}

void ports_awake(struct ports *p)
{
	for (uint32_t i = 0; i < PROC_SLOTS; i++)
		if (p->port[i].open)
			ring_awake(&p->port[i].in);
}

/* --- Replies ------------------------------------------------------------------------ */

/* Put a message into an inbox; false if there is no room. */
bool port_send(struct port *t, const struct msg *m)
{
	void *at = ring_reserve(&t->out, (uint32_t)msg_size(m));

	if (!at)
		return false;
	ring_trim(&t->out, (uint32_t)msg_encode(m, at));
	t->touched = true;
	return true;
}

static void send_reply(struct ports *p, const struct batch *b, const struct waiting *w)
{
	struct port *t = &p->port[w->port];
	struct msg m = {.kind = MSG_reply};

	if (!t->open || t->incarnation != w->incarnation)
		return;
	t->owed -= reply_room(w) < t->owed ? reply_room(w) : t->owed;
	m.reply = (struct msg_reply){
		.seq = w->seq,
		.status = w->status,
		.rv = w->rv,
		.entry = w->entry,
		.done = w->done,
		.gone = w->gone,
		.name = {b->text.p + w->name_at, w->name_n},
		.message = {b->text.p + w->message_at, w->message_n},
		.skipped = {(const uint32_t *)(b->text.p + w->skipped_at), w->skipped_n},
	};
	if (port_send(t, &m) || t->dead)
		return;
	/* Too long for its inbox: the sender has to look for itself. */
	m.reply.skipped.n = 0;
	m.reply.status = WEFT_ELOST;
	if (!port_send(t, &m))
		t->dropped = t->touched = true;
}

/* Show a process what was put into its inbox, or that there is something in the
 * journal for those of its kind. */
static void wake_port(struct port *t, bool followed)
{
	if (!t->touched) {
		if (followed)
			ring_ring_follower(&t->out);
		return;
	}
	/* Not before: whoever looks too early misses what the same batch changes
	 * once more, as an object is routed once for each batch. */
	if (t->dropped)
		ring_mark_overflow(&t->out);
	t->dropped = false;
	ring_commit(&t->out);
	ring_ring(&t->out);
	t->touched = false;
}

static void on_published(void *arg, struct batch *b)
{
	struct ports *p = arg;

	fault_at(store_reply);
	for (uint32_t i = 0; i < b->nreplies; i++)
		send_reply(p, b, &b->replies[i]);
	route_flush(p);
	fault_at(store_ring);
	for (uint32_t i = 0; i < PROC_SLOTS; i++)
		if (p->port[i].open)
			wake_port(&p->port[i], p->followed >> p->port[i].kind & 1);
	p->followed = 0;
}

struct commit_hooks ports_hooks(struct ports *p)
{
	return (struct commit_hooks){route_ahead, route_before, route_after, on_published, p};
}

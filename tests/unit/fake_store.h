/*
 * fake_store.h - a store without storage, for tests of what talks to it: it
 * makes empty cache generations, reads every process's ring, answers each
 * request with success (or what the test asks for), and follows deaths and
 * shard maps as the real one does.
 */
#ifndef TESTS_FAKE_STORE_H
#define TESTS_FAKE_STORE_H

#include <stdatomic.h>

#include "weft/cache_write.h"
#include "weft/kube.h"
#include "weft/proc.h"

struct fake_port {
	uint32_t incarnation; /* 0: none attached */
	struct seg proc, inbox;
	struct ring in, out;
};

struct fake_store {
	const struct control *control;
	struct proc_segment *own;
	struct cache_writer *writer;
	struct fake_port port[PROC_SLOTS];
	struct msg_scratch scratch;
	uint64_t rv;
	uint32_t generation;
	/* What the test wants and sees. */
	int status;	   /* of every reply */
	bool deaf;	   /* read nothing */
	uint64_t requests; /* answered */
	uint64_t dropped;  /* of an earlier generation */
	uint64_t fenced;
};

static inline void fake_store_make(struct fake_store *f, const struct control *control,
				   struct proc_segment *own)
{
	static const uint8_t id[16] = "fake store";
	struct cache_options opt = {.size_max = 64 << 20,
				    .size_first = 2 << 20,
				    .journal_min = 1024,
				    .journal_max = 1024,
				    .pod_type = TYPE_POD,
				    .node_type = TYPE_NODE};
	char name[SEG_NAME_MAX];
	struct err e = {0};

	*f = (struct fake_store){.control = control, .own = own};
	f->generation = atomic_load(&control->generation) + 1;
	proc_name_cache(name, control->cluster_hash, f->generation);
	if (cw_create(&f->writer, name, f->generation, id, 0, &opt, &e))
		weft_fatal("fake store: %s", e.msg);
	atomic_store(&own->made_generation, f->generation);
}

static inline void fake_port_detach(struct fake_port *p)
{
	if (!p->incarnation)
		return;
	seg_close(&p->proc);
	seg_close(&p->inbox);
	p->incarnation = 0;
}

static inline void fake_store_unmake(struct fake_store *f)
{
	for (int i = 0; i < PROC_SLOTS; i++)
		fake_port_detach(&f->port[i]);
	buf_free(&f->scratch.mem);
	cw_close(f->writer);
}

static inline bool fake_port_attach(struct fake_store *f, uint32_t slot, uint32_t incarnation)
{
	const struct slot *s = &f->control->slots[slot];
	struct fake_port *p = &f->port[slot];
	char name[SEG_NAME_MAX];
	struct proc_segment *proc;
	struct inbox_segment *inbox;

	if (p->incarnation == incarnation)
		return true;
	fake_port_detach(p);
	proc_name_proc(name, f->control->cluster_hash, slot, incarnation);
	if (seg_open(&p->proc, name, SEG_PROC, proc_layout_proc(), false, NULL))
		return false;
	proc_name_inbox(name, f->control->cluster_hash, slot, incarnation);
	if (seg_open(&p->inbox, name, SEG_INBOX, proc_layout_inbox(), true, NULL)) {
		seg_close(&p->proc);
		return false;
	}
	p->incarnation = incarnation;
	proc = (struct proc_segment *)p->proc.base;
	inbox = (struct inbox_segment *)p->inbox.base;
	weft_assert(!ring_consumer(&p->in, &proc->out, &inbox->requests, s->ring_out,
				   PROC_BELL_FD(STORE_SLOT)));
	ring_producer(&p->out, &inbox->out, &proc->inbox, PROC_BELL_FD(slot));
	if (inbox->opened != incarnation)
		ring_mark_overflow(&p->out);
	inbox->opened = incarnation;
	return true;
}

static inline void fake_send(struct fake_port *p, struct msg *m)
{
	char *at = ring_reserve(&p->out, (uint32_t)msg_size(m));

	if (!at) {
		ring_mark_overflow(&p->out);
		return;
	}
	ring_trim(&p->out, (uint32_t)msg_encode(m, at));
	ring_commit(&p->out);
	ring_ring(&p->out);
}

static inline void fake_answer(struct fake_store *f, uint32_t slot, struct str record)
{
	const struct slot *s = &f->control->slots[slot];
	uint64_t next = atomic_load(&f->control->maps[s->kind].next);
	struct msg m, reply = {.kind = MSG_reply};
	struct msg_request *req;

	if (msg_decode(record, &m, &f->scratch, NULL) || !(req = msg_request(&m))) {
		atomic_fetch_add(&f->own->counters.malformed, 1);
		return;
	}
	if (req->generation != f->generation) {
		f->dropped++;
		return;
	}
	reply.reply.seq = req->seq;
	reply.reply.status = f->status;
	if (proc_kind_info(s->kind)->sharded && req->epoch != SHARD_EPOCH(next)) {
		reply.reply.status = WEFT_EFENCED;
		f->fenced++;
	} else if (!f->status) {
		reply.reply.rv = ++f->rv;
	}
	f->requests++;
	fake_send(&f->port[slot], &reply);
}

static inline void fake_store_drain(struct fake_store *f, uint32_t slot)
{
	struct fake_port *p = &f->port[slot];
	struct str record;

	while (ring_used(&p->out) < p->out.size / 8 * 7 && ring_peek(&p->in, &record) == 1) {
		fake_answer(f, slot, record);
		ring_next(&p->in);
	}
	ring_release(&p->in);
}

/* Tell the supervisor of what has changed, as the store does. */
static inline void fake_say(_Atomic uint32_t *what, uint32_t now)
{
	if (atomic_exchange(what, now) != now)
		proc_tell_supervisor();
}

static inline void fake_confirm(struct fake_store *f, int kind)
{
	fake_say(&f->own->epochs[kind], SHARD_EPOCH(atomic_load(&f->control->maps[kind].next)));
}

static inline void fake_drained(struct fake_store *f, uint32_t slot, uint32_t incarnation)
{
	fake_say(&((struct inbox_segment *)f->port[slot].inbox.base)->drained, incarnation);
}

/* One look at everybody. */
static inline void fake_store_turn(struct fake_store *f)
{
	for (int k = 0; k < PROC_KIND_COUNT; k++)
		fake_confirm(f, k);
	for (uint32_t i = STORE_SLOT + 1; i < PROC_SLOTS; i++) {
		const struct slot *s = &f->control->slots[i];
		uint32_t state = atomic_load(&s->state), incarnation = atomic_load(&s->incarnation);

		if (state == SLOT_FREE || f->deaf || !fake_port_attach(f, i, incarnation))
			continue;
		fake_store_drain(f, i);
		if (state == SLOT_DEAD)
			fake_drained(f, i, incarnation);
	}
}

/* Route work to a process, as the store does after a change. */
static inline void fake_store_work(struct fake_store *f, uint32_t slot, uint16_t type,
				   const uint32_t *entries, uint32_t n)
{
	struct msg m = {
		.kind = MSG_work,
		.work = {.generation = f->generation, .type = type, .entries = {entries, n}}};

	fake_send(&f->port[slot], &m);
}

#endif

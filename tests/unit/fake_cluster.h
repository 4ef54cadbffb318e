/*
 * fake_cluster.h - a cluster of one process (the test itself, in slot
 * FAKE_SLOT) and a store played by the test (fake_store.h).
 */
#ifndef TESTS_FAKE_CLUSTER_H
#define TESTS_FAKE_CLUSTER_H

#include <unistd.h>

#include "fake_store.h"
#include "procs/lib/lib.h"

#define FAKE_SLOT 1

struct fake_cluster {
	uint64_t cluster;
	struct seg control_seg, store_seg, proc_seg, inbox_seg;
	struct control *control;
	struct fake_store store;
	struct proc *p;
};

static inline void fake_segment(struct seg *seg, const char *name, enum seg_kind kind,
				uint32_t layout, size_t n)
{
	struct err e = {0};

	if (seg_create(seg, name, kind, layout, n, n, &e))
		weft_fatal("%s", e.msg);
}

static inline void fake_bells(void)
{
	for (int slot = 0; slot <= FAKE_SLOT; slot++) {
		int bell = bell_create(NULL);

		weft_assert(bell >= 0 && dup2(bell, PROC_BELL_FD(slot)) >= 0);
		close(bell);
	}
}

static inline void fake_control(struct fake_cluster *f)
{
	char name[SEG_NAME_MAX];

	proc_name_control(name, f->cluster);
	fake_segment(&f->control_seg, name, SEG_CONTROL, proc_layout_control(),
		     align_up(sizeof(struct control), (size_t)4096));
	seg_hold(&f->control_seg);
	f->control = (struct control *)f->control_seg.base;
	f->control->cluster_hash = f->cluster;
	for (int k = 0; k < PROC_KIND_COUNT; k++) {
		atomic_store(&f->control->maps[k].now, SHARD_WORD(1, 1));
		atomic_store(&f->control->maps[k].next, SHARD_WORD(1, 1));
	}
	strcpy(f->control->config, "{\"nodes\":{\"count\":3}}");
	f->control->config_len = (uint32_t)strlen(f->control->config);
}

static inline void fake_process(struct fake_cluster *f, enum proc_kind kind)
{
	const struct proc_kind_info *k = proc_kind_info(kind);
	struct slot *s = &f->control->slots[FAKE_SLOT];
	char name[SEG_NAME_MAX];

	proc_name_proc(name, f->cluster, FAKE_SLOT, 1);
	fake_segment(&f->proc_seg, name, SEG_PROC, proc_layout_proc(),
		     proc_segment_bytes(k->ring_out));
	ring_init(&((struct proc_segment *)f->proc_seg.base)->out, k->ring_out);
	proc_name_inbox(name, f->cluster, FAKE_SLOT, 1);
	fake_segment(&f->inbox_seg, name, SEG_INBOX, proc_layout_inbox(),
		     inbox_segment_bytes(k->ring_in));
	ring_init(&((struct inbox_segment *)f->inbox_seg.base)->out, k->ring_in);
	s->kind = kind;
	s->ring_out = k->ring_out;
	s->ring_in = k->ring_in;
	atomic_store(&s->incarnation, 1);
	atomic_store(&s->state, SLOT_STARTING);
}

/* A new store, with the next generation of an empty cache. */
static inline void fake_cluster_generation(struct fake_cluster *f)
{
	fake_store_make(&f->store, f->control, (struct proc_segment *)f->store_seg.base);
	atomic_store(&f->control->generation, f->store.generation);
	atomic_store(&f->control->store_up, 1);
	atomic_fetch_add(&f->control->changes, 1);
}

static inline void fake_cluster_make(struct fake_cluster *f, enum proc_kind kind)
{
	char name[SEG_NAME_MAX];
	struct err e = {0};

	*f = (struct fake_cluster){.cluster = UINT64_C(0x7e57000000000000) | (uint64_t)getpid()};
	fake_bells();
	fake_control(f);
	proc_name_proc(name, f->cluster, STORE_SLOT, 1);
	fake_segment(&f->store_seg, name, SEG_PROC, proc_layout_proc(),
		     proc_segment_bytes(1 << 16));
	fake_process(f, kind);
	fake_cluster_generation(f);
	if (proc_attach(&f->p, kind, f->cluster, FAKE_SLOT, 1, &e) || proc_reattach(f->p, 1))
		weft_fatal("%s", e.msg);
	f->p->store_up = true;
	f->p->changes = atomic_load(&f->control->changes);
	fake_store_turn(&f->store);
	ring_overflowed(&f->p->in); /* the look at the start is the test's to ask for */
}

static inline void fake_cluster_unmake(struct fake_cluster *f)
{
	char prefix[SEG_NAME_MAX];

	proc_detach(f->p);
	fake_store_unmake(&f->store);
	proc_name_prefix(prefix, f->cluster);
	seg_unlink_all(prefix, NULL);
	seg_close(&f->control_seg);
	seg_close(&f->store_seg);
	seg_close(&f->proc_seg);
	seg_close(&f->inbox_seg);
	for (int slot = 0; slot <= FAKE_SLOT; slot++)
		close(PROC_BELL_FD(slot));
}

#endif

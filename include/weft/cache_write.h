/*
 * cache_write.h - the object cache: what the store alone may do.
 *
 * The life of a write:
 *   1. cw_prepare_*() checks memory, builds the version and (for a create) the
 *      entry, and makes it the entry's `pending`.  Readers see nothing.  The
 *      next prepare of the same object builds on the pending version.
 *   2. The store makes the batch durable.
 *   3. cw_publish() in resourceVersion order: newest, indexes, lists,
 *      aggregates, journal, and at last the cache's rv (cw_commit_rv).
 *   or 2'. cw_abort() of everything prepared and not published, newest first.
 *   4. cw_reclaim() now and then: moves the journal's oldest on and frees what
 *      a grace period has passed for.
 *
 * Nothing here blocks.  Memory running out in a prepare returns WEFT_ENOMEM
 * and leaves the cache as it was.  A publish never fails: everything it needs
 * was reserved by the prepare.
 *
 * A full cache can be emptied: some memory is kept back for deletions and for
 * updates that set a deletion time, and once a write has been refused the
 * journal's window shrinks to 1/64 of its minimum until a write succeeds again.
 */
#ifndef WEFT_CACHE_WRITE_H
#define WEFT_CACHE_WRITE_H

#include "weft/cache.h"

struct cache_writer;

struct cache_options {
	uint64_t size_max;    /* bytes of address space; default 16 GiB */
	uint64_t size_first;  /* bytes reserved at start; default 2 MiB */
	uint32_t journal_min; /* records kept while there is memory; default 65,536 */
	uint32_t journal_max; /* default 524,288; between them the window
			       * follows the number of objects */
	uint16_t pod_type;    /* whose `hot` has a node and a phase: required */
	uint16_t node_type;   /* whose `hot.node` is the object itself: required */
	bool grow_ahead;      /* have a thread reserve memory: seg_grow_ahead() */
};

/* Create generation `generation` under segment name `name`; the first write
 * will get resourceVersion rv_start + 1.  Fields of `opt` that are 0 take their
 * default.  Errors as seg_create(); WEFT_EINVAL for options without sense. */
int cw_create(struct cache_writer **out, const char *name, uint32_t generation,
	      const uint8_t cluster_id[16], uint64_t rv_start, const struct cache_options *opt,
	      struct err *e);
void cw_close(struct cache_writer *w);

/* The store reads its own cache through the same functions as everyone else;
 * it needs no read section. */
const struct cache *cw_cache(const struct cache_writer *w);

/* Tell the writer which reader words exist now (all processes' readers).
 * The array is copied. */
void cw_set_readers(struct cache_writer *w, struct prcu_reader *const *readers, size_t n);

/* One version to be built.  For an update, parts not in `mask` are taken over
 * from the version before, as are holes unless PART_STATUS is in the mask. */
struct version_in {
	uint32_t mask; /* 1 << enum part; of a new object all parts are meant */
	/* What a part in the mask becomes: part_ref if not 0 (a blob the caller
	 * interned, for PART_LABELS too), else the bytes in part; n == 0: absent. */
	struct str part[PART_COUNT];
	blob_ref part_ref[PART_COUNT];
	const uint32_t *holes;
	uint8_t nholes;
	uint64_t cause;
	uint16_t writer_kind;
	uint32_t generation;
	uint32_t deletion_s;
	int32_t grace_s;
	uint8_t flags;	/* VERSION_FINALIZERS, _OWNED, _MEMORY; the rest is set here */
	struct hot hot; /* .node is set here, from `node` */
	/* Pod: its node's name; Node: its own name.  Empty: what it was, or none. */
	struct str node;
	/* The slot of `node`, if a version has got it that was prepared since versions were last
	 * reclaimed or aborted; 0: it is looked up. */
	nodeslot_ref slot;
	/* Owners, controller first if there is one; taken over when PART_META is
	 * not in the mask. */
	const uint8_t (*owner_uids)[16];
	uint8_t nowners;
	bool has_controller;
	bool unlisted; /* a new (or restored) object: cw_list() puts it into key order */
};

/* Intern bytes and hold a reference; 0 when memory is out.  cw_blob_drop()
 * gives it back (freed after a grace period when it was the last). */
blob_ref cw_blob(struct cache_writer *w, struct str bytes);
void cw_blob_drop(struct cache_writer *w, blob_ref b);

/* As cache_prefetch(), for a version: what publishing the one after it looks at. */
void cw_prefetch_state(struct cache_writer *w, uint32_t version);

/* The same for the place among its node's pods that publishing `v`, an update, gives
 * it: stage 0, and stage 1 when that and the state before are there. */
void cw_prefetch_place(const struct cache_writer *w, const struct version *v, int stage);

/* The same for up to CACHE_TOGETHER nodes that versions are about to name. */
void cw_prefetch_nodes(const struct cache_writer *w, const struct str *name, uint32_t n);
/* The same for one whose slot is known: version_in.slot. */
void cw_prefetch_slot(const struct cache_writer *w, nodeslot_ref slot);

/* The same for objects that requests name, all of them at once: each step needs what
 * the one before has fetched, and the CPU fetches several things at a time if they are
 * asked for one right after the other.  cw_ahead_key() says what to fetch; `bytes` is
 * what a part will become (or empty), and `own` how long PART_REST will be. */
struct cw_ahead {
	uint64_t bytes_hash; /* 0: no bytes */
	uint32_t hash;
	uint32_t own;
	uint32_t ref; /* what may be the entry, 0: none */
};
void cw_ahead_key(struct cw_ahead *a, uint16_t type, struct str ns, struct str name,
		  struct str bytes, uint32_t own);
void cw_ahead_fetch(struct cache_writer *w, struct cw_ahead *a, uint32_t n);

/* The same for up to CACHE_TOGETHER objects that records name by uid, which change or go. */
void cw_ahead_uids(struct cache_writer *w, const uint8_t (*uid)[16], uint32_t n);

/* The same for an object that will be created. */
void cw_ahead_new(struct cache_writer *w, uint16_t type, struct str ns, struct str name,
		  const uint8_t uid[16]);

/* Make room for `n` more objects of `type` at once, so that a burst does not
 * resize indexes step by step.  May do nothing. */
void cw_expect(struct cache_writer *w, uint16_t type, uint64_t n);

/* A new object.  WEFT_EEXIST if a live or pending one has this key;
 * WEFT_ENOMEM; WEFT_EINVAL for a name over 253 bytes.  Its resourceVersion is
 * `rv` (dense: the caller counts; during recovery any rv <= rv_start may be
 * given with cw_restore instead). */
int cw_prepare_create(struct cache_writer *w, uint16_t type, struct str ns, struct str name,
		      const uint8_t uid[16], uint32_t created_s, uint64_t rv,
		      const struct version_in *in, struct version **out);

/* Put objects of one type that were prepared or restored as `unlisted` into key
 * order: before any of them is published, or the cache is attached to.  Cheap when their keys ascend.  Returns how many of
 * the first are there now; fewer than n when memory ran out: the rest has to be
 * aborted. */
uint32_t cw_list(struct cache_writer *w, uint16_t type, const entry_ref *entry, uint32_t n);

/* A new version of a live object; WEFT_ENOENT if its newest or pending
 * version is a tombstone. */
int cw_prepare_update(struct cache_writer *w, struct entry *e, uint64_t rv,
		      const struct version_in *in, struct version **out);

/* A tombstone; takes over all parts, so that watchers see the last state. */
int cw_prepare_delete(struct cache_writer *w, struct entry *e, uint64_t rv, uint64_t cause,
		      uint16_t writer_kind, struct version **out);

/* In order, without a gap: v->rv is one more than that of the last one. */
void cw_publish(struct cache_writer *w, struct version *v);
/* All versions up to `rv` are published: let readers see that. */
void cw_commit_rv(struct cache_writer *w, uint64_t rv);
void cw_abort(struct cache_writer *w, struct version *v);

/* Recovery: put an object in as it was, published at once, outside the journal
 * (created_rv and rv as given).  Errors as
 * cw_prepare_create(), WEFT_EINVAL also for rv > rv_start.  Owners are linked
 * by cw_restore_done(), once, when all objects are there; WEFT_ENOMEM if that
 * needs more memory than there is. */
int cw_restore(struct cache_writer *w, uint16_t type, struct str ns, struct str name,
	       const uint8_t uid[16], uint32_t created_s, uint64_t created_rv, uint64_t rv,
	       const struct version_in *in, struct entry **out);
int cw_restore_done(struct cache_writer *w);

/* Recovery, after cw_restore_done(): publish a prepared version whose rv is not
 * above rv_start.  It is outside the journal; the state before it is let go at
 * once, and a tombstone's object with it. */
void cw_replay(struct cache_writer *w, struct version *v);

/* The store's own look at what is prepared but not yet published. */
struct entry *cw_find(struct cache_writer *w, uint16_t type, struct str ns, struct str name);
/* The same, for who has a guess that may be right: cw_ahead.ref, since when nothing was
 * reclaimed, or 0. */
struct entry *cw_find_near(struct cache_writer *w, uint32_t guess, uint16_t type, struct str ns,
			   struct str name);
struct entry *cw_find_uid(struct cache_writer *w, const uint8_t uid[16]);
/* Newest state including pending; NULL if it is a tombstone or nothing. */
const struct version *cw_newest(struct cache_writer *w, const struct entry *e);

/* Move the journal's oldest record on by up to `max` records, start or finish
 * a grace period, free.  Returns how many blocks were freed.  Never waits. */
size_t cw_reclaim(struct cache_writer *w, uint32_t max);

/* Which reader has blocked the running grace period, and since when (monotonic
 * ns); false if none does. */
bool cw_blocker(const struct cache_writer *w, size_t *reader, int64_t *since_ns);

/* Checks every invariant of the cache (indexes agree, counts are sums,
 * reference counts are right, nothing leaked), for tests; slow. */
int cw_verify(struct cache_writer *w, struct err *e);

struct arena *cw_arena(struct cache_writer *w);

#endif

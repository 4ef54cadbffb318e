/*
 * cache_priv.h - the writer's own state, and what its files offer each other.
 *
 * One file a concern: blob.c (interning), labelset.c, nodeslot.c, links.c
 * (owners), aggregate.c (counts), journal.c, retire.c (what waits for a grace
 * period), prepare.c, cache_write.c (open, publish, abort, restore),
 * reclaim.c, verify.c.  Only the store runs any of it, on one thread.
 */
#ifndef WEFT_SHM_CACHE_PRIV_H
#define WEFT_SHM_CACHE_PRIV_H

#include "shm/cache_layout.h"
#include "shm/chain.h"
#include "weft/cache_write.h"

/* Kept back so that a full cache can be emptied: some 2,000 tombstones. */
#define KEPT_FOR_DELETION (256u << 10)

/* What waits until no reader can hold it. */
struct retired {
	uint32_t ref;
	uint32_t size_use; /* size << 3 | enum arena_use */
};
_Static_assert(ARENA_USE_COUNT <= 8, "the use fits in three bits");

/* A queue in private memory; positions run free and are masked on use. */
struct retire_queue {
	struct retired *item;
	uint64_t mask;
	uint64_t head, tail; /* first waiting, next free */
};

/* Owners that change with a prepared version; applied when it is published.
 * Kept in the order of preparation: publishing takes from the front, aborting
 * from the back. */
struct link_change {
	uint32_t version;
	uint32_t owner; /* the controller from then on, 0: none */
	uint32_t edges; /* to the other owners, chained by dep_next */
};
struct link_queue {
	struct link_change *item;
	uint64_t mask;
	uint64_t head, tail;
};

/* An owner that was not there yet when its dependent was restored. */
struct unresolved {
	uint8_t uid[16];
	uint32_t dependent;
	bool controller;
};

/* A grace period under way. */
struct grace {
	bool running;
	uint64_t target;       /* of prcu_start() */
	uint64_t retired_tail; /* what was retired before it started */
	uint64_t oldest;       /* the journal's oldest when it started */
	int64_t start_ns;
	bool blocked; /* at the last look */
	size_t blocker;
};

struct cache_writer {
	char *base;
	struct cache_header *h;
	struct arena *arena;
	struct cache c; /* the store's own view */
	struct seg seg;
	struct cache_options opt;

	struct hash by_key, by_uid, by_node, by_space;
	/* What cw_find_uid() found last and is still indexed: the owner, of many dependents made
	 * one after the other; 0: nothing. */
	uint32_t found_uid;
	struct refset entries;
	struct ordered ordered;
	struct chain_table blobs;
	struct chain_table labelsets;
	struct retire_queue retire;
	struct link_queue links;
	struct grace grace;

	uint64_t cut;	      /* records below are cut: prev is 0, tombstones unlinked */
	uint64_t first_chunk; /* journal chunks reserved: first_chunk <= n < next_chunk */
	uint64_t next_chunk;
	uint64_t objects;     /* live, published, all types */
	uint64_t unpublished; /* versions prepared */
	uint64_t published;   /* newest rv published, not necessarily committed */
	uint64_t rv_start;    /* nothing up to here was ever in the journal */
	bool starving;	      /* a write was refused for want of memory */
	uint64_t blobs_held;  /* references that the store has from cw_blob() */
	uint32_t dissolving;  /* owners that are gone but still have dependents: entry_ref,
			       * chained by sib_prev */

	struct unresolved *unresolved;
	size_t nunresolved, unresolved_cap;

	struct prcu_reader **readers;
	size_t nreaders;
};

static inline struct entry *entry_at(const struct cache_writer *w, uint32_t ref)
{
	return ref_ptr(w->base, ref);
}

static inline struct version *version_at(const struct cache_writer *w, uint32_t ref)
{
	return ref_ptr(w->base, ref);
}

/* A version's or an entry's first two cache lines, to be written to. */
static inline void cw_prefetch_lines(const struct cache_writer *w, uint32_t ref)
{
	const char *p = ref_ptr(w->base, ref);

	prefetch(p);
	prefetch(p + CACHE_LINE);
}

/* An entry that is found by its key: with most names that is one line more. */
static inline void cw_prefetch_entry(const struct cache_writer *w, uint32_t ref)
{
	cw_prefetch_lines(w, ref);
	prefetch((char *)ref_ptr(w->base, ref) + offsetof(struct entry, name) + 15);
}

static inline size_t entry_size(const struct entry *e)
{
	return offsetof(struct entry, name) + e->name_len + 1u;
}

static inline size_t version_size(const struct version *v)
{
	return sizeof(*v) + (size_t)v->nholes * sizeof(v->holes[0]);
}

static inline struct version *newest_of(const struct cache_writer *w, const struct entry *e)
{
	uint32_t ref = prcu_own(&e->newest);

	return ref ? version_at(w, ref) : NULL;
}

/* Newest including pending, tombstones too; NULL for an entry without any. */
static inline struct version *head_of(const struct cache_writer *w, const struct entry *e)
{
	return e->pending ? version_at(w, e->pending) : newest_of(w, e);
}

static inline bool is_live(const struct version *v)
{
	return v && !(v->flags & VERSION_TOMBSTONE);
}

/* --- blob.c ---------------------------------------------------------------- */

int blob_init(struct cache_writer *w);
static inline void blob_hold(struct cache_writer *w, uint32_t ref)
{
	if (ref)
		((struct blob *)ref_ptr(w->base, ref))->refcount++;
}
uint32_t blob_get(struct cache_writer *w, struct str bytes); /* held; 0: no memory */
/* The same for bytes that hardly anything else has: not looked for, not found. */
uint32_t blob_new(struct cache_writer *w, struct str bytes);
void blob_drop(struct cache_writer *w, uint32_t ref); /* 0 is allowed */

/* --- labelset.c ------------------------------------------------------------ */

int labelset_init(struct cache_writer *w);
/* The set of these labels, held once more for the caller; 0: no memory. */
uint32_t labelset_get(struct cache_writer *w, uint16_t type, uint32_t ns, uint32_t labels);
void labelset_drop(struct cache_writer *w, uint32_t ref);
/* `e` goes from `old` (NULL: new) to `v`. */
void labelset_publish(struct cache_writer *w, struct entry *e, const struct version *old,
		      const struct version *v);
void labelset_unlink(struct cache_writer *w, struct entry *e, const struct version *tombstone);

/* --- nodeslot.c ------------------------------------------------------------- */

uint32_t nodeslot_get(struct cache_writer *w, struct str name); /* as labelset_get */
uint32_t nodeslot_hold(struct cache_writer *w, uint32_t ref);	/* once more */
void nodeslot_drop(struct cache_writer *w, uint32_t ref);	/* 0 is allowed */
void nodeslot_publish(struct cache_writer *w, struct entry *e, const struct version *old,
		      const struct version *v);
void nodeslot_unlink(struct cache_writer *w, struct entry *e, const struct version *tombstone);

/* --- links.c ---------------------------------------------------------------- */

int links_init(struct cache_writer *w);
/* Resolve the owners that `in` names for `v`; WEFT_ENOMEM. */
int links_prepare(struct cache_writer *w, struct entry *e, struct version *v,
		  const struct version_in *in);
void links_abort(struct cache_writer *w, struct version *v);
/* Links `e` to its owners as of `v`, and counts it there. */
void links_publish(struct cache_writer *w, struct entry *e, const struct version *old,
		   const struct version *v);
/* Take a deleted object out of its owners' lists; dependents of its own that
 * are left go to links_dissolve(). */
void links_unlink(struct cache_writer *w, struct entry *e);
/* Let go of up to `max` dependents of owners that are gone.  An owner without
 * dependents left is retired. */
void links_dissolve(struct cache_writer *w, uint32_t max);
/* Note the owners of a restored object, for links_restore_done(); WEFT_ENOMEM. */
int links_restore(struct cache_writer *w, struct entry *e, const struct version_in *in);
int links_restore_done(struct cache_writer *w);

/* --- aggregate.c ------------------------------------------------------------- */

/* Make sure that `owner` has counters; WEFT_ENOMEM. */
int counts_reserve(struct cache_writer *w, struct entry *owner);
/* A dependent of `owner` (0: none) goes from `old` to `v`; either may be NULL. */
void counts_change(struct cache_writer *w, uint32_t owner, uint16_t type, const struct version *old,
		   const struct version *v, uint64_t rv);
/* Which counters a dependent in this state is part of, one bit each. */
uint32_t counts_of_state(const struct cache_header *h, uint16_t type, const struct version *v);
#define COUNTS_KINDS 8

/* --- journal.c ---------------------------------------------------------------- */

int journal_reserve(struct cache_writer *w, uint64_t rv); /* WEFT_ENOMEM */
void journal_put(struct cache_writer *w, uint64_t rv, uint32_t version);
uint32_t journal_get(const struct cache_writer *w, uint64_t rv);
/* Let go of what was before `v`, and of v and its entry if it is a tombstone: the
 * window has passed it. */
void record_cut(struct cache_writer *w, struct version *v);
/* Free the chunks whose records are all below w->cut. */
void journal_trim(struct cache_writer *w);
/* The window that the number of objects asks for, in records. */
uint64_t journal_window(const struct cache_writer *w);

/* --- retire.c ------------------------------------------------------------------ */

int retire_init(struct cache_writer *w);
void retire(struct cache_writer *w, uint32_t ref, size_t size, enum arena_use use);
/* Free everything before position `tail`; returns how many blocks. */
size_t retire_free(struct cache_writer *w, uint64_t tail);
/* Drop what a version refers to and the one after it (NULL: none) does not, and
 * retire it. */
void retire_version(struct cache_writer *w, struct version *v, const struct version *after);
void retire_entry(struct cache_writer *w, struct entry *e);

/* --- prepare.c ------------------------------------------------------------------ */

/* Let go of what a version refers to (parts, label set, node) but for what
 * `other`, the one before or after it, refers to as well.  NULL: there is none. */
void version_drop_refs(struct cache_writer *w, const struct version *v,
		       const struct version *other);
/* A new entry in all indexes (the ordered one if `listed`), without a version;
 * WEFT_EEXIST, _EINVAL, _ENOMEM. */
int entry_new(struct cache_writer *w, uint16_t type, struct str ns, struct str name,
	      const uint8_t uid[16], uint32_t created_s, uint64_t created_rv, bool listed,
	      struct entry **out);
/* Take an entry out of the indexes and retire it. */
void entry_discard(struct cache_writer *w, struct entry *e);
void entry_unindex(struct cache_writer *w, struct entry *e);
void entry_prefetch_indexes(const struct cache_writer *w, const struct entry *e);
/* A version for `e` that follows `prev` (NULL: the first); refers to `prev`
 * but is not reachable from `e` yet. */
int version_new(struct cache_writer *w, struct entry *e, const struct version *prev, uint64_t rv,
		const struct version_in *in, struct version **out);
void version_free(struct cache_writer *w, struct version *v);

/* --- Lists ----------------------------------------------------------------------- */

/* Doubly linked through two fields of the members, by their offsets: `next` is
 * followed by readers, `prev` by the store alone.  A removed member keeps its
 * `next`, so that a reader who stands on it finds on. */
struct list_fields {
	size_t next, prev;
};
#define LIST_FIELDS(type, n, p) ((struct list_fields){offsetof(type, n), offsetof(type, p)})

static inline _Atomic uint32_t *list_next_field(char *base, uint32_t ref, struct list_fields f)
{
	return (_Atomic uint32_t *)((char *)ref_ptr(base, ref) + f.next);
}

static inline uint32_t *list_prev_field(char *base, uint32_t ref, struct list_fields f)
{
	return (uint32_t *)((char *)ref_ptr(base, ref) + f.prev);
}

static inline void list_push(char *base, _Atomic uint32_t *head, uint32_t ref, struct list_fields f)
{
	uint32_t first = prcu_own(head);

	prcu_assign(list_next_field(base, ref, f), first);
	*list_prev_field(base, ref, f) = 0;
	if (first)
		*list_prev_field(base, first, f) = ref;
	prcu_assign(head, ref);
}

static inline void list_remove(char *base, _Atomic uint32_t *head, uint32_t ref,
			       struct list_fields f)
{
	uint32_t next = prcu_own(list_next_field(base, ref, f));
	uint32_t prev = *list_prev_field(base, ref, f);

	weft_debug_assert(prev || prcu_own(head) == ref);
	if (next)
		*list_prev_field(base, next, f) = prev;
	prcu_assign(prev ? list_next_field(base, prev, f) : head, next);
}

#endif

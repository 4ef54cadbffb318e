/*
 * ordered.h - the ordered index of one type: entries by key, in the arena, one
 * writer, lock-free readers in any process.
 *
 * The order is etcd's, so that a LIST shows what Kubernetes shows: bytewise by
 * namespace "/" name as one string (by the name alone where there is no
 * namespace), then by created_rv, as an object that was deleted and created
 * again has two entries for a while.
 *
 * A B+tree.  A leaf has up to ORDERED_FANOUT (62) entry references, an inner
 * node as many children with separators between them.  Next to each reference lies
 * a digest: the first eight bytes of the key (of the separator) after those
 * that all keys in the node's range have in common, as a big-endian number.  A
 * search compares digests and follows references only where they tie.
 *
 * A leaf's references are sorted when it is made.  A few more may then be
 * appended in any order, so that most inserts copy nothing; whoever reads a
 * leaf puts those where they belong in its own copy of the references.
 *
 * Separators are blocks of their own, as short as they can be, and owe nothing
 * to entries: an entry may be freed while its key still separates.
 *
 * Writer and readers.  All is written by the writer alone.
 *  - A node that readers can reach changes in three ways only, each one store:
 *    an entry is appended behind a leaf's last slot (the count is stored
 *    after it); an entry's reference becomes 0 (removed: readers pass over it); a
 *    child is replaced by a new version of itself for the same key range.
 *  - Everything else makes new nodes, which become visible together by one
 *    store into the lowest slot above all of them (or the root).
 *  - A replaced node or separator goes to index_memory.retire().  A reader in
 *    a read section may go on in replaced nodes: they show all that was there
 *    when its section began and has not been removed since.
 *  - A writer that dies at any point leaves a tree that readers can use.
 *
 * Memory.  ordered_insert() allocates all it needs before it changes anything:
 * it works, or returns WEFT_ENOMEM and has changed nothing.  ordered_remove()
 * never fails; it merges nodes when it can get memory for that, and leaves it
 * to a later call when not.  To make a publish that cannot fail, insert when
 * the write is prepared (cache.h, rule 5: an index may show an entry that has
 * no version yet) and remove when it is aborted.
 */
#ifndef WEFT_SHM_ORDERED_H
#define WEFT_SHM_ORDERED_H

#include "weft/cache.h"
#include "shm/index.h"

/* In shared memory, one for each type; all 0 is an empty index. */
struct ordered_root {
	_Atomic uint32_t root;	/* top node, 0: empty [ordered.R1] */
	_Atomic uint64_t items; /* entries, removed ones not counted; relaxed */
};

/* The writer's private handle, one for all types. */
struct ordered {
	struct index_memory m;
};

struct ordered_key {
	struct str ns, name;
	uint64_t created_rv;
};

/* The interned string behind a reference is laid out as a struct blob. */
static inline struct str ordered_string(const char *base, string_ref r)
{
	const struct blob *b;

	if (!r.u)
		return (struct str){NULL, 0};
	b = ref_ptr(base, r.u);
	return (struct str){b->bytes, b->n};
}

static inline struct ordered_key ordered_key_of(const char *base, uint32_t entry)
{
	const struct entry *e = ref_ptr(base, entry);

	return (struct ordered_key){ordered_string(base, e->ns), entry_name(e), e->created_rv};
}

/* Bytewise order of ns "/" name, then created_rv: <0, 0, >0. */
int ordered_key_cmp(const struct ordered_key *a, const struct ordered_key *b);

/* --- Readers: inside a read section (the writer needs none) -------------------- */

/* Put `pos` so that ordered_next() gives the first entry whose key is greater
 * than `after`, or the very first when `after` is NULL.  To begin with a
 * namespace: {ns, STR(""), 0}.  To go on behind a name: {ns, name, UINT64_MAX}. */
void ordered_seek(struct ordered_pos *pos, const char *base, const struct ordered_root *root,
		  const struct ordered_key *after);

/* The next entry's reference, 0 at the end.  Good until the section ends.  The
 * first cache line of the entry ORDERED_AHEAD further on is fetched meanwhile. */
#define ORDERED_AHEAD 8
uint32_t ordered_next(struct ordered_pos *pos, const char *base);

static inline uint64_t ordered_items(const struct ordered_root *root)
{
	return prcu_own(&root->items);
}

/* --- The writer ---------------------------------------------------------------- */

void ordered_init(struct ordered *o, const struct index_memory *m);

/* Put `entry` in, visible at once: ns, name and created_rv must be final and
 * stay so until it is removed and a grace period has passed.  0, or WEFT_ENOMEM
 * with nothing changed.  Two entries of the very same key are the caller's
 * mistake (created_rv tells all apart). */
int ordered_insert(struct ordered *o, struct ordered_root *root, uint32_t entry);

/* The same for many, best in ascending order: those that come into one leaf are
 * put there together.  How many of the first were put in, fewer than n when
 * memory ran out. */
uint32_t ordered_insert_many(struct ordered *o, struct ordered_root *root, const uint32_t *entry,
			     uint32_t n);

/* Take `entry` out, whose key is still as it was; false if it was not there. */
bool ordered_remove(struct ordered *o, struct ordered_root *root, uint32_t entry);

/* Bytes that the tree has from the arena, by walking it (for leak checks). */
uint64_t ordered_memory(const struct ordered *o, const struct ordered_root *root);

/* Check every invariant: order, digests, separators, levels, counts.
 * WEFT_ECORRUPT with the first thing found. */
int ordered_check(const struct ordered *o, const struct ordered_root *root, struct err *e);

#endif

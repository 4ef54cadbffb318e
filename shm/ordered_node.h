/*
 * ordered_node.h - what lies in memory of an ordered index: for ordered*.c
 * alone.
 *
 * Words.  A node's RANGE is what keys a search can bring to it: from the
 * separator on its left (inclusive) to that on its right (exclusive), which
 * may be its parent's or of any node further up; at the ends of the tree there
 * is none.  A leaf leaves out of its digests the bytes that its two separators
 * have in common, so every key that comes there has them and nobody needs to
 * look.  An inner node leaves out what all its own separators have in common,
 * and a search compares that much first.
 */
#ifndef WEFT_SHM_ORDERED_NODE_H
#define WEFT_SHM_ORDERED_NODE_H

#include "shm/ordered.h"

#define ORDERED_KEY_MAX 512 /* of any entry: namespace and name have at most 253 bytes */

/* Followed by digest[cap], ref[cap] and, in an inner node, sep[cap].  Only
 * `fill` of a leaf and the references change while readers can reach it. */
struct node {
	_Atomic uint32_t fill; /* FILL(slots in use, how many of them are sorted) [ordered.R2] */
	uint16_t cap;
	uint16_t level; /* 0: leaf */
	uint32_t skip;	/* bytes of a key that digests leave out */
	uint16_t sure;	/* inner node: bytes that all keys in its range share; a search
			 * has to look only at what `skip` has above that */
	uint16_t dead;	/* leaf: removed slots; the writer's own */
	uint64_t digest[];
};

#define FILL(n, sorted)	  ((uint32_t)(n) | (uint32_t)(sorted) << 16)
#define FILL_N(fill)	  ((fill)&0xffff)
#define FILL_SORTED(fill) ((fill) >> 16)

/* Keys below it are less than (bytes, rv), keys above are not. */
struct sep {
	uint64_t rv;
	uint32_t n;
	char bytes[];
};

/* A key as one string. */
struct flat {
	uint64_t rv;
	uint32_t n;
	char bytes[ORDERED_KEY_MAX];
};

static inline _Atomic uint32_t *node_refs(const struct node *node)
{
	return (_Atomic uint32_t *)(node->digest + node->cap);
}

/* sep[i] stands between the children i - 1 and i; sep[0] is 0. */
static inline uint32_t *node_seps(const struct node *node)
{
	return (uint32_t *)node_refs(node) + node->cap;
}

static inline uint32_t node_fill(const struct node *node)
{
	/* [ordered.A2] pairs with [ordered.R2]: that many slots are whole. */
	return prcu_dereference(&node->fill);
}

static inline uint32_t node_n(const struct node *node)
{
	return FILL_N(node_fill(node));
}

static inline uint32_t node_ref(const struct node *node, uint32_t i)
{
	/* [ordered.A3] pairs with [ordered.R3]: what it leads to is whole. */
	return prcu_dereference(&node_refs(node)[i]);
}

static inline void node_set_ref(struct node *node, uint32_t i, uint32_t ref)
{
	/* [ordered.R3] pairs with [ordered.A3]. */
	prcu_assign(&node_refs(node)[i], ref);
}

static inline const struct sep *sep_at(const char *base, const struct node *node, uint32_t i)
{
	return ref_ptr(base, node_seps(node)[i]);
}

static inline size_t leaf_bytes(uint32_t cap)
{
	return sizeof(struct node) + cap * (sizeof(uint64_t) + sizeof(uint32_t));
}

static inline size_t inner_bytes(uint32_t cap)
{
	return leaf_bytes(cap) + cap * sizeof(uint32_t);
}

static inline size_t node_bytes(const struct node *node)
{
	return node->level ? inner_bytes(node->cap) : leaf_bytes(node->cap);
}

static inline size_t sep_bytes(const struct sep *s)
{
	return sizeof(*s) + s->n;
}

/* Slots in use that nobody has removed. */
static inline uint32_t node_live(const struct node *node)
{
	return node_n(node) - (node->level ? 0u : node->dead);
}

/* --- Keys: ordered_read.c ------------------------------------------------------ */

/* A key that is too long for any entry is cut: it has the same place among
 * entries as the whole. */
void flat_of_key(struct flat *f, const struct ordered_key *k);
void flat_of_entry(struct flat *f, const char *base, uint32_t entry);

int cmp_flat(const struct flat *a, const struct flat *b);
/* <0, 0, >0 as the entry's (the separator's) key is less than, is, or is
 * greater than k. */
int cmp_entry(const char *base, uint32_t entry, const struct flat *k);
int cmp_sep(const struct sep *s, const struct flat *k);

/* Eight bytes from `skip` on as a number that orders as they do; what is
 * missing counts as 0. */
uint64_t key_digest(const char *bytes, uint32_t n, uint32_t skip);
uint64_t entry_digest(const char *base, uint32_t entry, uint32_t skip);

/* How many bytes two keys (two separators, 0 if one is NULL) have in common at
 * their beginning. */
uint32_t common_bytes(const char *a, uint32_t an, const char *b, uint32_t bn);
uint32_t common_of_seps(const struct sep *a, const struct sep *b);

/* --- Leaves: ordered_read.c ---------------------------------------------------- */

/* Entries of one or two leaves, sorted, with their digests under `skip`. */
struct entries {
	uint32_t n, skip;
	uint32_t ref[2 * ORDERED_FANOUT];
	uint64_t digest[2 * ORDERED_FANOUT];
};

/* Where an entry of this digest and key belongs among those from `first` on:
 * behind all whose keys are <= k. */
uint32_t entries_search(const struct entries *s, const char *base, uint32_t first, uint64_t digest,
			const struct flat *k);

/* Put an entry at place i, what is there moves up. */
void entries_put(struct entries *s, uint32_t i, uint32_t ref, uint64_t digest);

/* Add the live entries of a leaf whose digests are under s->skip and whose keys
 * are greater than those that are there. */
void entries_take(struct entries *s, const char *base, const struct node *leaf);

/* Put `pos` on the way to the leaf that has k in its range (NULL: the first
 * leaf), without looking into it. */
void ordered_find_leaf(struct ordered_pos *pos, const char *base, const struct ordered_root *root,
		       const struct flat *k);
/* The same for the writer, from a way that it went before and whose nodes are
 * still in the tree. */
void ordered_find_from(struct ordered_pos *pos, const char *base, const struct ordered_root *root,
		       const struct flat *k);
/* The separators of the range of the node at depth d of `path`, NULL where the
 * tree ends. */
void ordered_range(const struct ordered_pos *path, const char *base, int d, const struct sep **lo,
		   const struct sep **hi);

#endif

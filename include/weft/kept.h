/*
 * kept.h - texts that were made and will be asked for again: a table of those
 * asked for last (and more than once), bounded.  One thread's.
 */
#ifndef WEFT_KEPT_H
#define WEFT_KEPT_H

#include "weft/base.h"

#define KEPT_PLACES 4096
#define KEPT_MOST   (16u << 20) /* bytes; then it begins anew */

/* Begins a block from malloc() that holds a text, however its owner lays that out. */
struct kept_text {
	uint64_t key;
	size_t size; /* of the block */
};

/* Zero to begin with. */
struct kept {
	struct kept_text *text[KEPT_PLACES];
	uint64_t wanted[KEPT_PLACES]; /* key that was asked for last */
	size_t size;
};

/* The text of this key, or NULL.  Keys are numbers in a row, or digests, not 0; those
 * with the same remainder share a place.  It stays until the next kept_put(). */
static inline struct kept_text *kept_find(const struct kept *x, uint64_t key)
{
	struct kept_text *t = x->text[key % KEPT_PLACES];

	return t && t->key == key ? t : NULL;
}

/* Not found: is it worth keeping?  Only if its place is asked for it the second time in a
 * row, so that a list of very many, none of which comes again soon, costs a mark for each. */
bool kept_wanted(struct kept *x, uint64_t key);
/* Takes `t` over; what had its place goes. */
void kept_put(struct kept *x, struct kept_text *t);
void kept_free(struct kept *x);

#endif

/* refset.c - sets of entry references. */
#include <stdlib.h>

#include "procs/scheduler/scheduler.h"

/* Where `ref` is, or would be put. */
static uint32_t place_of(const struct refset *s, uint32_t ref)
{
	uint32_t mask = s->cap - 1, i = ref * 2654435761u & mask;

	while (s->at[i].entry && s->at[i].entry != ref)
		i = (i + 1) & mask;
	return i;
}

bool refset_has(const struct refset *s, uint32_t ref)
{
	return s->n && s->at[place_of(s, ref)].entry == ref;
}

static void grow(struct refset *s)
{
	struct refset old = *s;

	s->cap = old.cap ? old.cap * 2 : 256;
	s->at = calloc(s->cap, sizeof(*s->at));
	weft_assert(s->at);
	for (uint32_t i = 0; i < old.cap; i++)
		if (old.at[i].entry)
			s->at[place_of(s, old.at[i].entry)] = old.at[i];
	free(old.at);
}

void refset_add(struct refset *s, uint32_t ref, uint32_t node)
{
	uint32_t i;

	if (s->n * 2 >= s->cap)
		grow(s);
	i = place_of(s, ref);
	s->n += !s->at[i].entry;
	s->at[i] = (struct ref){ref, node};
}

/* Those behind it move up, so that they are still found. */
int64_t refset_take(struct refset *s, uint32_t ref)
{
	uint32_t mask = s->cap - 1, i, node;

	if (!refset_has(s, ref))
		return -1;
	i = place_of(s, ref);
	node = s->at[i].node;
	s->at[i].entry = 0;
	s->n--;
	for (i = (i + 1) & mask; s->at[i].entry; i = (i + 1) & mask) {
		struct ref moved = s->at[i];

		s->at[i].entry = 0;
		s->at[place_of(s, moved.entry)] = moved;
	}
	return node;
}

bool refset_del(struct refset *s, uint32_t ref)
{
	return refset_take(s, ref) >= 0;
}

void refset_clear(struct refset *s)
{
	if (s->cap)
		memset(s->at, 0, s->cap * sizeof(*s->at));
	s->n = 0;
}

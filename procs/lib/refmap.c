/* refmap.c - what refmap.h promises. */
#include "procs/lib/refmap.h"

#include <stdlib.h>

/* Where `ref` is, or would be put. */
static struct refmap_at *place_of(const struct refmap *m, uint32_t ref)
{
	uint32_t mask = m->cap - 1, i = home_of(ref, m->cap);

	while (m->at[i].ref && m->at[i].ref != ref)
		i = (i + 1) & mask;
	return &m->at[i];
}

int64_t refmap_get(const struct refmap *m, uint32_t ref)
{
	const struct refmap_at *at = m->n ? place_of(m, ref) : NULL;

	return at && at->ref ? (int64_t)at->number : -1;
}

static void grow(struct refmap *m)
{
	struct refmap old = *m;

	m->cap = old.cap ? old.cap * 2 : 256;
	m->at = calloc(m->cap, sizeof(*m->at));
	weft_assert(m->at);
	for (uint32_t i = 0; i < old.cap; i++)
		if (old.at[i].ref)
			*place_of(m, old.at[i].ref) = old.at[i];
	free(old.at);
}

void refmap_put(struct refmap *m, uint32_t ref, uint32_t number)
{
	struct refmap_at *at;

	if (m->n * 2 >= m->cap)
		grow(m);
	at = place_of(m, ref);
	m->n += !at->ref;
	*at = (struct refmap_at){ref, number};
}

/* Those behind it move up, so that they are still found. */
int64_t refmap_take(struct refmap *m, uint32_t ref)
{
	struct refmap_at *at = m->n ? place_of(m, ref) : NULL;
	uint32_t mask = m->cap - 1, number, i;

	if (!at || !at->ref)
		return -1;
	number = at->number;
	at->ref = 0;
	m->n--;
	for (i = (uint32_t)(at - m->at + 1) & mask; m->at[i].ref; i = (i + 1) & mask) {
		struct refmap_at moved = m->at[i];

		m->at[i].ref = 0;
		*place_of(m, moved.ref) = moved;
	}
	return number;
}

void refmap_clear(struct refmap *m)
{
	if (m->n)
		memset(m->at, 0, m->cap * sizeof(*m->at));
	m->n = 0;
}

void refmap_free(struct refmap *m)
{
	free(m->at);
	*m = (struct refmap){0};
}

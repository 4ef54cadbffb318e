/* kept.c - what kept.h promises. */
#include "weft/kept.h"

#include <stdlib.h>

bool kept_wanted(struct kept *x, uint64_t key)
{
	uint64_t *wanted = &x->wanted[key % KEPT_PLACES];
	bool again = *wanted == key;

	*wanted = key;
	return again;
}

void kept_put(struct kept *x, struct kept_text *t)
{
	struct kept_text **place = &x->text[t->key % KEPT_PLACES];

	if (x->size > KEPT_MOST)
		kept_free(x);
	x->size += t->size - (*place ? (*place)->size : 0);
	free(*place);
	*place = t;
}

void kept_free(struct kept *x)
{
	for (uint32_t i = 0; i < KEPT_PLACES; i++)
		free(x->text[i]);
	*x = (struct kept){0};
}

/* retire.c - the queue of what readers may still hold. */
#include <stdlib.h>

#include "shm/cache_priv.h"

#define RETIRE_FIRST 1024u

int retire_init(struct cache_writer *w)
{
	w->retire.item = malloc(RETIRE_FIRST * sizeof(*w->retire.item));
	w->retire.mask = RETIRE_FIRST - 1;
	return w->retire.item ? WEFT_OK : WEFT_ENOMEM;
}

static void grow(struct retire_queue *q)
{
	uint64_t cap = q->mask + 1;
	struct retired *bigger = malloc(2 * cap * sizeof(*bigger));

	if (!bigger)
		weft_fatal("no memory to note what waits for readers");
	for (uint64_t i = q->head; i != q->tail; i++)
		bigger[i & (2 * cap - 1)] = q->item[i & q->mask];
	free(q->item);
	q->item = bigger;
	q->mask = 2 * cap - 1;
}

void retire(struct cache_writer *w, uint32_t ref, size_t size, enum arena_use use)
{
	struct retire_queue *q = &w->retire;

	if (q->tail - q->head > q->mask)
		grow(q);
	q->item[q->tail++ & q->mask] =
		(struct retired){.ref = ref, .size_use = (uint32_t)size << 3 | use};
}

size_t retire_free(struct cache_writer *w, uint64_t tail)
{
	struct retire_queue *q = &w->retire;
	size_t n = tail - q->head;

	for (; q->head != tail; q->head++) {
		struct retired r = q->item[q->head & q->mask];

		arena_free(w->arena, r.ref, r.size_use >> 3, (enum arena_use)(r.size_use & 7));
	}
	return n;
}

void retire_version(struct cache_writer *w, struct version *v, const struct version *after)
{
	version_drop_refs(w, v, after);
	retire(w, ref_of(w->base, v), version_size(v), ARENA_VERSION);
}

void retire_entry(struct cache_writer *w, struct entry *e)
{
	uint32_t counts = prcu_own(&e->counts);

	blob_drop(w, e->ns.u);
	if (counts)
		retire(w, counts, sizeof(struct counts), ARENA_AGGREGATE);
	retire(w, ref_of(w->base, e), entry_size(e), ARENA_ENTRY);
}

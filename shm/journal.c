/* journal.c - version references by resourceVersion, in chunks. */
#include "shm/cache_priv.h"

static _Atomic uint32_t *chunk_slot(const struct cache_writer *w, uint64_t number)
{
	return &w->h->chunk[number % JOURNAL_CHUNKS];
}

static uint32_t *record_at(const struct cache_writer *w, uint64_t rv)
{
	uint32_t chunk = prcu_own(chunk_slot(w, rv / JOURNAL_CHUNK));

	return (uint32_t *)ref_ptr(w->base, chunk) + rv % JOURNAL_CHUNK;
}

int journal_reserve(struct cache_writer *w, uint64_t rv)
{
	uint64_t number = rv / JOURNAL_CHUNK;
	uint32_t ref;

	if (likely_true(number < w->next_chunk))
		return WEFT_OK;
	if (number - w->cut / JOURNAL_CHUNK >= JOURNAL_CHUNKS)
		return WEFT_ENOMEM;
	ref = arena_alloc(w->arena, JOURNAL_CHUNK * sizeof(uint32_t), ARENA_JOURNAL);
	if (!ref)
		return WEFT_ENOMEM;
	prcu_assign(chunk_slot(w, number), ref); /* [cache.R4] */
	w->next_chunk = number + 1;
	return WEFT_OK;
}

void journal_put(struct cache_writer *w, uint64_t rv, uint32_t version)
{
	/* Plain: readers see the record only after cache_rv() [cache.R2]. */
	*record_at(w, rv) = version;
}

uint32_t journal_get(const struct cache_writer *w, uint64_t rv)
{
	return *record_at(w, rv);
}

void journal_trim(struct cache_writer *w)
{
	uint64_t below = w->cut / JOURNAL_CHUNK;

	/* A reader that could still look into these has held up the grace period
	 * after which they were cut, so they are freed at once. */
	while (w->first_chunk < below && w->first_chunk < w->next_chunk) {
		_Atomic uint32_t *slot = chunk_slot(w, w->first_chunk++);

		arena_free(w->arena, prcu_own(slot), JOURNAL_CHUNK * sizeof(uint32_t),
			   ARENA_JOURNAL);
		prcu_assign(slot, 0);
	}
}

uint64_t journal_window(const struct cache_writer *w)
{
	uint64_t n = w->objects;

	if (w->starving)
		return w->opt.journal_min / 64;
	if (n < w->opt.journal_min)
		return w->opt.journal_min;
	return n > w->opt.journal_max ? w->opt.journal_max : n;
}

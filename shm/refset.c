/* refset.c - the writer's side of what refset.h promises. */
#include "shm/refset.h"

#define WORDS	    (REFSET_CHUNK / 32)
#define CHUNK_BYTES (WORDS * sizeof(uint32_t))

_Static_assert((uint64_t)REFSET_CHUNK *REFSET_CHUNKS == UINT64_C(1) << 32,
	       "chunks for all references");

void refset_init(struct refset *s, struct refset_table *t, const struct index_memory *m)
{
	*s = (struct refset){.m = *m, .t = t};
}

static int add_chunk(struct refset *s, uint32_t number)
{
	uint32_t ref = index_alloc(&s->m, CHUNK_BYTES);

	if (!ref)
		return WEFT_ENOMEM;
	memset(ref_ptr(s->m.base, ref), 0, CHUNK_BYTES);
	/* [refset.R1] pairs with [refset.A1]: the chunk is zeroed. */
	prcu_assign(&s->t->chunk[number], ref);
	s->chunks++;
	return WEFT_OK;
}

int refset_add(struct refset *s, uint32_t ref)
{
	_Atomic uint32_t *word = refset_word(s->m.base, s->t, ref);

	if (!word) {
		if (add_chunk(s, ref / REFSET_CHUNK))
			return WEFT_ENOMEM;
		word = refset_word(s->m.base, s->t, ref);
	}
	weft_debug_assert(!(prcu_own(word) >> ref % 32 & 1));
	/* [refset.R2] pairs with [refset.A2]: what `ref` leads to is whole. */
	prcu_assign(word, prcu_own(word) | 1u << ref % 32);
	return WEFT_OK;
}

void refset_remove(struct refset *s, uint32_t ref)
{
	_Atomic uint32_t *word = refset_word(s->m.base, s->t, ref);

	weft_assert(word && prcu_own(word) >> ref % 32 & 1);
	/* [refset.R2] again, for the word's other bits. */
	prcu_assign(word, prcu_own(word) & ~(1u << ref % 32));
}

uint64_t refset_count(const struct refset *s)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < REFSET_CHUNKS; i++) {
		_Atomic uint32_t *word = refset_word(s->m.base, s->t, i * REFSET_CHUNK);

		for (uint32_t k = 0; word && k < WORDS; k++)
			n += (uint64_t)__builtin_popcount(prcu_own(&word[k]));
	}
	return n;
}

uint64_t refset_memory(const struct refset *s)
{
	return s->chunks * (uint64_t)arena_class_size(CHUNK_BYTES);
}

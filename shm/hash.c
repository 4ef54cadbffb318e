/* hash.c - the hash index, the writer's side: what hash.h promises. */
#include "shm/hash.h"

#define CHUNK_BYTES (HASH_CHUNK * sizeof(struct hash_bucket))
#define DIR_FIRST   64u			/* chunk references in the first directory */
#define BUCKETS_MAX (UINT32_C(1) << 30) /* above, 32 bits of hash do not tell buckets apart */

static uint64_t slot_of(uint32_t hash, uint32_t ref)
{
	return (uint64_t)hash << 32 | ref;
}

static struct hash_bucket *bucket_at(const struct hash *h, uint32_t i)
{
	return hash_bucket_at(h->m.base, h->t, i);
}

static struct hash_bucket *bucket_of(const struct hash *h, uint32_t hash)
{
	return bucket_at(h, hash_bucket_index(hash, prcu_own(&h->t->buckets)));
}

static struct hash_bucket *overflow_of(const struct hash *h, const struct hash_bucket *b)
{
	uint32_t next = prcu_own(&b->next);

	return next ? ref_ptr(h->m.base, next) : NULL;
}

/* The slot in the chain from `b` on that holds `what` (0: an empty one). */
static _Atomic uint64_t *find_slot(const struct hash *h, struct hash_bucket *b, uint64_t what)
{
	for (; b; b = overflow_of(h, b))
		for (int i = 0; i < HASH_SLOTS; i++)
			if (prcu_own(&b->slot[i]) == what)
				return &b->slot[i];
	return NULL;
}

static void set_slot(_Atomic uint64_t *slot, uint64_t to)
{
	/* [hash.R2] pairs with [hash.A2]: what `to` refers to is whole. */
	prcu_assign(slot, to);
}

static void count_items(struct hash *h, uint64_t by)
{
	/* relaxed: a statistic */
	prcu_set_relaxed(&h->t->items, prcu_own(&h->t->items) + by);
}

/* --- Memory -------------------------------------------------------------------- */

/* `n` empty buckets that no reader can see yet; 0 without memory. */
static uint32_t new_buckets(struct hash *h, uint32_t n)
{
	uint32_t ref = index_alloc(&h->m, n * sizeof(struct hash_bucket));

	if (ref)
		memset(ref_ptr(h->m.base, ref), 0, n * sizeof(struct hash_bucket));
	return ref;
}

/* Replace the directory by one of twice the size. */
static bool grow_dir(struct hash *h)
{
	uint32_t old = prcu_own(&h->t->dir);
	size_t bytes = h->dir_cap * sizeof(uint32_t);
	uint32_t ref = index_alloc(&h->m, 2 * bytes);

	if (!ref)
		return false;
	memcpy(ref_ptr(h->m.base, ref), ref_ptr(h->m.base, old), bytes);
	/* [hash.R5] pairs with [hash.A5]: the directory is whole. */
	prcu_assign(&h->t->dir, ref);
	index_retire(&h->m, old, bytes);
	h->dir_cap *= 2;
	return true;
}

/* Have a place for bucket `i`, the next one. */
static bool provide_bucket(struct hash *h, uint32_t i)
{
	uint32_t *dir, chunk;

	if (i / HASH_CHUNK < h->chunks)
		return true;
	if (h->chunks == h->dir_cap && !grow_dir(h))
		return false;
	chunk = new_buckets(h, HASH_CHUNK);
	if (!chunk)
		return false;
	dir = ref_ptr(h->m.base, prcu_own(&h->t->dir));
	dir[h->chunks++] = chunk; /* visible with the count of buckets */
	return true;
}

/* --- Moving items --------------------------------------------------------------- */

static void unlink_overflow(struct hash *h, struct hash_bucket *before, struct hash_bucket *b)
{
	uint32_t ref = prcu_own(&before->next);

	/* [hash.R3] pairs with [hash.A3].  Readers in `b` go on: its own next
	 * stays. */
	prcu_assign(&before->next, prcu_own(&b->next));
	index_retire(&h->m, ref, sizeof(*b));
}

static bool bucket_is_empty(const struct hash_bucket *b)
{
	for (int i = 0; i < HASH_SLOTS; i++)
		if (prcu_own(&b->slot[i]))
			return false;
	return true;
}

/* Move items out of overflow buckets into empty slots before them, and unlink
 * those that are empty then. */
static void tidy_chain(struct hash *h, struct hash_bucket *first)
{
	struct hash_bucket *before = first, *b;

	while ((b = overflow_of(h, before))) {
		for (int i = 0; i < HASH_SLOTS; i++) {
			uint64_t item = prcu_own(&b->slot[i]);
			_Atomic uint64_t *to = item ? find_slot(h, first, 0) : NULL;

			if (!to || (to >= &b->slot[0] && to < &b->slot[HASH_SLOTS]))
				continue;
			set_slot(to, item);
			/* [hash.R4] pairs with [hash.A4]: the item is at its new
			 * place before, and leaves the old one after. */
			prcu_assign(&first->moves, prcu_own(&first->moves) + 1);
			set_slot(&b->slot[i], 0);
		}
		if (bucket_is_empty(b))
			unlink_overflow(h, before, b);
		else
			before = b;
	}
}

/* How many items of the chain belong to bucket `to` once there are `to` + 1. */
static uint32_t count_leaving(const struct hash *h, const struct hash_bucket *b, uint32_t to)
{
	uint32_t n = 0;

	for (; b; b = overflow_of(h, b))
		for (int i = 0; i < HASH_SLOTS; i++) {
			uint64_t s = prcu_own(&b->slot[i]);

			n += s && hash_bucket_index((uint32_t)(s >> 32), to + 1) == to;
		}
	return n;
}

/* Hang enough empty overflow buckets under `b` for `n` items; false without
 * memory, with none left hanging.  Readers do not see `b` yet. */
static bool provide_overflow(struct hash *h, struct hash_bucket *b, uint32_t n)
{
	for (uint32_t room = HASH_SLOTS; room < n; room += HASH_SLOTS) {
		uint32_t ref = new_buckets(h, 1);
		struct hash_bucket *o;

		if (!ref) {
			while ((o = overflow_of(h, b))) {
				uint32_t of = prcu_own(&b->next);

				prcu_set_relaxed(&b->next, prcu_own(&o->next)); /* unseen */
				index_free(&h->m, of, sizeof(*o));
			}
			return false;
		}
		o = ref_ptr(h->m.base, ref);
		prcu_set_relaxed(&o->next, prcu_own(&b->next)); /* unseen */
		prcu_set_relaxed(&b->next, ref);
	}
	return true;
}

/* Copy what belongs to bucket `to` from the chain into it, still unseen. */
static void copy_leaving(struct hash *h, struct hash_bucket *from, struct hash_bucket *new,
			 uint32_t to)
{
	for (; from; from = overflow_of(h, from))
		for (int i = 0; i < HASH_SLOTS; i++) {
			uint64_t s = prcu_own(&from->slot[i]);

			if (s && hash_bucket_index((uint32_t)(s >> 32), to + 1) == to)
				set_slot(find_slot(h, new, 0), s);
		}
}

static void clear_left(struct hash *h, struct hash_bucket *from, uint32_t to)
{
	for (; from; from = overflow_of(h, from))
		for (int i = 0; i < HASH_SLOTS; i++) {
			uint64_t s = prcu_own(&from->slot[i]);

			if (s && hash_bucket_index((uint32_t)(s >> 32), to + 1) == to)
				set_slot(&from->slot[i], 0);
		}
}

#define SPLIT_AHEAD 8 /* buckets */

/* Buckets are split one after the other: fetch one that comes soon, and what one before it
 * leads to. */
static void split_ahead(const struct hash *h, uint32_t from)
{
	uint32_t n = prcu_own(&h->t->buckets), soon = from + SPLIT_AHEAD;
	uint32_t next = soon < n ? prcu_own(&bucket_at(h, soon - SPLIT_AHEAD / 2)->next) : 0;

	if (soon < n)
		prefetch(bucket_at(h, soon));
	if (next)
		prefetch(ref_ptr(h->m.base, next));
}

/* Add bucket N, which takes its items from the one that has held them so far.
 * False without memory, with nothing changed that matters. */
static bool split(struct hash *h)
{
	uint32_t to = prcu_own(&h->t->buckets);
	struct hash_bucket *from, *new;

	if (to >= BUCKETS_MAX || !provide_bucket(h, to))
		return false;
	from = bucket_at(h, hash_bucket_index(to, to));
	new = bucket_at(h, to);
	split_ahead(h, hash_bucket_index(to, to));
	if (!provide_overflow(h, new, count_leaving(h, from, to)))
		return false;
	copy_leaving(h, from, new, to);
	/* [hash.R1] pairs with [hash.A1]: the new bucket is whole before, and
	 * its items leave the old one after. */
	prcu_assign(&h->t->buckets, to + 1);
	clear_left(h, from, to);
	tidy_chain(h, from);
	return true;
}

/* --- What hash.h offers ------------------------------------------------------------ */

int hash_init(struct hash *h, struct hash_table *t, const struct index_memory *m)
{
	uint32_t dir = index_alloc(m, DIR_FIRST * sizeof(uint32_t));
	uint32_t chunk;

	*h = (struct hash){.m = *m, .t = t, .dir_cap = DIR_FIRST, .chunks = 1};
	if (!dir)
		return WEFT_ENOMEM;
	chunk = new_buckets(h, HASH_CHUNK);
	if (!chunk) {
		index_free(m, dir, DIR_FIRST * sizeof(uint32_t));
		return WEFT_ENOMEM;
	}
	((uint32_t *)ref_ptr(m->base, dir))[0] = chunk;
	prcu_set_relaxed(&t->items, 0); /* nobody reads yet */
	prcu_assign(&t->dir, dir);
	prcu_assign(&t->buckets, HASH_CHUNK);
	return 0;
}

/* The item goes into a new bucket behind the chain's last. */
static int insert_overflow(struct hash *h, struct hash_bucket *b, uint64_t item)
{
	uint32_t ref = new_buckets(h, 1);
	struct hash_bucket *o;

	if (!ref)
		return WEFT_ENOMEM;
	set_slot(&((struct hash_bucket *)ref_ptr(h->m.base, ref))->slot[0], item);
	while ((o = overflow_of(h, b)))
		b = o;
	/* [hash.R3] pairs with [hash.A3]: the new bucket is whole. */
	prcu_assign(&b->next, ref);
	return 0;
}

int hash_insert(struct hash *h, uint32_t hash, uint32_t ref)
{
	struct hash_bucket *b = bucket_of(h, hash);
	_Atomic uint64_t *slot = find_slot(h, b, 0);

	weft_assert(ref != 0);
	if (slot)
		set_slot(slot, slot_of(hash, ref));
	else if (insert_overflow(h, b, slot_of(hash, ref)))
		return WEFT_ENOMEM;
	count_items(h, 1);
	/* Twice, so that a table that could not grow for a while catches up. */
	for (int i = 0; i < 2; i++)
		if (hash_items(h->t) <= (uint64_t)prcu_own(&h->t->buckets) * HASH_LOAD || !split(h))
			break;
	return 0;
}

bool hash_remove(struct hash *h, uint32_t hash, uint32_t ref)
{
	struct hash_bucket *b = bucket_of(h, hash);
	_Atomic uint64_t *slot = find_slot(h, b, slot_of(hash, ref));

	if (!slot)
		return false;
	set_slot(slot, 0);
	count_items(h, -UINT64_C(1));
	if (prcu_own(&b->next))
		tidy_chain(h, b);
	return true;
}

bool hash_replace(struct hash *h, uint32_t hash, uint32_t from, uint32_t to)
{
	_Atomic uint64_t *slot = find_slot(h, bucket_of(h, hash), slot_of(hash, from));

	weft_assert(to != 0);
	if (!slot)
		return false;
	set_slot(slot, slot_of(hash, to));
	return true;
}

void hash_expect(struct hash *h, uint64_t more)
{
	while ((uint64_t)prcu_own(&h->t->buckets) * HASH_LOAD < hash_items(h->t) + more)
		if (!split(h))
			return;
}

void hash_each(const struct hash *h, void (*fn)(void *ctx, uint32_t hash, uint32_t ref), void *ctx)
{
	uint32_t n = prcu_own(&h->t->buckets);

	for (uint32_t i = 0; i < n; i++)
		for (struct hash_bucket *b = bucket_at(h, i); b; b = overflow_of(h, b))
			for (int k = 0; k < HASH_SLOTS; k++) {
				uint64_t s = prcu_own(&b->slot[k]);

				if (s)
					fn(ctx, (uint32_t)(s >> 32), (uint32_t)s);
			}
}

uint64_t hash_memory(const struct hash *h)
{
	uint32_t n = prcu_own(&h->t->buckets);
	uint64_t bytes = arena_class_size(h->dir_cap * sizeof(uint32_t)) +
			 h->chunks * (uint64_t)arena_class_size(CHUNK_BYTES);

	for (uint32_t i = 0; i < n; i++)
		for (struct hash_bucket *b = bucket_at(h, i); (b = overflow_of(h, b));)
			bytes += arena_class_size(sizeof(*b));
	return bytes;
}

/* --- Checking ----------------------------------------------------------------------- */

/* The items of bucket `i`, each where it belongs and once; <0 when not. */
static int64_t check_chain(const struct hash *h, uint32_t i, struct err *e)
{
	uint32_t n = prcu_own(&h->t->buckets);
	int64_t items = 0;

	for (struct hash_bucket *b = bucket_at(h, i); b; b = overflow_of(h, b))
		for (int k = 0; k < HASH_SLOTS; k++) {
			uint64_t s = prcu_own(&b->slot[k]);

			if (!s)
				continue;
			if (hash_bucket_index((uint32_t)(s >> 32), n) != i)
				return err_set(e, WEFT_ECORRUPT,
					       "hash: item %016llx is in bucket %u of %u",
					       (unsigned long long)s, i, n);
			if (find_slot(h, bucket_at(h, i), s) != &b->slot[k])
				return err_set(e, WEFT_ECORRUPT,
					       "hash: item %016llx is there twice",
					       (unsigned long long)s);
			items++;
		}
	return items;
}

int hash_check(const struct hash *h, struct err *e)
{
	uint32_t n = prcu_own(&h->t->buckets);
	uint64_t items = 0;

	if (n < HASH_CHUNK || n > h->chunks * HASH_CHUNK || h->chunks > h->dir_cap)
		return err_set(e, WEFT_ECORRUPT, "hash: %u buckets in %u chunks of %u", n,
			       h->chunks, h->dir_cap);
	for (uint32_t i = 0; i < n; i++) {
		int64_t here = check_chain(h, i, e);

		if (here < 0)
			return (int)here;
		items += (uint64_t)here;
	}
	if (items != hash_items(h->t))
		return err_set(e, WEFT_ECORRUPT, "hash: %llu items, counted as %llu",
			       (unsigned long long)items, (unsigned long long)hash_items(h->t));
	return 0;
}

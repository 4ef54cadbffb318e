/*
 * reclaim.c - giving memory back.
 *
 * A journal record r of version V goes through three steps, a grace period
 * between each:
 *   passed   the journal's oldest moves beyond r: no new reader asks for what
 *            was before V;
 *   cut      V.prev becomes 0 and the old version is retired; if V is a
 *            tombstone, its entry leaves every index and list and both are
 *            retired: no new reader meets them;
 *   freed    the memory is used again.
 * The first grace period is why a snapshot that a reader has begun inside one
 * section stays whole until the section ends, however fast the window moves.
 */
#include "shm/cache_priv.h"
#include "weft/fault.h"

/* --- Cutting --------------------------------------------------------------------- */

void record_cut(struct cache_writer *w, struct version *v)
{
	uint32_t prev = prcu_own(&v->prev);

	if (prev) {
		prcu_assign(&v->prev, 0);
		retire_version(w, version_at(w, prev), v);
	}
	if (v->flags & VERSION_TOMBSTONE) {
		struct entry *e = entry_at(w, v->entry.u);

		entry_unindex(w, e);
		labelset_unlink(w, e, v);
		nodeslot_unlink(w, e, v);
		links_unlink(w, e);
		retire_version(w, v, NULL);
	}
}

/* An entry that will be taken out: its index slots, and its neighbours in each
 * list, whose links change. */
static void prefetch_unlinking(const struct cache_writer *w, const struct entry *e)
{
	const uint32_t near[] = {prcu_own(&e->sib_next),  e->sib_prev,
				 prcu_own(&e->node_next), e->node_prev,
				 prcu_own(&e->set_next),  e->set_prev};

	entry_prefetch_indexes(w, e);
	for (size_t i = 0; i < countof(near); i++)
		if (near[i])
			prefetch((char *)entry_at(w, near[i]) + (i < 2 ? 0 : CACHE_LINE));
}

/* The parts that `after` has no more go with an old state. */
static void prefetch_parts(const struct cache_writer *w, const struct version *old,
			   const struct version *after)
{
	for (int p = 0; p < PART_COUNT; p++)
		if (old->part[p] && old->part[p] != after->part[p])
			prefetch(ref_ptr(w->base, old->part[p]));
}

/* Those that nobody else has leave the table of blobs. */
static void prefetch_last(const struct cache_writer *w, const struct version *old,
			  const struct version *after)
{
	for (int p = 0; p < PART_COUNT; p++) {
		const struct blob *b = ref_ptr(w->base, old->part[p]);

		if (p != PART_LABELS && old->part[p] && old->part[p] != after->part[p] &&
		    b->refcount == 1 && b->hash)
			chain_prefetch(&w->blobs, b->hash);
	}
}

static struct version *version_of(const struct cache_writer *w, uint64_t rv)
{
	return version_at(w, journal_get(w, rv));
}

static const struct version *state_before(const struct cache_writer *w, const struct version *v)
{
	uint32_t prev = prcu_own(&v->prev);

	return prev ? version_at(w, prev) : NULL;
}

/* What cutting these records will touch, in steps as each leads to the next: the
 * versions; their old states and deleted entries; what hangs on those. */
static void fetch_records(const struct cache_writer *w, uint64_t from, uint64_t end)
{
	const struct version *v, *old;

	for (uint64_t rv = from; rv < end; rv++)
		cw_prefetch_lines(w, journal_get(w, rv));
	for (uint64_t rv = from; rv < end; rv++) {
		v = version_of(w, rv);
		if (prcu_own(&v->prev))
			cw_prefetch_lines(w, prcu_own(&v->prev));
		if (v->flags & VERSION_TOMBSTONE)
			cw_prefetch_lines(w, v->entry.u);
	}
	for (uint64_t rv = from; rv < end; rv++) {
		v = version_of(w, rv);
		old = state_before(w, v);
		if (old)
			prefetch_parts(w, old, v);
		if (v->flags & VERSION_TOMBSTONE && v->hot.node.u)
			prefetch(ref_ptr(w->base, v->hot.node.u));
		if (v->flags & VERSION_TOMBSTONE)
			prefetch_unlinking(w, entry_at(w, v->entry.u));
	}
	for (uint64_t rv = from; rv < end; rv++) {
		v = version_of(w, rv);
		old = state_before(w, v);
		if (old)
			prefetch_last(w, old, v);
	}
}

static void cut_until(struct cache_writer *w, uint64_t end)
{
	uint64_t fetched = w->cut;

	for (; w->cut < end; w->cut++) {
		if (w->cut == fetched) {
			fetched = end - fetched < CACHE_TOGETHER ? end : fetched + CACHE_TOGETHER;
			fetch_records(w, w->cut, fetched);
		}
		record_cut(w, version_of(w, w->cut));
		fault_at(store_cut);
	}
	journal_trim(w);
}

/* --- Grace periods ------------------------------------------------------------------ */

/* Records that the window no longer needs. */
static void pass_records(struct cache_writer *w, uint32_t max)
{
	uint64_t oldest = prcu_own(&w->h->oldest), rv = prcu_own(&w->h->rv);
	uint64_t window = journal_window(w), to;

	if (rv + 1 - oldest <= window)
		return;
	to = rv + 1 - window;
	if (to - oldest > max)
		to = oldest + max;
	prcu_assign(&w->h->oldest, to); /* [cache.R3] */
}

static void start_grace(struct cache_writer *w)
{
	struct grace *g = &w->grace;

	g->retired_tail = w->retire.tail;
	g->oldest = prcu_own(&w->h->oldest);
	if (g->retired_tail == w->retire.head && g->oldest == w->cut)
		return;
	g->target = prcu_start(&w->h->gp);
	fault_at(rcu_grace);
	g->start_ns = clock_mono_ns();
	g->blocked = false;
	g->running = true;
}

static size_t finish_grace(struct cache_writer *w)
{
	struct grace *g = &w->grace;
	size_t freed;

	g->running = false;
	freed = retire_free(w, g->retired_tail);
	cut_until(w, g->oldest);
	return freed;
}

size_t cw_reclaim(struct cache_writer *w, uint32_t max)
{
	struct grace *g = &w->grace;
	size_t freed = 0;

	fault_at(store_reclaim);
	if (g->running) {
		g->blocked = !prcu_poll(&w->h->gp, w->readers, w->nreaders, g->target, &g->blocker);
		if (g->blocked)
			return 0;
		freed = finish_grace(w);
	}
	links_dissolve(w, max);
	pass_records(w, max);
	start_grace(w);
	return freed;
}

bool cw_blocker(const struct cache_writer *w, size_t *reader, int64_t *since_ns)
{
	if (!w->grace.running || !w->grace.blocked)
		return false;
	*reader = w->grace.blocker;
	*since_ns = w->grace.start_ns;
	return true;
}

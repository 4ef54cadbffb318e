/* queue.c - the controllers' work queue: what queue.h promises. */
#include "procs/lib/queue.h"

#include <stdlib.h>

#define CHAINS_FIRST 64

static void *must(void *p)
{
	if (!p)
		weft_fatal("out of memory for the work queue");
	return p;
}

void queue_init(struct queue *q, size_t state_size)
{
	*q = (struct queue){.state_size = state_size, .nchain = CHAINS_FIRST};
	TAILQ_INIT(&q->changed);
	TAILQ_INIT(&q->later);
	q->chain = must(calloc(q->nchain, sizeof(*q->chain)));
}

static void free_item(void *arg, struct queue_item *it)
{
	free(it);
}

void queue_free(struct queue *q)
{
	queue_each(q, free_item, NULL);
	free(q->chain);
	free(q->heap);
	*q = (struct queue){0};
}

/* --- By uid --------------------------------------------------------------- */

/* uids are random already. */
static struct queue_item **chain_of(struct queue *q, const uint8_t uid[16])
{
	uint64_t h;

	memcpy(&h, uid + 8, sizeof(h));
	return &q->chain[home_of(h, q->nchain)];
}

static void widen(struct queue *q)
{
	struct queue_item **old = q->chain, *it, *same;
	uint32_t n = q->nchain;

	q->nchain *= 2;
	q->chain = must(calloc(q->nchain, sizeof(*q->chain)));
	for (uint32_t i = 0; i < n; i++) {
		for (it = old[i]; it; it = same) {
			struct queue_item **at = chain_of(q, it->uid);

			same = it->same;
			it->same = *at;
			*at = it;
		}
	}
	free(old);
}

struct queue_item *queue_find(struct queue *q, const uint8_t uid[16])
{
	struct queue_item *it = *chain_of(q, uid);

	while (it && memcmp(it->uid, uid, 16) != 0)
		it = it->same;
	return it;
}

struct queue_item *queue_item(struct queue *q, const uint8_t uid[16])
{
	struct queue_item *it = queue_find(q, uid), **at;

	if (it)
		return it;
	if (q->nitems >= q->nchain)
		widen(q);
	it = must(calloc(1, sizeof(*it) + q->state_size));
	memcpy(it->uid, uid, 16);
	at = chain_of(q, uid);
	it->same = *at;
	*at = it;
	q->nitems++;
	return it;
}

void queue_each(struct queue *q, void (*cb)(void *arg, struct queue_item *it), void *arg)
{
	struct queue_item *it, *same;

	for (uint32_t i = 0; i < q->nchain; i++) {
		for (it = q->chain[i]; it; it = same) {
			same = it->same;
			cb(arg, it);
		}
	}
}

/* --- Timers: a binary heap ----------------------------------------------------- */

static void heap_put(struct queue *q, uint32_t i, struct queue_item *it)
{
	q->heap[i] = it;
	it->timer = i + 1;
}

static void heap_up(struct queue *q, uint32_t i)
{
	struct queue_item *it = q->heap[i];

	while (i && q->heap[(i - 1) / 2]->timer_ns > it->timer_ns) {
		heap_put(q, i, q->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	heap_put(q, i, it);
}

static void heap_down(struct queue *q, uint32_t i)
{
	struct queue_item *it = q->heap[i];
	uint32_t kid;

	while ((kid = 2 * i + 1) < q->nheap) {
		if (kid + 1 < q->nheap && q->heap[kid + 1]->timer_ns < q->heap[kid]->timer_ns)
			kid++;
		if (q->heap[kid]->timer_ns >= it->timer_ns)
			break;
		heap_put(q, i, q->heap[kid]);
		i = kid;
	}
	heap_put(q, i, it);
}

static void timer_off(struct queue *q, struct queue_item *it)
{
	uint32_t i = it->timer - 1;
	struct queue_item *last;

	if (!it->timer)
		return;
	it->timer = 0;
	last = q->heap[--q->nheap];
	if (last == it)
		return;
	heap_put(q, i, last);
	heap_up(q, i);
	heap_down(q, last->timer - 1);
}

void queue_at(struct queue *q, struct queue_item *it, int64_t when_ns)
{
	if (it->timer) {
		if (when_ns >= it->timer_ns)
			return;
		it->timer_ns = when_ns;
		heap_up(q, it->timer - 1);
		return;
	}
	if (q->nheap == q->cap_heap) {
		q->cap_heap = q->cap_heap ? 2 * q->cap_heap : 64;
		q->heap = must(realloc(q->heap, q->cap_heap * sizeof(*q->heap)));
	}
	it->timer_ns = when_ns;
	q->heap[q->nheap++] = it;
	heap_up(q, q->nheap - 1);
}

int64_t queue_due(struct queue *q, int64_t now_ns)
{
	while (q->nheap && q->heap[0]->timer_ns <= now_ns) {
		struct queue_item *it = q->heap[0];

		timer_off(q, it);
		queue_add(q, it, now_ns);
	}
	return q->nheap ? q->heap[0]->timer_ns : 0;
}

/* --- Two lines ---------------------------------------------------------------------- */

static struct queue_line *line_of(struct queue *q, const struct queue_item *it)
{
	return it->flags & QUEUE_LATER ? &q->later : &q->changed;
}

/* Begins to wait; it stands in no line yet. */
static void begin_to_wait(struct queue *q, struct queue_item *it, int64_t now_ns)
{
	it->flags = (it->flags & ~QUEUE_AGAIN) | QUEUE_WAITS;
	it->waits_ns = now_ns;
	q->waiting++;
}

/* It is looked at anyway: when its requests are answered, or as it waits already. */
static bool comes_anyway(struct queue_item *it)
{
	it->flags &= ~QUEUE_GONE;
	if (it->in_flight)
		it->flags |= QUEUE_AGAIN;
	return it->in_flight || it->flags & QUEUE_WAITS;
}

static void leave_line(struct queue *q, struct queue_item *it)
{
	TAILQ_REMOVE(line_of(q, it), it, line);
	it->flags &= ~(QUEUE_WAITS | QUEUE_LATER);
	q->waiting--;
}

void queue_add(struct queue *q, struct queue_item *it, int64_t now_ns)
{
	if (!it->in_flight && it->flags & QUEUE_LATER)
		leave_line(q, it);
	if (comes_anyway(it))
		return;
	begin_to_wait(q, it, now_ns);
	TAILQ_INSERT_TAIL(&q->changed, it, line);
}

void queue_add_later(struct queue *q, struct queue_item *it, int64_t now_ns)
{
	if (comes_anyway(it))
		return;
	begin_to_wait(q, it, now_ns);
	it->flags |= QUEUE_LATER;
	TAILQ_INSERT_TAIL(&q->later, it, line);
}

void queue_push_front(struct queue *q, struct queue_item *it, int64_t now_ns)
{
	if (comes_anyway(it))
		return;
	begin_to_wait(q, it, now_ns);
	TAILQ_INSERT_HEAD(&q->changed, it, line);
}

struct queue_item *queue_pop(struct queue *q)
{
	struct queue_item *first = TAILQ_FIRST(&q->changed), *later = TAILQ_FIRST(&q->later), *it;

	it = !first || (later && ++q->turn % QUEUE_SECOND == 0) ? later : first;
	if (!it)
		return NULL;
	leave_line(q, it);
	timer_off(q, it);
	return it;
}

static int64_t waited_ns(const struct queue_item *it, int64_t now_ns)
{
	return it ? now_ns - it->waits_ns : 0;
}

int64_t queue_age_ns(const struct queue *q, int64_t now_ns)
{
	int64_t changed = waited_ns(TAILQ_FIRST(&q->changed), now_ns);
	int64_t later = waited_ns(TAILQ_FIRST(&q->later), now_ns);

	return changed > later ? changed : later;
}

void queue_drop(struct queue *q, struct queue_item *it)
{
	struct queue_item **at = chain_of(q, it->uid);

	weft_assert(!it->in_flight);
	timer_off(q, it);
	if (it->flags & QUEUE_WAITS)
		leave_line(q, it);
	while (*at != it)
		at = &(*at)->same;
	*at = it->same;
	q->nitems--;
	free(it);
}

/* --- Requests ----------------------------------------------------------------------- */

void queue_sent(struct queue_item *it)
{
	it->in_flight++;
}

int64_t queue_backoff_ns(unsigned failures)
{
	int64_t ms = QUEUE_BACKOFF_FIRST_MS;

	for (; failures > 1 && ms < QUEUE_BACKOFF_MAX_MS; failures--)
		ms *= 2;
	return (ms < QUEUE_BACKOFF_MAX_MS ? ms : QUEUE_BACKOFF_MAX_MS) * 1000000;
}

/* What an answer means for its object. */
static uint16_t flag_of(int status)
{
	switch (status) {
	case WEFT_OK:
	case WEFT_EFENCED: /* another shard's now */
		return 0;
	case WEFT_ECONFLICT: /* look again at once */
	case WEFT_ELOST:
		return QUEUE_AGAIN;
	default:
		return QUEUE_FAILED;
	}
}

bool queue_answered(struct queue *q, struct queue_item *it, int status, int64_t now_ns)
{
	weft_assert(it->in_flight);
	it->flags |= flag_of(status);
	if (--it->in_flight)
		return false;
	if (it->flags & QUEUE_GONE) {
		queue_drop(q, it);
		return true;
	}
	if (it->flags & QUEUE_FAILED) {
		it->flags &= ~(QUEUE_FAILED | QUEUE_AGAIN);
		it->failures += it->failures < UINT16_MAX;
		queue_at(q, it, now_ns + queue_backoff_ns(it->failures));
		return false;
	}
	it->failures = 0;
	if (it->flags & QUEUE_AGAIN)
		queue_add(q, it, now_ns);
	return false;
}

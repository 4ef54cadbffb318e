/*
 * ring.c - see ring.h for the protocol.
 *
 * Both ends keep the other's position from the last time they looked, and look
 * again only when that says full (producer) or empty (consumer): a busy ring
 * moves a cache line between cores once for many records.
 */
#include <sys/eventfd.h>
#include <unistd.h>

#include "weft/fault.h"
#include "weft/ring.h"

#define RECORD_ALIGN 8u
#define RECORD_HEAD  4u /* the length */
#define RING_MIN     64u
/* A length that no record has: the rest up to the end of data is unused. */
#define RECORD_SKIP 0xffffffffu

/* Bytes that a record of n bytes takes. */
static uint64_t record_bytes(uint32_t n)
{
	return align_up((uint64_t)n + RECORD_HEAD, RECORD_ALIGN);
}

static char *ring_at(const struct ring *r, uint64_t pos)
{
	return r->out->data + (pos & (r->size - 1));
}

/* Bytes from `pos` to where data wraps around: a multiple of RECORD_ALIGN. */
static uint64_t to_end(const struct ring *r, uint64_t pos)
{
	return r->size - (pos & (r->size - 1));
}

static void count(_Atomic uint64_t *counter, uint64_t n)
{
	/* One writer: a plain add, made of two relaxed halves. */
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

size_t ring_bytes(uint32_t size)
{
	return sizeof(struct ring_out) + size;
}

static bool size_valid(uint32_t size)
{
	return size >= RING_MIN && (size & (size - 1)) == 0;
}

void ring_init(struct ring_out *out, uint32_t size)
{
	weft_assert(size_valid(size));
	memset(out, 0, sizeof(*out));
	out->size = size;
}

void ring_producer(struct ring *r, struct ring_out *out, const struct ring_in *in, int bell)
{
	uint64_t head = atomic_load_explicit(&out->head, memory_order_relaxed);

	*r = (struct ring){.out = out, .in = (struct ring_in *)in, .bell = bell, .size = out->size};
	r->pos = r->mark = head;
	r->cached = atomic_load_explicit(&in->tail, memory_order_acquire); /* [ring.A2] */
}

int ring_consumer(struct ring *r, const struct ring_out *out, struct ring_in *in, uint32_t size,
		  int bell)
{
	if (!size_valid(size) || out->size != size)
		return WEFT_ECORRUPT;
	*r = (struct ring){.out = (struct ring_out *)out, .in = in, .bell = bell, .size = size};
	r->pos = r->mark = r->cached = atomic_load_explicit(&in->tail, memory_order_relaxed);
	return WEFT_OK;
}

/* --- Producer ---------------------------------------------------------------- */

/* Whether the `need` bytes from r->pos on are free.  A tail that makes no
 * sense (ahead of us, or further behind than the ring is long) counts as full. */
static bool has_room(struct ring *r, uint64_t need)
{
	uint64_t room = r->size - need;

	if (r->pos - r->cached <= room)
		return true;
	/* [ring.A2] pairs with [ring.R2]: the consumer has read what lies here
	 * before we write over it. */
	r->cached = atomic_load_explicit(&r->in->tail, memory_order_acquire);
	return r->pos - r->cached <= room;
}

void *ring_reserve(struct ring *r, uint32_t n)
{
	uint64_t need = record_bytes(n), end = to_end(r, r->pos), skip = need > end ? end : 0;
	uint32_t *len;

	weft_assert(n > 0);
	if (need > r->size / 2)
		return NULL;
	if (!has_room(r, skip + need) || fault_fails(ring_full)) {
		count(&r->out->full, 1);
		return NULL;
	}
	if (skip) {
		*(uint32_t *)ring_at(r, r->pos) = RECORD_SKIP;
		r->pos += skip;
	}
	len = (uint32_t *)ring_at(r, r->pos);
	*len = n;
	r->mark = r->pos;
	r->pos += need;
	r->pending++;
	fault_at(ring_reserved);
	return len + 1;
}

void ring_trim(struct ring *r, uint32_t n)
{
	weft_assert(r->pending > 0 && r->mark + record_bytes(n) <= r->pos);
	if (!n) {
		r->pos = r->mark;
		r->pending--;
		return;
	}
	*(uint32_t *)ring_at(r, r->mark) = n;
	r->pos = r->mark + record_bytes(n);
}

void ring_commit(struct ring *r)
{
	if (r->pending)
		count(&r->out->records, r->pending);
	r->pending = 0;
	/* [ring.R1] pairs with [ring.A1]: whoever sees this head sees whole
	 * records below it. */
	atomic_store_explicit(&r->out->head, r->pos, memory_order_release);
}

/* A full fence: what was stored before it is visible before anything after it
 * is loaded.  gcc warns that ThreadSanitizer does not model it; no data is
 * passed by it, only who sleeps. */
static inline void full_fence(void)
{
#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wtsan"
#endif
	atomic_thread_fence(memory_order_seq_cst);
#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
}

/* Wake a consumer that sleeps at least so lightly. */
static void wake(struct ring *r, uint32_t how)
{
	static const uint64_t one = 1;
	ssize_t n;

	fault_at(ring_committed);
	/* [ring.R3] pairs with [ring.A3]: either we see the consumer asleep, or
	 * it sees our head (or overflow, or what it follows) and does not go to
	 * sleep. */
	full_fence();
	if (atomic_load_explicit(&r->in->asleep, memory_order_relaxed) < how || r->bell < 0)
		return;
	/* Fails only when the counter is full, and then it is readable. */
	n = write(r->bell, &one, sizeof(one));
	(void)n;
}

void ring_ring(struct ring *r)
{
	wake(r, RING_ASLEEP);
}

void ring_ring_follower(struct ring *r)
{
	wake(r, RING_FOLLOWING);
}

int ring_put(struct ring *r, struct str bytes)
{
	void *p;

	if (record_bytes(bytes.n) > r->size / 2)
		return WEFT_ETOOBIG;
	p = ring_reserve(r, bytes.n);
	if (!p)
		return WEFT_EFULL;
	memcpy(p, bytes.p, bytes.n);
	ring_commit(r);
	return WEFT_OK;
}

void ring_mark_overflow(struct ring *r)
{
	/* [ring.R4] pairs with [ring.A4]: the consumer's look at the cache finds
	 * what the dropped record was about. */
	atomic_fetch_add_explicit(&r->out->overflow, 1, memory_order_release);
}

uint64_t ring_used(const struct ring *r)
{
	uint64_t tail = atomic_load_explicit(&r->in->tail, memory_order_relaxed);

	return atomic_load_explicit(&r->out->head, memory_order_relaxed) - tail;
}

/* --- Consumer ---------------------------------------------------------------- */

static int corrupt(struct ring *r)
{
	count(&r->in->malformed, 1);
	ring_drop(r);
	return WEFT_ECORRUPT;
}

/* Bytes that may be read from r->pos on; looks at head when there are none.
 * False if head makes no sense. */
static bool available(struct ring *r, uint64_t *n)
{
	if (r->cached == r->pos) {
		/* [ring.A1] pairs with [ring.R1] */
		r->cached = atomic_load_explicit(&r->out->head, memory_order_acquire);
	}
	*n = r->cached - r->pos;
	return *n <= r->size && *n % RECORD_ALIGN == 0;
}

static uint32_t length_at(const struct ring *r, uint64_t pos)
{
	/* Read once: a hostile producer may change it under us. */
	return *(const volatile uint32_t *)ring_at(r, pos);
}

int ring_peek(struct ring *r, struct str *bytes)
{
	uint64_t avail, need, end;
	uint32_t n;

	if (!available(r, &avail))
		return corrupt(r);
	if (!avail)
		return 0;
	n = length_at(r, r->pos);
	end = to_end(r, r->pos);
	if (n == RECORD_SKIP && end < r->size && end <= avail) {
		r->pos += end;
		if (!available(r, &avail))
			return corrupt(r);
		if (!avail)
			return 0;
		n = length_at(r, r->pos);
		end = r->size;
	}
	need = record_bytes(n);
	if (!n || need > r->size / 2 || need > avail || need > end)
		return corrupt(r);
	*bytes = (struct str){ring_at(r, r->pos) + RECORD_HEAD, n};
	r->mark = r->pos + need;
	return 1;
}

void ring_next(struct ring *r)
{
	weft_assert(r->mark != r->pos);
	r->pos = r->mark;
	count(&r->in->records, 1);
}

void ring_release(struct ring *r)
{
	fault_at(ring_peeked);
	/* [ring.R2] pairs with [ring.A2] */
	atomic_store_explicit(&r->in->tail, r->pos, memory_order_release);
}

void ring_drop(struct ring *r)
{
	/* [ring.A1] pairs with [ring.R1].  Rounded, so that a damaged head cannot
	 * lead us to half a length. */
	r->cached = atomic_load_explicit(&r->out->head, memory_order_acquire);
	r->cached -= r->cached % RECORD_ALIGN;
	r->pos = r->mark = r->cached;
	ring_release(r);
}

static uint32_t overflow_unseen(const struct ring *r)
{
	/* [ring.A4] pairs with [ring.R4] */
	uint32_t now = atomic_load_explicit(&r->out->overflow, memory_order_acquire);

	return now - atomic_load_explicit(&r->in->overflow_seen, memory_order_relaxed);
}

bool ring_overflowed(struct ring *r)
{
	uint32_t unseen = overflow_unseen(r);

	if (unseen)
		atomic_fetch_add_explicit(&r->in->overflow_seen, unseen, memory_order_relaxed);
	return unseen != 0;
}

static bool sleep_as(struct ring *r, uint32_t how)
{
	atomic_store_explicit(&r->in->asleep, how, memory_order_relaxed);
	fault_at(ring_sleep);
	/* [ring.A3] pairs with [ring.R3] */
	full_fence();
	if (atomic_load_explicit(&r->out->head, memory_order_relaxed) == r->pos &&
	    !overflow_unseen(r))
		return true;
	ring_awake(r);
	return false;
}

bool ring_sleep(struct ring *r)
{
	return sleep_as(r, RING_ASLEEP);
}

bool ring_sleep_following(struct ring *r)
{
	return sleep_as(r, RING_FOLLOWING);
}

void ring_awake(struct ring *r)
{
	atomic_store_explicit(&r->in->asleep, RING_AWAKE, memory_order_relaxed);
}

/* --- Doorbells ---------------------------------------------------------------- */

int bell_create(struct err *e)
{
	int fd = eventfd(0, EFD_NONBLOCK);

	if (fd < 0)
		return err_errno(e, errno, "make a doorbell (eventfd)");
	return fd;
}

void bell_clear(int bell)
{
	uint64_t rung;
	ssize_t n = read(bell, &rung, sizeof(rung));

	(void)n; /* nothing to read is as good */
}

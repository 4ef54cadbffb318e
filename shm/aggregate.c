/* aggregate.c - counts of dependents by state, kept with each write. */
#include "shm/cache_priv.h"

/* The counters in the order of `struct counts_slot`, which is that of the bits. */
enum {
	IN_TOTAL = 1,
	IN_ACTIVE = 2,
	IN_READY = 4,
	IN_TERMINATING = 8,
	IN_PENDING = 16,
	IN_SUCCEEDED = 32,
	IN_FAILED = 64,
	IN_SCHEDULED = 128,
};
#define AT(field, bit)                                                                       \
	_Static_assert(offsetof(struct counts_slot, field) ==                                \
			       offsetof(struct counts_slot, total) + __builtin_ctz(bit) * 4, \
		       "counters lie in the order of their bits")
AT(active, IN_ACTIVE);
AT(ready, IN_READY);
AT(terminating, IN_TERMINATING);
AT(pending, IN_PENDING);
AT(succeeded, IN_SUCCEEDED);
AT(failed, IN_FAILED);
AT(scheduled, IN_SCHEDULED);

static uint32_t pod_state(const struct version *v)
{
	uint32_t in = IN_TOTAL;

	if (v->hot.phase == POD_SUCCEEDED)
		return in | IN_SUCCEEDED;
	if (v->hot.phase == POD_FAILED)
		return in | IN_FAILED;
	if (v->deletion_s)
		return in | IN_TERMINATING;
	in |= IN_ACTIVE;
	if (v->hot.flags & HOT_READY)
		in |= IN_READY;
	if (v->hot.phase == POD_PENDING)
		in |= IN_PENDING;
	if (v->hot.node.u)
		in |= IN_SCHEDULED;
	return in;
}

uint32_t counts_of_state(const struct cache_header *h, uint16_t type, const struct version *v)
{
	if (!is_live(v))
		return 0;
	if (type == h->pod_type)
		return pod_state(v);
	return v->deletion_s ? IN_TOTAL | IN_TERMINATING : IN_TOTAL;
}

int counts_reserve(struct cache_writer *w, struct entry *owner)
{
	uint32_t ref;

	if (prcu_own(&owner->counts))
		return WEFT_OK;
	ref = arena_alloc(w->arena, sizeof(struct counts), ARENA_AGGREGATE);
	if (!ref)
		return WEFT_ENOMEM;
	memset(ref_ptr(w->base, ref), 0, sizeof(struct counts));
	prcu_assign(&owner->counts, ref);
	return WEFT_OK;
}

/* Write the slot that does not count yet, from the one that does. */
static void write_slot(struct counts_slot *to, const struct counts_slot *from, uint32_t before,
		       uint32_t after, uint64_t rv)
{
	for (int i = 0; i < COUNTS_KINDS; i++) {
		uint32_t n = prcu_own(&(&from->total)[i]);

		n += (after >> i & 1) - (before >> i & 1);
		/* [cache.R5] A reader who copies this slot and meets a counter of
		 * ours finds `seq` moved on, since it moved before. */
		prcu_assign(&(&to->total)[i], n);
	}
	prcu_assign(&to->rv, rv);
}

void counts_change(struct cache_writer *w, uint32_t owner, uint16_t type, const struct version *old,
		   const struct version *v, uint64_t rv)
{
	uint32_t before, after, seq;
	struct counts *c;

	if (!owner)
		return;
	before = counts_of_state(w->h, type, old);
	after = counts_of_state(w->h, type, v);
	if (before == after)
		return;
	c = ref_ptr(w->base, prcu_own(&entry_at(w, owner)->counts));
	seq = prcu_own(&c->seq);
	write_slot(&c->slot[(seq + 1) % 2], &c->slot[seq % 2], before, after, rv);
	prcu_assign(&c->seq, seq + 1); /* [cache.R6] */
}

/*
 * prcu.h - RCU across processes.
 *
 * liburcu's flavours keep their readers in one process.  Here the grace-period
 * counter lives in the cache segment (written by the store) and each reader's
 * word in its own process's segment (written by that reader).  The algorithm
 * is liburcu's memory-barrier flavour (urcu/static/urcu-mb.h, urcu.c) with a
 * 64-bit counter instead of a phase bit: a counter that never wraps needs no
 * second phase.
 *
 *   reader                              store
 *   ------                              -----
 *   word = gp          [prcu.R1]        unlink
 *   fence or nothing   (membarrier)     fence, or membarrier(GLOBAL_EXPEDITED)
 *   load references                     target = ++gp
 *   ...                                 fence, or membarrier(GLOBAL_EXPEDITED)
 *   word = 0           [prcu.R2]        every word is 0 or >= target [prcu.A1/A2]
 *                                       fence; free
 *
 * Guarantees.  A reader inside a section sees every version it can reach from
 * a published reference unfreed until prcu_read_unlock().  Read-side calls are
 * wait-free, make no system call and write only the reader's own cache line.
 * Sections nest.  The store never blocks: prcu_poll() only looks.
 *
 * Only this header may use liburcu's uatomic/cmm primitives or C11 fences for
 * the cache; everything else goes through the wrappers at its end.
 */
#ifndef WEFT_PRCU_H
#define WEFT_PRCU_H

#include <stdatomic.h>
#include <urcu/arch.h>
#include <urcu/compiler.h>
#include "weft/base.h"

#define PRCU_READERS_MAX 16 /* reading threads in one process */

/* In the owner's proc segment.  Written by one thread only. */
struct prcu_reader {
	_Atomic uint64_t word; /* 0: outside; else the counter it entered under */
	uint64_t nesting;      /* owner's own */
} cache_aligned;

/* In the cache segment's header.  Written by the store only. */
struct prcu_gp {
	_Atomic uint64_t counter;    /* starts at 1 */
	_Atomic uint32_t membarrier; /* 1: readers need no fence */
} cache_aligned;

/* True if the kernel has membarrier(GLOBAL_EXPEDITED) and it is not disabled
 * by WEFT_NO_MEMBARRIER=1 in the environment (how the slow path is tested). */
bool prcu_membarrier_available(void);

/* Write the first state of a grace-period word; membarrier if it is available. */
void prcu_init(struct prcu_gp *gp);

/* Every process that reads must call this once before its first section.
 * Registers for expedited membarriers if gp->membarrier says so; WEFT_ESYS if
 * the kernel refuses that. */
int prcu_register_process(const struct prcu_gp *gp, struct err *e);

static inline void prcu_read_lock(struct prcu_reader *r, const struct prcu_gp *gp)
{
	if (r->nesting++)
		return;
	/* [prcu.R1] pairs with [prcu.A1]: the word is visible before any load of
	 * a reference, by the store's membarrier or by our fence. */
	atomic_store_explicit(&r->word, atomic_load_explicit(&gp->counter, memory_order_relaxed),
			      memory_order_release);
	if (likely_true(atomic_load_explicit(&gp->membarrier, memory_order_relaxed)))
		cmm_barrier();
	else
		cmm_smp_mb();
}

static inline void prcu_read_unlock(struct prcu_reader *r)
{
	weft_debug_assert(r->nesting > 0);
	if (--r->nesting)
		return;
	/* [prcu.R2] pairs with [prcu.A2]: all our loads are done before the
	 * store sees the word at 0. */
	atomic_store_explicit(&r->word, 0, memory_order_release);
}

/* --- The store's side ---------------------------------------------------- */

/* Start a grace period: everything unlinked before this call may be freed once
 * prcu_poll() returns true for the target it returns. */
uint64_t prcu_start(struct prcu_gp *gp);

/* True if none of the `n` readers can hold what was unlinked before `target`
 * was started.  If not, and `blocker` is not NULL, *blocker is the index of
 * one reader that is in the way. */
bool prcu_poll(struct prcu_gp *gp, struct prcu_reader *const *readers, size_t n, uint64_t target,
	       size_t *blocker);

/* --- Wrappers: how shared references are read and written ----------------- */

/* Load a published reference.  Consume is what is meant; compilers give
 * acquire, which is free on x86 and cheap elsewhere. */
#define prcu_dereference(ptr) atomic_load_explicit((ptr), memory_order_acquire)
/* Publish: all earlier writes are visible to whoever dereferences it. */
#define prcu_assign(ptr, val) atomic_store_explicit((ptr), (val), memory_order_release)
/* The writer reading its own word. */
#define prcu_own(ptr) atomic_load_explicit((ptr), memory_order_relaxed)
/* A store whose order does not matter (say why at the call). */
#define prcu_set_relaxed(ptr, val) atomic_store_explicit((ptr), (val), memory_order_relaxed)

#endif

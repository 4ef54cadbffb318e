/* prcu.c - RCU across processes: what prcu.h promises. */
#include "weft/prcu.h"

#include <linux/membarrier.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int membarrier(int cmd)
{
	return (int)syscall(__NR_membarrier, cmd, 0, 0);
}

bool prcu_membarrier_available(void)
{
	const int need = MEMBARRIER_CMD_GLOBAL_EXPEDITED | MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED;
	const char *off = getenv("WEFT_NO_MEMBARRIER");
	int have;

	if (off && strcmp(off, "1") == 0)
		return false;
	have = membarrier(MEMBARRIER_CMD_QUERY);
	return have >= 0 && (have & need) == need;
}

void prcu_init(struct prcu_gp *gp)
{
	atomic_store_explicit(&gp->membarrier, prcu_membarrier_available(), memory_order_relaxed);
	atomic_store_explicit(&gp->counter, 1, memory_order_release);
}

int prcu_register_process(const struct prcu_gp *gp, struct err *e)
{
	if (!atomic_load_explicit(&gp->membarrier, memory_order_relaxed))
		return 0;
	if (membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) < 0) {
		err_errno(e, errno, "register for membarrier");
		if (e)
			e->code = WEFT_ESYS;
		return WEFT_ESYS;
	}
	return 0;
}

/* A full barrier here, and in every registered process unless readers fence
 * for themselves. */
static void barrier_everywhere(const struct prcu_gp *gp)
{
	cmm_smp_mb();
	if (!atomic_load_explicit(&gp->membarrier, memory_order_relaxed))
		return;
	if (membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED) < 0)
		weft_fatal("membarrier: %s", strerror(errno));
	cmm_smp_mb();
}

/*
 * One barrier between the unlinking and the looking is what it takes: a reader
 * whose word shows 0 (or a newer counter) to prcu_poll() either had left its
 * section, or stores its word after the point where the barrier hit it, and so
 * loads references only after that: it sees them unlinked.  A reader that
 * loaded the counter long before it stores it shows an older one and is waited
 * for without need.  The barrier before the counter's store keeps a reader from
 * entering under the new counter and still seeing the old references.
 */
uint64_t prcu_start(struct prcu_gp *gp)
{
	uint64_t target = atomic_load_explicit(&gp->counter, memory_order_relaxed) + 1;

	barrier_everywhere(gp);
	atomic_store_explicit(&gp->counter, target, memory_order_release);
	barrier_everywhere(gp);
	return target;
}

bool prcu_poll(struct prcu_gp *gp, struct prcu_reader *const *readers, size_t n, uint64_t target,
	       size_t *blocker)
{
	for (size_t i = 0; i < n; i++) {
		/* [prcu.A1] pairs with [prcu.R1]: entered before the target or not.
		 * [prcu.A2] pairs with [prcu.R2]: its loads are done. */
		uint64_t word = atomic_load_explicit(&readers[i]->word, memory_order_acquire);

		if (word && word < target) {
			if (blocker)
				*blocker = i;
			return false;
		}
	}
	cmm_smp_mb(); /* no store to what is freed now may move up */
	return true;
}

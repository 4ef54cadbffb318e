/*
 * fault.h - named points (faults.def) at which a test can end, stop, delay or
 * refuse what goes on.  Only in builds with -DWEFT_FAULTS
 * (make B=build-faults DEFS=-DWEFT_FAULTS); in others a point is no code at all.
 *
 * The file that WEFT_FAULT_FILE names is mapped by the whole cluster, which
 * inherits the variable, and by the test, which sets the points while the
 * cluster runs.  The test makes it (FAULT_FILE_BYTES of zeros, and the seed);
 * whoever maps it first puts the points' names in.
 *
 * What a point does.  Each pass of it by a process of one of `kinds` counts as
 * a hit; of those the first `skip` do nothing more, the others fire with the
 * probability chance / 2^32, at most `times` times.  Whether a pass fires, and
 * for how long it then waits, follows from the file's seed, the point, the
 * process (slot and incarnation) and how often that process has passed here:
 * nothing else is random.
 */
#ifndef WEFT_FAULT_H
#define WEFT_FAULT_H

#include <stdatomic.h>

#include "weft/base.h"

enum fault {
#define FAULT(name, where) FAULT_##name,
#include "weft/faults.def"
#undef FAULT
	FAULT_COUNT
};

enum fault_action {
	FAULT_NONE,
	FAULT_KILL,  /* the process ends as by kill -9 */
	FAULT_STOP,  /* the process stops as by kill -STOP */
	FAULT_WAIT,  /* the thread sleeps for `arg` us */
	FAULT_YIELD, /* the thread sleeps for up to `arg` us, or gives way */
	FAULT_FAIL,  /* fault_fails() is true, with errno `arg` */
	FAULT_HOLD,  /* the thread waits until the action is another one */
};

#define FAULT_MAGIC	 UINT64_C(0x746c756166746677) /* "wftfault" */
#define FAULT_FILE_BYTES 65536
#define FAULT_SLOTS_MAX	 256
#define FAULT_FOR_EVER	 UINT32_MAX
/* Bits of `kinds` beside 1 << enum proc_kind. */
#define FAULT_SUPERVISOR (1u << 31)

/* One point.  The test writes the fields up to `times`, `action` last, and takes
 * it back first; processes count `skip` and `times` down. */
struct fault_slot {
	char name[40]; /* constant */
	uint32_t chance;
	uint32_t kinds;
	uint32_t arg;
	_Atomic uint32_t action; /* enum fault_action */
	_Atomic uint32_t skip;
	_Atomic uint32_t times; /* FAULT_FOR_EVER: no limit */
	_Atomic uint64_t hits, fired;
	char pad[48];
};
_Static_assert(sizeof(struct fault_slot) == 128, "tests read it by its offsets");

struct fault_head {
	_Atomic uint64_t magic; /* FAULT_MAGIC once the names are there */
	uint64_t seed;		/* the test's */
	uint32_t count, slot_bytes;
	/* The clock page's offsets; the supervisor takes them over. */
	_Atomic int64_t wall_offset_ns, mono_offset_ns;
	/* Of the disk's trace (fault_disk.c): the number of the last record. */
	_Atomic uint64_t disk_seq;
	char disk[512];	 /* directory whose files count as the disk's; empty: none */
	char trace[512]; /* directory of the trace; empty: none */
};
#define FAULT_SLOTS_AT 4096 /* offset of the first slot */

#ifdef WEFT_FAULTS

struct clock_page;

/* Before an end: no operation on the disk is without its record (fault_disk.c). */
void fault_disk_lock(void);

bool fault_pass(enum fault f);
/* Tell apart what one and another process does. */
void fault_process(uint32_t kind_bit, uint32_t slot, uint32_t incarnation);
/* The supervisor's turn: the clock page becomes what the test wants. */
void fault_clock(struct clock_page *page);
/* The mapped file, NULL without one. */
struct fault_head *fault_file(void);

#define fault_at(name)	  ((void)fault_pass(FAULT_##name))
#define fault_fails(name) fault_pass(FAULT_##name)

#else

#define fault_process(kind_bit, slot, incarnation) ((void)0)
#define fault_clock(page)			   ((void)0)
/* Here the point `name` is passed. */
#define fault_at(name)				   ((void)FAULT_##name)
/* True if what is about to be done has to fail, with errno. */
#define fault_fails(name)			   ((void)FAULT_##name, false)

#endif
#endif

/*
 * segment.h - POSIX shared memory segments.
 *
 * Every process owns exactly one writable segment (the store also the inboxes
 * it fills); everybody else maps it read-only.  A segment starts with a header
 * that says what it is; attaching to anything whose header does not match
 * exactly is refused.
 *
 * A mapping covers `size_max` bytes of address space from the start, so it
 * never moves.  The file behind it grows in steps: seg_grow() reserves memory
 * (posix_fallocate) before anyone touches it, so that running out of memory is
 * an error code there and never a SIGBUS later.  Readers may only follow
 * references that were published after the memory behind them was reserved.
 *
 * Names are "/weft.<cluster>.<what>"; <cluster> is a hash of the data
 * directory, so that a supervisor can find and remove what a dead predecessor
 * on the same directory left.
 */
#ifndef WEFT_SEGMENT_H
#define WEFT_SEGMENT_H

#include "weft/base.h"

enum seg_kind { SEG_CONTROL = 1, SEG_CACHE, SEG_PROC, SEG_INBOX };

#define SEG_MAGIC    UINT64_C(0x77656674736567a1)
#define SEG_NAME_MAX 64

/* At offset 0 of every segment.  All fields but `size` are constant once the
 * creator has stored `magic` (release [seg.R1]); `size` only grows, stored by
 * the owner (release [seg.R2]) after the memory was reserved. */
struct seg_header {
	_Atomic uint64_t magic;
	uint32_t kind;	       /* enum seg_kind */
	uint32_t layout;       /* layout signature of this kind, see seg_open */
	uint64_t build;	       /* build id of the creator, weft_build_id() */
	_Atomic uint64_t size; /* bytes reserved */
	uint64_t size_max;     /* bytes of address space to map */
	int32_t creator_pid;
	uint32_t pad;
	char name[SEG_NAME_MAX];
};

struct seg_ahead;

/* Whether to take huge pages, see shm/pages.h, in steps: of SEG_HUGE bytes where a thread
 * grows ahead, else whatever is asked for. */
struct seg_pages {
	uint32_t small; /* are taken as small pages before the next huge one */
	uint32_t last;	/* were so after the last huge page; 0: that was quick */
};

/* A private handle on a mapped segment. */
struct seg {
	char *base;
	uint64_t size_max;
	struct seg_ahead *ahead; /* see seg_grow_ahead(); NULL: nobody */
	struct seg_pages pages;	 /* of who grows it: the thread ahead, if there is one */
	int fd;
	bool writable;
	char name[SEG_NAME_MAX];
};

#define seg_header(s) ((struct seg_header *)(s)->base)

/* An id of this very executable, computed once from its build-id note (or,
 * without one, from the layout of every shared structure). */
uint64_t weft_build_id(void);

/* Create `name` (mode 0600), reserve `size` bytes, map `size_max` bytes
 * read-write and write the header.  WEFT_EEXIST if the name is taken,
 * WEFT_ENOMEM/WEFT_ENOSPC when memory cannot be reserved; nothing is left
 * behind on error. */
int seg_create(struct seg *s, const char *name, enum seg_kind kind, uint32_t layout, uint64_t size,
	       uint64_t size_max, struct err *e);

/* Map an existing segment, read-only unless `writable`.  WEFT_ENOENT if there
 * is none; WEFT_EAGAIN if its creator has not finished; WEFT_ELAYOUT if magic,
 * kind, layout or build differ (the message names both values); WEFT_EFORBIDDEN
 * if its mode or owner is not ours alone; WEFT_ECORRUPT if it is shorter than
 * its header says. */
int seg_open(struct seg *s, const char *name, enum seg_kind kind, uint32_t layout, bool writable,
	     struct err *e);

/* Reserve memory up to `size` bytes in all (rounded up to a page by the
 * caller).  Owner only.  WEFT_ENOMEM when the machine or size_max has no
 * more; the segment is then unchanged and usable. */
int seg_grow(struct seg *s, uint64_t size, struct err *e);

/* From now on have a thread reserve the next part (an eighth of the size, at
 * most SEG_STEP_MAX, in whole huge pages) before seg_grow() asks for it: the kernel's work, which
 * is most of what growing costs, is then not the caller's.  seg_grow() waits for
 * it where it is not done yet.  Owner only, not across fork(); ends with
 * seg_close().  WEFT_ESYS without a thread: all works as before. */
#define SEG_PAGE     UINT64_C(4096)
#define SEG_HUGE     (UINT64_C(2) << 20) /* a huge page */
#define SEG_STEP_MAX (8 * SEG_HUGE)
int seg_grow_ahead(struct seg *s, struct err *e);

/* The size to grow to from `size`: whole huge pages. */
static inline uint64_t seg_next(uint64_t size)
{
	uint64_t step = size / 8 < SEG_STEP_MAX ? size / 8 : SEG_STEP_MAX;

	return align_up(size + step, SEG_HUGE);
}

/* Unmap and close; the name stays. */
void seg_close(struct seg *s);

/* Remove a name; missing is success. */
int seg_unlink(const char *name, struct err *e);

/* Remove every segment whose name starts with `prefix` ("/weft.<cluster>.");
 * returns how many.  For a supervisor that holds the data directory's lock. */
int seg_unlink_all(const char *prefix, struct err *e);

/* Mark the segment as that of a living process: until it ends or closes it,
 * seg_sweep() leaves it alone.  By a lock on the file, which ends with its holder
 * however that ends, and holds across pid namespaces. */
void seg_hold(struct seg *s);

/* Remove what was left by others who are gone: for each segment "PREFIX...SUFFIX"
 * that nobody holds, was made by this very executable (others may not hold theirs)
 * more than SEG_SWEEP_S ago and is this user's, every
 * segment whose name begins like it up to SUFFIX.  Returns for how many. */
#define SEG_SWEEP_S 10
int seg_sweep(const char *prefix, const char *suffix);

/* Fold (name, sizeof, offset, option) words into a layout signature. */
uint32_t seg_signature(const uint64_t *words, size_t n);

#endif

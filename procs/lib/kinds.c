/* kinds.c - the table of process kinds, the segments' names, layouts and
 * sizes, and which shard something belongs to. */
#include "procs/lib/mains.h"

#include <assert.h>
#include <stdio.h>
#include <time.h>
#include <xxhash.h>

/* --- Kinds ---------------------------------------------------------------- */

static const struct proc_kind_info kinds[] = {
#define X(N, nm, c, o, i, s, p)             \
	[PROC_##N] = {.name = #nm,          \
		      .default_count = (c), \
		      .ring_out = (o),      \
		      .ring_in = (i),       \
		      .sharded = (s),       \
		      .nice = (p),          \
		      .main = nm##_main},
	PROC_KINDS(X)
#undef X
};

static_assert(countof(kinds) == PROC_KIND_COUNT, "every kind has its row");
#define X(N, nm, c, o, i, s, p)                                                \
	static_assert((o) > 0 && ((o) & ((o)-1)) == 0 && ((i) & ((i)-1)) == 0, \
		      "ring sizes of " #nm " are powers of two");
PROC_KINDS(X)
#undef X

const struct proc_kind_info *proc_kind_info(enum proc_kind k)
{
	weft_assert((unsigned)k < PROC_KIND_COUNT);
	return &kinds[k];
}

int proc_kind_by_name(struct str name)
{
	for (int k = 0; k < PROC_KIND_COUNT; k++)
		if (str_is(name, kinds[k].name))
			return k;
	return -1;
}

/* --- Segments ------------------------------------------------------------------ */

void proc_name_prefix(char *out, uint64_t cluster)
{
	snprintf(out, SEG_NAME_MAX, "/weft.%016llx.", (unsigned long long)cluster);
}

void proc_name_control(char *out, uint64_t cluster)
{
	snprintf(out, SEG_NAME_MAX, "/weft.%016llx.control", (unsigned long long)cluster);
}

void proc_name_cache(char *out, uint64_t cluster, uint32_t generation)
{
	snprintf(out, SEG_NAME_MAX, "/weft.%016llx.cache.%u", (unsigned long long)cluster,
		 generation);
}

void proc_name_proc(char *out, uint64_t cluster, uint32_t slot, uint32_t incarnation)
{
	snprintf(out, SEG_NAME_MAX, "/weft.%016llx.proc.%u.%u", (unsigned long long)cluster, slot,
		 incarnation);
}

void proc_name_inbox(char *out, uint64_t cluster, uint32_t slot, uint32_t incarnation)
{
	snprintf(out, SEG_NAME_MAX, "/weft.%016llx.inbox.%u.%u", (unsigned long long)cluster, slot,
		 incarnation);
}

uint32_t proc_layout_control(void)
{
	static const uint64_t words[] = {
		sizeof(struct control),
		offsetof(struct control, clock),
		offsetof(struct control, maps),
		offsetof(struct control, slots),
		offsetof(struct control, config),
		sizeof(struct slot),
		PROC_KIND_COUNT,
		PROC_SLOTS,
	};

	return seg_signature(words, countof(words));
}

uint32_t proc_layout_proc(void)
{
	static const uint64_t words[] = {
		sizeof(struct proc_segment),
		offsetof(struct proc_segment, bequest),
		offsetof(struct proc_segment, counters),
		offsetof(struct proc_segment, inbox),
		offsetof(struct proc_segment, readers),
		offsetof(struct proc_segment, out),
		sizeof(struct proc_counters),
		PRCU_READERS_MAX,
	};

	return seg_signature(words, countof(words));
}

uint32_t proc_layout_inbox(void)
{
	static const uint64_t words[] = {
		sizeof(struct inbox_segment),
		offsetof(struct inbox_segment, requests),
		offsetof(struct inbox_segment, drained),
		offsetof(struct inbox_segment, out),
	};

	return seg_signature(words, countof(words));
}

/* The ring is the segment's last member, so its bytes follow it. */
size_t proc_segment_bytes(uint32_t ring)
{
	return align_up(offsetof(struct proc_segment, out) + ring_bytes(ring), (size_t)4096);
}

size_t inbox_segment_bytes(uint32_t ring)
{
	return align_up(offsetof(struct inbox_segment, out) + ring_bytes(ring), (size_t)4096);
}

/* --- Shards ------------------------------------------------------------------- */

/* The high half of a product spreads a hash over any count without a modulo. */
static uint32_t spread(uint64_t hash, uint32_t count)
{
	return (uint32_t)((hash >> 32) * count >> 32);
}

uint32_t shard_of_uid(const uint8_t uid[16], uint32_t count)
{
	return count <= 1 ? 0 : spread(XXH3_64bits(uid, 16), count);
}

uint32_t shard_of_name(struct str name, uint32_t count)
{
	return count <= 1 ? 0 : spread(XXH3_64bits(name.p, name.n), count);
}

/* --- Time ------------------------------------------------------------------------ */

int64_t proc_mono_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

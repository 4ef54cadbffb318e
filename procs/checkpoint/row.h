/*
 * row.h - an object as the checkpoint keeps it.
 *
 *   struct row, then for each part: u32 n and n bytes, or u32 ROW_SHARED and
 *   the 64-bit id of a blob; then the holes, the node's name, padding to 8, and
 *   the XXH3 of all that.
 */
#ifndef WEFT_CHECKPOINT_ROW_H
#define WEFT_CHECKPOINT_ROW_H

#include "weft/cache.h"

#define ROW_SHARED 0xffffffffu
#define ROW_INLINE_MAX \
	65536u /* larger parts that are interned are blobs even if nobody shares them */

/* All but the variable part; `hot.node` is 0, its name follows. */
struct row {
	uint8_t uid[16];
	uint64_t created_rv, rv, cause;
	uint32_t created_s, generation, deletion_s;
	int32_t grace_s;
	struct hot hot;
	uint16_t writer_kind;
	uint8_t flags, nholes;
	uint32_t node_n;
};

struct row_part {
	struct str bytes; /* if not shared */
	bool shared;
	uint64_t blob;
};

struct row_view {
	struct row row;
	struct row_part part[PART_COUNT];
	const char *holes; /* row.nholes numbers, not aligned */
	struct str node;
};

/* Append the row of `v`; `part` says how its parts are kept. */
void row_encode(struct buf *out, struct str key, const struct cache *c, const struct entry *o,
		const struct version *v, const struct row_part part[PART_COUNT]);
/* False if the bytes are no row of `key`. */
bool row_decode(struct str key, struct str bytes, struct row_view *out);

#endif

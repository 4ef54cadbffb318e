/*
 * builder.h - a tree from a stream of events (map, key, value, end), as the
 * JSON and YAML parsers give them.
 *
 * Finished values wait on one stack until their container ends, and then move
 * to the zone in one piece: nothing in the zone is ever moved or thrown away.
 */
#ifndef WEFT_IPC_BUILDER_H
#define WEFT_IPC_BUILDER_H

#include "weft/json.h"

struct builder_frame {
	uint32_t start; /* in the stack: of a map key, value, key, value, ... */
	bool map;
	bool quiet; /* its keys may stand twice: nothing is noted */
};

/* Zero-initialise, set zone and notes; builder_free() when done. */
struct builder {
	zone *z;
	struct json_notes *notes; /* or NULL */
	value *stack;
	uint32_t n, cap;
	unsigned depth; /* open containers */
	struct builder_frame frames[VALUE_DEPTH_MAX + 1];
};

/* builder_add, _open and _close return false when nested too deep. */
bool builder_add(struct builder *b, value v);
bool builder_open(struct builder *b, bool map);
/* Ends the innermost container, which becomes builder_top().  Of a key that
 * stands twice the last value stays, in the place of the first; it is noted. */
bool builder_close(struct builder *b);
/* The next value's key; borrowed, so in the zone. */
void builder_key(struct builder *b, struct str key);
/* The path of what comes next, or of the open container if `key` is empty:
 * "spec.containers[0].image". */
void builder_path(const struct builder *b, struct str key, struct buf *out);
/* The innermost open container, which must be there. */
struct builder_frame *builder_frame(struct builder *b);
/* Whether the next value has to be a key. */
bool builder_wants_key(const struct builder *b);
/* The value added last. */
value builder_top(const struct builder *b);
/* The one value, when all containers have ended. */
value builder_result(const struct builder *b);
void builder_free(struct builder *b);

#endif

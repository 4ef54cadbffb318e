/*
 * address.h - addresses for pods, from a range of the configuration, and for nodes; each
 * node process hands out those of its own share.
 */
#ifndef WEFT_ADDRESS_H
#define WEFT_ADDRESS_H

#include <stdatomic.h>

#include "weft/base.h"

#define NODES_CIDR "127.64.0.0/10"

/* An address has a holder: a number that only its pod or node has, never 0.  What is said of an
 * address that has another holder by now (a pod is seen to go twice, a request of long ago
 * is refused) is without effect. */
struct addresses {
	uint32_t first, count;	/* the range, host byte order */
	uint32_t share, shares; /* blocks of 256 go round among the shares */
	uint32_t next;		/* where to look first, modulo the round (address.c) */
	uint32_t held;		/* addresses that have a holder */
	uint32_t mark;		/* from here on none has had a holder */
	uint32_t floor;		/* none below is given, as it is not known who holds it; 0: it is */
	bool full;		/* all were taken, and none was given back since */
	uint32_t *holder;	/* of each, 0: free; pages that are never used cost nothing */
	_Atomic uint64_t *left; /* where the mark is left to a successor; NULL: nowhere */
	uint32_t epoch;		/* of the shard map, beside it */
};

/* "127.128.0.0/9"; WEFT_EINVAL for anything else, or a prefix over 30. */
int addresses_init(struct addresses *a, struct str cidr, uint32_t share, uint32_t shares);
void addresses_free(struct addresses *a);
/* What a predecessor left, which had this share under this epoch: until addresses_known() an
 * address is given only if it lies above its mark, where none has ever been held, and each
 * once.  False, and nothing has changed: it is of no use, or has little room above it. */
bool addresses_above(struct addresses *a, uint64_t left, uint32_t epoch);
/* All that are held are marked: of all addresses those are given that are free. */
void addresses_known(struct addresses *a);
/* From now on the mark is kept in *to, for a successor's addresses_above(): at each moment none
 * above it has had a holder since what *a is made of was looked at. */
void addresses_leave(struct addresses *a, _Atomic uint64_t *to, uint32_t epoch);
/* A free address that was not used for a while, 0 when all are taken (under a floor: all above
 * it).  Which ones are in use at all follows what is held, so that memory does. */
uint32_t address_take(struct addresses *a, uint32_t holder);
/* One that is in use already (found in a status). */
void address_mark(struct addresses *a, uint32_t ip, uint32_t holder);
/* The same, if nobody has it. */
void address_note(struct addresses *a, uint32_t ip, uint32_t holder);
void address_give(struct addresses *a, uint32_t ip, uint32_t holder);
/* "1.2.3.4", 0 if it is none. */
uint32_t address_parse(struct str text);
/* Of a Node's status, as it is stored: its first InternalIP that is one, 0 if there is none. */
uint32_t address_of_node(struct str status);
/* What a node that has `ip` (0: none yet) has from now on: `shown` by its status, as others may
 * write that, or else what it had, or else a free one; 0 when all are taken. */
uint32_t address_settle(struct addresses *a, uint32_t ip, uint32_t shown, uint32_t holder);

#endif

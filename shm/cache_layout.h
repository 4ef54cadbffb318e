/*
 * cache_layout.h - the cache segment as it lies in memory.
 *
 *   struct cache_header | arena: entries, versions, blobs, index nodes, journal
 *
 * Everything is written by the store alone.  Fields of the header that move
 * say so; the rest is constant once the segment's magic is visible [seg.R1].
 */
#ifndef WEFT_SHM_CACHE_LAYOUT_H
#define WEFT_SHM_CACHE_LAYOUT_H

#include "shm/hash.h"
#include "shm/ordered.h"
#include "shm/refset.h"
#include "weft/cache.h"

/* Types are small numbers; custom resources get the ones above the built-in. */
#define CACHE_TYPES_MAX 1024

/* The journal: record r lies in chunk[(r / JOURNAL_CHUNK) % JOURNAL_CHUNKS] at
 * r % JOURNAL_CHUNK.  Chunks exist from the oldest record that is not cut yet
 * to the newest prepared one. */
#define JOURNAL_CHUNK  4096u /* records, 16 KiB */
#define JOURNAL_CHUNKS 8192u /* 32 Mi records: far beyond any window */

/* All objects of one (type, namespace): where its label sets hang. */
struct space {
	string_ref ns; /* 0: cluster-scoped */
	uint16_t type;
	uint16_t pad;
	_Atomic uint32_t first; /* moving; labelset_ref */
	uint32_t refcount;	/* label sets; store's own */
};

struct type_head {
	struct ordered_root objects; /* by namespace/name, then created_rv */
	_Atomic uint64_t count;	     /* moving; live objects */
};

struct cache_header {
	struct seg_header seg;
	uint8_t cluster_id[16];
	uint32_t generation;
	uint16_t pod_type, node_type; /* which types have nodes and pod states */

	struct prcu_gp gp; /* moving, see prcu.h */

	/* Moving.  A record r can be read while oldest <= r <= rv. */
	_Atomic uint64_t rv cache_aligned; /* newest published [cache.R2] */
	_Atomic uint64_t oldest;	   /* [cache.R3] */

	struct arena_stats stats cache_aligned; /* moving */
	struct hash_table by_key;		/* moving; entries by (type, ns, name) */
	struct hash_table by_uid;		/* moving; entries by uid */
	struct hash_table by_node;		/* moving; node slots by name */
	struct hash_table by_space;		/* moving; spaces by (type, ns) */

	struct type_head types[CACHE_TYPES_MAX];
	_Atomic uint64_t unplain; /* moving; live pods that are not HOT_PLAIN [cache.R10] */
	_Atomic uint32_t chunk[JOURNAL_CHUNKS]; /* moving; uint32_t version_ref[] [cache.R4] */
	struct refset_table entries;		/* moving; all in the indexes by key and uid */
};

/* A process's handle. */
struct cache {
	char *base;
	struct cache_header *h;
	struct prcu_reader *reader; /* NULL: the store itself */
	struct seg seg;		    /* only in the handle that attached */
	bool attached;
};

uint32_t cache_layout_signature(void);

uint64_t cache_hash_bytes(struct str bytes); /* blobs */

/* --- Keys of the hash indexes ------------------------------------------------ */

uint32_t cache_hash_uid(const uint8_t uid[16]);
uint32_t cache_hash_name(struct str name); /* node slots */
uint32_t cache_hash_space(uint16_t type, struct str ns);
uint32_t cache_hash_key(uint16_t type, struct str ns, struct str name);

static inline const struct blob *blob_at(const char *base, uint32_t ref)
{
	return ref_ptr(base, ref);
}

static inline struct str blob_str(const char *base, uint32_t ref)
{
	const struct blob *b;

	if (!ref)
		return (struct str){"", 0};
	b = blob_at(base, ref);
	return (struct str){b->bytes, b->n};
}

struct space_key {
	uint16_t type;
	struct str ns;
};

static inline bool match_space(const char *base, uint32_t ref, const void *key)
{
	const struct space *s = ref_ptr(base, ref);
	const struct space_key *k = key;

	return s->type == k->type && str_eq(blob_str(base, s->ns.u), k->ns);
}

static inline bool match_node(const char *base, uint32_t ref, const void *key)
{
	const struct nodeslot *n = ref_ptr(base, ref);

	return str_eq(blob_str(base, n->name.u), *(const struct str *)key);
}

#endif

/*
 * store.h - the store without its processes: requests in, versions, log records
 * and replies out.  (commit.h: batches to the disk and to readers; ports.h:
 * rings; main.c: the process.)
 *
 * A request goes through three steps, all in one call of store_apply():
 *   check    against the newest state, pending writes included
 *   make     the versions, by a record (make.c): prepared, not published
 *   note     the record in the batch's log, the versions and the reply in the
 *            batch
 * A record is made the same way from a request as from the log (replay), so
 * that recovery arrives at the same state.
 *
 * A request that fails has changed nothing; a bulk request that runs out of
 * memory in its middle is done up to there and says so.
 */
#ifndef WEFT_STORE_H
#define WEFT_STORE_H

#include "procs/store/record.h"
#include "weft/cache_write.h"
#include "weft/kube.h"

/* --- Batches --------------------------------------------------------------------- */

/* A reply that waits for its batch; strings and arrays lie in batch.text. */
struct waiting {
	uint32_t port, incarnation;
	uint64_t seq, rv;
	int32_t status;
	uint32_t entry, done;
	bool gone;
	uint32_t name_at, name_n, message_at, message_n, skipped_at, skipped_n;
};

/* What is prepared, made durable and published as one. */
struct batch {
	struct buf log; /* LOG_HEAD bytes free, then records */
	bool durable;	/* the log has to have it */
	uint64_t first_rv, last_rv;
	struct version **versions; /* in order of rv */
	uint32_t nversions, versions_cap;
	struct waiting *replies;
	uint32_t nreplies, replies_cap;
	struct buf text;
};

/* --- The store --------------------------------------------------------------------- */

#define STATUS_PLANS 16

/* What a status with holes means for `hot`, worked out once (make.c). */
struct status_plan {
	uint64_t hash; /* of the status part; 0: unused */
	uint32_t n;
	uint16_t type;
	uint8_t nholes;
	struct hot hot;	       /* with all holes 0 */
	int16_t ready_hole;    /* which hole is ready_since_s, -1: none */
	uint8_t restarts[256]; /* 1: hole i adds to the restarts */
};

/* The last bind at a place (of those that share this memory), and the last by anybody
 * but who that was. */
struct binder {
	uint64_t rv, others_rv;
	uint16_t slot; /* of the process that sent it */
};

/* Who bound pods where, and when last (bind.c).  Nodes have their own, so that busy
 * namespaces do not keep off nodes. */
struct binders {
	struct binder node[4096], space[1024];
};

struct store {
	struct cache_writer *w;
	const struct cache *c;
	zone *z;		   /* emptied with each request */
	uint64_t rv;		   /* last one given */
	struct batch *batch;	   /* being filled; NULL during recovery */
	uint32_t near;		   /* a guess for cw_find_near() while a request is applied */
	uint64_t replay_after;	   /* recovery: versions up to here are there already */
	uint8_t seed[16];	   /* of uids */
	uint64_t uids;		   /* made so far */
	uint32_t stretch;	   /* of names, the next one: see bulk.c */
	uint64_t memory_types[16]; /* bit set: writes of this type are not logged */
	struct status_plan plans[STATUS_PLANS];
	struct buf uid_list, number_list[2], skip_list; /* scratch of bulk requests */
	struct binders binders;
	struct quotas *quotas; /* NULL: no namespace has one; see quota.h */
	uint32_t grace_spec;   /* blob_ref whose grace period is known */
	int32_t grace_of_spec;
};

/* Who asks. */
struct caller {
	uint32_t port, incarnation;
	uint16_t slot;
	uint16_t kind; /* enum proc_kind */
};

void store_init(struct store *s, struct cache_writer *w);
void store_free(struct store *s);
/* Writes of `type` are not logged (kube_type_in_memory() is the default). */
void store_set_memory(struct store *s, uint16_t type, bool memory);
bool store_in_memory(const struct store *s, uint16_t type);

void batch_free(struct batch *b);
/* Empty it for the next use. */
void batch_reset(struct batch *b);
/* Undo everything prepared in `b`, newest first; its replies become `status`
 * with `message`. */
void batch_abort(struct store *s, struct batch *b, int status, struct str message);

/* Do one request (any of messages.def's; m was decoded and may be changed) and
 * put its one reply into the batch. */
void store_apply(struct store *s, const struct caller *who, struct msg *m);
/* A reply without doing anything. */
void store_refuse(struct store *s, const struct caller *who, uint64_t seq, int status,
		  const char *message);

/* --- Making versions from records (make.c) ----------------------------------------- */

/* Each makes what the record says, logs it, and takes the resourceVersions it
 * names.  WEFT_ENOMEM, WEFT_EEXIST, WEFT_EINVAL (parts that are not msgpack) as
 * cw_prepare_*(), with nothing changed; `e` is the live object. */
int make_create(struct store *s, const struct rec_create *r, struct entry **out);
/* `in` as update_in() gave it. */
int make_update(struct store *s, struct entry *e, const struct rec_update *r,
		const struct version_in *in);
int make_gone(struct store *s, struct entry *e, const struct rec_gone *r);

/* One item of a bulk record; the caller logs the record when all are made. */
int make_one_gone(struct store *s, struct entry *e, uint64_t rv, const struct rec_gone *r);
int make_one_mark(struct store *s, struct entry *e, uint64_t rv, const struct rec_mark_many *r,
		  uint32_t deletion_s, int32_t grace_s);

/* Bulk (bulk.c): what all have in common is worked out once in *in. */
#define BULK_AHEAD	8 /* about as many as memory answers at a time */
#define CREATE_MANY_MAX 1000000u
/* rec_create_many.sorted; above BULK_STRETCH the stretch's number is added. */
#define BULK_BY_NAME	 1
#define BULK_STRETCH	 2
#define BULK_STRETCHES	 27u   /* part of the log's format */
#define BULK_STRETCH_MIN 8192u /* objects that get one */
struct bulk_name {
	uint8_t uid[16];
	char name[64];
	uint32_t n;
};
struct bulk {
	struct version_in in;
	const struct status_plan *plan; /* statuses */
	const uint64_t *order;		/* create: which uid comes next, see bulk.c, ... */
	uint32_t place, part;		/* ... or where the stretch begins, names for each */
	entry_ref *entry;		/* create: what was made so far */
	uint32_t made;
	uint32_t named; /* create: names made so far, the last ones in name[] */
	struct bulk_name name[BULK_AHEAD];
};
/* Create: how names are given to `count` objects that are to be made now. */
uint8_t bulk_sorted(struct store *s, uint32_t count);
/* All parts interned, projected once.  Needs the zone until its end.  WEFT_ECORRUPT:
 * no record of ours. */
int bulk_create_begin(struct store *s, const struct rec_create_many *r, struct bulk *b);
/* Object i (rising from call to call, or the same with another attempt) under
 * resourceVersion r->rv + i; WEFT_EEXIST if its name is taken. */
int bulk_create_one(struct store *s, const struct rec_create_many *r, struct bulk *b, uint32_t i,
		    uint32_t attempt);
/* Afterwards: all that was made gets its place in the order of keys.  Returns
 * how many have one; what has none for want of memory is unmade. */
uint32_t bulk_create_list(struct store *s, const struct rec_create_many *r, struct bulk *b);
/* Status, and the status that comes with a node (`status` may be empty then). */
int bulk_status_begin(struct store *s, uint16_t type, struct str status, uint8_t nholes,
		      uint64_t cause, uint16_t writer, struct bulk *b);
/* `holes` has the plan's number of values; node.n == 0: the node stays. */
int bulk_status_one(struct store *s, struct bulk *b, struct entry *e, const uint32_t *holes,
		    struct str node, uint64_t rv);
void bulk_end(struct store *s, struct bulk *b);

/* A prepared version joins the batch; in recovery it is shown at once. */
void note_version(struct store *s, struct version *v);
/* Take the last n out of the batch and abort them. */
void unnote_versions(struct store *s, uint32_t n);
/* Note a finished record: in the batch's log, unless `memory` or in recovery. */
void note_record(struct store *s, const struct rec *r, bool memory);

/* Do what a record from the log says.  WEFT_ECORRUPT if it does not fit what is
 * there, WEFT_ENOMEM. */
int replay_record(struct store *s, const struct rec *r, struct err *e);

/* uid number (i, k) of a seed. */
void store_uid(const uint8_t seed[16], uint64_t i, uint32_t k, uint8_t out[16]);
/* prefix + 5 characters of the uid, at most 63 long (the prefix is cut). */
uint32_t store_name(struct str prefix, const uint8_t uid[16], char out[64]);

/* What update and make need to know before a version exists. */
int update_in(struct store *s, const struct entry *e, const struct version *old,
	      const struct rec_update *r, struct version_in *in);

/* --- Requests (apply*.c) ------------------------------------------------------------ */

/* Scratch lists as requests and records have them. */
static inline struct u32s list_numbers(const struct buf *b)
{
	return (struct u32s){(const uint32_t *)b->p, (uint32_t)(b->n / 4)};
}

static inline struct uids list_uids(const struct store *s)
{
	return (struct uids){(const uint8_t(*)[16])s->uid_list.p, (uint32_t)(s->uid_list.n / 16)};
}

/* The node that a pod's spec names, or empty. */
struct str pod_node(struct str spec);

/* Put an error into the reply; its text lives in the zone.  Returns `status`. */
int answer_error(struct store *s, struct msg_reply *r, int status, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

void apply_create(struct store *s, const struct caller *who, const struct msg_create *m,
		  struct msg_reply *r);
void apply_update(struct store *s, const struct caller *who, const struct msg_update *m,
		  struct msg_reply *r);
void apply_remove(struct store *s, const struct caller *who, const struct msg_remove *m,
		  struct msg_reply *r);
void apply_create_many(struct store *s, const struct caller *who, const struct msg_create_many *m,
		       struct msg_reply *r);
/* bind.c */
void apply_bind_many(struct store *s, const struct caller *who, const struct msg_bind_many *m,
		     struct msg_reply *r);
/* Pods of `ns` with `spec` were given a node with version `rv`, not by apply_bind_many(). */
void bind_note(struct store *s, uint16_t slot, uint64_t rv, struct str ns, struct str node,
	       struct str spec);
void apply_status_many(struct store *s, const struct caller *who, const struct msg_status_many *m,
		       struct msg_reply *r);
void apply_delete_many(struct store *s, const struct caller *who, const struct msg_delete_many *m,
		       struct msg_reply *r);

/* May an object be created in this namespace?  Answers if not. */
int check_namespace(struct store *s, uint16_t type, struct str ns, struct msg_reply *r);
/* Does this state mean that the object goes (deletion time reached, nothing
 * holds it)?  `spec` is the new spec part. */
bool state_is_over(struct store *s, uint16_t type, const struct version_in *in, struct str spec);
/* The entry that `ref` named at `rv`, with its live state; NULL if it is another
 * or gone by now. */
struct entry *entry_at_rv(struct store *s, uint16_t type, uint32_t ref, uint64_t rv,
			  const struct version **live);

#endif

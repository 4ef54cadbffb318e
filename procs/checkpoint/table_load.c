/* table_load.c - a checkpoint into a new cache. */
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "procs/checkpoint/table_rows.h"
#include "weft/kube.h"

/* Owners of the metadata looked at last: objects of one owner come together. */
struct owners {
	uint64_t blob; /* 0: none */
	zone *z;
	struct version_in in;
};

struct held {
	uint64_t id;
	blob_ref ref;
};

struct load {
	const char *dir;
	const uint8_t *cluster_id;
	bool none;
	struct table t;
	MDB_txn *txn;
	struct cache_writer *w;
	const uint64_t *memory_types;
	struct owners owners;
	struct held *held; /* open addressing, all shared blobs */
	uint32_t nheld, held_cap;
	struct rows *rows;
	uint64_t objects;
	struct err *e;
};

/* An empty file is one whose making was cut short: no checkpoint. */
static bool there(const char *dir)
{
	char path[600];
	struct stat st;

	snprintf(path, sizeof(path), "%s/data.mdb", dir);
	return stat(path, &st) ? errno != ENOENT : st.st_size > 0;
}

/* --- Opening ------------------------------------------------------------------------ */

static int open_db(struct table *t, MDB_txn *txn, const char *name, MDB_dbi *out, struct err *e)
{
	return table_err(t, mdb_dbi_open(txn, name, 0, out), name, e);
}

/* l->none: the tables were never committed, there is nothing to load. */
static int load_open(struct load *l)
{
	struct table *t = &l->t;
	int rc = table_env(t, l->dir, MDB_RDONLY | MDB_NOTLS, l->e);

	if (!rc)
		rc = table_err(t, mdb_txn_begin(t->env, NULL, MDB_RDONLY, &l->txn), "begin", l->e);
	if (!rc)
		rc = open_db(t, l->txn, "objects", &t->objects, l->e);
	if (!rc)
		rc = open_db(t, l->txn, "blobs", &t->blobs, l->e);
	if (!rc)
		rc = open_db(t, l->txn, "meta", &t->meta, l->e);
	l->none = rc == WEFT_ENOENT;
	return l->none ? WEFT_OK : rc;
}

static void load_close(struct load *l)
{
	if (l->txn)
		mdb_txn_abort(l->txn);
	if (l->t.env)
		mdb_env_close(l->t.env);
}

/* --- Pages that are not there ------------------------------------------------------- */

static _Thread_local sigjmp_buf *no_page; /* where this thread goes on */

static void on_no_page(int sig)
{
	if (no_page)
		siglongjmp(*no_page, 1);
	signal(sig, SIG_DFL); /* it is none of ours, and comes again */
}

int table_guarded(const char *dir, int (*fn)(void *arg), void *arg, struct err *e)
{
	sigjmp_buf here;
	int rc;

	no_page = &here;
	if (sigsetjmp(here, 1))
		rc = err_set(e, WEFT_ECORRUPT,
			     "checkpoint '%s/data.mdb': it is cut short, or cannot be read", dir);
	else
		rc = fn(arg);
	no_page = NULL;
	return rc;
}

static struct sigaction watch_pages(void)
{
	const struct sigaction act = {.sa_handler = on_no_page};
	struct sigaction before;

	sigaction(SIGBUS, &act, &before);
	return before;
}

static void unwatch_pages(const struct sigaction *before)
{
	sigaction(SIGBUS, before, NULL);
}

static int peek(void *arg)
{
	struct load *l = arg;
	int rc = load_open(l);

	return rc || l->none ? rc : table_get_state(&l->t, l->txn, l->e);
}

int table_peek_rv(const char *dir, uint64_t *rv, struct err *e)
{
	struct load l = {.dir = dir, .e = e};
	struct sigaction before;
	int rc;

	*rv = 0;
	if (!there(dir))
		return WEFT_OK;
	before = watch_pages();
	rc = table_guarded(dir, peek, &l, e);
	unwatch_pages(&before);
	if (!rc)
		*rv = l.t.rv;
	load_close(&l);
	return rc;
}

int table_each(const struct table *t, MDB_txn *txn, MDB_dbi dbi,
	       int (*fn)(void *arg, const MDB_val *key, const MDB_val *v), void *arg, struct err *e)
{
	MDB_cursor *cur;
	MDB_val key, v;
	int rc = mdb_cursor_open(txn, dbi, &cur), out = WEFT_OK;

	if (rc)
		return table_err(t, rc, "read", e);
	while (!out && !(rc = mdb_cursor_get(cur, &key, &v, MDB_NEXT)))
		out = fn(arg, &key, &v);
	mdb_cursor_close(cur);
	if (!out && rc != MDB_NOTFOUND)
		out = table_err(t, rc, "read", e);
	return out;
}

/* --- Blobs -------------------------------------------------------------------------- */

static struct held *held_slot(struct load *l, uint64_t id)
{
	uint32_t i = home_of(id, l->held_cap);

	while (l->held[i].id && l->held[i].id != id)
		i = (i + 1) & (l->held_cap - 1);
	return &l->held[i];
}

static int load_blob(void *arg, const MDB_val *key, const MDB_val *v)
{
	struct load *l = arg;
	struct str bytes = {(char *)v->mv_data + sizeof(uint64_t),
			    (uint32_t)(v->mv_size - sizeof(uint64_t))};
	struct held *h;
	uint64_t id;

	if (key->mv_size != sizeof(id) || v->mv_size < sizeof(uint64_t))
		return err_set(l->e, WEFT_ECORRUPT, "checkpoint '%s/data.mdb': a blob is damaged",
			       l->t.dir);
	memcpy(&id, key->mv_data, sizeof(id));
	if (XXH3_64bits(bytes.p, bytes.n) != id)
		return err_set(l->e, WEFT_ECORRUPT,
			       "checkpoint '%s/data.mdb': blob %016llx does not check out",
			       l->t.dir, (unsigned long long)id);
	if (2 * ++l->nheld > l->held_cap)
		return err_set(l->e, WEFT_ECORRUPT,
			       "checkpoint '%s/data.mdb': more blobs are there than it says",
			       l->t.dir);
	h = held_slot(l, id);
	h->id = id;
	h->ref = cw_blob(l->w, bytes);
	return h->ref.u ? WEFT_OK : err_set(l->e, WEFT_ENOMEM, "the cache is too small");
}

/* --- Rows --------------------------------------------------------------------------- */

int table_bad_row(const struct table *t, struct str key, const char *why, struct err *e)
{
	return err_set(e, WEFT_ECORRUPT, "checkpoint '%s/data.mdb': object '%.*s': %s", t->dir,
		       key.n > 2 ? (int)key.n - 2 : 0, key.p + 2, why);
}

static int bad_row(struct load *l, struct str key, const char *why)
{
	return table_bad_row(&l->t, key, why, l->e);
}

static int too_small(struct load *l)
{
	return err_set(l->e, WEFT_ENOMEM, "the cache is too small for the checkpoint");
}

/* Who owns it stands in the metadata. */
static int find_owners(struct load *l, uint16_t type, const struct row_view *v,
		       struct version_in *in)
{
	struct str part[PART_COUNT] = {[PART_META] = in->part[PART_META]};
	const struct row_part *meta = &v->part[PART_META];
	struct owners *o = &l->owners;
	int rc;

	if (meta->shared)
		part[PART_META] = cache_blob(cw_cache(l->w), in->part_ref[PART_META]);
	if (!meta->shared || o->blob != meta->blob) {
		zone_reset(o->z);
		o->in = (struct version_in){0};
		o->blob = meta->shared ? meta->blob : 0;
		rc = kube_project(o->z, type, part, NULL, 0, &o->in);
		if (rc)
			return rc;
	}
	in->owner_uids = o->in.owner_uids;
	in->nowners = o->in.nowners;
	in->has_controller = o->in.has_controller;
	return WEFT_OK;
}

static int put(struct load *l, const struct object *o, entry_ref *out)
{
	const struct row_view *v = &o->row;
	uint32_t holes[UINT8_MAX];
	struct version_in in = {.unlisted = true};
	struct entry *made;
	int rc;

	for (int i = 0; i < PART_COUNT; i++) {
		in.part[i] = v->part[i].bytes;
		if (v->part[i].shared)
			in.part_ref[i] = held_slot(l, v->part[i].blob)->ref;
		if (v->part[i].shared && !in.part_ref[i].u)
			return bad_row(l, o->key, "a blob of it is missing");
	}
	memcpy(holes, v->holes, v->row.nholes * sizeof(*holes));
	in.holes = holes;
	in.nholes = v->row.nholes;
	in.cause = v->row.cause;
	in.writer_kind = v->row.writer_kind;
	in.generation = v->row.generation;
	in.deletion_s = v->row.deletion_s;
	in.grace_s = v->row.grace_s;
	in.flags = v->row.flags & (VERSION_FINALIZERS | VERSION_OWNED);
	if (o->type < TYPE_MAX && l->memory_types[o->type / 64] >> (o->type % 64) & 1)
		in.flags |= VERSION_MEMORY;
	in.hot = v->row.hot;
	in.node = v->node;
	if (in.flags & VERSION_OWNED && find_owners(l, o->type, v, &in))
		return bad_row(l, o->key, "its metadata cannot be read");
	rc = cw_restore(l->w, o->type, o->ns, o->name, v->row.uid, v->row.created_s,
			v->row.created_rv, v->row.rv, &in, &made);
	l->objects++;
	if (rc == WEFT_ENOMEM)
		return too_small(l);
	if (rc)
		return bad_row(l, o->key, weft_strerror(rc));
	*out = cache_entry_ref(cw_cache(l->w), made);
	return WEFT_OK;
}

/* What the next CACHE_TOGETHER from `i` on will touch. */
static void fetch_from(struct load *l, const struct row_block *b, uint32_t i)
{
	struct str node[CACHE_TOGETHER];
	uint32_t n = 0;

	for (uint32_t end = i + CACHE_TOGETHER; i < end && i < b->n; i++) {
		const struct object *o = &b->at[i];

		cw_ahead_new(l->w, o->type, o->ns, o->name, o->row.row.uid);
		if (o->row.node.n)
			node[n++] = o->row.node;
	}
	cw_prefetch_nodes(l->w, node, n);
}

/* Objects of one type follow each other. */
static int list_block(struct load *l, const struct row_block *b, const entry_ref *made)
{
	for (uint32_t i = 0, end; i < b->n; i = end) {
		uint16_t type = b->at[i].type;

		for (end = i + 1; end < b->n && b->at[end].type == type; end++)
			;
		if (cw_list(l->w, type, made + i, end - i) < end - i)
			return too_small(l);
	}
	return WEFT_OK;
}

static int load_block(struct load *l, const struct row_block *b)
{
	entry_ref made[BLOCK_ROWS];
	int rc = WEFT_OK;

	fetch_from(l, b, 0);
	for (uint32_t i = 0; !rc && i < b->n; i++) {
		if (i % CACHE_TOGETHER == 0)
			fetch_from(l, b, i + CACHE_TOGETHER);
		rc = put(l, &b->at[i], &made[i]);
	}
	return rc ? rc : list_block(l, b, made);
}

static int load_objects(void *arg)
{
	struct load *l = arg;
	const struct row_block *b;
	int rc;

	while (!(rc = rows_next(l->rows, &b, l->e)) && b)
		if ((rc = load_block(l, b)))
			return rc;
	if (!rc && l->objects != l->t.count)
		rc = err_set(l->e, WEFT_ECORRUPT,
			     "checkpoint '%s/data.mdb': %llu objects of %llu are there", l->t.dir,
			     (unsigned long long)l->objects, (unsigned long long)l->t.count);
	return rc;
}

#define BLOB_MIN 16u		     /* a blob's key and count, in bytes */
#define HELD_MAX (UINT64_C(1) << 31) /* held_cap is a power of 2 in 32 bits */

/* Room for `n` blobs, if the file can hold as many. */
static int held_init(struct load *l, uint64_t n)
{
	MDB_envinfo info;
	MDB_stat stat;

	mdb_env_info(l->t.env, &info);
	mdb_env_stat(l->t.env, &stat);
	if (n > (info.me_last_pgno + 1) * stat.ms_psize / BLOB_MIN || n > HELD_MAX / 2)
		return err_set(l->e, WEFT_ECORRUPT,
			       "checkpoint '%s/data.mdb': it cannot hold %llu blobs", l->t.dir,
			       (unsigned long long)n);
	for (l->held_cap = 64; l->held_cap < 2 * n; l->held_cap *= 2)
		;
	l->held = calloc(l->held_cap, sizeof(*l->held));
	weft_assert(l->held);
	return WEFT_OK;
}

/* All that objects hold. */
static int load_held(void *arg)
{
	struct load *l = arg;
	MDB_stat stat;
	int rc = load_open(l);

	if (rc || l->none)
		return rc;
	rc = table_check_meta(&l->t, l->txn, l->cluster_id, l->e);
	if (!rc)
		rc = table_err(&l->t, mdb_stat(l->txn, l->t.blobs, &stat), "stat", l->e);
	if (!rc)
		rc = held_init(l, stat.ms_entries);
	if (rc)
		return rc;
	cw_expect(l->w, TYPE_POD, l->t.count);
	return table_each(&l->t, l->txn, l->t.blobs, load_blob, l, l->e);
}

/* The objects hold them now. */
static void drop_held(struct load *l)
{
	for (uint32_t i = 0; i < l->held_cap; i++)
		if (l->held[i].ref.u)
			cw_blob_drop(l->w, l->held[i].ref);
}

int table_load(const char *dir, struct cache_writer *w, const uint8_t cluster_id[16],
	       const uint64_t *memory_types, uint64_t *rv, struct err *e)
{
	struct load l = {
		.dir = dir, .cluster_id = cluster_id, .w = w, .memory_types = memory_types, .e = e};
	struct sigaction before;
	int rc;

	*rv = 0;
	if (!there(dir))
		return WEFT_OK;
	l.owners.z = zone_new();
	before = watch_pages();
	rc = table_guarded(dir, load_held, &l, e);
	if (!rc && !l.none)
		rc = rows_open(&l.rows, &l.t, l.txn, e);
	if (!rc && !l.none)
		rc = table_guarded(dir, load_objects, &l, e);
	rows_close(l.rows);
	unwatch_pages(&before);
	if (!rc) {
		drop_held(&l);
		*rv = l.t.rv;
	}
	free(l.held);
	zone_free(l.owners.z);
	load_close(&l);
	return rc;
}

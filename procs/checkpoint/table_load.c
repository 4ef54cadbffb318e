/* table_load.c - a checkpoint into a new cache. */
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "procs/checkpoint/table_priv.h"
#include "weft/kube.h"

/* Owners of the metadata looked at last: objects of one owner come together. */
struct owners {
	uint64_t blob; /* 0: none */
	zone *z;
	struct version_in in;
};

/* Rows are taken in blocks: what some will touch is fetched while those before them are
 * put in, and a whole block gets its place in key order, which is LMDB's, at once. */
#define BLOCK_ROWS 256u

/* A row that checks out, and its key taken apart; all text is LMDB's. */
struct object {
	uint16_t type;
	struct str key, ns, name;
	struct row_view row;
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
	uint64_t objects;
	struct object block[BLOCK_ROWS];
	entry_ref made[BLOCK_ROWS];
	uint32_t nblock;
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
	int rc = table_env(t, l->dir, MDB_RDONLY, l->e);

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

static sigjmp_buf no_page;

static void on_no_page(int sig)
{
	siglongjmp(no_page, 1);
}

/* fn(l), which reads the mapped file: a page that lies behind the end of a file
 * cut short, or that the disk does not give, is a SIGBUS, and here an error.
 * One thread only. */
static int guarded(struct load *l, int (*fn)(struct load *l))
{
	const struct sigaction act = {.sa_handler = on_no_page};
	struct sigaction before;
	int rc;

	sigaction(SIGBUS, &act, &before);
	if (sigsetjmp(no_page, 1))
		rc = err_set(l->e, WEFT_ECORRUPT,
			     "checkpoint '%s/data.mdb': it is cut short, or cannot be read",
			     l->t.dir);
	else
		rc = fn(l);
	sigaction(SIGBUS, &before, NULL);
	return rc;
}

static int peek(struct load *l)
{
	int rc = load_open(l);

	return rc || l->none ? rc : table_get_state(&l->t, l->txn, l->e);
}

int table_peek_rv(const char *dir, uint64_t *rv, struct err *e)
{
	struct load l = {.dir = dir, .e = e};
	int rc;

	*rv = 0;
	if (!there(dir))
		return WEFT_OK;
	rc = guarded(&l, peek);
	if (!rc)
		*rv = l.t.rv;
	load_close(&l);
	return rc;
}

/* --- Blobs -------------------------------------------------------------------------- */

static struct held *held_slot(struct load *l, uint64_t id)
{
	uint32_t i = home_of(id, l->held_cap);

	while (l->held[i].id && l->held[i].id != id)
		i = (i + 1) & (l->held_cap - 1);
	return &l->held[i];
}

static int load_blob(struct load *l, const MDB_val *key, const MDB_val *v)
{
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

static int bad_row(struct load *l, struct str key, const char *why)
{
	return err_set(l->e, WEFT_ECORRUPT, "checkpoint '%s/data.mdb': object '%.*s': %s", l->t.dir,
		       key.n > 2 ? (int)key.n - 2 : 0, key.p + 2, why);
}

static int too_small(struct load *l)
{
	return err_set(l->e, WEFT_ENOMEM, "the cache is too small for the checkpoint");
}

/* "ns/name" or "name" behind the type. */
static bool split_key(struct object *o)
{
	const uint8_t *p = (const uint8_t *)o->key.p;
	const char *text = o->key.p + 2, *slash;
	uint32_t n = o->key.n - 2;

	if (o->key.n < 3)
		return false;
	o->type = (uint16_t)(p[0] << 8 | p[1]);
	slash = memchr(text, '/', n);
	o->ns = (struct str){text, slash ? (uint32_t)(slash - text) : 0};
	o->name = slash ? (struct str){slash + 1, n - o->ns.n - 1} : (struct str){text, n};
	return true;
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
static void fetch_from(struct load *l, uint32_t i)
{
	struct str node[CACHE_TOGETHER];
	uint32_t n = 0;

	for (uint32_t end = i + CACHE_TOGETHER; i < end && i < l->nblock; i++) {
		const struct object *o = &l->block[i];

		cw_ahead_new(l->w, o->type, o->ns, o->name, o->row.row.uid);
		if (o->row.node.n)
			node[n++] = o->row.node;
	}
	cw_prefetch_nodes(l->w, node, n);
}

/* Objects of one type follow each other. */
static int list_block(struct load *l)
{
	for (uint32_t i = 0, end; i < l->nblock; i = end) {
		uint16_t type = l->block[i].type;

		for (end = i + 1; end < l->nblock && l->block[end].type == type; end++)
			;
		if (cw_list(l->w, type, l->made + i, end - i) < end - i)
			return too_small(l);
	}
	return WEFT_OK;
}

static int load_block(struct load *l)
{
	int rc = WEFT_OK;

	fetch_from(l, 0);
	for (uint32_t i = 0; !rc && i < l->nblock; i++) {
		if (i % CACHE_TOGETHER == 0)
			fetch_from(l, i + CACHE_TOGETHER);
		rc = put(l, &l->block[i], &l->made[i]);
	}
	if (!rc)
		rc = list_block(l);
	l->nblock = 0;
	return rc;
}

static int load_row(struct load *l, const MDB_val *key, const MDB_val *val)
{
	struct object *o = &l->block[l->nblock];

	o->key = val_str(key);
	if (!split_key(o) || !row_decode(o->key, val_str(val), &o->row))
		return bad_row(l, o->key, "its row does not check out");
	return ++l->nblock < BLOCK_ROWS ? WEFT_OK : load_block(l);
}

static int load_each(struct load *l, MDB_dbi dbi,
		     int (*fn)(struct load *l, const MDB_val *key, const MDB_val *v))
{
	MDB_cursor *cur;
	MDB_val key, v;
	int rc = mdb_cursor_open(l->txn, dbi, &cur), out = WEFT_OK;

	if (rc)
		return table_err(&l->t, rc, "read", l->e);
	while (!out && !(rc = mdb_cursor_get(cur, &key, &v, MDB_NEXT)))
		out = fn(l, &key, &v);
	mdb_cursor_close(cur);
	if (!out && rc != MDB_NOTFOUND)
		out = table_err(&l->t, rc, "read", l->e);
	return out;
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

static int load_all(struct load *l)
{
	MDB_stat stat;
	int rc = load_open(l);

	if (l->none)
		return WEFT_OK;
	if (!rc)
		rc = table_check_meta(&l->t, l->txn, l->cluster_id, l->e);
	if (!rc)
		rc = table_err(&l->t, mdb_stat(l->txn, l->t.blobs, &stat), "stat", l->e);
	if (!rc)
		rc = held_init(l, stat.ms_entries);
	if (rc)
		return rc;
	cw_expect(l->w, TYPE_POD, l->t.count);
	rc = load_each(l, l->t.blobs, load_blob);
	if (!rc)
		rc = load_each(l, l->t.objects, load_row);
	if (!rc)
		rc = load_block(l);
	if (!rc && l->objects != l->t.count)
		rc = err_set(l->e, WEFT_ECORRUPT,
			     "checkpoint '%s/data.mdb': %llu objects of %llu are there", l->t.dir,
			     (unsigned long long)l->objects, (unsigned long long)l->t.count);
	for (uint32_t i = 0; i < l->held_cap; i++)
		if (l->held[i].ref.u)
			cw_blob_drop(l->w, l->held[i].ref);
	free(l->held);
	return rc;
}

int table_load(const char *dir, struct cache_writer *w, const uint8_t cluster_id[16],
	       const uint64_t *memory_types, uint64_t *rv, struct err *e)
{
	struct load l = {
		.dir = dir, .cluster_id = cluster_id, .w = w, .memory_types = memory_types, .e = e};
	int rc;

	*rv = 0;
	if (!there(dir))
		return WEFT_OK;
	l.owners.z = zone_new();
	rc = guarded(&l, load_all);
	if (!rc)
		*rv = l.t.rv;
	zone_free(l.owners.z);
	load_close(&l);
	return rc;
}

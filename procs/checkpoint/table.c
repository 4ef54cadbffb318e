/* table.c - the checkpoint's tables: opening, and writing. */
#include "procs/checkpoint/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "procs/checkpoint/table_priv.h"
#include "weft/fault.h"

#define MAP_FIRST (256u << 20)

/* --- LMDB's border ------------------------------------------------------------------ */

int table_code(int rc)
{
	static const struct {
		int from, to;
	} map[] = {
		{MDB_SUCCESS, WEFT_OK},
		{MDB_NOTFOUND, WEFT_ENOENT},
		{MDB_CORRUPTED, WEFT_ECORRUPT},
		{MDB_PAGE_NOTFOUND, WEFT_ECORRUPT},
		{MDB_INVALID, WEFT_ECORRUPT},
		{MDB_PANIC, WEFT_ECORRUPT},
		{MDB_VERSION_MISMATCH, WEFT_ELAYOUT},
		{MDB_MAP_FULL, WEFT_EAGAIN},
		{MDB_MAP_RESIZED, WEFT_EAGAIN},
	};

	for (size_t i = 0; i < countof(map); i++)
		if (map[i].from == rc)
			return map[i].to;
	return rc > 0 ? weft_code_from_errno(rc) : WEFT_ESYS;
}

int table_err(const struct table *t, int rc, const char *what, struct err *e)
{
	if (!rc)
		return WEFT_OK;
	return err_set(e, table_code(rc), "checkpoint '%s': %s: %s", t->dir, what,
		       mdb_strerror(rc));
}

/* --- Opening ------------------------------------------------------------------------ */

int table_get_meta(struct table *t, MDB_txn *txn, const char *name, void *out, size_t n,
		   struct err *e)
{
	MDB_val key = {strlen(name), (void *)name}, v;
	int rc = mdb_get(txn, t->meta, &key, &v);

	if (rc)
		return table_err(t, rc, name, e);
	if (v.mv_size != n)
		return err_set(e, WEFT_ECORRUPT, "checkpoint '%s': '%s' is damaged", t->dir, name);
	memcpy(out, v.mv_data, n);
	return WEFT_OK;
}

static int put_meta(struct table *t, const char *name, const void *p, size_t n, struct err *e)
{
	MDB_val key = {strlen(name), (void *)name}, v = {n, (void *)p};

	return table_err(t, mdb_put(t->txn, t->meta, &key, &v, 0), name, e);
}

static int open_dbs(struct table *t, MDB_txn *txn, unsigned flags, struct err *e)
{
	int rc = mdb_dbi_open(txn, "objects", flags, &t->objects);

	if (!rc)
		rc = mdb_dbi_open(txn, "blobs", flags | MDB_INTEGERKEY, &t->blobs);
	if (!rc)
		rc = mdb_dbi_open(txn, "meta", flags, &t->meta);
	return table_err(t, rc, "open tables", e);
}

int table_env(struct table *t, const char *dir, unsigned flags, struct err *e)
{
	int rc;

	snprintf(t->dir, sizeof(t->dir), "%s", dir);
	rc = mdb_env_create(&t->env);
	if (!rc)
		rc = mdb_env_set_maxdbs(t->env, 4);
	if (!rc && !(flags & MDB_RDONLY))
		rc = mdb_env_set_mapsize(t->env, MAP_FIRST);
	if (!rc)
		rc = mdb_env_open(t->env, dir, flags, 0600);
	return table_err(t, rc, "open", e);
}

/* Where the tables stand. */
struct state {
	uint64_t rv, objects;
	uint64_t hash; /* of both */
};

static uint64_t state_hash(const struct state *s)
{
	return XXH3_64bits(s, offsetof(struct state, hash));
}

int table_get_state(struct table *t, MDB_txn *txn, struct err *e)
{
	struct state s;
	int rc = table_get_meta(t, txn, "state", &s, sizeof(s), e);

	if (!rc && s.hash != state_hash(&s))
		rc = err_set(e, WEFT_ECORRUPT, "checkpoint '%s': its state does not check out",
			     t->dir);
	if (rc)
		return rc;
	t->rv = s.rv;
	t->count = s.objects;
	return WEFT_OK;
}

static int put_state(struct table *t, uint64_t rv, uint64_t objects, struct err *e)
{
	struct state s = {.rv = rv, .objects = objects};

	s.hash = state_hash(&s);
	return put_meta(t, "state", &s, sizeof(s), e);
}

int table_check_meta(struct table *t, MDB_txn *txn, const uint8_t cluster_id[16], struct err *e)
{
	uint32_t format;
	uint8_t id[16];
	int rc = table_get_meta(t, txn, "format", &format, sizeof(format), e);

	if (!rc && format != TABLE_FORMAT)
		rc = err_set(e, WEFT_ELAYOUT, "checkpoint '%s' has format %u, this weft reads %u",
			     t->dir, format, TABLE_FORMAT);
	if (!rc)
		rc = table_get_meta(t, txn, "cluster", id, sizeof(id), e);
	if (!rc && memcmp(id, cluster_id, sizeof(id)))
		rc = err_set(e, WEFT_ELAYOUT, "checkpoint '%s' belongs to another cluster", t->dir);
	return rc ? rc : table_get_state(t, txn, e);
}

/* The first commit: empty tables at resourceVersion 0. */
static int make_tables(struct table *t, const uint8_t cluster_id[16], struct err *e)
{
	uint32_t format = TABLE_FORMAT;
	int rc = put_meta(t, "format", &format, sizeof(format), e);

	if (!rc)
		rc = put_meta(t, "cluster", cluster_id, 16, e);
	return rc ? rc : put_state(t, 0, 0, e);
}

static int open_tables(struct table *t, const uint8_t cluster_id[16], struct err *e)
{
	struct err missing = {0};
	uint32_t format;
	int rc = table_err(t, mdb_txn_begin(t->env, NULL, 0, &t->txn), "begin", e);

	if (rc) {
		t->txn = NULL;
		return rc;
	}
	rc = open_dbs(t, t->txn, MDB_CREATE, e);
	if (!rc &&
	    table_get_meta(t, t->txn, "format", &format, sizeof(format), &missing) == WEFT_ENOENT)
		rc = make_tables(t, cluster_id, e);
	if (!rc)
		rc = table_check_meta(t, t->txn, cluster_id, e);
	if (rc) {
		table_abort(t);
		return rc;
	}
	rc = mdb_txn_commit(t->txn);
	t->txn = NULL;
	return table_err(t, rc, "commit", e);
}

/* LMDB syncs what it writes, but not that its files and their directory have a
 * name; before the log may rely on them, they have to. */
static int sync_names(const char *dir, struct err *e)
{
	char above[600];
	int rc = names_sync(dir, e);

	snprintf(above, sizeof(above), "%s/..", dir);
	return rc ? rc : names_sync(above, e);
}

static int open_env(struct table *t, const char *path, unsigned flags, const uint8_t cluster_id[16],
		    struct err *e)
{
	int rc = table_env(t, path, flags, e);

	return rc ? rc : open_tables(t, cluster_id, e);
}

/* LMDB writes the first pages of a new file in place, and a loss of power may leave half of
 * them.  So the file gets its name when it is whole. */
static int make_file(const char *dir, const uint8_t cluster_id[16], struct err *e)
{
	char path[600], making[600], lock[600];
	struct stat st;
	struct table *t;
	int rc;

	snprintf(path, sizeof(path), "%s/data.mdb", dir);
	snprintf(making, sizeof(making), "%s/new.mdb", dir);
	snprintf(lock, sizeof(lock), "%s/new.mdb-lock", dir);
	if (!stat(path, &st) && st.st_size)
		return WEFT_OK;
	unlink(making);
	t = calloc(1, sizeof(*t));
	weft_assert(t);
	rc = open_env(t, making, MDB_NOSUBDIR, cluster_id, e);
	table_close(t);
	unlink(lock);
	if (!rc && rename(making, path))
		rc = err_errno(e, errno, "rename '%s' to '%s'", making, path);
	return rc;
}

int table_open(struct table **out, const char *dir, const uint8_t cluster_id[16], struct err *e)
{
	struct table *t;
	int rc;

	if (mkdir(dir, 0700) && errno != EEXIST)
		return err_errno(e, errno, "checkpoint '%s'", dir);
	rc = make_file(dir, cluster_id, e);
	if (rc)
		return rc;
	t = calloc(1, sizeof(*t));
	weft_assert(t);
	rc = open_env(t, dir, 0, cluster_id, e);
	if (!rc)
		rc = sync_names(dir, e);
	if (rc) {
		table_close(t);
		return rc;
	}
	*out = t;
	return WEFT_OK;
}

void table_close(struct table *t)
{
	if (!t)
		return;
	table_abort(t);
	if (t->env)
		mdb_env_close(t->env);
	buf_free(&t->row);
	buf_free(&t->stale);
	free(t->delta);
	free(t);
}

uint64_t table_rv(const struct table *t)
{
	return t->rv;
}

uint64_t table_objects(const struct table *t)
{
	return t->count;
}

void table_set_map(struct table *t, size_t bytes)
{
	int rc = mdb_env_set_mapsize(t->env, bytes);

	if (rc)
		log_warn("checkpoint '%s': cannot set the map: %s", t->dir, mdb_strerror(rc));
}

/* --- Transactions ------------------------------------------------------------------- */

/* A full map is made twice as large, once the transaction is out of the way. */
static int txn_err(struct table *t, int rc, const char *what, struct err *e)
{
	if (rc == MDB_MAP_FULL || rc == MDB_MAP_RESIZED)
		t->grow = true;
	return table_err(t, rc, what, e);
}

int table_begin(struct table *t, struct err *e)
{
	int rc;

	weft_assert(!t->txn);
	t->txn_count = t->count;
	t->ndelta = 0;
	if (t->delta)
		memset(t->delta, 0, t->delta_cap * sizeof(*t->delta));
	rc = mdb_txn_begin(t->env, NULL, 0, &t->txn);
	if (rc)
		t->txn = NULL;
	else
		rc = mdb_cursor_open(t->txn, t->objects, &t->at);
	return txn_err(t, rc, "begin", e);
}

/* Before the transaction ends. */
static void close_cursors(struct table *t)
{
	if (t->at)
		mdb_cursor_close(t->at);
	if (t->scan)
		mdb_cursor_close(t->scan);
	t->at = t->scan = NULL;
}

void table_abort(struct table *t)
{
	MDB_envinfo info;
	int rc;

	close_cursors(t);
	if (t->txn)
		mdb_txn_abort(t->txn);
	t->txn = NULL;
	if (!t->grow)
		return;
	t->grow = false;
	mdb_env_info(t->env, &info);
	rc = mdb_env_set_mapsize(t->env, 2 * info.me_mapsize);
	if (rc)
		log_warn("checkpoint '%s': cannot grow the map: %s", t->dir, mdb_strerror(rc));
}

static size_t make_key(uint16_t type, struct str ns, struct str name, char out[TABLE_KEY_MAX])
{
	size_t n = 0;

	out[n++] = (char)(type >> 8);
	out[n++] = (char)type;
	if (ns.n) {
		memcpy(out + n, ns.p, ns.n);
		n += ns.n;
		out[n++] = '/';
	}
	memcpy(out + n, name.p, name.n);
	return n + name.n;
}

/* --- Blobs: counted per transaction, written once each at its end ------------------- */

static struct delta *delta_slot(struct table *t, uint64_t id)
{
	uint32_t i = home_of(id, t->delta_cap);

	while (t->delta[i].id && t->delta[i].id != id)
		i = (i + 1) & (t->delta_cap - 1);
	return &t->delta[i];
}

static void delta_grow(struct table *t)
{
	struct delta *old = t->delta;
	uint32_t cap = t->delta_cap;

	t->delta_cap = cap ? 2 * cap : 256;
	t->delta = calloc(t->delta_cap, sizeof(*t->delta));
	weft_assert(t->delta);
	for (uint32_t i = 0; i < cap; i++)
		if (old[i].id)
			*delta_slot(t, old[i].id) = old[i];
	free(old);
}

static struct delta *delta_of(struct table *t, uint64_t id)
{
	struct delta *d;

	if (2 * t->ndelta >= t->delta_cap)
		delta_grow(t);
	d = delta_slot(t, id);
	if (!d->id) {
		d->id = id;
		t->ndelta++;
	}
	return d;
}

/* Write a blob when it is first met in this transaction; its count follows at
 * the end.  *other: another one has this id already. */
static int blob_meet(struct table *t, struct delta *d, struct str bytes, bool *other, struct err *e)
{
	MDB_val key = {sizeof(d->id), &d->id}, v;
	uint64_t count = 0;
	int rc = mdb_get(t->txn, t->blobs, &key, &v);

	*other = false;
	if (!rc && v.mv_size >= sizeof(count)) {
		memcpy(&count, v.mv_data, sizeof(count));
		*other = v.mv_size - sizeof(count) != bytes.n ||
			 memcmp((char *)v.mv_data + sizeof(count), bytes.p, bytes.n);
		d->met = !*other;
		d->count = count;
		return WEFT_OK;
	}
	if (rc && rc != MDB_NOTFOUND)
		return txn_err(t, rc, "read blob", e);
	v = (MDB_val){sizeof(count) + bytes.n, NULL};
	rc = mdb_put(t->txn, t->blobs, &key, &v, MDB_RESERVE);
	if (rc)
		return txn_err(t, rc, "write blob", e);
	memcpy(v.mv_data, &count, sizeof(count));
	memcpy((char *)v.mv_data + sizeof(count), bytes.p, bytes.n);
	d->met = true;
	d->count = 0;
	return WEFT_OK;
}

/* Decide how a part is kept. */
static int keep_part(struct table *t, const struct blob *b, struct str bytes, struct row_part *out,
		     struct err *e)
{
	struct delta *d;
	bool other = false;
	int rc = WEFT_OK;

	*out = (struct row_part){.bytes = bytes};
	/* Read racily: either way of keeping it is right. */
	if (!b || !b->hash || (b->refcount <= 1 && bytes.n <= ROW_INLINE_MAX))
		return WEFT_OK;
	d = delta_of(t, b->hash);
	if (!d->met)
		rc = blob_meet(t, d, bytes, &other, e);
	if (rc || other)
		return rc;
	d->change++;
	out->shared = true;
	out->blob = b->hash;
	return WEFT_OK;
}

/* What an old row held of blobs is given back. */
static int give_back(struct table *t, const MDB_val *key, const MDB_val *old, struct err *e)
{
	struct row_view view;

	if (!row_decode(val_str(key), val_str(old), &view))
		return err_set(e, WEFT_ECORRUPT, "checkpoint '%s': a row is damaged", t->dir);
	for (int i = 0; i < PART_COUNT; i++)
		if (view.part[i].shared)
			delta_of(t, view.part[i].blob)->change--;
	return WEFT_OK;
}

static int blob_count(struct table *t, struct delta *d, struct err *e)
{
	MDB_val key = {sizeof(d->id), &d->id}, old, v;
	uint64_t count;
	struct buf copy = {0};
	int rc = mdb_get(t->txn, t->blobs, &key, &old);

	if (rc || old.mv_size < sizeof(count))
		return rc ? txn_err(t, rc, "count a blob", e)
			  : err_set(e, WEFT_ECORRUPT, "checkpoint '%s': a blob is damaged", t->dir);
	memcpy(&count, old.mv_data, sizeof(count));
	count += (uint64_t)d->change;
	if (!count)
		return txn_err(t, mdb_del(t->txn, t->blobs, &key, NULL), "remove a blob", e);
	buf_add(&copy, old.mv_data, old.mv_size);
	memcpy(copy.p, &count, sizeof(count));
	v = (MDB_val){copy.n, copy.p};
	rc = mdb_put(t->txn, t->blobs, &key, &v, 0);
	buf_free(&copy);
	return txn_err(t, rc, "count a blob", e);
}

/* --- Rows --------------------------------------------------------------------------- */

static const struct blob *part_blob(const struct cache *c, const struct version *v, enum part p)
{
	uint32_t ref = v->part[p];
	struct str bytes = cache_part(c, v, p);

	if (!ref || !bytes.n)
		return NULL;
	return (const struct blob *)(bytes.p - offsetof(struct blob, bytes));
}

int table_put(struct table *t, const struct cache *c, const struct entry *o,
	      const struct version *v, struct err *e)
{
	struct row_part part[PART_COUNT];
	char name[TABLE_KEY_MAX];
	MDB_val key = {make_key(o->type, cache_ns(c, o), entry_name(o), name), name}, val;
	int rc = mdb_cursor_get(t->at, &key, &val, MDB_SET);
	bool found = rc == MDB_SUCCESS;

	if (rc && rc != MDB_NOTFOUND)
		return txn_err(t, rc, "read a row", e);
	if (!found)
		t->txn_count++;
	else if ((rc = give_back(t, &key, &val, e)))
		return rc;
	for (int i = 0; i < PART_COUNT; i++) {
		rc = keep_part(t, part_blob(c, v, (enum part)i), cache_part(c, v, (enum part)i),
			       &part[i], e);
		if (rc)
			return rc;
	}
	t->row.n = 0;
	row_encode(&t->row, val_str(&key), c, o, v, part);
	val = (MDB_val){t->row.n, t->row.p};
	rc = mdb_cursor_put(t->at, &key, &val, found ? MDB_CURRENT : 0);
	return txn_err(t, rc, "write a row", e);
}

/* --- A whole state ------------------------------------------------------------------ */

static int scan_move(struct table *t, MDB_cursor_op op, struct err *e)
{
	MDB_val key, val;
	int rc = mdb_cursor_get(t->scan, &key, &val, op);

	t->scan_end = rc == MDB_NOTFOUND;
	return t->scan_end ? WEFT_OK : txn_err(t, rc, "scan", e);
}

int table_scan_begin(struct table *t, struct err *e)
{
	int rc = mdb_cursor_open(t->txn, t->objects, &t->scan);

	t->stale.n = 0;
	if (rc) {
		t->scan = NULL;
		return txn_err(t, rc, "scan", e);
	}
	return scan_move(t, MDB_FIRST, e);
}

static void stale_add(struct table *t, const MDB_val *key)
{
	uint32_t n = (uint32_t)key->mv_size;

	buf_add(&t->stale, &n, sizeof(n));
	buf_add(&t->stale, key->mv_data, n);
}

/* Pass the rows before `key`, which nobody met.  *same: the row of `key` is
 * there, and in the state `rv` of the object `uid`. */
static int scan_to(struct table *t, MDB_val *key, const struct entry *o, const struct version *v,
		   bool *same, struct err *e)
{
	struct row_view view;
	MDB_val k, val;
	int order, rc;

	*same = false;
	while (!t->scan_end) {
		rc = mdb_cursor_get(t->scan, &k, &val, MDB_GET_CURRENT);
		if (rc)
			return txn_err(t, rc, "scan", e);
		order = mdb_cmp(t->txn, t->objects, &k, key);
		if (order > 0)
			return WEFT_OK;
		if (order < 0)
			stale_add(t, &k);
		else
			*same = row_decode(val_str(&k), val_str(&val), &view) &&
				view.row.rv == v->rv && !memcmp(view.row.uid, o->uid, 16);
		rc = scan_move(t, MDB_NEXT, e);
		if (rc || order == 0)
			return rc;
	}
	return WEFT_OK;
}

int table_scan_put(struct table *t, const struct cache *c, const struct entry *o,
		   const struct version *v, struct err *e)
{
	char name[TABLE_KEY_MAX];
	MDB_val key = {make_key(o->type, cache_ns(c, o), entry_name(o), name), name};
	bool same;
	int rc = scan_to(t, &key, o, v, &same, e);

	return rc || same ? rc : table_put(t, c, o, v, e);
}

static int remove_key(struct table *t, MDB_val *key, struct err *e)
{
	MDB_val val;
	int rc = mdb_cursor_get(t->at, key, &val, MDB_SET);

	if (rc == MDB_NOTFOUND)
		return WEFT_OK;
	if (rc)
		return txn_err(t, rc, "read a row", e);
	rc = give_back(t, key, &val, e);
	if (rc)
		return rc;
	t->txn_count--;
	return txn_err(t, mdb_cursor_del(t->at, 0), "remove a row", e);
}

int table_remove(struct table *t, uint16_t type, struct str ns, struct str name, struct err *e)
{
	char text[TABLE_KEY_MAX];
	MDB_val key = {make_key(type, ns, name, text), text};

	return remove_key(t, &key, e);
}

int table_scan_end(struct table *t, struct err *e)
{
	MDB_val key, val;
	uint32_t n;
	int rc = WEFT_OK;

	while (!rc && !t->scan_end) {
		rc = txn_err(t, mdb_cursor_get(t->scan, &key, &val, MDB_GET_CURRENT), "scan", e);
		if (!rc) {
			stale_add(t, &key);
			rc = scan_move(t, MDB_NEXT, e);
		}
	}
	mdb_cursor_close(t->scan);
	t->scan = NULL;
	for (size_t at = 0; !rc && at < t->stale.n; at += sizeof(n) + n) {
		memcpy(&n, t->stale.p + at, sizeof(n));
		key = (MDB_val){n, t->stale.p + at + sizeof(n)};
		rc = remove_key(t, &key, e);
	}
	return rc;
}

/* --- Commit ------------------------------------------------------------------------- */

int table_commit(struct table *t, uint64_t rv, struct err *e)
{
	int rc = WEFT_OK;

	for (uint32_t i = 0; !rc && i < t->delta_cap; i++)
		if (t->delta[i].id && (t->delta[i].change || t->delta[i].met))
			rc = blob_count(t, &t->delta[i], e);
	if (!rc)
		rc = put_state(t, rv, t->txn_count, e);
	if (rc) {
		t->grow |= rc == WEFT_EAGAIN;
		return rc;
	}
	close_cursors(t);
	fault_at(check_commit);
	rc = mdb_txn_commit(t->txn);
	t->txn = NULL;
	if (rc)
		return txn_err(t, rc, "commit", e);
	t->rv = rv;
	t->count = t->txn_count;
	return WEFT_OK;
}

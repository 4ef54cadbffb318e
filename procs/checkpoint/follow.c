/* follow.c - what follow.h promises. */
#include "procs/checkpoint/follow.h"

#include <stdlib.h>

#include "kube_types.h" /* TYPE_MAX */
#include "weft/fault.h"

#define ROUND_CHANGES 262144u /* versions looked at in one round */
#define SECTION	      256     /* versions or objects in one read section */
#define GROW_TRIES    16

/* An object that changed in this round, and its last version of it.  The version
 * is what counted at the round's end, so it stays until the journal's oldest is
 * beyond that: each section looks at that first. */
struct change {
	const char *key; /* in follower.keys, once all are collected */
	uint32_t key_at, key_n;
	uint64_t rv;
	version_ref version;
	uint32_t ns_n;
	uint16_t type;
	bool gone;
};

struct follower {
	struct table *t;
	uint64_t scans;
	struct change *changes;
	uint32_t nchanges, cap;
	struct buf keys;
	uint64_t making;
	void (*between)(void *arg);
	void *between_arg;
};

int follow_open(struct follower **out, const char *dir, const uint8_t cluster_id[16], struct err *e)
{
	struct follower *f = calloc(1, sizeof(*f));
	int rc;

	weft_assert(f);
	rc = table_open(&f->t, dir, cluster_id, e);
	if (rc) {
		free(f);
		return rc;
	}
	*out = f;
	return WEFT_OK;
}

void follow_close(struct follower *f)
{
	if (!f)
		return;
	table_close(f->t);
	buf_free(&f->keys);
	free(f->changes);
	free(f);
}

uint64_t follow_rv(const struct follower *f)
{
	return table_rv(f->t);
}

uint64_t follow_making(const struct follower *f)
{
	return f->making;
}

uint64_t follow_scans(const struct follower *f)
{
	return f->scans;
}

void follow_between(struct follower *f, void (*between)(void *arg), void *arg)
{
	f->between = between;
	f->between_arg = arg;
}

static void between_sections(const struct follower *f)
{
	fault_at(check_section);
	if (f->between)
		f->between(f->between_arg);
}

void follow_set_map(struct follower *f, size_t bytes)
{
	table_set_map(f->t, bytes);
}

/* --- Collecting --------------------------------------------------------------------- */

static void note_change(struct follower *f, const struct cache *c, const struct version *v)
{
	const struct entry *o = cache_entry(c, v->entry);
	struct str ns = cache_ns(c, o);
	struct change *ch;

	if (v->flags & VERSION_MEMORY)
		return;
	if (f->nchanges == f->cap) {
		f->cap = f->cap ? 2 * f->cap : 1024;
		f->changes = realloc(f->changes, f->cap * sizeof(*f->changes));
		weft_assert(f->changes);
	}
	ch = &f->changes[f->nchanges++];
	*ch = (struct change){.key_at = (uint32_t)f->keys.n,
			      .key_n = ns.n + (ns.n != 0) + o->name_len,
			      .rv = v->rv,
			      .version = cache_version_ref(c, v),
			      .ns_n = ns.n,
			      .type = o->type,
			      .gone = v->flags & VERSION_TOMBSTONE};
	buf_addstr(&f->keys, ns);
	if (ns.n)
		buf_putc(&f->keys, '/');
	buf_addstr(&f->keys, entry_name(o));
}

/* What changed after `rv`, up to *reached.  WEFT_EGONE if the journal has moved
 * on. */
static int collect(struct follower *f, struct cache *c, uint64_t rv, uint64_t *reached)
{
	const struct version *v[SECTION];
	int n = SECTION;

	f->nchanges = 0;
	f->keys.n = 0;
	for (*reached = rv; n == SECTION && *reached - rv < ROUND_CHANGES;) {
		cache_lock(c);
		n = cache_journal(c, *reached, v, SECTION);
		for (int i = 0; i < n; i++)
			note_change(f, c, v[i]);
		if (n > 0)
			*reached = v[n - 1]->rv;
		cache_unlock(c);
	}
	return n < 0 ? n : WEFT_OK;
}

/* The order of the tables: type, then namespace "/" name as one string. */
static int key_order(const struct change *x, const struct change *y)
{
	struct str xn = {x->key, x->key_n}, yn = {y->key, y->key_n};

	if (x->type != y->type)
		return x->type < y->type ? -1 : 1;
	return str_cmp(xn, yn);
}

static int change_order(const void *a, const void *b)
{
	const struct change *x = a, *y = b;
	int c = key_order(x, y);

	return c ? c : (x->rv > y->rv) - (x->rv < y->rv);
}

/* In key order, each object once, in its last state. */
static void sort_changes(struct follower *f)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < f->nchanges; i++)
		f->changes[i].key = f->keys.p + f->changes[i].key_at;
	if (f->nchanges)
		qsort(f->changes, f->nchanges, sizeof(*f->changes), change_order);
	for (uint32_t i = 0; i < f->nchanges; i++) {
		if (n && !key_order(&f->changes[n - 1], &f->changes[i]))
			n--;
		f->changes[n++] = f->changes[i];
	}
	f->nchanges = n;
}

/* --- Writing ------------------------------------------------------------------------ */

static int write_change(struct follower *f, const struct cache *c, const struct change *ch,
			struct err *e)
{
	const struct version *v;
	uint32_t slash = ch->ns_n ? ch->ns_n + 1 : 0;

	if (ch->gone)
		return table_remove(f->t, ch->type, (struct str){ch->key, ch->ns_n},
				    (struct str){ch->key + slash, ch->key_n - slash}, e);
	v = cache_version(c, ch->version);
	return table_put(f->t, c, cache_entry(c, v->entry), v, e);
}

static int write_changes(struct follower *f, struct cache *c, uint64_t rv, struct err *e)
{
	int rc = WEFT_OK;

	for (uint32_t i = 0; !rc && i < f->nchanges; i += SECTION) {
		between_sections(f);
		cache_lock(c);
		if (cache_oldest(c) > rv + 1)
			rc = WEFT_EGONE;
		for (uint32_t k = i; !rc && k < i + SECTION && k < f->nchanges; k++)
			rc = write_change(f, c, &f->changes[k], e);
		cache_unlock(c);
	}
	return rc;
}

/* --- A round ------------------------------------------------------------------------ */

static int advance(struct follower *f, struct cache *c, struct err *e)
{
	uint64_t reached;
	int rc = collect(f, c, table_rv(f->t), &reached);

	if (rc || reached == table_rv(f->t))
		return rc;
	f->making = reached;
	sort_changes(f);
	fault_at(check_collected);
	rc = table_begin(f->t, e);
	if (!rc)
		rc = write_changes(f, c, reached, e);
	if (!rc)
		rc = table_commit(f->t, reached, e);
	if (rc)
		table_abort(f->t);
	return rc;
}

/* Where a scan stands between two read sections. */
struct place {
	struct buf key; /* namespace, then name, of the last object met */
	uint32_t ns_n;
};

static void place_set(struct place *p, const struct cache *c, const struct entry *o)
{
	p->key.n = 0;
	p->ns_n = cache_ns(c, o).n;
	buf_addstr(&p->key, cache_ns(c, o));
	buf_addstr(&p->key, entry_name(o));
}

/* One section of a scan; *more: it has not come to the type's end. */
static int scan_section(struct follower *f, struct cache *c, uint16_t type, uint64_t rv,
			struct place *p, bool *more, struct err *e)
{
	struct str ns = {p->key.p, p->ns_n}, name = {NULL, 0};
	const struct entry *o = NULL, *last = NULL;
	struct cache_iter it;
	int rc = cache_oldest(c) > rv + 1 ? WEFT_EGONE : WEFT_OK;

	if (p->key.n)
		name = (struct str){p->key.p + p->ns_n, (uint32_t)p->key.n - p->ns_n};
	cache_iter_init(&it, c, type, (struct str){0}, ns, name);
	/* Entries of one key (one deleted, one new) are not torn apart: the next
	 * section starts behind the key. */
	for (int i = 0; !rc && (o = cache_iter_next(&it)); i++) {
		const struct version *v;

		if (i >= SECTION && !cache_same_key(c, o, last))
			break;
		v = cache_at(c, o, rv);
		if (v && !(v->flags & VERSION_MEMORY))
			rc = table_scan_put(f->t, c, o, v, e);
		last = o;
	}
	*more = o != NULL;
	if (last)
		place_set(p, c, last);
	return rc;
}

/* All objects of a type as they were at `rv`. */
static int scan_type(struct follower *f, struct cache *c, uint16_t type, uint64_t rv, struct err *e)
{
	struct place p = {0};
	bool more = true;
	int rc = WEFT_OK;

	while (!rc && more) {
		between_sections(f);
		cache_lock(c);
		rc = scan_section(f, c, type, rv, &p, &more, e);
		cache_unlock(c);
	}
	buf_free(&p.key);
	return rc;
}

/* Make the tables what the cache is now. */
static int rescan(struct follower *f, struct cache *c, struct err *e)
{
	uint64_t rv = cache_rv(c);
	int rc = table_begin(f->t, e);

	f->scans++;
	f->making = rv;
	if (!rc)
		rc = table_scan_begin(f->t, e);
	for (uint32_t t = 1; !rc && t < TYPE_MAX; t++)
		rc = scan_type(f, c, (uint16_t)t, rv, e);
	if (!rc)
		rc = table_scan_end(f->t, e);
	if (!rc)
		rc = table_commit(f->t, rv, e);
	if (rc)
		table_abort(f->t);
	return rc;
}

int follow_round(struct follower *f, struct cache *c, struct err *e)
{
	int rc = WEFT_EAGAIN;

	for (int i = 0; rc == WEFT_EAGAIN && i < GROW_TRIES; i++) {
		bool behind = table_rv(f->t) + 1 < cache_oldest(c);

		rc = behind ? rescan(f, c, e) : advance(f, c, e);
		if (rc == WEFT_EGONE)
			rc = rescan(f, c, e);
	}
	if (rc == WEFT_EGONE)
		return err_set(e, rc,
			       "objects change faster than they can be written; trying again");
	return rc;
}

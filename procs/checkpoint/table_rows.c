/* table_rows.c - what table_rows.h promises. */
#include "procs/checkpoint/table_rows.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "weft/proc.h"

#define AHEAD 4u /* blocks: so many, less the caller's, are filled ahead of it */

struct rows {
	const struct table *t;
	MDB_txn *txn;
	pthread_t thread;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t moved; /* some of it has changed */
	uint64_t filled;      /* blocks, by the thread */
	uint64_t given, done; /* blocks, to the caller, and by it */
	bool stop;	      /* the caller wants no more */
	bool ended;	      /* the thread fills no more, and ... */
	int rc;		      /* ... why */
	struct err e;
	struct row_block block[AHEAD]; /* the thread has the one after `filled`, as yet to be */
};

/* --- The thread --------------------------------------------------------------------- */

static struct row_block *filling(struct rows *r)
{
	return &r->block[r->filled % AHEAD];
}

/* Go on with the next block when there is one; false: that is not wanted any more. */
static bool hand_over(struct rows *r)
{
	bool stop;

	pthread_mutex_lock(&r->lock);
	r->filled++;
	pthread_cond_signal(&r->moved);
	while (!r->stop && r->filled - r->done >= AHEAD)
		pthread_cond_wait(&r->moved, &r->lock);
	stop = r->stop;
	pthread_mutex_unlock(&r->lock);
	filling(r)->n = 0;
	return !stop;
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

static int read_row(void *arg, const MDB_val *key, const MDB_val *val)
{
	struct rows *r = arg;
	struct row_block *b = filling(r);
	struct object *o = &b->at[b->n];

	o->key = val_str(key);
	if (!split_key(o) || !row_decode(o->key, val_str(val), &o->row))
		return table_bad_row(r->t, o->key, "its row does not check out", &r->e);
	return ++b->n < BLOCK_ROWS || hand_over(r) ? WEFT_OK : WEFT_ELOST;
}

static int read_all(void *arg)
{
	struct rows *r = arg;

	return table_each(r->t, r->txn, r->t->objects, read_row, r, &r->e);
}

static void *rows_main(void *arg)
{
	struct rows *r = arg;
	int rc;

	/* This thread alone, as the checkpoint process: while there is no store, that is to come
	 * to the end of its round, or there is more to replay after the next death. */
	(void)!nice(proc_kind_info(PROC_CHECKPOINT)->nice);
	rc = table_guarded(r->t->dir, read_all, r, &r->e);
	pthread_mutex_lock(&r->lock);
	r->filled += filling(r)->n > 0;
	r->rc = rc;
	r->ended = true;
	pthread_cond_signal(&r->moved);
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

/* --- The caller --------------------------------------------------------------------- */

int rows_open(struct rows **out, const struct table *t, MDB_txn *txn, struct err *e)
{
	struct rows *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return err_set(e, WEFT_ENOMEM, "checkpoint '%s': rows", t->dir);
	r->t = t;
	r->txn = txn;
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->moved, NULL);
	rc = pthread_create(&r->thread, NULL, rows_main, r);
	if (rc) {
		free(r);
		return err_errno(e, rc, "checkpoint '%s': a thread to read it", t->dir);
	}
	*out = r;
	return WEFT_OK;
}

int rows_next(struct rows *r, const struct row_block **out, struct err *e)
{
	int rc = WEFT_OK;

	*out = NULL;
	pthread_mutex_lock(&r->lock);
	r->done = r->given;
	pthread_cond_signal(&r->moved);
	while (r->filled == r->given && !r->ended)
		pthread_cond_wait(&r->moved, &r->lock);
	if (r->filled > r->given)
		*out = &r->block[r->given++ % AHEAD];
	else
		rc = r->rc;
	pthread_mutex_unlock(&r->lock);
	return rc ? err_set(e, rc, "%s", r->e.msg) : WEFT_OK;
}

void rows_close(struct rows *r)
{
	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	r->stop = true;
	pthread_cond_signal(&r->moved);
	pthread_mutex_unlock(&r->lock);
	pthread_join(r->thread, NULL);
	pthread_cond_destroy(&r->moved);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

/* log.c - what log.h promises. */
#include "procs/store/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "weft/fault.h"

#define SEGMENT_MAGIC UINT64_C(0x74666577676f6c31) /* "1golweft" */
#define BATCH_MAGIC   0x6274666cu
#define LOG_FORMAT    1u
#define SPARES_MAX    2u
#define NAME_MAX_LEN  40
#define READ_WINDOW   (1u << 20)
/* A file system has to note, at the sync, that a reserved block is written for the
 * first time: a fifth to a third of what a small batch's sync takes.  So a small
 * batch that comes to such blocks writes zeros into the ones behind it as well. */
#define AHEAD	    (256u << 10)
#define SMALL_BATCH (64u << 10)
/* What a segment's head and a large batch are filled up to.  A recycled segment is not in
 * memory: to write a part of a page of it, the kernel would read the page first. */
#define WHOLE_PAGE 4096u

struct segment_head {
	uint64_t magic;
	uint32_t format;
	uint32_t units; /* the file has at least so many times LOG_HEAD bytes */
	uint64_t number;
	uint64_t first_seq; /* of its first batch */
	uint64_t start_rv;  /* last resourceVersion logged before it */
	uint8_t cluster_id[16];
	uint64_t hash; /* of all before it */
};

struct batch_head {
	uint32_t magic;
	uint32_t n; /* bytes of body */
	uint64_t segment;
	uint64_t seq;
	uint64_t first_rv, last_rv, rv_limit;
	uint64_t body_hash;
	uint64_t head_hash; /* of all before it */
};

_Static_assert(sizeof(struct segment_head) == LOG_HEAD, "a segment's head");
_Static_assert(sizeof(struct batch_head) == LOG_HEAD, "a batch's head");

struct segment {
	uint64_t number, first_seq, start_rv;
	uint64_t size;
};

struct log {
	struct files *fs;
	uint8_t cluster_id[16];
	uint64_t segment_size;
	struct segment *seg; /* oldest first; the last one is in use */
	uint32_t nseg, seg_cap;
	uint64_t spare[SPARES_MAX];
	uint32_t nspare;
	uint64_t next_number, next_spare;
	int fd; /* of the segment in use, -1: none */
	uint64_t off;
	uint64_t written; /* blocks of that segment below it were written before */
	uint64_t seq;	  /* of the next batch */
	uint64_t last_rv; /* of the last batch */
	uint64_t rv_bound;
	bool broken; /* an append failed: go on in a new segment */
};

static void segment_name(char out[NAME_MAX_LEN], uint64_t number)
{
	snprintf(out, NAME_MAX_LEN, "log-%08" PRIu64, number);
}

static void spare_name(char out[NAME_MAX_LEN], uint64_t number)
{
	snprintf(out, NAME_MAX_LEN, "spare-%08" PRIu64, number);
}

static uint64_t head_hash(const void *head)
{
	return XXH3_64bits(head, LOG_HEAD - sizeof(uint64_t));
}

static struct segment *log_last(const struct log *log)
{
	return log->nseg ? &log->seg[log->nseg - 1] : NULL;
}

static struct segment *segment_add(struct log *log)
{
	if (log->nseg == log->seg_cap) {
		log->seg_cap = log->seg_cap ? 2 * log->seg_cap : 16;
		log->seg = realloc(log->seg, log->seg_cap * sizeof(*log->seg));
		weft_assert(log->seg);
	}
	return memset(&log->seg[log->nseg++], 0, sizeof(*log->seg));
}

/* --- Reading ----------------------------------------------------------------- */

/* The number behind `prefix`, if that is all there is to the name. */
static bool name_number(const char *name, const char *prefix, uint64_t *number)
{
	size_t n = strlen(prefix);
	char *end;

	if (strncmp(name, prefix, n) || name[n] < '0' || name[n] > '9')
		return false;
	*number = strtoull(name + n, &end, 10);
	return !*end;
}

static void list_one(void *arg, const char *name)
{
	struct log *log = arg;
	uint64_t number;

	if (name_number(name, "log-", &number)) {
		segment_add(log)->number = number;
		if (number >= log->next_number)
			log->next_number = number + 1;
	} else if (name_number(name, "spare-", &number)) {
		if (log->nspare < SPARES_MAX)
			log->spare[log->nspare++] = number;
		if (number >= log->next_spare)
			log->next_spare = number + 1;
	}
}

static int segment_order(const void *a, const void *b)
{
	const struct segment *x = a, *y = b;

	return (x->number > y->number) - (x->number < y->number);
}

/* A window on a segment's file that moves forward. */
struct reader {
	struct log *log;
	int fd;
	char *buf; /* 64-byte aligned, like all offsets asked for */
	size_t n, cap;
	uint64_t at; /* offset of buf[0] */
	int rc;	     /* of the first read that failed */
	struct err *e;
};

static int reader_open(struct reader *r, struct log *log, const char *name, struct err *e)
{
	*r = (struct reader){.log = log, .cap = READ_WINDOW, .e = e};
	r->rc = log->fs->ops->open(log->fs, name, false, &r->fd, e);
	if (r->rc)
		return r->rc;
	r->buf = aligned_alloc(LOG_HEAD, r->cap);
	weft_assert(r->buf);
	return WEFT_OK;
}

/* `done`: what it has read is not read again. */
static void reader_close(struct reader *r, bool done)
{
	const struct file_ops *ops = r->log->fs->ops;

	(done ? ops->put_away : ops->close)(r->log->fs, r->fd);
	free(r->buf);
}

/* The n bytes at `off`, valid until the next call; NULL if they are not there. */
static const char *reader_get(struct reader *r, uint64_t off, size_t n)
{
	if (off >= r->at && off + n <= r->at + r->n)
		return r->buf + (off - r->at);
	if (n > r->cap) {
		free(r->buf);
		r->cap = align_up(n, (size_t)READ_WINDOW);
		r->buf = aligned_alloc(LOG_HEAD, r->cap);
		weft_assert(r->buf);
	}
	r->at = off;
	r->n = 0;
	if (!r->rc)
		r->rc = r->log->fs->ops->read(r->log->fs, r->fd, r->buf, r->cap, off, &r->n, r->e);
	return !r->rc && r->n >= n ? r->buf : NULL;
}

static int segment_check(struct log *log, struct segment *s, const char *name, const char *bytes,
			 size_t n, struct err *e)
{
	struct segment_head h;

	if (n < sizeof(h))
		return err_set(e, WEFT_ECORRUPT, "log file '%s' is damaged at offset 0: too short",
			       name);
	memcpy(&h, bytes, sizeof(h));
	if (h.magic != SEGMENT_MAGIC || h.hash != head_hash(&h) || h.number != s->number)
		return err_set(e, WEFT_ECORRUPT,
			       "log file '%s' is damaged at offset 0: its head does not check out",
			       name);
	if (h.format != LOG_FORMAT)
		return err_set(e, WEFT_ELAYOUT, "log file '%s' has format %u, this weft reads %u",
			       name, h.format, LOG_FORMAT);
	if (memcmp(h.cluster_id, log->cluster_id, 16))
		return err_set(e, WEFT_ELAYOUT, "log file '%s' belongs to another cluster", name);
	if (s->size < (uint64_t)h.units * LOG_HEAD)
		return err_set(e, WEFT_ECORRUPT,
			       "log file '%s' is damaged at offset %" PRIu64
			       ": it is cut short, it was made with %" PRIu64 " bytes",
			       name, s->size, (uint64_t)h.units * LOG_HEAD);
	s->first_seq = h.first_seq;
	s->start_rv = h.start_rv;
	return WEFT_OK;
}

/* The body of the batch at `off` with its head, if it is whole; else NULL. */
static const char *batch_at(const struct segment *s, struct reader *r, uint64_t off,
			    struct batch_head *h)
{
	const char *p = reader_get(r, off, sizeof(*h));

	if (!p)
		return NULL;
	memcpy(h, p, sizeof(*h));
	if (h->magic != BATCH_MAGIC || h->segment != s->number || h->head_hash != head_hash(h) ||
	    h->n > s->size)
		return NULL;
	p = reader_get(r, off, sizeof(*h) + h->n);
	return p && h->body_hash == XXH3_64bits(p + sizeof(*h), h->n) ? p + sizeof(*h) : NULL;
}

/* Is any batch after `off` whole that comes after sequence number `seq`? */
static bool batch_beyond(const struct segment *s, struct reader *r, uint64_t off, uint64_t seq)
{
	struct batch_head h;
	const char *p;

	for (off += LOG_HEAD; (p = reader_get(r, off, LOG_HEAD)); off += LOG_HEAD)
		if (*(const uint32_t *)p == BATCH_MAGIC && batch_at(s, r, off, &h) && h.seq > seq)
			return true;
	return false;
}

static int segment_replay(struct log *log, const struct segment *s, const char *name,
			  struct reader *r, uint64_t end_seq, log_batch_fn fn, void *arg,
			  struct err *e)
{
	uint64_t off = LOG_HEAD;
	struct batch_head h;
	const char *body;
	bool more;

	while (log->seq < end_seq && (body = batch_at(s, r, off, &h)) && h.seq == log->seq) {
		struct log_batch b = {
			.seq = h.seq,
			.first_rv = h.first_rv,
			.last_rv = h.last_rv,
			.rv_limit = h.rv_limit,
			.body = {body, h.n},
			.file = name,
			.off = off,
		};
		int rc = fn(arg, &b, e);

		if (rc)
			return rc;
		off += LOG_HEAD + align_up((uint64_t)h.n, (uint64_t)LOG_HEAD);
		log->seq++;
		if (h.last_rv)
			log->last_rv = h.last_rv;
	}
	log->off = off;
	more = end_seq != UINT64_MAX ? log->seq != end_seq : batch_beyond(s, r, off, log->seq);
	if (more && !r->rc)
		return err_set(e, WEFT_ECORRUPT,
			       "log file '%s' is damaged at offset %" PRIu64 ": batch %" PRIu64
			       " does not check out, but later ones are there",
			       name, off, log->seq);
	return r->rc;
}

/* All heads first: a segment ends where the next one says. */
static int log_read_heads(struct log *log, struct err *e)
{
	for (uint32_t i = 0; i < log->nseg; i++) {
		struct segment *s = &log->seg[i];
		char name[NAME_MAX_LEN], head[LOG_HEAD];
		size_t got = 0;
		int fd, rc;

		segment_name(name, s->number);
		if (i && s->number != s[-1].number + 1)
			return err_set(e, WEFT_ECORRUPT, "log file before '%s' is missing", name);
		rc = log->fs->ops->open(log->fs, name, false, &fd, e);
		if (rc)
			return rc;
		rc = log->fs->ops->read(log->fs, fd, head, sizeof(head), 0, &got, e);
		if (!rc)
			rc = log->fs->ops->size(log->fs, fd, &s->size, e);
		log->fs->ops->close(log->fs, fd);
		if (!rc)
			rc = segment_check(log, s, name, head, got, e);
		if (rc)
			return rc;
	}
	return WEFT_OK;
}

/* The limit that a segment's last whole batch set. */
static int segment_bound(struct log *log, const struct segment *s, struct err *e)
{
	char name[NAME_MAX_LEN];
	uint64_t off = LOG_HEAD;
	struct batch_head h;
	struct reader r;
	int rc;

	segment_name(name, s->number);
	rc = reader_open(&r, log, name, e);
	if (rc)
		return rc;
	while (batch_at(s, &r, off, &h)) {
		log->rv_bound = h.rv_limit;
		off += LOG_HEAD + align_up((uint64_t)h.n, (uint64_t)LOG_HEAD);
	}
	reader_close(&r, false);
	return r.rc;
}

/* The last segment may still be empty: the one before it counts, too. */
static int log_find_bound(struct log *log, struct err *e)
{
	int rc = WEFT_OK;

	for (uint32_t i = log->nseg > 2 ? log->nseg - 2 : 0; !rc && i < log->nseg; i++) {
		if (log->seg[i].start_rv > log->rv_bound)
			log->rv_bound = log->seg[i].start_rv;
		rc = segment_bound(log, &log->seg[i], e);
	}
	return rc;
}

static int log_find(struct log *log, struct err *e)
{
	int rc = log->fs->ops->list(log->fs, list_one, log, e);

	if (rc)
		return rc;
	if (log->nseg)
		qsort(log->seg, log->nseg, sizeof(*log->seg), segment_order);
	rc = log_read_heads(log, e);
	if (!rc)
		rc = log_find_bound(log, e);
	if (!rc && log->nseg) {
		log->seq = log->seg[0].first_seq;
		log->last_rv = log->seg[0].start_rv;
	}
	return rc;
}

/* Go on in the last segment.  What was read may so far be in the kernel's
 * memory only: it is synced before anybody sees it. */
static int log_resume(struct log *log, struct err *e)
{
	char name[NAME_MAX_LEN];
	int rc;

	if (!log->nseg)
		return WEFT_OK;
	segment_name(name, log_last(log)->number);
	rc = log->fs->ops->open(log->fs, name, false, &log->fd, e);
	if (rc) {
		log->fd = -1;
		return rc;
	}
	return log->fs->ops->sync(log->fs, log->fd, e);
}

int log_replay(struct log *log, log_batch_fn fn, void *arg, struct err *e)
{
	int rc = WEFT_OK;

	for (uint32_t i = 0; !rc && i < log->nseg; i++) {
		struct segment *s = &log->seg[i];
		uint64_t end = i + 1 < log->nseg ? s[1].first_seq : UINT64_MAX;
		char name[NAME_MAX_LEN];
		struct reader r;

		segment_name(name, s->number);
		rc = reader_open(&r, log, name, e);
		if (rc)
			break;
		rc = segment_replay(log, s, name, &r, end, fn, arg, e);
		reader_close(&r, i + 1 < log->nseg);
	}
	return rc ? rc : log_resume(log, e);
}

int log_open(struct log **out, struct files *fs, const uint8_t cluster_id[16],
	     uint64_t segment_size, struct err *e)
{
	struct log *log = calloc(1, sizeof(*log));
	int rc;

	weft_assert(log);
	log->fs = fs;
	log->fd = -1;
	log->seq = log->next_number = 1;
	log->segment_size = segment_size < LOG_SEGMENT_MIN ? LOG_SEGMENT_MIN : segment_size;
	memcpy(log->cluster_id, cluster_id, 16);
	rc = log_find(log, e);
	if (rc) {
		log_close(log);
		err_wrap(e, "open log");
		return rc;
	}
	*out = log;
	return WEFT_OK;
}

void log_close(struct log *log)
{
	if (!log)
		return;
	if (log->fd >= 0)
		log->fs->ops->close(log->fs, log->fd);
	free(log->seg);
	free(log);
}

uint64_t log_rv_bound(const struct log *log)
{
	return log->rv_bound;
}

/* --- Writing ----------------------------------------------------------------- */

/* A file of `size` bytes under a spare's name: a recycled one or a new one. */
static int spare_take(struct log *log, uint64_t size, char name[NAME_MAX_LEN], int *fd,
		      struct err *e)
{
	const struct file_ops *ops = log->fs->ops;
	int rc = WEFT_ENOENT;

	while (rc == WEFT_ENOENT && log->nspare) {
		spare_name(name, log->spare[log->nspare - 1]);
		rc = ops->open(log->fs, name, false, fd, e);
		if (rc == WEFT_ENOENT) /* taken by a rename that said it failed */
			log->nspare--;
	}
	if (rc == WEFT_ENOENT) {
		snprintf(name, NAME_MAX_LEN, "new");
		rc = ops->open(log->fs, name, true, fd, e);
	}
	if (rc)
		return rc;
	rc = ops->allocate(log->fs, *fd, size, e);
	if (!rc)
		return WEFT_OK;
	ops->close(log->fs, *fd);
	if (!log->nspare)
		ops->remove(log->fs, name, NULL);
	return rc;
}

/* Begin a new segment with room for `need` bytes.  Its head is durable before
 * it gets its name. */
static int segment_begin(struct log *log, uint64_t need, struct err *e)
{
	const struct file_ops *ops = log->fs->ops;
	uint64_t size = need + LOG_HEAD > log->segment_size ? need + LOG_HEAD : log->segment_size;
	struct segment_head h = {
		.magic = SEGMENT_MAGIC,
		.format = LOG_FORMAT,
		.units = (uint32_t)(size / LOG_HEAD),
		.number = log->nseg ? log_last(log)->number + 1 : log->next_number,
		.first_seq = log->seq,
		.start_rv = log->last_rv,
	};
	char from[NAME_MAX_LEN], to[NAME_MAX_LEN], page[WHOLE_PAGE] = {0};
	struct segment *s;
	int fd, rc = spare_take(log, size, from, &fd, e);

	if (rc)
		return rc;
	memcpy(h.cluster_id, log->cluster_id, 16);
	h.hash = head_hash(&h);
	memcpy(page, &h, sizeof(h));
	segment_name(to, h.number);
	rc = ops->write(log->fs, fd, page, sizeof(page), 0, e);
	if (!rc)
		rc = ops->sync(log->fs, fd, e);
	fault_at(log_segment);
	if (!rc)
		rc = ops->rename(log->fs, from, to, e);
	if (rc) {
		ops->close(log->fs, fd);
		return rc;
	}
	if (log->nspare)
		log->nspare--;
	/* What a disk has refused stays where it can be read. */
	if (log->fd >= 0)
		(log->broken ? ops->close : ops->put_away)(log->fs, log->fd);
	log->fd = fd;
	log->off = LOG_HEAD;
	log->written = 0;
	log->next_number = h.number + 1 > log->next_number ? h.number + 1 : log->next_number;
	s = segment_add(log);
	s->number = h.number;
	s->first_seq = h.first_seq;
	s->start_rv = h.start_rv;
	s->size = size;
	log->broken = false;
	fault_at(log_segment_named);
	return WEFT_OK;
}

static void batch_seal(struct log *log, struct buf *b, uint64_t first_rv, uint64_t last_rv,
		       uint64_t rv_limit)
{
	struct batch_head h = {
		.magic = BATCH_MAGIC,
		.n = (uint32_t)(b->n - LOG_HEAD),
		.segment = log_last(log)->number,
		.seq = log->seq,
		.first_rv = first_rv,
		.last_rv = last_rv,
		.rv_limit = rv_limit,
		.body_hash = XXH3_64bits(b->p + LOG_HEAD, b->n - LOG_HEAD),
	};

	h.head_hash = head_hash(&h);
	memcpy(b->p, &h, sizeof(h));
}

/* How much to write for a batch of `n` bytes, zeros behind it included. */
static size_t batch_extent(const struct log *log, size_t n)
{
	uint64_t unit = n > SMALL_BATCH ? WHOLE_PAGE : AHEAD;
	uint64_t end = align_up(log->off + n, unit), size = log_last(log)->size;

	if (log->off + n <= log->written)
		return n;
	return (size_t)((end < size ? end : size) - log->off);
}

/* Write and sync the batch, which takes `need` bytes of the segment. */
static int batch_write(struct log *log, struct buf *b, size_t need, struct err *e)
{
	size_t extent = batch_extent(log, need);
	int rc;

	buf_reserve(b, extent - b->n);
	memset(b->p + b->n, 0, extent - b->n);
	rc = log->fs->ops->write(log->fs, log->fd, b->p, extent, log->off, e);
	fault_at(store_written);
	if (!rc)
		rc = log->fs->ops->sync(log->fs, log->fd, e);
	if (rc)
		return rc;
	if (log->off + extent > log->written)
		log->written = log->off + extent;
	log->off += need;
	return WEFT_OK;
}

int log_append(struct log *log, struct buf *b, uint64_t first_rv, uint64_t last_rv,
	       uint64_t rv_limit, struct err *e)
{
	size_t need = align_up(b->n, (size_t)LOG_HEAD);
	int rc = WEFT_OK;

	weft_assert(b->n >= LOG_HEAD);
	if (!log->nseg || log->broken || log->off + need > log_last(log)->size)
		rc = segment_begin(log, need, e);
	if (!rc) {
		batch_seal(log, b, first_rv, last_rv, rv_limit);
		rc = batch_write(log, b, need, e);
	}
	if (rc) {
		log->broken = true;
		return rc;
	}
	log->seq++;
	if (last_rv)
		log->last_rv = last_rv;
	return WEFT_OK;
}

/* --- Recycling --------------------------------------------------------------- */

/* The oldest segment becomes a spare, or goes. */
static int segment_retire(struct log *log, struct err *e)
{
	struct segment *s = &log->seg[0];
	bool keep = log->nspare < SPARES_MAX && s->size == log->segment_size;
	char from[NAME_MAX_LEN], to[NAME_MAX_LEN];
	int rc;

	segment_name(from, s->number);
	spare_name(to, log->next_spare);
	fault_at(log_cut);
	rc = keep ? log->fs->ops->rename(log->fs, from, to, e)
		  : log->fs->ops->remove(log->fs, from, e);
	if (rc)
		return rc;
	if (keep)
		log->spare[log->nspare++] = log->next_spare++;
	log->nseg--;
	memmove(s, s + 1, log->nseg * sizeof(*s));
	return WEFT_OK;
}

/* A segment's last resourceVersion is the start_rv of the next.  One batch at
 * least stays, for the sake of its rv_limit. */
int log_cut(struct log *log, uint64_t rv, struct err *e)
{
	uint32_t keep = log->off > LOG_HEAD ? 1 : 2;
	int rc = WEFT_OK;

	while (!rc && log->nseg > keep && log->seg[1].start_rv <= rv)
		rc = segment_retire(log, e);
	return rc;
}

bool log_wants_spare(const struct log *log)
{
	return !log->nspare && log->nseg && !log->broken && log->off >= log_last(log)->size / 2;
}

void log_prepare(struct log *log)
{
	char from[NAME_MAX_LEN], to[NAME_MAX_LEN];
	int fd;

	if (!log_wants_spare(log))
		return;
	if (spare_take(log, log->segment_size, from, &fd, NULL))
		return;
	log->fs->ops->close(log->fs, fd);
	spare_name(to, log->next_spare);
	fault_at(log_prepare);
	if (!log->fs->ops->rename(log->fs, from, to, NULL))
		log->spare[log->nspare++] = log->next_spare++;
}

uint64_t log_start_rv(const struct log *log)
{
	return log->nseg ? log->seg[0].start_rv : 0;
}

uint64_t log_bytes(const struct log *log)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < log->nseg; i++)
		n += log->seg[i].size;
	return n;
}

uint32_t log_segments(const struct log *log)
{
	return log->nseg;
}

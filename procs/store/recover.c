/* recover.c - what recover.h promises. */
#include "procs/store/recover.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>

#include "procs/checkpoint/table.h"
#include "procs/store/quota.h"
#include "weft/fault.h"

/* --- The data directory's own file -------------------------------------------------- */

#define DATA_FILE_MAX 256

static int identity_write(struct files *fs, const uint8_t id[16], struct err *e)
{
	char text[DATA_FILE_MAX];
	int fd, n = snprintf(text, sizeof(text), "weft data %d\ncluster ", DATA_FORMAT);
	int rc = fs->ops->open(fs, DATA_FILE ".new", true, &fd, e);

	if (rc)
		return rc;
	for (int i = 0; i < 16; i++)
		n += snprintf(text + n, sizeof(text) - (size_t)n, "%02x", id[i]);
	text[n++] = '\n';
	rc = fs->ops->write(fs, fd, text, (size_t)n, 0, e);
	if (!rc)
		rc = fs->ops->sync(fs, fd, e);
	fs->ops->close(fs, fd);
	return rc ? rc : fs->ops->rename(fs, DATA_FILE ".new", DATA_FILE, e);
}

static int identity_parse(const char *text, uint8_t id[16], struct err *e)
{
	int format = 0, at = 0;

	if (sscanf(text, "weft data %d\ncluster %n", &format, &at) != 1 || format <= 0)
		return err_set(e, WEFT_ECORRUPT,
			       "'%s' is damaged at offset 0: not a data directory", DATA_FILE);
	if (format != DATA_FORMAT)
		return err_set(e, WEFT_ELAYOUT,
			       "the data directory has format %d, this weft reads format %d: "
			       "use the version of weft that made it",
			       format, DATA_FORMAT);
	for (int i = 0; i < 16; i++) {
		unsigned byte;

		if (!at || sscanf(text + at + 2 * i, "%2x", &byte) != 1)
			return err_set(e, WEFT_ECORRUPT,
				       "'%s' is damaged at offset %d: no cluster id", DATA_FILE,
				       at + 2 * i);
		id[i] = (uint8_t)byte;
	}
	return WEFT_OK;
}

int data_identify(struct files *fs, uint8_t cluster_id[16], struct err *e)
{
	char text[DATA_FILE_MAX] = "";
	struct err open_error = {0};
	size_t got = 0;
	int fd, rc = fs->ops->open(fs, DATA_FILE, false, &fd, &open_error);

	if (rc == WEFT_ENOENT) {
		if (getrandom(cluster_id, 16, 0) != 16)
			return err_set(e, WEFT_ESYS, "the kernel gives no random bytes");
		return identity_write(fs, cluster_id, e);
	}
	if (rc)
		return err_set(e, rc, "%s", open_error.msg);
	rc = fs->ops->read(fs, fd, text, sizeof(text) - 1, 0, &got, e);
	fs->ops->close(fs, fd);
	return rc ? rc : identity_parse(text, cluster_id, e);
}

/* --- What to do about damage -------------------------------------------------------- */

static void add_advice(struct err *e, int rc, const char *advice)
{
	size_t n = strlen(e->msg);

	if (rc == WEFT_ECORRUPT)
		snprintf(e->msg + n, sizeof(e->msg) - n, "; nothing was changed: %s", advice);
}

void advise_on_log(struct err *e, int rc)
{
	add_advice(e, rc,
		   "restore the data directory from a copy, or move '" DATA_LOG "' in it away "
		   "to go on from the checkpoint, without what was written after it");
}

static void advise_on_checkpoint(struct err *e, int rc)
{
	add_advice(e, rc,
		   "restore the data directory from a copy; if the log reaches back to the "
		   "beginning, moving '" DATA_CHECKPOINT "' in it away is enough");
}

/* --- Replay ------------------------------------------------------------------------- */

#define RECLAIM_EVERY 4096     /* records */
#define RV_SKIP	      10000000 /* beyond what a lost log can have given out */

static int replay_batch(void *arg, const struct log_batch *b, struct err *e)
{
	struct recovery *r = arg;
	struct str rest = b->body;
	struct rec rec;
	int rc;

	r->batches++;
	fault_at(store_replay);
	if (b->last_rv <= r->s->replay_after)
		return WEFT_OK;
	while ((rc = rec_decode(&rest, &rec)) > 0) {
		rc = replay_record(r->s, &rec, e);
		if (rc)
			break;
		if (++r->records % RECLAIM_EVERY == 0)
			cw_reclaim(r->w, UINT32_MAX);
	}
	if (rc == WEFT_ECORRUPT && e && !e->msg[0])
		err_set(e, rc, "not a record");
	if (rc && e)
		err_wrap(e, "log file '%s' is damaged at offset %" PRIu64, b->file,
			 b->off + LOG_HEAD + (uint64_t)(rest.p - b->body.p));
	return rc;
}

/* Give back all that replay let go: nobody reads yet. */
static void settle(struct cache_writer *w)
{
	for (int i = 0; i < 4; i++)
		cw_reclaim(w, UINT32_MAX);
}

static int load_checkpoint(struct recovery *r, struct err *e)
{
	int rc = WEFT_OK;

	if (r->checkpoint)
		rc = table_load(r->checkpoint, r->w, r->cluster_id, r->s->memory_types,
				&r->checkpoint_rv, e);
	if (!rc)
		rc = cw_restore_done(r->w);
	if (!rc && log_start_rv(r->log) > r->checkpoint_rv)
		rc = err_set(e, WEFT_ECORRUPT,
			     "the log begins after resourceVersion %" PRIu64
			     ", but checkpoint '%s' ends at %" PRIu64
			     ": one of them is not this one's",
			     log_start_rv(r->log), r->checkpoint ? r->checkpoint : "none",
			     r->checkpoint_rv);
	return rc;
}

int recover(struct recovery *r, struct err *e)
{
	uint64_t rv = log_rv_bound(r->log), checkpoint_rv = 0;
	int rc = WEFT_OK;

	if (r->checkpoint)
		rc = table_peek_rv(r->checkpoint, &checkpoint_rv, e);
	if (rc) {
		advise_on_checkpoint(e, rc);
		return err_wrap(e, "recover"), rc;
	}
	if (checkpoint_rv && !log_segments(r->log)) {
		log_warn("there is no log: going on from the checkpoint at resourceVersion %" PRIu64
			 ", without what was written after it",
			 checkpoint_rv);
		checkpoint_rv += RV_SKIP;
	}
	rv = checkpoint_rv > rv ? checkpoint_rv : rv;
	rc = cw_create(&r->w, r->segment_name, r->generation, r->cluster_id, rv, &r->options, e);
	if (rc)
		return err_wrap(e, "recover"), rc;
	store_init(r->s, r->w);
	if (r->configure)
		r->configure(r->arg, r->s);
	rc = load_checkpoint(r, e);
	r->s->replay_after = r->checkpoint_rv;
	fault_at(store_load);
	if (rc)
		advise_on_checkpoint(e, rc);
	else if ((rc = log_replay(r->log, replay_batch, r, e)))
		advise_on_log(e, rc);
	r->s->rv = rv;
	if (!rc) {
		settle(r->w);
		quotas_recover(r->s);
		return WEFT_OK;
	}
	store_free(r->s);
	cw_close(r->w);
	seg_unlink(r->segment_name, NULL);
	err_wrap(e, "recover");
	return rc;
}

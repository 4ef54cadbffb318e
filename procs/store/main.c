/*
 * main.c - the store as a process: recovery, then one loop over everybody's
 * rings.
 *
 * The loop does what can be done and then sleeps on its bell.  Three others ring
 * it: processes with requests, the log's thread with a durable batch, the
 * supervisor with a change of the control segment.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "procs/lib/awake.h"
#include "procs/store/ports.h"
#include "procs/store/quota.h"
#include "procs/store/recover.h"
#include "weft/fault.h"
#include "weft/value.h"

#define IDLE_WAIT_MS	2000 /* the heartbeat, or sooner */
#define RECLAIM_WAIT_MS 10
#define BLOCKED_WAIT_MS 1
#define RECLAIM_MAX	65536u
#define STALL_MS	5000
#define LOCK_WAIT_NS	(10 * INT64_C(1000000000))
#define RECOVERY_NS	(600 * INT64_C(1000000000)) /* the longest that one may take */

/* What we have mapped of a process. */
struct mapped {
	struct seg proc, inbox;
	bool open;
};

struct main {
	struct proc *p;
	const struct control *control;
	struct proc_segment *own;
	struct files *dir, *log_dir;
	struct log *log;
	struct log_thread *log_thread;
	struct recovery recovery;
	struct store store;
	struct committer commit;
	struct ports ports;
	struct mapped mapped[PROC_SLOTS];
	uint32_t reader_slot[PROC_SLOTS * PRCU_READERS_MAX];
	uint64_t cluster;
	uint64_t map_seen[PROC_KIND_COUNT];  /* shard maps' words acted on */
	uint64_t map_batch[PROC_KIND_COUNT]; /* batch after which to confirm; 0: confirmed */
	uint32_t changes;
	bool scanned;
	bool rescan; /* somebody's segments could not be mapped: try again soon */
	int64_t stall_ns;
	int idle_ms; /* the longest sleep */
	struct awake awake;
	int64_t reclaimed_at;
	uint64_t reclaimed;
};

/* --- Starting ----------------------------------------------------------------------- */

/* One store at a time, whatever became of the supervisor that started the one
 * before: its lock ends when the last of its threads has left the kernel, and
 * with that its last write. */
static int lock_log(struct main *m, const char *path, struct err *e)
{
	int64_t until = proc_mono_ns() + LOCK_WAIT_NS;
	struct timespec pause = {.tv_nsec = 1000000};
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_errno(e, errno, "open '%s'", path);
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK || proc_mono_ns() > until) {
			int why = errno;

			close(fd);
			return err_errno(e, why, "lock '%s': another store writes to it", path);
		}
		proc_beat(m->p);
		nanosleep(&pause, NULL);
	}
	return WEFT_OK; /* held for as long as we live */
}

static int open_data(struct main *m, struct err *e)
{
	const value *config = proc_config(m->p);
	char path[sizeof(m->control->data_dir) + 32];
	int64_t segment = v_as_int(v_path(config, "log.segment"), 0);
	int rc;

	rc = file_dir_open(&m->dir, m->control->data_dir, e);
	if (!rc)
		rc = data_identify(m->dir, m->recovery.cluster_id, e);
	if (rc)
		return rc;
	snprintf(path, sizeof(path), "%s/" DATA_LOG, m->control->data_dir);
	rc = file_dir_open(&m->log_dir, path, e);
	if (!rc)
		rc = lock_log(m, path, e);
	if (!rc)
		rc = log_open(&m->log, m->log_dir, m->recovery.cluster_id,
			      segment > 0 ? (uint64_t)segment : LOG_SEGMENT_DEFAULT, e);
	if (rc)
		advise_on_log(e, rc);
	return rc;
}

static void take_options(struct main *m)
{
	const value *config = proc_config(m->p);
	struct cache_options *o = &m->recovery.options;

	o->pod_type = TYPE_POD;
	o->node_type = TYPE_NODE;
	o->grow_ahead = true;
	o->size_max = (uint64_t)v_as_int(v_path(config, "cache.max"), 0);
	o->size_first = (uint64_t)v_as_int(v_path(config, "cache.first"), 0);
	o->journal_min = (uint32_t)v_as_int(v_path(config, "cache.journalMin"), 0);
	o->journal_max = (uint32_t)v_as_int(v_path(config, "cache.journalMax"), 0);
	m->stall_ns = v_as_int(v_path(config, "supervisor.stallAfter"), STALL_MS) * 1000000;
	m->idle_ms =
		m->stall_ns / 3000000 < IDLE_WAIT_MS ? (int)(m->stall_ns / 3000000) : IDLE_WAIT_MS;
}

/* "durability": which resources' writes are not logged, as "plural.group". */
static void take_durability(void *arg, struct store *store)
{
	const value *config = proc_config(((struct main *)arg)->p);
	uint32_t n;
	const struct kube_resource *r = kube_resources(&n);

	for (uint32_t i = 0; i < n; i++) {
		char name[256];
		struct str how;

		snprintf(name, sizeof(name), "%s%s%s", r[i].resource, r[i].group[0] ? "." : "",
			 r[i].group);
		how = v_get_str(v_get(config, "durability"), name);
		if (r[i].type && how.n)
			store_set_memory(store, r[i].type, str_eq(how, STR("memory")));
	}
}

static int make_generation(struct main *m, struct err *e)
{
	static char name[SEG_NAME_MAX];
	static char checkpoint[sizeof(m->control->data_dir) + 32];
	struct recovery *r = &m->recovery;
	int64_t from = proc_mono_ns();
	int rc;

	snprintf(checkpoint, sizeof(checkpoint), "%s/" DATA_CHECKPOINT, m->control->data_dir);
	r->s = &m->store;
	r->log = m->log;
	r->checkpoint = checkpoint;
	r->generation = atomic_load_explicit(&m->control->generation, memory_order_acquire) + 1;
	proc_name_cache(name, m->cluster, r->generation);
	r->segment_name = name;
	r->configure = take_durability;
	r->arg = m;
	seg_unlink(name, NULL); /* of a store that died while it made it */
	proc_beat_ahead(m->p, RECOVERY_NS);
	rc = recover(r, e);
	proc_beat(m->p);
	if (rc)
		return rc;
	log_info("generation %u at resourceVersion %llu: checkpoint to %llu, %llu records from "
		 "%llu batches of the log, in %lld ms",
		 r->generation, (unsigned long long)m->store.rv,
		 (unsigned long long)r->checkpoint_rv, (unsigned long long)r->records,
		 (unsigned long long)r->batches, (long long)(proc_mono_ns() - from) / 1000000);
	return WEFT_OK;
}

static void beat_from_log(void *p)
{
	proc_beat_beside(p);
}

static int start(struct main *m, struct err *e)
{
	struct commit_hooks hooks = ports_hooks(&m->ports);
	struct log_beat beat = {.fn = beat_from_log, .arg = m->p};
	int rc = open_data(m, e);

	if (rc)
		return rc;
	take_options(m);
	beat.every_ns = m->idle_ms * INT64_C(1000000);
	rc = make_generation(m, e);
	if (rc)
		return rc;
	rc = log_thread_start(&m->log_thread, m->log, PROC_BELL_FD(STORE_SLOT), &beat, e);
	if (rc)
		return rc;
	commit_init(&m->commit, &m->store, m->log_thread, m->store.rv, &hooks);
	ports_init(&m->ports, &m->store, &m->commit, m->recovery.generation);
	return WEFT_OK;
}

/* --- Processes that come and go ----------------------------------------------------- */

static void set_readers(struct main *m)
{
	static struct prcu_reader *readers[PROC_SLOTS * PRCU_READERS_MAX];
	size_t n = 0;

	for (uint32_t i = 0; i < PROC_SLOTS; i++) {
		struct proc_segment *seg = (struct proc_segment *)m->mapped[i].proc.base;

		for (uint32_t k = 0; m->mapped[i].open && k < PRCU_READERS_MAX; k++) {
			m->reader_slot[n] = i;
			readers[n++] = &seg->readers[k];
		}
	}
	cw_set_readers(m->store.w, readers, n);
}

static void unmap(struct main *m, uint32_t slot)
{
	struct mapped *at = &m->mapped[slot];

	if (!at->open)
		return;
	port_close(&m->ports, slot);
	at->open = false;
	set_readers(m);
	seg_close(&at->proc);
	seg_close(&at->inbox);
}

static int map_segments(struct main *m, uint32_t slot, uint32_t incarnation, struct err *e)
{
	struct mapped *at = &m->mapped[slot];
	char name[SEG_NAME_MAX];
	int rc;

	fault_at(store_map);
	proc_name_proc(name, m->cluster, slot, incarnation);
	rc = seg_open(&at->proc, name, SEG_PROC, proc_layout_proc(), false, e);
	if (rc)
		return rc;
	proc_name_inbox(name, m->cluster, slot, incarnation);
	rc = seg_open(&at->inbox, name, SEG_INBOX, proc_layout_inbox(), true, e);
	if (rc)
		seg_close(&at->proc);
	return rc;
}

/* What it writes cannot be read.  If it still runs it is of no use to anybody; if
 * not, its successor has not to wait for what it left.  The inbox is ours. */
static void give_up(struct main *m, uint32_t slot, uint32_t incarnation)
{
	char name[SEG_NAME_MAX];
	struct seg inbox;

	m->ports.hostile = PROC_WHO(slot, incarnation);
	proc_name_inbox(name, m->cluster, slot, incarnation);
	if (seg_open(&inbox, name, SEG_INBOX, proc_layout_inbox(), true, NULL))
		return;
	atomic_store_explicit(&((struct inbox_segment *)inbox.base)->drained, incarnation,
			      memory_order_release);
	seg_close(&inbox);
}

static void map_slot(struct main *m, uint32_t slot, const struct slot *s, uint32_t incarnation)
{
	struct mapped *at = &m->mapped[slot];
	struct proc_segment *proc;
	struct inbox_segment *inbox;
	struct err e = {0};
	int rc = map_segments(m, slot, incarnation, &e);

	if (rc) {
		log_warn("slot %u: %s", slot, e.msg);
		if (rc == WEFT_ELAYOUT || rc == WEFT_ECORRUPT)
			give_up(m, slot, incarnation);
		else if (rc != WEFT_ENOENT) /* memory or descriptors are used up */
			m->rescan = true;
		return;
	}
	proc = (struct proc_segment *)at->proc.base;
	inbox = (struct inbox_segment *)at->inbox.base;
	at->open = true;
	rc = port_open(&m->ports, slot, s->kind, s->shard, incarnation, &proc->out,
		       &inbox->requests, s->ring_out, &inbox->out, &proc->inbox,
		       PROC_BELL_FD(slot));
	if (rc) {
		log_warn("slot %u: its ring has another size", slot);
		give_up(m, slot, incarnation);
		unmap(m, slot);
		return;
	}
	set_readers(m);
	if (inbox->opened == incarnation)
		return;
	/* It may have read the cache before we knew of it: what was published
	 * since then, or between, it would never hear of. */
	inbox->opened = incarnation;
	port_mark(&m->ports, slot);
}

static void watch_slot(struct main *m, uint32_t slot)
{
	const struct slot *s = &m->control->slots[slot];
	struct port *t = &m->ports.port[slot];
	/* [control.A1] pairs with [control.R1]: the slot's fields are whole. */
	uint32_t state = atomic_load_explicit(&s->state, memory_order_acquire);
	uint32_t incarnation = atomic_load_explicit(&s->incarnation, memory_order_relaxed);

	if (t->open && (state == SLOT_FREE || t->incarnation != incarnation))
		unmap(m, slot);
	if (state == SLOT_FREE)
		return;
	if (!t->open)
		map_slot(m, slot, s, incarnation);
	if (!t->open)
		return;
	t->routed = state == SLOT_STARTING || state == SLOT_RUNNING;
	t->dead = state == SLOT_DEAD;
}

static void watch_map(struct main *m, uint32_t kind)
{
	/* [control.A2] pairs with [control.R2]. */
	uint64_t word = atomic_load_explicit(&m->control->maps[kind].next, memory_order_acquire);

	if (word == m->map_seen[kind])
		return;
	m->map_seen[kind] = word;
	m->map_batch[kind] = m->commit.filled;
	if (SHARD_EPOCH(word) > 1)
		log_info("%s: epoch %u, of %u processes, from resourceVersion %llu on",
			 proc_kind_info((enum proc_kind)kind)->name, SHARD_EPOCH(word),
			 SHARD_COUNT(word), (unsigned long long)m->store.rv + 1);
	ports_set_map(&m->ports, kind, SHARD_EPOCH(word), SHARD_COUNT(word));
}

static void watch_control(struct main *m)
{
	uint32_t changes = atomic_load_explicit(&m->control->changes, memory_order_acquire);

	if (m->scanned && changes == m->changes)
		return;
	m->changes = changes;
	m->scanned = true;
	for (uint32_t i = 0; i < PROC_SLOTS; i++)
		if (i != STORE_SLOT)
			watch_slot(m, i);
	for (uint32_t k = 0; k < PROC_KIND_COUNT; k++)
		watch_map(m, k);
	ports_retarget(&m->ports);
}

/* Everything that was accepted up to batch n is published. */
static bool settled(const struct main *m, uint64_t n)
{
	return m->commit.published >= n || commit_idle(&m->commit);
}

/* Tell the supervisor what has come to pass. */
static void confirm(struct main *m)
{
	bool tell = false;

	for (uint32_t i = 0; i < PROC_SLOTS; i++) {
		struct port *t = &m->ports.port[i];

		if (!t->open || !t->dead || !t->drained_at || !settled(m, t->drained_at))
			continue;
		fault_at(store_drained);
		atomic_store_explicit(&((struct inbox_segment *)m->mapped[i].inbox.base)->drained,
				      t->incarnation, memory_order_release);
		unmap(m, i);
		tell = true;
	}
	for (uint32_t k = 0; k < PROC_KIND_COUNT; k++) {
		if (!m->map_batch[k] || !settled(m, m->map_batch[k]))
			continue;
		m->map_batch[k] = 0;
		fault_at(store_epoch);
		atomic_store_explicit(&m->own->epochs[k], SHARD_EPOCH(m->map_seen[k]),
				      memory_order_release);
		tell = true;
	}
	if (m->ports.hostile) {
		atomic_store_explicit(&m->own->hostile_slot, m->ports.hostile,
				      memory_order_release);
		m->ports.hostile = 0;
		tell = true;
	}
	if (tell)
		proc_tell_supervisor();
}

/* --- Housekeeping ------------------------------------------------------------------- */

static void report_stall(struct main *m, int64_t now)
{
	int64_t since = 0;
	size_t reader = 0;
	bool blocked = cw_blocker(m->store.w, &reader, &since);
	uint32_t slot = blocked ? m->reader_slot[reader] : 0;
	uint64_t who = blocked ? PROC_WHO(slot, m->ports.port[slot].incarnation) : 0;

	prcu_set_relaxed(&proc_counters(m->p)->grace_age_ms,
			 blocked ? (uint64_t)(now - since) / 1000000 : 0);
	if (!blocked || now - since < m->stall_ns)
		who = 0;
	if (who == prcu_own(&m->own->stalled_slot))
		return;
	atomic_store_explicit(&m->own->stalled_slot, who, memory_order_release);
	if (who) {
		log_warn("slot %u has been in one read section for %lld ms", slot,
			 (long long)(now - since) / 1000000);
		proc_tell_supervisor();
	}
}

/* Up to where the checkpoint says that it has everything; 0 if what is there
 * makes no sense, or is just being changed. */
static uint64_t safe_rv(const struct main *m, const struct proc_segment *seg)
{
	/* [checkpoint.A1] pairs with [checkpoint.R1]: the tables are on the disk. */
	uint64_t rv = atomic_load_explicit(&seg->safe_rv, memory_order_acquire);

	if (atomic_load_explicit(&seg->safe_rv_inverted, memory_order_relaxed) != ~rv)
		return 0;
	return rv <= cache_rv(m->store.c) ? rv : 0;
}

static void recycle_log(struct main *m)
{
	for (uint32_t i = 0; i < PROC_SLOTS; i++) {
		const struct port *t = &m->ports.port[i];
		const struct proc_segment *seg = (struct proc_segment *)m->mapped[i].proc.base;

		if (t->open && t->kind == PROC_CHECKPOINT)
			log_thread_cut(m->log_thread, safe_rv(m, seg));
	}
}

static void count(struct main *m)
{
	struct proc_counters *n = proc_counters(m->p);

	/* Relaxed: numbers for people. */
	prcu_set_relaxed(&n->batches, m->commit.published);
	prcu_set_relaxed(&n->writes, m->commit.writes);
	prcu_set_relaxed(&n->log_bytes, m->commit.log_bytes);
	prcu_set_relaxed(&n->malformed, m->ports.malformed);
	prcu_set_relaxed(&n->reclaimed, m->reclaimed);
}

/* Tests ask for it. */
static void verify(struct main *m)
{
	struct err e = {0};

	if (cw_verify(m->store.w, &e) || quotas_verify(&m->store, &e))
		log_error("the cache is not sound: %s", e.msg);
	else
		log_info("the cache is sound");
}

/* Now and then; returns in how many ms it wants to be called again. */
static int housekeep(struct main *m)
{
	int64_t now = proc_mono_ns();
	size_t freed;

	if (now - m->reclaimed_at < RECLAIM_WAIT_MS * 1000000)
		return RECLAIM_WAIT_MS;
	m->reclaimed_at = now;
	m->scanned &= !m->rescan;
	m->rescan = false;
	freed = cw_reclaim(m->store.w, RECLAIM_MAX);
	m->reclaimed += freed;
	if (fault_fails(store_verify))
		verify(m);
	report_stall(m, clock_mono_ns());
	recycle_log(m);
	count(m);
	proc_beat(m->p);
	return freed ? RECLAIM_WAIT_MS : m->idle_ms;
}

/* --- The loop ----------------------------------------------------------------------- */

static int look_for_bell(void *arg, int64_t wait_ns)
{
	struct pollfd fd = {.fd = PROC_BELL_FD(STORE_SLOT), .events = POLLIN};

	if (poll(&fd, 1, (int)((wait_ns + 999999) / 1000000)) <= 0)
		return 0;
	bell_clear(fd.fd);
	return 1;
}

static void wait_for_bell(struct main *m, int ms)
{
	/* A full batch waits for the log, whoever asks for what. */
	if (!commit_full(&m->commit) && !ports_sleep(&m->ports))
		return;
	log_thread_hurry(m->log_thread, m->commit.prompt);
	if (m->ports.blocked)
		ms = BLOCKED_WAIT_MS;
	if (m->commit.prompt) {
		awake_wait(&m->awake, look_for_bell, m, ms * INT64_C(1000000));
		m->commit.prompt = m->awake.expecting;
	} else {
		look_for_bell(m, ms * INT64_C(1000000));
	}
	ports_awake(&m->ports);
}

static void serve(struct main *m)
{
	int wait = 0;

	while (!proc_stopping(m->p)) {
		bool did;

		watch_control(m);
		did = ports_drain(&m->ports);
		did |= commit_turn(&m->commit);
		confirm(m);
		wait = housekeep(m);
		if (!did)
			wait_for_bell(m, wait);
	}
}

/* Everybody else has stopped: take what they left, and close the log. */
static int stop(struct main *m)
{
	struct err e = {0};

	watch_control(m);
	while (ports_drain(&m->ports) || !commit_idle(&m->commit))
		commit_drain(&m->commit);
	confirm(m);
	if (commit_finish(&m->commit, &e))
		log_warn("the log could not be closed: %s", e.msg);
	log_thread_stop(m->log_thread);
	log_close(m->log);
	file_dir_close(m->log_dir);
	file_dir_close(m->dir);
	return 0;
}

int store_main(void)
{
	struct main *m = calloc(1, sizeof(*m));
	struct err e = {0};

	weft_assert(m);
	m->p = proc_start(PROC_STORE);
	m->control = proc_control(m->p);
	m->own = proc_own(m->p);
	m->cluster = m->control->cluster_hash;
	if (start(m, &e)) {
		log_error("%s", e.msg);
		return 1;
	}
	fault_at(store_made);
	atomic_store_explicit(&m->own->made_generation, m->recovery.generation,
			      memory_order_release);
	proc_ready(m->p);
	serve(m);
	return stop(m);
}

/* view.c - a running cluster seen from outside, through its segments alone. */
#include "procs/supervisor/commands.h"

#include <assert.h>
#include <stdio.h>

static const struct {
	const char *name, *text;
} counters[] = {
#define X(n, t) {#n, t},
	PROC_COUNTERS(X)
#undef X
};

static_assert(countof(counters) * sizeof(uint64_t) == sizeof(struct proc_counters),
	      "every counter has its name");
static_assert(countof(counters) <= countof(((struct view_row *)0)->counter),
	      "a row holds every counter");

uint32_t view_counter_count(void)
{
	return countof(counters);
}

const char *view_counter_name(uint32_t i)
{
	return counters[i].name;
}

const char *view_counter_text(uint32_t i)
{
	return counters[i].text;
}

const char *view_state(const struct view_row *row)
{
	static const char *const names[] = {
		[SLOT_FREE] = "free",	      [SLOT_STARTING] = "starting",
		[SLOT_RUNNING] = "running",   [SLOT_DEAD] = "restarting",
		[SLOT_STOPPING] = "stopping",
	};

	return row->state < countof(names) ? names[row->state] : "unknown";
}

int command_cluster(struct datadir *d, const char *data, struct err *e)
{
	const char *named = data;
	char path[512];
	int rc;

	*d = (struct datadir){.fd = -1, .lock_fd = -1};
	if (!data) {
		rc = datadir_default(path, e);
		if (rc)
			return rc;
		data = path;
	}
	rc = datadir_find(d, data, e);
	if (!rc && !datadir_in_use(d))
		rc = WEFT_ENOENT;
	if (rc == WEFT_ENOENT)
		err_set(e, rc,
			"no cluster runs on '%s': start one with `weft up%s%s`, or name another's "
			"directory with --data",
			data, named ? " --data " : "", named ? named : "");
	return rc;
}

int view_open(struct view *v, const char *data, struct err *e)
{
	char name[SEG_NAME_MAX];
	int rc;

	memset(v, 0, sizeof(*v));
	rc = command_cluster(&v->dir, data, e);
	if (rc)
		return rc;
	proc_name_control(name, v->dir.cluster);
	rc = seg_open(&v->control_seg, name, SEG_CONTROL, proc_layout_control(), false, e);
	if (rc)
		return err_wrap(e, "control segment");
	v->control = (const struct control *)v->control_seg.base;
	return 0;
}

void view_close(struct view *v)
{
	if (v->control)
		seg_close(&v->control_seg);
	if (v->dir.fd >= 0)
		datadir_leave(&v->dir);
	v->control = NULL;
}

/* Bytes in a ring; both words move meanwhile, which may make it look a little
 * too full or empty. */
static uint64_t ring_fill(const struct ring_out *out, const struct ring_in *in)
{
	uint64_t tail = atomic_load_explicit(&in->tail, memory_order_relaxed);
	uint64_t head = atomic_load_explicit(&out->head, memory_order_relaxed);

	return head > tail ? head - tail : 0;
}

static void read_rings(struct view *v, struct view_row *row, const struct proc_segment *own)
{
	char name[SEG_NAME_MAX];
	struct seg seg;

	proc_name_inbox(name, v->dir.cluster, row->slot, row->incarnation);
	if (row->kind == PROC_STORE ||
	    seg_open(&seg, name, SEG_INBOX, proc_layout_inbox(), false, NULL))
		return;
	const struct inbox_segment *inbox = (const struct inbox_segment *)seg.base;

	row->out_used = ring_fill(&own->out, &inbox->requests);
	row->in_used = ring_fill(&inbox->out, &own->inbox);
	seg_close(&seg);
}

static void read_process(struct view *v, struct view_row *row)
{
	const struct proc_segment *own;
	char name[SEG_NAME_MAX];
	struct seg seg;
	int64_t beat;

	proc_name_proc(name, v->dir.cluster, row->slot, row->incarnation);
	if (seg_open(&seg, name, SEG_PROC, proc_layout_proc(), false, NULL))
		return; /* it ends just now */
	own = (const struct proc_segment *)seg.base;
	beat = atomic_load_explicit(&own->heartbeat_ns, memory_order_relaxed);
	if (beat) /* 0 for one that is ahead, see proc_beat_ahead() */
		row->beat_ms = proc_mono_ns() > beat ? (proc_mono_ns() - beat) / 1000000 : 0;
	row->generation = atomic_load_explicit(&own->generation, memory_order_relaxed);
	for (uint32_t i = 0; i < countof(counters); i++)
		row->counter[i] = atomic_load_explicit((const _Atomic uint64_t *)&own->counters + i,
						       memory_order_relaxed);
	read_rings(v, row, own);
	seg_close(&seg);
}

void view_read(struct view *v)
{
	int64_t now = proc_mono_ns();

	v->nrows = 0;
	for (uint32_t i = 0; i < PROC_SLOTS; i++) {
		const struct slot *slot = &v->control->slots[i];
		struct view_row *row = &v->row[v->nrows];

		*row = (struct view_row){.slot = i, .beat_ms = -1};
		/* [control.A1] pairs with [control.R1]. */
		row->state = atomic_load_explicit(&slot->state, memory_order_acquire);
		if (row->state == SLOT_FREE || slot->kind >= PROC_KIND_COUNT)
			continue;
		row->kind = slot->kind;
		row->shard = slot->shard;
		row->incarnation = atomic_load(&slot->incarnation);
		row->pid = atomic_load(&slot->pid);
		row->restarts = atomic_load(&slot->restarts);
		row->out_size = slot->ring_out;
		row->in_size = slot->ring_in;
		row->up_ms = (now - atomic_load(&slot->started_ns)) / 1000000;
		read_process(v, row);
		v->nrows++;
	}
}

static uint64_t oldest_ms(const struct view *v, uint32_t kind)
{
	uint64_t oldest = 0;

	for (uint32_t i = 0; i < v->nrows; i++)
		if (v->row[i].kind == kind && v->row[i].counter[COUNTER_queue_age_ms] > oldest)
			oldest = v->row[i].counter[COUNTER_queue_age_ms];
	return oldest;
}

void view_print_bounds(const struct view *v)
{
	for (uint32_t k = 0; k < PROC_KIND_COUNT; k++) {
		const struct shard_map *map = &v->control->maps[k];

		if (map->max)
			printf("%s: %u of %u to %u processes, work waits %llums\n",
			       proc_kind_info((enum proc_kind)k)->name,
			       SHARD_COUNT(atomic_load(&map->now)), map->min, map->max,
			       (unsigned long long)oldest_ms(v, k));
	}
}

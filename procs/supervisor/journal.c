/* journal.c - `weft journal`: every change with its cause, from the cache's segment
 * alone.
 *
 * The store does not know of this reader and does not wait for it.  So it keeps away from
 * the end of the journal's window, copies what it is going to print, and believes the copy
 * only if the window had not come near it by then. */
#include "procs/supervisor/commands.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "weft/json.h"
#include "weft/kube.h"

#define CHUNK	256
#define POLL_NS 20000000
#define MARGIN	8 /* a part of the window that is not read */

struct journal {
	struct datadir dir;
	struct seg control_seg;
	const struct control *control;
	struct cache *cache; /* of `generation` */
	uint32_t generation;
	struct prcu_reader reader;
	uint64_t at;	 /* printed up to here */
	uint64_t window; /* records that the journal holds at least */
	bool follow;
	struct buf line;
};

static volatile sig_atomic_t stop;

static void on_signal(int sig)
{
	stop = 1;
}

/* --- One change --------------------------------------------------------------------- */

static void put_text(struct buf *out, const char *key, struct str text)
{
	if (!text.n)
		return;
	buf_printf(out, ",\"%s\":", key);
	json_quote(out, text);
}

static void put_uid(struct buf *out, const char *key, const uint8_t uid[16])
{
	char text[37];

	uid_format(uid, text);
	put_text(out, key, str_of(text));
}

static const char *operation(const struct version *v)
{
	return v->flags & VERSION_TOMBSTONE ? "delete"
	       : v->flags & VERSION_FIRST   ? "create"
					    : "update";
}

static void put_object(struct journal *j, const struct entry *e)
{
	const struct kube_resource *r = e->type < TYPE_MAX ? kube_by_type(e->type) : NULL;
	uint32_t owner = prcu_dereference(&e->owner);

	if (r)
		put_text(&j->line, "resource", str_of(r->resource));
	if (r)
		put_text(&j->line, "group", str_of(r->group));
	put_text(&j->line, "namespace", cache_ns(j->cache, e));
	put_text(&j->line, "name", entry_name(e));
	put_uid(&j->line, "uid", e->uid);
	if (owner)
		put_uid(&j->line, "owner", cache_entry(j->cache, (entry_ref){owner})->uid);
}

static void put_change(struct journal *j, const struct version *v)
{
	j->line.n = 0;
	buf_printf(&j->line, "{\"resourceVersion\":%llu,\"operation\":\"%s\"",
		   (unsigned long long)v->rv, operation(v));
	put_object(j, cache_entry(j->cache, v->entry));
	if (v->hot.node.u)
		put_text(&j->line, "node", cache_node_name(j->cache, v));
	if (v->writer_kind < PROC_KIND_COUNT)
		put_text(&j->line, "by", str_of(proc_kind_info(v->writer_kind)->name));
	buf_printf(&j->line, ",\"slot\":%u", CAUSE_SLOT(v->cause));
	if (CAUSE_RV(v->cause))
		buf_printf(&j->line, ",\"because\":%llu", (unsigned long long)CAUSE_RV(v->cause));
	buf_puts(&j->line, "}\n");
}

/* --- The journal -------------------------------------------------------------------- */

/* The first one that is far enough from the end of the window; while that is not full,
 * nothing leaves it. */
static uint64_t first_safe(const struct journal *j)
{
	uint64_t oldest = cache_oldest(j->cache), n = cache_rv(j->cache) + 1 - oldest;

	return n < j->window ? oldest : oldest + n / MARGIN;
}

static void tell_gap(struct journal *j, uint64_t to)
{
	printf("{\"missed\":[%llu,%llu]}\n", (unsigned long long)j->at + 1, (unsigned long long)to);
	j->at = to;
}

/* Print what is there; false if there was nothing. */
static bool print_some(struct journal *j)
{
	const struct version *some[CHUNK];
	int n;

	if (j->at + 1 < cache_oldest(j->cache))
		tell_gap(j, first_safe(j) - 1);
	cache_lock(j->cache);
	n = cache_journal(j->cache, j->at, some, CHUNK);
	for (int i = 0; i < n; i++) {
		put_change(j, some[i]);
		if (j->at + 1 < cache_oldest(j->cache))
			break; /* it may be something else by now */
		fwrite(j->line.p, 1, j->line.n, stdout);
		j->at++;
	}
	cache_unlock(j->cache);
	return n != 0;
}

/* --- Generations -------------------------------------------------------------------- */

static bool attach(struct journal *j)
{
	uint32_t generation = atomic_load(&j->control->generation);
	char name[SEG_NAME_MAX];

	proc_name_cache(name, j->dir.cluster, generation);
	if (cache_attach(&j->cache, name, &j->reader, NULL))
		j->cache = NULL;
	else
		j->generation = generation;
	return j->cache != NULL;
}

/* What was on the disk when the store ended, and in no journal: the newest state of each
 * object is there. */
static void print_recovered(struct journal *j)
{
	const struct str none = {0};
	struct cache_iter it;
	const struct entry *e;
	uint32_t n;
	const struct kube_resource *r = kube_resources(&n);

	cache_lock(j->cache);
	for (uint32_t i = 0; i < n; i++) {
		if (!r[i].type || !r[i].stored_version)
			continue;
		cache_iter_init(&it, j->cache, r[i].type, none, none, none);
		while ((e = cache_iter_next(&it))) {
			const struct version *v = cache_live(j->cache, e);

			if (!v || v->rv <= j->at || v->rv >= cache_oldest(j->cache))
				continue;
			put_change(j, v);
			fwrite(j->line.p, 1, j->line.n, stdout);
		}
	}
	cache_unlock(j->cache);
}

/* The store was started again: its last generation is read to the end, then the next. */
static void follow_generation(struct journal *j)
{
	if (atomic_load(&j->control->generation) == j->generation && j->cache)
		return;
	if (j->cache) {
		while (print_some(j))
			;
		cache_detach(j->cache);
		j->cache = NULL;
	}
	if (!attach(j))
		return;
	print_recovered(j);
	if (j->at + 1 < cache_oldest(j->cache))
		tell_gap(j, cache_oldest(j->cache) - 1);
}

static void run(struct journal *j)
{
	struct timespec pause = {.tv_nsec = POLL_NS};

	while (!stop && !ferror(stdout)) {
		follow_generation(j);
		if (j->cache && print_some(j))
			continue;
		fflush(stdout);
		if (!j->follow || !datadir_in_use(&j->dir))
			return;
		nanosleep(&pause, NULL);
	}
}

/* --- The command -------------------------------------------------------------------- */

static uint64_t smallest_window(const struct control *control)
{
	zone *z = zone_new();
	value config;
	int64_t n = 0;

	if (json_decode(z, (struct str){control->config, control->config_len}, &config, NULL,
			NULL) == 0)
		n = v_as_int(v_path(&config, "cache.journalMin"), 0);
	zone_free(z);
	return n > 0 ? (uint64_t)n : 0;
}

static int open_journal(struct journal *j, const char *data, struct err *e)
{
	char name[SEG_NAME_MAX];
	int rc = command_cluster(&j->dir, data, e);

	if (rc)
		return rc;
	proc_name_control(name, j->dir.cluster);
	rc = seg_open(&j->control_seg, name, SEG_CONTROL, proc_layout_control(), false, e);
	if (rc)
		return err_wrap(e, "control segment");
	j->control = (const struct control *)j->control_seg.base;
	j->window = smallest_window(j->control);
	if (!attach(j))
		return err_set(e, WEFT_EAGAIN, "the store has made no cache yet");
	return 0;
}

static void close_journal(struct journal *j)
{
	if (j->cache)
		cache_detach(j->cache);
	if (j->control)
		seg_close(&j->control_seg);
	datadir_leave(&j->dir);
	buf_free(&j->line);
}

int command_journal(int argc, char **argv)
{
	static const struct option options[] = {{"data", required_argument, NULL, 'd'},
						{"after", required_argument, NULL, 'a'},
						{"follow", no_argument, NULL, 'f'},
						{0}};
	struct sigaction action = {.sa_handler = on_signal};
	const char *data = NULL, *after = NULL;
	struct journal j = {.dir = {.fd = -1, .lock_fd = -1}};
	struct err e = {0};
	char *end;
	int opt, rc;

	while ((opt = command_option(argc, argv, ":f", options)) != -1) {
		if (opt == 'd')
			data = optarg;
		else if (opt == 'f')
			j.follow = true;
		else if (opt == '?')
			return 2;
		else
			after = optarg;
	}
	if (optind < argc)
		return command_usage("journal", "'%s' is not expected", argv[optind]);
	j.at = after ? strtoull(after, &end, 10) : 0;
	if (after && (*after < '0' || *after > '9' || *end))
		return command_usage("journal", "'%s' is not a resourceVersion", after);
	rc = open_journal(&j, data, &e);
	if (!rc) {
		if (!after)
			j.at = first_safe(&j) - 1;
		sigaction(SIGINT, &action, NULL);
		sigaction(SIGTERM, &action, NULL);
		run(&j);
	}
	close_journal(&j);
	return rc ? command_failed(&e) : 0;
}

/* top.c - `weft top`: rates and memory, live, from the segments alone. */
#include "procs/supervisor/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct top {
	struct view now, before;
	int64_t now_ns, before_ns;
	struct cache *cache; /* of `generation`, for figures only */
	uint32_t generation;
	struct prcu_reader reader;
	uint64_t rv, rv_before;
};

static void follow_cache(struct top *t)
{
	uint32_t generation = atomic_load(&t->now.control->generation);
	char name[SEG_NAME_MAX];

	if (generation == t->generation)
		return;
	if (t->cache)
		cache_detach(t->cache);
	t->cache = NULL;
	t->generation = generation;
	proc_name_cache(name, t->now.dir.cluster, generation);
	if (cache_attach(&t->cache, name, &t->reader, NULL))
		t->cache = NULL;
}

static const struct view_row *row_before(const struct top *t, const struct view_row *row)
{
	for (uint32_t i = 0; i < t->before.nrows; i++)
		if (t->before.row[i].slot == row->slot &&
		    t->before.row[i].incarnation == row->incarnation)
			return &t->before.row[i];
	return NULL;
}

static double rate(const struct top *t, const struct view_row *row, int counter)
{
	const struct view_row *old = row_before(t, row);

	if (!old || t->now_ns <= t->before_ns)
		return 0;
	return (double)(row->counter[counter] - old->counter[counter]) * 1e9 /
	       (double)(t->now_ns - t->before_ns);
}

static double mib(uint64_t bytes)
{
	return (double)bytes / (1 << 20);
}

/* What a process has for itself, in MiB: the segments, which are shared, show in
 * the cache's line. */
static double own_mib(int32_t pid)
{
	char path[32];
	unsigned long resident = 0, shared = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	f = fopen(path, "r");
	if (f) {
		if (fscanf(f, "%*u %lu %lu", &resident, &shared) != 2)
			resident = shared = 0;
		fclose(f);
	}
	return mib((resident > shared ? resident - shared : 0) * (uint64_t)sysconf(_SC_PAGESIZE));
}

static const struct view_row *row_of(const struct top *t, enum proc_kind kind)
{
	for (uint32_t i = 0; i < t->now.nrows; i++)
		if (t->now.row[i].kind == kind)
			return &t->now.row[i];
	return NULL;
}

/* In MiB, or in whole KiB, which says so, below one. */
static void print_used(uint64_t bytes)
{
	if (bytes < 1 << 20)
		printf(" %lluK", (unsigned long long)((bytes + 1023) >> 10));
	else
		printf(" %.1f", mib(bytes));
}

static void print_memory(const struct top *t)
{
	const struct arena_stats *a = cache_arena_stats(t->cache);

	printf("cache %.1f MiB reserved:", mib(atomic_load(&a->reserved)));
	for (int use = 0; use < ARENA_USE_COUNT; use++) {
		printf(" %s", arena_use_name((enum arena_use)use));
		print_used(atomic_load(&a->used[use]));
	}
	printf("\n");
}

/* How far back a watch can go, and how far behind the checkpoint is. */
static void print_journal(const struct top *t, double writes)
{
	const struct view_row *checkpoint = row_of(t, PROC_CHECKPOINT);
	uint64_t newest = cache_rv(t->cache), changes = newest + 1 - cache_oldest(t->cache);

	printf("journal %llu to %llu (%llu changes", (unsigned long long)cache_oldest(t->cache),
	       (unsigned long long)newest, (unsigned long long)changes);
	if (writes >= 1)
		printf(", %.1f s at this rate", (double)changes / writes);
	printf(")");
	if (checkpoint && newest > checkpoint->counter[COUNTER_checkpoint_rv])
		printf("  checkpoint %llu behind",
		       (unsigned long long)(newest - checkpoint->counter[COUNTER_checkpoint_rv]));
	printf("\n");
}

static void print_store(const struct top *t)
{
	const struct view_row *row = row_of(t, PROC_STORE);

	if (t->cache) {
		print_memory(t);
		print_journal(t, row ? rate(t, row, COUNTER_writes) : 0);
	}
	if (row)
		printf("grace period %llu ms  batches %.0f/s  writes %.0f/s  log %.2f MiB/s\n",
		       (unsigned long long)row->counter[COUNTER_grace_age_ms],
		       rate(t, row, COUNTER_batches), rate(t, row, COUNTER_writes),
		       rate(t, row, COUNTER_log_bytes) / (1 << 20));
}

static void print_rows(const struct top *t)
{
	printf("%-18s %8s %-10s %5s %7s %6s %9s %9s %9s %8s %8s %7s %5s %5s\n", "PROCESS", "PID",
	       "STATE", "CPU%", "OWN MiB", "BEAT", "REQ/S", "ERR/S", "RECON/S", "HTTP/S", "QUEUE",
	       "WAITS", "OUT%", "IN%");
	for (uint32_t i = 0; i < t->now.nrows; i++) {
		const struct view_row *row = &t->now.row[i];
		char process[32];

		snprintf(process, sizeof(process), "%s/%u",
			 proc_kind_info((enum proc_kind)row->kind)->name, row->shard);
		printf("%-18s %8d %-10s %5.1f %7.1f %6.1f %9.0f %9.0f %9.0f %8.0f %8llu %5llums %5.1f "
		       "%5.1f\n",
		       process, row->pid, view_state(row), rate(t, row, COUNTER_cpu_ms) / 10,
		       own_mib(row->pid), (double)row->beat_ms / 1000,
		       rate(t, row, COUNTER_requests), rate(t, row, COUNTER_errors),
		       rate(t, row, COUNTER_reconciles), rate(t, row, COUNTER_http_requests),
		       (unsigned long long)row->counter[COUNTER_queue],
		       (unsigned long long)row->counter[COUNTER_queue_age_ms],
		       (double)row->out_used * 100 / (double)row->out_size,
		       (double)row->in_used * 100 / (double)row->in_size);
	}
}

static void show(struct top *t, bool screen)
{
	if (screen)
		printf("\033[H\033[J");
	printf("weft on %s  generation %u  store %s\n", t->now.dir.path, t->generation,
	       atomic_load(&t->now.control->store_up) ? "up" : "away");
	print_store(t);
	print_rows(t);
	view_print_bounds(&t->now);
	fflush(stdout);
}

int command_top(int argc, char **argv)
{
	static const struct option options[] = {{"data", required_argument, NULL, 'd'},
						{"count", required_argument, NULL, 'n'},
						{0}};
	struct timespec pause = {.tv_sec = 1};
	const char *data = NULL;
	struct top t = {0};
	struct err e = {0};
	long left = -1;
	int opt;

	while ((opt = command_option(argc, argv, ":n:", options)) != -1) {
		if (opt == 'd')
			data = optarg;
		else if (opt == '?')
			return 2;
		else if ((left = atol(optarg)) <= 0)
			return command_usage("top", "'%s' is not a number of pages", optarg);
	}
	if (optind < argc)
		return command_usage("top", "'%s' is not expected", argv[optind]);
	if (view_open(&t.now, data, &e)) {
		view_close(&t.now);
		return command_failed(&e);
	}
	while (left-- && datadir_in_use(&t.now.dir)) {
		view_read(&t.now);
		t.now_ns = proc_mono_ns();
		follow_cache(&t);
		if (!t.before_ns) {
			/* Rates need two looks. */
			t.before = t.now;
			t.before_ns = t.now_ns;
			nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
			view_read(&t.now);
			t.now_ns = proc_mono_ns();
		}
		show(&t, isatty(STDOUT_FILENO));
		t.before = t.now;
		t.before_ns = t.now_ns;
		if (left)
			nanosleep(&pause, NULL);
	}
	if (!datadir_in_use(&t.now.dir))
		printf("the cluster on '%s' has stopped\n", t.now.dir.path);
	if (t.cache)
		cache_detach(t.cache);
	view_close(&t.now);
	return 0;
}

/* status.c - `weft status` and `weft scale`. */
#include "procs/supervisor/commands.h"

#include <stdio.h>
#include <stdlib.h>

#include "weft/json.h"

static void age_text(int64_t ms, char out[16])
{
	if (ms < 0)
		snprintf(out, 16, "-");
	else if (ms < 10000)
		snprintf(out, 16, "%.1fs", (double)ms / 1000);
	else if (ms < 600000)
		snprintf(out, 16, "%llds", (long long)ms / 1000);
	else if (ms < 36000000)
		snprintf(out, 16, "%lldm", (long long)ms / 60000);
	else
		snprintf(out, 16, "%lldh", (long long)ms / 3600000);
}

static void print_row(const struct view_row *row)
{
	char process[32], up[16], beat[16], out[24] = "-", in[24] = "-";

	snprintf(process, sizeof(process), "%s/%u", proc_kind_info((enum proc_kind)row->kind)->name,
		 row->shard);
	age_text(row->up_ms, up);
	age_text(row->beat_ms, beat);
	if (row->kind != PROC_STORE) {
		snprintf(out, sizeof(out), "%llu%%",
			 (unsigned long long)(row->out_used * 100 / row->out_size));
		snprintf(in, sizeof(in), "%llu%%",
			 (unsigned long long)(row->in_used * 100 / row->in_size));
	}
	printf("%-18s %8d  %-11s %8u  %6s  %9s  %8llu  %6llums  %6s  %6s  %7.1fs\n", process,
	       row->pid, view_state(row), row->restarts, up, beat,
	       (unsigned long long)row->counter[COUNTER_queue],
	       (unsigned long long)row->counter[COUNTER_queue_age_ms], out, in,
	       (double)row->counter[COUNTER_cpu_ms] / 1000);
}

static void print_table(const struct view *v)
{
	printf("%-18s %8s  %-11s %8s  %6s  %9s  %8s  %8s  %6s  %6s  %8s\n", "PROCESS", "PID",
	       "STATE", "RESTARTS", "AGE", "HEARTBEAT", "QUEUE", "WAITS", "OUT", "IN", "CPU");
	for (uint32_t i = 0; i < v->nrows; i++)
		print_row(&v->row[i]);
	view_print_bounds(v);
}

/* Memory of the object cache by what it holds, and the journal's window. */
static void print_cache_json(const struct view *v)
{
	struct prcu_reader reader = {0};
	const struct arena_stats *a;
	struct cache *c;
	char name[SEG_NAME_MAX];

	proc_name_cache(name, v->dir.cluster, atomic_load(&v->control->generation));
	if (cache_attach(&c, name, &reader, NULL))
		return;
	a = cache_arena_stats(c);
	printf("\"cache\":{\"reserved\":%llu,\"oldest\":%llu,\"newest\":%llu,\"used\":{",
	       (unsigned long long)atomic_load(&a->reserved), (unsigned long long)cache_oldest(c),
	       (unsigned long long)cache_rv(c));
	for (int use = 0; use < ARENA_USE_COUNT; use++)
		printf("%s\"%s\":%llu", use ? "," : "", arena_use_name((enum arena_use)use),
		       (unsigned long long)atomic_load(&a->used[use]));
	printf("}},");
	cache_detach(c);
}

/* How many processes of each kind there are, and between what numbers the supervisor
 * changes that by itself. */
static void print_scaling_json(const struct view *v)
{
	printf("\"scaling\":{");
	for (int k = 0; k < PROC_KIND_COUNT; k++) {
		const struct shard_map *map = &v->control->maps[k];
		uint64_t now = atomic_load(&map->now), next = atomic_load(&map->next);

		printf("%s\"%s\":{\"processes\":%u,\"next\":%u,\"epoch\":%u", k ? "," : "",
		       proc_kind_info((enum proc_kind)k)->name, SHARD_COUNT(now), SHARD_COUNT(next),
		       SHARD_EPOCH(now));
		if (map->max)
			printf(",\"min\":%u,\"max\":%u", map->min, map->max);
		printf("}");
	}
	printf("},");
}

static void print_json(const struct view *v)
{
	struct buf data = {0};

	json_quote(&data, str_of(v->dir.path));
	printf("{\"data\":" STR_FMT ",\"cluster\":\"%016llx\",\"generation\":%u,\"storeUp\":%s,"
	       "\"stopping\":%s,",
	       STR_ARG(buf_str(&data)), (unsigned long long)v->dir.cluster,
	       atomic_load(&v->control->generation),
	       atomic_load(&v->control->store_up) ? "true" : "false",
	       atomic_load(&v->control->stopping) ? "true" : "false");
	print_cache_json(v);
	print_scaling_json(v);
	printf("\"processes\":[");
	for (uint32_t i = 0; i < v->nrows; i++) {
		const struct view_row *row = &v->row[i];

		printf("%s{\"process\":\"%s\",\"shard\":%u,\"slot\":%u,\"pid\":%d,"
		       "\"state\":\"%s\",\"restarts\":%u,\"incarnation\":%u,\"generation\":%u,"
		       "\"ageMs\":%lld,\"heartbeatMs\":%lld,\"ringOut\":{\"used\":%llu,"
		       "\"size\":%llu},\"ringIn\":{\"used\":%llu,\"size\":%llu},\"counters\":{",
		       i ? "," : "", proc_kind_info((enum proc_kind)row->kind)->name, row->shard,
		       row->slot, row->pid, view_state(row), row->restarts, row->incarnation,
		       row->generation, (long long)row->up_ms, (long long)row->beat_ms,
		       (unsigned long long)row->out_used, (unsigned long long)row->out_size,
		       (unsigned long long)row->in_used, (unsigned long long)row->in_size);
		for (uint32_t c = 0; c < view_counter_count(); c++)
			printf("%s\"%s\":%llu", c ? "," : "", view_counter_name(c),
			       (unsigned long long)row->counter[c]);
		printf("}}");
	}
	printf("]}\n");
	buf_free(&data);
}

/* The cluster is well when every process runs and the store answers. */
static int health(const struct view *v)
{
	if (!atomic_load(&v->control->store_up))
		return 1;
	for (uint32_t i = 0; i < v->nrows; i++)
		if (v->row[i].state != SLOT_RUNNING)
			return 1;
	return 0;
}

int command_status(int argc, char **argv)
{
	static const struct option options[] = {
		{"data", required_argument, NULL, 'd'}, {"json", no_argument, NULL, 'j'}, {0}};
	const char *data = NULL;
	bool json = false;
	struct view v;
	struct err e = {0};
	int opt, status;

	while ((opt = command_option(argc, argv, ":", options)) != -1) {
		if (opt == 'd')
			data = optarg;
		else if (opt == 'j')
			json = true;
		else
			return 2;
	}
	if (optind < argc)
		return command_usage("status", "'%s' is not expected", argv[optind]);
	if (view_open(&v, data, &e)) {
		view_close(&v);
		return command_failed(&e);
	}
	view_read(&v);
	if (json)
		print_json(&v);
	else
		print_table(&v);
	status = health(&v);
	view_close(&v);
	return status;
}

/*
 * bench_cache_memory.c - what one pod of a template costs in the cache.
 *
 * A million pods in one namespace and of one owner, made from shared blobs,
 * each bound to one of 10,000 nodes and then given a status: three writes.
 * Counted is all that the arena has in use, over the number of pods: entries,
 * versions, blobs, index slots, the journal and the old versions that it keeps.
 */
#include "bench.h"
#include "cache_load.h"

int main(int argc, char **argv)
{
	struct bench per_pod = {.name = "cache-memory",
				.what = "bytes of cache in use for each pod of a template",
				.unit = "B/pod",
				.target = 400,
				.goal = BENCH_LOWER};
	uint32_t pods = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 0) : 1000000;
	struct load l;
	const struct arena_stats *stats;
	uint64_t used = 0;

	load_open(&l, pods, 10000);
	load_create(&l);
	load_bind(&l);
	load_status(&l);
	load_settle(&l);
	stats = cache_arena_stats(cw_cache(l.w));
	for (int use = 0; use < ARENA_USE_COUNT; use++) {
		printf("  %-10s %7.1f B/pod in %9llu blocks\n", arena_use_name((enum arena_use)use),
		       (double)stats->used[use] / pods, (unsigned long long)stats->count[use]);
		used += stats->used[use];
	}
	printf("  %-10s %7.1f B/pod reserved\n", "segment", (double)stats->reserved / pods);
	bench_add(&per_pod, (double)used / pods);
	bench_report(&per_pod);
	load_close(&l);
	return 0;
}

/*
 * bench_cache_write.c - the store's part of a pod's life, in the cache alone:
 * create, bind and status of a million pods of one template, in batches that
 * are prepared, published and reclaimed.  One process, no log, no rings.
 */
#include "bench.h"
#include "cache_load.h"

static double each_ns(struct load *l, void (*step)(struct load *), const char *what)
{
	double start = bench_now(), ns;

	step(l);
	ns = (bench_now() - start) * 1e9 / l->pods;
	printf("  %-8s %6.0f ns a write\n", what, ns);
	return ns;
}

int main(int argc, char **argv)
{
	struct bench b = {.name = "cache-write",
			  .what = "one write of a pod in the cache: prepare, publish, reclaim",
			  .unit = "us/write",
			  .target = 1,
			  .goal = BENCH_LOWER};
	uint32_t pods = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 0) : 1000000;

	for (int run = bench_runs(argc, argv, 3); run; run--) {
		struct load l;
		double ns;

		load_open(&l, pods, 10000);
		ns = each_ns(&l, load_create, "create");
		ns += each_ns(&l, load_bind, "bind");
		ns += each_ns(&l, load_status, "status");
		bench_add(&b, ns / 3000);
		load_close(&l);
	}
	bench_report(&b);
	return 0;
}

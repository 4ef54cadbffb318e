/*
 * bench_cache_write.c - the store's part of a pod's life, in the cache alone:
 * create, bind and status of a million pods of one template, in batches that
 * are prepared, published and reclaimed.  One process, no log, no rings.  The
 * figure is the mean of these three; updates at random and deletions are shown
 * beside it.
 */
#include "bench.h"
#include "cache_load.h"

/* CPU seconds of this process: it never waits for anything, and what others do
 * on the machine is not its cost. */
static double cpu_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double each_ns(struct load *l, void (*step)(struct load *), const char *what)
{
	double start = cpu_now(), ns;

	step(l);
	ns = (cpu_now() - start) * 1e9 / l->pods;
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
		each_ns(&l, load_random, "random");
		each_ns(&l, load_delete, "delete");
		load_close(&l);
	}
	bench_report(&b);
	return 0;
}

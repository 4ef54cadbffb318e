/*
 * bench.h - what all benchmarks share: a clock, medians, the machine, and one
 * line for each figure:
 *
 *	ring: 14.2 M items/s (target 10, ratio 1.42; 5 runs, 13.8 to 14.5) on ...
 *
 * With WEFT_BENCH_JSON in the environment the same goes to that file as well,
 * one JSON object a line, appended.  What is random follows from WEFT_BENCH_SEED.
 */
#ifndef WEFT_BENCH_H
#define WEFT_BENCH_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "bench/dice.h"
#include "weft/json.h"

#define BENCH_RUNS_MAX 100

enum bench_goal { BENCH_HIGHER, BENCH_LOWER };

/* One figure.  Fill in what is constant, then bench_add() each run. */
struct bench {
	const char *name; /* "ring" */
	const char *what; /* one sentence for people; may be NULL */
	const char *unit; /* "M items/s" */
	double target;	  /* in `unit`; 0: none */
	enum bench_goal goal;
	const value *details; /* a map whose members go into the JSON too; may be NULL */
	int nruns;
	double runs[BENCH_RUNS_MAX];
};

/* Seconds on a clock that only runs forward. */
static inline double bench_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Seconds of CPU that this process has used: for what one thread does alone, so
 * that a busy machine does not show in the figure. */
static inline double bench_cpu(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static inline void bench_add(struct bench *b, double figure)
{
	if (b->nruns < BENCH_RUNS_MAX)
		b->runs[b->nruns++] = figure;
}

/* Runs asked for: the first argument, or `otherwise`. */
static inline int bench_runs(int argc, char **argv, int otherwise)
{
	int n = argc > 1 ? atoi(argv[1]) : otherwise;

	return n < 1 ? 1 : n > BENCH_RUNS_MAX ? BENCH_RUNS_MAX : n;
}

static inline int bench_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static inline void bench_cpu_model(char *out, size_t size)
{
	FILE *f = fopen("/proc/cpuinfo", "r");
	char line[256];

	snprintf(out, size, "unknown CPU");
	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "model name", 10) != 0 || !strchr(line, ':'))
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(out, size, "%s", strchr(line, ':') + 2);
		break;
	}
	if (f)
		fclose(f);
}

/* "AMD EPYC 7B13, 2 cores, Linux 6.1.0" */
static inline const char *bench_machine(void)
{
	static char text[512];
	char cpu[256];
	struct utsname u;

	bench_cpu_model(cpu, sizeof(cpu));
	uname(&u);
	snprintf(text, sizeof(text), "%s, %ld cores, %s %s", cpu, sysconf(_SC_NPROCESSORS_ONLN),
		 u.sysname, u.release);
	return text;
}

static inline void bench_json(const struct bench *b, double median, double ratio)
{
	const char *path = getenv("WEFT_BENCH_JSON");
	zone *z = zone_new();
	value o = v_map(), *runs;
	struct buf text = {0};
	FILE *f = path ? fopen(path, "a") : NULL;

	v_set(z, &o, "name", v_cstr(b->name));
	if (b->what)
		v_set(z, &o, "what", v_cstr(b->what));
	v_set(z, &o, "unit", v_cstr(b->unit));
	v_set(z, &o, "figure", v_float(median));
	v_set(z, &o, "target", v_float(b->target));
	v_set(z, &o, "ratio", v_float(ratio));
	v_set(z, &o, "better", v_cstr(b->goal == BENCH_LOWER ? "lower" : "higher"));
	runs = v_array_at(z, &o, "runs");
	for (int i = 0; i < b->nruns; i++)
		v_append(z, runs, v_float(b->runs[i]));
	v_set(z, &o, "seed", v_int((int64_t)bench_seed()));
	v_each_kv(kv, b->details)
		v_setn(z, &o, (struct str){kv->key.via.str.ptr, kv->key.via.str.size}, kv->val);
	v_set(z, &o, "machine", v_cstr(bench_machine()));
	v_set(z, &o, "time", v_int(time(NULL)));
	json_encode(&text, &o, NULL);
	if (f) {
		fprintf(f, "%.*s\n", (int)text.n, text.p);
		fclose(f);
	} else if (path) {
		fprintf(stderr, "cannot write %s\n", path);
	}
	buf_free(&text);
	zone_free(z);
}

/* Prints the figure (the median of the runs) and returns it.  The ratio is
 * above 1 when the target has been passed, whichever way is better. */
static inline double bench_report(struct bench *b)
{
	double median, ratio = 0;

	if (!b->nruns)
		return 0;
	qsort(b->runs, (size_t)b->nruns, sizeof(double), bench_compare);
	median = (b->runs[(b->nruns - 1) / 2] + b->runs[b->nruns / 2]) / 2;
	printf("%s: %.4g %s (", b->name, median, b->unit);
	if (b->target > 0 && median > 0) {
		ratio = b->goal == BENCH_LOWER ? b->target / median : median / b->target;
		printf("target %.4g, ratio %.2f; ", b->target, ratio);
	}
	printf("%d runs, %.4g to %.4g) on %s\n", b->nruns, b->runs[0], b->runs[b->nruns - 1],
	       bench_machine());
	fflush(stdout);
	if (getenv("WEFT_BENCH_JSON"))
		bench_json(b, median, ratio);
	return median;
}

#endif

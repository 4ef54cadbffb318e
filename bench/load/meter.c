/* meter.c - counting, timing, showing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/load/load.h"

void meter_start(struct meter *m, const char *name, int64_t now)
{
	memset(m, 0, sizeof(*m));
	m->name = name;
	m->start = m->end = now;
}

void meter_add(struct meter *m, int64_t intended, int64_t now)
{
	uint64_t second = (uint64_t)(now - m->start) / 1000000000;

	hist_add(&m->hist, now > intended ? (uint64_t)(now - intended) : 0);
	m->gap = now - m->end > m->gap ? now - m->end : m->gap;
	m->end = now;
	if (second < METER_SECONDS)
		m->each[second]++;
}

void meter_error(struct meter *m, int status)
{
	m->errors++;
	m->error_status = status;
}

void meters_show(struct meter *m, uint32_t n, int64_t now)
{
	static int64_t last;

	if (!n || now - last < 1000000000)
		return;
	fprintf(stderr, "%6.1f s", (double)(now - m[0].start) / 1e9);
	for (uint32_t i = 0; i < n; i++) {
		fprintf(stderr, "   %s %.0f/s p50 %.2f p99 %.2f ms", m[i].name,
			(double)(m[i].hist.n - m[i].shown) * 1e9 / (double)(now - last),
			meter_ms(&m[i], 0.5), meter_ms(&m[i], 0.99));
		if (m[i].errors)
			fprintf(stderr, " %llu errors", (unsigned long long)m[i].errors);
		m[i].shown = m[i].hist.n;
	}
	fprintf(stderr, "\n");
	last = now;
}

double meter_rate(const struct meter *m)
{
	return m->end > m->start ? (double)m->hist.n * 1e9 / (double)(m->end - m->start) : 0;
}

/* [[percent, ms], ...] */
static value percentiles(zone *z, const struct hist *h)
{
	static const double percent[] = {0, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.99, 100};
	value list = v_array();

	for (uint32_t i = 0; i < countof(percent); i++) {
		value pair = v_array();

		v_append(z, &pair, v_float(percent[i]));
		v_append(z, &pair, v_float((double)hist_at(h, percent[i] / 100) / 1e6));
		v_append(z, &list, pair);
	}
	return list;
}

/* What a plot needs beside the figure. */
static value details(zone *z, const struct meter *m)
{
	value d = v_map(), *each;
	int64_t seconds = (m->end - m->start) / 1000000000;

	v_set(z, &d, "count", v_int((int64_t)m->hist.n));
	v_set(z, &d, "errors", v_int((int64_t)m->errors));
	v_set(z, &d, "rate", v_float(meter_rate(m)));
	v_set(z, &d, "p50_ms", v_float(meter_ms(m, 0.5)));
	v_set(z, &d, "p99_ms", v_float(meter_ms(m, 0.99)));
	v_set(z, &d, "began_s", v_float((double)m->start / 1e9)); /* of the monotonic clock */
	v_set(z, &d, "last_s", v_float((double)(m->end - m->start) / 1e9));
	v_set(z, &d, "longest_gap_ms", v_float((double)m->gap / 1e6));
	v_set(z, &d, "percentiles", percentiles(z, &m->hist));
	each = v_array_at(z, &d, "each_second");
	for (int64_t i = 0; i < seconds && i < METER_SECONDS; i++)
		v_append(z, each, v_int(m->each[i]));
	v_set(z, &d, "seed", v_int((int64_t)opt.seed));
	v_set(z, &d, "asked_rate", v_float(opt.rate));
	v_set(z, &d, "connections", v_int(opt.connections));
	return d;
}

void meter_report(const struct meter *m, const char *name, double figure, const char *unit,
		  bool lower)
{
	zone *z = zone_new();
	value d = details(z, m);
	char full[128];
	struct bench b = {.name = full,
			  .unit = unit,
			  .target = opt.target,
			  .goal = lower ? BENCH_LOWER : BENCH_HIGHER,
			  .details = &d};

	snprintf(full, sizeof(full), "%s%s%s", opt.label, *opt.label ? "/" : "", name);
	bench_add(&b, figure);
	fprintf(stderr,
		"%s: %llu in %.2f s, %.0f/s; p50 %.3f, p99 %.3f, p99.9 %.3f, most %.3f ms, gap %.1f ms",
		full, (unsigned long long)m->hist.n, (double)(m->end - m->start) / 1e9,
		meter_rate(m), meter_ms(m, 0.5), meter_ms(m, 0.99), meter_ms(m, 0.999),
		meter_ms(m, 1), (double)m->gap / 1e6);
	if (m->errors)
		fprintf(stderr, "; %llu errors, the last with status %d",
			(unsigned long long)m->errors, m->error_status);
	fprintf(stderr, "\n");
	bench_report(&b);
	zone_free(z);
}

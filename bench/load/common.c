/* common.c - options, clock, dice: what load through the API and through the rings share. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/load/load.h"

struct options opt = {
	.ops = "get,create,patch,update,delete,list",
	.ns = "load",
	.label = "",
	.seed = 1,
	.seconds = 3,
	.connections = 64,
	.objects = 100,
	.watchers = 1000,
	.limit = 500,
	.count = 10,
	.replicas = 100,
	.bytes = 800,
};

int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

long number_after(struct str text, const char *key)
{
	const char *at = memmem(text.p, text.n, key, strlen(key));

	return at ? atol(at + strlen(key)) : -1;
}

const char *mix_parse(struct mix *m, char *text, const char *const *names, uint32_t n)
{
	char *save;

	*m = (struct mix){0};
	for (char *one = strtok_r(text, "+", &save); one; one = strtok_r(NULL, "+", &save)) {
		char *weight = strchr(one, '=');
		uint32_t i = 0;

		if (weight)
			*weight++ = '\0';
		while (i < n && strcmp(one, names[i]) != 0)
			i++;
		if (i == n)
			return one;
		m->weight[i] = weight ? (uint32_t)atoi(weight) : 1;
		m->sum += m->weight[i];
	}
	return NULL;
}

uint32_t mix_draw(const struct mix *m, struct dice *d)
{
	uint32_t at = dice_below(d, m->sum), i = 0;

	while (at >= m->weight[i])
		at -= m->weight[i++];
	return i;
}

struct str pathf(const char *fmt, ...)
{
	static char text[4][1024];
	static unsigned next;
	char *out = text[next++ % 4];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(out, sizeof(text[0]), fmt, ap);
	va_end(ap);
	weft_assert(n >= 0 && n < (int)sizeof(text[0]));
	return (struct str){out, (uint32_t)n};
}

void deployment_body(struct buf *out, uint32_t i, uint32_t replicas, uint32_t image)
{
	buf_printf(
		out,
		"{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"d-%u\"},"
		"\"spec\":{\"replicas\":%u,\"selector\":{\"matchLabels\":{\"app\":\"d-%u\"}},"
		"\"template\":{\"metadata\":{\"labels\":{\"app\":\"d-%u\"}},\"spec\":{\"containers\":"
		"[{\"name\":\"nginx\",\"image\":\"nginx:1.%u\",\"ports\":[{\"containerPort\":80}]}]}}}"
		"}",
		i, replicas, i, i, image);
}

/*
 * api.c - requests one by one: get, create, patch, update, delete, list of 100,
 * each alone or in a mix, on ConfigMaps of 1 KB.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/load/load.h"

enum op { OP_GET, OP_CREATE, OP_PATCH, OP_UPDATE, OP_DELETE, OP_LIST, OPS };

static const char *const op_names[OPS] = {"get", "create", "patch", "update", "delete", "list"};

static struct api {
	struct pool pool;
	struct meter meters[OPS];
	struct mix mix;	     /* that runs */
	uint32_t made, gone; /* objects c-0.. created and deleted so far */
	uint64_t nonce;
	struct dice dice;
	char *text; /* an object's data */
} api;

static void add_base(struct buf *out)
{
	buf_printf(out, "/api/v1/namespaces/%s/configmaps", opt.ns);
}

/* Path of the fixed object number `i`. */
static void add_fixed(struct buf *out, uint32_t i)
{
	add_base(out);
	buf_printf(out, "/fixed-%u", i);
}

static void add_object(struct buf *out, const char *prefix, uint32_t i, const char *labels)
{
	buf_printf(
		out,
		"{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"%s-%u\"%s},"
		"\"data\":{\"text\":\"%s\",\"n\":\"%llu\"}}",
		prefix, i, labels, api.text, (unsigned long long)api.nonce++);
}

static bool make_get(struct job *j)
{
	j->method = "GET";
	add_fixed(&j->path, dice_below(&api.dice, opt.objects));
	return true;
}

static bool make_create(struct job *j)
{
	j->method = "POST";
	j->kind = "application/json";
	add_base(&j->path);
	add_object(&j->body, "c", api.made++, "");
	return true;
}

static bool make_patch(struct job *j)
{
	j->method = "PATCH";
	j->kind = "application/merge-patch+json";
	add_fixed(&j->path, dice_below(&api.dice, opt.objects));
	buf_printf(&j->body, "{\"data\":{\"n\":\"%llu\"}}", (unsigned long long)api.nonce++);
	return true;
}

#define LABELS ",\"labels\":{\"load\":\"fixed\"}"

static bool make_update(struct job *j)
{
	uint32_t i = dice_below(&api.dice, opt.objects);

	j->method = "PUT";
	j->kind = "application/json";
	add_fixed(&j->path, i);
	add_object(&j->body, "fixed", i, LABELS);
	return true;
}

/* Of those that this run created, the oldest; in a mix not the newest ones,
 * which may not be there yet. */
static bool make_delete(struct job *j)
{
	bool mixed = api.mix.sum > api.mix.weight[OP_DELETE];

	if (api.gone + (mixed ? 2 * opt.connections : 0) >= api.made)
		return mixed ? make_create(j) && (j->what = OP_CREATE, true) : false;
	j->method = "DELETE";
	add_base(&j->path);
	buf_printf(&j->path, "/c-%u", api.gone++);
	return true;
}

static bool make_list(struct job *j)
{
	j->method = "GET";
	add_base(&j->path);
	buf_puts(&j->path, "?limit=100&labelSelector=load%3Dfixed");
	return true;
}

static bool make(struct pool *p, struct job *j)
{
	static bool (*const makers[OPS])(struct job *) = {
		make_get, make_create, make_patch, make_update, make_delete, make_list,
	};
	uint32_t op = mix_draw(&api.mix, &api.dice);

	j->what = op;
	if (!makers[op](j))
		return false;
	j->meter = &api.meters[j->what];
	return true;
}

/* The objects that are read and changed. */
static void make_fixed(struct client *cl)
{
	struct conn *c = must_open(cl);
	struct buf body = {0};

	for (uint32_t i = 0; i < opt.objects; i++) {
		struct buf path = {0};
		struct answer a;

		body.n = 0;
		add_object(&body, "fixed", i, LABELS);
		add_base(&path);
		a = http_call(cl, c, "POST", buf_str(&path), buf_str(&body));
		if (a.status != 201 && a.status != 409)
			weft_fatal("cannot create an object: status %d", a.status);
		buf_free(&path);
	}
	buf_free(&body);
	conn_close(c);
}

static void report_mix(void)
{
	for (uint32_t i = 0; i < OPS; i++) {
		char name[64];

		if (!api.mix.weight[i])
			continue;
		snprintf(name, sizeof(name), "%s/%u", op_names[i], opt.connections);
		meter_report(&api.meters[i], name, meter_rate(&api.meters[i]), "/s", false);
	}
}

/* The meters of what is in the mix stand first to last, so that only they show. */
static void run_mix(void)
{
	uint32_t first = 0, last = OPS;

	for (uint32_t i = 0; i < OPS; i++)
		meter_start(&api.meters[i], op_names[i], now_ns());
	while (!api.mix.weight[first])
		first++;
	while (!api.mix.weight[last - 1])
		last--;
	pool_run(&api.pool, opt.rate, opt.seconds, api.meters + first, last - first);
	report_mix();
}

int run_api(struct client *cl)
{
	char *ops = strdup(opt.ops), *save;
	uint64_t errors = 0;

	api.dice.state = opt.seed;
	api.text = malloc(opt.bytes + 1);
	memset(api.text, 'x', opt.bytes);
	api.text[opt.bytes] = '\0';
	make_fixed(cl);
	api.pool.make = make;
	pool_open(&api.pool, cl, opt.connections);
	for (char *mix = strtok_r(ops, ",", &save); mix && !interrupted();
	     mix = strtok_r(NULL, ",", &save)) {
		if (mix_parse(&api.mix, mix, op_names, OPS) || !api.mix.sum)
			weft_fatal("'%s' is no operation", mix);
		run_mix();
		for (uint32_t i = 0; i < OPS; i++)
			errors += api.meters[i].errors;
	}
	pool_close(&api.pool);
	free(api.text);
	free(ops);
	return errors > 0;
}

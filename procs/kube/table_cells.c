/*
 * table_cells.c - cells that many kinds share; see table_print.h.
 */
#include "table_print.h"

#include <stdlib.h>

value cell_of(struct str s)
{
	return v_str(s);
}

value cell_cstr(const char *s)
{
	return v_str(str_of(s ? s : ""));
}

/* --- Time --------------------------------------------------------------------------- */

#define MINUTE 60
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define YEAR   (365 * DAY)

/* From `below` seconds on the next one counts: shown in `unit`, and with what
 * is left over in `rest` if that is not 0. */
static const struct {
	int64_t below;
	int64_t unit;
	int64_t rest;
	char unit_sign, rest_sign;
} durations[] = {
	{2 * MINUTE, 1, 0, 's', 0},	     {10 * MINUTE, MINUTE, 1, 'm', 's'},
	{3 * HOUR, MINUTE, 0, 'm', 0},	     {8 * HOUR, HOUR, MINUTE, 'h', 'm'},
	{48 * HOUR, HOUR, 0, 'h', 0},	     {8 * DAY, DAY, HOUR, 'd', 'h'},
	{2 * (int64_t)YEAR, DAY, 0, 'd', 0}, {8 * (int64_t)YEAR, YEAR, DAY, 'y', 'd'},
	{INT64_MAX, YEAR, 0, 'y', 0},
};

struct str human_duration(zone *z, int64_t seconds)
{
	int64_t whole, rest;
	size_t i = 0;

	if (seconds < -1)
		return STR("<invalid>");
	if (seconds < 0)
		return STR("0s");
	while (seconds >= durations[i].below)
		i++;
	whole = seconds / durations[i].unit;
	rest = durations[i].rest ? seconds % durations[i].unit / durations[i].rest : 0;
	if (!rest)
		return zone_printf(z, "%lld%c", (long long)whole, durations[i].unit_sign);
	return zone_printf(z, "%lld%c%lld%c", (long long)whole, durations[i].unit_sign,
			   (long long)rest, durations[i].rest_sign);
}

int64_t timestamp_s(const value *v)
{
	int64_t ns;

	if (!v_is_str(v) || time_parse(v_as_str(v), &ns) != WEFT_OK)
		return 0;
	return ns / 1000000000;
}

struct str human_since(const struct row *row, const value *timestamp)
{
	int64_t at = timestamp_s(timestamp);

	if (!at)
		return STR("<unknown>");
	return human_duration(row->z, (int64_t)row->now_s - at);
}

value cell_age(const struct row *row, const struct column *c)
{
	return cell_of(human_since(row, v_path(row->obj, "metadata.creationTimestamp")));
}

value cell_created(const struct row *row, const struct column *c)
{
	return cell_of(v_as_str(v_path(row->obj, "metadata.creationTimestamp")));
}

value cell_since(const struct row *row, const struct column *c)
{
	const value *at = v_path(row->obj, c->path);

	return timestamp_s(at) ? cell_of(human_since(row, at)) : cell_cstr(c->absent);
}

/* --- Scalars ------------------------------------------------------------------------ */

value cell_name(const struct row *row, const struct column *c)
{
	return cell_of(v_as_str(v_path(row->obj, "metadata.name")));
}

value cell_text(const struct row *row, const struct column *c)
{
	const value *v = v_path(row->obj, c->path);

	if (v_is_int(v))
		return cell_of(zone_printf(row->z, "%lld", (long long)v_as_int(v, 0)));
	return v_is_str(v) ? cell_of(v_as_str(v)) : cell_cstr(c->absent);
}

value cell_int(const struct row *row, const struct column *c)
{
	return v_int(v_as_int(v_path(row->obj, c->path), 0));
}

value cell_bool(const struct row *row, const struct column *c)
{
	return v_bool(v_as_bool(v_path(row->obj, c->path), c->absent != NULL));
}

value cell_bool_text(const struct row *row, const struct column *c)
{
	const value *v = v_path(row->obj, c->path);

	if (v_is_null(v))
		return cell_cstr(c->absent);
	return cell_cstr(v_as_bool(v, false) ? "True" : "False");
}

value cell_count(const struct row *row, const struct column *c)
{
	return v_int(v_len(v_path(row->obj, c->path)));
}

/* --- Several strings ---------------------------------------------------------------- */

void join_add(struct joined *j, struct str s)
{
	if (j->n++)
		buf_puts(&j->text, j->separator);
	buf_addstr(&j->text, s);
}

struct str join_done(zone *z, struct joined *j)
{
	struct str out = zone_str(z, buf_str(&j->text));

	buf_free(&j->text);
	return out;
}

static int by_text(const void *a, const void *b)
{
	return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

void sort_texts(struct str *list, uint32_t n)
{
	qsort(list, n, sizeof *list, by_text);
}

struct str join_set(zone *z, struct str *list, uint32_t n)
{
	struct joined j = {.separator = ","};

	sort_texts(list, n);
	for (uint32_t i = 0; i < n; i++)
		if (!i || !str_eq(list[i], list[i - 1]))
			join_add(&j, list[i]);
	return join_done(z, &j);
}

struct str balancer_addresses(const struct row *row)
{
	const value *ingress = v_path(row->obj, "status.loadBalancer.ingress");
	struct str *list = zone_alloc(row->z, (v_len(ingress) + 1) * sizeof *list);
	uint32_t n = 0;

	v_each(in, ingress) {
		struct str ip = v_get_str(in, "ip"), host = v_get_str(in, "hostname");

		if (ip.n || host.n)
			list[n++] = ip.n ? ip : host;
	}
	return join_set(row->z, list, n);
}

value cell_join(const struct row *row, const struct column *c)
{
	struct joined j = {.separator = ","};

	v_each(v, v_path(row->obj, c->path))
		join_add(&j, v_as_str(v));
	return j.n ? cell_of(join_done(row->z, &j)) : cell_cstr(c->absent);
}

static value join_members(const struct row *row, const char *path, const char *member)
{
	struct joined j = {.separator = ","};

	v_each(v, v_get(v_path(row->obj, path), "containers"))
		join_add(&j, v_get_str(v, member));
	return cell_of(join_done(row->z, &j));
}

value cell_containers(const struct row *row, const struct column *c)
{
	return join_members(row, c->path, "name");
}

value cell_images(const struct row *row, const struct column *c)
{
	return join_members(row, c->path, "image");
}

static int by_key(const void *a, const void *b)
{
	const msgpack_object_kv *const *x = a, *const *y = b;

	return str_cmp(v_as_str(&(*x)->key), v_as_str(&(*y)->key));
}

value cell_labels(const struct row *row, const struct column *c)
{
	const value *map = v_path(row->obj, c->path);
	const msgpack_object_kv **order;
	struct joined j = {.separator = ","};
	uint32_t n = 0;

	if (!v_len(map))
		return cell_cstr("<none>");
	order = zone_alloc(row->z, v_len(map) * sizeof *order);
	v_each_kv(kv, map)
		order[n++] = kv;
	qsort(order, n, sizeof *order, by_key);
	for (uint32_t i = 0; i < n; i++)
		join_add(&j,
			 zone_printf(row->z, STR_FMT "=" STR_FMT, STR_ARG(v_as_str(&order[i]->key)),
				     STR_ARG(v_as_str(&order[i]->val))));
	return cell_of(join_done(row->z, &j));
}

value cell_selector(const struct row *row, const struct column *c)
{
	struct kube_selector *s;
	struct str message, text;

	if (kube_selector_from(row->z, v_path(row->obj, c->path), &s, &message) != WEFT_OK)
		return cell_cstr("<error>");
	text = kube_selector_print(row->z, s);
	return text.n ? cell_of(text) : cell_cstr("<none>");
}

bool is_condition_true(const value *conditions, const char *type)
{
	const value *c = v_is_array(conditions) ? kube_condition(conditions, type) : NULL;

	return c && str_eq(v_get_str(c, "status"), STR("True"));
}

/*
 * table.c - tables as kubectl shows them: a kind's columns, and one object's
 * cells.
 */
#include "table_print.h"

/* Kinds without columns of their own. */
static const struct column plain_columns[] = {
	COLUMN_NAME,
	{"Created At", "date", "", 0, cell_created, NULL, NULL},
	COLUMN_END,
};

static const struct column *columns_of(const struct kube_resource *r)
{
	static const struct table *const all[] = {table_core, table_workloads, table_others};

	for (size_t i = 0; i < countof(all); i++)
		for (const struct table *t = all[i]; t->kind; t++)
			if (strcmp(t->kind, r->kind) == 0 && strcmp(t->group, r->group) == 0)
				return t->columns;
	return plain_columns;
}

value kube_table_columns(zone *z, const struct kube_resource *r)
{
	value out = v_array();

	for (const struct column *c = columns_of(r); c->name; c++) {
		value column = v_map();

		if (!c->type)
			continue;
		v_set(z, &column, "name", v_cstr(c->name));
		v_set(z, &column, "type", v_cstr(c->type));
		v_set(z, &column, "format", v_cstr(c->format));
		v_set(z, &column, "description", v_cstr(""));
		v_set(z, &column, "priority", v_int(c->priority));
		v_append(z, &out, column);
	}
	return out;
}

value kube_table_cells(zone *z, const struct kube_resource *r, const value *obj, uint32_t now_s)
{
	const struct kube_resource *stored = r->type ? kube_by_type(r->type) : NULL;
	struct row row = {z, obj, now_s};
	value out = v_array(), converted;

	/* Cells are made from the stored version of a kind. */
	if (stored && stored != r) {
		converted = v_copy(z, obj);
		if (kube_convert(z, r, stored, &converted) == WEFT_OK)
			row.obj = &converted;
	}
	for (const struct column *c = columns_of(r); c->name; c++)
		v_append(z, &out, c->cell(&row, c));
	return out;
}

/*
 * table_print.h - Kubernetes' printers: columns of each kind, and the functions that
 * make their cells.  table.c finds a kind's columns, table_cells.c has the
 * cells that many kinds share, the other table_*.c hold the columns of kinds
 * and the cells that are theirs alone.
 */
#ifndef WEFT_KUBE_TABLE_PRINT_H
#define WEFT_KUBE_TABLE_PRINT_H

#include "weft/kube.h"

/* One object that is being printed. */
struct row {
	zone *z;
	const value *obj;
	uint32_t now_s;
};

struct column;
typedef value cell_fn(const struct row *row, const struct column *c);

struct column {
	const char *name;
	const char *type;   /* "string", "integer", "boolean", "date"; NULL: a cell that no
			     * column is shown for */
	const char *format; /* "name" or "" */
	int priority;	    /* 1: only shown by -o wide */
	cell_fn *cell;
	const char *path;   /* what the cell shows, for those that take one */
	const char *absent; /* what it shows when that is not there */
};

/* Columns end with name == NULL. */
struct table {
	const char *group, *kind;
	const struct column *columns;
};

/* Arrays of tables, each ending with kind == NULL. */
extern const struct table table_core[];
extern const struct table table_workloads[];
extern const struct table table_others[];
extern const struct column table_pod_columns[];

/* --- Cells that kinds share ------------------------------------------------------- */

cell_fn cell_name;	 /* metadata.name */
cell_fn cell_age;	 /* since metadata.creationTimestamp */
cell_fn cell_created;	 /* metadata.creationTimestamp as it stands */
cell_fn cell_text;	 /* the string (or number, as text) at `path`, else `absent` */
cell_fn cell_int;	 /* the number at `path`, else 0 */
cell_fn cell_bool;	 /* the boolean at `path`, else absent == "true" */
cell_fn cell_bool_text;	 /* "true", "false", else `absent` */
cell_fn cell_count;	 /* members of the list or map at `path` */
cell_fn cell_since;	 /* time since the timestamp at `path`, else `absent` */
cell_fn cell_labels;	 /* the map at `path`: a=b,c=d, else <none> */
cell_fn cell_selector;	 /* the LabelSelector at `path`, else <none> */
cell_fn cell_join;	 /* the strings at `path` joined by commas, else `absent` */
cell_fn cell_containers; /* names of the containers in the pod spec at `path` */
cell_fn cell_images;

/* clang-format off */
#define COLUMN(name, cell, ...)	     {name, "string", "", 0, cell, __VA_ARGS__}
#define COLUMN_INT(name, cell, ...)  {name, "integer", "", 0, cell, __VA_ARGS__}
#define COLUMN_BOOL(name, cell, ...) {name, "boolean", "", 0, cell, __VA_ARGS__}
#define COLUMN_WIDE(name, cell, ...) {name, "string", "", 1, cell, __VA_ARGS__}
#define COLUMN_NAME		     {"Name", "string", "name", 0, cell_name, NULL, NULL}
#define COLUMN_AGE		     {"Age", "string", "", 0, cell_age, NULL, NULL}
#define COLUMN_END		     {NULL, NULL, NULL, 0, NULL, NULL, NULL}
/* clang-format on */

/* --- Helpers ------------------------------------------------------------------------ */

value cell_of(struct str s);
value cell_cstr(const char *s);
/* "5m30s", "3h", "2d4h": how long something lasts or lasted; <invalid> before
 * -1 seconds. */
struct str human_duration(zone *z, int64_t seconds);
/* The time since a timestamp value; <unknown> if there is none. */
struct str human_since(const struct row *row, const value *timestamp);
/* A timestamp in wall seconds, 0 if it is none. */
int64_t timestamp_s(const value *v);
/* Strings with a separator between them, each added by join_add(). */
struct joined {
	struct buf text;
	const char *separator;
	uint32_t n;
};
void join_add(struct joined *j, struct str s);
/* The text, in the zone; frees what the joining needed. */
struct str join_done(zone *z, struct joined *j);
void sort_texts(struct str *list, uint32_t n);
/* Sorted, each once, joined by commas. */
struct str join_set(zone *z, struct str *list, uint32_t n);
/* The addresses in status.loadBalancer.ingress, as a set. */
struct str balancer_addresses(const struct row *row);
/* True if the list has a condition of this type with status True. */
bool is_condition_true(const value *conditions, const char *type);

#endif

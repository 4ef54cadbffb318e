/*
 * kubegen.h - the schema's text as the generator reads it.
 *
 * Everything is read into growing arrays of strings that live until exit.
 */
#ifndef KUBEGEN_H
#define KUBEGEN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define MAX_ATTRS 128

struct gen_field {
	char *name, *type, *mode;
	bool required;
	char *dflt, *list, *keys, *map, *patch, *key, *go, *in;
};

struct gen_type {
	char *package, *name, *full; /* full: package.name */
	const char *form;	     /* "object", "any" or "raw" */
	char *map;
	char *gvks[MAX_ATTRS];
	int ngvks;
	char *unions[4];
	int nunions;
	struct gen_field *fields;
	int nfields, cap;
};

struct gen_resource {
	char *id, *group, *version, *resource, *kind, *scope, *singular, *shorts, *categories,
		*verbs, *stored;
};

struct gen {
	struct gen_type *types;
	int ntypes, types_cap;
	struct gen_resource *resources; /* subresources follow their parent */
	int nresources, resources_cap;
};

/* Types are sorted by full name.  Both end the program with a message naming file and line on malformed text. */
void gen_read_types(struct gen *g, const char *path);
void gen_read_resources(struct gen *g, const char *path);

/* A name in full: as it stands if it has a dot, else of `package`. */
char *gen_full_name(const char *package, const char *name);
/* Index of a type by its full name; ends the program if there is none. */
int gen_find_type(const struct gen *g, const char *full);

void gen_write_types_h(const struct gen *g, FILE *out);
void gen_write_ids_h(const struct gen *g, FILE *out);
void gen_write_tables(const struct gen *g, FILE *out);
/* The numbers of fields, from protobuf.txt. */
void gen_write_protobuf(const char *path, FILE *out);

_Noreturn void gen_die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void *gen_grow(void *array, int n, int *cap, size_t size);

#endif

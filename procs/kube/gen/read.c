/* read.c - types.txt and resources.tsv into memory. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "procs/kube/gen/kubegen.h"

void gen_die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("kubegen: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(1);
}

void *gen_grow(void *array, int n, int *cap, size_t size)
{
	if (n < *cap)
		return array;
	*cap = *cap ? *cap * 2 : 8;
	array = realloc(array, (size_t)*cap * size);
	if (!array)
		gen_die("out of memory");
	memset((char *)array + (size_t)n * size, 0, (size_t)(*cap - n) * size);
	return array;
}

char *gen_full_name(const char *package, const char *name)
{
	char *full;

	if (strchr(name, '.'))
		return strdup(name);
	if (asprintf(&full, "%s.%s", package, name) < 0)
		gen_die("out of memory");
	return full;
}

int gen_find_type(const struct gen *g, const char *full)
{
	for (int i = 0; i < g->ntypes; i++)
		if (!strcmp(g->types[i].full, full))
			return i;
	gen_die("no type %s", full);
}

/* Words of a line, split at blanks; a default may hold none, so no quoting. */
static int split(char *line, const char *sep, char **words, int max)
{
	int n = 0;

	for (char *w = strsep(&line, sep); w; w = strsep(&line, sep)) {
		if (n == max)
			gen_die("too many words near %s", w);
		words[n++] = w;
	}
	return n;
}

/* "key=value": the value if the word has this key. */
static char *attr(char *word, const char *key)
{
	size_t n = strlen(key);

	return !strncmp(word, key, n) && word[n] == '=' ? word + n + 1 : NULL;
}

static void read_type(struct gen *g, char *package, char **words, int n)
{
	struct gen_type *t;
	char *v;

	g->types = gen_grow(g->types, g->ntypes, &g->types_cap, sizeof(*g->types));
	t = &g->types[g->ntypes++];
	t->package = package;
	t->name = words[1];
	t->full = gen_full_name(package, words[1]);
	t->form = "object";
	for (int i = 2; i < n; i++) {
		if (!strcmp(words[i], "any") || !strcmp(words[i], "raw"))
			t->form = words[i];
		else if ((v = attr(words[i], "map")))
			t->map = v;
		else if ((v = attr(words[i], "gvk")) && t->ngvks < MAX_ATTRS)
			t->gvks[t->ngvks++] = v;
		else if ((v = attr(words[i], "union")) && t->nunions < 4)
			t->unions[t->nunions++] = v;
		else
			gen_die("type %s: what is \"%s\"?", t->full, words[i]);
	}
}

static void read_field(struct gen *g, char **words, int n)
{
	struct gen_type *t = &g->types[g->ntypes - 1];
	struct gen_field *f;

	if (!g->ntypes || n < 3)
		gen_die("a field needs a type, a name, a type and a mode: %s", words[0]);
	t->fields = gen_grow(t->fields, t->nfields, &t->cap, sizeof(*t->fields));
	f = &t->fields[t->nfields++];
	*f = (struct gen_field){.name = words[0], .type = words[1], .mode = words[2]};
	for (int i = 3; i < n; i++) {
		char *v;

		if (!strcmp(words[i], "required"))
			f->required = true;
		else if ((v = attr(words[i], "default")))
			f->dflt = v;
		else if ((v = attr(words[i], "list")))
			f->list = v;
		else if ((v = attr(words[i], "keys")))
			f->keys = v;
		else if ((v = attr(words[i], "map")))
			f->map = v;
		else if ((v = attr(words[i], "patch")))
			f->patch = v;
		else if ((v = attr(words[i], "key")))
			f->key = v;
		else if ((v = attr(words[i], "go")))
			f->go = v;
		else if ((v = attr(words[i], "in")))
			f->in = v;
		else
			gen_die("%s.%s: what is \"%s\"?", t->full, f->name, words[i]);
	}
}

/* The next line without its newline, in memory of its own; NULL at the end. */
static char *next_line(FILE *in)
{
	char *line = NULL;
	size_t cap = 0;
	ssize_t n = getline(&line, &cap, in);

	if (n < 0) {
		free(line);
		return NULL;
	}
	if (n && line[n - 1] == '\n')
		line[n - 1] = 0;
	return line;
}

static int by_full_name(const void *a, const void *b)
{
	return strcmp(((const struct gen_type *)a)->full, ((const struct gen_type *)b)->full);
}

void gen_read_types(struct gen *g, const char *path)
{
	FILE *in = fopen(path, "r");
	char *package = NULL, *words[MAX_ATTRS], *line;

	if (!in)
		gen_die("cannot open %s", path);
	while ((line = next_line(in))) {
		bool field = line[0] == '\t';
		int n;

		if (!line[0] || line[0] == '#')
			continue;
		n = split(line + field, " ", words, MAX_ATTRS);
		if (field)
			read_field(g, words, n);
		else if (n == 2 && !strcmp(words[0], "package"))
			package = words[1];
		else if (n >= 2 && package && !strcmp(words[0], "type"))
			read_type(g, package, words, n);
		else
			gen_die("%s: neither package nor type: %s", path, words[0]);
	}
	fclose(in);
	qsort(g->types, (size_t)g->ntypes, sizeof(*g->types), by_full_name);
}

void gen_read_resources(struct gen *g, const char *path)
{
	FILE *in = fopen(path, "r");
	char *line, *w[12];

	if (!in)
		gen_die("cannot open %s", path);
	for (int row = 0; (line = next_line(in)); row++) {
		int n = split(line, "\t", w, 12);

		if (!row)
			continue;
		if (n != 11)
			gen_die("%s: line %d has %d columns, not 11", path, row + 1, n);
		g->resources = gen_grow(g->resources, g->nresources, &g->resources_cap,
					sizeof(*g->resources));
		g->resources[g->nresources++] = (struct gen_resource){
			w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9], w[10],
		};
	}
	fclose(in);
}

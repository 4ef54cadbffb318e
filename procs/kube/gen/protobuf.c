/* protobuf.c - protobuf.txt as a table: the numbers of fields. */
#include <stdlib.h>
#include <string.h>

#include "procs/kube/gen/kubegen.h"

#define LINE_MAX_BYTES 16384
#define TYPES_MAX      2048

struct line {
	char *name, *rest;
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct line *)a)->name, ((const struct line *)b)->name);
}

static int read_lines(const char *path, struct line *lines)
{
	FILE *f = fopen(path, "r");
	char text[LINE_MAX_BYTES];
	int n = 0;

	if (!f)
		gen_die("cannot read %s", path);
	while (fgets(text, sizeof(text), f)) {
		char *space;

		text[strcspn(text, "\n")] = '\0';
		if (!*text || *text == '#')
			continue;
		space = strchr(text, ' ');
		if (!space || n == TYPES_MAX)
			gen_die("%s: '%s' is no type with fields", path, text);
		*space = '\0';
		lines[n].name = strdup(text);
		lines[n++].rest = strdup(space + 1);
	}
	fclose(f);
	return n;
}

/* "1 name 2 >TYPE 5 extra*" */
static int put_fields(FILE *out, int i, char *rest)
{
	char *save = NULL, *number, *name;
	int n = 0;

	fprintf(out, "static const struct proto_field f%d[] = {\n", i);
	for (number = strtok_r(rest, " ", &save); number; number = strtok_r(NULL, " ", &save)) {
		size_t len;

		name = strtok_r(NULL, " ", &save);
		if (!name || !atoi(number))
			gen_die("field '%s' has no number or no name", number);
		len = strlen(name);
		if (name[0] == '>')
			fprintf(out, "\t{%s, false, NULL, \"%s\"},\n", number, name + 1);
		else if (name[len - 1] == '*')
			fprintf(out, "\t{%s, true, \"%.*s\", NULL},\n", number, (int)len - 1, name);
		else
			fprintf(out, "\t{%s, false, \"%s\", NULL},\n", number, name);
		n++;
	}
	fputs("};\n", out);
	return n;
}

void gen_write_protobuf(const char *path, FILE *out)
{
	static struct line lines[TYPES_MAX];
	static int fields[TYPES_MAX];
	int n = read_lines(path, lines);

	qsort(lines, (size_t)n, sizeof(*lines), by_name);
	fputs("/* Made by kubegen from procs/kube/schema/protobuf.txt. */\n"
	      "#include \"procs/kube/protobuf.h\"\n\n",
	      out);
	for (int i = 0; i < n; i++)
		fields[i] = put_fields(out, i, lines[i].rest);
	fputs("\nconst struct proto_type proto_types[] = {\n", out);
	for (int i = 0; i < n; i++)
		fprintf(out, "\t{\"%s\", f%d, %d},\n", lines[i].name, i, fields[i]);
	fprintf(out, "};\nconst unsigned proto_type_count = %d;\n", n);
}

/* command_scale.c - `weft scale`. */
#include "procs/supervisor/commands.h"

#include <stdio.h>
#include <stdlib.h>

/* One "replicaset=4" of the command line, and the supervisor's answer to come. */
struct wish {
	char kind[32];
	uint32_t count;
	int fd;
};

static int read_count(const char *text, struct wish *w)
{
	char *end;
	unsigned long count = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || count > PROC_SLOTS)
		return command_usage("scale", "'%s' is not a number of processes", text);
	w->count = (uint32_t)count;
	return 0;
}

static int read_kind(const char *text, size_t n, struct wish *w)
{
	snprintf(w->kind, sizeof(w->kind), "%.*s", (int)n, text);
	if (n < sizeof(w->kind) && proc_kind_by_name(str_of(w->kind)) >= 0)
		return 0;
	return command_usage("scale", "there is no process '%.*s'", (int)n, text);
}

/* "KIND=N", or KIND and N as two arguments; *i goes on to the last one read. */
static int read_wish(int argc, char **argv, int *i, struct wish *w)
{
	const char *text = argv[*i], *equals = strchr(text, '=');
	int rc;

	if (!equals && *i + 1 == argc)
		return command_usage("scale", "'%s' is not PROCESS=N", text);
	rc = read_kind(text, equals ? (size_t)(equals - text) : strlen(text), w);
	return rc ? rc : read_count(equals ? equals + 1 : argv[++*i], w);
}

static int read_wishes(int argc, char **argv, struct wish *wishes, uint32_t *n)
{
	int rc = 0;

	if (optind == argc)
		return command_usage("scale", "name a process and a number: replicaset=4");
	for (int i = optind; i < argc && !rc; i++) {
		if (*n == PROC_KIND_COUNT)
			return command_usage("scale", "'%s' is one process too many", argv[i]);
		rc = read_wish(argc, argv, &i, &wishes[*n]);
		for (uint32_t k = 0; k < *n && !rc; k++)
			if (strcmp(wishes[k].kind, wishes[*n].kind) == 0)
				rc = command_usage("scale", "%s is named twice", wishes[k].kind);
		++*n;
	}
	return rc;
}

static int tell(int rc, const struct err *e)
{
	return rc ? command_failed(e) : 0;
}

/* Ask for all at once, then tell what became of each. */
static int ask_all(const struct datadir *d, struct wish *wishes, uint32_t n)
{
	struct buf answer = {0};
	struct err e = {0};
	int status = 0;

	for (uint32_t i = 0; i < n; i++) {
		wishes[i].fd = scale_ask(d, wishes[i].kind, wishes[i].count, &e);
		status |= tell(wishes[i].fd < 0, &e);
	}
	for (uint32_t i = 0; i < n; i++) {
		if (wishes[i].fd < 0)
			continue;
		answer.n = 0;
		status |= tell(scale_answer(d, wishes[i].fd, &answer, &e), &e);
		if (answer.n)
			printf(STR_FMT "\n", STR_ARG(buf_str(&answer)));
	}
	buf_free(&answer);
	return status;
}

int command_scale(int argc, char **argv)
{
	static const struct option options[] = {{"data", required_argument, NULL, 'd'}, {0}};
	struct wish wishes[PROC_KIND_COUNT];
	const char *data = NULL;
	struct datadir dir;
	struct err e = {0};
	uint32_t n = 0;
	int opt, rc;

	while ((opt = command_option(argc, argv, ":", options)) != -1) {
		if (opt != 'd')
			return 2;
		data = optarg;
	}
	rc = read_wishes(argc, argv, wishes, &n);
	if (rc)
		return rc;
	rc = command_cluster(&dir, data, &e) ? command_failed(&e) : ask_all(&dir, wishes, n);
	datadir_leave(&dir);
	return rc;
}

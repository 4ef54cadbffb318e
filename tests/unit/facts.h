/*
 * facts.h - tables of facts that were recorded from Kubernetes
 * (the .tsv files of tests/parity): one a line, columns divided by tabs.
 */
#ifndef WEFT_TESTS_FACTS_H
#define WEFT_TESTS_FACTS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/suite.h"
#include "weft/json.h"

#define FACT_COLUMNS 6

/* Calls `each` with the columns of every line; returns how many there were. */
static inline int facts_read(const char *path, void (*each)(char **column))
{
	FILE *f = fopen(path, "r");
	char *line = NULL;
	size_t cap = 0;
	int n = 0;

	ck_assert_msg(f, "%s: run tests from the top of the repository", path);
	while (getline(&line, &cap, f) > 0) {
		char *column[FACT_COLUMNS + 1] = {NULL}, *at = line;

		line[strcspn(line, "\n")] = 0;
		for (int i = 0; i < FACT_COLUMNS && at; i++)
			column[i] = strsep(&at, "\t");
		each(column);
		n++;
	}
	free(line);
	fclose(f);
	return n;
}

/* A value from JSON text that has to be right. */
static inline value facts_json(zone *z, const char *text)
{
	struct err e = {0};
	value v;

	ck_assert_msg(json_decode(z, str_of(text), &v, NULL, &e) == 0, "%s: %s", text, e.msg);
	return v;
}

#define ck_assert_text(s, expected)                                                               \
	do {                                                                                      \
		struct str s_ = (s);                                                              \
		const char *e_ = (expected);                                                      \
		ck_assert_msg(str_eq(s_, str_of(e_)), "is  '" STR_FMT "'\nnot '%s'", STR_ARG(s_), \
			      e_);                                                                \
	} while (0)

/* The numbers of a random test: from WEFT_SEED, else from the clock; printed. */
static inline unsigned facts_seed(void)
{
	const char *text = getenv("WEFT_SEED");
	unsigned seed = text ? (unsigned)strtoul(text, NULL, 10) : (unsigned)clock_mono_ns();

	printf("seed %u\n", seed);
	fflush(stdout);
	return seed;
}

static inline int facts_main(Suite *s)
{

	return run_suite(s);
}

#endif

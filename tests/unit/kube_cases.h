/*
 * kube_cases.h - reads tests/parity/objects/: what Kubernetes answered to
 * writes, as tests/parity/record wrote it down.
 *
 * Paths are from the top of the repository, where tests run.
 */
#ifndef KUBE_CASES_H
#define KUBE_CASES_H

#include <stdio.h>
#include <stdlib.h>

#include "weft/json.h"
#include "weft/kube.h"

#define CASE_LINES 32

struct kube_case {
	char *name, *to, *as, *in, *old, *message, *out;
	int code;
	char *unknown[CASE_LINES], *cause[CASE_LINES];
	int nunknown, ncause;
};

static inline void case_line(struct kube_case *c, char *word, char *rest)
{
	if (!strcmp(word, "to"))
		c->to = rest;
	else if (!strcmp(word, "as"))
		c->as = rest;
	else if (!strcmp(word, "in"))
		c->in = rest;
	else if (!strcmp(word, "old"))
		c->old = rest;
	else if (!strcmp(word, "code"))
		c->code = atoi(rest);
	else if (!strcmp(word, "message"))
		c->message = rest;
	else if (!strcmp(word, "out"))
		c->out = rest;
	else if (!strcmp(word, "unknown") && c->nunknown < CASE_LINES)
		c->unknown[c->nunknown++] = rest;
	else if (!strcmp(word, "cause") && c->ncause < CASE_LINES)
		c->cause[c->ncause++] = rest;
}

/* Calls `run` for each case of a file; returns how many, -1 without the file. */
static inline int each_case(const char *file, void (*run)(const struct kube_case *c))
{
	char path[256], *line = NULL;
	struct kube_case c = {0};
	zone *lines = zone_new();
	size_t cap = 0;
	int n = 0;
	FILE *in;

	snprintf(path, sizeof(path), "tests/parity/objects/%s.cases", file);
	in = fopen(path, "r");
	if (!in) {
		zone_free(lines);
		return -1;
	}
	while (getline(&line, &cap, in) > 0) {
		char *own = strcpy(zone_alloc(lines, strlen(line) + 1), line), *rest = own, *word;

		own[strcspn(own, "\n")] = 0;
		if (!own[0] || own[0] == '#')
			continue;
		word = strsep(&rest, " ");
		if (strcmp(word, "case")) {
			case_line(&c, word, rest ? rest : "");
			continue;
		}
		if (c.name)
			run(&c);
		c = (struct kube_case){.name = rest};
		n++;
	}
	if (c.name)
		run(&c);
	free(line);
	zone_free(lines);
	fclose(in);
	return n;
}

/* "core/v1/pods/status": the resource, and its subresource or "". */
static inline const struct kube_resource *case_resource(const struct kube_case *c, const char *to,
							struct str *sub)
{
	static char copy[256];
	char *rest = copy;
	char *group, *version, *name;
	const struct kube_resource *r;

	snprintf(copy, sizeof(copy), "%s", to);
	group = strsep(&rest, "/");
	version = strsep(&rest, "/");
	name = strsep(&rest, "/");
	*sub = rest ? str_of(rest) : STR("");
	if (!strcmp(group, "core"))
		group = "";
	r = kube_resource(str_of(group), str_of(version), str_of(name));
	if (!r) {
		fprintf(stderr, "%s: no resource %s\n", c->name, to);
		abort();
	}
	return r;
}

static inline value case_json(zone *z, const struct kube_case *c, const char *text)
{
	struct err e;
	value v = v_null();

	if (json_decode(z, str_of(text), &v, NULL, &e)) {
		fprintf(stderr, "%s: %s\n", c->name, e.msg);
		abort();
	}
	return v;
}

/* A write as the API server makes it, up to validation. */
struct case_result {
	zone *z;
	const struct kube_resource *r;
	value obj;
	struct kube_notes notes;
	struct str refused;	   /* by kube_check */
	struct kube_errors errors; /* of kube_validate */
};

static inline struct case_result case_run(zone *z, const struct kube_case *c)
{
	struct case_result res = {.z = z, .errors = {.z = z}};
	value old = v_null(), *was = NULL;
	struct str sub;
	bool bump;

	res.r = case_resource(c, c->to, &sub);
	if (c->old) {
		old = case_json(z, c, c->old);
		was = &old;
		kube_check(z, res.r, was, NULL, &res.refused);
		v_set(z, v_map_at(z, was, "metadata"), "namespace", v_cstr("default"));
		if (!res.r->namespaced)
			v_del(v_get(was, "metadata"), "namespace");
		v_set(z, v_get(was, "metadata"), "uid", v_cstr("UID"));
		kube_default(z, res.r, was);
		kube_admit(z, res.r, was);
		kube_prepare(z, res.r, was, NULL, STR(""), &bump);
		res.refused = (struct str){0};
	}
	res.obj = case_json(z, c, c->in);
	if (kube_check(z, res.r, &res.obj, &res.notes, &res.refused))
		return res;
	if (res.r->namespaced)
		v_set(z, v_map_at(z, &res.obj, "metadata"), "namespace", v_cstr("default"));
	if (!was)
		v_set(z, v_map_at(z, &res.obj, "metadata"), "uid", v_cstr("UID"));
	kube_default(z, res.r, &res.obj);
	if (!was)
		kube_admit(z, res.r, &res.obj);
	kube_prepare(z, res.r, &res.obj, was, sub, &bump);
	kube_validate(z, res.r, &res.obj, was, sub, &res.errors);
	return res;
}

static inline void case_fail(const struct kube_case *c, const char *what, struct str want,
			     struct str got)
{
	printf("%s (%s): %s\n  want " STR_FMT "\n  got  " STR_FMT "\n", c->name, c->to, what,
	       STR_ARG(want), STR_ARG(got));
}

#endif

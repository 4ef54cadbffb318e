/* behaviour.c - what a simulated container does; see behaviour.h. */
#include "procs/node/behaviour.h"

#include <fnmatch.h>
#include <stdio.h>

#include "weft/kube.h"

/* --- Durations ------------------------------------------------------------------ */

static const struct {
	const char *unit;
	double ms;
} units[] = {{"ms", 1}, {"us", 0.001}, {"h", 3600000}, {"m", 60000}, {"s", 1000}};

static bool take_number(const char **p, const char *end, double *out)
{
	double scale = 1;
	bool any = false, fraction = false;

	*out = 0;
	for (; *p < end && ((**p >= '0' && **p <= '9') || (**p == '.' && !fraction)); (*p)++) {
		if (**p == '.') {
			fraction = true;
			continue;
		}
		any = true;
		*out = *out * 10 + (**p - '0');
		if (fraction)
			scale *= 10;
	}
	*out /= scale;
	return any;
}

static bool take_unit(const char **p, const char *end, double *ms)
{
	for (size_t i = 0; i < countof(units); i++) {
		size_t n = strlen(units[i].unit);

		if ((size_t)(end - *p) >= n && memcmp(*p, units[i].unit, n) == 0) {
			*p += n;
			*ms = units[i].ms;
			return true;
		}
	}
	return false;
}

bool duration_parse(struct str text, int64_t *ms)
{
	const char *p = text.p, *end = text.p + text.n;
	double sum = 0;

	if (str_eq(text, STR("forever"))) {
		*ms = FOREVER_MS;
		return true;
	}
	if (str_eq(text, STR("0"))) {
		*ms = 0;
		return true;
	}
	if (!text.n)
		return false;
	while (p < end) {
		double n, unit;

		if (!take_number(&p, end, &n) || !take_unit(&p, end, &unit))
			return false;
		sum += n * unit;
	}
	*ms = (int64_t)sum;
	return true;
}

/* --- Settings --------------------------------------------------------------------- */

static void set_ms(void *field, const value *v)
{
	int64_t ms;

	if (v_is_int(v))
		*(int64_t *)field = v_as_int(v, 0);
	else if (duration_parse(v_as_str(v), &ms))
		*(int64_t *)field = ms;
}

static void set_code(void *field, const value *v)
{
	struct str text = v_as_str(v);
	int64_t code = v_as_int(v, 0);

	for (uint32_t i = 0; i < text.n && text.p[i] >= '0' && text.p[i] <= '9'; i++)
		code = (code * 10 + text.p[i] - '0') & 255;
	*(int *)field = (int)code;
}

static void set_pull(void *field, const value *v)
{
	*(bool *)field = str_eq(v_as_str(v), STR("error"));
}

static const struct {
	const char *annotation, *rule;
	size_t offset;
	void (*set)(void *field, const value *v);
} settings[] = {
	{"weft.dev/start", "start", offsetof(struct behaviour, start_ms), set_ms},
	{"weft.dev/ready", "ready", offsetof(struct behaviour, ready_ms), set_ms},
	{"weft.dev/run", "run", offsetof(struct behaviour, run_ms), set_ms},
	{"weft.dev/stop", "stop", offsetof(struct behaviour, stop_ms), set_ms},
	{"weft.dev/exit-code", "exitCode", offsetof(struct behaviour, exit_code), set_code},
	{"weft.dev/pull", "pull", offsetof(struct behaviour, pull_fails), set_pull},
};

static void apply(size_t i, struct behaviour *b, const value *v)
{
	if (!v_is_null(v))
		settings[i].set((char *)b + settings[i].offset, v);
}

/* --- Rules -------------------------------------------------------------------------- */

static bool pattern_matches(const value *pattern, struct str text)
{
	char p[512], t[512];
	struct str wanted = v_as_str(pattern);

	if (!wanted.n)
		return true;
	if (wanted.n >= sizeof(p) || text.n >= sizeof(t))
		return false;
	memcpy(p, wanted.p, wanted.n);
	p[wanted.n] = 0;
	memcpy(t, text.p ? text.p : "", text.n);
	t[text.n] = 0;
	return fnmatch(p, t, 0) == 0;
}

static bool labels_match(const value *wanted, const value *labels)
{
	v_each_kv(kv, wanted) {
		const value *have = v_getn(labels, v_as_str(&kv->key));

		if (!have || !pattern_matches(&kv->val, v_as_str(have)))
			return false;
	}
	return true;
}

static bool rule_matches(const value *rule, const struct pod_facts *pod, const value *container)
{
	return pattern_matches(v_get(rule, "image"), v_get_str(container, "image")) &&
	       pattern_matches(v_get(rule, "namespace"), pod->ns) &&
	       pattern_matches(v_get(rule, "node"), pod->node) &&
	       labels_match(v_get(rule, "labels"), pod->labels);
}

static void apply_rules(const value *rules, const struct pod_facts *pod, const value *container,
			struct behaviour *out)
{
	v_each(rule, rules) {
		if (!rule_matches(rule, pod, container))
			continue;
		for (size_t i = 0; i < countof(settings); i++)
			apply(i, out, v_get(rule, settings[i].rule));
		return;
	}
}

static void apply_annotations(const struct pod_facts *pod, const value *container,
			      struct behaviour *out)
{
	const value *annotations = v_get(pod->meta, "annotations");
	struct str name = v_get_str(container, "name");
	char key[320];

	for (size_t i = 0; v_len(annotations) && i < countof(settings); i++) {
		apply(i, out, v_get(annotations, settings[i].annotation));
		snprintf(key, sizeof(key), "%s." STR_FMT, settings[i].annotation, STR_ARG(name));
		apply(i, out, v_get(annotations, key));
	}
}

void behaviour_of(const value *rules, const struct pod_facts *pod, const value *container,
		  struct behaviour *out)
{
	const value *owner = kube_controller_of(pod->meta);

	*out = (struct behaviour){.run_ms = FOREVER_MS};
	if (str_eq(v_get_str(owner, "kind"), STR("Job")))
		out->run_ms = 0;
	apply_rules(rules, pod, container, out);
	apply_annotations(pod, container, out);
}

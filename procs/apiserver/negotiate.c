/*
 * negotiate.c - what a client accepts: JSON or YAML; whole objects, tables or
 * metadata alone; compact or indented.
 */
#include <strings.h>
#include "procs/apiserver/api.h"

/* --- Accept ------------------------------------------------------------------------- */

/* What is before the first `sep`, trimmed; *rest is moved behind it. */
static struct str cut(struct str *rest, char sep)
{
	return str_trim(str_cut(rest, sep));
}

static void parse_clause(struct str text, struct accept *a)
{
	*a = (struct accept){.type = cut(&text, ';')};
	while (text.n) {
		struct str value = cut(&text, ';'), key = cut(&value, '=');

		value = str_trim(value);
		if (str_eq(key, STR("as")))
			a->as = value;
		else if (str_eq(key, STR("g")))
			a->group = value;
		else if (str_eq(key, STR("v")))
			a->version = value;
	}
}

bool accept_each(struct str header, bool (*take)(void *arg, const struct accept *a), void *arg)
{
	struct accept a = {.type = STR("*/*")};

	if (!str_trim(header).n)
		return take(arg, &a);
	while (header.n) {
		parse_clause(cut(&header, ','), &a);
		if (take(arg, &a))
			return true;
	}
	return false;
}

#define MEDIA_TYPES "application/json, application/yaml, application/vnd.kubernetes.protobuf"

/* --- Choosing ----------------------------------------------------------------------- */

struct choice {
	struct request *q;
	bool transforms, collection;
	bool known_media; /* a clause names one that we have */
	bool wrong_shape; /* metadata of one object was asked for of a list, or the reverse */
	struct str wrong_as;
};

static bool media_of(struct str type, enum media *media)
{
	static const struct {
		struct str type;
		enum media media;
	} known[] = {
		{STR("application/json"), MEDIA_JSON},
		{STR("*/*"), MEDIA_JSON},
		{STR("application/*"), MEDIA_JSON},
		{STR("application/yaml"), MEDIA_YAML},
	};

	for (size_t i = 0; i < countof(known); i++) {
		if (str_eq(type, known[i].type)) {
			*media = known[i].media;
			return true;
		}
	}
	return false;
}

static bool shape_of(struct choice *c, const struct accept *a, enum shape *shape)
{
	struct str one = STR("PartialObjectMetadata"), list = STR("PartialObjectMetadataList");

	*shape = SHAPE_OBJECT;
	if (!a->as.n)
		return true;
	if (!c->transforms || !str_eq(a->group, STR("meta.k8s.io")) ||
	    (!str_eq(a->version, STR("v1")) && !str_eq(a->version, STR("v1beta1"))))
		return false;
	if (str_eq(a->as, STR("Table"))) {
		*shape = SHAPE_TABLE;
		return true;
	}
	if (!str_eq(a->as, one) && !str_eq(a->as, list))
		return false;
	*shape = SHAPE_PARTIAL;
	if (str_eq(a->as, list) != c->collection) {
		c->wrong_shape = true;
		c->wrong_as = a->as;
	}
	return true;
}

static bool choose(void *arg, const struct accept *a)
{
	struct choice *c = arg;
	enum media media;
	enum shape shape;

	if (!media_of(a->type, &media))
		return false;
	c->known_media = true;
	if (!shape_of(c, a, &shape))
		return false;
	c->q->media = media;
	c->q->shape = shape;
	return true;
}

/* Browsers and command-line tools get indented answers, unless they say. */
static bool wants_pretty(const struct request *q)
{
	static const char *const people[] = {"curl", "Wget", "Mozilla"};
	struct str agent = request_header(q, "User-Agent");

	if (query_has(&q->query, "pretty"))
		return query_bool(&q->query, "pretty");
	for (size_t i = 0; i < countof(people); i++)
		if (agent.n >= strlen(people[i]) && !memcmp(agent.p, people[i], strlen(people[i])))
			return true;
	return false;
}

static void not_acceptable(struct request *q, struct str message, bool details)
{
	value status = kube_status(q->z, 406, "NotAcceptable", message);

	if (details)
		v_map_at(q->z, &status, "details");
	q->media = MEDIA_JSON;
	q->shape = SHAPE_OBJECT;
	q->pretty = true;
	answer_status(q, status);
}

static const char *shape_error(struct request *q, bool collection)
{
	if (!q->t.r)
		return collection ? "a list" : "not a list";
	return zone_printf(q->z, collection ? "a list (*core.%sList)" : "not a list (*core.%s)",
			   q->t.r->kind)
		.p;
}

int negotiate(struct request *q, bool transforms, bool collection)
{
	struct choice c = {.q = q, .transforms = transforms, .collection = collection};

	q->pretty = wants_pretty(q);
	if (!accept_each(request_header(q, "Accept"), choose, &c)) {
		not_acceptable(q,
			       zone_printf(q->z, "%s" MEDIA_TYPES "%s",
					   c.known_media ? "only the following media types are "
							   "accepted: "
							 : "406: Not Acceptable\n\nAvailable "
							   "representations: ",
					   c.known_media || !collection
						   ? ""
						   : ", application/json;stream=watch, "
						     "application/vnd.kubernetes.protobuf;"
						     "stream=watch"),
			       !c.known_media);
		return WEFT_EINVAL;
	}
	if (c.wrong_shape) {
		not_acceptable(q,
			       zone_printf(q->z,
					   "you requested " STR_FMT
					   ", but the requested object is %s",
					   STR_ARG(c.wrong_as), shape_error(q, collection)),
			       false);
		return WEFT_EINVAL;
	}
	return WEFT_OK;
}

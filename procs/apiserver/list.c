/*
 * list.c - lists: a consistent state of many objects, printed in short read
 * sections.
 *
 * A list shows every object as it was at one resourceVersion S; between
 * sections it finds its place again by the last key.  If the journal forgets S
 * while a slow client reads, the connection is cut: the client starts anew.
 */
#include "procs/apiserver/item.h"
#include "procs/apiserver/options.h"
#include "procs/apiserver/verbs.h"

#define WHOLE_MAX  (256u << 10) /* answers up to this are sent in one piece */
#define VISITS_MAX 4096		/* objects looked at in one read section */

/* An object's key, kept between read sections. */
struct place {
	bool set;
	uint32_t ns_n, name_n;
	char text[KEY_MAX];
};

struct list {
	struct form form;
	struct filter filter;
	uint64_t rv;	 /* S */
	struct place at; /* the last object that was visited */
	int64_t left;	 /* objects still to be printed; -1: all */
	bool begun, first_done;
	struct str token;  /* continue */
	int64_t remaining; /* remainingItemCount, 0: not said */
};

static void place_set(struct place *p, struct str ns, struct str name)
{
	weft_assert(ns.n + name.n <= KEY_MAX);
	p->set = true;
	p->ns_n = ns.n;
	p->name_n = name.n;
	memcpy(p->text, ns.p, ns.n);
	memcpy(p->text + ns.n, name.p, name.n);
}

static struct str place_ns(const struct place *p)
{
	return (struct str){p->text, p->ns_n};
}

static struct str place_name(const struct place *p)
{
	return (struct str){p->set ? p->text + p->ns_n : NULL, p->name_n};
}

static void iter_from(struct cache_iter *it, struct cache *c, const struct list *l,
		      const struct place *from)
{
	struct str ns = l->filter.one_ns ? l->filter.ns : (struct str){NULL, 0};

	cache_iter_init(it, c, l->filter.type, ns, place_ns(from), place_name(from));
}

/* The state of `e` that this list shows, NULL if it is not in it. */
static const struct version *shown(const struct list *l, const struct cache *c,
				   const struct entry *e)
{
	const struct version *v;

	if (l->filter.name.n && !str_eq(entry_name(e), l->filter.name))
		return NULL;
	v = cache_at(c, e, l->rv);
	return v && filter_matches(&l->filter, c, e, v) ? v : NULL;
}

/* True if S can still be read as it was. */
static bool still_there(const struct list *l, const struct cache *c)
{
	return l->rv + 1 >= cache_oldest(c);
}

/* --- A page ------------------------------------------------------------------------- */

/* Objects of the type (in the namespace) now. */
static int64_t count_all(struct cache *c, const struct filter *f)
{
	const struct labelset *s;
	int64_t n = 0;

	if (!f->one_ns)
		return (int64_t)cache_type_count(c, f->type);
	for (s = cache_first_labelset(c, f->type, f->ns); s; s = cache_next_labelset(c, s))
		n += atomic_load_explicit(&s->count, memory_order_relaxed);
	return n;
}

/* Find where a page of `limit` objects ends: sets the continue token if there
 * is more after it. */
static void find_page(struct request *q, struct list *l, int64_t limit, int64_t known_left)
{
	struct cache *c = api_cache(q->api);
	struct place at = l->at, end = {0};
	struct continue_at next = {.rv = l->rv, .left = -1};
	struct cache_iter it;
	const struct entry *e, *last;
	int64_t n = 0;
	bool more = false;

	do {
		int visits = 0;

		cache_lock(c);
		iter_from(&it, c, l, &at);
		for (last = NULL; (e = cache_iter_next(&it)); last = e) {
			if (visits++ >= VISITS_MAX && !cache_same_key(c, e, last))
				break;
			place_set(&at, cache_ns(c, e), entry_name(e));
			if (!shown(l, c, e))
				continue;
			if (n == limit) {
				more = true;
				break;
			}
			if (++n == limit)
				end = at;
		}
		if (more && known_left < 0 && filter_is_plain(&l->filter) && !l->at.set)
			known_left = count_all(c, &l->filter);
		cache_unlock(c);
	} while (e && !more);
	l->left = n;
	if (!more)
		return;
	if (filter_is_plain(&l->filter) && known_left > limit)
		next.left = l->remaining = known_left - limit;
	next.ns = place_ns(&end);
	next.name = place_name(&end);
	l->token = continue_encode(q->z, &next);
}

/* --- Printing ----------------------------------------------------------------------- */

static void print_head(struct request *q, struct list *l, struct buf *out)
{
	switch (l->form.shape) {
	case SHAPE_OBJECT:
		buf_printf(out, "{\"kind\":\"%s\",\"apiVersion\":\"%s\"", l->form.r->list_kind,
			   l->form.r->api_version);
		break;
	case SHAPE_TABLE:
		buf_puts(out, "{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\"");
		break;
	case SHAPE_PARTIAL:
		buf_puts(out, "{\"kind\":\"PartialObjectMetadataList\","
			      "\"apiVersion\":\"meta.k8s.io/v1\"");
		break;
	}
	buf_printf(out, ",\"metadata\":{\"resourceVersion\":\"%llu\"", (unsigned long long)l->rv);
	if (l->token.n)
		buf_printf(out, ",\"continue\":\"" STR_FMT "\"", STR_ARG(l->token));
	if (l->remaining > 0)
		buf_printf(out, ",\"remainingItemCount\":%lld", (long long)l->remaining);
	buf_puts(out, "},");
	if (l->form.shape == SHAPE_TABLE) {
		item_add_columns(out, q->api, &l->form);
		buf_putc(out, ',');
	}
	buf_puts(out, l->form.shape == SHAPE_TABLE ? "\"rows\":[" : "\"items\":[");
}

/* One object that was asked for by its name. */
static void print_named(struct request *q, struct list *l, struct buf *out)
{
	struct cache *c = api_cache(q->api);
	const struct entry *e = cache_find(c, l->filter.type, l->filter.ns, l->filter.name);
	const struct version *v = e ? shown(l, c, e) : NULL;

	if (v && l->left)
		item_add(out, q->api, &l->form, e, v);
}

static enum stream_state list_fill(struct request *q, void *arg, struct buf *out)
{
	struct list *l = arg;
	struct cache *c = api_cache(q->api);
	size_t start = out->n;
	struct cache_iter it;
	const struct entry *e = NULL, *last = NULL;
	int visits = 0;
	bool there;

	if (!l->begun) {
		l->begun = true;
		print_head(q, l, out);
	}
	cache_lock(c);
	if (l->filter.name.n && (l->filter.one_ns || !l->form.r->namespaced)) {
		print_named(q, l, out);
	} else {
		iter_from(&it, c, l, &l->at);
		for (; l->left && (e = cache_iter_next(&it)); last = e) {
			const struct version *v = shown(l, c, e);

			if ((out->n - start >= CHUNK_SIZE || visits++ >= VISITS_MAX) && last &&
			    !cache_same_key(c, e, last))
				break;
			place_set(&l->at, cache_ns(c, e), entry_name(e));
			if (!v)
				continue;
			if (l->first_done)
				buf_putc(out, ',');
			l->first_done = true;
			if (l->left > 0)
				l->left--;
			item_add(out, q->api, &l->form, e, v);
		}
	}
	there = still_there(l, c);
	cache_unlock(c);
	if (!there)
		return STREAM_BROKEN;
	if (e && l->left)
		return STREAM_MORE;
	buf_puts(out, "]}");
	return STREAM_END;
}

static const struct stream_ops list_stream = {.fill = list_fill};

/* --- The request -------------------------------------------------------------------- */

static enum outcome answer_page_expired(struct request *q, const struct list_options *o)
{
	struct continue_at anew = {.rv = 0, .ns = o->from.ns, .name = o->from.name, .left = -1};
	value status;

	if (!o->continues)
		return answer_expired(q,
				      STR("The resourceVersion for the provided list is too old."));
	status = kube_status_expired(
		q->z, STR("The provided continue parameter is too old to display a consistent list "
			  "result. You can start a new list without the continue parameter, or use "
			  "the continue token in this response to retrieve the remainder of the "
			  "results. Continuing with the provided token results in an inconsistent "
			  "list - objects that were created, modified, or deleted between the time "
			  "the first chunk was returned and now may show up in the list."));
	v_set(q->z, v_map_at(q->z, &status, "metadata"), "continue",
	      v_str(continue_encode(q->z, &anew)));
	return answer_status(q, status);
}

/* Make as much as fits one piece; the rest, if any, is streamed. */
static enum outcome list_answer(struct request *q, struct list *l)
{
	enum stream_state state = STREAM_MORE;

	q->out.n = 0;
	while (state == STREAM_MORE && (q->out.n < WHOLE_MAX || q->media == MEDIA_YAML))
		state = list_fill(q, l, &q->out);
	if (state == STREAM_BROKEN)
		return answer_expired(q,
				      STR("The resourceVersion for the provided list is too old."));
	if (state == STREAM_END)
		return answer_json(q, 200);
	return answer_stream(q, 200, &list_stream, l);
}

enum outcome object_list(struct request *q)
{
	struct cache *c = api_cache(q->api);
	struct list *l = zone_alloc(q->z, sizeof(*l));
	struct list_options o;

	*l = (struct list){.left = -1};
	if (negotiate(q, true, true) || form_parse(q, &l->form) ||
	    filter_parse(q, q->z, &l->filter) || options_parse(q, false, &o))
		return ANSWERED;
	l->rv = cache_rv(c);
	if (o.match == MATCH_EXACT || (o.continues && o.from.rv))
		l->rv = o.continues ? o.from.rv : o.version;
	if (l->rv > cache_rv(c))
		return options_version(q, true, &o.version)
			       ? ANSWERED
			       : answer_bad_request(q, STR("continue token "
							   "from the future"));
	if (!still_there(l, c))
		return answer_page_expired(q, &o);
	if (o.continues)
		place_set(&l->at, o.from.ns, o.from.name);
	if (o.limit)
		find_page(q, l, o.limit, o.continues ? o.from.left : -1);
	return list_answer(q, l);
}

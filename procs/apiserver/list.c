/*
 * list.c - lists: a consistent state of many objects, printed in short read
 * sections.
 *
 * A list shows every object as it was at one resourceVersion S; between
 * sections it finds its place again by the last key.  If the journal forgets S
 * while a slow client reads, the connection is cut: the client starts anew.
 */
#include "procs/apiserver/options.h"
#include "procs/apiserver/verbs.h"
#include "procs/apiserver/walk.h"

#define WHOLE_MAX (256u << 10) /* answers up to this are sent in one piece */
#define FOUND_MAX 512	       /* objects of a page that are printed where it was found */

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

/* The state of `e` that this list shows, NULL if it is not in it. */
static const struct version *shown(const struct list *l, const struct cache *c,
				   const struct entry *e, struct filter_last *labels)
{
	const struct version *v;

	if (l->filter.name.n && !str_eq(entry_name(e), l->filter.name))
		return NULL;
	v = cache_at(c, e, l->rv);
	return v && filter_matches(&l->filter, c, e, v, labels) ? v : NULL;
}

/* True if S can still be read as it was. */
static bool still_there(const struct list *l, const struct cache *c)
{
	return l->rv + 1 >= cache_oldest(c);
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

static void print_item(struct request *q, struct list *l, struct buf *out, const struct entry *e,
		       const struct version *v)
{
	if (l->first_done)
		buf_putc(out, ',');
	l->first_done = true;
	if (l->left > 0)
		l->left--;
	item_add(out, q->api, &l->form, e, v);
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

/* The objects of a page, good in the read section in which they were found. */
struct found {
	uint32_t n;
	struct {
		const struct entry *e;
		const struct version *v;
	} at[FOUND_MAX];
};

static void found_add(struct found *f, const struct entry *e, const struct version *v)
{
	if (f->n == FOUND_MAX)
		return;
	f->at[f->n].e = e;
	f->at[f->n++].v = v;
}

/* The page has `n` objects, of which `end` is the last; what is after it, if there
 * is `more`, has a continue token. */
static void page_set(struct request *q, struct list *l, int64_t n, const struct place *end,
		     bool more, int64_t known_left)
{
	struct cache *c = api_cache(q->api);
	struct continue_at next = {.rv = l->rv, .left = -1};

	l->left = n;
	if (!more)
		return;
	if (filter_is_plain(&l->filter)) {
		if (known_left < 0 && !l->at.set)
			known_left = count_all(c, &l->filter);
		if (known_left > n)
			next.left = l->remaining = known_left - n;
	}
	next.ns = place_ns(end);
	next.name = place_name(end);
	l->token = continue_encode(q->z, &next);
}

/* Print the page, or as much of it as fits one piece. */
static void print_found(struct request *q, struct list *l, const struct found *f)
{
	uint32_t i;

	l->begun = true;
	print_head(q, l, &q->out);
	for (i = 0; i < f->n && q->out.n < WHOLE_MAX; i++)
		print_item(q, l, &q->out, f->at[i].e, f->at[i].v);
	if (i)
		place_at(&l->at, api_cache(q->api), f->at[i - 1].e);
}

/* Find where a page of `limit` objects ends, and print it if one read section is
 * enough for both. */
static void find_page(struct request *q, struct list *l, int64_t limit, int64_t known_left)
{
	struct cache *c = api_cache(q->api);
	struct found found;
	struct place at = l->at, end = {0};
	struct walk walk;
	const struct entry *e, *last;
	const struct version *v;
	int64_t n = 0;
	bool first = true, more = false;

	found.n = 0;
	do {
		struct filter_last labels = {0};
		int visits = 0;

		cache_lock(c);
		walk_begin(&walk, c, &l->filter, &at);
		for (last = NULL; (e = walk_next(&walk)); last = e) {
			if (visits++ >= VISITS_MAX && !cache_same_key(c, e, last))
				break;
			v = shown(l, c, e, &labels);
			if (!v)
				continue;
			if ((more = n == limit))
				break;
			found_add(&found, e, v);
			if (++n == limit)
				place_at(&end, c, e);
		}
		if (last)
			place_at(&at, c, last);
		if (!e || more) {
			page_set(q, l, n, &end, more, known_left);
			if (first)
				print_found(q, l, &found);
		}
		cache_unlock(c);
		first = false;
	} while (e && !more);
}

/* One object that was asked for by its name. */
static void print_named(struct request *q, struct list *l, struct buf *out)
{
	struct cache *c = api_cache(q->api);
	const struct entry *e = cache_find(c, l->filter.type, l->filter.ns, l->filter.name);
	const struct version *v = e ? shown(l, c, e, NULL) : NULL;

	if (v && l->left)
		print_item(q, l, out, e, v);
}

/* Objects from l->at on, until the piece is full; true if there are more. */
static bool print_some(struct request *q, struct list *l, struct buf *out)
{
	struct cache *c = api_cache(q->api);
	size_t start = out->n;
	struct filter_last labels = {0};
	struct walk walk;
	const struct entry *e = NULL, *last = NULL;
	const struct version *v;
	int visits = 0;

	if (!l->left)
		return false;
	walk_begin(&walk, c, &l->filter, &l->at);
	for (; l->left && (e = walk_next(&walk)); last = e) {
		if ((out->n - start >= CHUNK_SIZE || visits++ >= VISITS_MAX) && last &&
		    !cache_same_key(c, e, last))
			break;
		v = shown(l, c, e, &labels);
		if (v)
			print_item(q, l, out, e, v);
	}
	if (last)
		place_at(&l->at, c, last);
	return l->left && e;
}

static enum stream_state list_fill(struct request *q, void *arg, struct buf *out)
{
	struct list *l = arg;
	struct cache *c = api_cache(q->api);
	bool there, more = false;

	if (!l->begun) {
		l->begun = true;
		print_head(q, l, out);
	}
	cache_lock(c);
	if (l->filter.name.n && (l->filter.one_ns || !l->form.r->namespaced))
		print_named(q, l, out);
	else
		more = print_some(q, l, out);
	there = still_there(l, c);
	cache_unlock(c);
	if (!there)
		return STREAM_BROKEN;
	if (more)
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
	q->out.n = 0;
	if (o.limit)
		find_page(q, l, o.limit, o.continues ? o.from.left : -1);
	return list_answer(q, l);
}

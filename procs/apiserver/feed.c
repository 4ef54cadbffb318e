/*
 * feed.c - feeds, and the follower of the journal.
 */
#include <xxhash.h>
#include "procs/apiserver/feed.h"
#include "procs/apiserver/watch.h"

#define BATCH	  256			 /* journal records read at once */
#define FETCH	  8			 /* records that are fetched ahead */
#define FOLLOW_NS (5 * INT64_C(1000000)) /* then others get their turn */

/* --- The table ---------------------------------------------------------------------- */

/* A feed lies where the objects that concern it lead: by type, namespace (or all), and what
 * it asks for. */
static struct feed **place_of(struct api *api, uint16_t type, struct str ns, enum lead lead,
			      struct str text)
{
	uint64_t h = XXH3_64bits_withSeed(ns.p, ns.n, type);

	return &api->feeds[XXH3_64bits_withSeed(text.p, text.n, h + lead) % FEED_PLACES];
}

static enum lead lead_to(const struct filter *f)
{
	return f->name.n ? LEAD_NAME : f->node.n ? LEAD_NODE : LEAD_ALL;
}

static struct feed **place(struct api *api, const struct filter *f)
{
	struct str text[] = {[LEAD_ALL] = STR(""), [LEAD_NAME] = f->name, [LEAD_NODE] = f->node};

	return place_of(api, f->type, f->one_ns ? f->ns : STR(""), lead_to(f), text[lead_to(f)]);
}

/* How many feeds of f's kind there are. */
static uint32_t *count(struct api *api, const struct filter *f)
{
	return &api->nfeeds[f->type].n[f->one_ns][lead_to(f)];
}

static void add_text(struct buf *key, struct str s)
{
	buf_printf(key, "%u:", s.n); /* so that no two lists of texts are alike */
	buf_addstr(key, s);
}

/* Everything that an event's text depends on. */
static struct str key_of(struct request *q, zone *z, const struct form *form)
{
	struct buf b = {0};
	struct str key;

	buf_printf(&b, "%s %s %d %d ", form->r->api_version, form->r->resource, form->shape,
		   form->include);
	add_text(&b, q->t.ns);
	add_text(&b, q->t.name);
	add_text(&b, query_get(&q->query, "labelSelector"));
	add_text(&b, query_get(&q->query, "fieldSelector"));
	key = zone_str(z, buf_str(&b));
	buf_free(&b);
	return key;
}

static struct feed *feed_new(struct request *q)
{
	zone *z = zone_new();
	struct feed *f = zone_alloc(z, sizeof(*f));

	*f = (struct feed){.z = z};
	if (!form_parse(q, &f->form) && !filter_parse(q, z, &f->filter)) {
		f->key = key_of(q, z, &f->form);
		return f;
	}
	zone_free(z);
	return NULL;
}

static void feed_free(struct feed *f)
{
	buf_free(&f->chunk);
	zone_free(f->z);
}

struct feed *feed_join(struct request *q)
{
	struct feed *made = feed_new(q), **at, *f;

	if (!made)
		return NULL;
	at = place(q->api, &made->filter);
	for (f = *at; f && !str_eq(f->key, made->key);)
		f = f->next;
	if (f) {
		feed_free(made);
	} else {
		f = made;
		f->next = *at;
		*at = f;
		(*count(q->api, &f->filter))++;
	}
	f->holders++;
	return f;
}

void feed_leave(struct api *api, struct feed *f)
{
	struct feed **at = place(api, &f->filter);

	if (--f->holders)
		return;
	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	(*count(api, &f->filter))--;
	feed_free(f);
}

/* --- Events ------------------------------------------------------------------------- */

static const char *change_of(const struct feed *f, struct cache *c, const struct entry *e,
			     const struct version *v, struct filter_last *last)
{
	bool gone = v->flags & VERSION_TOMBSTONE, was = false, is;
	uint32_t prev = v->flags & VERSION_FIRST ? 0 : prcu_dereference(&v->prev);

	is = !gone && filter_matches(&f->filter, c, e, v, last);
	if (prev)
		was = filter_matches(&f->filter, c, e, cache_version(c, (version_ref){prev}), last);
	else if (gone)
		was = filter_matches(&f->filter, c, e, v, last);
	if (is)
		return was ? "MODIFIED" : "ADDED";
	return was ? "DELETED" : NULL;
}

bool feed_print(struct api *api, const struct feed *f, struct filter_last *last, struct buf *out,
		const struct version *v, bool columns)
{
	struct cache *c = api_cache(api);
	const struct entry *e = cache_entry(c, v->entry);
	const char *type = NULL;

	if (filter_covers(&f->filter, c, e) && filter_on_node(&f->filter, c, v))
		type = change_of(f, c, e, v, last);
	if (type)
		item_add_event(out, api, &f->form, type, e, v, columns);
	return type != NULL;
}

void feed_fetch(const struct cache *c, const struct version *const *v, int n, int i)
{
	if (i + 2 * FETCH < n)
		prefetch(v[i + 2 * FETCH]);
	if (i + FETCH < n) {
		prefetch(cache_entry(c, v[i + FETCH]->entry));
		prefetch(cache_version(c, (version_ref){prcu_dereference(&v[i + FETCH]->prev)}));
	}
}

/* --- The follower ------------------------------------------------------------------- */

/* What the present step has found. */
struct step {
	struct feed *fresh;
	bool full; /* some chunk is as large as one is to be */
};

static void feed_offer(struct api *api, struct step *s, struct feed *f, const struct version *v)
{
	if (!f->chunk.n)
		chunk_begin(&f->chunk);
	if (f->step != api->step)
		f->last = (struct filter_last){0};
	f->step = api->step;
	if (!feed_print(api, f, &f->last, &f->chunk, v, false))
		return;
	s->full |= f->chunk.n >= CHUNK_SIZE;
	if (f->fresh)
		return;
	f->fresh = true;
	f->fresh_next = s->fresh;
	s->fresh = f;
}

/* To the feeds of one namespace (empty: all) and one lead. */
static void offer_at(struct api *api, struct step *s, uint16_t type, struct str ns, enum lead lead,
		     struct str text, const struct version *v)
{
	for (struct feed *f = *place_of(api, type, ns, lead, text); f; f = f->next)
		if (f->idle && f->filter.one_ns == (ns.n > 0) && lead_to(&f->filter) == lead)
			feed_offer(api, s, f, v);
}

static void offer(struct api *api, struct step *s, const struct version *v)
{
	struct cache *c = api_cache(api);
	const struct entry *e = cache_entry(c, v->entry);
	struct str ns[] = {STR(""), cache_ns(c, e)};
	struct str text[] = {[LEAD_NAME] = entry_name(e), [LEAD_NODE] = cache_node_name(c, v)};

	if (e->type >= api->ntypes)
		return;
	for (uint32_t one_ns = 0; one_ns < 2; one_ns++)
		for (enum lead lead = 0; lead < LEADS; lead++)
			if (api->nfeeds[e->type].n[one_ns][lead])
				offer_at(api, s, e->type, ns[one_ns], lead, text[lead], v);
}

static void deliver(struct feed *f)
{
	struct watch *w, *next;

	chunk_end(&f->chunk);
	for (w = f->idle; w; w = next) {
		next = watch_next_idle(w);
		watch_push(w, &f->chunk);
	}
	buf_free(&f->chunk);
	f->fresh = false;
}

/* One batch of the journal, or what of it fills a chunk; true if there is more. */
static bool follow_step(struct api *api)
{
	struct cache *c = api_cache(api);
	const struct version *v[BATCH];
	uint64_t upto = api->followed;
	struct step s = {0};
	int n, i;

	api->step++;
	cache_lock(c);
	n = cache_journal(c, api->followed, v, BATCH);
	for (i = 0; i < n && !s.full; i++) {
		feed_fetch(c, v, n, i);
		offer(api, &s, v[i]);
		upto = v[i]->rv;
	}
	cache_unlock(c);
	if (n < 0) { /* we were too slow: each watch finds out for itself */
		watch_wake_all(api);
		api->followed = cache_rv(c);
		return false;
	}
	for (struct feed *f = s.fresh; f; f = f->fresh_next)
		deliver(f);
	api->followed = upto;
	return n == BATCH || s.full;
}

bool feed_follow(struct api *api)
{
	int64_t until = proc_mono_ns() + FOLLOW_NS;
	bool more;

	while ((more = follow_step(api)) && proc_mono_ns() < until)
		;
	return !more;
}

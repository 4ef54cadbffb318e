/*
 * feed.c - feeds, and the follower of the journal.
 */
#include <xxhash.h>
#include "procs/apiserver/feed.h"
#include "procs/apiserver/watch.h"

#define BATCH 256 /* journal records read at once */

/* --- The table ---------------------------------------------------------------------- */

/* A feed lies where the objects that concern it lead: by type, namespace (or all)
 * and name (or all). */
static struct feed **place_of(struct api *api, uint16_t type, struct str ns, struct str name)
{
	uint64_t h = XXH3_64bits_withSeed(ns.p, ns.n, type);

	return &api->feeds[XXH3_64bits_withSeed(name.p, name.n, h) % FEED_PLACES];
}

static struct feed **place(struct api *api, const struct filter *f)
{
	return place_of(api, f->type, f->one_ns ? f->ns : STR(""), f->name);
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
		q->api->nfeeds[f->filter.type]++;
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
	api->nfeeds[f->filter.type]--;
	feed_free(f);
}

/* --- Events ------------------------------------------------------------------------- */

static const char *change_of(const struct feed *f, struct cache *c, const struct entry *e,
			     const struct version *v)
{
	bool gone = v->flags & VERSION_TOMBSTONE, was = false, is;
	uint32_t prev = v->flags & VERSION_FIRST ? 0 : prcu_dereference(&v->prev);

	is = !gone && filter_matches(&f->filter, c, e, v, NULL);
	if (prev)
		was = filter_matches(&f->filter, c, e, cache_version(c, (version_ref){prev}), NULL);
	else if (gone)
		was = filter_matches(&f->filter, c, e, v, NULL);
	if (is)
		return was ? "MODIFIED" : "ADDED";
	return was ? "DELETED" : NULL;
}

bool feed_print(struct api *api, const struct feed *f, struct buf *out, const struct version *v,
		bool columns)
{
	struct cache *c = api_cache(api);
	const struct entry *e = cache_entry(c, v->entry);
	const char *type = filter_covers(&f->filter, c, e) ? change_of(f, c, e, v) : NULL;

	if (type)
		item_add_event(out, api, &f->form, type, e, v, columns);
	return type != NULL;
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
	if (!feed_print(api, f, &f->chunk, v, false))
		return;
	s->full |= f->chunk.n >= CHUNK_SIZE;
	if (f->fresh)
		return;
	f->fresh = true;
	f->fresh_next = s->fresh;
	s->fresh = f;
}

/* To the feeds of one namespace (empty: all) and name (empty: all). */
static void offer_at(struct api *api, struct step *s, uint16_t type, struct str ns, struct str name,
		     const struct version *v)
{
	for (struct feed *f = *place_of(api, type, ns, name); f; f = f->next)
		if (f->idle && f->filter.one_ns == (ns.n > 0) &&
		    (f->filter.name.n > 0) == (name.n > 0))
			feed_offer(api, s, f, v);
}

static void offer(struct api *api, struct step *s, const struct version *v)
{
	struct cache *c = api_cache(api);
	const struct entry *e = cache_entry(c, v->entry);
	struct str ns = cache_ns(c, e), name = entry_name(e), all = STR("");

	if (e->type >= api->ntypes || !api->nfeeds[e->type])
		return;
	offer_at(api, s, e->type, all, all, v);
	offer_at(api, s, e->type, all, name, v);
	if (!ns.n)
		return;
	offer_at(api, s, e->type, ns, all, v);
	offer_at(api, s, e->type, ns, name, v);
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

	cache_lock(c);
	n = cache_journal(c, api->followed, v, BATCH);
	for (i = 0; i < n && !s.full; i++) {
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

void feed_follow(struct api *api)
{
	while (follow_step(api))
		;
}

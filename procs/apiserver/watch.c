/*
 * watch.c - watches.
 *
 * Places in the journal are resourceVersions, never references, so a watch
 * goes on in the next generation of the cache.
 */
#include "procs/apiserver/item.h"
#include "procs/apiserver/options.h"
#include "procs/apiserver/verbs.h"
#include "procs/apiserver/watch.h"

#define BATCH 256		       /* journal records read at once */
#define VISITS_MAX 4096		       /* objects looked at in one read section */
#define LOOK_NS (1 * 1000000)	       /* how often the follower looks */
#define BOOKMARK_NS INT64_C(60000000000)
#define TIMEOUT_MIN_S 1800	       /* of watches that set none */

struct watch {
	struct watch *next, **link;	      /* idle list of its type */
	struct watch *all_next, **all_link;   /* all open watches */
	struct request *q;
	struct form form;
	struct filter filter;
	uint64_t rv;	     /* everything up to here has been sent */
	bool initial;	     /* the present state is being sent first */
	bool end_mark;	     /* a bookmark says when that is done */
	bool bookmarks;
	bool columns_done;
	bool expired;	     /* an ERROR was sent */
	bool idle;
	int64_t ends_ns;     /* monotonic */
	int64_t bookmark_ns; /* the next one; 0: none */
	char at[KEY_MAX];    /* initial: the last object sent, "ns" then "name" */
	uint32_t at_ns, at_name;
};

/* --- Lists of watches --------------------------------------------------------------------- */

static void list_add(struct watch **head, struct watch *w)
{
	w->next = *head;
	w->link = head;
	if (*head)
		(*head)->link = &w->next;
	*head = w;
}

static void list_remove(struct watch *w)
{
	*w->link = w->next;
	if (w->next)
		w->next->link = w->link;
}

/* An idle watch has nothing to read up to where the follower is. */
static void watch_wake(struct watch *w)
{
	if (w->idle) {
		w->idle = false;
		list_remove(w);
		if (w->rv < w->q->api->followed)
			w->rv = w->q->api->followed;
	}
	stream_wake(w->q);
}

/* The watch has seen everything up to `rv`: the follower looks for it. */
static void watch_sleep(struct watch *w)
{
	w->idle = true;
	list_add(&w->q->api->idle[w->filter.type], w);
}

/* --- Events ---------------------------------------------------------------------------------- */

static void add_event(struct watch *w, struct buf *out, const char *type, const struct entry *e,
		      const struct version *v)
{
	buf_printf(out, "{\"type\":\"%s\",\"object\":", type);
	item_add_whole(out, w->q->api, &w->form, e, v, !w->columns_done);
	buf_puts(out, "}\n");
	w->columns_done = true;
}

/* A table's bookmark is the row of an object that has nothing but a version. */
static void add_bookmark_row(struct watch *w, struct buf *out, const char *note)
{
	zone *z = w->q->api->scratch;
	value obj = v_map(), cells = kube_table_cells(z, w->form.r, &obj, clock_wall_s());

	buf_printf(out,
		   "\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{"
		   "\"resourceVersion\":\"%llu\"},\"columnDefinitions\":null,\"rows\":[{\"cells\":",
		   (unsigned long long)w->rv);
	json_encode(out, &cells, NULL);
	buf_printf(out,
		   ",\"object\":{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":"
		   "\"meta.k8s.io/v1\",\"metadata\":{\"resourceVersion\":\"%llu\"%s}}}]}}\n",
		   (unsigned long long)w->rv, note);
	zone_reset(z);
}

static void add_bookmark(struct watch *w, struct buf *out, bool initial_end)
{
	const struct kube_resource *r = w->form.r;
	const char *note = initial_end
		? ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}" : "";

	buf_puts(out, "{\"type\":\"BOOKMARK\",\"object\":{");
	switch (w->form.shape) {
	case SHAPE_OBJECT:
		buf_printf(out, "\"kind\":\"%s\",\"apiVersion\":\"%s\"", r->kind, r->api_version);
		break;
	case SHAPE_PARTIAL:
		buf_puts(out, "\"kind\":\"PartialObjectMetadata\","
			      "\"apiVersion\":\"meta.k8s.io/v1\"");
		break;
	case SHAPE_TABLE:
		add_bookmark_row(w, out, note);
		return;
	}
	buf_printf(out, ",\"metadata\":{\"resourceVersion\":\"%llu\"%s}}}\n",
		   (unsigned long long)w->rv, note);
}

static void add_error(struct watch *w, struct buf *out, value status)
{
	buf_puts(out, "{\"type\":\"ERROR\",\"object\":");
	json_encode(out, &status, NULL);
	buf_puts(out, "}\n");
	w->expired = true;
}

static void add_expired(struct watch *w, struct buf *out, uint64_t oldest)
{
	zone *z = w->q->z;

	add_error(w, out,
		  kube_status_expired(z, zone_printf(z, "too old resource version: %llu (%llu)",
						     (unsigned long long)w->rv,
						     (unsigned long long)oldest)));
}

/* What a change is to this watch: it may have come into its selection or left
 * it. */
static void add_change(struct watch *w, struct cache *c, struct buf *out, const struct version *v)
{
	const struct entry *e = cache_entry(c, v->entry);
	bool gone = v->flags & VERSION_TOMBSTONE, was = false, is;
	uint32_t prev;

	if (!filter_covers(&w->filter, c, e))
		return;
	is = !gone && filter_matches(&w->filter, c, e, v);
	prev = v->flags & VERSION_FIRST ? 0 : prcu_dereference(&v->prev);
	if (gone && !prev)
		was = filter_matches(&w->filter, c, e, v);
	else if (prev)
		was = filter_matches(&w->filter, c, e, cache_version(c, (version_ref){prev}));
	if (is)
		add_event(w, out, was ? "MODIFIED" : "ADDED", e, v);
	else if (was)
		add_event(w, out, "DELETED", e, v);
}

/* --- The present state, first ------------------------------------------------------------------ */

/* Some more of it; true when all is sent. */
static bool add_initial(struct watch *w, struct cache *c, struct buf *out)
{
	struct str ns = w->filter.one_ns ? w->filter.ns : (struct str){NULL, 0};
	struct cache_iter it;
	const struct entry *e = NULL, *last = NULL;
	int visits = 0;

	cache_iter_init(&it, c, w->filter.type, ns, (struct str){w->at, w->at_ns},
			(struct str){w->at_name ? w->at + w->at_ns : NULL, w->at_name});
	for (; (e = cache_iter_next(&it)); last = e) {
		const struct version *v = cache_at(c, e, w->rv);
		struct str ens = cache_ns(c, e), name = entry_name(e);

		if ((out->n >= CHUNK_SIZE || visits++ >= VISITS_MAX) && last &&
		    !cache_same_key(c, e, last))
			break;
		memcpy(w->at, ens.p, ens.n);
		memcpy(w->at + ens.n, name.p, name.n);
		w->at_ns = ens.n;
		w->at_name = name.n;
		if (v && filter_covers(&w->filter, c, e) && filter_matches(&w->filter, c, e, v))
			add_event(w, out, "ADDED", e, v);
	}
	return !e;
}

/* --- The stream ----------------------------------------------------------------------------------- */

/* Changes after w->rv; true when there is no more. */
static bool add_changes(struct watch *w, struct cache *c, struct buf *out)
{
	const struct version *v[BATCH];
	int n = cache_journal(c, w->rv, v, BATCH);

	if (n < 0) {
		add_expired(w, out, cache_oldest(c));
		return true;
	}
	for (int i = 0; i < n; i++) {
		if (out->n >= CHUNK_SIZE)
			return false;
		add_change(w, c, out, v[i]);
		w->rv = v[i]->rv;
	}
	return n < BATCH;
}

static enum stream_state fill_initial(struct watch *w, struct cache *c, struct buf *out)
{
	bool done, there;

	cache_lock(c);
	done = add_initial(w, c, out);
	there = w->rv + 1 >= cache_oldest(c);
	cache_unlock(c);
	if (!there)
		return STREAM_BROKEN;
	if (done) {
		w->initial = false;
		if (w->end_mark)
			add_bookmark(w, out, true);
	}
	return STREAM_MORE;
}

static enum stream_state watch_fill(struct request *q, void *arg, struct buf *out)
{
	struct watch *w = arg;
	struct cache *c = api_cache(q->api);
	int64_t now = clock_mono_ns();
	size_t start = out->n;
	bool done;

	if (w->expired || now >= w->ends_ns)
		return STREAM_END;
	if (w->initial) {
		enum stream_state s = fill_initial(w, c, out);

		if (s != STREAM_MORE || w->initial || out->n > start)
			return s;
	}
	do {
		cache_lock(c);
		done = add_changes(w, c, out);
		cache_unlock(c);
	} while (!done && out->n < CHUNK_SIZE);
	if (w->expired)
		return STREAM_END;
	if (done && w->bookmark_ns && now >= w->bookmark_ns) {
		w->bookmark_ns = now + BOOKMARK_NS;
		add_bookmark(w, out, false);
	}
	if (out->n > start)
		return STREAM_MORE;
	watch_sleep(w);
	return STREAM_IDLE;
}

static void watch_close(struct request *q, void *arg)
{
	struct watch *w = arg;
	struct api *api = q->api;

	if (w->idle)
		list_remove(w);
	*w->all_link = w->all_next;
	if (w->all_next)
		w->all_next->all_link = w->all_link;
	api->watches--;
	atomic_store_explicit(&proc_counters(api->p)->watches, api->watches, memory_order_relaxed);
}

static const struct stream_ops watch_stream = {.fill = watch_fill, .close = watch_close};

/* --- The follower ------------------------------------------------------------------------------------ */

void watch_start(struct api *api)
{
	uint32_t n;
	const struct kube_resource *r = kube_resources(&n);

	for (uint32_t i = 0; i < n; i++)
		if (r[i].type >= api->nidle)
			api->nidle = r[i].type + 1u;
	api->idle = calloc(api->nidle, sizeof(*api->idle));
	weft_assert(api->idle);
	api->followed = cache_rv(api_cache(api));
}

/* Wake those whose namespace and name fit; they look at selectors. */
static void wake_concerned(struct api *api, struct cache *c, const struct version *v)
{
	const struct entry *e = cache_entry(c, v->entry);
	struct watch *w, *next;

	if (e->type >= api->nidle)
		return;
	for (w = api->idle[e->type]; w; w = next) {
		next = w->next;
		if (filter_covers(&w->filter, c, e))
			watch_wake(w);
	}
}

static void wake_all(struct api *api)
{
	for (struct watch *w = api->all; w; w = w->all_next)
		watch_wake(w);
}

/* Read the journal up to its end. */
static void follow(struct api *api)
{
	struct cache *c = api_cache(api);
	const struct version *v[BATCH];
	int n;

	do {
		cache_lock(c);
		n = cache_journal(c, api->followed, v, BATCH);
		for (int i = 0; i < n; i++) {
			wake_concerned(api, c, v[i]);
			api->followed = v[i]->rv;
		}
		cache_unlock(c);
	} while (n == BATCH);
	if (n < 0) { /* we were too slow: each watch finds out for itself */
		wake_all(api);
		api->followed = cache_rv(c);
	}
}

/* Watches whose time has come, or which a bookmark is due to. */
static void wake_due(struct api *api, int64_t now_ns)
{
	for (struct watch *w = api->all; w; w = w->all_next)
		if (now_ns >= w->ends_ns || (w->bookmark_ns && now_ns >= w->bookmark_ns))
			watch_wake(w);
}

int64_t watch_turn(struct api *api, int64_t now_ns)
{
	if (!api->all) {
		api->followed = cache_rv(api_cache(api));
		return 0;
	}
	if (cache_rv(api_cache(api)) != api->followed)
		follow(api);
	if (now_ns >= api->look_again_ns) {
		wake_due(api, now_ns);
		api->look_again_ns = now_ns + 100 * 1000000;
	}
	return now_ns + LOOK_NS;
}

void watch_resync(struct api *api)
{
	uint64_t rv = cache_rv(api_cache(api));

	wake_all(api);
	if (api->followed > rv || rv - api->followed > BATCH)
		api->followed = rv;
}

/* --- The request ------------------------------------------------------------------------------------------ */

static int64_t lifetime_ns(const struct list_options *o, int64_t now)
{
	int64_t s = o->timeout_s > 0 ? o->timeout_s : TIMEOUT_MIN_S + now / 1000 % TIMEOUT_MIN_S;

	return s * 1000000000;
}

enum outcome object_watch(struct request *q)
{
	struct api *api = q->api;
	struct watch *w = zone_alloc(q->z, sizeof(*w));
	struct list_options o;
	int64_t now = clock_mono_ns();
	uint64_t oldest;

	*w = (struct watch){.q = q};
	if (negotiate(q, true, false) || form_parse(q, &w->form) || filter_parse(q, &w->filter) ||
	    options_parse(q, true, &o))
		return ANSWERED;
	w->initial = o.has_send_initial ? o.send_initial : !o.version;
	w->rv = o.version && !w->initial ? o.version : cache_rv(api_cache(api));
	w->end_mark = o.has_send_initial && o.send_initial && o.bookmarks;
	w->bookmark_ns = o.bookmarks ? now + BOOKMARK_NS : 0;
	w->ends_ns = now + lifetime_ns(&o, now);
	oldest = cache_oldest(api_cache(api));
	if (w->rv + 1 < oldest)
		return answer_expired(q, zone_printf(q->z, "too old resource version: %llu (%llu)",
						     (unsigned long long)w->rv,
						     (unsigned long long)oldest));
	w->all_next = api->all;
	w->all_link = &api->all;
	if (api->all)
		api->all->all_link = &w->all_next;
	api->all = w;
	api->watches++;
	atomic_store_explicit(&proc_counters(api->p)->watches, api->watches, memory_order_relaxed);
	return answer_stream(q, 200, &watch_stream, w);
}

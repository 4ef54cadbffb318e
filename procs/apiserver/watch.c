/*
 * watch.c - watches, each reading the journal for itself while it has not seen
 * all of it; feed.c serves those that have.
 *
 * Places in the journal are resourceVersions, never references, so a watch
 * goes on in the next generation of the cache.
 */
#include <stdlib.h>
#include "procs/apiserver/feed.h"
#include "procs/apiserver/options.h"
#include "procs/apiserver/verbs.h"
#include "procs/apiserver/walk.h"
#include "procs/apiserver/watch.h"

#define BATCH	      256		       /* journal records read at once */
#define LOOK_NS	      (100 * INT64_C(1000000)) /* how often ends and bookmarks are looked for */
#define BOOKMARK_NS   INT64_C(60000000000)
#define TIMEOUT_MIN_S 1800	   /* of watches that set none */
#define FILL_MAX      (16 * BATCH) /* journal records that one piece of a stream is made from */

struct watch {
	struct watch *next, **link;	    /* of its feed's idle ones, or of those ahead */
	struct watch *all_next, **all_link; /* all open watches */
	struct request *q;
	struct feed *feed;
	uint64_t rv;   /* everything up to here has been sent; idle in its feed: to api->followed */
	bool initial;  /* the present state is being sent first */
	bool end_mark; /* a bookmark says when that is done */
	bool columns_done;
	bool expired;	     /* an ERROR was sent */
	bool idle;	     /* nothing to do, until there are changes */
	bool ahead;	     /* idle, and not in its feed: the follower has not come to rv */
	int64_t ends_ns;     /* monotonic */
	int64_t bookmark_ns; /* the next one; 0: none */
	struct place at;     /* initial: the last object that was visited */
};

/* --- Idle, or not ------------------------------------------------------------------- */

static void leave_idle(struct watch *w)
{
	w->idle = false;
	*w->link = w->next;
	if (w->next)
		w->next->link = w->link;
}

/* It has seen everything that the follower has, or more. */
static void watch_sleep(struct watch *w)
{
	struct api *api = w->q->api;
	struct watch **head;

	w->ahead = w->rv > api->followed;
	head = w->ahead ? &api->ahead : &w->feed->idle;
	w->idle = true;
	w->next = *head;
	w->link = head;
	if (*head)
		(*head)->link = &w->next;
	*head = w;
}

/* It goes on for itself. */
static void watch_wake(struct watch *w)
{
	if (w->idle) {
		leave_idle(w);
		if (!w->ahead)
			w->rv = w->q->api->followed;
	}
	stream_wake(w->q);
}

void watch_push(struct watch *w, const struct buf *chunk)
{
	/* A table's first row comes with its columns. */
	bool fits = w->feed->form.shape != SHAPE_TABLE || w->columns_done;

	if (!fits || !stream_push(w->q, chunk))
		watch_wake(w);
}

struct watch *watch_next_idle(const struct watch *w)
{
	return w->next;
}

void watch_wake_all(struct api *api)
{
	for (struct watch *w = api->all; w; w = w->all_next)
		watch_wake(w);
}

/* --- Events ------------------------------------------------------------------------- */

/* A table's bookmark is the row of an object that has nothing but a version. */
static void add_bookmark_row(struct watch *w, struct buf *out, const char *note)
{
	zone *z = w->q->api->scratch;
	value obj = v_map(), cells = kube_table_cells(z, w->feed->form.r, &obj, clock_wall_s());

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
	const struct kube_resource *r = w->feed->form.r;
	const char *note =
		initial_end ? ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}" : "";

	buf_puts(out, "{\"type\":\"BOOKMARK\",\"object\":{");
	switch (w->feed->form.shape) {
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

/* --- The present state, first ------------------------------------------------------- */

static void add_object(struct watch *w, struct buf *out, const struct entry *e,
		       const struct version *v)
{
	item_add_event(out, w->q->api, &w->feed->form, "ADDED", e, v, !w->columns_done);
	w->columns_done = true;
}

/* Some more of it; true when all is sent. */
static bool add_initial(struct watch *w, struct cache *c, struct buf *out)
{
	struct filter_last labels = {0};
	struct walk walk;
	const struct entry *e, *last;
	int visits = 0;

	walk_begin(&walk, c, &w->feed->filter, &w->at);
	for (last = NULL; (e = walk_next(&walk)); last = e) {
		const struct version *v = cache_at(c, e, w->rv);

		if ((out->n >= CHUNK_SIZE || visits++ >= VISITS_MAX) && last &&
		    !cache_same_key(c, e, last))
			break;
		if (v && filter_covers(&w->feed->filter, c, e) &&
		    filter_matches(&w->feed->filter, c, e, v, &labels))
			add_object(w, out, e, v);
	}
	if (last)
		place_at(&w->at, c, last);
	return !e;
}

/* --- The stream --------------------------------------------------------------------- */

/* Changes after w->rv, as far as the follower has come; true when there is no
 * more. */
static bool add_changes(struct watch *w, struct cache *c, struct buf *out)
{
	struct api *api = w->q->api;
	const struct version *v[BATCH];
	struct filter_last last = {0};
	int n = cache_journal(c, w->rv, v, BATCH);

	if (n < 0) {
		add_expired(w, out, cache_oldest(c));
		return true;
	}
	for (int i = 0; i < n && v[i]->rv <= api->followed; i++) {
		if (out->n >= CHUNK_SIZE)
			return false;
		feed_fetch(c, v, n, i);
		w->columns_done |= feed_print(api, w->feed, &last, out, v[i], !w->columns_done);
		w->rv = v[i]->rv;
	}
	return n < BATCH || w->rv >= api->followed;
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
	uint32_t looked = 0;
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
		looked += BATCH;
	} while (!done && out->n < CHUNK_SIZE && looked < FILL_MAX);
	if (w->expired)
		return STREAM_END;
	if (done && w->bookmark_ns && now >= w->bookmark_ns) {
		w->bookmark_ns = now + BOOKMARK_NS;
		add_bookmark(w, out, false);
	}
	if (out->n > start || !done)
		return STREAM_MORE;
	watch_sleep(w);
	return STREAM_IDLE;
}

static void watch_close(struct request *q, void *arg)
{
	struct watch *w = arg;
	struct api *api = q->api;

	if (w->idle)
		leave_idle(w);
	feed_leave(api, w->feed);
	*w->all_link = w->all_next;
	if (w->all_next)
		w->all_next->all_link = w->all_link;
	api->watches--;
	atomic_store_explicit(&proc_counters(api->p)->watches, api->watches, memory_order_relaxed);
}

static const struct stream_ops watch_stream = {.fill = watch_fill, .close = watch_close};

/* --- All of them -------------------------------------------------------------------- */

void watch_start(struct api *api)
{
	uint32_t n;
	const struct kube_resource *r = kube_resources(&n);

	for (uint32_t i = 0; i < n; i++)
		if (r[i].type >= api->ntypes)
			api->ntypes = r[i].type + 1u;
	api->nfeeds = calloc(api->ntypes, sizeof(*api->nfeeds));
	weft_assert(api->nfeeds);
	api->followed = cache_rv(api_cache(api));
}

static int64_t due_ns(const struct watch *w)
{
	return w->bookmark_ns && w->bookmark_ns < w->ends_ns ? w->bookmark_ns : w->ends_ns;
}

/* Wake those that end, or get a bookmark. */
static void wake_due(struct api *api, int64_t now_ns)
{
	int64_t next = INT64_MAX;

	for (struct watch *w = api->all; w; w = w->all_next) {
		int64_t due = due_ns(w);

		if (due <= now_ns) {
			watch_wake(w);
			due = now_ns + LOOK_NS; /* whether it has another */
		}
		if (due < next)
			next = due;
	}
	api->look_again_ns = next > now_ns + LOOK_NS ? next : now_ns + LOOK_NS;
}

/* The follower has come to where they are. */
static void wake_ahead(struct api *api)
{
	struct watch *w, *next;

	for (w = api->ahead; w; w = next) {
		next = w->next;
		if (w->rv <= api->followed)
			watch_wake(w);
	}
}

int64_t watch_turn(struct api *api, int64_t now_ns)
{
	bool all;

	if (!api->all) {
		proc_unfollow(api->p);
		return 0;
	}
	all = feed_follow(api);
	wake_ahead(api);
	if (now_ns >= api->look_again_ns)
		wake_due(api, now_ns);
	proc_follow(api->p, api->followed);
	return all ? api->look_again_ns : now_ns;
}

void watch_resync(struct api *api)
{
	watch_wake_all(api);
	api->followed = cache_rv(api_cache(api));
}

/* --- The request -------------------------------------------------------------------- */

static int64_t lifetime_ns(const struct list_options *o, int64_t now)
{
	int64_t s = o->timeout_s > 0 ? o->timeout_s : TIMEOUT_MIN_S + now / 1000 % TIMEOUT_MIN_S;

	return s * 1000000000;
}

/* Among all; its lifetime begins. */
static void watch_open(struct api *api, struct watch *w)
{
	w->all_next = api->all;
	w->all_link = &api->all;
	if (api->all)
		api->all->all_link = &w->all_next;
	else
		api->look_again_ns = INT64_MAX;
	api->all = w;
	if (due_ns(w) < api->look_again_ns)
		api->look_again_ns = due_ns(w);
	api->watches++;
	atomic_store_explicit(&proc_counters(api->p)->watches, api->watches, memory_order_relaxed);
}

/* Where the journal stands; whoever watches from there misses nothing. */
static uint64_t present(struct api *api)
{
	if (!api->all)
		api->followed = cache_rv(api_cache(api));
	else if (!feed_follow(api))
		return cache_rv(api_cache(api));
	return api->followed;
}

enum outcome object_watch(struct request *q)
{
	struct api *api = q->api;
	struct watch *w = zone_alloc(q->z, sizeof(*w));
	struct list_options o;
	int64_t now = clock_mono_ns();
	uint64_t oldest, newest;

	*w = (struct watch){.q = q};
	if (negotiate(q, true, false) || !(w->feed = feed_join(q)))
		return ANSWERED;
	if (options_parse(q, true, &o)) {
		feed_leave(api, w->feed);
		return ANSWERED;
	}
	newest = present(api);
	w->initial = o.has_send_initial ? o.send_initial : !o.version;
	w->rv = o.version && !w->initial ? o.version : newest;
	w->end_mark = o.has_send_initial && o.send_initial && o.bookmarks;
	w->bookmark_ns = o.bookmarks ? now + BOOKMARK_NS : 0;
	w->ends_ns = now + lifetime_ns(&o, now);
	oldest = cache_oldest(api_cache(api));
	if (w->rv + 1 < oldest) {
		feed_leave(api, w->feed);
		return answer_expired(q, zone_printf(q->z, "too old resource version: %llu (%llu)",
						     (unsigned long long)w->rv,
						     (unsigned long long)oldest));
	}
	watch_open(api, w);
	return answer_stream(q, 200, &watch_stream, w);
}

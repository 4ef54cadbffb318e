/*
 * turn.c - turns.
 */
#include <stdlib.h>
#include <xxhash.h>
#include "procs/apiserver/turn.h"

/* One for each object that is being changed.  `now`, or somebody in the queue, is
 * there, as long as the turn is. */
struct turn {
	struct turn *next;  /* of its place in the table */
	struct turn *ready; /* next one in which a change can begin */
	struct turn **at;   /* its place */
	struct change *now, *first, **last;
};

static struct turn **place_of(struct api *api, const struct change *ch)
{
	uint64_t h = XXH3_64bits_withSeed(ch->ns.p, ch->ns.n, ch->r->type);

	return &api->turns[XXH3_64bits_withSeed(ch->name.p, ch->name.n, h) % TURN_PLACES];
}

static bool same_object(const struct change *a, const struct change *b)
{
	return a->r->type == b->r->type && str_eq(a->ns, b->ns) && str_eq(a->name, b->name);
}

static struct turn *turn_new(struct turn **at, struct change *ch)
{
	struct turn *t = calloc(1, sizeof(*t));

	weft_assert(t);
	*t = (struct turn){.next = *at, .at = at, .now = ch};
	t->last = &t->first;
	*at = t;
	ch->turn = t;
	return t;
}

static void turn_free(struct turn *t)
{
	struct turn **at = t->at;

	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	free(t);
}

bool turn_begin(struct request *q, struct change *ch,
		enum outcome (*begin)(struct request *q, struct change *ch))
{
	struct turn **at = place_of(q->api, ch), *t = *at;

	while (t && !same_object(t->now ? t->now : t->first, ch))
		t = t->next;
	if (!t) {
		turn_new(at, ch);
		return true;
	}
	q->in_flight++;
	ch->turn = t;
	ch->q = q;
	ch->begin = begin;
	ch->behind = NULL;
	*t->last = ch;
	t->last = &ch->behind;
	return false;
}

void turn_over(struct api *api, struct change *ch)
{
	struct turn *t = ch->turn;

	weft_assert(t->now == ch);
	t->now = NULL;
	if (!t->first) {
		turn_free(t);
		return;
	}
	t->ready = api->turns_ready;
	api->turns_ready = t;
}

static void begin_next(struct turn *t)
{
	struct change *ch = t->first;

	t->first = ch->behind;
	if (!t->first)
		t->last = &t->first;
	t->now = ch;
	ch->q->in_flight--;
	if (ch->begin(ch->q, ch) != WAITING)
		request_answer(ch->q);
}

void turns_go_on(struct api *api)
{
	struct turn *t;

	while ((t = api->turns_ready)) {
		api->turns_ready = t->ready;
		begin_next(t);
	}
}

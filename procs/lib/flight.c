/* flight.c - which requests are unanswered. */
#include "procs/lib/lib.h"

#include <stdlib.h>

#define FLIGHTS_FIRST 64

void flights_init(struct flights *f)
{
	*f = (struct flights){.cap = FLIGHTS_FIRST, .oldest = 1, .next = 1};
	f->at = calloc(f->cap, sizeof(*f->at));
	if (!f->at)
		weft_fatal("out of memory for requests in flight");
}

void flights_free(struct flights *f)
{
	free(f->at);
	*f = (struct flights){0};
}

static struct flight *flight_at(struct flights *f, uint64_t seq)
{
	return &f->at[seq & (f->cap - 1)];
}

static void flights_widen(struct flights *f)
{
	struct flights wide = *f;

	wide.cap *= 2;
	wide.at = calloc(wide.cap, sizeof(*wide.at));
	if (!wide.at)
		weft_fatal("out of memory for requests in flight");
	for (uint64_t seq = f->oldest; seq < f->next; seq++)
		*flight_at(&wide, seq) = *flight_at(f, seq);
	free(f->at);
	*f = wide;
}

uint64_t flights_add(struct flights *f, reply_cb cb, void *arg)
{
	if (f->next - f->oldest == f->cap)
		flights_widen(f);
	*flight_at(f, f->next) = (struct flight){.cb = cb, .arg = arg, .open = true};
	f->open++;
	return f->next++;
}

void flights_undo(struct flights *f)
{
	f->next--;
	flight_at(f, f->next)->open = false;
	f->open--;
}

static void flights_advance(struct flights *f)
{
	while (f->oldest < f->next && !flight_at(f, f->oldest)->open)
		f->oldest++;
}

bool flights_take(struct flights *f, uint64_t seq, struct flight *out)
{
	struct flight *at;

	if (seq < f->oldest || seq >= f->next)
		return false;
	at = flight_at(f, seq);
	if (!at->open)
		return false;
	*out = *at;
	at->open = false;
	f->open--;
	flights_advance(f);
	return true;
}

bool flights_take_oldest(struct flights *f, struct flight *out, uint64_t *seq)
{
	*seq = f->oldest;
	return flights_take(f, f->oldest, out);
}

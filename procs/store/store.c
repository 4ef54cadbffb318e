/* store.c - the store's state, its batches, and the way of one request. */
#include "procs/store/quota.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

void store_init(struct store *s, struct cache_writer *w)
{
	memset(s, 0, sizeof(*s));
	s->w = w;
	s->c = cw_cache(w);
	s->z = zone_new();
	s->rv = cache_rv(s->c);
	if (getrandom(s->seed, sizeof(s->seed), 0) != sizeof(s->seed))
		weft_fatal("the kernel gives no random bytes");
	s->stretch = s->seed[0] % BULK_STRETCHES; /* those of an earlier run are full */
	for (uint16_t t = 0; t < TYPE_MAX; t++)
		store_set_memory(s, t, kube_type_in_memory(t));
}

void store_free(struct store *s)
{
	quotas_free(s);
	zone_free(s->z);
	buf_free(&s->uid_list);
	buf_free(&s->number_list[0]);
	buf_free(&s->number_list[1]);
	buf_free(&s->skip_list);
}

void store_set_memory(struct store *s, uint16_t type, bool memory)
{
	uint64_t bit = UINT64_C(1) << (type % 64);

	weft_assert(type / 64 < countof(s->memory_types));
	if (memory)
		s->memory_types[type / 64] |= bit;
	else
		s->memory_types[type / 64] &= ~bit;
}

bool store_in_memory(const struct store *s, uint16_t type)
{
	return type / 64 < countof(s->memory_types) &&
	       s->memory_types[type / 64] >> (type % 64) & 1;
}

/* --- Batches ------------------------------------------------------------------------ */

void batch_free(struct batch *b)
{
	buf_free(&b->log);
	buf_free(&b->text);
	free(b->versions);
	free(b->replies);
	memset(b, 0, sizeof(*b));
}

void batch_reset(struct batch *b)
{
	b->log.n = b->text.n = 0;
	b->nversions = b->nreplies = 0;
	b->first_rv = b->last_rv = 0;
	b->durable = false;
}

void batch_abort(struct store *s, struct batch *b, int status, struct str message)
{
	uint32_t at = (uint32_t)b->text.n;

	for (uint32_t i = b->nversions; i > 0; i--) {
		quotas_undo(s, b->versions[i - 1]);
		cw_abort(s->w, b->versions[i - 1]);
	}
	if (b->nversions)
		s->rv = b->first_rv - 1;
	buf_addstr(&b->text, message);
	for (uint32_t i = 0; i < b->nreplies; i++) {
		struct waiting *r = &b->replies[i];

		*r = (struct waiting){.port = r->port,
				      .incarnation = r->incarnation,
				      .seq = r->seq,
				      .status = status,
				      .message_at = at,
				      .message_n = message.n};
	}
	b->nversions = 0;
	b->log.n = 0;
	b->durable = false;
}

/* Keep bytes for a reply; returns where. */
static uint32_t batch_keep(struct batch *b, const void *p, size_t n)
{
	static const char zeros[4];
	uint32_t at;

	if (b->text.n % 4)
		buf_add(&b->text, zeros, 4 - b->text.n % 4);
	at = (uint32_t)b->text.n;
	if (n)
		buf_add(&b->text, p, n);
	return at;
}

static void batch_reply(struct batch *b, const struct caller *who, const struct msg_reply *r)
{
	struct waiting *w;

	if (b->nreplies == b->replies_cap) {
		b->replies_cap = b->replies_cap ? 2 * b->replies_cap : 256;
		b->replies = realloc(b->replies, b->replies_cap * sizeof(*b->replies));
		weft_assert(b->replies);
	}
	w = &b->replies[b->nreplies++];
	*w = (struct waiting){
		.port = who->port,
		.incarnation = who->incarnation,
		.seq = r->seq,
		.rv = r->rv,
		.status = r->status,
		.entry = r->entry,
		.done = r->done,
		.gone = r->gone,
		.name_n = r->name.n,
		.message_n = r->message.n,
		.skipped_n = r->skipped.n,
	};
	if (r->name.n)
		w->name_at = batch_keep(b, r->name.p, r->name.n);
	if (r->message.n)
		w->message_at = batch_keep(b, r->message.p, r->message.n);
	if (r->skipped.n)
		w->skipped_at = batch_keep(b, r->skipped.p, r->skipped.n * sizeof(uint32_t));
}

/* --- Requests ----------------------------------------------------------------------- */

int answer_error(struct store *s, struct msg_reply *r, int status, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	r->status = status;
	r->message = zone_str(s->z, str_of(text));
	return status;
}

void store_refuse(struct store *s, const struct caller *who, uint64_t seq, int status,
		  const char *message)
{
	struct msg_reply r = {.seq = seq, .status = status, .message = str_of(message)};

	batch_reply(s->batch, who, &r);
}

void store_apply(struct store *s, const struct caller *who, struct msg *m)
{
	struct msg_reply r = {.seq = msg_request(m)->seq};

	switch (m->kind) {
	case MSG_create:
		apply_create(s, who, &m->create, &r);
		break;
	case MSG_update:
		apply_update(s, who, &m->update, &r);
		break;
	case MSG_remove:
		apply_remove(s, who, &m->remove, &r);
		break;
	case MSG_create_many:
		apply_create_many(s, who, &m->create_many, &r);
		break;
	case MSG_bind_many:
		apply_bind_many(s, who, &m->bind_many, &r);
		break;
	case MSG_status_many:
		apply_status_many(s, who, &m->status_many, &r);
		break;
	case MSG_delete_many:
		apply_delete_many(s, who, &m->delete_many, &r);
		break;
	default:
		r.status = WEFT_EINVAL;
	}
	if (r.status && !r.message.n)
		r.message = str_of(weft_strerror(r.status));
	batch_reply(s->batch, who, &r);
	s->near = 0;
	zone_reset(s->z);
}

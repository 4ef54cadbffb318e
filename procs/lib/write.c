/* write.c - what write.h promises. */
#include "procs/lib/write.h"

static void put_part(struct msg_update *m, enum part part, const value *from, struct buf *bytes,
		     struct str *to)
{
	if (!from)
		return;
	v_encode(bytes, from);
	m->mask |= 1u << part;
	*to = buf_str(bytes);
}

int ctl_write_then(struct controller *ctl, const struct entry *e, const struct version *v,
		   const struct parts *parts, reply_cb cb, void *arg)
{
	struct buf meta = {0}, spec = {0}, status = {0};
	struct msg m = {.kind = MSG_update};
	int ret = 0;

	m.update = (struct msg_update){
		.type = e->type,
		.ns = cache_ns(ctl_cache(ctl), e),
		.name = entry_name(e),
		.uid = {(const char *)e->uid, 16},
		.rv = v ? v->rv : 0,
		.bump = parts->bump ? 1u << PART_SPEC : 0,
	};
	put_part(&m.update, PART_META, parts->meta, &meta, &m.update.meta);
	put_part(&m.update, PART_SPEC, parts->spec, &spec, &m.update.spec);
	put_part(&m.update, PART_STATUS, parts->status, &status, &m.update.status);
	if (m.update.mask)
		ret = ctl_send(ctl, &m, cb, arg);
	buf_free(&meta);
	buf_free(&spec);
	buf_free(&status);
	return ret;
}

int ctl_write(struct controller *ctl, const struct entry *e, const struct version *v,
	      const struct parts *parts)
{
	return ctl_write_then(ctl, e, v, parts, NULL, NULL);
}

int ctl_remove(struct controller *ctl, const struct entry *e, const struct version *v,
	       enum propagation propagation, int32_t grace)
{
	struct msg m = {.kind = MSG_remove};

	m.remove = (struct msg_remove){
		.type = e->type,
		.ns = cache_ns(ctl_cache(ctl), e),
		.name = entry_name(e),
		.uid = {(const char *)e->uid, 16},
		.rv = v ? v->rv : 0,
		.grace = grace,
		.propagation = propagation,
	};
	return ctl_send(ctl, &m, NULL, NULL);
}

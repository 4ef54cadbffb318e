/* row.c - what row.h promises. */
#include "procs/checkpoint/row.h"

#include <xxhash.h>

static uint64_t row_hash(struct str key, const char *p, size_t n)
{
	return XXH3_64bits_withSeed(p, n, XXH3_64bits(key.p, key.n));
}

void row_encode(struct buf *out, struct str key, const struct cache *c, const struct entry *o,
		const struct version *v, const struct row_part part[PART_COUNT])
{
	static const char zeros[8];
	struct str node = cache_node_name(c, v);
	struct row r = {
		.created_rv = o->created_rv,
		.rv = v->rv,
		.cause = v->cause,
		.created_s = o->created_s,
		.generation = v->generation,
		.deletion_s = v->deletion_s,
		.grace_s = v->grace_s,
		.hot = v->hot,
		.writer_kind = v->writer_kind,
		.flags = v->flags,
		.nholes = v->nholes,
		.node_n = node.n,
	};
	uint32_t shared = ROW_SHARED;
	size_t start = out->n;
	uint64_t hash;

	memcpy(r.uid, o->uid, sizeof(r.uid));
	r.hot.node.u = 0;
	buf_add(out, &r, sizeof(r));
	for (int i = 0; i < PART_COUNT; i++) {
		if (part[i].shared) {
			buf_add(out, &shared, sizeof(shared));
			buf_add(out, &part[i].blob, sizeof(part[i].blob));
		} else {
			buf_add(out, &part[i].bytes.n, sizeof(part[i].bytes.n));
			buf_addstr(out, part[i].bytes);
		}
	}
	buf_add(out, v->holes, v->nholes * sizeof(uint32_t));
	buf_addstr(out, node);
	buf_add(out, zeros, (8 - (out->n - start) % 8) % 8);
	hash = row_hash(key, out->p + start, out->n - start);
	buf_add(out, &hash, sizeof(hash));
}

static const char *take(struct str *s, uint32_t n)
{
	const char *p = s->p;

	if (n > s->n)
		return NULL;
	s->p += n;
	s->n -= n;
	return p;
}

static bool take_part(struct str *s, struct row_part *part)
{
	const char *p = take(s, sizeof(uint32_t));
	uint32_t n;

	if (!p)
		return false;
	memcpy(&n, p, sizeof(n));
	part->shared = n == ROW_SHARED;
	part->blob = 0;
	part->bytes = (struct str){NULL, 0};
	p = take(s, part->shared ? (uint32_t)sizeof(part->blob) : n);
	if (!p)
		return false;
	if (part->shared)
		memcpy(&part->blob, p, sizeof(part->blob));
	else
		part->bytes = (struct str){p, n};
	return true;
}

bool row_decode(struct str key, struct str bytes, struct row_view *out)
{
	struct str rest = {bytes.p, bytes.n - (uint32_t)sizeof(uint64_t)};
	const char *p;
	uint64_t hash;

	if (bytes.n < sizeof(struct row) + sizeof(hash))
		return false;
	memcpy(&hash, bytes.p + rest.n, sizeof(hash));
	if (hash != row_hash(key, bytes.p, rest.n))
		return false;
	p = take(&rest, sizeof(out->row));
	memcpy(&out->row, p, sizeof(out->row));
	for (int i = 0; i < PART_COUNT; i++)
		if (!take_part(&rest, &out->part[i]))
			return false;
	out->holes = take(&rest, out->row.nholes * (uint32_t)sizeof(uint32_t));
	p = out->holes ? take(&rest, out->row.node_n) : NULL;
	out->node = (struct str){p, out->row.node_n};
	return p != NULL;
}

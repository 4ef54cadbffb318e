/*
 * builder.c - see builder.h.
 */
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "ipc/builder.h"

/* Up to this many keys are compared each with each. */
#define FEW_KEYS 16
/* Notes beyond this help nobody. */
#define NOTES_MAX 100

static void push(struct builder *b, value v)
{
	if (b->n == b->cap) {
		b->cap = b->cap ? 2 * b->cap : 64;
		b->stack = realloc(b->stack, b->cap * sizeof(*b->stack));
		weft_assert(b->stack);
	}
	b->stack[b->n++] = v;
}

bool builder_add(struct builder *b, value v)
{
	if (b->depth > VALUE_DEPTH_MAX)
		return false;
	push(b, v);
	return true;
}

bool builder_open(struct builder *b, bool map)
{
	if (b->depth > VALUE_DEPTH_MAX)
		return false;
	b->frames[b->depth++] = (struct builder_frame){.start = b->n, .map = map};
	return true;
}

void builder_key(struct builder *b, struct str key)
{
	push(b, v_str(key));
}

struct builder_frame *builder_frame(struct builder *b)
{
	return &b->frames[b->depth - 1];
}

bool builder_wants_key(const struct builder *b)
{
	const struct builder_frame *f = b->depth ? &b->frames[b->depth - 1] : NULL;

	return f && f->map && (b->n - f->start) % 2 == 0;
}

value builder_top(const struct builder *b)
{
	return b->stack[b->n - 1];
}

void builder_path(const struct builder *b, struct str key, struct buf *out)
{
	size_t start = out->n;

	for (unsigned i = 0; i < b->depth; i++) {
		const struct builder_frame *f = &b->frames[i];
		bool innermost = i + 1 == b->depth;
		uint32_t end = innermost ? b->n : f[1].start;

		if (innermost && (f->map || key.n))
			break;
		if (!f->map)
			buf_printf(out, "[%u]", end - f->start);
		else
			buf_printf(out, "%s" STR_FMT, out->n > start ? "." : "",
				   STR_ARG(v_as_str(&b->stack[end - 1])));
	}
	if (key.n)
		buf_printf(out, "%s" STR_FMT, out->n > start ? "." : "", STR_ARG(key));
}

static bool noted(const struct json_notes *notes, struct str path)
{
	for (uint32_t i = 0; i < notes->nduplicate; i++)
		if (str_eq(notes->duplicate[i], path))
			return true;
	return false;
}

static void note_duplicate(struct builder *b, struct str key)
{
	struct json_notes *notes = b->notes;
	struct buf path = {0};

	if (!notes || notes->nduplicate == NOTES_MAX || builder_frame(b)->quiet)
		return;
	builder_path(b, key, &path);
	if (!noted(notes, buf_str(&path))) {
		if (!notes->duplicate)
			notes->duplicate = zone_alloc(b->z, NOTES_MAX * sizeof(struct str));
		notes->duplicate[notes->nduplicate++] = zone_str(b->z, buf_str(&path));
	}
	buf_free(&path);
}

/* A set of the keys kv[0..n) by hash: slots hold index + 1. */
struct key_set {
	const msgpack_object_kv *kv;
	uint32_t *slots, mask;
};

/* The earlier member with kv[i]'s key, or i itself, which is then remembered. */
static uint32_t set_find(struct key_set *s, uint32_t i)
{
	struct str key = v_as_str(&s->kv[i].key);
	uint32_t at = (uint32_t)XXH3_64bits(key.p, key.n) & s->mask;

	for (; s->slots[at]; at = (at + 1) & s->mask)
		if (str_eq(v_as_str(&s->kv[s->slots[at] - 1].key), key))
			return s->slots[at] - 1;
	s->slots[at] = i + 1;
	return i;
}

static uint32_t few_find(const msgpack_object_kv *kv, uint32_t i)
{
	struct str key = v_as_str(&kv[i].key);

	for (uint32_t k = 0; k < i; k++)
		if (str_eq(v_as_str(&kv[k].key), key))
			return k;
	return i;
}

/* Leaves each key once; returns how many. */
static uint32_t drop_duplicates(struct builder *b, msgpack_object_kv *kv, uint32_t n)
{
	struct key_set set = {.kv = kv};
	uint32_t kept = 0, first;

	if (n > FEW_KEYS) {
		set.mask = 31;
		while (set.mask < 2 * (uint64_t)n)
			set.mask = 2 * set.mask + 1;
		set.slots = calloc(set.mask + (size_t)1, sizeof(*set.slots));
		weft_assert(set.slots);
	}
	for (uint32_t i = 0; i < n; i++) {
		kv[kept] = kv[i];
		first = set.slots ? set_find(&set, kept) : few_find(kv, kept);
		if (first == kept) {
			kept++;
			continue;
		}
		note_duplicate(b, v_as_str(&kv[i].key));
		kv[first].val = kv[i].val;
	}
	free(set.slots);
	return kept;
}

_Static_assert(sizeof(msgpack_object_kv) == 2 * sizeof(value) &&
		       offsetof(msgpack_object_kv, val) == sizeof(value),
	       "a key and a value on the stack are a member of a map");

bool builder_close(struct builder *b)
{
	struct builder_frame f = b->frames[b->depth - 1];
	value *v = b->n > f.start ? b->stack + f.start : NULL;
	uint32_t n = b->n - f.start;
	value made;

	if (f.map) {
		n = drop_duplicates(b, (msgpack_object_kv *)v, n / 2);
		made = v_map_of(b->z, (msgpack_object_kv *)v, n);
	} else {
		made = v_array_of(b->z, v, n);
	}
	b->depth--;
	b->n = f.start;
	return builder_add(b, made);
}

value builder_result(const struct builder *b)
{
	weft_assert(b->depth == 0 && b->n == 1);
	return b->stack[0];
}

void builder_free(struct builder *b)
{
	free(b->stack);
	*b = (struct builder){0};
}

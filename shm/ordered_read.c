/* ordered_read.c - the ordered index, the readers' side. */
#include "shm/ordered_node.h"

/* --- Keys ------------------------------------------------------------------------ */

static void flat_add(struct flat *f, const char *p, uint32_t n)
{
	uint32_t room = ORDERED_KEY_MAX - f->n;

	if (n > room)
		n = room;
	if (n)
		memcpy(f->bytes + f->n, p, n);
	f->n += n;
}

void flat_of_key(struct flat *f, const struct ordered_key *k)
{
	f->n = 0;
	f->rv = k->created_rv;
	if (k->ns.n) {
		flat_add(f, k->ns.p, k->ns.n);
		flat_add(f, "/", 1);
	}
	flat_add(f, k->name.p, k->name.n);
}

void flat_of_entry(struct flat *f, const char *base, uint32_t entry)
{
	struct ordered_key k = ordered_key_of(base, entry);

	flat_of_key(f, &k);
}

static int cmp(const char *a, uint32_t an, uint64_t arv, const char *b, uint32_t bn, uint64_t brv)
{
	int c = str_cmp((struct str){a, an}, (struct str){b, bn});

	return c ? c : (arv > brv) - (arv < brv);
}

int cmp_flat(const struct flat *a, const struct flat *b)
{
	return cmp(a->bytes, a->n, a->rv, b->bytes, b->n, b->rv);
}

int cmp_entry(const char *base, uint32_t entry, const struct flat *k)
{
	struct flat f;

	flat_of_entry(&f, base, entry);
	return cmp_flat(&f, k);
}

int cmp_sep(const struct sep *s, const struct flat *k)
{
	return cmp(s->bytes, s->n, s->rv, k->bytes, k->n, k->rv);
}

int ordered_key_cmp(const struct ordered_key *a, const struct ordered_key *b)
{
	struct flat fa, fb;

	flat_of_key(&fa, a);
	flat_of_key(&fb, b);
	return cmp_flat(&fa, &fb);
}

uint64_t key_digest(const char *bytes, uint32_t n, uint32_t skip)
{
	uint64_t d = 0;

	if (skip < n)
		memcpy(&d, bytes + skip, n - skip < sizeof(d) ? n - skip : sizeof(d));
	return __builtin_bswap64(d);
}

uint64_t entry_digest(const char *base, uint32_t entry, uint32_t skip)
{
	struct flat f;

	flat_of_entry(&f, base, entry);
	return key_digest(f.bytes, f.n, skip);
}

uint32_t common_bytes(const char *a, uint32_t an, const char *b, uint32_t bn)
{
	uint32_t n = an < bn ? an : bn, i = 0;

	while (i < n && a[i] == b[i])
		i++;
	return i;
}

uint32_t common_of_seps(const struct sep *a, const struct sep *b)
{
	return a && b ? common_bytes(a->bytes, a->n, b->bytes, b->n) : 0;
}

/* --- Searching --------------------------------------------------------------------- */

/* In an inner node: the child whose range has k. */
static uint32_t inner_search(const char *base, const struct node *inner, const struct flat *k)
{
	uint32_t lo = 1, hi = node_n(inner), mid;
	uint64_t d;
	int c;

	if (hi <= 1)
		return 0;
	if (inner->skip > inner->sure) {
		uint32_t n = k->n < inner->skip ? k->n : inner->skip;

		c = memcmp(k->bytes, sep_at(base, inner, 1)->bytes, n);
		if (c < 0 || (c == 0 && n < inner->skip))
			return 0;
		if (c > 0)
			return hi - 1;
	}
	d = key_digest(k->bytes, k->n, inner->skip);
	while (lo < hi) {
		mid = (lo + hi) / 2;
		if (inner->digest[mid] != d)
			c = inner->digest[mid] < d ? -1 : 1;
		else
			c = cmp_sep(sep_at(base, inner, mid), k);
		if (c <= 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo - 1;
}

/* --- Leaves ------------------------------------------------------------------------ */

uint32_t entries_search(const struct entries *s, const char *base, uint32_t first, uint64_t digest,
			const struct flat *k)
{
	uint32_t lo = first, hi = s->n;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;
		bool after = s->digest[mid] != digest ? s->digest[mid] < digest
						      : cmp_entry(base, s->ref[mid], k) <= 0;

		if (after)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* The same for an entry, whose key is looked at only if its digest ties. */
static uint32_t entries_place(const struct entries *s, const char *base, uint32_t first,
			      uint64_t digest, uint32_t entry)
{
	struct flat k;
	uint32_t i = s->n;

	while (i > first && s->digest[i - 1] > digest)
		i--;
	if (i == first || s->digest[i - 1] != digest)
		return i;
	flat_of_entry(&k, base, entry);
	return entries_search(s, base, first, digest, &k);
}

void entries_put(struct entries *s, uint32_t i, uint32_t ref, uint64_t digest)
{
	memmove(s->ref + i + 1, s->ref + i, (s->n - i) * sizeof(s->ref[0]));
	memmove(s->digest + i + 1, s->digest + i, (s->n - i) * sizeof(s->digest[0]));
	s->ref[i] = ref;
	s->digest[i] = digest;
	s->n++;
}

void entries_take(struct entries *s, const char *base, const struct node *leaf)
{
	uint32_t fill = node_fill(leaf), first = s->n, i;

	for (i = 0; i < FILL_SORTED(fill); i++) {
		/* an entry that is removed by now is overwritten by the next */
		s->ref[s->n] = node_ref(leaf, i);
		s->digest[s->n] = leaf->digest[i];
		s->n += s->ref[s->n] != 0;
	}
	for (; i < FILL_N(fill); i++) {
		uint32_t ref = node_ref(leaf, i);
		uint64_t d = leaf->digest[i];

		if (ref)
			entries_put(s, entries_place(s, base, first, d, ref), ref, d);
	}
}

/* Take a copy of what the leaf at the end of `pos` has, and stand behind k
 * (NULL: at its beginning). */
static void enter_leaf(struct ordered_pos *pos, const char *base, const struct flat *k)
{
	const struct node *leaf = pos->node[pos->depth - 1];
	struct entries s;

	s.n = 0;
	s.skip = leaf->skip;
	entries_take(&s, base, leaf);
	memcpy(pos->ref, s.ref, s.n * sizeof(s.ref[0]));
	pos->n = (uint16_t)s.n;
	pos->next = 0;
	if (k)
		pos->next = (uint16_t)entries_search(&s, base, 0,
						     key_digest(k->bytes, k->n, s.skip), k);
}

/* --- Walking ----------------------------------------------------------------------- */

static void push(struct ordered_pos *pos, const struct node *node, uint32_t at)
{
	pos->node[pos->depth] = node;
	pos->at[pos->depth++] = (uint16_t)at;
}

/* Go down from `node` to a leaf, by key or (k == NULL) always to the left. */
static void descend(struct ordered_pos *pos, const char *base, const struct node *node,
		    const struct flat *k)
{
	uint32_t at, level;

	for (level = node->level; level > 0; level--) {
		at = k ? inner_search(base, node, k) : 0;
		push(pos, node, at);
		node = ref_ptr(base, node_ref(node, at));
	}
	push(pos, node, 0);
}

void ordered_find_leaf(struct ordered_pos *pos, const char *base, const struct ordered_root *root,
		       const struct flat *k)
{
	/* [ordered.A1] pairs with [ordered.R1]. */
	uint32_t top = prcu_dereference(&root->root);

	pos->depth = pos->n = pos->next = 0;
	if (top)
		descend(pos, base, ref_ptr(base, top), k);
}

void ordered_range(const struct ordered_pos *path, const char *base, int d, const struct sep **lo,
		   const struct sep **hi)
{
	*lo = *hi = NULL;
	for (int i = 0; i < d; i++) {
		const struct node *up = path->node[i];
		uint32_t at = path->at[i];

		if (at > 0)
			*lo = sep_at(base, up, at);
		if (at + 1u < node_n(up))
			*hi = sep_at(base, up, at + 1);
	}
}

static bool in_range(const struct ordered_pos *path, const char *base, int d, const struct flat *k)
{
	const struct sep *lo, *hi;

	ordered_range(path, base, d, &lo, &hi);
	return (!hi || cmp_sep(hi, k) > 0) && (!lo || cmp_sep(lo, k) <= 0);
}

void ordered_find_from(struct ordered_pos *pos, const char *base, const struct ordered_root *root,
		       const struct flat *k)
{
	int d = pos->depth;

	while (--d > 0 && !in_range(pos, base, d, k))
		;
	if (d <= 0) {
		ordered_find_leaf(pos, base, root, k);
		return;
	}
	pos->depth = d;
	pos->n = pos->next = 0;
	descend(pos, base, pos->node[d], k);
}

/* All lines of a leaf are going to be read: have them on their way at once. */
static inline void prefetch_leaf(const struct node *leaf)
{
	for (size_t i = 0; i < sizeof(*leaf) + ORDERED_FANOUT * 12; i += CACHE_LINE)
		prefetch((const char *)leaf + i);
}

void ordered_seek(struct ordered_pos *pos, const char *base, const struct ordered_root *root,
		  const struct ordered_key *after)
{
	struct flat k;

	if (after)
		flat_of_key(&k, after);
	ordered_find_leaf(pos, base, root, after ? &k : NULL);
	if (!pos->depth)
		return;
	prefetch_leaf(pos->node[pos->depth - 1]);
	enter_leaf(pos, base, after ? &k : NULL);
}

/* From an exhausted leaf to the next one; false at the end. */
static bool next_leaf(struct ordered_pos *pos, const char *base)
{
	const struct node *up;

	while (pos->depth > 0 && --pos->depth > 0) {
		up = pos->node[pos->depth - 1];
		if (++pos->at[pos->depth - 1] < node_n(up)) {
			up = ref_ptr(base, node_ref(up, pos->at[pos->depth - 1]));
			descend(pos, base, up, NULL);
			prefetch_leaf(pos->node[pos->depth - 1]);
			enter_leaf(pos, base, NULL);
			return true;
		}
	}
	return false;
}

uint32_t ordered_next(struct ordered_pos *pos, const char *base)
{
	while (pos->next == pos->n)
		if (!next_leaf(pos, base)) {
			pos->n = pos->next = 0;
			return 0;
		}
	if (pos->next + ORDERED_AHEAD < pos->n)
		prefetch(ref_ptr(base, pos->ref[pos->next + ORDERED_AHEAD]));
	return pos->ref[pos->next++];
}

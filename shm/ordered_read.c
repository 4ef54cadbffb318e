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

static int cmp_flat(const struct flat *a, const struct flat *b)
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

/* In a leaf: a slot i such that live entries before i have keys <= k, and
 * those from i on have greater ones. */
static uint32_t leaf_search(const char *base, const struct node *leaf, const struct flat *k)
{
	uint64_t d = key_digest(k->bytes, k->n, leaf->skip);
	uint32_t lo = 0, hi = node_n(leaf), mid, m;
	uint32_t entry = 0;

	while (lo < hi) {
		mid = (lo + hi) / 2;
		if (leaf->digest[mid] != d) {
			if (leaf->digest[mid] < d)
				lo = mid + 1;
			else
				hi = mid;
			continue;
		}
		/* A removed entry says nothing; the next live one of the tie does. */
		for (m = mid; m < hi && leaf->digest[m] == d; m++) {
			entry = node_ref(leaf, m);
			if (entry)
				break;
		}
		if (m < hi && leaf->digest[m] == d && cmp_entry(base, entry, k) <= 0)
			lo = m + 1;
		else
			hi = mid;
	}
	return lo;
}

/* In an inner node: the child whose range has k. */
static uint32_t inner_search(const char *base, const struct node *inner, const struct flat *k)
{
	uint32_t lo = 1, hi = node_n(inner), mid;
	uint64_t d;
	int c;

	if (hi <= 1)
		return 0;
	if (inner->skip) {
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

static void push(struct ordered_pos *pos, const struct node *node, uint32_t at)
{
	pos->node[pos->depth] = node;
	pos->at[pos->depth++] = (uint16_t)at;
}

/* A search in a leaf looks at a few of its cache lines, each after the other:
 * have them all on their way at once. */
static inline void prefetch_leaf(const struct node *leaf)
{
	for (size_t i = 0; i < sizeof(*leaf) + ORDERED_FANOUT * 12; i += CACHE_LINE)
		__builtin_prefetch((const char *)leaf + i);
}

/* Go down from `node`, by key or (k == NULL) always to the left. */
static void descend(struct ordered_pos *pos, const char *base, const struct node *node,
		    const struct flat *k)
{
	uint32_t at, level;

	for (level = node->level; level > 0; level--) {
		at = k ? inner_search(base, node, k) : 0;
		push(pos, node, at);
		node = ref_ptr(base, node_ref(node, at));
		if (level == 1)
			prefetch_leaf(node);
	}
	push(pos, node, k ? leaf_search(base, node, k) : 0);
}

void ordered_seek_flat(struct ordered_pos *pos, const char *base, const struct ordered_root *root,
		 const struct flat *k)
{
	/* [ordered.A1] pairs with [ordered.R1]. */
	uint32_t top = prcu_dereference(&root->root);

	pos->depth = 0;
	if (top)
		descend(pos, base, ref_ptr(base, top), k);
}

void ordered_seek(struct ordered_pos *pos, const char *base, const struct ordered_root *root,
		  const struct ordered_key *after)
{
	struct flat k;

	if (after)
		flat_of_key(&k, after);
	ordered_seek_flat(pos, base, root, after ? &k : NULL);
}

/* From an exhausted leaf to the next one; false at the end. */
static bool next_leaf(struct ordered_pos *pos, const char *base)
{
	const struct node *up;

	while (--pos->depth > 0) {
		up = pos->node[pos->depth - 1];
		if (++pos->at[pos->depth - 1] < node_n(up)) {
			up = ref_ptr(base, node_ref(up, pos->at[pos->depth - 1]));
			descend(pos, base, up, NULL);
			return true;
		}
	}
	return false;
}

uint32_t ordered_next(struct ordered_pos *pos, const char *base)
{
	if (!pos->depth)
		return 0;
	do {
		const struct node *leaf = pos->node[pos->depth - 1];
		uint16_t *at = &pos->at[pos->depth - 1];
		uint32_t n = node_n(leaf);

		while (*at < n) {
			uint32_t entry = node_ref(leaf, (*at)++);

			if (*at + 3u < n && node_ref(leaf, *at + 3u))
				__builtin_prefetch(ref_ptr(base, node_ref(leaf, *at + 3u)));
			if (entry)
				return entry;
		}
	} while (next_leaf(pos, base));
	return 0;
}

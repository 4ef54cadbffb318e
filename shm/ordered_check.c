/* ordered_check.c - walks a whole ordered index: for tests and leak checks. */
#include "shm/ordered_node.h"

static uint64_t memory_of(const char *base, uint32_t ref)
{
	const struct node *node = ref_ptr(base, ref);
	uint64_t bytes = arena_class_size(node_bytes(node));

	for (uint32_t i = 0; node->level && i < node_n(node); i++) {
		bytes += memory_of(base, node_ref(node, i));
		if (i > 0)
			bytes += arena_class_size(sep_bytes(sep_at(base, node, i)));
	}
	return bytes;
}

uint64_t ordered_memory(const struct ordered *o, const struct ordered_root *root)
{
	uint32_t top = prcu_own(&root->root);

	return top ? memory_of(o->m.base, top) : 0;
}

/* --- Checking ------------------------------------------------------------------- */

struct check {
	const char *base;
	struct err *e;
	uint64_t items;
	struct flat last; /* the greatest key so far */
	bool any;
};

static int damaged(struct check *c, const struct node *node, uint32_t i, const char *what)
{
	return err_set(c->e, WEFT_ECORRUPT, "ordered index: slot %u of %u at level %u: %s", i,
		       (unsigned)node_n(node), (unsigned)node->level, what);
}

/* Whether k is in the range of separators lo and hi (0: none). */
static bool in_range(struct check *c, const struct flat *k, uint32_t lo, uint32_t hi)
{
	return (!lo || cmp_sep(ref_ptr(c->base, lo), k) <= 0) &&
	       (!hi || cmp_sep(ref_ptr(c->base, hi), k) > 0);
}

static int check_entry(struct check *c, const struct node *leaf, const struct entries *s,
		       uint32_t i, uint32_t lo, uint32_t hi)
{
	struct flat k;

	flat_of_entry(&k, c->base, s->ref[i]);
	if (s->digest[i] != key_digest(k.bytes, k.n, leaf->skip))
		return damaged(c, leaf, i, "the digest is not the entry's");
	if (c->any && cmp_entry(c->base, s->ref[i], &c->last) <= 0)
		return damaged(c, leaf, i, "the entry is not greater than the one before");
	if (!in_range(c, &k, lo, hi))
		return damaged(c, leaf, i, "the entry is outside the node's range");
	c->last = k;
	c->any = true;
	c->items++;
	return 0;
}

static int check_leaf(struct check *c, const struct node *leaf, uint32_t lo, uint32_t hi)
{
	struct entries s;
	int rc = 0;

	if (leaf->skip &&
	    (!lo || !hi || common_of_seps(ref_ptr(c->base, lo), ref_ptr(c->base, hi)) < leaf->skip))
		return damaged(c, leaf, 0, "the range has less in common than is left out");
	s.n = 0;
	s.skip = leaf->skip;
	entries_take(&s, c->base, leaf);
	if (s.n + leaf->dead != node_n(leaf))
		return damaged(c, leaf, s.n, "removed entries are not counted right");
	for (uint32_t i = 0; i < s.n && !rc; i++)
		rc = check_entry(c, leaf, &s, i, lo, hi);
	return rc;
}

static int check_sep(struct check *c, const struct node *inner, uint32_t i, uint32_t lo,
		     uint32_t hi)
{
	const struct sep *s = sep_at(c->base, inner, i);
	struct flat k = {.n = s->n, .rv = s->rv};

	memcpy(k.bytes, s->bytes, s->n);
	if (inner->digest[i] != key_digest(s->bytes, s->n, inner->skip))
		return damaged(c, inner, i, "the digest is not the separator's");
	if (i > 1 && cmp_sep(sep_at(c->base, inner, i - 1), &k) >= 0)
		return damaged(c, inner, i, "the separator is not greater than the one before");
	if (!in_range(c, &k, lo, hi))
		return damaged(c, inner, i, "the separator is outside the node's range");
	if (common_of_seps(s, sep_at(c->base, inner, 1)) < inner->skip)
		return damaged(c, inner, i, "separators have less in common than is left out");
	return 0;
}

static int check_node(struct check *c, uint32_t ref, uint32_t lo, uint32_t hi)
{
	const struct node *node = ref_ptr(c->base, ref), *child;
	uint32_t n = node_n(node), *sep = node_seps(node);
	int rc = 0;

	if (n > node->cap || node->cap > ORDERED_FANOUT)
		return damaged(c, node, n, "more slots than there is room for");
	if (!node->level)
		return check_leaf(c, node, lo, hi);
	if (node->sure &&
	    (!lo || !hi || common_of_seps(ref_ptr(c->base, lo), ref_ptr(c->base, hi)) < node->sure))
		return damaged(c, node, 0, "the range has less in common than it is sure of");
	for (uint32_t i = 0; i < n && !rc; i++) {
		child = ref_ptr(c->base, node_ref(node, i));
		if (child->level + 1 != node->level)
			return damaged(c, node, i, "the child is of another level");
		rc = i ? check_sep(c, node, i, lo, hi) : 0;
		if (!rc)
			rc = check_node(c, node_ref(node, i), i ? sep[i] : lo,
					i + 1 < n ? sep[i + 1] : hi);
	}
	return rc;
}

int ordered_check(const struct ordered *o, const struct ordered_root *root, struct err *e)
{
	struct check c = {.base = o->m.base, .e = e};
	uint32_t top = prcu_own(&root->root);
	int rc = top ? check_node(&c, top, 0, 0) : 0;

	if (!rc && c.items != ordered_items(root))
		return err_set(e, WEFT_ECORRUPT, "ordered index: %llu entries, counted as %llu",
			       (unsigned long long)c.items,
			       (unsigned long long)ordered_items(root));
	return rc;
}

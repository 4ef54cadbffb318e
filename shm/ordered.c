/* ordered.c - the ordered index, the writer's side: what ordered.h promises. */
#include "shm/ordered_node.h"

#define MERGE_BELOW (ORDERED_FANOUT / 4)
#define MERGE_TO    (ORDERED_FANOUT * 3 / 4)
#define APPEND_MAX  8				      /* entries behind the sorted ones of a leaf */
#define FULL	    (ORDERED_FANOUT - APPEND_MAX / 2) /* entries that are enough for a leaf */
#define FRESH_MAX   (3 * ORDERED_DEPTH)

/* --- A change: new nodes that become visible at once -------------------------------- */

/* What a change has made and what it replaces.  Nothing is visible before
 * publish(); give_up() undoes all. */
struct change {
	struct ordered *o;
	struct ordered_root *root;
	struct ordered_pos path; /* of the key that it is about */
	struct {
		uint32_t ref;
		size_t n;
	} fresh[FRESH_MAX], old[FRESH_MAX];
	int nfresh, nold;
};

static struct node *path_node(const struct change *c, int d)
{
	return (struct node *)c->path.node[d];
}

static uint32_t fresh_block(struct change *c, size_t n)
{
	uint32_t ref = index_alloc(&c->o->m, n);

	if (!ref)
		return 0;
	weft_assert(c->nfresh < FRESH_MAX);
	c->fresh[c->nfresh].ref = ref;
	c->fresh[c->nfresh++].n = n;
	return ref;
}

static void replaced(struct change *c, const void *p, size_t n)
{
	weft_assert(c->nold < FRESH_MAX);
	c->old[c->nold].ref = ref_of(c->o->m.base, p);
	c->old[c->nold++].n = n;
}

static void replaced_node(struct change *c, const struct node *node)
{
	replaced(c, node, node_bytes(node));
}

static void give_up(struct change *c)
{
	while (c->nfresh > 0) {
		c->nfresh--;
		index_free(&c->o->m, c->fresh[c->nfresh].ref, c->fresh[c->nfresh].n);
	}
}

/* Let `ref` take the place of the node at depth d of the path. */
static void publish(struct change *c, int d, uint32_t ref)
{
	if (d == 0)
		/* [ordered.R1] pairs with [ordered.A1]: all below is whole. */
		prcu_assign(&c->root->root, ref);
	else
		node_set_ref(path_node(c, d - 1), c->path.at[d - 1], ref);
	for (int i = 0; i < c->nold; i++)
		index_retire(&c->o->m, c->old[i].ref, c->old[i].n);
}

/* The separators of the range of the node at depth d, NULL where the tree
 * ends. */
static void range_of(const struct change *c, int d, const struct sep **lo, const struct sep **hi)
{
	ordered_range(&c->path, c->o->m.base, d, lo, hi);
}

/* --- Building leaves ---------------------------------------------------------------- */

static bool has_ties(const uint64_t *d, uint32_t n)
{
	for (uint32_t i = 1; i < n; i++)
		if (d[i] == d[i - 1])
			return true;
	return false;
}

/* The capacity of a leaf that is to hold at least n: what its block has room
 * for anyhow. */
static uint32_t leaf_cap(uint32_t n)
{
	size_t bytes = arena_class_size(leaf_bytes(n < ORDERED_FANOUT ? n : ORDERED_FANOUT));
	uint32_t cap = (uint32_t)((bytes - leaf_bytes(0)) / (leaf_bytes(1) - leaf_bytes(0)));

	return cap < ORDERED_FANOUT ? cap : ORDERED_FANOUT;
}

/* A new leaf of the entries [from, to), with room for `room`, for a range whose
 * keys have `skip` bytes in common.  The digests are taken as they are unless
 * that forbids it, or can make them tell more entries apart.  0 without memory. */
static uint32_t build_leaf(struct change *c, const struct entries *s, uint32_t from, uint32_t to,
			   uint32_t room, uint32_t skip)
{
	const char *base = c->o->m.base;
	uint32_t cap = leaf_cap(room), n = to - from;
	uint32_t ref = fresh_block(c, leaf_bytes(cap));
	struct node *leaf;
	bool anew = skip < s->skip || (skip > s->skip && has_ties(s->digest + from, n));

	if (!ref)
		return 0;
	leaf = ref_ptr(base, ref);
	*leaf = (struct node){.cap = (uint16_t)cap, .skip = anew ? skip : s->skip};
	for (uint32_t i = 0; i < n; i++) {
		uint32_t entry = s->ref[from + i];

		leaf->digest[i] = anew ? entry_digest(base, entry, skip) : s->digest[from + i];
		node_set_ref(leaf, i, entry);
	}
	prcu_set_relaxed(&leaf->fill, FILL(n, n)); /* unseen until published */
	return ref;
}

/* The shortest separator between the entries a < b; 0 without memory. */
static uint32_t build_sep(struct change *c, uint32_t a, uint32_t b)
{
	const char *base = c->o->m.base;
	struct flat fa, fb;
	struct sep *s;
	uint32_t n, ref;
	bool differ;

	flat_of_entry(&fa, base, a);
	flat_of_entry(&fb, base, b);
	n = common_bytes(fa.bytes, fa.n, fb.bytes, fb.n);
	differ = n < fb.n;
	n += differ;
	ref = fresh_block(c, sizeof(*s) + n);
	if (!ref)
		return 0;
	s = ref_ptr(base, ref);
	s->rv = differ ? 0 : fb.rv;
	s->n = n;
	memcpy(s->bytes, fb.bytes, n);
	return ref;
}

/* --- Building inner nodes ----------------------------------------------------------- */

/* Children on their way into new inner nodes; digests under `skip`, where
 * `known` says so. */
struct children {
	uint32_t n, skip;
	uint32_t ref[2 * ORDERED_FANOUT];
	uint32_t sep[2 * ORDERED_FANOUT];
	uint64_t digest[2 * ORDERED_FANOUT];
	bool known[2 * ORDERED_FANOUT];
};

static void children_add(struct children *s, uint32_t ref, uint32_t sep)
{
	s->ref[s->n] = ref;
	s->sep[s->n] = sep;
	s->known[s->n++] = false;
}

/* Add children [from, to), with their digests if they fit. */
static void children_take(struct children *s, const struct node *inner, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i < to; i++) {
		s->digest[s->n] = inner->digest[i];
		children_add(s, node_ref(inner, i), node_seps(inner)[i]);
		s->known[s->n - 1] = inner->skip == s->skip;
	}
}

/* What digests leave out for separators that have `have` bytes in common, in a
 * range that makes sure of `sure` bytes: few bytes more are not worth that each
 * search looks at them. */
static uint32_t inner_skip(uint32_t have, uint32_t sure)
{
	return have > sure + 3 ? have : sure;
}

/* A new inner node of the children [from, to), whose first separator is
 * somebody else's, for the range (lo, hi).  0 without memory. */
static uint32_t build_inner(struct change *c, const struct children *s, uint32_t from, uint32_t to,
			    uint32_t level, const struct sep *lo, const struct sep *hi)
{
	const char *base = c->o->m.base;
	uint32_t n = to - from, ref = fresh_block(c, inner_bytes(n));
	struct node *inner;

	if (!ref)
		return 0;
	inner = ref_ptr(base, ref);
	*inner = (struct node){.fill = FILL(n, n), .cap = (uint16_t)n, .level = (uint16_t)level};
	inner->sure = (uint16_t)common_of_seps(lo, hi);
	if (n > 1)
		inner->skip = inner_skip(common_of_seps(ref_ptr(base, s->sep[from + 1]),
							ref_ptr(base, s->sep[to - 1])),
					 inner->sure);
	for (uint32_t i = 0; i < n; i++) {
		const struct sep *sep = i ? ref_ptr(base, s->sep[from + i]) : NULL;

		node_set_ref(inner, i, s->ref[from + i]);
		node_seps(inner)[i] = i ? s->sep[from + i] : 0;
		if (!i)
			inner->digest[i] = 0;
		else if (s->known[from + i] && inner->skip == s->skip)
			inner->digest[i] = s->digest[from + i];
		else
			inner->digest[i] = key_digest(sep->bytes, sep->n, inner->skip);
	}
	return ref;
}

/* --- Inserting ---------------------------------------------------------------------- */

/* What takes the place of a node: one node, or (right != 0) two and the
 * separator between them. */
struct outcome {
	uint32_t left, right, sep;
};

/* How many of `n` slots go to the left when a node is split because of slot
 * `at`: as many as it takes when that is the last, as in an ascending run; else
 * half. */
static uint32_t split_at(uint32_t n, uint32_t at)
{
	if (at + 1 < n)
		return n / 2;
	return n - 1 < ORDERED_FANOUT ? n - 1 : ORDERED_FANOUT;
}

/* Entries that go into one leaf together: ascending, within its range, with their
 * digests there. */
struct run {
	const uint32_t *entry;
	uint32_t n; /* 1 to ORDERED_FANOUT */
	uint64_t digest[ORDERED_FANOUT];
};

/* Where an entry belongs among those from `first` on; its key is looked at only if
 * its digest ties. */
static uint32_t entries_find(const struct entries *s, const char *base, uint32_t first,
			     uint64_t digest, uint32_t entry)
{
	uint32_t lo = first, hi = s->n;
	struct flat k;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (s->digest[mid] <= digest)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == first || s->digest[lo - 1] != digest)
		return lo;
	flat_of_entry(&k, base, entry);
	return entries_search(s, base, first, digest, &k);
}

/* Add a run; the place of its last entry. */
static uint32_t entries_add(struct entries *s, const char *base, const struct run *run)
{
	uint32_t at = 0;

	for (uint32_t i = 0; i < run->n; i++) {
		at = entries_find(s, base, at, run->digest[i], run->entry[i]);
		entries_put(s, at, run->entry[i], run->digest[i]);
	}
	return at;
}

/* New leaves in place of the path's, with a run of its range. */
static int grow_leaf(struct change *c, const struct run *run, struct outcome *out)
{
	const char *base = c->o->m.base;
	int depth = c->path.depth - 1;
	const struct node *leaf = path_node(c, depth);
	const struct sep *lo, *hi, *mid;
	uint32_t at, half, room;
	struct entries s;

	s.n = 0;
	s.skip = leaf->skip;
	entries_take(&s, base, leaf);
	at = entries_add(&s, base, run);
	replaced_node(c, leaf);
	/* Where it is the last, a run may follow. */
	if (s.n <= (at + 1 < s.n ? FULL : ORDERED_FANOUT)) {
		room = at + 1 < s.n ? s.n + APPEND_MAX : 2 * s.n;
		out->left = build_leaf(c, &s, 0, s.n, room, s.skip);
		return out->left ? 0 : WEFT_ENOMEM;
	}
	half = split_at(s.n, at);
	out->sep = build_sep(c, s.ref[half - 1], s.ref[half]);
	if (!out->sep)
		return WEFT_ENOMEM;
	mid = ref_ptr(base, out->sep);
	range_of(c, depth, &lo, &hi);
	room = at + 1 < s.n ? s.n - half + APPEND_MAX : ORDERED_FANOUT;
	out->left = build_leaf(c, &s, 0, half, half + APPEND_MAX, common_of_seps(lo, mid));
	out->right = build_leaf(c, &s, half, s.n, room, common_of_seps(mid, hi));
	return out->left && out->right ? 0 : WEFT_ENOMEM;
}

/* New inner nodes in place of the one at depth d, whose child has become
 * in->left and in->right. */
static int grow_inner(struct change *c, int d, const struct outcome *in, struct outcome *out)
{
	const struct node *inner = path_node(c, d);
	uint32_t at = c->path.at[d], half;
	const struct sep *lo, *hi, *mid;
	struct children s;

	s.n = 0;
	s.skip = inner->skip;
	children_take(&s, inner, 0, at + 1);
	s.ref[at] = in->left;
	children_add(&s, in->right, in->sep);
	children_take(&s, inner, at + 1, node_n(inner));
	replaced_node(c, inner);
	range_of(c, d, &lo, &hi);
	if (s.n <= ORDERED_FANOUT) {
		out->left = build_inner(c, &s, 0, s.n, inner->level, lo, hi);
		return out->left ? 0 : WEFT_ENOMEM;
	}
	half = split_at(s.n, at + 1);
	out->sep = s.sep[half];
	mid = ref_ptr(c->o->m.base, out->sep);
	out->left = build_inner(c, &s, 0, half, inner->level, lo, mid);
	out->right = build_inner(c, &s, half, s.n, inner->level, mid, hi);
	return out->left && out->right ? 0 : WEFT_ENOMEM;
}

static uint32_t grow_root(struct change *c, const struct outcome *in)
{
	const struct node *left = ref_ptr(c->o->m.base, in->left);
	struct children s;

	weft_assert(c->path.depth < ORDERED_DEPTH);
	s.n = s.skip = 0;
	children_add(&s, in->left, 0);
	children_add(&s, in->right, in->sep);
	return build_inner(c, &s, 0, 2, left->level + 1u, NULL, NULL);
}

/* Replace the leaf, and above it as many nodes as have to be split. */
static int insert_by_copy(struct change *c, const struct run *run)
{
	int depth = c->path.depth - 1;
	struct outcome now = {0}, up;
	int rc = grow_leaf(c, run, &now);

	while (!rc && now.right && depth > 0) {
		up = (struct outcome){0};
		rc = grow_inner(c, --depth, &now, &up);
		now = up;
	}
	if (!rc && now.right) {
		now.left = grow_root(c, &now);
		rc = now.left ? 0 : WEFT_ENOMEM;
	}
	if (rc) {
		give_up(c);
		return rc;
	}
	publish(c, depth, now.left);
	c->path.depth = depth; /* what is above is still there */
	return WEFT_OK;
}

/* Whether k is greater than all keys of a leaf that is sorted up to n. */
static bool is_last(const char *base, const struct node *leaf, uint32_t n, uint64_t d,
		    const struct flat *k)
{
	uint32_t ref;

	if (!n || leaf->digest[n - 1] != d)
		return !n || leaf->digest[n - 1] < d;
	ref = node_ref(leaf, n - 1);
	return ref && cmp_entry(base, ref, k) < 0;
}

/* Put the entry behind the leaf's last slot; false if it has no room, or has
 * unsorted ones enough. */
static bool append(const char *base, struct node *leaf, uint32_t entry, const struct flat *k)
{
	uint32_t fill = prcu_own(&leaf->fill), n = FILL_N(fill), sorted = FILL_SORTED(fill);
	uint64_t d = key_digest(k->bytes, k->n, leaf->skip);

	if (n == leaf->cap)
		return false;
	if (n == sorted && is_last(base, leaf, n, d, k))
		sorted++;
	else if (n - sorted == APPEND_MAX)
		return false;
	leaf->digest[n] = d;
	node_set_ref(leaf, n, entry);
	/* [ordered.R2] pairs with [ordered.A2]: the slot is whole. */
	prcu_assign(&leaf->fill, FILL(n + 1, sorted));
	return true;
}

static int insert_first(struct ordered *o, struct ordered_root *root, uint32_t entry)
{
	struct change c = {.o = o, .root = root};
	struct entries s;
	uint32_t leaf;

	s.n = s.skip = 0;
	entries_put(&s, 0, entry, entry_digest(o->m.base, entry, 0));
	leaf = build_leaf(&c, &s, 0, 1, 1, 0);
	if (!leaf)
		return WEFT_ENOMEM;
	publish(&c, 0, leaf);
	return 0;
}

static void count_items(struct ordered_root *root, uint64_t by)
{
	/* relaxed: a statistic */
	prcu_set_relaxed(&root->items, prcu_own(&root->items) + by);
}

void ordered_init(struct ordered *o, const struct index_memory *m)
{
	o->m = *m;
}

/* Is k, which is greater than a key of the range that ends at `hi`, beyond it?  The
 * range's keys have `skip` bytes in common with `hi`; d is the digest after them. */
static bool is_beyond(const struct sep *hi, uint32_t skip, const struct flat *k, uint64_t d)
{
	uint64_t end;

	if (!hi)
		return false;
	if (k->n < skip || memcmp(k->bytes, hi->bytes, skip) != 0)
		return true;
	end = key_digest(hi->bytes, hi->n, skip);
	return d != end ? d > end : cmp_sep(hi, k) <= 0;
}

/* The entries, the first of which has key k, that can go into the path's leaf
 * together. */
static void take_run(const struct change *c, const struct flat *k, const uint32_t *entry,
		     uint32_t n, struct run *run)
{
	const struct node *leaf = path_node(c, c->path.depth - 1);
	const struct sep *lo, *hi;
	const struct flat *last = k;
	struct flat f[2];
	uint32_t i;

	run->entry = entry;
	run->digest[0] = key_digest(k->bytes, k->n, leaf->skip);
	range_of(c, c->path.depth - 1, &lo, &hi);
	for (i = 1; i < n && i < ORDERED_FANOUT; i++) {
		struct flat *next = &f[i % 2];
		uint64_t d;

		flat_of_entry(next, c->o->m.base, entry[i]);
		d = run->digest[i] = key_digest(next->bytes, next->n, leaf->skip);
		if (is_beyond(hi, leaf->skip, next, d) || d < run->digest[i - 1] ||
		    (d == run->digest[i - 1] && cmp_flat(last, next) >= 0))
			break;
		last = next;
	}
	run->n = i;
}

/* Put in the first of the entries, or a run of them, from where the path ends that
 * the one before has left; how many, 0 without memory. */
static uint32_t insert_some(struct change *c, const uint32_t *entry, uint32_t n)
{
	const char *base = c->o->m.base;
	struct run run;
	struct flat k;
	int rc = WEFT_OK;

	flat_of_entry(&k, base, entry[0]);
	weft_assert(k.n < ORDERED_KEY_MAX);
	c->nfresh = c->nold = 0;
	ordered_find_from(&c->path, base, c->root, &k);
	run.n = 1;
	if (c->path.depth)
		take_run(c, &k, entry, n, &run);
	if (!c->path.depth)
		rc = insert_first(c->o, c->root, entry[0]);
	else if (run.n > 1 || !append(base, path_node(c, c->path.depth - 1), entry[0], &k))
		rc = insert_by_copy(c, &run);
	if (rc)
		return 0;
	count_items(c->root, run.n);
	return run.n;
}

uint32_t ordered_insert_many(struct ordered *o, struct ordered_root *root, const uint32_t *entry,
			     uint32_t n)
{
	uint32_t done = 0, now = 1;
	struct change c;

	c.o = o;
	c.root = root;
	c.path.depth = 0;
	while (done < n && now) {
		now = insert_some(&c, entry + done, n - done);
		done += now;
	}
	return done;
}

int ordered_insert(struct ordered *o, struct ordered_root *root, uint32_t entry)
{
	return ordered_insert_many(o, root, &entry, 1) ? WEFT_OK : WEFT_ENOMEM;
}

/* --- Removing ----------------------------------------------------------------------- */

/* One leaf in place of the two neighbours l and r, whose ranges meet. */
static uint32_t merge_leaves(struct change *c, const struct node *l, const struct node *r,
			     const struct sep *lo, const struct sep *hi)
{
	const char *base = c->o->m.base;
	struct entries s;
	uint32_t from;

	s.n = 0;
	s.skip = l->skip;
	entries_take(&s, base, l);
	from = s.n;
	s.skip = r->skip;
	entries_take(&s, base, r);
	s.skip = l->skip;
	for (uint32_t i = from; i < s.n && r->skip != l->skip; i++)
		s.digest[i] = entry_digest(base, s.ref[i], s.skip);
	return build_leaf(c, &s, 0, s.n, s.n, common_of_seps(lo, hi));
}

/* One inner node in place of l and r with `sep` between them. */
static uint32_t merge_inners(struct change *c, const struct node *l, const struct node *r,
			     uint32_t sep, const struct sep *lo, const struct sep *hi)
{
	struct children s;
	uint32_t from;

	s.n = 0;
	s.skip = l->skip;
	children_take(&s, l, 0, node_n(l));
	from = s.n;
	children_take(&s, r, 0, node_n(r));
	s.sep[from] = sep;
	s.known[from] = false;
	return build_inner(c, &s, 0, s.n, l->level, lo, hi);
}

static bool worth_merging(const struct node *l, const struct node *r)
{
	uint32_t a = node_live(l), b = node_live(r);

	return a + b <= (a && b ? MERGE_TO : ORDERED_FANOUT);
}

/* The range of the children i and i + 1 of the node at depth d, together. */
static void range_of_two(const struct change *c, int d, uint32_t i, const struct sep **lo,
			 const struct sep **hi)
{
	const struct node *up = path_node(c, d);

	range_of(c, d, lo, hi);
	if (i > 0)
		*lo = sep_at(c->o->m.base, up, i);
	if (i + 2 < node_n(up))
		*hi = sep_at(c->o->m.base, up, i + 2);
}

/* Merge the children i and i + 1 of the node at depth d.  False when they are
 * too many for one, or without memory: then nothing has changed. */
static bool merge_children(struct change *c, int d, uint32_t i)
{
	const char *base = c->o->m.base;
	const struct node *up = path_node(c, d);
	const struct node *l = ref_ptr(base, node_ref(up, i));
	const struct node *r = ref_ptr(base, node_ref(up, i + 1));
	uint32_t one, two = node_n(up), sep = node_seps(up)[i + 1];
	const struct sep *lo, *hi;
	struct children s;

	if (!worth_merging(l, r))
		return false;
	range_of_two(c, d, i, &lo, &hi);
	if (l->level) {
		one = merge_inners(c, l, r, sep, lo, hi);
	} else {
		one = merge_leaves(c, l, r, lo, hi);
		replaced(c, ref_ptr(base, sep), sep_bytes(ref_ptr(base, sep)));
	}
	range_of(c, d, &lo, &hi);
	if (one && two > 2) {
		s.n = 0;
		s.skip = up->skip;
		children_take(&s, up, 0, i + 1);
		s.ref[i] = one;
		children_take(&s, up, i + 2, two);
		one = build_inner(c, &s, 0, s.n, up->level, lo, hi);
	} else if (one && d > 0) {
		s.n = s.skip = 0;
		children_add(&s, one, 0);
		one = build_inner(c, &s, 0, 1, up->level, lo, hi);
	} /* else: the one child of the root becomes the root */
	if (!one) {
		give_up(c);
		return false;
	}
	replaced_node(c, l);
	replaced_node(c, r);
	replaced_node(c, up);
	publish(c, d, one);
	return true;
}

/* Merge something on the way to k; false when there is nothing (left) to do. */
static bool rebalance_once(struct ordered *o, struct ordered_root *root, const struct flat *k)
{
	struct change c;

	c.o = o;
	c.root = root;
	c.nfresh = c.nold = 0;
	ordered_find_leaf(&c.path, o->m.base, root, k);
	for (int d = c.path.depth - 1; d > 0; d--) {
		const struct node *up = path_node(&c, d - 1);
		uint32_t at = c.path.at[d - 1];

		if (node_live(path_node(&c, d)) >= MERGE_BELOW)
			continue;
		if (at + 1u < node_n(up) && merge_children(&c, d - 1, at))
			return true;
		c.nold = 0;
		if (at > 0 && merge_children(&c, d - 1, at - 1))
			return true;
		c.nold = 0;
	}
	return false;
}

/* An index without entries has no nodes. */
static void drop_empty_root(struct ordered *o, struct ordered_root *root)
{
	struct change c = {.o = o, .root = root};
	const struct node *top = ref_ptr(o->m.base, prcu_own(&root->root));

	if (top->level || node_live(top))
		return;
	replaced_node(&c, top);
	publish(&c, 0, 0);
}

bool ordered_remove(struct ordered *o, struct ordered_root *root, uint32_t entry)
{
	struct ordered_pos path;
	struct node *leaf;
	struct flat k;
	uint32_t at = 0;

	flat_of_entry(&k, o->m.base, entry);
	ordered_find_leaf(&path, o->m.base, root, &k);
	if (!path.depth)
		return false;
	leaf = (struct node *)path.node[path.depth - 1];
	while (at < node_n(leaf) && node_ref(leaf, at) != entry)
		at++;
	if (at == node_n(leaf))
		return false;
	node_set_ref(leaf, at, 0);
	leaf->dead++;
	count_items(root, -UINT64_C(1));
	if (node_live(leaf) < MERGE_BELOW)
		while (rebalance_once(o, root, &k))
			;
	drop_empty_root(o, root);
	return true;
}

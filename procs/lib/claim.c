/* claim.c - adoption and release; see claim.h. */
#include "procs/lib/claim.h"

#include <stdlib.h>

#include "procs/lib/write.h"

struct kube_selector *claim_selector_of(struct controller *ctl, const struct entry *owner,
					const struct version *v)
{
	zone *z = ctl_zone(ctl);
	value spec = kube_part(z, ctl_cache(ctl), owner, v, PART_SPEC);
	struct kube_selector *selector = NULL;
	struct str message;

	if (kube_selector_from(z, v_get(&spec, "selector"), &selector, &message) != 0)
		return NULL;
	return selector;
}

/* --- Candidates --------------------------------------------------------------- */

static struct claim_list *list_at(const struct claims *claims, const uint8_t owner[16])
{
	uint32_t mask = claims->cap - 1, i;

	memcpy(&i, owner, sizeof(i));
	for (i &= mask; claims->owners[i].list; i = (i + 1) & mask)
		if (memcmp(claims->owners[i].owner, owner, 16) == 0)
			break;
	return &claims->owners[i];
}

static void grow(struct claims *claims)
{
	struct claims old = *claims;

	claims->cap = old.cap ? old.cap * 2 : 64;
	claims->owners = calloc(claims->cap, sizeof(*claims->owners));
	weft_assert(claims->owners);
	for (uint32_t i = 0; i < old.cap; i++)
		if (old.owners[i].list)
			*list_at(claims, old.owners[i].owner) = old.owners[i];
	free(old.owners);
}

/* The same one may be noted twice: looking at it a second time does no harm. */
static void note(struct claims *claims, const struct cache *c, const uint8_t owner[16],
		 const struct entry *object)
{
	struct claim_list *l;

	if (claims->n * 2 >= claims->cap)
		grow(claims);
	l = list_at(claims, owner);
	if (l->n == l->cap) {
		claims->n += !l->list;
		memcpy(l->owner, owner, 16);
		l->cap = l->cap ? l->cap * 2 : 4;
		l->list = realloc(l->list, l->cap * sizeof(*l->list));
		weft_assert(l->list);
	}
	l->list[l->n++] = (struct claim){cache_entry_ref(c, object), object->created_rv};
}

/* An owner without candidates leaves the table, and those behind it close up. */
static void forget(struct claims *claims, struct claim_list *l)
{
	uint32_t mask = claims->cap - 1, i = (uint32_t)(l - claims->owners);

	free(l->list);
	*l = (struct claim_list){.list = NULL};
	claims->n--;
	for (i = (i + 1) & mask; claims->owners[i].list; i = (i + 1) & mask) {
		struct claim_list moved = claims->owners[i];

		claims->owners[i] = (struct claim_list){.list = NULL};
		*list_at(claims, moved.owner) = moved;
	}
}

/* Every owner of the object's namespace whose selector matches it. */
static void note_matching(struct controller *ctl, struct claims *claims, uint16_t owner_type,
			  claim_selector selector_of, const struct entry *object,
			  const struct version *v)
{
	const struct cache *c = ctl_cache(ctl);
	struct str labels = cache_part(c, v, PART_LABELS);
	struct cache_iter it;
	const struct entry *owner;

	cache_iter_init(&it, c, owner_type, cache_ns(c, object), (struct str){0}, (struct str){0});
	while ((owner = cache_iter_next(&it))) {
		const struct version *ov = cache_live(c, owner);
		struct kube_selector *selector;

		if (!ov || ov->deletion_s || !proc_mine_uid(ctl_proc(ctl), owner->uid))
			continue;
		selector = selector_of(ctl, owner, ov);
		if (!selector || !kube_selector_match(selector, labels))
			continue;
		note(claims, c, owner->uid, object);
		ctl_enqueue(ctl, owner);
	}
}

void claim_map(struct controller *ctl, struct claims *claims, uint16_t owner_type,
	       claim_selector selector_of, const struct entry *other)
{
	const struct cache *c = ctl_cache(ctl);
	const struct version *v = cache_live(c, other);
	const struct entry *owner;
	uint32_t ref;

	if (!v || v->deletion_s)
		return;
	ref = prcu_dereference(&other->owner);
	if (!ref) {
		note_matching(ctl, claims, owner_type, selector_of, other, v);
		return;
	}
	owner = cache_entry(c, (entry_ref){ref});
	if (owner->type != owner_type || !proc_mine_uid(ctl_proc(ctl), owner->uid))
		return;
	note(claims, c, owner->uid, other);
	ctl_enqueue(ctl, owner);
}

/* --- Requests ------------------------------------------------------------------- */

static int adopt(struct controller *ctl, const struct entry *owner, const struct entry *e,
		 const struct version *v)
{
	zone *z = ctl_zone(ctl);
	value meta = kube_part(z, ctl_cache(ctl), e, v, PART_META);

	if (!v_is_map(&meta))
		meta = v_map();
	v_append(z, v_array_at(z, &meta, "ownerReferences"),
		 kube_owner_ref(z, ctl_cache(ctl), owner, true));
	return ctl_write(ctl, e, v, &(struct parts){.meta = &meta});
}

static int release(struct controller *ctl, const struct entry *owner, const struct entry *e,
		   const struct version *v)
{
	zone *z = ctl_zone(ctl);
	value meta = kube_part(z, ctl_cache(ctl), e, v, PART_META);
	value *refs = v_get(&meta, "ownerReferences");
	char uid[37];

	uid_format(owner->uid, uid);
	for (uint32_t i = 0; i < v_len(refs);) {
		if (str_is(v_get_str(v_at(refs, i), "uid"), uid))
			v_remove(refs, i);
		else
			i++;
	}
	if (!v_len(refs))
		v_del(&meta, "ownerReferences");
	return ctl_write(ctl, e, v, &(struct parts){.meta = &meta});
}

/* No controller, not even one that does not exist (any more). */
static bool is_orphan(struct controller *ctl, const struct entry *e, const struct version *v)
{
	value meta;

	if (prcu_dereference(&e->owner))
		return false;
	if (!(v->flags & VERSION_OWNED))
		return true;
	meta = kube_part(ctl_zone(ctl), ctl_cache(ctl), e, v, PART_META);
	return !kube_controller_of(&meta);
}

/* Adopt or release one object, if it has to be: 1 when a request went out, 0
 * when nothing is to do, or an error of ctl_send(). */
static int settle(struct controller *ctl, uint16_t type, const struct entry *owner,
		  const struct version *ov, const struct kube_selector *selector,
		  const struct entry *e)
{
	const struct cache *c = ctl_cache(ctl);
	const struct version *v = cache_live(c, e);
	uint32_t ref;
	bool matches;
	int ret;

	if (!v || e->type != type || v->deletion_s || e->ns.u != owner->ns.u)
		return 0;
	ref = prcu_dereference(&e->owner);
	matches = kube_selector_match(selector, cache_part(c, v, PART_LABELS));
	if (ref == cache_entry_ref(c, owner).u && !matches)
		ret = release(ctl, owner, e, v);
	else if (matches && !ov->deletion_s && is_orphan(ctl, e, v))
		ret = adopt(ctl, owner, e, v);
	else
		return 0;
	return ret ? ret : 1;
}

/* --- Reconcile -------------------------------------------------------------------- */

/* A finished pod is in nobody's way: it is neither adopted nor released. */
static bool of_interest(const struct version *v)
{
	return v && !pod_has_ended(v);
}

static int look_at_dependents(struct controller *ctl, uint16_t type, const struct entry *owner,
			      const struct version *ov, const struct kube_selector *selector)
{
	const struct cache *c = ctl_cache(ctl);
	uint32_t good_set = UINT32_MAX; /* label set that was last found to match */
	int sent = 0, ret;

	for (const struct entry *e = cache_first_dependent(c, owner); e;
	     e = cache_next_dependent(c, e)) {
		const struct version *v = cache_live(c, e);

		if (!of_interest(v) || e->type != type || v->part[PART_LABELS] == good_set)
			continue;
		ret = settle(ctl, type, owner, ov, selector, e);
		if (ret < 0)
			return ret;
		sent += ret;
		if (!ret)
			good_set = v->part[PART_LABELS];
	}
	return sent;
}

static int look_at_orphans(struct controller *ctl, uint16_t type, const struct entry *owner,
			   const struct version *ov, const struct kube_selector *selector)
{
	const struct cache *c = ctl_cache(ctl);
	int sent = 0, ret;

	for (const struct labelset *set = cache_first_labelset(c, type, cache_ns(c, owner)); set;
	     set = cache_next_labelset(c, set)) {
		if (!kube_selector_match(selector, cache_blob(c, set->labels)))
			continue;
		for (const struct entry *e = cache_first_in_set(c, set); e;
		     e = cache_next_in_set(c, e)) {
			if (prcu_dereference(&e->owner) || !of_interest(cache_live(c, e)))
				continue;
			ret = settle(ctl, type, owner, ov, selector, e);
			if (ret < 0)
				return ret;
			sent += ret;
		}
	}
	return sent;
}

/* A candidate stays noted until there is nothing left to do for it, so that a
 * request that was refused is made again. */
static int look_at_candidates(struct controller *ctl, struct claims *claims, uint16_t type,
			      const struct entry *owner, const struct version *ov,
			      const struct kube_selector *selector)
{
	const struct cache *c = ctl_cache(ctl);
	struct claim_list *l = claims->cap ? list_at(claims, owner->uid) : NULL;
	int sent = 0;

	for (uint32_t i = 0; l && i < l->n;) {
		const struct entry *e;
		int ret = 0;

		if (cache_entry_checked(c, l->list[i].object.u, &e) == 0 &&
		    e->created_rv == l->list[i].created_rv)
			ret = settle(ctl, type, owner, ov, selector, e);
		if (ret < 0)
			return ret;
		sent += ret;
		if (ret)
			i++;
		else
			l->list[i] = l->list[--l->n];
	}
	if (l && l->list && !l->n)
		forget(claims, l);
	return sent;
}

int claim_reconcile(struct controller *ctl, struct claims *claims, struct claim_state *state,
		    uint16_t type, const struct entry *owner, const struct version *v,
		    const struct kube_selector *selector)
{
	uint64_t resyncs = ctl_resyncs(ctl) + 1;
	int sent, more;

	sent = look_at_candidates(ctl, claims, type, owner, v, selector);
	if (sent < 0 || state->resyncs == resyncs)
		return sent;
	more = look_at_dependents(ctl, type, owner, v, selector);
	if (more < 0)
		return more;
	sent += more;
	more = look_at_orphans(ctl, type, owner, v, selector);
	if (more < 0)
		return more;
	if (!more && !sent)
		state->resyncs = resyncs;
	return sent + more;
}

/* terms.c - counts of matching pods by topology, for affinity and spread. */
#include <stdlib.h>
#include <xxhash.h>

#include "procs/scheduler/scheduler.h"
#include "weft/place.h"

/* --- Parsing ---------------------------------------------------------------------- */

static struct term *add_term(struct kind *k, enum term_type type, bool hard)
{
	struct term *grown = zone_alloc(k->z, (k->nterms + 1) * sizeof(*grown));

	if (k->nterms)
		memcpy(grown, k->terms, k->nterms * sizeof(*grown));
	k->terms = grown;
	grown[k->nterms] = (struct term){.type = type, .hard = hard};
	return &grown[k->nterms++];
}

/* labelSelector, narrowed by the pod's own values of matchLabelKeys. */
static struct kube_selector *read_selector(struct kind *k, const value *term)
{
	value selector = v_get(term, "labelSelector") ? v_copy(k->z, v_get(term, "labelSelector"))
						      : v_null();
	struct kube_selector *out = NULL;
	struct str message;

	if (v_is_map(&selector))
		v_each(key, v_get(term, "matchLabelKeys")) {
			const value *own = v_getn(&k->labels, v_as_str(key));

			if (own)
				v_setn(k->z, v_map_at(k->z, &selector, "matchLabels"),
				       v_as_str(key), *own);
		}
	kube_selector_from(k->z, v_is_map(&selector) ? v_new(k->z, selector) : NULL, &out,
			   &message);
	return out;
}

static void read_pod_term(struct scheduler *self, struct kind *k, const value *term,
			  enum term_type type, bool hard, int64_t weight)
{
	struct term *t = add_term(k, type, hard);
	struct str message;

	t->weight = weight;
	t->topology = v_get_str(term, "topologyKey");
	t->selector = read_selector(k, term);
	if (v_len(v_get(term, "namespaces")))
		t->namespaces = v_get(term, "namespaces");
	if (v_is_map(v_get(term, "namespaceSelector")))
		kube_selector_from(k->z, v_get(term, "namespaceSelector"), &t->ns_selector,
				   &message);
	t->matches_self = t->selector && terms_namespace(self, t, k, k->ns) &&
			  kube_selector_match_value(t->selector, &k->labels);
	k->has_anti |= type == TERM_ANTI && hard;
}

static void read_affinity(struct scheduler *self, struct kind *k, const char *key,
			  enum term_type type)
{
	const value *affinity = v_get(v_get(&k->spec, "affinity"), key);

	v_each(term, v_get(affinity, "requiredDuringSchedulingIgnoredDuringExecution"))
		read_pod_term(self, k, term, type, true, 0);
	v_each(term, v_get(affinity, "preferredDuringSchedulingIgnoredDuringExecution"))
		read_pod_term(self, k, v_get(term, "podAffinityTerm"), type, false,
			      v_get_int(term, "weight", 0));
}

static void add_place(struct kind *k, uint64_t **places, uint32_t *n, uint64_t place)
{
	uint64_t *grown = zone_alloc(k->z, (*n + 1) * sizeof(*grown));

	if (*n)
		memcpy(grown, *places, *n * sizeof(*grown));
	grown[(*n)++] = place;
	*places = grown;
}

/* The namespaces that a required term speaks of. */
static void add_places(struct kind *k, const struct term *t)
{
	bool closes = t->type == TERM_ANTI;

	if (t->ns_selector) {
		add_place(k, &k->guards, &k->nguards, PLACE_ANYWHERE);
		if (closes)
			add_place(k, &k->marks, &k->nmarks, PLACE_APART_ALL);
		return;
	}
	for (uint32_t i = 0; i < (t->namespaces ? v_len(t->namespaces) : 1); i++) {
		struct str ns = t->namespaces ? v_as_str(v_at(t->namespaces, i)) : k->ns;

		add_place(k, &k->guards, &k->nguards, place_namespace(ns));
		if (closes)
			add_place(k, &k->marks, &k->nmarks, place_apart(ns));
	}
}

void terms_parse(struct scheduler *self, struct kind *k)
{
	v_each(c, v_get(&k->spec, "topologySpreadConstraints")) {
		bool hard = !str_eq(v_get_str(c, "whenUnsatisfiable"), STR("ScheduleAnyway"));
		struct term *t = add_term(k, TERM_SPREAD, hard);

		t->topology = v_get_str(c, "topologyKey");
		t->max_skew = v_get_int(c, "maxSkew", 1);
		t->min_domains = v_get_int(c, "minDomains", 1);
		t->honor_affinity = !str_eq(v_get_str(c, "nodeAffinityPolicy"), STR("Ignore"));
		t->honor_taints = str_eq(v_get_str(c, "nodeTaintsPolicy"), STR("Honor"));
		t->selector = read_selector(k, c);
		t->matches_self = t->selector && kube_selector_match_value(t->selector, &k->labels);
	}
	read_affinity(self, k, "podAffinity", TERM_AFFINITY);
	read_affinity(self, k, "podAntiAffinity", TERM_ANTI);
	for (uint32_t i = 0; i < k->nterms; i++)
		if (k->terms[i].hard)
			add_places(k, &k->terms[i]);
}

/* --- Domains ------------------------------------------------------------------------ */

static struct domain *domain_at(const struct domains *d, uint64_t hash)
{
	uint32_t mask = d->cap - 1, i = (uint32_t)hash & mask;

	while (d->at[i].hash && d->at[i].hash != hash)
		i = (i + 1) & mask;
	return &d->at[i];
}

static void grow_domains(struct domains *d)
{
	struct domains old = *d;

	d->cap = old.cap ? old.cap * 2 : 16;
	d->at = calloc(d->cap, sizeof(*d->at));
	weft_assert(d->at);
	for (uint32_t i = 0; i < old.cap; i++)
		if (old.at[i].hash)
			*domain_at(d, old.at[i].hash) = old.at[i];
	free(old.at);
}

static void clear_domains(struct domains *d)
{
	free(d->at);
	*d = (struct domains){0};
}

/* A domain counts from when it is first named, with 0 too. */
static void count_domain(struct domains *d, uint64_t hash, int64_t more)
{
	struct domain *at;

	if (d->n * 2 >= d->cap)
		grow_domains(d);
	at = domain_at(d, hash);
	if (!at->hash) {
		*at = (struct domain){.hash = hash};
		d->n++;
		d->at_least = 0;
	}
	if (more < 0)
		d->at_least = 0; /* to be found again */
	else if (more > 0 && d->at_least && at->count == d->least)
		d->at_least--;
	at->count += more;
}

/* The fewest in any domain; looked for only after the last of those that had so
 * few has got more. */
static int64_t least_of(struct domains *d)
{
	if (d->at_least || !d->n)
		return d->n ? d->least : 0;
	d->least = INT64_MAX;
	for (uint32_t i = 0; i < d->cap; i++) {
		if (!d->at[i].hash || d->at[i].count > d->least)
			continue;
		d->at_least = d->at[i].count < d->least ? 1 : d->at_least + 1;
		d->least = d->at[i].count;
	}
	return d->least;
}

static uint64_t domain_of(const struct term *t, const struct node *node)
{
	const value *label = v_getn(&node->labels, t->topology);
	struct str text = v_as_str(label);

	return v_is_str(label) ? XXH3_64bits(text.p, text.n) | 1 : 0;
}

int64_t terms_at(const struct term *t, const struct node *node, bool *has_domain)
{
	uint64_t hash = domain_of(t, node);

	*has_domain = hash != 0;
	return hash && t->matching.cap ? domain_at(&t->matching, hash)->count : 0;
}

/* The fewest matching pods in any domain; 0 while there are fewer domains than
 * asked for. */
int64_t terms_least(struct term *t)
{
	return (int64_t)t->matching.n < t->min_domains ? 0 : least_of(&t->matching);
}

void terms_free(struct kind *kind)
{
	for (uint32_t i = 0; i < kind->nterms; i++) {
		clear_domains(&kind->terms[i].matching);
		clear_domains(&kind->terms[i].own);
	}
}

/* --- Pods of the kind itself -------------------------------------------------------- */

int64_t terms_own(const struct term *t, const struct node *node)
{
	uint64_t hash = domain_of(t, node);

	return hash && t->own.cap ? domain_at(&t->own, hash)->count : 0;
}

static void note_own(struct kind *kind, const struct node *node, int64_t more)
{
	for (uint32_t i = 0; i < kind->nterms; i++) {
		struct term *t = &kind->terms[i];
		uint64_t hash = domain_of(t, node);

		if (hash && t->type == TERM_ANTI && t->hard)
			count_domain(&t->own, hash, more);
	}
}

void terms_note_own(struct kind *kind, const struct node *node, int sign)
{
	note_own(kind, node, sign);
}

void terms_count_own(struct scheduler *self, struct kind *kind)
{
	if (kind->own_counted)
		return;
	for (uint32_t i = 0; i < kind->nterms; i++)
		clear_domains(&kind->terms[i].own);
	for (uint32_t i = 0; kind->on_node && i < kind->on_node_n && i < self->nnodes; i++)
		if (kind->on_node[i])
			note_own(kind, &self->nodes[i], kind->on_node[i]);
	kind->own_counted = true;
}

/* --- Namespaces --------------------------------------------------------------------- */

bool terms_namespace(struct scheduler *self, const struct term *t, const struct kind *owner,
		     struct str ns)
{
	const struct entry *e;
	const struct version *v;

	v_each(name, t->namespaces)
		if (str_eq(v_as_str(name), ns))
			return true;
	if (!t->ns_selector)
		return !t->namespaces && str_eq(owner->ns, ns);
	e = cache_find(self->c, TYPE_NAMESPACE, (struct str){0}, ns);
	v = e ? cache_live(self->c, e) : NULL;
	return v && kube_selector_match(t->ns_selector, cache_part(self->c, v, PART_LABELS));
}

/* --- Counting ----------------------------------------------------------------------- */

/* A node that lacks the label of any constraint is no domain for any. */
static bool has_all_labels(const struct kind *kind, const struct node *n)
{
	for (uint32_t i = 0; i < kind->nterms; i++)
		if (kind->terms[i].type == TERM_SPREAD && kind->terms[i].hard &&
		    !domain_of(&kind->terms[i], n))
			return false;
	return true;
}

static bool counts_as_domain(const struct kind *kind, const struct term *t, const struct node *n)
{
	if (!n->present || !domain_of(t, n))
		return false;
	if (t->type != TERM_SPREAD)
		return true;
	return (!t->hard || has_all_labels(kind, n)) &&
	       (!t->honor_affinity || node_matches_affinity(kind, n)) &&
	       (!t->honor_taints || node_tolerated(kind, n, "NoSchedule", "NoExecute"));
}

static void find_domains(struct scheduler *self, struct kind *kind, struct term *t)
{
	clear_domains(&t->matching);
	t->total = 0;
	for (uint32_t i = 0; i < self->nnodes; i++)
		if (counts_as_domain(kind, t, &self->nodes[i]))
			count_domain(&t->matching, domain_of(t, &self->nodes[i]), 0);
}

static void count_pod(struct kind *kind, struct term *t, const struct node *node, int sign)
{
	if (!counts_as_domain(kind, t, node))
		return;
	count_domain(&t->matching, domain_of(t, node), sign);
	t->total += sign;
}

/* As far as the journal was followed: what comes later is noted then.  Spread does
 * not count pods that are on their way out, affinity does. */
static void count_set(struct scheduler *self, struct kind *kind, struct term *t,
		      const struct labelset *set)
{
	for (const struct entry *e = cache_first_in_set(self->c, set); e;
	     e = cache_next_in_set(self->c, e)) {
		const struct version *v = cache_at(self->c, e, self->journal_rv);

		if (pod_on_node(v) && !(t->type == TERM_SPREAD && v->deletion_s))
			count_pod(kind, t, nodes_of_slot(self, v->hot.node), 1);
	}
}

static void count_namespace(struct scheduler *self, struct kind *kind, struct term *t,
			    struct str ns)
{
	for (const struct labelset *set = cache_first_labelset(self->c, TYPE_POD, ns); set;
	     set = cache_next_labelset(self->c, set))
		if (kube_selector_match(t->selector, cache_blob(self->c, set->labels)))
			count_set(self, kind, t, set);
}

static void count_term(struct scheduler *self, struct kind *kind, struct term *t)
{
	struct cache_iter it;
	const struct entry *e;

	find_domains(self, kind, t);
	if (!t->selector)
		return;
	if (t->type == TERM_SPREAD || (!t->namespaces && !t->ns_selector)) {
		count_namespace(self, kind, t, kind->ns);
		return;
	}
	cache_iter_init(&it, self->c, TYPE_NAMESPACE, (struct str){0}, (struct str){0},
			(struct str){0});
	while ((e = cache_iter_next(&it)))
		if (cache_live(self->c, e) && terms_namespace(self, t, kind, entry_name(e)))
			count_namespace(self, kind, t, entry_name(e));
}

static bool concerns(struct scheduler *self, const struct kind *k, const struct term *t,
		     const struct kind *placed)
{
	bool same_ns = t->type == TERM_SPREAD ? str_eq(k->ns, placed->ns)
					      : terms_namespace(self, t, k, placed->ns);

	return t->selector && same_ns && kube_selector_match_value(t->selector, &placed->labels);
}

/* Pods whose bind is on its way are not on their node in the cache yet. */
static void count_assumed(struct scheduler *self, struct kind *kind, struct term *t)
{
	for (uint32_t i = 0; self->assumed.n && i < self->assumed.cap; i++) {
		const struct refmap_at *at = &self->assumed.at[i];
		const struct version *v = NULL;
		const struct entry *e;
		const struct kind *placed;

		if (at->ref && cache_entry_checked(self->c, at->ref, &e) == 0 &&
		    e->type == TYPE_POD)
			v = cache_live(self->c, e);
		if (!v || pod_on_node(cache_at(self->c, e, self->journal_rv)))
			continue;
		placed = kind_of(self, e, v);
		if (concerns(self, kind, t, placed))
			count_pod(kind, t, &self->nodes[at->number], 1);
	}
}

void terms_count(struct scheduler *self, struct kind *kind)
{
	uint64_t seen = self->external + self->nodes_changed + 1;

	if (kind->terms_seen == seen)
		return;
	for (uint32_t i = 0; i < kind->nterms; i++) {
		count_term(self, kind, &kind->terms[i]);
		count_assumed(self, kind, &kind->terms[i]);
	}
	kind->terms_seen = seen;
}

void terms_note(struct scheduler *self, const struct kind *placed, const struct node *node,
		int sign, int spread)
{
	for (uint32_t i = 0; i < self->nactive; i++) {
		struct kind *k = self->active[i];

		for (uint32_t j = 0; k->terms_seen && j < k->nterms; j++) {
			struct term *t = &k->terms[j];
			int more = t->type == TERM_SPREAD ? spread : sign;

			if (more && concerns(self, k, t, placed))
				count_pod(k, t, node, more);
		}
	}
}

/* Soft terms: what a node is worth. */
int64_t terms_preference(const struct kind *kind, const struct node *node)
{
	int64_t sum = 0;

	for (uint32_t i = 0; i < kind->nterms; i++) {
		const struct term *t = &kind->terms[i];
		bool has_domain;
		int64_t count;

		if (t->hard)
			continue;
		count = terms_at(t, node, &has_domain);
		if (t->type == TERM_SPREAD)
			sum -= has_domain ? 100 * count / (t->max_skew + count) : 100;
		else if (t->type == TERM_AFFINITY)
			sum += t->weight * (count > 0);
		else
			sum -= t->weight * (count > 0);
	}
	return sum;
}

/* terms.c - counts of matching pods by topology, for affinity and spread. */
#include <stdlib.h>
#include <xxhash.h>

#include "procs/scheduler/scheduler.h"

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
		v_each(key, v_get(term, "matchLabelKeys"))
		{
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

void terms_parse(struct scheduler *self, struct kind *k)
{
	v_each(c, v_get(&k->spec, "topologySpreadConstraints"))
	{
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
}

/* --- Domains ------------------------------------------------------------------------- */

static struct domain *domain_at(struct term *t, uint64_t hash)
{
	uint32_t mask = t->cap - 1, i = (uint32_t)hash & mask;

	while (t->domains[i].hash && t->domains[i].hash != hash)
		i = (i + 1) & mask;
	return &t->domains[i];
}

static struct domain *want_domain(struct term *t, uint64_t hash)
{
	struct domain *d;

	if (t->ndomains * 2 >= t->cap) {
		uint32_t old = t->cap;
		struct domain *before = t->domains;

		t->cap = old ? old * 2 : 16;
		t->domains = calloc(t->cap, sizeof(*t->domains));
		weft_assert(t->domains);
		for (uint32_t i = 0; i < old; i++)
			if (before[i].hash)
				*domain_at(t, before[i].hash) = before[i];
		free(before);
	}
	d = domain_at(t, hash);
	t->ndomains += !d->hash;
	d->hash = hash;
	return d;
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
	return hash && t->cap ? domain_at((struct term *)t, hash)->count : 0;
}

/* The fewest matching pods in any domain; 0 while there are fewer domains than
 * asked for. */
int64_t terms_least(struct scheduler *self, const struct kind *kind, const struct term *t)
{
	int64_t least = INT64_MAX;

	(void)self;
	(void)kind;
	if ((int64_t)t->ndomains < t->min_domains)
		return 0;
	for (uint32_t i = 0; i < t->cap; i++)
		if (t->domains[i].hash && t->domains[i].count < least)
			least = t->domains[i].count;
	return least == INT64_MAX ? 0 : least;
}

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

/* --- Counting ---------------------------------------------------------------------------- */

static bool counts_as_domain(const struct kind *kind, const struct term *t, const struct node *n)
{
	if (!n->present)
		return false;
	if (t->type != TERM_SPREAD)
		return true;
	return (!t->honor_affinity || node_matches_affinity(kind, n)) &&
	       (!t->honor_taints || node_tolerated(kind, n, "NoSchedule", "NoExecute"));
}

static void find_domains(struct scheduler *self, struct kind *kind, struct term *t)
{
	free(t->domains);
	t->domains = NULL;
	t->ndomains = t->cap = 0;
	t->total = 0;
	for (uint32_t i = 0; i < self->nnodes; i++) {
		uint64_t hash;

		if (!counts_as_domain(kind, t, &self->nodes[i]))
			continue;
		hash = domain_of(t, &self->nodes[i]);
		if (hash)
			want_domain(t, hash);
	}
}

/* Spread does not count pods that are on their way out, affinity does. */
static void count_set(struct scheduler *self, struct kind *kind, struct term *t,
		      const struct labelset *set)
{
	for (const struct entry *e = cache_first_in_set(self->c, set); e;
	     e = cache_next_in_set(self->c, e)) {
		const struct version *v = cache_live(self->c, e);
		struct node *n;
		uint64_t hash;

		if (!pod_on_node(v) || (t->type == TERM_SPREAD && v->deletion_s))
			continue;
		n = nodes_of_slot(self, v->hot.node);
		hash = domain_of(t, n);
		if (!hash || !counts_as_domain(kind, t, n))
			continue;
		want_domain(t, hash)->count++;
		t->total++;
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

/* Pods whose bind is on its way are not on their node in the cache yet: while
 * there are any, the counts that were kept up by terms_note() are the truth. */
void terms_count(struct scheduler *self, struct kind *kind)
{
	uint64_t seen = self->external + self->nodes_changed + 1;

	if (kind->terms_seen == seen || (kind->terms_seen && self->assumed_n))
		return;
	for (uint32_t i = 0; i < kind->nterms; i++)
		count_term(self, kind, &kind->terms[i]);
	kind->terms_seen = seen;
}

void terms_note(struct scheduler *self, const struct kind *placed, const struct node *node,
		int sign)
{
	for (uint32_t i = 0; i < self->nactive; i++) {
		struct kind *k = self->active[i];

		for (uint32_t j = 0; k->terms_seen && j < k->nterms; j++) {
			struct term *t = &k->terms[j];
			uint64_t hash = domain_of(t, node);
			bool same_ns = t->type == TERM_SPREAD
					       ? str_eq(k->ns, placed->ns)
					       : terms_namespace(self, t, k, placed->ns);

			if (!hash || !t->selector || !same_ns ||
			    !kube_selector_match_value(t->selector, &placed->labels))
				continue;
			want_domain(t, hash)->count += sign;
			t->total += sign;
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

/* filter.c - may a kind go to a node, and if not, why. */
#include <stdlib.h>

#include "procs/scheduler/scheduler.h"

/* `waits`: the moves that may change it. */
static bool refuse(struct reasons *why, const char *text, bool hopeless, uint32_t waits)
{
	if (!why)
		return false;
	if (why->n < REASONS_MAX)
		why->text[why->n++] = text;
	why->hopeless |= hopeless;
	why->waits |= waits;
	return false;
}

/* --- Taints ---------------------------------------------------------------------- */

bool kind_tolerates(const struct kind *kind, const value *taint)
{
	v_each(toleration, v_get(&kind->spec, "tolerations"))
		if (kube_tolerates(toleration, taint))
			return true;
	return false;
}

bool node_tolerated(const struct kind *kind, const struct node *node, const char *effect,
		    const char *other_effect)
{
	v_each(taint, &node->taints) {
		struct str has = v_get_str(taint, "effect");

		if ((str_is(has, effect) || (other_effect && str_is(has, other_effect))) &&
		    !kind_tolerates(kind, taint))
			return false;
	}
	return true;
}

/* --- Node affinity ------------------------------------------------------------------ */

static bool to_number(struct str text, int64_t *out)
{
	char buf[24], *end;

	if (!text.n || text.n >= sizeof(buf))
		return false;
	memcpy(buf, text.p, text.n);
	buf[text.n] = 0;
	*out = strtoll(buf, &end, 10);
	return !*end;
}

static bool listed(const value *values, struct str text)
{
	v_each(one, values)
		if (str_eq(v_as_str(one), text))
			return true;
	return false;
}

static bool requirement_holds(const value *r, const value *have)
{
	struct str op = v_get_str(r, "operator");
	const value *values = v_get(r, "values");
	int64_t a, b;

	if (str_eq(op, STR("In")))
		return have && listed(values, v_as_str(have));
	if (str_eq(op, STR("NotIn")))
		return !have || !listed(values, v_as_str(have));
	if (str_eq(op, STR("Exists")))
		return have;
	if (str_eq(op, STR("DoesNotExist")))
		return !have;
	if (!have || !to_number(v_as_str(have), &a) || !to_number(v_as_str(v_at(values, 0)), &b))
		return false;
	return str_eq(op, STR("Gt")) ? a > b : a < b;
}

/* All expressions and fields of one term; an empty term matches nothing. */
static bool node_term_matches(const value *term, const struct node *node)
{
	if (!v_len(v_get(term, "matchExpressions")) && !v_len(v_get(term, "matchFields")))
		return false;
	v_each(r, v_get(term, "matchExpressions"))
		if (!requirement_holds(r, v_getn(&node->labels, v_get_str(r, "key"))))
			return false;
	v_each(r, v_get(term, "matchFields")) {
		value name = v_cstr(node->name);

		if (!str_eq(v_get_str(r, "key"), STR("metadata.name")) ||
		    !requirement_holds(r, &name))
			return false;
	}
	return true;
}

bool node_matches_affinity(const struct kind *kind, const struct node *node)
{
	const value *required =
		v_path(&kind->spec,
		       "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution");

	v_each_kv(kv, v_get(&kind->spec, "nodeSelector")) {
		const value *have = v_getn(&node->labels, v_as_str(&kv->key));

		if (!have || !str_eq(v_as_str(have), v_as_str(&kv->val)))
			return false;
	}
	if (v_is_null(required))
		return true;
	v_each(term, v_get(required, "nodeSelectorTerms"))
		if (node_term_matches(term, node))
			return true;
	return false;
}

static bool is_soft(const value *taint)
{
	return str_eq(v_get_str(taint, "effect"), STR("PreferNoSchedule"));
}

bool filter_avoided(const value *taints)
{
	v_each(taint, taints)
		if (is_soft(taint))
			return true;
	return false;
}

int64_t filter_preference(const struct kind *kind, const struct node *node)
{
	int64_t sum = 0;

	v_each(p, kind->preferred)
		if (node_term_matches(v_get(p, "preference"), node))
			sum += v_get_int(p, "weight", 0);
	if (!node->avoided)
		return sum;
	v_each(taint, &node->taints)
		if (is_soft(taint) && !kind_tolerates(kind, taint))
			sum -= 100;
	return sum;
}

/* --- Filters, in kube-scheduler's order --------------------------------------------- */

bool filter_static(const struct kind *kind, const struct node *node, struct reasons *why)
{
	if (kind->only_nodes) {
		value name = v_cstr(node->name);

		if (!listed(kind->only_nodes, v_as_str(&name)))
			return refuse(why, "node(s) didn't satisfy plugin(s) [NodeAffinity]", true,
				      0);
	}
	if (node->unschedulable && !kind->tolerates_unschedulable)
		return refuse(why, "node(s) were unschedulable", true, MOVES(MOVE_TAINTS));
	if (!node_tolerated(kind, node, "NoSchedule", "NoExecute"))
		return refuse(why, "node(s) had untolerated taint(s)", true, MOVES(MOVE_TAINTS));
	if (!node_matches_affinity(kind, node))
		return refuse(why, "node(s) didn't match Pod's node affinity/selector", true,
			      MOVES(MOVE_LABELS));
	return true;
}

static bool ports_clash(const struct port *a, const struct port *b)
{
	bool any = !a->ip.n || !b->ip.n || str_eq(a->ip, STR("0.0.0.0")) ||
		   str_eq(b->ip, STR("0.0.0.0"));

	return a->number == b->number && str_eq(a->protocol, b->protocol) &&
	       (any || str_eq(a->ip, b->ip));
}

static bool ports_free(const struct kind *kind, const struct node *node)
{
	for (uint32_t i = 0; i < kind->nports; i++)
		for (uint32_t k = 0; k < node->nports; k++)
			if (ports_clash(&kind->ports[i], &node->ports[k].port))
				return false;
	return true;
}

static int64_t extended_of(const struct resources *r, struct str name)
{
	for (uint32_t i = 0; i < r->nextended; i++)
		if (str_eq(r->extended[i].name, name))
			return r->extended[i].milli;
	return 0;
}

static bool lacks(int64_t ask, int64_t has, int64_t used)
{
	return ask > 0 && ask > has - used;
}

static bool fits_one(int64_t ask, int64_t has, int64_t used, const char *text, struct reasons *why)
{
	if (!lacks(ask, has, used))
		return true;
	return refuse(why, text, ask > has, MOVES(MOVE_GONE) | MOVES(MOVE_CAPACITY));
}

bool filter_fit(struct scheduler *self, const struct kind *kind, const struct node *node,
		struct reasons *why)
{
	const struct resources *ask = &kind->ask, *has = &node->has, *used = &node->used;
	bool fits;

	if (!ports_free(kind, node))
		return refuse(why, "node(s) didn't have free ports for the requested pod ports",
			      false, MOVES(MOVE_GONE));
	fits = fits_one(1, node->max_pods, node->pods, "Too many pods", why);
	fits &= fits_one(ask->cpu, has->cpu, used->cpu, "Insufficient cpu", why);
	fits &= fits_one(ask->memory, has->memory, used->memory, "Insufficient memory", why);
	fits &= fits_one(ask->storage, has->storage, used->storage,
			 "Insufficient ephemeral-storage", why);
	for (uint32_t i = 0; i < ask->nextended; i++) {
		struct str name = ask->extended[i].name;
		int64_t need = ask->extended[i].milli, there = extended_of(has, name);
		const char *text =
			why ? zone_printf(self->z, "Insufficient " STR_FMT, STR_ARG(name)).p : NULL;

		fits &= fits_one(need, there, extended_of(used, name), text, why);
	}
	return fits;
}

/* --- Terms about other pods --------------------------------------------------------- */

/* A spread constraint holds if the node's domain would not get too far ahead
 * of the one with the fewest. */
static bool spread_holds(struct term *t, const struct node *node, struct reasons *why)
{
	bool has_domain;
	int64_t count = terms_at(t, node, &has_domain);

	if (!has_domain)
		return refuse(why,
			      "node(s) didn't match pod topology spread constraints (missing "
			      "required label)",
			      true, MOVES(MOVE_LABELS));
	if (count + t->matches_self - terms_least(t) > t->max_skew)
		return refuse(why, "node(s) didn't match pod topology spread constraints", false,
			      MOVES(MOVE_GONE) | MOVES(MOVE_COME) | MOVES(MOVE_LABELS));
	return true;
}

/* The first of a group that wants to be together may go anywhere. */
static bool affinity_holds(const struct term *t, const struct node *node, struct reasons *why)
{
	bool has_domain;
	int64_t count = terms_at(t, node, &has_domain);

	if (has_domain && (count || (t->total == 0 && t->matches_self)))
		return true;
	return refuse(why, "node(s) didn't match pod affinity rules", true,
		      MOVES(MOVE_COME) | MOVES(MOVE_LABELS));
}

static bool anti_holds(const struct term *t, const struct node *node, struct reasons *why)
{
	bool has_domain;

	if (!terms_at(t, node, &has_domain))
		return true;
	return refuse(why, "node(s) didn't match pod anti-affinity rules", false,
		      MOVES(MOVE_GONE) | MOVES(MOVE_LABELS));
}

static void add_against(struct scheduler *self, const struct kind *kind, const struct term *term)
{
	if (self->nagainst == self->against_cap) {
		self->against_cap = self->against_cap ? self->against_cap * 2 : 16;
		self->against = realloc(self->against, self->against_cap * sizeof(*self->against));
		weft_assert(self->against);
	}
	self->against[self->nagainst++] = (struct against){kind, term};
}

/* Pods that are there already may want to keep such pods away. */
void filter_find_against(struct scheduler *self, const struct kind *kind)
{
	self->nagainst = 0;
	for (uint32_t i = 0; i < self->nanti; i++) {
		struct kind *other = self->anti[i];

		for (uint32_t k = 0; other->running && k < other->nterms; k++) {
			const struct term *t = &other->terms[k];

			if (t->type != TERM_ANTI || !t->hard || !t->selector ||
			    !terms_namespace(self, t, other, kind->ns) ||
			    !kube_selector_match_value(t->selector, &kind->labels))
				continue;
			terms_count_own(self, other);
			add_against(self, other, t);
		}
	}
}

static bool others_allow(const struct scheduler *self, const struct node *node, struct reasons *why)
{
	for (uint32_t i = 0; i < self->nagainst; i++)
		if (terms_own(self->against[i].term, node))
			return refuse(why,
				      "node(s) didn't satisfy existing pods anti-affinity rules",
				      false, MOVES(MOVE_GONE) | MOVES(MOVE_LABELS));
	return true;
}

bool filter_terms(struct scheduler *self, struct kind *kind, const struct node *node,
		  struct reasons *why)
{
	static bool (*const holds[])(const struct term *, const struct node *, struct reasons *) = {
		[TERM_AFFINITY] = affinity_holds, [TERM_ANTI] = anti_holds};

	for (uint32_t i = 0; i < kind->nterms; i++)
		if (kind->terms[i].type == TERM_SPREAD && kind->terms[i].hard &&
		    !spread_holds(&kind->terms[i], node, why))
			return false;
	for (int type = TERM_AFFINITY; type <= TERM_ANTI; type++)
		for (uint32_t i = 0; i < kind->nterms; i++)
			if (kind->terms[i].type == (enum term_type)type && kind->terms[i].hard &&
			    !holds[type](&kind->terms[i], node, why))
				return false;
	return others_allow(self, node, why);
}

/* revision.c - the ReplicaSet of the current template, and revisions. */
#include "procs/deployment/deployment.h"

#include <stdlib.h>

#define HISTORY_MAX 2000 /* characters of the revision history annotation */

static const value *annotations_of(const value *meta)
{
	return v_get(meta, "annotations");
}

int64_t revision_of(const value *meta)
{
	struct str text = v_get_str(annotations_of(meta), ANNOTATION_REVISION);
	char number[24];

	if (!text.n || text.n >= sizeof(number))
		return 0;
	memcpy(number, text.p, text.n);
	number[text.n] = 0;
	return strtoll(number, NULL, 10);
}

/* The oldest ReplicaSet with the Deployment's template: several may have it
 * after a rollback by hand. */
static struct replicaset *find_fresh(struct deployment *d)
{
	const value *template = v_get(&d->spec, "template");

	each_rs(rs, d)
		if (kube_templates_equal(d->z, v_get(&rs->spec, "template"), template))
			return rs;
	return NULL;
}

static int64_t max_old_revision(struct deployment *d)
{
	int64_t max = 0;

	each_old(rs, d) {
		int64_t revision = revision_of(&rs->meta);

		if (revision > max)
			max = revision;
	}
	return max;
}

/* Annotations of the Deployment that its ReplicaSets do not inherit. */
static bool is_own_annotation(struct str key)
{
	static const char *const own[] = {
		"kubectl.kubernetes.io/last-applied-configuration",
		ANNOTATION_REVISION,
		ANNOTATION_HISTORY,
		ANNOTATION_DESIRED,
		ANNOTATION_MAX,
		"deprecated.deployment.rollback.to",
	};

	for (size_t i = 0; i < countof(own); i++)
		if (str_is(key, own[i]))
			return true;
	return false;
}

static bool set_annotation(struct deployment *d, value *meta, struct str key, struct str text)
{
	value *annotations = v_map_at(d->z, meta, "annotations");

	if (str_eq(v_as_str(v_getn(annotations, key)), text) && v_getn(annotations, key))
		return false;
	v_setn(d->z, annotations, key, v_str(text));
	return true;
}

/* "1,4" and 6 -> "1,4,6"; oldest entries are dropped when it grows too long. */
static struct str add_to_history(struct deployment *d, struct str history, struct str revision)
{
	if (!history.n)
		return revision;
	while (history.n && history.n + revision.n + 1 > HISTORY_MAX) {
		const char *comma = memchr(history.p, ',', history.n);
		uint32_t cut = comma ? (uint32_t)(comma + 1 - history.p) : history.n;

		history.p += cut;
		history.n -= cut;
	}
	return zone_printf(d->z, STR_FMT "%s" STR_FMT, STR_ARG(history), history.n ? "," : "",
			   STR_ARG(revision));
}

static bool set_revision(struct deployment *d, struct replicaset *rs, int64_t revision)
{
	struct str old = v_get_str(annotations_of(&rs->meta), ANNOTATION_REVISION);
	struct str history = v_get_str(annotations_of(&rs->meta), ANNOTATION_HISTORY);

	if (revision_of(&rs->meta) >= revision)
		return false;
	if (old.n)
		set_annotation(d, &rs->meta, STR(ANNOTATION_HISTORY),
			       add_to_history(d, history, old));
	set_annotation(d, &rs->meta, STR(ANNOTATION_REVISION),
		       zone_printf(d->z, "%lld", (long long)revision));
	return true;
}

/* Copy the Deployment's annotations and set the revision; true if anything
 * changed. */
static bool set_annotations(struct deployment *d, struct replicaset *rs, int64_t revision)
{
	bool changed = false;

	v_each_kv(kv, annotations_of(&d->meta)) {
		struct str key = v_as_str(&kv->key);

		if (!is_own_annotation(key))
			changed |= set_annotation(d, &rs->meta, key, v_as_str(&kv->val));
	}
	changed |= set_revision(d, rs, revision);
	if (!rs->e)
		changed |= scale_set_annotations(d, rs);
	return changed;
}

/* The Deployment carries the revision of its new ReplicaSet. */
static void set_own_revision(struct deployment *d, int64_t revision)
{
	if (set_annotation(d, &d->meta, STR(ANNOTATION_REVISION),
			   zone_printf(d->z, "%lld", (long long)revision)))
		d->meta_changed = true;
}

static bool set_min_ready(struct deployment *d, struct replicaset *rs)
{
	int64_t want = v_get_int(&d->spec, "minReadySeconds", 0);

	if (v_get_int(&rs->spec, "minReadySeconds", 0) == want)
		return false;
	if (want)
		v_set(d->z, &rs->spec, "minReadySeconds", v_int(want));
	else
		v_del(&rs->spec, "minReadySeconds");
	return true;
}

static void adopt_fresh(struct deployment *d, int64_t revision)
{
	struct replicaset *rs = d->fresh;

	if (set_annotations(d, rs, revision))
		rs->changed = true;
	if (set_min_ready(d, rs))
		rs->changed = true;
	set_own_revision(d, revision_of(&rs->meta));
	if (d->state->created && status_has_deadline(d))
		status_condition(d, "Progressing", "True", "NewReplicaSetCreated",
				 zone_printf(d->z, "Created new replica set \"%s\"", rs->e->name));
	else if (status_has_deadline(d) &&
		 !kube_condition(v_get(&d->new_status, "conditions"), "Progressing"))
		status_condition(d, "Progressing", "True", "FoundNewReplicaSet",
				 zone_printf(d->z, "Found new replica set \"%s\"", rs->e->name));
	d->state->created = false;
}

/* --- A new one ------------------------------------------------------------------- */

static void add_hash(struct deployment *d, value *map, struct str hash)
{
	v_set(d->z, map, LABEL_TEMPLATE_HASH, v_str(hash));
}

static void create_fresh(struct deployment *d, int64_t revision)
{
	struct replicaset *rs = &d->made;
	struct str hash = kube_template_hash(d->z, v_get(&d->spec, "template"),
					     v_get_int(&d->new_status, "collisionCount", -1));
	value template = v_copy(d->z, v_get(&d->spec, "template"));
	value selector = v_copy(d->z, v_get(&d->spec, "selector"));
	value refs = v_array();
	struct str name = zone_printf(d->z, "%s-" STR_FMT, d->e->name, STR_ARG(hash));

	*rs = (struct replicaset){.meta = v_map(), .spec = v_map(), .status = v_map()};
	add_hash(d, v_map_at(d->z, v_map_at(d->z, &template, "metadata"), "labels"), hash);
	add_hash(d, v_map_at(d->z, &selector, "matchLabels"), hash);
	rs->labels = v_copy(d->z, v_path(&template, "metadata.labels"));
	v_append(d->z, &refs, kube_owner_ref(d->z, d->c, d->e, true));
	v_set(d->z, &rs->meta, "name", v_str(name));
	v_set(d->z, &rs->meta, "ownerReferences", refs);
	v_set(d->z, &rs->spec, "replicas", v_int(0));
	set_min_ready(d, rs);
	v_set(d->z, &rs->spec, "selector", selector);
	v_set(d->z, &rs->spec, "template", template);
	rs->replicas = scale_fresh_size(d, rs);
	v_set(d->z, &rs->spec, "replicas", v_int(rs->replicas));
	set_annotations(d, rs, revision);
	d->fresh = rs;
}

void revision_sync(struct deployment *d, bool create)
{
	int64_t revision;

	d->fresh = find_fresh(d);
	revision = max_old_revision(d) + 1;
	if (d->fresh)
		adopt_fresh(d, revision);
	else if (create)
		create_fresh(d, revision);
}

/* --- Clean-up ---------------------------------------------------------------------- */

static int by_revision(const void *pa, const void *pb)
{
	const struct replicaset *a = *(struct replicaset *const *)pa;
	const struct replicaset *b = *(struct replicaset *const *)pb;
	int64_t ra = revision_of(&a->meta), rb = revision_of(&b->meta);

	if (ra == rb)
		return a->e->created_rv < b->e->created_rv ? -1 : 1;
	return ra < rb ? -1 : 1;
}

void revision_clean_up(struct deployment *d)
{
	int64_t limit = v_get_int(&d->spec, "revisionHistoryLimit", INT32_MAX);
	struct replicaset **old;
	int64_t n = 0;

	if (limit == INT32_MAX)
		return;
	old = zone_alloc(d->z, (d->n + 1) * sizeof(*old));
	each_old(rs, d)
		if (rs->e && !rs->v->deletion_s)
			old[n++] = rs;
	if (n <= limit)
		return;
	qsort(old, (size_t)n, sizeof(*old), by_revision);
	for (int64_t i = 0; i < n - limit; i++) {
		struct replicaset *rs = old[i];

		if (rs->actual || rs->replicas ||
		    rs->v->generation > v_get_int(&rs->status, "observedGeneration", 0))
			continue;
		rs->deleted = true;
	}
}

/*
 * namespace.c - namespaces: the four that always exist, what every namespace
 * has (its default ServiceAccount, the ConfigMap with the cluster's CA), and
 * their deletion.
 *
 * A namespace that is being deleted is emptied type by type; when nothing is
 * left, "kubernetes" leaves spec.finalizers and the store removes it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "procs/lib/mains.h"
#include "procs/lib/write.h"
#include "weft/kube.h"
#include "weft/proc.h"

#define ROOT_CA_NAME "kube-root-ca.crt"
#define ROOT_CA_TEXT                                                                              \
	"Contains a CA bundle that can be used to verify the kube-apiserver when using internal " \
	"endpoints such as the internal service IP or kubernetes.default.svc. No other usage is " \
	"guaranteed across distributions of Kubernetes clusters."
#define DELETE_BATCH   4096u
#define LOOK_AGAIN_MS  50  /* while content is on its way out; */
#define LOOK_SHARE     500 /* longer, with more than so many objects a millisecond */
#define SYSTEM_NS      (60 * INT64_C(1000000000)) /* how often the four are looked for; */
#define SYSTEM_SOON_NS INT64_C(200000000)	  /* after one could not be made, */
#define STORE_NS       INT64_C(2000000)		  /* and while the store does not answer */
#define SYSTEM_ROOM    16384

static const char *const system_namespaces[] = {"default", "kube-node-lease", "kube-public",
						"kube-system"};

struct namespace_controller {
	struct buf ca;	   /* PEM; empty until the API server has made it */
	int64_t system_ns; /* monotonic: when the four are looked for next */
};

/* No object leads to a namespace that is not there. */
static void look_soon(struct controller *ctl)
{
	struct namespace_controller *self = ctl_state(ctl);

	self->system_ns = clock_mono_ns() + SYSTEM_SOON_NS;
}

/* --- Requests ------------------------------------------------------------------- */

static void on_made(void *arg, const struct msg_reply *reply)
{
	if (reply->status && reply->status != WEFT_EEXIST)
		look_soon(arg);
}

/* A new object from a tree that holds parts only ("labels", "meta" ... are made
 * from it by kube_split). */
static void create(struct controller *ctl, uint16_t type, struct str ns, struct str name,
		   const value *obj)
{
	struct kube_parts parts;
	struct msg m = {.kind = MSG_create};

	kube_split(ctl_zone(ctl), obj, &parts);
	m.create = (struct msg_create){
		.type = type,
		.ns = ns,
		.name = name,
		.meta = buf_str(&parts.part[PART_META]),
		.labels = buf_str(&parts.part[PART_LABELS]),
		.spec = buf_str(&parts.part[PART_SPEC]),
		.status = buf_str(&parts.part[PART_STATUS]),
		.rest = buf_str(&parts.part[PART_REST]),
	};
	if (ns.n)
		ctl_send(ctl, &m, NULL, NULL);
	else if (proc_send(ctl_proc(ctl), &m, on_made, ctl))
		look_soon(ctl);
	kube_parts_free(&parts);
}

static void create_namespace(struct controller *ctl, const char *name)
{
	zone *z = ctl_zone(ctl);
	value obj = v_map(), finalizers = v_array();

	v_set(z, v_map_at(z, v_map_at(z, &obj, "metadata"), "labels"),
	      "kubernetes.io/metadata.name", v_cstr(name));
	v_append(z, &finalizers, v_cstr("kubernetes"));
	v_set(z, v_map_at(z, &obj, "spec"), "finalizers", finalizers);
	v_set(z, v_map_at(z, &obj, "status"), "phase", v_cstr("Active"));
	create(ctl, TYPE_NAMESPACE, (struct str){0}, str_of(name), &obj);
}

static void ensure_system(struct controller *ctl)
{
	for (size_t i = 0; i < countof(system_namespaces); i++)
		if (!cache_find(ctl_cache(ctl), TYPE_NAMESPACE, (struct str){0},
				str_of(system_namespaces[i])))
			create_namespace(ctl, system_namespaces[i]);
}

static int64_t turn(struct controller *ctl, int64_t now_ns)
{
	struct namespace_controller *self = ctl_state(ctl);

	if (!proc_can_send(ctl_proc(ctl), SYSTEM_ROOM))
		return now_ns + STORE_NS;
	if (now_ns >= self->system_ns) {
		self->system_ns = now_ns + SYSTEM_NS;
		ensure_system(ctl);
	}
	return self->system_ns;
}

/* --- What every namespace has ----------------------------------------------------- */

/* The CA is written by the first API server, perhaps after we started. */
static struct str root_ca(struct controller *ctl)
{
	struct namespace_controller *self = ctl_state(ctl);
	char path[640], chunk[4096];
	size_t n;
	FILE *f;

	if (self->ca.n)
		return buf_str(&self->ca);
	snprintf(path, sizeof(path), "%s/pki/ca.crt", proc_control(ctl_proc(ctl))->data_dir);
	f = fopen(path, "r");
	if (!f)
		return (struct str){0};
	while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0)
		buf_add(&self->ca, chunk, n);
	fclose(f);
	return buf_str(&self->ca);
}

static void ensure_account(struct controller *ctl, struct str ns)
{
	value obj = v_map();

	if (!cache_find(ctl_cache(ctl), TYPE_SERVICEACCOUNT, ns, STR("default")))
		create(ctl, TYPE_SERVICEACCOUNT, ns, STR("default"), &obj);
}

static void ensure_root_ca(struct controller *ctl, struct str ns)
{
	zone *z = ctl_zone(ctl);
	struct str ca = root_ca(ctl);
	value obj = v_map();

	if (cache_find(ctl_cache(ctl), TYPE_CONFIGMAP, ns, STR(ROOT_CA_NAME)))
		return;
	if (!ca.n) {
		ctl_after(ctl, 200);
		return;
	}
	v_set(z, v_map_at(z, v_map_at(z, &obj, "metadata"), "annotations"),
	      "kubernetes.io/description", v_cstr(ROOT_CA_TEXT));
	v_set(z, v_map_at(z, &obj, "data"), "ca.crt", v_str(ca));
	create(ctl, TYPE_CONFIGMAP, ns, STR(ROOT_CA_NAME), &obj);
}

/* --- Deletion ----------------------------------------------------------------------- */

struct emptying {
	struct controller *ctl;
	struct str ns;
	uint64_t left;	  /* objects still there */
	value kinds;	  /* texts: "pods. has 3 resource instances" */
	value finalizers; /* map from finalizer to number of objects */
	bool full;	  /* the ring is: go on later */
};

static void send_deletes(struct emptying *em, uint16_t type, const uint32_t *entries,
			 const uint64_t *rvs, uint32_t n)
{
	struct msg m = {.kind = MSG_delete_many};

	if (!n)
		return;
	m.delete_many = (struct msg_delete_many){
		.type = type,
		.grace = -1,
		.propagation = PROPAGATION_BACKGROUND,
		.entries = {entries, n},
		.rvs = {rvs, n},
	};
	if (ctl_send(em->ctl, &m, NULL, NULL))
		em->full = true;
}

static void count_finalizers(struct emptying *em, const struct entry *e, const struct version *v)
{
	zone *z = ctl_zone(em->ctl);
	value meta;

	if (!(v->flags & VERSION_FINALIZERS))
		return;
	meta = kube_part(z, ctl_cache(em->ctl), e, v, PART_META);
	v_each(finalizer, v_get(&meta, "finalizers")) {
		struct str name = v_as_str(finalizer);
		int64_t n = v_as_int(v_getn(&em->finalizers, name), 0);

		v_setn(z, &em->finalizers, name, v_int(n + 1));
	}
}

static void empty_type(struct emptying *em, const struct kube_resource *r)
{
	const struct cache *c = ctl_cache(em->ctl);
	uint32_t *entries = zone_alloc(ctl_zone(em->ctl), DELETE_BATCH * sizeof(*entries)), n = 0;
	uint64_t *rvs = zone_alloc(ctl_zone(em->ctl), DELETE_BATCH * sizeof(*rvs)), left = 0;
	struct cache_iter it;
	const struct entry *e;

	cache_iter_init(&it, c, r->type, em->ns, (struct str){0}, (struct str){0});
	while ((e = cache_iter_next(&it))) {
		const struct version *v = cache_live(c, e);

		if (!v)
			continue;
		left++;
		count_finalizers(em, e, v);
		if (v->deletion_s || em->full)
			continue;
		entries[n] = cache_entry_ref(c, e).u;
		rvs[n++] = v->rv;
		if (n == DELETE_BATCH) {
			send_deletes(em, r->type, entries, rvs, n);
			n = 0;
		}
	}
	send_deletes(em, r->type, entries, rvs, n);
	if (!left)
		return;
	v_append(ctl_zone(em->ctl), &em->kinds,
		 v_str(zone_printf(ctl_zone(em->ctl), "%s.%s has %llu resource instances",
				   r->resource, r->group, (unsigned long long)left)));
	em->left += left;
}

/* Pods go first; as long as there are any, nothing else does, nor is anything
 * said of what remains. */
static void empty(struct emptying *em)
{
	uint32_t n;
	const struct kube_resource *all = kube_resources(&n);

	empty_type(em, kube_by_type(TYPE_POD));
	if (em->left) {
		em->kinds = v_array();
		em->finalizers = v_map();
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		if (all[i].type && all[i].type != TYPE_POD && all[i].namespaced &&
		    all[i].stored_version)
			empty_type(em, &all[i]);
}

static int by_text(const void *a, const void *b)
{
	return str_cmp(v_as_str(a), v_as_str(b));
}

/* "INTRO: a, b, c", in order. */
static struct str list_text(zone *z, const char *intro, value *texts)
{
	struct buf out = {0};
	struct str text;
	const char *comma = "";

	if (v_len(texts))
		qsort(texts->via.array.ptr, v_len(texts), sizeof(value), by_text);
	buf_puts(&out, intro);
	v_each(one, texts) {
		buf_printf(&out, "%s" STR_FMT, comma, STR_ARG(v_as_str(one)));
		comma = ", ";
	}
	text = zone_str(z, buf_str(&out));
	buf_free(&out);
	return text;
}

static struct str finalizers_text(struct emptying *em)
{
	zone *z = ctl_zone(em->ctl);
	value texts = v_array();

	v_each_kv(kv, &em->finalizers)
		v_append(z, &texts,
			 v_str(zone_printf(z, STR_FMT " in %lld resource instances",
					   STR_ARG(v_as_str(&kv->key)),
					   (long long)v_as_int(&kv->val, 0))));
	return list_text(z, "Some content in the namespace has finalizers remaining: ", &texts);
}

static void set_conditions(struct emptying *em, value *status)
{
	static const struct {
		const char *type, *reason, *message;
	} fine[] = {
		{"NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered",
		 "All resources successfully discovered"},
		{"NamespaceDeletionGroupVersionParsingFailure", "ParsedGroupVersions",
		 "All legacy kube types successfully parsed"},
		{"NamespaceDeletionContentFailure", "ContentDeleted",
		 "All content successfully deleted, may be waiting on finalization"},
	};
	zone *z = ctl_zone(em->ctl);
	uint32_t now = ctl_now_s(em->ctl);
	value *conditions = v_array_at(z, status, "conditions");

	for (size_t i = 0; i < countof(fine); i++)
		kube_condition_set(z, conditions, fine[i].type, "False", fine[i].reason,
				   str_of(fine[i].message), now, false);
	if (v_len(&em->kinds))
		kube_condition_set(
			z, conditions, "NamespaceContentRemaining", "True", "SomeResourcesRemain",
			list_text(z, "Some resources are remaining: ", &em->kinds), now, false);
	else
		kube_condition_set(z, conditions, "NamespaceContentRemaining", "False",
				   "ContentRemoved", STR("All content successfully removed"), now,
				   false);
	if (v_len(&em->finalizers))
		kube_condition_set(z, conditions, "NamespaceFinalizersRemaining", "True",
				   "SomeFinalizersRemain", finalizers_text(em), now, false);
	else
		kube_condition_set(z, conditions, "NamespaceFinalizersRemaining", "False",
				   "ContentHasNoFinalizers",
				   STR("All content-preserving finalizers finished"), now, false);
}

/* Take "kubernetes" out of spec.finalizers. */
static void finish(zone *z, value *spec)
{
	value *finalizers = v_get(spec, "finalizers");

	for (uint32_t i = 0; i < v_len(finalizers);) {
		if (str_eq(v_as_str(v_at(finalizers, i)), STR("kubernetes")))
			v_remove(finalizers, i);
		else
			i++;
	}
	if (!v_len(finalizers))
		v_del(spec, "finalizers");
}

static void remove_content(struct controller *ctl, const struct entry *e, const struct version *v)
{
	zone *z = ctl_zone(ctl);
	struct emptying em = {
		.ctl = ctl, .ns = entry_name(e), .kinds = v_array(), .finalizers = v_map()};
	value spec = kube_part(z, ctl_cache(ctl), e, v, PART_SPEC);
	value status = kube_part(z, ctl_cache(ctl), e, v, PART_STATUS);
	value before = v_copy(z, &status);

	if (!v_is_map(&status))
		status = v_map();
	empty(&em);
	set_conditions(&em, &status);
	if (!em.left)
		finish(z, &spec);
	else
		ctl_after(ctl, LOOK_AGAIN_MS + em.left / LOOK_SHARE);
	if (!em.left || !v_equal(&status, &before))
		ctl_write(ctl, e, v, &(struct parts){.spec = &spec, .status = &status});
}

/* --- Reconcile ---------------------------------------------------------------------- */

static void reconcile(struct controller *ctl, const struct entry *e, const struct version *v)
{
	if (v->deletion_s) {
		remove_content(ctl, e, v);
		return;
	}
	ensure_account(ctl, entry_name(e));
	ensure_root_ca(ctl, entry_name(e));
}

/* A ServiceAccount or ConfigMap changed: its namespace may have lost what it
 * must have. */
static void map(struct controller *ctl, const struct entry *other)
{
	struct str name = entry_name(other);
	const struct entry *ns;

	if (!str_eq(name, STR("default")) && !str_eq(name, STR(ROOT_CA_NAME)))
		return;
	ns = cache_find(ctl_cache(ctl), TYPE_NAMESPACE, (struct str){0},
			cache_ns(ctl_cache(ctl), other));
	if (ns)
		ctl_enqueue(ctl, ns);
}

int namespace_main(void)
{
	static const struct controller_ops ops = {
		.kind = PROC_NAMESPACE,
		.component = "namespace-controller",
		.type = TYPE_NAMESPACE,
		.reconcile = reconcile,
		.map = map,
		.turn = turn,
		.state_size = sizeof(struct namespace_controller),
	};

	return controller_main(&ops);
}

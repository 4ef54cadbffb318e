/*
 * hostile.h - what a process gone wild might send to the store: requests that
 * are well formed and false.  Every field of every request is drawn at random,
 * from what is plausible (names, references and parts that exist, also of other
 * types) and what is not (rubbish, references out of bounds, enormous numbers,
 * parts that are no msgpack, nested deep, with holes that there are no values
 * for).
 *
 * Used within one process (tests/unit/test_hostile.c, under the sanitizers) and
 * against a running cluster (hostile.c).
 */
#ifndef TESTS_FAULT_HOSTILE_H
#define TESTS_FAULT_HOSTILE_H

#include <stdlib.h>

#include "ipc/mp.h"
#include "weft/kube.h"
#include "weft/msg.h"
#include "weft/value.h"

#define HOSTILE_ENTRIES 24
#define HOSTILE_DEPTH	5

struct hostile {
	uint64_t random;
	const struct cache *c; /* in a read section, or the store's own */
	struct buf text[16];   /* what the message's strings point to */
	uint32_t ntext;
	struct buf numbers[16];
	uint32_t nnumbers;
	uint32_t generation, epoch;
	uint64_t seq;
	uint32_t known[4096]; /* references to entries */
	uint32_t nknown;
};

static inline uint32_t hostile_below(struct hostile *h, uint32_t n)
{
	h->random = h->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)((h->random >> 33) % n);
}

static inline bool hostile_one_in(struct hostile *h, uint32_t n)
{
	return hostile_below(h, n) == 0;
}

/* --- Numbers ---------------------------------------------------------------------- */

static inline uint64_t hostile_number(struct hostile *h)
{
	static const uint64_t odd[] = {0,	   1,	      2,	  255,
				       256,	   65535,     65536,	  INT32_MAX,
				       UINT32_MAX, INT64_MAX, UINT64_MAX, (uint64_t)INT64_MIN};

	if (hostile_one_in(h, 3))
		return odd[hostile_below(h, countof(odd))];
	return hostile_below(h, 1000);
}

static inline uint16_t hostile_type(struct hostile *h)
{
	static const uint16_t likely[] = {TYPE_POD,	  TYPE_REPLICASET, TYPE_DEPLOYMENT,
					  TYPE_CONFIGMAP, TYPE_NAMESPACE,  TYPE_NODE,
					  TYPE_EVENT,	  TYPE_LEASE};

	return hostile_one_in(h, 6) ? (uint16_t)hostile_number(h)
				    : likely[hostile_below(h, countof(likely))];
}

/* --- Values: trees with Kubernetes' words in them ----------------------------------- */

static inline struct str hostile_word(struct hostile *h)
{
	/* clang-format off */
	static const char *const words[] = {
		"metadata", "name", "namespace", "uid", "labels", "annotations", "finalizers",
		"ownerReferences", "controller", "blockOwnerDeletion", "kind", "apiVersion", "spec",
		"replicas", "selector", "matchLabels", "matchExpressions", "template", "containers",
		"initContainers", "image", "resources", "requests", "cpu", "memory", "nodeName",
		"tolerations", "affinity", "nodeSelector", "topologySpreadConstraints",
		"schedulingGates", "terminationGracePeriodSeconds", "restartPolicy", "strategy",
		"rollingUpdate", "maxSurge", "maxUnavailable", "type", "status", "phase",
		"conditions", "containerStatuses", "observedGeneration", "capacity", "allocatable",
		"taints", "unschedulable", "data", "count", "lastTimestamp", "renewTime",
		"holderIdentity", "default", "a", "foregroundDeletion", "orphan", "Running",
		"Ready", "True", "Deployment", "ReplicaSet", "apps/v1", "v1", "100%", "-1", "1e99"};
	/* clang-format on */

	return str_of(words[hostile_below(h, countof(words))]);
}

static inline void hostile_raw(struct hostile *h, struct buf *out, uint32_t n)
{
	while (n--)
		buf_putc(out, (char)hostile_below(h, 256));
}

static inline void hostile_tree(struct hostile *h, struct buf *out, int depth);

static inline void hostile_head(struct buf *out, uint8_t first, uint32_t n)
{
	buf_putc(out, (char)first);
	buf_putc(out, (char)(n >> 8));
	buf_putc(out, (char)n);
}

static inline void hostile_string(struct hostile *h, struct buf *out)
{
	struct str s = hostile_word(h);

	hostile_head(out, 0xda, s.n); /* str 16 */
	buf_addstr(out, s);
}

/* A hole, most of them without a value. */
static inline void hostile_hole(struct hostile *h, struct buf *out)
{
	uint32_t n = hostile_below(h, 12);

	buf_putc(out, (char)0xc7); /* ext 8 */
	buf_putc(out, (char)n);
	buf_putc(out, (char)hostile_below(h, 9));
	hostile_raw(h, out, n);
}

static inline void hostile_list(struct hostile *h, struct buf *out, int depth, bool map)
{
	uint32_t n = hostile_below(h, 6);

	hostile_head(out, map ? 0xde : 0xdc, n); /* map 16, array 16 */
	for (uint32_t i = 0; i < n; i++) {
		if (map)
			hostile_string(h, out);
		hostile_tree(h, out, depth + 1);
	}
}

static inline void hostile_tree(struct hostile *h, struct buf *out, int depth)
{
	uint64_t number = hostile_number(h);

	switch (hostile_below(h, depth >= HOSTILE_DEPTH ? 5 : 12)) {
	case 0:
		buf_putc(out, (char)(0xc0 + hostile_below(h, 4))); /* nil, unused, booleans */
		break;
	case 1:
		buf_putc(out, (char)(hostile_one_in(h, 2) ? 0xcf : 0xd3)); /* 64 bits */
		for (int i = 56; i >= 0; i -= 8)
			buf_putc(out, (char)(number >> i));
		break;
	case 2:
	case 3:
		hostile_string(h, out);
		break;
	case 4:
		hostile_hole(h, out);
		break;
	case 5:
	case 6:
		hostile_list(h, out, depth, false);
		break;
	default:
		hostile_list(h, out, depth, true);
	}
}

/* --- Strings: names, and what may be a part ----------------------------------------- */

static inline const struct entry *hostile_known(struct hostile *h)
{
	const struct entry *e;

	if (!h->nknown || cache_entry_checked(h->c, h->known[hostile_below(h, h->nknown)], &e))
		return NULL;
	return e;
}

/* A part of some object, whatever its type. */
static inline void hostile_real_part(struct hostile *h, struct buf *out)
{
	const struct entry *e = hostile_known(h);
	const struct version *v = e ? cache_newest(h->c, e) : NULL;

	if (v)
		buf_addstr(out, cache_part(h->c, v, (enum part)hostile_below(h, PART_COUNT)));
}

static inline void hostile_deep(struct hostile *h, struct buf *out)
{
	for (uint32_t n = 1 + hostile_below(h, 3000); n; n--)
		buf_putc(out, (char)0x91); /* an array of one */
	buf_putc(out, (char)0xc0);
}

static inline struct str hostile_str(struct hostile *h)
{
	struct buf *out = &h->text[h->ntext++ % countof(h->text)];
	const struct entry *e = hostile_known(h);

	out->n = 0;
	switch (hostile_below(h, 14)) {
	case 0:
		break;
	case 1:
	case 2:
		if (e)
			buf_addstr(out, entry_name(e));
		break;
	case 3:
		if (e)
			buf_addstr(out, cache_ns(h->c, e));
		break;
	case 4:
		buf_addstr(out, hostile_word(h));
		break;
	case 5:
		hostile_raw(h, out, hostile_below(h, 300));
		break;
	case 6:
		hostile_real_part(h, out);
		break;
	case 7:
		hostile_deep(h, out);
		break;
	case 8:
		buf_puts(out, "default");
		break;
	default:
		hostile_tree(h, out, 0);
		if (hostile_one_in(h, 8))
			out->n = hostile_below(h, (uint32_t)out->n + 1); /* cut short */
	}
	return buf_str(out);
}

static inline struct str hostile_uid(struct hostile *h)
{
	struct buf *out = &h->text[h->ntext++ % countof(h->text)];
	const struct entry *e = hostile_known(h);

	out->n = 0;
	if (e && hostile_one_in(h, 2))
		buf_add(out, e->uid, 16);
	else if (hostile_one_in(h, 2))
		hostile_raw(h, out, 16);
	return buf_str(out);
}

/* --- Lists -------------------------------------------------------------------------- */

/* A reference: to an entry, near one, or anywhere. */
static inline uint32_t hostile_ref(struct hostile *h)
{
	uint32_t known = h->nknown ? h->known[hostile_below(h, h->nknown)] : 0;

	switch (hostile_below(h, 5)) {
	case 0:
		return (uint32_t)hostile_number(h);
	case 1:
		return known + hostile_below(h, 16) - 8;
	default:
		return known;
	}
}

static inline struct u32s hostile_u32s(struct hostile *h)
{
	struct buf *out = &h->numbers[h->nnumbers++ % countof(h->numbers)];

	out->n = 0;
	for (uint32_t n = hostile_below(h, HOSTILE_ENTRIES); n; n--) {
		uint32_t ref = hostile_ref(h);

		buf_add(out, &ref, sizeof(ref));
	}
	return (struct u32s){(const uint32_t *)out->p, (uint32_t)(out->n / 4)};
}

static inline struct u64s hostile_u64s(struct hostile *h)
{
	struct buf *out = &h->numbers[h->nnumbers++ % countof(h->numbers)];

	out->n = 0;
	for (uint32_t n = hostile_below(h, HOSTILE_ENTRIES); n; n--) {
		uint64_t rv = hostile_one_in(h, 2) ? cache_rv(h->c) : hostile_number(h);

		buf_add(out, &rv, sizeof(rv));
	}
	return (struct u64s){(const uint64_t *)out->p, (uint32_t)(out->n / 8)};
}

/* --- Messages ----------------------------------------------------------------------- */

#define hostile_U8(h)	((uint8_t)hostile_number(h))
#define hostile_U16(h)	hostile_type(h)
#define hostile_U32(h)	((uint32_t)hostile_number(h))
#define hostile_U64(h)	hostile_number(h)
#define hostile_I32(h)	((int32_t)hostile_number(h))
#define hostile_I64(h)	((int64_t)hostile_number(h))
#define hostile_BOOL(h) hostile_one_in(h, 4)
#define hostile_STR(h)	hostile_str(h)
#define hostile_UID(h)	hostile_uid(h)
#define hostile_U32S(h) hostile_u32s(h)
#define hostile_U64S(h) hostile_u64s(h)

/* Bulk requests are refused as a whole unless their lists fit together. */
static inline void hostile_fit(struct hostile *h, struct msg *m)
{
	struct u32s *entries = m->kind == MSG_bind_many	    ? &m->bind_many.entries
			       : m->kind == MSG_status_many ? &m->status_many.entries
			       : m->kind == MSG_delete_many ? &m->delete_many.entries
							    : NULL;
	struct u64s *rvs = m->kind == MSG_bind_many	? &m->bind_many.rvs
			   : m->kind == MSG_status_many ? &m->status_many.rvs
							: &m->delete_many.rvs;

	if (m->kind == MSG_create_many && m->create_many.count > 100)
		m->create_many.count %= 100; /* more is no lie, only a load */
	if (!entries || hostile_one_in(h, 4))
		return;
	entries->n = entries->n < rvs->n ? entries->n : rvs->n;
	rvs->n = entries->n;
	if (m->kind == MSG_bind_many && m->bind_many.node_of.n > entries->n)
		m->bind_many.node_of.n = entries->n;
	if (m->kind == MSG_status_many) {
		m->status_many.nholes = (uint8_t)hostile_below(h, 3);
		m->status_many.holes.n = m->status_many.holes.n < entries->n * m->status_many.nholes
						 ? m->status_many.holes.n
						 : entries->n * m->status_many.nholes;
	}
}

/* The next false request; valid until the next but a few.  Known entries are the
 * caller's to keep up to date. */
static inline void hostile_message(struct hostile *h, struct msg *m)
{
	static const enum msg_kind kinds[] = {
#define MSG(name, num) MSG_##name,
#define FIELD(kind, field)
#define END(name)
#include "weft/messages.def"
#undef MSG
#undef FIELD
#undef END
#undef REQUEST_FIELDS
	};

	memset(m, 0, sizeof(*m));
	m->kind = kinds[hostile_below(h, 7)]; /* requests come first */
	switch (m->kind) {
#define MSG(nm, num)     \
	case MSG_##nm: { \
		struct msg_##nm *at = &m->nm;
#define FIELD(kind, field) at->field = hostile_##kind(h);
#define END(nm) \
	break;  \
	}
#include "weft/messages.def"
#undef MSG
#undef FIELD
#undef END
#undef REQUEST_FIELDS
	}
	hostile_fit(h, m);
	if (!msg_request(m))
		return;
	msg_request(m)->seq = h->seq++;
	if (!hostile_one_in(h, 10))
		msg_request(m)->generation = h->generation;
	if (!hostile_one_in(h, 10))
		msg_request(m)->epoch = h->epoch;
}

/* Know the entries of `type`, some of them. */
static inline void hostile_look(struct hostile *h, uint16_t type)
{
	struct cache_iter it;
	const struct entry *e;

	cache_iter_init(&it, h->c, type, (struct str){0}, (struct str){0}, (struct str){0});
	for (int i = 0; i < 200 && (e = cache_iter_next(&it)); i++) {
		uint32_t at = h->nknown < countof(h->known) ? h->nknown++
							    : hostile_below(h, countof(h->known));

		h->known[at] = cache_entry_ref(h->c, e).u;
	}
}

static inline void hostile_free(struct hostile *h)
{
	for (size_t i = 0; i < countof(h->text); i++)
		buf_free(&h->text[i]);
	for (size_t i = 0; i < countof(h->numbers); i++)
		buf_free(&h->numbers[i]);
}

#endif

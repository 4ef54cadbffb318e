/*
 * project.c - what the store derives from a version's parts at every write:
 * the fields that controllers read all the time, read off the stored bytes.
 */
#include <limits.h>

#include "peek.h"
#include "weft/kube.h"

/* The status whose holes stand for values. */
struct holes {
	const uint32_t *values;
	uint8_t n;
};

/* The value of a hole of this type; false if the item is none. */
static bool hole(const struct holes *h, const struct mp_item *it, enum hole_type type,
		 uint32_t *out)
{
	uint8_t i;

	if (it->type != MSGPACK_OBJECT_EXT || it->ext != (int)type || it->n != 1)
		return false;
	i = (uint8_t)it->p[0];
	*out = i < h->n ? h->values[i] : 0;
	return true;
}

/* A timestamp, written out or as a hole; 0 if it is neither. */
static uint32_t read_time(struct peek *k, const struct holes *h)
{
	struct peek at = *k;
	struct mp_item it;
	int64_t wall_ns;
	uint32_t wall_s;

	peek_skip(k);
	if (!peek_item(&at, &it))
		return 0;
	if (hole(h, &it, HOLE_TIME, &wall_s))
		return wall_s;
	if (it.type != MSGPACK_OBJECT_STR || time_parse((struct str){it.p, it.n}, &wall_ns) != 0 ||
	    wall_ns < 0)
		return 0;
	wall_ns /= 1000000000;
	return wall_ns > UINT32_MAX ? UINT32_MAX : (uint32_t)wall_ns;
}

static uint64_t read_count(struct peek *k, const struct holes *h)
{
	struct peek at = *k;
	struct mp_item it;
	uint32_t n;

	peek_skip(k);
	if (!peek_item(&at, &it))
		return 0;
	if (hole(h, &it, HOLE_UINT, &n))
		return n;
	return it.type == MSGPACK_OBJECT_POSITIVE_INTEGER ? it.u : 0;
}

/* --- Status: phase, Ready, restarts --------------------------------------------- */

static void project_condition(struct peek *k, const struct holes *h, struct hot *hot)
{
	bool is_ready = false, is_true = false;
	uint32_t since = 0;

	for (uint32_t n = peek_map(k); n && !k->bad; n--) {
		struct str key = peek_str(k);

		if (str_eq(key, STR("type")))
			is_ready = str_eq(peek_str(k), STR("Ready"));
		else if (str_eq(key, STR("status")))
			is_true = str_eq(peek_str(k), STR("True"));
		else if (str_eq(key, STR("lastTransitionTime")))
			since = read_time(k, h);
		else
			peek_skip(k);
	}
	if (!is_ready)
		return;
	hot->ready_since_s = since;
	if (is_true)
		hot->flags |= HOT_READY;
}

static void project_container(struct peek *k, const struct holes *h, struct hot *hot)
{
	for (uint32_t n = peek_map(k); n && !k->bad; n--) {
		if (str_eq(peek_str(k), STR("restartCount"))) {
			uint64_t n = read_count(k, h);

			hot->restarts = n > UINT16_MAX - (uint64_t)hot->restarts
						? UINT16_MAX
						: (uint16_t)(hot->restarts + n);
		} else {
			peek_skip(k);
		}
	}
}

static uint8_t phase_of(struct str text)
{
	static const char *const phases[] = {
		[POD_PENDING] = "Pending", [POD_RUNNING] = "Running", [POD_SUCCEEDED] = "Succeeded",
		[POD_FAILED] = "Failed",   [POD_UNKNOWN] = "Unknown",
	};

	for (size_t i = 0; i < countof(phases); i++)
		if (str_is(text, phases[i]))
			return (uint8_t)i;
	return POD_PENDING;
}

static void project_status(struct str bytes, const struct holes *h, struct hot *hot)
{
	struct peek k = peek_of(bytes);

	if (!bytes.n)
		return;
	for (uint32_t n = peek_map(&k); n && !k.bad; n--) {
		struct str key = peek_str(&k);

		if (str_eq(key, STR("phase")))
			hot->phase = phase_of(peek_str(&k));
		else if (str_eq(key, STR("conditions")))
			for (uint32_t i = peek_array(&k); i && !k.bad; i--)
				project_condition(&k, h, hot);
		else if (str_eq(key, STR("containerStatuses")))
			for (uint32_t i = peek_array(&k); i && !k.bad; i--)
				project_container(&k, h, hot);
		else
			peek_skip(&k);
	}
}

/* --- Spec: node, flags, replicas --------------------------------------------------- */

static uint32_t non_negative(int64_t i)
{
	return i < 0 ? 0 : i > UINT32_MAX ? UINT32_MAX : (uint32_t)i;
}

/* Non-empty array. */
static bool read_any(struct peek *k)
{
	struct peek at = *k;

	peek_skip(k);
	return peek_array(&at) > 0;
}

/* Is there required anti-affinity in spec.affinity? */
static bool keeps_away(struct peek *k)
{
	struct str anti = peek_get(peek_raw(k), STR("podAntiAffinity"));
	struct peek at =
		peek_of(peek_get(anti, STR("requiredDuringSchedulingIgnoredDuringExecution")));

	return peek_array(&at) > 0;
}

static void project_spec(uint16_t type, struct str bytes, struct version_in *in)
{
	struct peek k = peek_of(bytes);
	struct hot *hot = &in->hot;
	bool plain = type == TYPE_POD;

	if (!bytes.n)
		return;
	for (uint32_t n = peek_map(&k); n && !k.bad; n--) {
		struct str key = peek_str(&k);

		if (str_eq(key, STR("replicas")) || str_eq(key, STR("parallelism"))) {
			hot->replicas = non_negative(peek_int(&k, 1));
		} else if (type == TYPE_POD && str_eq(key, STR("nodeName"))) {
			struct str node = peek_str(&k);

			if (node.n)
				in->node = node;
		} else if (type == TYPE_POD && str_eq(key, STR("hostNetwork"))) {
			hot->flags |= peek_bool(&k, false) ? HOT_HOSTNET : 0;
		} else if (type == TYPE_POD && str_eq(key, STR("schedulingGates"))) {
			hot->flags |= read_any(&k) ? HOT_GATED : 0;
		} else if (type == TYPE_POD && str_eq(key, STR("priority"))) {
			plain &= !peek_int(&k, 0);
		} else if (type == TYPE_POD && str_eq(key, STR("affinity"))) {
			plain &= !keeps_away(&k);
		} else if (type == TYPE_NODE && str_eq(key, STR("unschedulable"))) {
			hot->flags |= peek_bool(&k, false) ? HOT_UNSCHEDULABLE : 0;
		} else {
			peek_skip(&k);
		}
	}
	hot->flags |= plain ? HOT_PLAIN : 0;
}

/* --- Metadata: owners, finalizers, deletion cost ------------------------------------ */

/* The annotation's value: digits with an optional minus and no leading zeros,
 * within 32 bits; 0 for anything else. */
static int32_t deletion_cost(struct str s)
{
	uint32_t i = s.n && s.p[0] == '-';
	int64_t v = 0;

	if (i == s.n || s.n > 11 || (s.p[i] == '0' && s.n > 1))
		return 0;
	for (uint32_t at = i; at < s.n; at++) {
		if (s.p[at] < '0' || s.p[at] > '9')
			return 0;
		v = v * 10 + (s.p[at] - '0');
	}
	v = i ? -v : v;
	return v < INT32_MIN || v > INT32_MAX ? 0 : (int32_t)v;
}

struct owner {
	uint8_t uid[16];
	bool known, controller;
};

static struct owner read_owner(struct peek *k)
{
	struct owner o = {.known = false};

	for (uint32_t n = peek_map(k); n && !k->bad; n--) {
		struct str key = peek_str(k);

		if (str_eq(key, STR("uid")))
			o.known = uid_parse(peek_str(k), o.uid);
		else if (str_eq(key, STR("controller")))
			o.controller = peek_bool(k, false);
		else
			peek_skip(k);
	}
	return o;
}

/* Owners whose uid is one that the cache can know; the controller comes first. */
static void project_owners(zone *z, struct peek *k, struct version_in *in)
{
	uint32_t n = peek_array(k);
	uint8_t(*uids)[16];

	if (!n || k->bad)
		return;
	in->flags |= VERSION_OWNED;
	uids = zone_alloc(z, (n < UINT8_MAX ? n : UINT8_MAX) * sizeof *uids);
	for (; n && !k->bad; n--) {
		struct owner o = read_owner(k);
		uint8_t at = in->nowners;

		if (!o.known || in->nowners == UINT8_MAX)
			continue;
		if (o.controller && !in->has_controller) {
			in->has_controller = true;
			memcpy(uids[at], uids[0], sizeof *uids);
			at = 0;
		}
		memcpy(uids[at], o.uid, sizeof *uids);
		in->nowners++;
	}
	in->owner_uids = (const uint8_t(*)[16])uids;
}

static void project_meta(zone *z, uint16_t type, struct str bytes, struct version_in *in)
{
	struct peek k = peek_of(bytes);

	if (!bytes.n)
		return;
	for (uint32_t n = peek_map(&k); n && !k.bad; n--) {
		struct str key = peek_str(&k);

		if (str_eq(key, STR("ownerReferences")))
			project_owners(z, &k, in);
		else if (str_eq(key, STR("finalizers")))
			in->flags |= read_any(&k) ? VERSION_FINALIZERS : 0;
		else if (type == TYPE_POD && str_eq(key, STR("annotations"))) {
			struct str raw = peek_raw(&k);
			struct str cost =
				peek_get(raw, STR("controller.kubernetes.io/pod-deletion-cost"));
			struct peek at = peek_of(cost);

			in->hot.deletion_cost = cost.n ? deletion_cost(peek_str(&at)) : 0;
		} else {
			peek_skip(&k);
		}
	}
}

bool kube_parts_valid(const struct str part[PART_COUNT], uint32_t mask)
{
	for (int i = 0; i < PART_COUNT; i++)
		if (part[i].n && mask & 1u << i && !peek_valid(part[i]))
			return false;
	return true;
}

int kube_project(zone *z, uint16_t type, const struct str part[PART_COUNT],
		 const uint32_t *status_holes, uint8_t nholes, struct version_in *in)
{
	struct holes h = {status_holes, nholes};

	if (!kube_parts_valid(part, in->mask ? in->mask : UINT32_MAX))
		return WEFT_EINVAL;
	in->flags &= (uint8_t) ~(VERSION_FINALIZERS | VERSION_OWNED);
	in->hot = (struct hot){.replicas = 1};
	in->owner_uids = NULL;
	in->nowners = 0;
	in->has_controller = false;
	project_meta(z, type, part[PART_META], in);
	project_spec(type, part[PART_SPEC], in);
	if (type == TYPE_POD || type == TYPE_NODE)
		project_status(part[PART_STATUS], &h, &in->hot);
	if (type == TYPE_POD && in->node.n)
		in->hot.flags |= HOT_SCHEDULED;
	return WEFT_OK;
}

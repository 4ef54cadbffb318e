/*
 * project.c - what the store derives from a version's parts at every write:
 * the fields that controllers read all the time, read off the stored bytes.
 */
#include <limits.h>

#include "mp.h"
#include "weft/kube.h"

/* The status whose holes stand for values. */
struct holes {
	const uint32_t *values;
	uint8_t n;
};

static uint32_t hole_at(const struct holes *h, const struct mp_item *ext)
{
	uint8_t i = ext->s.n ? (uint8_t)ext->s.p[0] : 0;

	return ext->s.n && i < h->n ? h->values[i] : 0;
}

/* A timestamp, written out or as a hole; 0 if it is neither. */
static uint32_t read_time(struct mp *m, const struct holes *h)
{
	struct mp at = *m;
	struct mp_item it;
	int64_t wall_ns;

	mp_skip(m);
	if (!mp_read(&at, &it))
		return 0;
	if (it.kind == MP_EXT && it.ext_type == HOLE_TIME)
		return hole_at(h, &it);
	if (it.kind != MP_STR || time_parse(it.s, &wall_ns) != WEFT_OK || wall_ns < 0)
		return 0;
	return (uint32_t)(wall_ns / 1000000000);
}

static uint64_t read_count(struct mp *m, const struct holes *h)
{
	struct mp at = *m;
	struct mp_item it;

	mp_skip(m);
	if (!mp_read(&at, &it))
		return 0;
	if (it.kind == MP_EXT && it.ext_type == HOLE_UINT)
		return hole_at(h, &it);
	return it.kind == MP_INT && it.i > 0 ? (uint64_t)it.i : 0;
}

/* --- Status: phase, Ready, restarts --------------------------------------------- */

static void project_condition(struct mp *m, const struct holes *h, struct hot *hot)
{
	bool is_ready = false, is_true = false;
	uint32_t since = 0;

	for (uint32_t n = mp_map(m); n && !m->bad; n--) {
		struct str key = mp_str(m);

		if (str_eq(key, STR("type")))
			is_ready = str_eq(mp_str(m), STR("Ready"));
		else if (str_eq(key, STR("status")))
			is_true = str_eq(mp_str(m), STR("True"));
		else if (str_eq(key, STR("lastTransitionTime")))
			since = read_time(m, h);
		else
			mp_skip(m);
	}
	if (!is_ready)
		return;
	hot->ready_since_s = since;
	if (is_true)
		hot->flags |= HOT_READY;
}

static void project_container(struct mp *m, const struct holes *h, struct hot *hot)
{
	for (uint32_t n = mp_map(m); n && !m->bad; n--) {
		if (str_eq(mp_str(m), STR("restartCount"))) {
			uint64_t sum = hot->restarts + read_count(m, h);

			hot->restarts = sum > UINT16_MAX ? UINT16_MAX : (uint16_t)sum;
		} else {
			mp_skip(m);
		}
	}
}

static uint8_t phase_of(struct str text)
{
	static const char *const phases[] = {
		[POD_PENDING] = "Pending", [POD_RUNNING] = "Running",
		[POD_SUCCEEDED] = "Succeeded", [POD_FAILED] = "Failed", [POD_UNKNOWN] = "Unknown",
	};

	for (size_t i = 0; i < countof(phases); i++)
		if (str_eq(text, str_of(phases[i])))
			return (uint8_t)i;
	return POD_PENDING;
}

static void project_status(struct str bytes, const struct holes *h, struct hot *hot)
{
	struct mp m = mp_of(bytes);

	if (!bytes.n)
		return;
	for (uint32_t n = mp_map(&m); n && !m.bad; n--) {
		struct str key = mp_str(&m);

		if (str_eq(key, STR("phase")))
			hot->phase = phase_of(mp_str(&m));
		else if (str_eq(key, STR("conditions")))
			for (uint32_t k = mp_array(&m); k && !m.bad; k--)
				project_condition(&m, h, hot);
		else if (str_eq(key, STR("containerStatuses")))
			for (uint32_t k = mp_array(&m); k && !m.bad; k--)
				project_container(&m, h, hot);
		else
			mp_skip(&m);
	}
}

/* --- Spec: node, flags, replicas --------------------------------------------------- */

static uint32_t non_negative(int64_t i)
{
	return i < 0 ? 0 : i > UINT32_MAX ? UINT32_MAX : (uint32_t)i;
}

/* Non-empty array. */
static bool read_any(struct mp *m)
{
	struct mp at = *m;

	mp_skip(m);
	return mp_array(&at) > 0;
}

static void project_spec(uint16_t type, struct str bytes, struct version_in *in)
{
	struct mp m = mp_of(bytes);
	struct hot *hot = &in->hot;

	if (!bytes.n)
		return;
	for (uint32_t n = mp_map(&m); n && !m.bad; n--) {
		struct str key = mp_str(&m);

		if (str_eq(key, STR("replicas")) || str_eq(key, STR("parallelism"))) {
			hot->replicas = non_negative(mp_int(&m, 1));
		} else if (type == TYPE_POD && str_eq(key, STR("nodeName"))) {
			struct str node = mp_str(&m);

			if (node.n)
				in->node = node;
		} else if (type == TYPE_POD && str_eq(key, STR("hostNetwork"))) {
			hot->flags |= mp_bool(&m, false) ? HOT_HOSTNET : 0;
		} else if (type == TYPE_POD && str_eq(key, STR("schedulingGates"))) {
			hot->flags |= read_any(&m) ? HOT_GATED : 0;
		} else if (type == TYPE_NODE && str_eq(key, STR("unschedulable"))) {
			hot->flags |= mp_bool(&m, false) ? HOT_UNSCHEDULABLE : 0;
		} else {
			mp_skip(&m);
		}
	}
}

/* --- Metadata: owners, finalizers, deletion cost -------------------------------------- */

/* The annotation's value: digits with an optional minus and no leading zeros,
 * within 32 bits; 0 for anything else. */
static int32_t deletion_cost(struct str s)
{
	uint32_t i = s.n && s.p[0] == '-';
	int64_t v = 0;

	if (i == s.n || s.n > 11 || (s.p[i] == '0' && s.n > 1))
		return 0;
	for (uint32_t k = i; k < s.n; k++) {
		if (s.p[k] < '0' || s.p[k] > '9')
			return 0;
		v = v * 10 + (s.p[k] - '0');
	}
	v = i ? -v : v;
	return v < INT32_MIN || v > INT32_MAX ? 0 : (int32_t)v;
}

struct owner {
	uint8_t uid[16];
	bool known, controller;
};

static struct owner read_owner(struct mp *m)
{
	struct owner o = {.known = false};

	for (uint32_t n = mp_map(m); n && !m->bad; n--) {
		struct str key = mp_str(m);

		if (str_eq(key, STR("uid")))
			o.known = uid_parse(mp_str(m), o.uid);
		else if (str_eq(key, STR("controller")))
			o.controller = mp_bool(m, false);
		else
			mp_skip(m);
	}
	return o;
}

/* Owners whose uid is one that the cache can know; the controller comes first. */
static void project_owners(zone *z, struct mp *m, struct version_in *in)
{
	uint32_t n = mp_array(m);
	uint8_t(*uids)[16];

	if (!n || m->bad)
		return;
	in->flags |= VERSION_OWNED;
	uids = zone_alloc(z, (n < UINT8_MAX ? n : UINT8_MAX) * sizeof *uids);
	for (; n && !m->bad; n--) {
		struct owner o = read_owner(m);
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
	struct mp m = mp_of(bytes);

	if (!bytes.n)
		return;
	for (uint32_t n = mp_map(&m); n && !m.bad; n--) {
		struct str key = mp_str(&m);

		if (str_eq(key, STR("ownerReferences")))
			project_owners(z, &m, in);
		else if (str_eq(key, STR("finalizers")))
			in->flags |= read_any(&m) ? VERSION_FINALIZERS : 0;
		else if (type == TYPE_POD && str_eq(key, STR("annotations"))) {
			struct str raw = mp_raw(&m);
			struct str cost =
				mp_get(raw, STR("controller.kubernetes.io/pod-deletion-cost"));
			struct mp at = mp_of(cost);

			in->hot.deletion_cost = cost.n ? deletion_cost(mp_str(&at)) : 0;
		} else {
			mp_skip(&m);
		}
	}
}

int kube_project(zone *z, uint16_t type, const struct str part[PART_COUNT],
		 const uint32_t *status_holes, uint8_t nholes, struct version_in *in)
{
	struct holes h = {status_holes, nholes};

	for (int i = 0; i < PART_COUNT; i++)
		if (part[i].n && !mp_valid(part[i]))
			return WEFT_EINVAL;
	in->flags &= (uint8_t)~(VERSION_FINALIZERS | VERSION_OWNED);
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

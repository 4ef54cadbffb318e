/*
 * bulk.c - many objects alike: what they have in common is interned and
 * projected once.
 */
#include <xxhash.h>

#include "procs/store/quota.h"

/* --- Parts -------------------------------------------------------------------------- */

static int bulk_intern(struct store *s, struct bulk *b)
{
	for (int i = 0; i < PART_COUNT; i++) {
		if (!(b->in.mask & 1u << i) || !b->in.part[i].n)
			continue;
		b->in.part_ref[i] = cw_blob(s->w, b->in.part[i]);
		if (!b->in.part_ref[i].u)
			return WEFT_ENOMEM;
	}
	return WEFT_OK;
}

void bulk_end(struct store *s, struct bulk *b)
{
	for (int i = 0; i < PART_COUNT; i++)
		if (b->in.part_ref[i].u)
			cw_blob_drop(s->w, b->in.part_ref[i]);
}

/* --- Names -------------------------------------------------------------------------- */

/* Objects are made in the order of their names, which costs the ordered index a
 * fraction of what random places cost.
 *
 * Of few, number i of the uids comes with the five bytes that will end the name, as one
 * number, and all are sorted by that.
 *
 * Many would still be a few for each leaf of an index that has many already, and each
 * would be copied for these few.  They get a stretch of all names, the next ones the next:
 * it has equal parts, one for each object, and somewhere in its part is the object's name. */
#define NUMBER_BITS 20
#define KEY_BYTES   5

_Static_assert(CREATE_MANY_MAX <= 1u << NUMBER_BITS, "a number fits beside its key");

static uint64_t name_key(const struct rec_create_many *r, uint32_t i)
{
	uint8_t uid[16];
	char suffix[KEY_BYTES];
	uint64_t key = 0;

	store_uid((const uint8_t *)r->seed.p, i, 0, uid);
	uid_suffix5(uid, suffix);
	for (int k = 0; k < KEY_BYTES; k++)
		key = key << 8 | (uint8_t)suffix[k];
	return key << NUMBER_BITS | i;
}

/* One pass of a radix sort: stable, by the byte at `shift`. */
static void sort_by_byte(const uint64_t *from, uint64_t *to, uint32_t n, unsigned shift)
{
	uint32_t at[256] = {0}, sum = 0;

	for (uint32_t i = 0; i < n; i++)
		at[from[i] >> shift & 255]++;
	for (int k = 0; k < 256; k++) {
		uint32_t count = at[k];

		at[k] = sum;
		sum += count;
	}
	for (uint32_t i = 0; i < n; i++)
		to[at[from[i] >> shift & 255]++] = from[i];
}

/* The names are those of so many, of which some may not have been made. */
static uint32_t asked(const struct rec_create_many *r)
{
	return r->of > r->count ? r->of : r->count;
}

/* Which uid the objects have, one after the other. */
static void sort_names(struct store *s, const struct rec_create_many *r, struct bulk *b)
{
	uint32_t n = asked(r);
	uint64_t *keys = zone_alloc(s->z, n * sizeof(*keys));
	uint64_t *other = zone_alloc(s->z, n * sizeof(*other));

	for (uint32_t i = 0; i < n; i++)
		keys[i] = name_key(r, i);
	for (unsigned k = 0; k < KEY_BYTES; k++) {
		uint64_t *sorted = other;

		sort_by_byte(keys, sorted, n, NUMBER_BITS + 8 * k);
		other = keys;
		keys = sorted;
	}
	b->order = keys;
}

/* Stretches begin with a character of their own, 27 of them; so many that there are
 * STRETCH_THIN names for each object, and few are taken.  Part of the log's format, with all
 * that is reckoned from them: replay gives the same names. */
#define STRETCH	     (UID_SUFFIXES / BULK_STRETCHES)
#define STRETCH_THIN 8u

_Static_assert(UID_SUFFIXES / STRETCH_THIN >= CREATE_MANY_MAX, "a stretch for all of a request");

static uint32_t stretches_for(uint32_t count)
{
	return (uint32_t)(((uint64_t)count * STRETCH_THIN + STRETCH - 1) / STRETCH);
}

uint8_t bulk_sorted(struct store *s, uint32_t count)
{
	uint32_t first = s->stretch, n = stretches_for(count);

	if (count < BULK_STRETCH_MIN)
		return BULK_BY_NAME;
	if (first + n > BULK_STRETCHES)
		first = 0;
	s->stretch = first + n;
	return (uint8_t)(BULK_STRETCH + first);
}

static int find_stretch(const struct rec_create_many *r, struct bulk *b)
{
	uint32_t all = asked(r), n = stretches_for(all);

	b->place = (r->sorted - BULK_STRETCH) * STRETCH;
	if (!all || n > BULK_STRETCHES || b->place + n * STRETCH > UID_SUFFIXES)
		return WEFT_ECORRUPT;
	b->part = n * STRETCH / all;
	return WEFT_OK;
}

static void name_object(struct store *s, const struct rec_create_many *r, struct bulk *b,
			uint32_t i, uint32_t attempt, struct bulk_name *out)
{
	uint64_t number = b->order ? b->order[i] & ((1u << NUMBER_BITS) - 1) : i;
	uint32_t random;

	store_uid((const uint8_t *)r->seed.p, number, attempt, out->uid);
	if (b->part && !attempt) {
		memcpy(&random, out->uid, sizeof(random));
		uid_set_suffix5(out->uid, b->place + i * b->part + random % b->part);
	}
	out->n = store_name(r->prefix, out->uid, out->name);
}

/* The name of object i; those that follow are made, and looked for, ahead. */
static const struct bulk_name *next_name(struct store *s, const struct rec_create_many *r,
					 struct bulk *b, uint32_t i)
{
	for (; b->named < r->count && b->named < i + BULK_AHEAD; b->named++) {
		struct bulk_name *at = &b->name[b->named % BULK_AHEAD];

		name_object(s, r, b, b->named, 0, at);
		cw_ahead_new(s->w, r->type, r->ns, (struct str){at->name, at->n}, at->uid);
	}
	return &b->name[i % BULK_AHEAD];
}

/* --- Creating ----------------------------------------------------------------------- */

int bulk_create_begin(struct store *s, const struct rec_create_many *r, struct bulk *b)
{
	int rc = WEFT_OK;

	*b = (struct bulk){.in = {
				   .mask = (1u << PART_COUNT) - 1,
				   .part = {r->meta, r->labels, r->spec, r->status, r->rest},
				   .cause = r->cause,
				   .writer_kind = r->writer,
				   .generation = r->generation,
				   .grace_s = -1,
				   .flags = store_in_memory(s, r->type) ? VERSION_MEMORY : 0,
				   .unlisted = true,
			   }};
	if (r->sorted >= BULK_STRETCH)
		rc = find_stretch(r, b);
	if (!rc)
		rc = kube_project(s->z, r->type, b->in.part, NULL, 0, &b->in);
	if (!rc)
		rc = bulk_intern(s, b);
	if (rc) {
		bulk_end(s, b);
		return rc;
	}
	if (r->type == TYPE_RESOURCEQUOTA && s->batch)
		quotas_begin(s);
	cw_expect(s->w, r->type, r->count);
	b->entry = zone_alloc(s->z, r->count * sizeof(*b->entry));
	if (r->sorted == BULK_BY_NAME)
		sort_names(s, r, b);
	return WEFT_OK;
}

int bulk_create_one(struct store *s, const struct rec_create_many *r, struct bulk *b, uint32_t i,
		    uint32_t attempt)
{
	const struct bulk_name *name = next_name(s, r, b, i);
	struct bulk_name other;
	struct version *v;
	int rc;

	if (attempt) {
		name_object(s, r, b, i, attempt, &other);
		name = &other;
	}
	rc = cw_prepare_create(s->w, r->type, r->ns, (struct str){name->name, name->n}, name->uid,
			       r->created_s, r->rv + i, &b->in, &v);
	if (rc)
		return rc;
	b->entry[b->made++] = v->entry;
	note_version(s, v);
	return WEFT_OK;
}

uint32_t bulk_create_list(struct store *s, const struct rec_create_many *r, struct bulk *b)
{
	uint32_t listed = cw_list(s->w, r->type, b->entry, b->made);

	if (listed < b->made && s->batch)
		unnote_versions(s, b->made - listed);
	b->made = listed;
	return listed;
}

/* --- Statuses and nodes ------------------------------------------------------------- */

/* What each hole of a status does is found by setting one after the other. */
static int plan_make(struct store *s, struct status_plan *p, struct str status)
{
	struct str part[PART_COUNT] = {[PART_STATUS] = status};
	struct version_in in = {0};
	uint32_t holes[UINT8_MAX] = {0};
	int rc = kube_project(s->z, p->type, part, holes, p->nholes, &in);

	p->hot = in.hot;
	p->ready_hole = -1;
	for (uint8_t i = 0; !rc && i < p->nholes; i++) {
		holes[i] = 1;
		rc = kube_project(s->z, p->type, part, holes, p->nholes, &in);
		holes[i] = 0;
		if (in.hot.ready_since_s != p->hot.ready_since_s)
			p->ready_hole = i;
		p->restarts[i] = in.hot.restarts > p->hot.restarts;
	}
	return rc;
}

/* The plan of a status, made or remembered; NULL if it is not msgpack. */
static const struct status_plan *plan_get(struct store *s, uint16_t type, struct str status,
					  uint8_t nholes)
{
	uint64_t hash = XXH3_64bits(status.p, status.n) | 1;
	struct status_plan *p = &s->plans[(hash >> 1) % STATUS_PLANS];

	if (p->hash == hash && p->n == status.n && p->type == type && p->nholes == nholes)
		return p;
	p->hash = 0;
	p->n = status.n;
	p->type = type;
	p->nholes = nholes;
	if (plan_make(s, p, status))
		return NULL;
	p->hash = hash;
	return p;
}

static void plan_apply(const struct status_plan *p, const uint32_t *holes, struct hot *hot)
{
	uint64_t restarts = p->hot.restarts;

	for (uint8_t i = 0; i < p->nholes; i++)
		restarts += p->restarts[i] ? holes[i] : 0;
	hot->ready_since_s = p->ready_hole >= 0 ? holes[p->ready_hole] : p->hot.ready_since_s;
	hot->restarts = restarts > UINT16_MAX ? UINT16_MAX : (uint16_t)restarts;
	hot->phase = p->hot.phase;
	hot->flags = (uint8_t)((hot->flags & ~HOT_READY) | (p->hot.flags & HOT_READY));
}

int bulk_status_begin(struct store *s, uint16_t type, struct str status, uint8_t nholes,
		      uint64_t cause, uint16_t writer, struct bulk *b)
{
	int rc = WEFT_OK;

	*b = (struct bulk){.in = {.cause = cause, .writer_kind = writer}};
	if (!status.n)
		return WEFT_OK;
	b->in.mask = 1u << PART_STATUS;
	b->in.part[PART_STATUS] = status;
	b->in.nholes = nholes;
	b->plan = plan_get(s, type, status, nholes);
	if (!b->plan)
		return WEFT_EINVAL;
	rc = bulk_intern(s, b);
	if (rc)
		bulk_end(s, b);
	return rc;
}

int bulk_status_one(struct store *s, struct bulk *b, struct entry *e, const uint32_t *holes,
		    struct str node, uint64_t rv)
{
	const struct version *old = cw_newest(s->w, e);
	struct version_in *in = &b->in;
	struct version *v;
	int rc;

	in->holes = holes;
	in->generation = old->generation;
	in->deletion_s = old->deletion_s;
	in->grace_s = old->grace_s;
	in->flags = old->flags & (VERSION_FINALIZERS | VERSION_OWNED | VERSION_MEMORY);
	in->hot = old->hot;
	in->node = node;
	if (node.n)
		in->hot.flags |= HOT_SCHEDULED;
	if (b->plan && (e->type == TYPE_POD || e->type == TYPE_NODE))
		plan_apply(b->plan, holes, &in->hot);
	rc = cw_prepare_update(s->w, e, rv, in, &v);
	if (!rc)
		note_version(s, v);
	return rc;
}

/* autoscale.c - how many processes of a kind there should be; see autoscale.h. */
#include "procs/supervisor/autoscale.h"

#define MS INT64_C(1000000)

void autoscale_unsettle(struct autoscale *a, const struct autoscale_rules *r, int64_t now_ns)
{
	a->late_since_ns = a->calm_since_ns = 0;
	a->settled_ns = now_ns + AUTOSCALE_SETTLE * r->up_after_ms * MS;
}

/* Since when `holds`, if it does now. */
static int64_t since(int64_t before_ns, bool holds, int64_t now_ns)
{
	return !holds ? 0 : before_ns ? before_ns : now_ns;
}

static bool lasts(int64_t since_ns, int64_t ms, int64_t now_ns)
{
	return since_ns && now_ns - since_ns >= ms * MS;
}

static uint32_t one_more(struct autoscale *a, const struct autoscale_rules *r, uint32_t count,
			 int64_t now_ns)
{
	if (a->fewer_since_ns && a->patience < AUTOSCALE_PATIENCE_MAX)
		a->patience *= 2;
	a->fewer_since_ns = 0;
	autoscale_unsettle(a, r, now_ns);
	return count + 1;
}

static uint32_t one_fewer(struct autoscale *a, const struct autoscale_rules *r, uint32_t count,
			  int64_t now_ns)
{
	a->fewer_since_ns = now_ns;
	autoscale_unsettle(a, r, now_ns);
	return count - 1;
}

uint32_t autoscale_judge(struct autoscale *a, const struct autoscale_rules *r, uint32_t count,
			 int64_t age_ms, int64_t now_ns)
{
	int64_t down_after_ms;

	if (!a->patience)
		a->patience = 1;
	down_after_ms = r->down_after_ms * a->patience;
	a->late_since_ns =
		since(a->late_since_ns, now_ns >= a->settled_ns && age_ms >= r->up_age_ms, now_ns);
	a->calm_since_ns = since(a->calm_since_ns, age_ms <= r->calm_age_ms, now_ns);
	if (lasts(a->fewer_since_ns, AUTOSCALE_PROBATION * down_after_ms, now_ns)) {
		a->fewer_since_ns = 0; /* it was right */
		a->patience -= a->patience / 2;
	}
	if (count < a->max && lasts(a->late_since_ns, r->up_after_ms, now_ns))
		return one_more(a, r, count, now_ns);
	if (count > a->min && lasts(a->calm_since_ns, down_after_ms, now_ns))
		return one_fewer(a, r, count, now_ns);
	return count;
}

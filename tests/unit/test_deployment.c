/* test_deployment.c - the Deployment's rules against a simulated world of
 * ReplicaSets that take their time: rollouts keep to their limits and end,
 * proportions add up, old ReplicaSets are kept as asked. */
#include "kube_cache.h"
#include "procs/deployment/deployment.h"

#define SETS_MAX 64

/* --- What the controller's library would do ----------------------------------------- */

static int scalings; /* Events ScalingReplicaSet */

void ctl_event(struct controller *ctl, const struct entry *about, const char *type,
	       const char *reason, const char *fmt, ...)
{
	scalings += strcmp(reason, "ScalingReplicaSet") == 0;
}

void ctl_after(struct controller *ctl, uint64_t ms)
{
}

/* --- The world ---------------------------------------------------------------------- */

struct set {
	struct entry *e;
	struct version *v;
	value meta, spec, status, labels;
	int wanted, pods, ready; /* what is true; status tells it later */
	bool gone;
};

struct world {
	struct shelf shelf;
	zone *z;
	struct set sets[SETS_MAX];
	int n;
	int replicas, surge, unavailable, template, history;
	bool recreate, paused;
	const struct entry *e;
	struct version *v;
	value meta, status;
	struct deployment_state state;
	uint32_t now_s;
};

static struct world w;

static value template_of(int number)
{
	return facts_json(w.z,
			  zone_printf(w.z,
				      "{\"metadata\":{\"labels\":{\"app\":\"a\"}},\"spec\":"
				      "{\"containers\":[{\"name\":\"c\",\"image\":\"i:%d\"}]}}",
				      number)
				  .p);
}

static value deployment_spec(void)
{
	value spec = facts_json(w.z, zone_printf(w.z,
						 "{\"replicas\":%d,\"revisionHistoryLimit\":%d,"
						 "\"progressDeadlineSeconds\":600,\"selector\":"
						 "{\"matchLabels\":{\"app\":\"a\"}}}",
						 w.replicas, w.history)
					     .p);

	v_set(w.z, &spec, "template", template_of(w.template));
	return spec;
}

/* The first of an object. */
static struct version *version_new(void)
{
	struct version *v = zone_alloc(w.z, sizeof(*v));

	*v = (struct version){.generation = 1};
	return v;
}

/* Tell what is true. */
static void tell_status(struct set *s)
{
	s->status =
		facts_json(w.z, zone_printf(w.z,
					    "{\"replicas\":%d,\"readyReplicas\":%d,"
					    "\"availableReplicas\":%d,\"observedGeneration\":%u}",
					    s->pods, s->ready, s->ready, s->v->generation)
					.p);
}

static void create_set(const struct replicaset *made)
{
	struct str name = v_get_str(&made->meta, "name");
	struct set *s = &w.sets[w.n++];

	ck_assert_int_lt(w.n, SETS_MAX);
	*s = (struct set){.e = calloc(1, sizeof(*s->e) + name.n + 1),
			  .wanted = (int)made->replicas};
	s->e->created_rv = (uint64_t)w.n;
	s->e->name_len = (uint8_t)name.n;
	memcpy(s->e->name, name.p, name.n);
	s->v = version_new();
	s->meta = v_copy(w.z, &made->meta);
	s->spec = v_copy(w.z, &made->spec);
	s->status = v_map();
	w.state.created = true;
}

static void read_set(struct deployment *d, struct replicaset *rs, struct set *s)
{
	*rs = (struct replicaset){.e = s->e,
				  .v = s->v,
				  .meta = v_copy(w.z, &s->meta),
				  .spec = v_copy(w.z, &s->spec),
				  .status = s->status,
				  .replicas = s->wanted,
				  .actual = v_get_int(&s->status, "replicas", 0),
				  .ready = v_get_int(&s->status, "readyReplicas", 0),
				  .available = v_get_int(&s->status, "availableReplicas", 0)};
}

/* As sync.c reads a Deployment, lets the rules decide, and writes. */
static void reconcile(void)
{
	struct replicaset list[SETS_MAX];
	struct set *of[SETS_MAX];
	struct deployment d = {.c = w.shelf.c,
			       .z = w.z,
			       .e = w.e,
			       .v = w.v,
			       .meta = w.meta,
			       .spec = deployment_spec(),
			       .status = w.status,
			       .new_status = v_copy(w.z, &w.status),
			       .replicas = w.replicas,
			       .max_surge = w.recreate ? 0 : w.surge,
			       .max_unavailable = w.recreate ? 0 : w.unavailable,
			       .paused = w.paused,
			       .recreate = w.recreate,
			       .now_s = w.now_s++,
			       .list = list,
			       .state = &w.state};

	for (int i = 0; i < w.n; i++)
		if (!w.sets[i].gone) {
			of[d.n] = &w.sets[i];
			read_set(&d, &list[d.n++], &w.sets[i]);
		}
	status_paused_conditions(&d);
	revision_sync(&d, false);
	if (d.paused || scale_wanted(&d)) {
		scale_proportionally(&d);
		status_calculate(&d);
	} else if (d.recreate) {
		rollout_recreate(&d);
	} else {
		rollout_rolling(&d);
	}
	for (uint32_t i = 0; i < d.n; i++) {
		if (list[i].deleted) {
			ck_assert_int_eq(of[i]->wanted + of[i]->pods, 0);
			of[i]->gone = true;
		} else if (list[i].changed) {
			of[i]->v->generation += of[i]->wanted != list[i].replicas;
			of[i]->wanted = (int)list[i].replicas;
			of[i]->meta = list[i].meta;
			of[i]->spec = list[i].spec;
			ck_assert_int_eq(v_get_int(&list[i].spec, "replicas", -1), of[i]->wanted);
		}
	}
	w.meta = d.meta;
	w.status = d.new_status;
	if (d.fresh == &d.made)
		create_set(&d.made);
}

/* One ReplicaSet takes a step, and perhaps tells. */
static void step_set(struct set *s)
{
	if (s->gone)
		return;
	if (s->pods < s->wanted && random() % 2)
		s->pods += 1 + (int)(random() % (s->wanted - s->pods));
	if (s->pods > s->wanted) {
		int surplus = s->pods - s->wanted, unready = s->pods - s->ready;

		s->ready -= surplus > unready ? surplus - unready : 0;
		s->pods = s->wanted;
	}
	if (s->ready < s->pods && random() % 2)
		s->ready++;
	if (random() % 3)
		tell_status(s);
}

static int sum_wanted(void)
{
	int n = 0;

	for (int i = 0; i < w.n; i++)
		n += w.sets[i].gone ? 0 : w.sets[i].wanted;
	return n;
}

static int sum_pods(void)
{
	int n = 0;

	for (int i = 0; i < w.n; i++)
		n += w.sets[i].gone ? 0 : w.sets[i].pods;
	return n;
}

static int sum_ready(void)
{
	int n = 0;

	for (int i = 0; i < w.n; i++)
		n += w.sets[i].gone ? 0 : w.sets[i].ready;
	return n;
}

/* Pods that are to go may still be there when others come: what is asked for is
 * what is limited. */
static void check(int most, int least)
{
	ck_assert_msg(sum_wanted() <= most, "%d pods are asked for, more than %d", sum_wanted(),
		      most);
	ck_assert_msg(sum_ready() >= least, "%d pods are ready, fewer than %d", sum_ready(), least);
}

/* All is as it should be, and the Deployment says so. */
static bool is_done(void)
{
	return v_get_int(&w.status, "updatedReplicas", 0) == w.replicas &&
	       v_get_int(&w.status, "replicas", 0) == w.replicas &&
	       v_get_int(&w.status, "availableReplicas", 0) == w.replicas &&
	       sum_pods() == w.replicas && sum_ready() == w.replicas;
}

static void go_on(int turns, int most, int least)
{
	for (int i = 0; i < turns; i++) {
		if (random() % 2)
			reconcile();
		else if (w.n)
			step_set(&w.sets[random() % w.n]);
		check(most, least);
	}
}

static void finish(int most, int least)
{
	reconcile(); /* sees what is wanted, */
	reconcile(); /* and says so */
	for (int i = 0; i < 4000 && !is_done(); i++) {
		go_on(1, most, least);
		if (i > 2000) /* everybody has told by then */
			for (int k = 0; k < w.n; k++)
				tell_status(&w.sets[k]);
	}
	ck_assert_msg(is_done(),
		      "the rollout does not end: %d wanted, %d pods, %d ready, "
		      "%lld updated of %d; surge %d, unavailable %d",
		      sum_wanted(), sum_pods(), sum_ready(),
		      (long long)v_get_int(&w.status, "updatedReplicas", 0), w.replicas, w.surge,
		      w.unavailable);
}

static void begin_world(void)
{
	value obj = v_map();

	memset(&w, 0, sizeof(w));
	w.shelf = shelf_open();
	w.z = w.shelf.z;
	obj = facts_json(
		w.z,
		"{\"metadata\":{\"name\":\"web\",\"namespace\":\"d\"},\"spec\":{\"replicas\":1}}");
	w.e = shelf_put(&w.shelf, TYPE_DEPLOYMENT, &obj, (struct str){0});
	w.v = version_new();
	w.meta = v_map();
	w.status = v_map();
	w.now_s = 1700000000;
	w.history = 3;
	w.replicas = 1 + (int)(random() % 12);
	w.surge = (int)(random() % 5);
	w.unavailable = (int)(random() % 4);
	if (w.unavailable > w.replicas)
		w.unavailable = w.replicas;
	if (!w.surge && !w.unavailable)
		w.unavailable = 1;
}

static void end_world(void)
{
	for (int i = 0; i < w.n; i++)
		free(w.sets[i].e);
	shelf_close(&w.shelf);
}

/* --- Tests -------------------------------------------------------------------------- */

START_TEST(rolling_updates_keep_to_their_limits)
{
	srandom(facts_seed());
	for (int round = 0; round < 25; round++) {
		begin_world();
		finish(w.replicas + w.surge, 0);
		for (int i = 0; i < 6; i++) {
			w.template = (int)(random() % 4);
			w.v->generation++;
			/* Rolled over in the middle, or to the end. */
			go_on((int)(random() % 60), w.replicas + w.surge,
			      w.replicas - w.unavailable);
			if (random() % 2)
				finish(w.replicas + w.surge, w.replicas - w.unavailable);
		}
		finish(w.replicas + w.surge, w.replicas - w.unavailable);
		end_world();
	}
}
END_TEST

static int larger(int a, int b)
{
	return a > b ? a : b;
}

START_TEST(scaling_in_the_middle)
{
	srandom(facts_seed());
	for (int round = 0; round < 25; round++) {
		begin_world();
		finish(w.replicas + w.surge, 0);
		for (int i = 0; i < 6; i++) {
			int before = w.replicas;

			w.template = (int)(random() % 3);
			go_on((int)(random() % 40), before + w.surge, 0);
			w.replicas = (int)(random() % 20);
			w.v->generation++;
			if (w.unavailable > w.replicas || !(w.surge + w.unavailable))
				w.unavailable = w.replicas ? 1 : 0;
			finish(larger(before, w.replicas) + w.surge, 0);
		}
		end_world();
	}
}
END_TEST

/* A rollout that is stuck with several ReplicaSets: they share what is gained or
 * lost, and all of it. */
START_TEST(proportions_add_up)
{
	srandom(facts_seed());
	for (int round = 0; round < 40; round++) {
		int before;

		begin_world();
		w.replicas = 5 + (int)(random() % 30);
		finish(w.replicas + w.surge, 0);
		w.surge += 2;
		for (int i = 1; i < 4; i++) {
			w.template = i;
			go_on(20, w.replicas + w.surge, 0);
		}
		before = w.replicas;
		w.replicas = 1 + (int)(random() % 60);
		reconcile();
		if (w.replicas != before &&
		    sum_wanted() != w.replicas) /* one alone is set to the size itself */
			ck_assert_int_eq(sum_wanted(), w.replicas + w.surge);
		finish(larger(w.replicas, sum_wanted()) + w.surge, 0);
		end_world();
	}
}
END_TEST

START_TEST(recreate_has_nothing_new_before_all_old_is_gone)
{
	srandom(facts_seed());
	for (int round = 0; round < 12; round++) {
		begin_world();
		w.recreate = true;
		finish(w.replicas, 0);
		for (int i = 1; i < 5; i++) {
			w.template = i;
			w.v->generation++;
			for (int k = 0; k < 4000 && !(k > 20 && is_done()); k++) {
				int with_pods = 0;

				go_on(1, w.replicas, 0);
				for (int s = 0; s < w.n; s++)
					with_pods += !w.sets[s].gone && w.sets[s].pods > 0;
				ck_assert_int_le(with_pods, 1);
			}
			finish(w.replicas, 0);
		}
		end_world();
	}
}
END_TEST

START_TEST(revisions_and_history)
{
	int kept = 0;

	srandom(facts_seed());
	begin_world();
	for (int i = 0; i < 8; i++) {
		w.template = i;
		w.v->generation++;
		finish(w.replicas + w.surge, 0);
		ck_assert_int_eq(revision_of(&w.meta), i + 1);
		for (int k = 0; k < 20; k++)
			reconcile();
	}
	for (int i = 0; i < w.n; i++)
		kept += !w.sets[i].gone;
	ck_assert_int_eq(kept, w.history + 1);
	/* Going back makes the old ReplicaSet the newest. */
	w.template = 5;
	w.v->generation++;
	finish(w.replicas + w.surge, w.replicas - w.unavailable);
	ck_assert_int_eq(revision_of(&w.meta), 9);
	ck_assert_int_eq(w.n, 8);
	end_world();
}
END_TEST

START_TEST(paused_deployments_do_not_roll_out)
{
	int sets;

	srandom(facts_seed());
	begin_world();
	finish(w.replicas + w.surge, 0);
	sets = w.n;
	w.paused = true;
	w.template = 1;
	go_on(100, w.replicas + w.surge, w.replicas);
	ck_assert_int_eq(w.n, sets);
	w.replicas += 3;
	go_on(400, w.replicas, w.replicas - 3); /* but they scale */
	ck_assert_int_eq(sum_pods(), w.replicas);
	w.paused = false;
	finish(w.replicas + w.surge, w.replicas - w.unavailable);
	ck_assert_int_eq(w.n, sets + 1);
	end_world();
}
END_TEST

START_TEST(what_is_done_is_left_alone)
{
	srandom(facts_seed());
	begin_world();
	finish(w.replicas + w.surge, 0);
	for (int i = 0; i < 20; i++)
		reconcile();
	scalings = 0;
	for (int i = 0; i < 20; i++) {
		value before = v_copy(w.z, &w.status);

		reconcile();
		ck_assert(v_equal(&before, &w.status));
	}
	ck_assert_int_eq(scalings, 0);
	end_world();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("deployment");
	TCase *tc = tcase_create("rules");

	tcase_add_test(tc, rolling_updates_keep_to_their_limits);
	tcase_add_test(tc, scaling_in_the_middle);
	tcase_add_test(tc, proportions_add_up);
	tcase_add_test(tc, recreate_has_nothing_new_before_all_old_is_gone);
	tcase_add_test(tc, revisions_and_history);
	tcase_add_test(tc, paused_deployments_do_not_roll_out);
	tcase_add_test(tc, what_is_done_is_left_alone);
	suite_add_tcase(s, tc);
	return facts_main(s);
}

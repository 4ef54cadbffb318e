/* test_controller.c - a controller's library: from work items to reconciles,
 * its requests and their answers, objects that go, rebuilding; and Events. */
#include <stdio.h>
#include <stdlib.h>

#include "fake_cluster.h"
#include "tests/unit/suite.h"

static struct fake_cluster fc;
static struct controller *ctl;
static struct proc_handlers handlers;
static uint64_t rv;

/* --- A controller that notes what it is asked --------------------------------------- */

static int reconciles, gones, maps, replies, sends;
static int send_each; /* requests per reconcile */
static uint64_t after_ms;
static const char *event_reason;
static char seen[8192]; /* names, in order */
static struct buf kept; /* the last request read by read_events() */

static void on_answer(void *arg, const struct msg_reply *reply)
{
	replies++;
}

static void reconcile(struct controller *c, const struct entry *e, const struct version *v)
{
	struct msg m = {.kind = MSG_remove, .remove = {.type = TYPE_POD, .name = entry_name(e)}};

	reconciles++;
	gones += (v->flags & VERSION_TOMBSTONE) != 0;
	if (strlen(seen) < sizeof(seen) - 64)
		sprintf(seen + strlen(seen), STR_FMT " ", STR_ARG(entry_name(e)));
	++*(int *)ctl_object_state(c);
	for (int i = 0; i < send_each; i++)
		sends += ctl_send(c, &m, on_answer, NULL) == 0;
	if (after_ms)
		ctl_after(c, after_ms);
	if (event_reason)
		ctl_event(c, e, "Normal", event_reason, "about " STR_FMT, STR_ARG(entry_name(e)));
}

static void map(struct controller *c, const struct entry *other)
{
	maps++;
}

static struct controller_ops ops = {.kind = PROC_REPLICASET,
				    .component = "test-controller",
				    .type = TYPE_REPLICASET,
				    .reconcile = reconcile,
				    .map = map,
				    .object_state_size = sizeof(int)};

/* --- Objects ------------------------------------------------------------------------ */

static uint32_t create(uint16_t type, const char *name)
{
	struct version_in in = {.grace_s = -1};
	uint8_t uid[16] = {0};
	struct version *v;

	rv++;
	for (int i = 0; i < 16; i++)
		uid[i] = (uint8_t)random();
	ck_assert_int_eq(cw_prepare_create(fc.store.writer, type, STR("default"), str_of(name), uid,
					   1, rv, &in, &v),
			 0);
	cw_publish(fc.store.writer, v);
	cw_commit_rv(fc.store.writer, rv);
	return v->entry.u;
}

static void delete_object(uint32_t ref)
{
	struct entry *e = (struct entry *)cache_entry(cw_cache(fc.store.writer), (entry_ref){ref});
	struct version *v;

	rv++;
	ck_assert_int_eq(cw_prepare_delete(fc.store.writer, e, rv, 0, PROC_APISERVER, &v), 0);
	cw_publish(fc.store.writer, v);
	cw_commit_rv(fc.store.writer, rv);
}

static void route(uint16_t type, uint32_t ref)
{
	fake_store_work(&fc.store, FAKE_SLOT, type, &ref, 1);
}

/* One exchange: what the process asked is answered, what came is done. */
static void turn(void)
{
	fake_store_turn(&fc.store);
	proc_turn(fc.p, 0);
}

static void setup(void)
{
	reconciles = gones = maps = replies = sends = send_each = 0;
	after_ms = 0;
	event_reason = NULL;
	seen[0] = 0;
	rv = 0;
	ops.wants_gone = false;
	ops.type = TYPE_REPLICASET;
	fake_cluster_make(&fc, PROC_REPLICASET);
	ctl = controller_new(&ops, fc.p, &handlers);
	fc.p->handlers = &handlers;
}

static void teardown(void)
{
	fc.p->store_up = false;
	proc_lose_all(fc.p);
	buf_free(&kept);
	controller_free(ctl);
	fake_cluster_unmake(&fc);
}

/* --- Tests -------------------------------------------------------------------------- */

START_TEST(a_start_looks_at_everything)
{
	create(TYPE_REPLICASET, "a");
	create(TYPE_REPLICASET, "b");
	create(TYPE_POD, "p");
	fc.p->resync = true;
	turn();
	ck_assert_str_eq(seen, "a b ");
	ck_assert_uint_eq(ctl_resyncs(ctl), 1);
	turn();
	ck_assert_int_eq(reconciles, 2);
}
END_TEST

START_TEST(many_objects_are_all_found)
{
	char name[16];

	for (int i = 0; i < 10000; i++) {
		snprintf(name, sizeof(name), "r%05d", i);
		create(TYPE_REPLICASET, name);
	}
	fc.p->resync = true;
	for (int i = 0; i < 1000 && reconciles < 10000; i++)
		turn();
	ck_assert_int_eq(reconciles, 10000);
}
END_TEST

/* Wherever the walk over all objects pauses. */
START_TEST(what_was_deleted_and_made_again_is_found)
{
	struct version *v;
	char name[16];

	for (int i = 0; i < 4095; i++) {
		snprintf(name, sizeof(name), "r%05d", i);
		create(TYPE_REPLICASET, name);
	}
	for (int i = 0; i < 3; i++) {
		struct entry *e;

		create(TYPE_REPLICASET, "s");
		if (i == 2)
			break;
		e = cw_find(fc.store.writer, TYPE_REPLICASET, STR("default"), STR("s"));
		ck_assert_int_eq(cw_prepare_delete(fc.store.writer, e, ++rv, 0, 0, &v), 0);
		cw_publish(fc.store.writer, v);
		cw_commit_rv(fc.store.writer, rv);
	}
	fc.p->resync = true;
	for (int i = 0; i < 1000 && reconciles < 4096; i++)
		turn();
	ck_assert_int_eq(reconciles, 4096);
}
END_TEST

START_TEST(routed_work_is_reconciled_once)
{
	uint32_t a = create(TYPE_REPLICASET, "a");

	for (int i = 0; i < 5; i++)
		route(TYPE_REPLICASET, a);
	turn();
	ck_assert_str_eq(seen, "a ");
	route(TYPE_POD, create(TYPE_POD, "p"));
	turn();
	ck_assert_int_eq(reconciles, 1);
	ck_assert_int_eq(maps, 1);
}
END_TEST

START_TEST(nothing_happens_to_an_object_while_it_is_in_flight)
{
	uint32_t a = create(TYPE_REPLICASET, "a");

	send_each = 3;
	fc.store.deaf = true;
	route(TYPE_REPLICASET, a);
	turn();
	ck_assert_int_eq(sends, 3);
	send_each = 0;
	route(TYPE_REPLICASET, a);
	turn();
	turn();
	ck_assert_int_eq(reconciles, 1);
	fc.store.deaf = false;
	turn();
	ck_assert_int_eq(replies, 3);
	ck_assert_int_eq(reconciles, 2);
}
END_TEST

START_TEST(errors_bring_it_back_later)
{
	int64_t until = proc_mono_ns() + 2000000000;

	send_each = 1;
	fc.store.status = WEFT_EFULL;
	route(TYPE_REPLICASET, create(TYPE_REPLICASET, "a"));
	turn();
	turn();
	fc.store.status = 0;
	turn();
	ck_assert_int_eq(reconciles, 1);
	while (reconciles < 2 && proc_mono_ns() < until)
		turn();
	ck_assert_int_eq(reconciles, 2);
}
END_TEST

START_TEST(conflicts_bring_it_back_at_once)
{
	send_each = 1;
	fc.store.status = WEFT_ECONFLICT;
	route(TYPE_REPLICASET, create(TYPE_REPLICASET, "a"));
	turn();
	turn();
	ck_assert_int_ge(reconciles, 2);
}
END_TEST

START_TEST(timers_bring_it_back)
{
	int64_t until = proc_mono_ns() + 2000000000, start = proc_mono_ns();

	after_ms = 30;
	route(TYPE_REPLICASET, create(TYPE_REPLICASET, "a"));
	turn();
	after_ms = 0;
	while (reconciles < 2 && proc_mono_ns() < until)
		proc_turn(fc.p, 100000000);
	ck_assert_int_eq(reconciles, 2);
	ck_assert_int_ge(proc_mono_ns() - start, 29000000);
}
END_TEST

START_TEST(what_is_gone_is_told_if_wanted_and_forgotten)
{
	uint32_t a = create(TYPE_REPLICASET, "a"), b;

	route(TYPE_REPLICASET, a);
	turn();
	delete_object(a);
	route(TYPE_REPLICASET, a);
	turn();
	ck_assert_int_eq(reconciles, 1);
	ops.wants_gone = true;
	b = create(TYPE_REPLICASET, "b");
	delete_object(b);
	route(TYPE_REPLICASET, b);
	turn();
	ck_assert_int_eq(gones, 1);
	ck_assert_uint_eq(atomic_load(&proc_counters(fc.p)->queue), 0);
}
END_TEST

/* Nothing else leads back to what was to be done for it. */
START_TEST(what_failed_for_one_that_is_gone_means_looking_again)
{
	uint64_t resyncs = ctl_resyncs(ctl);
	uint32_t a;

	ops.wants_gone = true;
	send_each = 1;
	for (int failing = 0; failing < 2; failing++) {
		a = create(TYPE_REPLICASET, "a");
		delete_object(a);
		fc.store.status = failing ? WEFT_EIO : WEFT_OK;
		route(TYPE_REPLICASET, a);
		turn();
		turn();
		turn();
		ck_assert_uint_eq(ctl_resyncs(ctl), resyncs + (unsigned)failing);
	}
}
END_TEST

static bool when_gone(struct controller *of, const struct entry *e)
{
	return !cache_live(ctl_cache(of), e);
}

START_TEST(what_concerns_every_shard_is_looked_at_by_all)
{
	uint32_t a = create(TYPE_REPLICASET, "a"), b = create(TYPE_REPLICASET, "b");

	ops.wants_gone = true;
	ops.shared = when_gone;
	fc.p->shard = 7; /* nothing is ours */
	route(TYPE_REPLICASET, a);
	turn();
	ck_assert_int_eq(reconciles, 0);
	delete_object(b);
	route(TYPE_REPLICASET, b);
	turn();
	ck_assert_int_eq(gones, 1);
	ck_assert_int_eq(reconciles, 1);
}
END_TEST

START_TEST(none_is_ours_when_there_are_no_shards)
{
	atomic_store(&fc.control->maps[PROC_REPLICASET].now, SHARD_WORD(2, 0));
	atomic_store(&fc.control->maps[PROC_REPLICASET].next, SHARD_WORD(2, 0));
	atomic_fetch_add(&fc.control->changes, 1);
	route(TYPE_REPLICASET, create(TYPE_REPLICASET, "a"));
	turn();
	ck_assert_int_eq(reconciles, 0);
}
END_TEST

START_TEST(a_reference_that_names_something_else_means_looking_again)
{
	uint64_t resyncs = ctl_resyncs(ctl);

	route(TYPE_REPLICASET, create(TYPE_POD, "p"));
	route(TYPE_REPLICASET, 0xfffffff0);
	turn();
	turn();
	ck_assert_int_eq(reconciles, 0);
	ck_assert_uint_eq(ctl_resyncs(ctl), resyncs + 1);
}
END_TEST

START_TEST(other_shards_objects_are_left_alone)
{
	char name[16];

	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "r%d", i);
		create(TYPE_REPLICASET, name);
	}
	atomic_store(&fc.control->maps[PROC_REPLICASET].next, SHARD_WORD(2, 2));
	atomic_store(&fc.control->maps[PROC_REPLICASET].now, SHARD_WORD(2, 2));
	atomic_fetch_add(&fc.control->changes, 1);
	turn();
	turn();
	ck_assert_int_gt(reconciles, 20);
	ck_assert_int_lt(reconciles, 80);
}
END_TEST

START_TEST(a_full_ring_stops_reconciling_until_there_is_room)
{
	char name[16];
	int before;

	send_each = 1000;
	fc.store.deaf = true;
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "r%d", i);
		create(TYPE_REPLICASET, name);
	}
	fc.p->resync = true;
	for (int i = 0; i < 100; i++)
		proc_turn(fc.p, 0);
	before = reconciles;
	ck_assert_int_lt(before, 300);
	proc_turn(fc.p, 0);
	ck_assert_int_le(reconciles, before + 1);
	fc.store.deaf = false;
	send_each = 1;
	for (int i = 0; i < 1000 && proc_in_flight(fc.p); i++)
		turn();
	ck_assert_uint_eq(proc_in_flight(fc.p), 0);
	ck_assert_int_ge(reconciles, 300);
}
END_TEST

static bool catching_up(void)
{
	return atomic_load(&proc_counters(fc.p)->catching_up) != 0;
}

/* Those of a new map are, those of any other look at everything are work like any. */
START_TEST(what_a_new_map_queues_is_told_apart)
{
	char name[16];

	send_each = 1000;
	fc.store.deaf = true;
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "r%d", i);
		create(TYPE_REPLICASET, name);
	}
	fc.p->resync = true; /* at its start */
	turn();
	ck_assert(catching_up());
	fc.store.deaf = false;
	send_each = 0;
	for (int i = 0; i < 1000 && catching_up(); i++)
		turn();
	ck_assert(!catching_up());
	ck_assert_int_ge(reconciles, 300);
	send_each = 1000;
	fc.store.deaf = true;
	fc.p->resync = true;
	turn();
	ck_assert_uint_gt(atomic_load(&proc_counters(fc.p)->queue), 0);
	ck_assert(!catching_up());
	atomic_store(&fc.control->maps[PROC_REPLICASET].now, SHARD_WORD(2, 1));
	atomic_fetch_add(&fc.control->changes, 1);
	turn();
	ck_assert(catching_up());
}
END_TEST

START_TEST(a_new_generation_is_looked_at_anew)
{
	route(TYPE_REPLICASET, create(TYPE_REPLICASET, "a"));
	turn();
	fake_store_unmake(&fc.store);
	fake_cluster_generation(&fc);
	rv = 0;
	create(TYPE_REPLICASET, "b");
	turn();
	turn();
	ck_assert_str_eq(seen, "a b ");
}
END_TEST

/* --- Events ------------------------------------------------------------------------- */

static struct msg_create last_create;
static struct msg_update last_update;
static int creates, updates;

/* Read the process's requests as the store would, and keep the last ones. */
static void read_events(void)
{
	struct fake_port *port = &fc.store.port[FAKE_SLOT];
	struct msg_scratch scratch = {0};
	struct str record;
	struct msg m;

	proc_flush(fc.p);
	while (ring_peek(&port->in, &record) == 1) {
		kept.n = 0;
		buf_addstr(&kept, record);
		ck_assert_int_eq(msg_decode(buf_str(&kept), &m, &scratch, NULL), 0);
		if (m.kind == MSG_create) {
			creates++;
			last_create = m.create;
		} else if (m.kind == MSG_update) {
			updates++;
			last_update = m.update;
		}
		ring_next(&port->in);
	}
	ring_release(&port->in);
	buf_free(&scratch.mem);
}

static void say(const struct entry *e, const char *reason, const char *message)
{
	struct event_source source = {.component = "kubelet",
				      .host = STR("node-0"),
				      .field_path = STR("spec.containers{nginx}")};

	cache_lock(fc.p->cache);
	proc_event(fc.p, e, &source, "Warning", reason, str_of(message));
	cache_unlock(fc.p->cache);
}

static const struct entry *pod(const char *name)
{
	return cache_entry(fc.p->cache, (entry_ref){create(TYPE_POD, name)});
}

START_TEST(an_event_is_what_kubernetes_records)
{
	zone *z = zone_new();
	value event;
	const value *about;

	creates = updates = 0;
	say(pod("web"), "BackOff", "Back-off pulling image");
	read_events();
	ck_assert_int_eq(creates, 1);
	ck_assert_uint_eq(last_create.type, TYPE_EVENT);
	ck_assert(str_eq(last_create.ns, STR("default")));
	ck_assert_uint_eq(last_create.name.n, strlen("web.") + 16);
	ck_assert(memcmp(last_create.name.p, "web.", 4) == 0);
	ck_assert_int_eq(v_decode(z, last_create.rest, &event), 0);
	about = v_get(&event, "involvedObject");
	ck_assert(str_eq(v_get_str(about, "kind"), STR("Pod")));
	ck_assert(str_eq(v_get_str(about, "apiVersion"), STR("v1")));
	ck_assert(str_eq(v_get_str(about, "fieldPath"), STR("spec.containers{nginx}")));
	ck_assert(str_eq(v_get_str(about, "namespace"), STR("default")));
	ck_assert(str_eq(v_get_str(about, "resourceVersion"), STR("1")));
	ck_assert(str_eq(v_get_str(&event, "type"), STR("Warning")));
	ck_assert(str_eq(v_as_str(v_path(&event, "source.host")), STR("node-0")));
	ck_assert(str_eq(v_get_str(&event, "reportingComponent"), STR("kubelet")));
	ck_assert_int_eq(v_get_int(&event, "count", 0), 1);
	ck_assert(v_is_null(v_get(&event, "eventTime")));
	zone_free(z);
}
END_TEST

START_TEST(the_same_event_is_counted_up)
{
	const struct entry *e = pod("web");
	zone *z = zone_new();
	struct str name;
	value event;

	creates = updates = 0;
	say(e, "BackOff", "again");
	read_events();
	name = zone_str(z, last_create.name);
	say(e, "BackOff", "again");
	say(e, "BackOff", "again");
	read_events();
	ck_assert_int_eq(creates, 1);
	ck_assert_int_eq(updates, 2);
	ck_assert(str_eq(last_update.name, name));
	ck_assert_uint_eq(last_update.mask, 1u << PART_REST);
	ck_assert_int_eq(v_decode(z, last_update.rest, &event), 0);
	ck_assert_int_eq(v_get_int(&event, "count", 0), 3);
	say(e, "Killing", "again");
	read_events();
	ck_assert_int_eq(creates, 2);
	zone_free(z);
}
END_TEST

START_TEST(many_alike_are_combined)
{
	const struct entry *e = pod("web");
	zone *z = zone_new();
	char message[32];
	value event;

	creates = updates = 0;
	for (int i = 0; i < 15; i++) {
		snprintf(message, sizeof(message), "message %d", i);
		say(e, "Odd", message);
	}
	read_events();
	ck_assert_int_eq(creates, 10); /* nine, and the combined one */
	ck_assert_int_eq(updates, 5);
	ck_assert_int_eq(v_decode(z, last_update.rest, &event), 0);
	ck_assert(str_eq(v_get_str(&event, "message"),
			 STR("(combined from similar events): message 14")));
	zone_free(z);
}
END_TEST

START_TEST(one_object_does_not_talk_for_ever)
{
	const struct entry *e = pod("web");

	creates = updates = 0;
	for (int i = 0; i < 100; i++)
		say(e, "BackOff", "again");
	read_events();
	ck_assert_int_eq(creates + updates, 25);
	say(pod("other"), "BackOff", "again");
	read_events();
	ck_assert_int_eq(creates + updates, 26);
}
END_TEST

START_TEST(a_process_does_not_flood_the_store)
{
	const struct entry *e[1000];
	char name[16];

	creates = updates = 0;
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "p%d", i);
		e[i] = pod(name);
	}
	for (int round = 0; round < 10; round++) {
		for (int i = 0; i < 1000; i++)
			say(e[i], "BackOff", "again");
		read_events();
	}
	ck_assert_int_ge(creates + updates, 4000);
	ck_assert_int_le(creates + updates, 7000);
}
END_TEST

/* It has more than enough to do, and so has the store: the burst was its predecessor's. */
START_TEST(who_follows_a_dead_process_says_little_at_first)
{
	char name[16];

	creates = updates = 0;
	fc.p->incarnation = 2;
	for (int i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "p%d", i);
		say(pod(name), "BackOff", "again");
	}
	read_events();
	ck_assert_int_ge(creates, 10);
	ck_assert_int_lt(creates, 500);
}
END_TEST

START_TEST(an_event_that_expired_is_made_again)
{
	const struct entry *e = pod("web");

	creates = updates = 0;
	say(e, "BackOff", "again");
	say(e, "BackOff", "again");
	proc_flush(fc.p);
	fc.store.status = WEFT_ENOENT;
	turn();
	read_events();
	ck_assert_int_eq(creates, 1);
}
END_TEST

START_TEST(a_controllers_event_names_its_component)
{
	zone *z = zone_new();
	value event;

	creates = 0;
	event_reason = "Scaled";
	create(TYPE_REPLICASET, "a");
	fc.p->resync = true;
	proc_turn(fc.p, 0);
	read_events();
	ck_assert_int_eq(creates, 1);
	ck_assert_int_eq(v_decode(z, last_create.rest, &event), 0);
	ck_assert(str_eq(v_as_str(v_path(&event, "source.component")), STR("test-controller")));
	ck_assert(str_eq(v_get_str(&event, "message"), STR("about a")));
	zone_free(z);
}
END_TEST

/* The ring was full in the middle of it: it is looked at again when there is room. */
START_TEST(what_could_not_send_all_is_reconciled_again)
{
	send_each = 100000;
	fc.store.deaf = true;
	route(TYPE_REPLICASET, create(TYPE_REPLICASET, "a"));
	turn();
	ck_assert_int_eq(reconciles, 1);
	ck_assert_int_lt(sends, send_each);
	send_each = 0;
	fc.store.deaf = false;
	for (int i = 0; i < 1000 && reconciles < 2; i++)
		turn();
	ck_assert_int_eq(reconciles, 2);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("controller");
	TCase *tc = tcase_create("controller");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_start_looks_at_everything);
	tcase_add_test(tc, many_objects_are_all_found);
	tcase_add_test(tc, what_was_deleted_and_made_again_is_found);
	tcase_add_test(tc, routed_work_is_reconciled_once);
	tcase_add_test(tc, nothing_happens_to_an_object_while_it_is_in_flight);
	tcase_add_test(tc, errors_bring_it_back_later);
	tcase_add_test(tc, conflicts_bring_it_back_at_once);
	tcase_add_test(tc, timers_bring_it_back);
	tcase_add_test(tc, what_is_gone_is_told_if_wanted_and_forgotten);
	tcase_add_test(tc, what_failed_for_one_that_is_gone_means_looking_again);
	tcase_add_test(tc, what_concerns_every_shard_is_looked_at_by_all);
	tcase_add_test(tc, none_is_ours_when_there_are_no_shards);
	tcase_add_test(tc, a_reference_that_names_something_else_means_looking_again);
	tcase_add_test(tc, other_shards_objects_are_left_alone);
	tcase_add_test(tc, a_full_ring_stops_reconciling_until_there_is_room);
	tcase_add_test(tc, what_a_new_map_queues_is_told_apart);
	tcase_add_test(tc, a_new_generation_is_looked_at_anew);
	tcase_add_test(tc, an_event_is_what_kubernetes_records);
	tcase_add_test(tc, the_same_event_is_counted_up);
	tcase_add_test(tc, many_alike_are_combined);
	tcase_add_test(tc, one_object_does_not_talk_for_ever);
	tcase_add_test(tc, a_process_does_not_flood_the_store);
	tcase_add_test(tc, who_follows_a_dead_process_says_little_at_first);
	tcase_add_test(tc, an_event_that_expired_is_made_again);
	tcase_add_test(tc, a_controllers_event_names_its_component);
	tcase_add_test(tc, what_could_not_send_all_is_reconciled_again);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}

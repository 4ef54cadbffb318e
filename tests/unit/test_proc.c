/* test_proc.c - a process's library against a store played by the test:
 * sending, answers, losing the store, work, rubbish, shard maps. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "fake_cluster.h"
#include "procs/lib/lib.h"
#include "tests/unit/suite.h"
#include "weft/kube.h"

static struct fake_cluster fc;

#define SLOT	FAKE_SLOT
#define store	(fc.store)
#define cluster (fc.cluster)

static struct control *control;
static struct proc *p;

/* --- What the process saw ----------------------------------------------------------- */

static int answers, lost, resyncs, works, turns;
static uint32_t last_entries;
static uint64_t last_seq;

static void on_reply(void *arg, const struct msg_reply *reply)
{
	answers++;
	lost += reply->status == WEFT_ELOST;
	last_seq = reply->seq;
	if (arg)
		*(int *)arg = reply->status;
}

static void on_work(void *arg, uint16_t type, struct u32s entries)
{
	works++;
	last_entries = entries.n;
}

static void on_resync(void *arg)
{
	resyncs++;
}

static int64_t on_turn(void *arg, int64_t now)
{
	turns++;
	return 0;
}

static const struct proc_handlers handlers = {
	.on_work = on_work, .on_resync = on_resync, .on_turn = on_turn};

static void setup(void)
{
	fake_cluster_make(&fc, PROC_REPLICASET);
	control = fc.control;
	p = fc.p;
	p->handlers = &handlers;
	answers = lost = resyncs = works = turns = 0;
}

static void teardown(void)
{
	fake_cluster_unmake(&fc);
}

static int send_one(void *arg)
{
	struct msg m = {.kind = MSG_remove,
			.remove = {.type = TYPE_POD, .ns = STR("default"), .name = STR("a")}};

	return proc_send(p, &m, on_reply, arg);
}

/* --- Tests -------------------------------------------------------------------------- */

START_TEST(requests_are_answered_in_order)
{
	int status = 1;

	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(send_one(&status), 0);
	ck_assert_uint_eq(proc_in_flight(p), 1000);
	proc_flush(p);
	fake_store_turn(&store);
	proc_turn(p, 0);
	ck_assert_int_eq(answers, 1000);
	ck_assert_uint_eq(last_seq, 1000);
	ck_assert_int_eq(status, 0);
	ck_assert_uint_eq(proc_in_flight(p), 0);
	ck_assert_uint_eq(atomic_load(&proc_counters(p)->replies), 1000);
}
END_TEST

START_TEST(nothing_is_seen_before_it_is_flushed)
{
	send_one(NULL);
	fake_store_turn(&store);
	ck_assert_uint_eq(store.requests, 0);
	proc_turn(p, 0);
	fake_store_turn(&store);
	ck_assert_uint_eq(store.requests, 1);
}
END_TEST

START_TEST(a_full_ring_says_try_again)
{
	int sent = 0, rc;

	store.deaf = true;
	while ((rc = send_one(NULL)) == 0)
		sent++;
	ck_assert_int_eq(rc, WEFT_EAGAIN);
	ck_assert(!proc_can_send(p, 1024));
	ck_assert_int_gt(sent, 1000);
	store.deaf = false;
	for (int i = 0; i < 100 && answers < sent; i++) {
		fake_store_turn(&store);
		proc_turn(p, 0);
	}
	ck_assert_int_eq(answers, sent);
	ck_assert(proc_can_send(p, 1024));
	ck_assert_int_eq(send_one(NULL), 0);
}
END_TEST

START_TEST(what_cannot_fit_is_too_big)
{
	size_t n = proc_kind_info(PROC_REPLICASET)->ring_out;
	char *big = calloc(1, n);
	struct msg m = {.kind = MSG_create,
			.create = {.type = TYPE_POD, .name = STR("a"), .spec = {big, (uint32_t)n}}};

	ck_assert_int_eq(proc_send(p, &m, on_reply, NULL), WEFT_ETOOBIG);
	ck_assert_uint_eq(proc_in_flight(p), 0);
	ck_assert_int_eq(send_one(NULL), 0);
	proc_turn(p, 0);
	fake_store_turn(&store);
	proc_turn(p, 0);
	ck_assert_int_eq(answers, 1);
	free(big);
}
END_TEST

START_TEST(the_stores_death_ends_requests_as_lost)
{
	int status = 0;

	send_one(&status);
	proc_turn(p, 0);
	atomic_store(&control->store_up, 0);
	atomic_fetch_add(&control->changes, 1);
	proc_turn(p, 0);
	ck_assert_int_eq(lost, 1);
	ck_assert_int_eq(status, WEFT_ELOST);
	ck_assert_int_eq(send_one(NULL), WEFT_EAGAIN);
	ck_assert(!proc_can_send(p, 1));
	ck_assert_uint_eq(proc_in_flight(p), 0);
}
END_TEST

START_TEST(answers_given_before_the_death_are_true)
{
	int status = 1;

	send_one(&status);
	proc_flush(p);
	fake_store_turn(&store);
	atomic_store(&control->store_up, 0);
	atomic_fetch_add(&control->changes, 1);
	proc_turn(p, 0);
	ck_assert_int_eq(status, WEFT_OK);
	ck_assert_int_eq(lost, 0);
}
END_TEST

START_TEST(a_new_generation_is_attached_and_rebuilt_from)
{
	int status = 0;

	send_one(&status);
	proc_flush(p); /* it stays in the ring, for the new store to drop */
	fake_store_unmake(&store);
	fake_cluster_generation(&fc);
	proc_turn(p, 0);
	ck_assert_int_eq(status, WEFT_ELOST);
	ck_assert_uint_eq(proc_generation(p), 2);
	ck_assert_uint_eq(cache_generation(proc_cache(p)), 2);
	ck_assert_int_eq(resyncs, 1);
	fake_store_turn(&store);
	ck_assert_uint_eq(store.dropped, 1);
	ck_assert_int_eq(send_one(&status), 0);
	proc_turn(p, 0);
	fake_store_turn(&store);
	proc_turn(p, 0);
	ck_assert_int_eq(status, WEFT_OK);
}
END_TEST

START_TEST(work_of_this_generation_is_handed_on)
{
	uint32_t entries[3] = {5, 6, 7};

	fake_store_work(&store, SLOT, TYPE_POD, entries, 3);
	proc_turn(p, 0);
	ck_assert_int_eq(works, 1);
	ck_assert_uint_eq(last_entries, 3);
	store.generation = 99;
	fake_store_work(&store, SLOT, TYPE_POD, entries, 3);
	store.generation = 1;
	proc_turn(p, 0);
	ck_assert_int_eq(works, 1);
}
END_TEST

START_TEST(an_overflowing_inbox_is_rebuilt_from_the_cache)
{
	proc_turn(p, 0);
	ring_mark_overflow(&store.port[SLOT].out);
	resyncs = 0;
	proc_turn(p, 0);
	proc_turn(p, 0);
	ck_assert_int_eq(resyncs, 1);
}
END_TEST

/* What it read before would be too early. */
START_TEST(the_cache_is_looked_at_once_the_store_routes_to_us)
{
	struct inbox_segment *inbox = (struct inbox_segment *)store.port[SLOT].inbox.base;

	inbox->opened = 0; /* as it is while the store has not seen us */
	fake_port_detach(&store.port[SLOT]);
	proc_turn(p, 0);
	proc_turn(p, 0);
	ck_assert_int_eq(resyncs, 0);
	fake_store_turn(&store);
	proc_turn(p, 0);
	proc_turn(p, 0);
	ck_assert_int_eq(resyncs, 1);
}
END_TEST

START_TEST(rubbish_is_counted_and_dropped)
{
	struct msg request = {.kind = MSG_remove, .remove = {.name = STR("a")}};

	ring_put(&store.port[SLOT].out, STR("\xc1 rubbish"));
	fake_send(&store.port[SLOT], &request); /* the store sends no requests */
	proc_turn(p, 0);
	proc_turn(p, 0);
	ck_assert_uint_ge(atomic_load(&p->own->inbox.malformed), 2);
	send_one(NULL);
	proc_turn(p, 0);
	fake_store_turn(&store);
	proc_turn(p, 0);
	ck_assert_int_eq(answers, 1);
}
END_TEST

START_TEST(requests_carry_the_epoch_they_were_made_under)
{
	int status = 1;

	atomic_store(&control->maps[PROC_REPLICASET].next, SHARD_WORD(2, 2));
	send_one(&status);
	proc_turn(p, 0);
	fake_store_turn(&store);
	proc_turn(p, 0);
	ck_assert_int_eq(status, WEFT_EFENCED);
	ck_assert_uint_eq(atomic_load(&store.own->epochs[PROC_REPLICASET]), 2);
	ck_assert_uint_eq(proc_shards(p), 1);
	resyncs = 0;
	atomic_store(&control->maps[PROC_REPLICASET].now, SHARD_WORD(2, 2));
	atomic_fetch_add(&control->changes, 1);
	proc_turn(p, 0);
	ck_assert_uint_eq(proc_shards(p), 2);
	ck_assert_uint_eq(proc_epoch(p), 2);
	ck_assert_int_eq(resyncs, 1);
	send_one(&status);
	proc_turn(p, 0);
	fake_store_turn(&store);
	proc_turn(p, 0);
	ck_assert_int_eq(status, WEFT_OK);
}
END_TEST

START_TEST(shards_divide_what_there_is)
{
	uint32_t count[3] = {0}, names[3] = {0};

	for (uint32_t i = 0; i < 30000; i++) {
		uint8_t uid[16] = {0};
		char name[16];

		memcpy(uid, &i, sizeof(i));
		snprintf(name, sizeof(name), "node-%u", i);
		count[shard_of_uid(uid, 3)]++;
		names[shard_of_name(str_of(name), 3)]++;
	}
	for (int i = 0; i < 3; i++) {
		ck_assert_uint_gt(count[i], 9500);
		ck_assert_uint_gt(names[i], 9500);
	}
}
END_TEST

static int fd_called;
static void on_fd(void *arg, uint32_t events)
{
	char byte;

	fd_called++;
	ck_assert_int_eq(read(*(int *)arg, &byte, 1), 1);
}

START_TEST(descriptors_are_watched)
{
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(proc_watch_fd(p, ends[0], EPOLLIN, on_fd, &ends[0]), 0);
	ck_assert_int_eq(write(ends[1], "ab", 2), 2);
	proc_turn(p, 1000000000);
	ck_assert_int_eq(fd_called, 1);
	proc_unwatch_fd(p, ends[0]);
	proc_turn(p, 0);
	ck_assert_int_eq(fd_called, 1);
	close(ends[0]);
	close(ends[1]);
}
END_TEST

static void *send_later(void *arg)
{
	usleep(20000);
	fake_store_work(&store, SLOT, TYPE_POD, (uint32_t[]){1}, 1);
	return NULL;
}

START_TEST(a_sleeper_is_woken_by_what_arrives)
{
	int64_t start = proc_mono_ns();
	pthread_t thread;

	/* Nobody rings: the turn ends after its time. */
	proc_turn(p, 20000000);
	ck_assert_int_ge(proc_mono_ns() - start, 19000000);
	pthread_create(&thread, NULL, send_later, NULL);
	start = proc_mono_ns();
	proc_turn(p, 3000000000);
	ck_assert_int_lt(proc_mono_ns() - start, 1000000000);
	pthread_join(thread, NULL);
	proc_turn(p, 0);
	ck_assert_int_eq(works, 1);
}
END_TEST

static void *publish_later(void *arg)
{
	usleep(20000);
	ring_ring_follower(&store.port[SLOT].out);
	return NULL;
}

START_TEST(a_follower_is_woken_by_what_is_published)
{
	uint64_t rv = cache_rv(proc_cache(p));
	int64_t start = proc_mono_ns();
	pthread_t thread;

	proc_follow(p, rv + 1); /* there is something else: no sleep */
	proc_turn(p, 3000000000);
	ck_assert_int_lt(proc_mono_ns() - start, 1000000000);
	proc_follow(p, rv);
	start = proc_mono_ns();
	proc_turn(p, 20000000);
	ck_assert_int_ge(proc_mono_ns() - start, 19000000);
	pthread_create(&thread, NULL, publish_later, NULL);
	start = proc_mono_ns();
	proc_turn(p, 3000000000);
	ck_assert_int_lt(proc_mono_ns() - start, 1000000000);
	pthread_join(thread, NULL);
	proc_unfollow(p);
	pthread_create(&thread, NULL, publish_later, NULL);
	start = proc_mono_ns();
	proc_turn(p, 100000000);
	ck_assert_int_ge(proc_mono_ns() - start, 99000000);
	pthread_join(thread, NULL);
}
END_TEST

START_TEST(heartbeat_and_configuration)
{
	int64_t beat;

	p->beat_ns = 0;
	proc_turn(p, 0);
	beat = atomic_load(&p->own->heartbeat_ns);
	ck_assert_int_gt(beat, 0);
	ck_assert_int_le(beat, proc_mono_ns());
	ck_assert_int_eq(v_as_int(v_path(proc_config(p), "nodes.count"), 0), 3);
}
END_TEST

START_TEST(a_foreign_slot_is_refused)
{
	struct proc *other;
	struct err e = {0};

	ck_assert_int_eq(proc_attach(&other, PROC_GC, cluster, SLOT, 1, &e), WEFT_EINVAL);
	ck_assert_str_eq(e.msg, "slot 1 is not a gc's");
	ck_assert_int_eq(proc_attach(&other, PROC_GC, cluster, 7, 0, &e), WEFT_EINVAL);
	ck_assert_int_ne(proc_attach(&other, PROC_GC, cluster + 1, SLOT, 1, &e), 0);
}
END_TEST

START_TEST(every_kind_has_a_name)
{
	for (int k = 0; k < PROC_KIND_COUNT; k++)
		ck_assert_int_eq(proc_kind_by_name(str_of(proc_kind_info((enum proc_kind)k)->name)),
				 k);
	ck_assert_int_eq(proc_kind_by_name(STR("etcd")), -1);
}
END_TEST

START_TEST(every_route_leads_somewhere)
{
	for (uint32_t i = 0; i < proc_route_count; i++) {
		const struct route *r = &proc_routes[i];
		bool owner = r->how == ROUTE_CONTROLLER || r->how == ROUTE_RELABELLED;

		ck_assert_uint_lt(r->kind, PROC_KIND_COUNT);
		ck_assert(proc_kind_info((enum proc_kind)r->kind)->sharded || r->how == ROUTE_ALL ||
			  r->how == ROUTE_FOLLOW);
		ck_assert_int_eq(owner, r->owner != 0);
		ck_assert(!r->type || kube_by_type(r->type));
	}
}
END_TEST

/* Those of requests that were lost with an earlier store may come late. */
START_TEST(answers_of_long_ago_are_nobodys)
{
	struct flights f;
	struct flight out;
	uint64_t first, seq;

	flights_init(&f);
	first = flights_add(&f, on_reply, NULL);
	ck_assert(flights_take(&f, first, &out));
	for (seq = first; seq < first + f.cap;)
		seq = flights_add(&f, on_reply, NULL);
	ck_assert_uint_eq(seq, first + f.cap);
	ck_assert(!flights_take(&f, first, &out));
	ck_assert(!flights_take(&f, seq + 1, &out));
	ck_assert(flights_take(&f, seq, &out));
	flights_free(&f);
}
END_TEST

/* What was in it is lost: it may have been work. */
START_TEST(a_damaged_inbox_is_rebuilt_from_the_cache)
{
	proc_turn(p, 0);
	resyncs = 0;
	atomic_fetch_add(&store.port[SLOT].out.out->head, 3);
	proc_turn(p, 0);
	proc_turn(p, 0);
	ck_assert_int_ge(resyncs, 1);
}
END_TEST

#define MANY 9000u /* of one type: more than one read section's */
#define FEW  3u	   /* of another */

static void publish(uint16_t type, uint32_t number)
{
	struct version_in in = {.grace_s = -1};
	uint64_t rv = cache_rv(cw_cache(store.writer)) + 1;
	uint8_t uid[16] = {(uint8_t)type};
	struct version *v;
	char name[16];

	memcpy(uid + 4, &number, sizeof(number));
	snprintf(name, sizeof(name), "n%u", number);
	ck_assert_int_eq(
		cw_prepare_create(store.writer, type, STR("ns"), str_of(name), uid, 1, rv, &in, &v),
		0);
	cw_publish(store.writer, v);
	cw_commit_rv(store.writer, rv);
}

struct seen {
	uint16_t type;
	uint32_t n;
	bool at[MANY];
};

static void see(void *arg, const struct entry *e)
{
	struct seen *seen = arg;
	uint32_t number;

	memcpy(&number, e->uid + 4, sizeof(number));
	ck_assert_uint_eq(e->type, seen->type);
	ck_assert_uint_lt(number, MANY);
	ck_assert(!seen->at[number]);
	seen->at[number] = true;
	seen->n++;
}

/* By where they lie, and by key. */
START_TEST(each_of_most_and_each_of_few_is_seen_once)
{
	static struct seen pods = {.type = TYPE_POD}, nodes = {.type = TYPE_NODE};

	for (uint32_t i = 0; i < MANY; i++)
		publish(TYPE_POD, i);
	for (uint32_t i = 0; i < FEW; i++)
		publish(TYPE_NODE, i);
	proc_each(p, TYPE_POD, see, &pods);
	proc_each(p, TYPE_NODE, see, &nodes);
	ck_assert_uint_eq(pods.n, MANY);
	ck_assert_uint_eq(nodes.n, FEW);
}
END_TEST

#define LESS 5000u /* of another: fewer than half of all, and more than one read section's */

/* Two walks side by side, one by place and one by key, while more comes that may be seen or not. */
START_TEST(a_walk_goes_on_where_it_was)
{
	static struct seen pods = {.type = TYPE_POD}, nodes = {.type = TYPE_NODE};
	struct proc_walk by_place = {0}, by_key = {0};
	bool more_pods = true, more_nodes = true;
	uint32_t pieces = 0;

	for (uint32_t i = 0; i < MANY - 100; i++)
		publish(TYPE_POD, i);
	for (uint32_t i = 0; i < LESS; i++)
		publish(TYPE_NODE, i);
	for (; more_pods || more_nodes; pieces++) {
		if (more_pods)
			more_pods = proc_walk_next(p, TYPE_POD, &by_place, see, &pods);
		if (more_nodes)
			more_nodes = proc_walk_next(p, TYPE_NODE, &by_key, see, &nodes);
		if (pieces == 0)
			ck_assert(pods.n < MANY - 100 && nodes.n < LESS);
		if (pieces < 2)
			publish(TYPE_POD, MANY - 100 + pieces);
	}
	ck_assert(by_place.by_place && !by_key.by_place);
	ck_assert_uint_gt(pieces, 2);
	for (uint32_t i = 0; i < MANY - 100; i++)
		ck_assert(pods.at[i]);
	ck_assert_uint_eq(nodes.n, LESS);
}
END_TEST

/* Numbers of pods, in the order in which they are met. */
struct met {
	uint32_t first, next;
};

static void meet(void *arg, const struct entry *e, const struct version *v)
{
	struct met *met = arg;
	uint32_t number;

	memcpy(&number, e->uid + 4, sizeof(number));
	ck_assert_ptr_eq(cache_entry(p->cache, v->entry), e);
	if (!met->next)
		met->first = met->next = number;
	ck_assert_uint_eq(number, met->next);
	met->next++;
}

/* Of the last records those up to a resourceVersion, or up to the end. */
START_TEST(what_has_changed_last_is_met_in_order)
{
	struct met some = {0}, all = {0}, none = {0};
	uint64_t rv = cache_rv(p->cache);

	for (uint32_t i = 1; i <= PROC_RECENT; i++)
		publish(TYPE_POD, i);
	ck_assert_uint_le(proc_recent(p, rv + 1000, meet, &some), rv);
	ck_assert_uint_eq(some.first, 1);
	ck_assert_uint_eq(some.next, 1001);
	for (uint32_t i = 1; i <= 300; i++)
		publish(TYPE_POD, PROC_RECENT + i);
	ck_assert_uint_eq(proc_recent(p, cache_rv(p->cache), meet, &all), rv + 300);
	ck_assert_uint_eq(all.first, 301);
	ck_assert_uint_eq(all.next, PROC_RECENT + 301);
	ck_assert_uint_eq(proc_recent(p, rv + 300, meet, &none) + 1, cache_oldest(p->cache));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("proc");
	TCase *tc = tcase_create("proc");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, requests_are_answered_in_order);
	tcase_add_test(tc, nothing_is_seen_before_it_is_flushed);
	tcase_add_test(tc, a_full_ring_says_try_again);
	tcase_add_test(tc, what_cannot_fit_is_too_big);
	tcase_add_test(tc, the_stores_death_ends_requests_as_lost);
	tcase_add_test(tc, answers_given_before_the_death_are_true);
	tcase_add_test(tc, a_new_generation_is_attached_and_rebuilt_from);
	tcase_add_test(tc, work_of_this_generation_is_handed_on);
	tcase_add_test(tc, an_overflowing_inbox_is_rebuilt_from_the_cache);
	tcase_add_test(tc, the_cache_is_looked_at_once_the_store_routes_to_us);
	tcase_add_test(tc, rubbish_is_counted_and_dropped);
	tcase_add_test(tc, requests_carry_the_epoch_they_were_made_under);
	tcase_add_test(tc, shards_divide_what_there_is);
	tcase_add_test(tc, descriptors_are_watched);
	tcase_add_test(tc, a_sleeper_is_woken_by_what_arrives);
	tcase_add_test(tc, a_follower_is_woken_by_what_is_published);
	tcase_add_test(tc, heartbeat_and_configuration);
	tcase_add_test(tc, a_foreign_slot_is_refused);
	tcase_add_test(tc, every_kind_has_a_name);
	tcase_add_test(tc, every_route_leads_somewhere);
	tcase_add_test(tc, answers_of_long_ago_are_nobodys);
	tcase_add_test(tc, a_damaged_inbox_is_rebuilt_from_the_cache);
	tcase_add_test(tc, each_of_most_and_each_of_few_is_seen_once);
	tcase_add_test(tc, a_walk_goes_on_where_it_was);
	tcase_add_test(tc, what_has_changed_last_is_met_in_order);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}

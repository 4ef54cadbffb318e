/*
 * test_ports.c - the store's side of the rings: replies in order, requests that
 * are dropped or fenced, rubbish, dead processes, full inboxes, routing.
 */
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "procs/store/ports.h"
#include "store_rig.h"

#define RING  65536u
#define INBOX 16384u

/* A process as the store sees it: its ring and its inbox. */
struct client {
	struct ring_in requests, replies;
	struct ring_out *out, *inbox;
	struct ring send, receive;
	struct msg_scratch scratch;
	uint64_t seq;
};

static struct files *fs;
static struct rig rig;
static struct ports ports;
static struct client client[3];

static void open_client(struct client *x, uint32_t slot, uint32_t kind, uint32_t shard)
{
	memset(x, 0, sizeof(*x));
	x->out = aligned_alloc(64, align_up(ring_bytes(RING), (size_t)64));
	x->inbox = aligned_alloc(64, align_up(ring_bytes(INBOX), (size_t)64));
	memset(x->out, 0, sizeof(*x->out));
	memset(x->inbox, 0, sizeof(*x->inbox));
	ring_init(x->out, RING);
	ring_init(x->inbox, INBOX);
	ring_producer(&x->send, x->out, &x->requests, -1);
	ck_assert_int_eq(ring_consumer(&x->receive, x->inbox, &x->replies, INBOX, -1), WEFT_OK);
	ck_assert_int_eq(port_open(&ports, slot, kind, shard, 1, x->out, &x->requests, RING,
				   x->inbox, &x->replies, -1),
			 WEFT_OK);
}

static void set_up(void)
{
	struct commit_hooks hooks = ports_hooks(&ports);

	rig_set_seed();
	fs = file_sim_new();
	memset(&rig, 0, sizeof(rig));
	rig_must_open(&rig, fs, NULL);
	rig_world(&rig);
	ports_init(&ports, &rig.s, &rig.c, 1);
	rig.c.hooks = hooks;
	open_client(&client[0], 3, PROC_REPLICASET, 0);
	open_client(&client[1], 4, PROC_GC, 0);
	open_client(&client[2], 5, PROC_GC, 1);
	ports_set_map(&ports, PROC_REPLICASET, 1, 1);
	ports_set_map(&ports, PROC_GC, 1, 1);
}

static void tear_down(void)
{
	for (int i = 0; i < 3; i++) {
		free(client[i].out);
		free(client[i].inbox);
		buf_free(&client[i].scratch.mem);
	}
	ports_free(&ports);
	rig_kill(&rig);
	file_sim_free(fs);
	zone_free(rig_zone);
	rig_zone = NULL;
}

static void send_as(struct client *x, struct msg *m, uint32_t generation, uint32_t epoch)
{
	char *p = malloc(msg_size(m));

	msg_request(m)->seq = ++x->seq;
	msg_request(m)->generation = generation;
	msg_request(m)->epoch = epoch;
	ck_assert_int_eq(ring_put(&x->send, (struct str){p, (uint32_t)msg_encode(m, p)}), WEFT_OK);
	free(p);
}

static void create(struct client *x, const char *name, uint32_t generation, uint32_t epoch)
{
	struct msg m = rig_create(TYPE_REPLICASET, "a", name);

	m.create.spec = rig_part("{}");
	send_as(x, &m, generation, epoch);
}

static void serve(void)
{
	while (ports_drain(&ports) || !commit_idle(&rig.c))
		commit_drain(&rig.c);
}

/* The next message in the inbox; false if there is none. */
static bool receive(struct client *x, struct msg *m)
{
	struct str bytes;

	if (ring_peek(&x->receive, &bytes) <= 0)
		return false;
	ck_assert_int_eq(msg_decode(bytes, m, &x->scratch, NULL), WEFT_OK);
	ring_next(&x->receive);
	return true;
}

static int expect_reply(struct client *x, uint64_t seq)
{
	struct msg m;

	do
		ck_assert(receive(x, &m));
	while (m.kind != MSG_reply);
	ck_assert_uint_eq(m.reply.seq, seq);
	return m.reply.status;
}

START_TEST(replies_fences_and_forgets)
{
	struct msg m;

	create(&client[0], "one", 1, 1);
	create(&client[0], "one", 1, 1);
	create(&client[0], "two", 1, 7);
	create(&client[0], "old", 9, 1);
	create(&client[0], "three", 1, 1);
	serve();
	ck_assert_int_eq(expect_reply(&client[0], 1), WEFT_OK);
	ck_assert_int_eq(expect_reply(&client[0], 2), WEFT_EEXIST);
	ck_assert_int_eq(expect_reply(&client[0], 3), WEFT_EFENCED);
	ck_assert_int_eq(expect_reply(&client[0], 5), WEFT_OK);
	ck_assert_ptr_null(rig_get(&rig, TYPE_REPLICASET, "a", "two"));
	ck_assert_ptr_null(rig_get(&rig, TYPE_REPLICASET, "a", "old"));
	ring_release(&client[0].receive);
	ports_set_map(&ports, PROC_REPLICASET, 2, 1);
	create(&client[0], "four", 1, 1);
	serve();
	create(&client[0], "five", 1, 0); /* nobody who has shards is beyond them */
	serve();
	ck_assert_int_eq(expect_reply(&client[0], 6), WEFT_EFENCED);
	ck_assert_int_eq(expect_reply(&client[0], 7), WEFT_EFENCED);
	ck_assert_ptr_null(rig_get(&rig, TYPE_REPLICASET, "a", "five"));
	while (receive(&client[0], &m))
		;
}
END_TEST

/* The metadata of a dependent of ReplicaSet a/rs. */
static struct str owned_by_rs(void)
{
	char meta[300], uid[37];

	uid_format(cw_find(rig.s.w, TYPE_REPLICASET, STR("a"), STR("rs"))->uid, uid);
	snprintf(meta, sizeof(meta),
		 "{'ownerReferences':[{'kind':'ReplicaSet','name':'rs','uid':'%s',"
		 "'controller':true}]}",
		 uid);
	return rig_part(meta);
}

/* The dependents of one that is gone belong to several shards: all hear of it. */
START_TEST(an_owner_that_is_gone_is_routed_to_all_collectors)
{
	struct msg gone = {
		.kind = MSG_remove,
		.remove = {
			.type = TYPE_REPLICASET, .ns = STR("a"), .name = STR("rs"), .grace = -1}};
	struct msg pods = {.kind = MSG_create_many}, m;
	uint32_t heard[2] = {0};

	ports_set_map(&ports, PROC_GC, 1, 2);
	create(&client[0], "rs", 1, 1);
	serve();
	pods.create_many = (struct msg_create_many){.type = TYPE_POD,
						    .ns = STR("a"),
						    .prefix = STR("p-"),
						    .count = 3,
						    .spec = rig_part("{}"),
						    .meta = owned_by_rs()};
	send_as(&client[0], &pods, 1, 1);
	send_as(&client[0], &gone, 1, 1);
	serve();
	for (int shard = 0; shard < 2; shard++)
		while (receive(&client[1 + shard], &m))
			heard[shard] += m.kind == MSG_work && m.work.type == TYPE_REPLICASET;
	ck_assert_uint_eq(heard[0], 1);
	ck_assert_uint_eq(heard[1], 1);
	while (receive(&client[0], &m))
		;
}
END_TEST

/* Who has a dependent less hears of it, though it is nothing to the dependent any more. */
START_TEST(a_former_owner_hears_of_it)
{
	struct msg pod = rig_create(TYPE_POD, "a", "p"), m;
	struct msg freed = {.kind = MSG_update,
			    .update = {.type = TYPE_POD,
				       .ns = STR("a"),
				       .name = STR("p"),
				       .mask = 1u << PART_META}};
	uint32_t heard = 0;

	create(&client[0], "rs", 1, 1);
	serve();
	pod.create.meta = owned_by_rs();
	pod.create.spec = rig_part("{}");
	send_as(&client[0], &pod, 1, 1);
	serve();
	while (receive(&client[0], &m))
		;
	send_as(&client[0], &freed, 1, 1);
	serve();
	while (receive(&client[0], &m))
		heard += m.kind == MSG_work && m.work.type == TYPE_REPLICASET;
	ck_assert_uint_eq(heard, 1);
}
END_TEST

/* The work that a batch made is one item for each object and port. */
START_TEST(work_is_routed_once)
{
	struct msg m = {.kind = MSG_create_many,
			.create_many = {.type = TYPE_POD,
					.ns = STR("a"),
					.prefix = STR("p-"),
					.count = 30,
					.spec = rig_part("{}")}};
	const struct entry *rs;
	uint32_t sets = 0, pods = 0;

	create(&client[0], "rs", 1, 1);
	serve();
	while (receive(&client[0], &m))
		;
	ring_release(&client[0].receive);
	rs = cw_find(rig.s.w, TYPE_REPLICASET, STR("a"), STR("rs"));
	m = (struct msg){.kind = MSG_create_many,
			 .create_many = {.type = TYPE_POD,
					 .ns = STR("a"),
					 .prefix = STR("p-"),
					 .count = 30,
					 .spec = rig_part("{}"),
					 .meta = owned_by_rs()}};
	send_as(&client[0], &m, 1, 1);
	serve();
	while (receive(&client[0], &m)) {
		if (m.kind != MSG_work)
			continue;
		sets += m.work.type == TYPE_REPLICASET ? m.work.entries.n : 0;
		pods += m.work.type == TYPE_POD ? m.work.entries.n : 0;
		if (m.work.type == TYPE_REPLICASET)
			ck_assert_uint_eq(m.work.entries.p[0], cache_entry_ref(rig.s.c, rs).u);
	}
	ck_assert_uint_eq(sets, 1);
	ck_assert_uint_eq(pods, 0);
	/* The garbage collector has nothing to do with owners that are there. */
	while (receive(&client[1], &m))
		pods += m.kind == MSG_work && m.work.type == TYPE_POD ? m.work.entries.n : 0;
	ck_assert_uint_eq(pods, 0);
}
END_TEST

/* Who follows the cache is woken by each batch, though nothing is sent to it; a
 * batch that changes nothing wakes nobody. */
/* By each that has something for their kind. */
START_TEST(followers_are_woken_by_what_is_theirs)
{
	struct client follower[2] = {0};
	struct pollfd bell[2];

	open_client(&follower[0], 6, PROC_APISERVER, 0);
	open_client(&follower[1], 7, PROC_SCHEDULER, 0);
	ports_set_map(&ports, PROC_APISERVER, 1, 1);
	ports_set_map(&ports, PROC_SCHEDULER, 1, 1);
	for (int i = 0; i < 2; i++) {
		bell[i] = (struct pollfd){.fd = bell_create(NULL), .events = POLLIN};
		ports.port[6 + i].out.bell = bell[i].fd;
	}
	ck_assert(ring_sleep(&follower[0].receive));
	create(&client[0], "one", 1, 1);
	serve();
	ck_assert_int_eq(poll(bell, 2, 0), 0);
	ring_awake(&follower[0].receive);
	for (int i = 0; i < 2; i++)
		ck_assert(ring_sleep_following(&follower[i].receive));
	create(&client[0], "one", 1, 1); /* refused */
	serve();
	ck_assert_int_eq(poll(bell, 2, 0), 0);
	create(&client[0], "two", 1, 1);
	serve();
	ck_assert_int_eq(poll(bell, 2, 0), 1);
	ck_assert_int_eq(bell[0].revents, POLLIN); /* it was no pod */
	for (int i = 0; i < 2; i++) {
		port_close(&ports, 6 + (uint32_t)i);
		close(bell[i].fd);
		free(follower[i].out);
		free(follower[i].inbox);
		buf_free(&follower[i].scratch.mem);
	}
}
END_TEST

/* Requests are read in groups: each sees what those before it have done, also
 * across a bulk request and across rubbish. */
START_TEST(requests_read_together_are_done_in_turn)
{
	struct msg gone = {
		.kind = MSG_remove,
		.remove = {.type = TYPE_REPLICASET, .ns = STR("a"), .name = STR("x"), .grace = -1}};
	struct msg changed = {.kind = MSG_update,
			      .update = {.type = TYPE_REPLICASET,
					 .ns = STR("a"),
					 .name = STR("x"),
					 .mask = 1u << PART_REST,
					 .rest = rig_part("{'data':{}}")}};
	struct msg many = {.kind = MSG_create_many,
			   .create_many = {.type = TYPE_POD,
					   .ns = STR("a"),
					   .prefix = STR("p-"),
					   .count = 3,
					   .spec = rig_part("{}")}};
	uint64_t seq = 0;

	for (int i = 0; i < 12; i++) {
		create(&client[0], "x", 1, 1);
		create(&client[0], "x", 1, 1);
		if (i % 5 == 0)
			ck_assert_int_eq(ring_put(&client[0].send, STR("rubbish")), WEFT_OK);
		if (i % 3 == 0)
			send_as(&client[0], &many, 1, 1);
		send_as(&client[0], &changed, 1, 1);
		send_as(&client[0], &gone, 1, 1);
		send_as(&client[0], &changed, 1, 1);
		send_as(&client[0], &gone, 1, 1);
	}
	serve();
	for (int i = 0; i < 12; i++) {
		ck_assert_int_eq(expect_reply(&client[0], ++seq), WEFT_OK);
		ck_assert_int_eq(expect_reply(&client[0], ++seq), WEFT_EEXIST);
		if (i % 3 == 0)
			ck_assert_int_eq(expect_reply(&client[0], ++seq), WEFT_OK);
		ck_assert_int_eq(expect_reply(&client[0], ++seq), WEFT_OK);
		ck_assert_int_eq(expect_reply(&client[0], ++seq), WEFT_OK);
		ck_assert_int_eq(expect_reply(&client[0], ++seq), WEFT_ENOENT);
		ck_assert_int_eq(expect_reply(&client[0], ++seq), WEFT_ENOENT);
	}
	ck_assert_uint_eq(ports.malformed, 3);
	ck_assert_ptr_null(rig_get(&rig, TYPE_REPLICASET, "a", "x"));
}
END_TEST

START_TEST(rubbish_is_counted_and_reported)
{
	for (int i = 0; i < 15; i++)
		ck_assert_int_eq(ring_put(&client[1].send, STR("rubbish")), WEFT_OK);
	create(&client[1], "good", 1, 1);
	serve();
	ck_assert_uint_eq(ports.malformed, 15);
	ck_assert_uint_eq(ports.hostile, 0);
	ck_assert_ptr_nonnull(rig_get(&rig, TYPE_REPLICASET, "a", "good"));
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(ring_put(&client[1].send, STR("rubbish")), WEFT_OK);
	serve();
	ck_assert_uint_eq(ports.hostile, PROC_WHO(4, 1));
}
END_TEST

static uint32_t early; /* marks seen while a batch was being published */

static void look_for_marks(void *arg, const struct version *v)
{
	ports_hooks(&ports).after(arg, v);
	early += atomic_load(&client[0].inbox->overflow);
}

/* An object is routed once for each batch: whoever looked for what was dropped
 * before the batch's end would miss what changes again in it. */
START_TEST(dropped_work_is_told_when_the_batch_is_visible)
{
	struct msg m = {.kind = MSG_create_many};

	m.create_many = (struct msg_create_many){
		.type = TYPE_REPLICASET,
		.ns = STR("a"),
		.prefix = STR("many-"),
		.count = PORT_WORK_MESSAGE + 10,
		.spec = rig_part("{}"),
	};
	early = 0;
	rig.c.hooks.after = look_for_marks;
	send_as(&client[0], &m, 1, 1);
	serve();
	ck_assert_int_eq(expect_reply(&client[0], 1), WEFT_OK);
	ck_assert_uint_eq(early, 0);
	ck_assert(ring_overflowed(&client[0].receive));
}
END_TEST

/* A client that reads nothing is not served beyond its inbox, and loses no
 * reply; others are not held up. */
START_TEST(a_full_inbox_blocks_nobody)
{
	struct msg m;
	uint64_t next = 1;
	char name[32];

	for (int i = 0; i < 600; i++) {
		snprintf(name, sizeof(name), "slow-%d", i);
		create(&client[0], name, 1, 1);
	}
	create(&client[1], "quick", 1, 1);
	serve();
	ck_assert(ports.blocked);
	ck_assert_int_eq(expect_reply(&client[1], 1), WEFT_OK);
	for (int i = 0; i < 1000 && next <= 600; i++) {
		while (receive(&client[0], &m))
			if (m.kind == MSG_reply)
				ck_assert_uint_eq(m.reply.seq, next++);
		ring_release(&client[0].receive);
		while (receive(&client[1], &m))
			;
		ring_release(&client[1].receive);
		serve();
	}
	ck_assert_uint_eq(next, 601);
	ck_assert(ring_overflowed(&client[0].receive)); /* work was dropped, and it knows */
}
END_TEST

START_TEST(a_dead_process_is_read_to_the_end)
{
	char name[32];

	for (int i = 0; i < 600; i++) {
		snprintf(name, sizeof(name), "left-%d", i);
		create(&client[0], name, 1, 1);
	}
	ports.port[3].dead = true;
	ports_retarget(&ports);
	serve();
	ports_drain(&ports);
	ck_assert_uint_ne(ports.port[3].drained_at, 0);
	ck_assert_ptr_nonnull(rig_get(&rig, TYPE_REPLICASET, "a", "left-599"));
}
END_TEST

/* It will never be answered: somebody has to say so. */
START_TEST(a_damaged_inbox_is_reported)
{
	static const uint64_t tails[] = {8, UINT64_MAX - 2 * INBOX, INBOX * 16};

	for (size_t i = 0; i < countof(tails); i++) {
		ports.hostile = 0;
		ports.port[3].bad = 0;
		atomic_store(&client[0].replies.tail,
			     atomic_load(&client[0].inbox->head) + tails[i]);
		for (int k = 0; k < PORT_HOSTILE; k++)
			ports_drain(&ports);
		ck_assert_uint_eq(ports.hostile, PROC_WHO(3, 1));
	}
}
END_TEST

/* Whatever it left in its ring: its successor waits for the end of it. */
START_TEST(a_dead_process_with_a_damaged_ring_is_done_with)
{
	static const uint64_t heads[] = {3, RING + 8, UINT64_MAX, UINT64_MAX - 7};

	for (size_t i = 0; i < countof(heads); i++) {
		atomic_store(&client[0].out->head,
			     atomic_load(&client[0].requests.tail) + heads[i]);
		ports.port[3].dead = true;
		ports.port[3].drained_at = 0;
		for (int k = 0; k < 3; k++)
			serve();
		ck_assert_uint_ne(ports.port[3].drained_at, 0);
	}
}
END_TEST

/* The answer to a process that has gone is not its successor's, who counts from 1 as well. */
START_TEST(a_successor_gets_no_answers_of_its_predecessor)
{
	struct client *x = &client[0];
	struct msg m;

	create(x, "one", 1, 1);
	ck_assert(ports_drain(&ports));
	ck_assert_int_eq(port_open(&ports, 3, PROC_REPLICASET, 0, 2, x->out, &x->requests, RING,
				   x->inbox, &x->replies, -1),
			 WEFT_OK);
	serve();
	ck_assert_ptr_nonnull(rig_get(&rig, TYPE_REPLICASET, "a", "one"));
	while (receive(x, &m))
		ck_assert_int_ne(m.kind, MSG_reply);
}
END_TEST

/* Its successor may start when what it left is published, not when it is read. */
START_TEST(a_dead_process_has_drained_with_its_last_batch)
{
	create(&client[0], "left", 1, 1);
	ports.port[3].dead = true;
	ports_retarget(&ports);
	while (ports_drain(&ports))
		;
	ck_assert_uint_gt(ports.port[3].drained_at, rig.c.published);
	ck_assert_ptr_null(cache_find(rig.s.c, TYPE_REPLICASET, STR("a"), STR("left")));
	commit_drain(&rig.c);
	ck_assert_uint_le(ports.port[3].drained_at, rig.c.published);
	ck_assert_ptr_nonnull(cache_find(rig.s.c, TYPE_REPLICASET, STR("a"), STR("left")));
}
END_TEST

/* Though nothing else is put into its inbox. */
START_TEST(dropped_work_is_told_to_who_gets_nothing_else)
{
	char name[32];

	for (int i = 0; ring_used(&ports.port[3].out) <= INBOX / 2; i++) {
		snprintf(name, sizeof(name), "mine-%d", i);
		create(&client[0], name, 1, 1);
		serve();
	}
	ring_overflowed(&client[0].receive);
	create(&client[1], "other", 1, 1);
	serve();
	ck_assert(ring_overflowed(&client[0].receive));
}
END_TEST

/* A reply that no inbox of this size can hold is an answer all the same. */
START_TEST(a_reply_that_is_too_long_says_so)
{
	static uint32_t entries[2500];
	static uint64_t rvs[2500];
	struct msg m = {.kind = MSG_delete_many,
			.delete_many = {.type = TYPE_POD,
					.entries = {entries, countof(entries)},
					.rvs = {rvs, countof(rvs)}}};

	for (uint32_t i = 0; i < countof(entries); i++)
		entries[i] = UINT32_MAX - i;
	memset(rvs, 0xff, sizeof(rvs));
	send_as(&client[0], &m, 1, 1);
	serve();
	ck_assert_int_eq(expect_reply(&client[0], 1), WEFT_ELOST);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ports");
	TCase *t = tcase_create("ports");

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, replies_fences_and_forgets);
	tcase_add_test(t, work_is_routed_once);
	tcase_add_test(t, a_former_owner_hears_of_it);
	tcase_add_test(t, an_owner_that_is_gone_is_routed_to_all_collectors);
	tcase_add_test(t, followers_are_woken_by_what_is_theirs);
	tcase_add_test(t, requests_read_together_are_done_in_turn);
	tcase_add_test(t, rubbish_is_counted_and_reported);
	tcase_add_test(t, a_full_inbox_blocks_nobody);
	tcase_add_test(t, dropped_work_is_told_when_the_batch_is_visible);
	tcase_add_test(t, a_dead_process_is_read_to_the_end);
	tcase_add_test(t, a_damaged_inbox_is_reported);
	tcase_add_test(t, a_dead_process_with_a_damaged_ring_is_done_with);
	tcase_add_test(t, a_successor_gets_no_answers_of_its_predecessor);
	tcase_add_test(t, a_dead_process_has_drained_with_its_last_batch);
	tcase_add_test(t, dropped_work_is_told_to_who_gets_nothing_else);
	tcase_add_test(t, a_reply_that_is_too_long_says_so);
	suite_add_tcase(s, t);
	return rig_run(s);
}

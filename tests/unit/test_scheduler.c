/* test_scheduler.c - random pods on random nodes: each bind is checked against
 * what Kubernetes' rules say of the pods placed before it, in a model that does
 * not share a line with the scheduler; and what was not placed fits nowhere.
 *
 * The process around the scheduler is played here: proc_run() is the test. */
#include <unistd.h>

#include "kube_cache.h"
#include "procs/scheduler/scheduler.h"
#include "scheduler_fakes.h"
#include "scheduler_model.h"
#include "weft/proc.h"

int scheduler_main(void);

static struct shelf shelf;
static int unschedulable;
static struct prcu_reader reader __attribute__((aligned(64)));

/* By one of our own process, in slot 1, or by a node. */
static void write_version(const struct entry *e, struct str node, enum proc_kind by, bool gone)
{
	const struct version *was = cache_live(cache, e);
	struct version_in in = {.hot = was->hot,
				.grace_s = -1,
				.generation = 1,
				.node = node,
				.flags = was->flags,
				.cause = by == PROC_SCHEDULER ? CAUSE(1, 0) : 0,
				.writer_kind = (uint16_t)by};
	struct entry *mine = cw_find(shelf.w, TYPE_POD, STR("d"), entry_name(e));
	struct version *v;

	in.hot.flags |= HOT_SCHEDULED;
	if (by == PROC_NODE)
		in.hot.phase = POD_RUNNING;
	if (gone)
		ck_assert_int_eq(
			cw_prepare_delete(shelf.w, mine, ++shelf.rv, 0, in.writer_kind, &v), 0);
	else
		ck_assert_int_eq(cw_prepare_update(shelf.w, mine, ++shelf.rv, &in, &v), 0);
	cw_publish(shelf.w, v);
	cw_commit_rv(shelf.w, shelf.rv);
}

/* --- The process -------------------------------------------------------------------- */

static struct {
	reply_cb cb;
	void *arg;
	uint32_t skipped[PODS];
	uint32_t nskipped;
} waiting_replies[64];
static int nreplies;
static bool with_terms;
static bool far_nodes; /* FAR nodes with long names, and as many pods */
static uint32_t far_bound;
static bool alike;	       /* all nodes, but that some are avoided; and all pods */
static bool tight;	       /* and there is room for TIGHT_PODS on each */
static bool overtaken;	       /* the journal's window passes the scheduler */
static unsigned refuse_one_in; /* binds that somebody else was faster than */
/* Others write while the scheduler waits, or looks. */
static void (*contend)(const struct proc_handlers *h);
static bool outrun; /* who is to be bound has been bound by others by then */

bool proc_can_send(const struct proc *p, size_t bytes)
{
	return nreplies < 64;
}

bool proc_event_room(struct proc *p)
{
	return true;
}

bool proc_mine_uid(const struct proc *p, const uint8_t uid[16])
{
	return true;
}

bool proc_mine_name(const struct proc *p, struct str name)
{
	return true;
}

uint32_t proc_slot(const struct proc *p)
{
	return 1;
}

struct proc_counters *proc_counters(struct proc *p)
{
	static struct proc_counters counters;

	return &counters;
}

struct proc *proc_start(enum proc_kind kind)
{
	return NULL;
}

static int index_of(const struct entry *e)
{
	return atoi(e->name + 1);
}

static void apply_bind(uint32_t entry, struct str node)
{
	const struct entry *e = cache_entry(cache, (entry_ref){entry});
	char name[16];
	int i = index_of(e), n;
	const struct model_kind *k = &kinds[pods[i].kind];

	snprintf(name, sizeof(name), STR_FMT, STR_ARG(node));
	n = atoi(name + 1);
	ck_assert_msg(pods[i].node < 0 && !pods[i].gone, "pod %d is bound twice", i);
	ck_assert_msg(!pods[i].over, "pod %d is bound, and has failed", i);
	ck_assert_msg(may_go(k, n),
		      "pod %d of kind %d may not go to node %d: apart %d, together %d, spread %d; "
		      "spread %s, together %s, others %s",
		      i, pods[i].kind, n, k->apart, k->together, k->spread,
		      spread_allows(k, n) ? "yes" : "no", together_allows(k, n) ? "yes" : "no",
		      others_allow(k, n) ? "yes" : "no");
	pods[i].node = n;
	write_version(e, node, PROC_SCHEDULER, false);
}

/* Somebody else binds the pod: to node `n`. */
static void bind_by_others(int i, int n)
{
	char name[16];

	snprintf(name, sizeof(name), "n%d", n);
	ck_assert(pods[i].node < 0 && may_go(&kinds[pods[i].kind], n));
	pods[i].node = n;
	write_version(pods[i].e, str_of(name), PROC_APISERVER, false);
}

/* One pod of three goes where the scheduler wanted it as well, the others to a node beside, if
 * there is room. */
static void overtake_bind(uint32_t entry, struct str node)
{
	int i = index_of(cache_entry(cache, (entry_ref){entry}));
	int n = atoi(node.p + 1) + (i % 3 != 0);

	while (!may_go(&kinds[pods[i].kind], n % NODES))
		n++;
	bind_by_others(i, n % NODES);
}

/* A record takes at most half a ring. */
static bool fits(const struct msg *m)
{
	return msg_size(m) <= proc_kind_info(PROC_SCHEDULER)->ring_out / 2 - 8;
}

int proc_send(struct proc *p, struct msg *m, reply_cb cb, void *arg)
{
	value names;

	unschedulable += m->kind == MSG_update;
	if (m->kind != MSG_bind_many)
		return 0;
	if (!fits(m))
		return WEFT_ETOOBIG;
	if (far_nodes)
		far_bound += m->bind_many.entries.n;
	waiting_replies[nreplies].nskipped = 0;
	ck_assert_int_eq(v_decode(shelf.z, m->bind_many.nodes, &names), 0);
	for (uint32_t i = 0; i < m->bind_many.entries.n && !far_nodes; i++) {
		uint32_t *n = &waiting_replies[nreplies].nskipped;

		if (outrun)
			overtake_bind(m->bind_many.entries.p[i],
				      v_as_str(v_at(&names, m->bind_many.node_of.p[i])));
		if (outrun || (refuse_one_in && random() % refuse_one_in == 0))
			waiting_replies[nreplies].skipped[(*n)++] = i;
		else
			apply_bind(m->bind_many.entries.p[i],
				   v_as_str(v_at(&names, m->bind_many.node_of.p[i])));
	}
	waiting_replies[nreplies].cb = cb;
	waiting_replies[nreplies++].arg = arg;
	return 0;
}

static void give_replies(void)
{
	for (int i = 0; i < nreplies; i++) {
		struct msg_reply r = {
			.status = WEFT_OK,
			.skipped = {waiting_replies[i].skipped, waiting_replies[i].nskipped}};

		waiting_replies[i].cb(waiting_replies[i].arg, &r);
	}
	nreplies = 0;
}

/* --- Scenarios ---------------------------------------------------------------------- */

#define ALIKE_PODS 12
#define TIGHT_PODS 2

/* The first has room for none until it says more. */
static struct model_node alike_node(int i)
{
	return (struct model_node){.cpu = 16,
				   .pods = tight ? TIGHT_PODS
					   : i	 ? ALIKE_PODS
						 : 0,
				   .zone = -1,
				   .avoided = i % 6 == 1,
				   .there = true};
}

static void make_nodes(void)
{
	for (int i = 0; i < NODES; i++) {
		value obj;

		nodes[i] = alike ? alike_node(i) : random_node();
		obj = node_object(i);
		shelf_put(&shelf, TYPE_NODE, &obj, v_as_str(v_path(&obj, "metadata.name")));
	}
}

static void add_pod(void)
{
	value obj;

	pods[npods].kind = alike ? 0 : (int)(random() % KINDS);
	pods[npods].node = -1;
	pods[npods].gone = false;
	pods[npods].over = !alike && one_in(12);
	obj = pod_object(npods);
	shelf_put(&shelf, TYPE_POD, &obj, (struct str){0});
	pods[npods++].e =
		cache_find(cache, TYPE_POD, STR("d"), v_as_str(v_path(&obj, "metadata.name")));
}

/* Nothing that waits could go anywhere. */
static void check_complete(void)
{
	for (int i = 0; i < npods; i++)
		for (int n = 0; pods[i].node < 0 && !pods[i].gone && !pods[i].over && n < NODES;
		     n++)
			ck_assert_msg(!may_go(&kinds[pods[i].kind], n),
				      "pod %d of kind %d waits, but could go to node %d", i,
				      pods[i].kind, n);
}

/* Time enough for every back-off. */
static int64_t now_ns;

static void turns(const struct proc_handlers *h, int n)
{
	while (n-- > 0) {
		now_ns += INT64_C(400000000000);
		h->on_turn(h->arg, now_ns);
		give_replies();
	}
}

/* The node says of some that they run. */
static void run_some(void)
{
	for (int i = 0; i < npods; i++)
		if (pods[i].node >= 0 && !pods[i].gone && one_in(3))
			write_version(pods[i].e, (struct str){0}, PROC_NODE, false);
}

/* A pod that ran goes; half of them while others wait. */
static void remove_some(void)
{
	for (int i = 0; i < npods; i++)
		if (pods[i].node >= 0 && !pods[i].gone && one_in(3)) {
			char name[16];

			snprintf(name, sizeof(name), "n%d", pods[i].node);
			write_version(pods[i].e, str_of(name), PROC_NODE, true);
			pods[i].gone = true;
		}
}

/* A node process says what its node has. */
static void node_tells(int i)
{
	value obj = node_object(i);
	struct str node = v_as_str(v_path(&obj, "metadata.name"));
	struct entry *e = cw_find(shelf.w, TYPE_NODE, (struct str){0}, node);
	struct version_in in = {.mask = 1u << PART_STATUS,
				.hot = {.phase = POD_RUNNING},
				.node = node,
				.grace_s = -1,
				.generation = 1,
				.writer_kind = PROC_NODE};
	struct kube_parts parts;
	struct version *v;

	kube_split(shelf.z, &obj, &parts);
	in.part[PART_STATUS] = buf_str(&parts.part[PART_STATUS]);
	ck_assert_int_eq(cw_prepare_update(shelf.w, e, ++shelf.rv, &in, &v), 0);
	cw_publish(shelf.w, v);
	cw_commit_rv(shelf.w, shelf.rv);
	kube_parts_free(&parts);
}

/* Writes that change nothing that matters here. */
static void touch_node(int i, int times)
{
	value obj = node_object(i);
	struct entry *e = cw_find(shelf.w, TYPE_NODE, (struct str){0},
				  v_as_str(v_path(&obj, "metadata.name")));
	struct version_in in = {.grace_s = -1, .writer_kind = PROC_NODE};
	struct version *v;

	in.hot = cw_newest(shelf.w, e)->hot;
	while (times-- > 0) {
		ck_assert_int_eq(cw_prepare_update(shelf.w, e, ++shelf.rv, &in, &v), 0);
		cw_publish(shelf.w, v);
		cw_commit_rv(shelf.w, shelf.rv);
	}
}

/* Pods of one kind, some that run by now while others come: on the nodes that nobody avoids
 * are as many each, or one more. */
static void share_evenly(const struct proc_handlers *h)
{
	int on[NODES] = {0}, least = PODS, most = 0;

	nodes[0].pods = ALIKE_PODS;
	node_tells(0);
	for (int round = 0; round < 4; round++) {
		for (int n = 0; n < 13; n++)
			add_pod();
		turns(h, 2);
		run_some();
	}
	for (int i = 0; i < npods; i++) {
		ck_assert_int_ge(pods[i].node, 0);
		on[pods[i].node]++;
	}
	for (int n = 0; n < NODES; n++) {
		ck_assert_msg(!nodes[n].avoided || !on[n], "%d pods on node %d", on[n], n);
		least = !nodes[n].avoided && on[n] < least ? on[n] : least;
		most = on[n] > most ? on[n] : most;
	}
	ck_assert_msg(most - least <= 1, "%d pods on a node, %d on another", most, least);
}

static int count_waiting(void)
{
	int n = 0;

	for (int i = 0; i < npods; i++)
		n += pods[i].node < 0 && !pods[i].gone;
	return n;
}

/* More pods than there is room for: with nothing else to place, what becomes free is taken long
 * before the back-off of a second is over. */
static void take_room_at_once(const struct proc_handlers *h)
{
	int64_t from;
	int waiting;

	for (int n = 0; n < NODES * (TIGHT_PODS + 1); n++)
		add_pod();
	h->on_turn(h->arg, clock_mono_ns());
	from = clock_mono_ns();
	give_replies();
	waiting = count_waiting();
	ck_assert_int_gt(waiting, 0);
	for (int i = 0; i < npods; i++)
		if (pods[i].node >= 0)
			write_version(pods[i].e, (struct str){0}, PROC_NODE, false);
	h->on_turn(h->arg, clock_mono_ns());
	ck_assert_int_eq(count_waiting(), waiting);
	remove_some();
	while (count_waiting() == waiting && clock_mono_ns() - from < 900000000) {
		usleep(5000);
		h->on_turn(h->arg, clock_mono_ns());
		give_replies();
	}
	check_complete();
	ck_assert_int_lt(clock_mono_ns() - from, 900000000);
	ck_assert_uint_eq(failures_told, (unsigned)waiting);
	/* Nothing moves any more: who still waits is looked at when the back-off is over. */
	h->on_turn(h->arg, clock_mono_ns() + 1100000000);
	ck_assert_uint_eq(failures_told, (unsigned)(waiting + count_waiting()));
}

/* All room is taken and no more: what waits is what there is too much of. */
static void fill_up(const struct proc_handlers *h)
{
	int there = 0;

	for (int i = 0; i < npods; i++)
		there += !pods[i].gone;
	for (; there < NODES * TIGHT_PODS + 3; there++)
		add_pod();
	turns(h, 60);
	check_complete();
	ck_assert_int_eq(count_waiting(), 3);
}

/* Others are faster, and the scheduler hears of it from the journal before the answer comes,
 * or after. */
static void be_outrun(const struct proc_handlers *h, bool journal_first)
{
	for (int i = 0; i < NODES / 2; i++)
		add_pod();
	outrun = true;
	h->on_turn(h->arg, now_ns += 1000000);
	if (journal_first)
		h->on_turn(h->arg, now_ns += 1000000);
	give_replies();
	outrun = false;
	ck_assert_int_eq(count_waiting(), 0);
}

/* The first, which is on a node, goes; the last, which waits, is bound. */
static void come_and_go(void)
{
	char name[16];

	ck_assert_int_ge(pods[0].node, 0);
	snprintf(name, sizeof(name), "n%d", pods[0].node);
	write_version(pods[0].e, str_of(name), PROC_NODE, true);
	pods[0].gone = true;
	add_pod();
	bind_by_others(npods - 1, pods[0].node);
	add_pod();
	for (int n = 0; pods[npods - 1].node < 0; n++)
		if (may_go(&kinds[0], n) && n != pods[0].node)
			bind_by_others(npods - 1, n);
}

#define PAUSE_NS INT64_C(100000000)

/* Nodes that are counted get pods while others are not, and where there is no choice yet all
 * wait; but who may be kept away, or give way, waits until all is known. */
static void place_while_it_looks(const struct proc_handlers *h)
{
	static const char *const important =
		"{\"metadata\":{\"name\":\"first\",\"namespace\":\"d\"},\"spec\":"
		"{\"schedulerName\":\"another\",\"priority\":1,\"containers\":[{\"name\":"
		"\"c\"}]},\"status\":{\"phase\":\"Pending\"}}";
	value obj = facts_json(shelf.z, important);

	for (int i = 0; i < NODES * TIGHT_PODS - 3; i++)
		add_pod();
	turns(h, 60);
	ck_assert_int_eq(count_waiting(), 0);
	for (int i = 0; i < 6; i++)
		add_pod();
	look_limits = (struct look_limits){.nodes = 2, .pods = 1, .lanes = 2, .rest = 1 << 30};
	h->on_resync(h->arg);
	/* Who found no room does not make a loop of the pause. */
	ck_assert_int_gt(h->on_turn(h->arg, clock_mono_ns()), clock_mono_ns() + PAUSE_NS);
	((struct scheduler *)h->arg)->look_ns = 0;
	look_limits.rest = 0;
	for (int i = 0; i < 3; i++) {
		h->on_turn(h->arg, now_ns);
		ck_assert(is_looking(h->arg));
	}
	ck_assert_int_lt(count_waiting(), 6);
	ck_assert_uint_eq(failures_told, 0);
	give_replies();
	shelf_put(&shelf, TYPE_POD, &obj, (struct str){0});
	h->on_turn(h->arg, now_ns);
	ck_assert(!is_looking(h->arg));
	turns(h, 60);
	ck_assert_int_eq(count_waiting(), 3);
	ck_assert_uint_gt(failures_told, 0);
}

static void look_while_others_write(const struct proc_handlers *h)
{
	for (int i = 0; i < NODES; i++)
		add_pod();
	turns(h, 2);
	ck_assert_int_eq(count_waiting(), 0);
	look_limits = (struct look_limits){.nodes = NODES, .pods = 1, .lanes = 1};
	meanwhile = come_and_go;
	h->on_resync(h->arg);
	turns(h, 60);
	ck_assert(!meanwhile);
}

static void be_outrun_twice(const struct proc_handlers *h)
{
	be_outrun(h, true);
	be_outrun(h, false);
}

#define WINDOW 65536 /* of the shelf's journal */

/* While the scheduler was away, pods came and more was written than the journal keeps. */
static void fall_behind(const struct proc_handlers *h)
{
	for (int i = 0; i < PODS / 2; i++)
		add_pod();
	turns(h, 30);
	for (int i = 0; i < PODS / 2; i++)
		add_pod();
	touch_node(0, WINDOW + 10);
	for (int i = 0; i < 10; i++)
		cw_reclaim(shelf.w, UINT32_MAX);
	turns(h, 60);
	check_complete();
}

/* More names than go into a request. */
#define FAR 9000

static void make_far(void)
{
	zone *z = shelf.z;

	shelf.z = zone_new();
	for (int i = 0; i < FAR; i++) {
		char text[600];
		value obj;

		snprintf(text, sizeof(text),
			 "{\"metadata\":{\"name\":\"n%0249d\"},\"status\":{\"allocatable\":"
			 "{\"cpu\":\"4\",\"memory\":\"8Gi\",\"pods\":\"110\"}}}",
			 i);
		obj = facts_json(shelf.z, text);
		shelf_put(&shelf, TYPE_NODE, &obj, v_as_str(v_path(&obj, "metadata.name")));
		snprintf(text, sizeof(text),
			 "{\"metadata\":{\"name\":\"p%d\",\"namespace\":\"d\"},\"spec\":"
			 "{\"schedulerName\":\"default-scheduler\",\"containers\":[{\"name\":"
			 "\"c\"}]},\"status\":{\"phase\":\"Pending\"}}",
			 i);
		obj = facts_json(shelf.z, text);
		shelf_put(&shelf, TYPE_POD, &obj, (struct str){0});
		zone_reset(shelf.z);
	}
	zone_free(shelf.z);
	shelf.z = z;
}

int proc_run(struct proc *p, const struct proc_handlers *h)
{
	int before;

	now_ns = clock_mono_ns();
	h->on_resync(h->arg);
	if (far_nodes) {
		while (is_looking(h->arg))
			turns(h, 1);
		turns(h, 2);
		return 0;
	}
	if (overtaken) {
		fall_behind(h);
		return 0;
	}
	if (contend) {
		contend(h);
		fill_up(h);
		return 0;
	}
	if (tight) {
		while (is_looking(h->arg))
			h->on_turn(h->arg, now_ns);
		take_room_at_once(h);
		return 0;
	}
	if (alike) {
		share_evenly(h);
		return 0;
	}
	for (int round = 0; round < 4; round++) {
		for (int n = 0; n < PODS / 4; n++)
			add_pod();
		before = npods;
		turns(h, 30);
		refuse_one_in = 0;
		turns(h, 30);
		ck_assert_int_eq(before, npods);
		check_complete();
		run_some();
		remove_some();
		turns(h, 30);
		check_complete();
		if (round == 2)
			h->on_resync(h->arg); /* as after a restart */
		/* What is refused was counted on until the answer came: with terms, others
		 * may have gone elsewhere for it. */
		refuse_one_in = with_terms ? 0 : 5;
	}
	return 0;
}

static void scenario(bool terms)
{
	struct err e = {0};

	/* Sometimes a look at everything takes many turns. */
	look_limits = (struct look_limits){.nodes = 100, .pods = 8192, .lanes = 16};
	if (one_in(2))
		look_limits = (struct look_limits){
			.nodes = 1 + (uint32_t)random() % 4, .pods = 1, .lanes = 2};

	npods = nreplies = unschedulable = 0;
	refuse_one_in = 0;
	with_terms = terms;
	shelf = shelf_open();
	model_zone = shelf.z;
	memset(&reader, 0, sizeof(reader));
	ck_assert_msg(cache_attach(&cache, shelf.name, &reader, &e) == 0, "%s", e.msg);
	if (far_nodes)
		make_far();
	else
		make_nodes();
	make_kinds(terms);
	if (alike)
		kinds[0] = (struct model_kind){.cpu = 1, .selects_zone = -1, .together = -1};
	scheduler_main();
	cache_detach(cache);
	shelf_close(&shelf);
}

START_TEST(resources_labels_taints_ports)
{
	srandom(facts_seed());
	for (int i = 0; i < 25; i++)
		scenario(false);
}
END_TEST

START_TEST(affinity_and_spread)
{
	srandom(facts_seed());
	for (int i = 0; i < 25; i++)
		scenario(true);
}
END_TEST

START_TEST(pods_alike_share_the_nodes)
{
	srandom(facts_seed());
	alike = true;
	scenario(false);
}
END_TEST

START_TEST(room_is_taken_at_once)
{
	srandom(facts_seed());
	alike = tight = true;
	scenario(false);
}
END_TEST

/* Others write while pods come that are alike, for which there is little room. */
static void contended(void (*with)(const struct proc_handlers *h))
{
	srandom(facts_seed());
	alike = tight = true;
	contend = with;
	scenario(false);
}

START_TEST(pods_that_others_bind_take_room_where_they_are)
{
	contended(be_outrun_twice);
}
END_TEST

START_TEST(what_is_written_during_a_look_is_counted_once)
{
	contended(look_while_others_write);
}
END_TEST

START_TEST(pods_are_placed_during_a_look)
{
	contended(place_while_it_looks);
}
END_TEST

START_TEST(a_lost_journal_means_looking_at_everything)
{
	srandom(facts_seed());
	overtaken = true;
	for (int i = 0; i < 10; i++)
		scenario(false);
}
END_TEST

START_TEST(long_names_take_more_requests)
{
	srandom(facts_seed());
	far_nodes = true;
	far_bound = 0;
	scenario(false);
	ck_assert_uint_eq(far_bound, FAR);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("scheduler");
	TCase *tc = tcase_create("placing");

	tcase_set_timeout(tc, 60); /* with sanitizers in a slow hour, 4 s are few */
	tcase_add_test(tc, resources_labels_taints_ports);
	tcase_add_test(tc, affinity_and_spread);
	tcase_add_test(tc, pods_alike_share_the_nodes);
	tcase_add_test(tc, room_is_taken_at_once);
	tcase_add_test(tc, pods_that_others_bind_take_room_where_they_are);
	tcase_add_test(tc, what_is_written_during_a_look_is_counted_once);
	tcase_add_test(tc, pods_are_placed_during_a_look);
	tcase_add_test(tc, a_lost_journal_means_looking_at_everything);
	tcase_add_test(tc, long_names_take_more_requests);
	suite_add_tcase(s, tc);
	return facts_main(s);
}

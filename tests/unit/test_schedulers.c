/* test_schedulers.c - several schedulers over one store, each of which knows late what the
 * others have done, and a client that binds pods by itself: in any order of turns, requests
 * and answers no bind breaks the rules, and in the end nothing waits that could go somewhere.
 *
 * The processes around the schedulers are played here: proc_run() of the last one is the
 * test, and the store is the real one. */
#include "store_rig.h"
#include "scheduler_fakes.h"
#include "scheduler_model.h"
#include "weft/proc.h"

int scheduler_main(void);

#define SCHEDULERS_MAX 3
#define REQUESTS_MAX   256

static struct files *fs;
static struct rig rig;
static struct prcu_reader reader __attribute__((aligned(64)));
static uint64_t judged_rv; /* the model has seen what was bound up to here */
static unsigned refused, bound;

/* --- Processes ---------------------------------------------------------------------- */

/* A request on its way to the store, or its answer on the way back. */
struct request {
	char *bytes;
	uint32_t n;
	reply_cb cb;
	void *arg;
	bool answered;
	struct msg_reply reply;
	uint32_t *skipped;
};

static struct player {
	const struct proc_handlers *h;
	struct proc_counters counters;
	struct request request[REQUESTS_MAX]; /* in the order of sending */
	uint32_t nrequests, nanswered;
} player[SCHEDULERS_MAX];
static int nplayers, started;
static int64_t now_ns;

/* A process is known by its number + 1. */
static int number_of(const struct proc *p)
{
	return (int)(uintptr_t)p - 1;
}

static uint16_t slot_of(int number)
{
	return (uint16_t)(10 + number);
}

struct proc *proc_start(enum proc_kind kind)
{
	return (struct proc *)(uintptr_t)++started;
}

uint32_t proc_slot(const struct proc *p)
{
	return slot_of(number_of(p));
}

struct proc_counters *proc_counters(struct proc *p)
{
	return &player[number_of(p)].counters;
}

bool proc_mine_uid(const struct proc *p, const uint8_t uid[16])
{
	return shard_of_uid(uid, (uint32_t)nplayers) == (uint32_t)number_of(p);
}

bool proc_mine_name(const struct proc *p, struct str name)
{
	return shard_of_name(name, (uint32_t)nplayers) == (uint32_t)number_of(p);
}

bool proc_can_send(const struct proc *p, size_t bytes)
{
	return player[number_of(p)].nrequests < REQUESTS_MAX / 2;
}

bool proc_event_room(struct proc *p)
{
	return false;
}

/* As through a ring: the sender's memory is its own again. */
int proc_send(struct proc *p, struct msg *m, reply_cb cb, void *arg)
{
	struct player *pl = &player[number_of(p)];
	struct request *r = &pl->request[pl->nrequests++];

	ck_assert_uint_le(pl->nrequests, REQUESTS_MAX);
	*r = (struct request){.cb = cb, .arg = arg, .bytes = malloc(msg_size(m))};
	r->n = (uint32_t)msg_encode(m, r->bytes);
	return 0;
}

/* --- The store ---------------------------------------------------------------------- */

static int index_of(const struct entry *e)
{
	return atoi(e->name + 1);
}

/* What was bound since, in the order in which the store did it. */
static void judge(void)
{
	const struct version *some[64];
	int n;

	cache_lock(cache);
	while ((n = cache_journal(cache, judged_rv, some, (int)countof(some))) > 0) {
		for (int i = 0; i < n; i++) {
			const struct version *v = some[i];
			const struct entry *e = cache_entry(cache, v->entry);
			struct str node;
			int at, to;

			judged_rv = v->rv;
			if (e->type != TYPE_POD || !v->hot.node.u || v->flags & VERSION_TOMBSTONE)
				continue;
			at = index_of(e);
			if (pods[at].node >= 0)
				continue;
			node = cache_string(cache, cache_nodeslot(cache, v->hot.node)->name);
			to = atoi(node.p + 1);
			ck_assert_msg(
				may_go(&kinds[pods[at].kind], to),
				"pod %d of kind %d may not go to node %d (slot %u, rv %" PRIu64 ")",
				at, pods[at].kind, to, CAUSE_SLOT(v->cause), v->rv);
			pods[at].node = to;
			bound++;
		}
	}
	cache_unlock(cache);
}

static void apply(uint16_t slot, struct msg *m)
{
	struct caller who = {.port = slot, .incarnation = 1, .slot = slot, .kind = PROC_SCHEDULER};

	msg_request(m)->seq = ++rig.seq;
	store_apply(&rig.s, &who, m);
	commit_drain(&rig.c);
	judge();
}

/* The store takes the next request of a scheduler. */
static void serve(int number)
{
	struct player *pl = &player[number];
	struct msg_scratch scratch = {0};
	struct request *r;
	struct msg m;

	if (pl->nanswered == pl->nrequests)
		return;
	r = &pl->request[pl->nanswered++];
	ck_assert_int_eq(msg_decode((struct str){r->bytes, r->n}, &m, &scratch, NULL), 0);
	apply(slot_of(number), &m);
	r->reply = rig.last;
	r->skipped = malloc((rig.last.skipped.n + 1) * sizeof(uint32_t));
	memcpy(r->skipped, rig.last.skipped.p, rig.last.skipped.n * sizeof(uint32_t));
	r->reply.skipped.p = r->skipped;
	r->reply.message = r->reply.name = STR("");
	refused += m.kind == MSG_bind_many ? rig.last.skipped.n : 0;
	buf_free(&scratch.mem);
}

/* A scheduler reads the answers that are there and has its turn. */
static void turn(int number)
{
	struct player *pl = &player[number];

	for (uint32_t i = 0; i < pl->nanswered; i++) {
		struct request *r = &pl->request[i];

		if (r->cb)
			r->cb(r->arg, &r->reply);
		free(r->bytes);
		free(r->skipped);
	}
	pl->nrequests -= pl->nanswered;
	memmove(pl->request, pl->request + pl->nanswered, pl->nrequests * sizeof(*pl->request));
	pl->nanswered = 0;
	now_ns += INT64_C(400000000000); /* enough for every back-off */
	pl->h->on_turn(pl->h->arg, now_ns);
}

/* --- Scenarios ---------------------------------------------------------------------- */

static void create(uint16_t type, const char *ns, const value *obj)
{
	struct msg m = {.kind = MSG_create};
	struct kube_parts parts;

	kube_split(model_zone, obj, &parts);
	m.create = (struct msg_create){
		.type = type,
		.ns = str_of(ns),
		.name = v_as_str(v_path(obj, "metadata.name")),
		.meta = buf_str(&parts.part[PART_META]),
		.labels = buf_str(&parts.part[PART_LABELS]),
		.spec = buf_str(&parts.part[PART_SPEC]),
		.status = buf_str(&parts.part[PART_STATUS]),
	};
	apply(1, &m);
	ck_assert_int_eq(rig.last.status, WEFT_OK);
	kube_parts_free(&parts);
}

static void add_pod(void)
{
	value obj;

	pods[npods].kind = (int)(random() % KINDS);
	pods[npods].node = -1;
	pods[npods].gone = false;
	obj = pod_object(npods++);
	create(TYPE_POD, "d", &obj);
}

/* A client binds a pod to where it may go as things are. */
static void bind_by_hand(void)
{
	int at = (int)(random() % npods), to = (int)(random() % NODES);
	struct msg m = {.kind = MSG_update};
	char name[16], node[16];

	if (pods[at].node >= 0 || !may_go(&kinds[pods[at].kind], to))
		return;
	snprintf(name, sizeof(name), "p%d", at);
	snprintf(node, sizeof(node), "n%d", to);
	m.update = (struct msg_update){
		.type = TYPE_POD, .ns = STR("d"), .name = str_of(name), .node = str_of(node)};
	apply(1, &m);
	ck_assert_int_eq(rig.last.status, WEFT_OK);
}

/* Somebody does something. */
static void step(void)
{
	int who = (int)(random() % nplayers);

	switch (random() % 8) {
	case 0:
		if (npods < PODS)
			add_pod();
		break;
	case 1:
		if (npods && one_in(4))
			bind_by_hand();
		break;
	case 2:
	case 3:
	case 4:
		serve(who);
		break;
	default:
		turn(who);
	}
}

static bool under_way(void)
{
	for (int i = 0; i < nplayers; i++)
		if (player[i].nrequests)
			return true;
	return false;
}

/* Everybody in turn, until nothing is under way. */
static void settle(void)
{
	for (int round = 0; round < 400 && (round < 40 || under_way()); round++)
		for (int i = 0; i < nplayers; i++) {
			turn(i);
			while (player[i].nanswered < player[i].nrequests)
				serve(i);
		}
	ck_assert(!under_way());
	for (int i = 0; i < npods; i++)
		for (int n = 0; pods[i].node < 0 && n < NODES; n++)
			ck_assert_msg(!may_go(&kinds[pods[i].kind], n),
				      "pod %d of kind %d waits, but could go to node %d", i,
				      pods[i].kind, n);
}

int proc_run(struct proc *p, const struct proc_handlers *h)
{
	player[number_of(p)].h = h;
	if (started < nplayers)
		return scheduler_main();
	for (int i = 0; i < nplayers; i++)
		player[i].h->on_resync(player[i].h->arg);
	while (npods < PODS)
		step();
	for (int i = 0; i < 200; i++)
		step();
	settle();
	return 0;
}

static void scenario(bool terms)
{
	struct err e = {0};

	rig_seed = (unsigned)random();
	npods = started = 0;
	nplayers = 2 + (int)(random() % (SCHEDULERS_MAX - 1));
	memset(player, 0, sizeof(player));
	fs = file_sim_new();
	memset(&rig, 0, sizeof(rig));
	rig_must_open(&rig, fs, NULL);
	memset(&reader, 0, sizeof(reader));
	ck_assert_msg(cache_attach(&cache, rig.name, &reader, &e) == 0, "%s", e.msg);
	rig_namespace(&rig, "d");
	judged_rv = rig.s.rv;
	model_zone = zone_new();
	for (int i = 0; i < NODES; i++) {
		value obj;

		nodes[i] = random_node();
		obj = node_object(i);
		create(TYPE_NODE, "", &obj);
	}
	make_kinds(terms);
	scheduler_main();
	cache_detach(cache);
	rig_kill(&rig);
	file_sim_free(fs);
	zone_free(model_zone);
	zone_free(rig_zone);
	rig_zone = NULL;
}

static void scenarios(bool terms)
{
	srandom(facts_seed());
	refused = bound = 0;
	for (int i = 0; i < 25; i++)
		scenario(terms);
	printf("%u pods bound, %u binds refused\n", bound, refused);
	ck_assert_uint_gt(refused, 0); /* or they were never in each other's way */
}

START_TEST(nodes_are_not_overfilled)
{
	scenarios(false);
}
END_TEST

START_TEST(affinity_and_spread_hold)
{
	scenarios(true);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("schedulers");
	TCase *tc = tcase_create("placing");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, nodes_are_not_overfilled);
	tcase_add_test(tc, affinity_and_spread_hold);
	suite_add_tcase(s, tc);
	return facts_main(s);
}

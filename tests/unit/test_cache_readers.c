/*
 * test_cache_readers.c - readers that check every version they see while the
 * writer churns: as processes that are killed at random, and as threads (for
 * ThreadSanitizer).
 *
 * Each version carries a number: in its holes, and as every byte of its parts.
 * Memory that was freed too early shows as a version whose parts disagree.
 * Of four writes the first deletes a pod and the third creates one, so each
 * snapshot has a known number of pods.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "cache_model.h"
#include "shm/cache_layout.h"
#include "tests/unit/suite.h"

#define PODS	 300
#define NAMES	 (2 * PODS)
#define NODES	 7
#define READERS	 3
#define RV_START 1000
#define AGES	 4
#define KEPT	 64 /* references kept from section to section */

/* --- What a version says of itself ------------------------------------------------ */

struct shared {
	struct prcu_reader reader[READERS];
	_Atomic bool stop;
	_Atomic uint64_t sections, versions;
	/* Grace periods begun while a section lasted: 0 or 1; a second one can
	 * only begin once the section that blocks the first has ended. */
	_Atomic uint64_t age[AGES];
};

struct reader {
	struct cache *c;
	struct shared *shared;
	unsigned seed;
	uint64_t journal; /* read up to here */
	const char *wrong;
	uint64_t versions;
	uint32_t kept[KEPT];
};

#define wrong(r, text) ((r)->wrong = (r)->wrong ? (r)->wrong : (text))

static uint32_t part_length(uint32_t number)
{
	return 4 + number % 150;
}

static void check_part(struct reader *r, const struct version *v, enum part part)
{
	struct str s = cache_part(r->c, v, part);
	uint32_t number = v->holes[0];

	if (s.n != part_length(number) || memcmp(s.p, &number, sizeof(number)) != 0)
		wrong(r, "a part is of another version");
	for (uint32_t i = sizeof(number); i < s.n; i++)
		if (s.p[i] != (char)number)
			wrong(r, "a part is damaged");
}

static void check_version(struct reader *r, const struct entry *e, const struct version *v)
{
	r->versions++;
	if (cache_entry(r->c, v->entry) != e)
		wrong(r, "a version is of another entry");
	if (v->nholes != 2 || v->holes[1] != ~v->holes[0]) {
		wrong(r, "holes are damaged");
		return;
	}
	check_part(r, v, PART_SPEC);
	check_part(r, v, PART_STATUS);
	if (memcmp(e->name, "pod-", 4) != 0 || strlen(e->name) != e->name_len)
		wrong(r, "a name is damaged");
}

/* How many pods there are at `rv`, once the writer has begun to churn. */
static uint64_t pods_at(uint64_t rv)
{
	return rv % 4 == 3 || rv % 4 == 0 ? PODS - 1 : PODS;
}

/* --- What a reader does in one section ---------------------------------------------- */

static void read_snapshot(struct reader *r)
{
	struct str none = {NULL, 0};
	uint64_t rv = cache_rv(r->c), oldest = cache_oldest(r->c);
	const struct entry *e;
	struct cache_iter it;
	uint64_t n = 0;

	if (rv + 1 > oldest)
		rv = oldest - 1 + (uint64_t)rand_r(&r->seed) % (rv + 2 - oldest);
	cache_iter_init(&it, r->c, T_POD, none, none, none);
	while ((e = cache_iter_next(&it))) {
		const struct version *v = cache_at(r->c, e, rv);

		if (!v)
			continue;
		check_version(r, e, v);
		n++;
	}
	if (rv > RV_START + PODS + 4 && n != pods_at(rv))
		wrong(r, "a snapshot lacks pods, or has too many");
}

static void read_journal(struct reader *r)
{
	const struct version *v[64];
	int n = cache_journal(r->c, r->journal, v, 64);

	if (n == WEFT_EGONE)
		r->journal = cache_rv(r->c);
	for (int i = 0; i < n; i++) {
		const struct entry *e = cache_entry(r->c, v[i]->entry);
		uint32_t prev = prcu_dereference(&v[i]->prev);

		if (v[i]->rv != ++r->journal)
			wrong(r, "the journal has a gap");
		if (e->type != T_POD)
			continue;
		check_version(r, e, v[i]);
		if (prev)
			check_version(r, e, cache_version(r->c, (version_ref){prev}));
		else if (!(v[i]->flags & VERSION_FIRST))
			wrong(r, "the old state is gone while the journal has the record");
	}
}

static void read_one(struct reader *r)
{
	const struct entry *e;
	char buf[32];

	snprintf(buf, sizeof(buf), "pod-%d", rand_r(&r->seed) % NAMES);
	e = cache_find(r->c, T_POD, STR("ns"), str_of(buf));
	if (!e)
		return;
	if (!str_eq(entry_name(e), str_of(buf)))
		wrong(r, "found another name");
	if (cache_newest(r->c, e))
		check_version(r, e, cache_newest(r->c, e));
	if (!cache_find_uid(r->c, e->uid) && cache_live(r->c, e))
		wrong(r, "not found by its uid");
}

static void read_lists(struct reader *r)
{
	const struct nodeslot *node;
	const struct labelset *set;
	const struct entry *owner, *e;
	struct counts_copy counts;
	char buf[32];

	snprintf(buf, sizeof(buf), "node-%d", rand_r(&r->seed) % NODES);
	node = cache_node(r->c, str_of(buf));
	for (e = node ? cache_first_on_node(r->c, node) : NULL; e; e = cache_next_on_node(r->c, e))
		check_version(r, e, cache_newest(r->c, e));
	for (set = cache_first_labelset(r->c, T_POD, STR("ns")); set;
	     set = cache_next_labelset(r->c, set))
		for (e = cache_first_in_set(r->c, set); e; e = cache_next_in_set(r->c, e))
			check_version(r, e, cache_newest(r->c, e));
	owner = cache_find(r->c, T_SET, STR("ns"), STR("owner"));
	if (!owner)
		return;
	for (e = cache_first_dependent(r->c, owner); e; e = cache_next_dependent(r->c, e))
		check_version(r, e, cache_newest(r->c, e));
	cache_counts(r->c, owner, &counts);
	if (counts.rv > RV_START + PODS + 4 && counts.total != pods_at(counts.rv))
		wrong(r, "counts do not fit their resourceVersion");
}

/* References of earlier sections: what they named may be gone, and something else there. */
static void read_kept(struct reader *r)
{
	const struct version *v[KEPT];
	const struct entry *e;
	int n = cache_journal(r->c, cache_rv(r->c) - KEPT, v, KEPT);

	for (uint32_t i = 0; i < KEPT; i++) {
		if (cache_entry_checked(r->c, r->kept[i], &e))
			continue;
		if (e->type != T_POD && e->type != T_SET && e->type != T_NODE)
			wrong(r, "a reference to an entry leads to something else");
		if (e->type == T_POD && cache_newest(r->c, e))
			check_version(r, e, cache_newest(r->c, e));
	}
	for (int i = 0; i < n; i++)
		r->kept[i] = v[i]->entry.u;
}

static void one_section(struct reader *r)
{
	static void (*const reads[])(struct reader *) = {read_snapshot, read_journal, read_one,
							 read_lists, read_kept};
	const struct prcu_gp *gp = &r->c->h->gp;
	uint64_t before, age;

	cache_lock(r->c);
	before = prcu_dereference(&gp->counter);
	for (int n = 1 + rand_r(&r->seed) % 3; n; n--)
		reads[(unsigned)rand_r(&r->seed) % countof(reads)](r);
	age = prcu_dereference(&gp->counter) - before;
	cache_unlock(r->c);
	r->shared->age[age < AGES ? age : AGES - 1]++;
	r->shared->sections++;
}

static void read_until_stopped(struct reader *r)
{
	r->journal = cache_rv(r->c);
	while (!r->shared->stop && !r->wrong)
		one_section(r);
	r->shared->versions += r->versions;
}

/* --- The writer --------------------------------------------------------------------- */

struct churn {
	struct cache_writer *w;
	uint64_t rv;
	uint64_t id;
	unsigned seed;
	int live[NAMES], nlive, dead[NAMES], ndead;
	uint8_t owner[1][16];
};

static void fill(struct churn *ch, struct version_in *in, uint32_t holes[2], char text[200],
		 char node[32])
{
	uint32_t number = (uint32_t)rand_r(&ch->seed);

	memset(text, (char)number, 200);
	memcpy(text, &number, sizeof(number));
	holes[0] = number;
	holes[1] = ~number;
	*in = (struct version_in){.mask = 1 << PART_SPEC | 1 << PART_STATUS | 1 << PART_META |
					  1 << PART_LABELS,
				  .holes = holes,
				  .nholes = 2,
				  .owner_uids = ch->owner,
				  .nowners = 1,
				  .has_controller = true};
	in->part[PART_SPEC] = (struct str){text, part_length(number)};
	in->part[PART_STATUS] = in->part[PART_SPEC];
	in->part[PART_LABELS] = number % 3 == 0 ? STR("a") : number % 3 == 1 ? STR("b") : STR("");
	snprintf(node, 32, "node-%u", number % NODES);
	in->node = str_of(node);
}

static struct version *create_pod(struct churn *ch)
{
	int at = rand_r(&ch->seed) % ch->ndead, name = ch->dead[at];
	uint32_t holes[2];
	char text[200], node[32], buf[32];
	struct version_in in;
	struct version *v;
	uint8_t uid[16];

	fill(ch, &in, holes, text, node);
	uid_of(++ch->id, uid);
	snprintf(buf, sizeof(buf), "pod-%d", name);
	ck_assert_int_eq(
		cw_prepare_create(ch->w, T_POD, STR("ns"), str_of(buf), uid, 1, ++ch->rv, &in, &v),
		0);
	ch->dead[at] = ch->dead[--ch->ndead];
	ch->live[ch->nlive++] = name;
	return v;
}

static struct entry *pod(struct churn *ch, int name)
{
	char buf[32];

	snprintf(buf, sizeof(buf), "pod-%d", name);
	return cw_find(ch->w, T_POD, STR("ns"), str_of(buf));
}

static struct version *delete_pod(struct churn *ch)
{
	int at = rand_r(&ch->seed) % ch->nlive, name = ch->live[at];
	struct version *v;

	ck_assert_int_eq(cw_prepare_delete(ch->w, pod(ch, name), ++ch->rv, 0, 0, &v), 0);
	ch->live[at] = ch->live[--ch->nlive];
	ch->dead[ch->ndead++] = name;
	return v;
}

static struct version *update_pod(struct churn *ch)
{
	int name = ch->live[rand_r(&ch->seed) % ch->nlive];
	uint32_t holes[2];
	char text[200], node[32];
	struct version_in in;
	struct version *v;

	fill(ch, &in, holes, text, node);
	in.node = STR(""); /* pods stay on their node */
	ck_assert_int_eq(cw_prepare_update(ch->w, pod(ch, name), ++ch->rv, &in, &v), 0);
	return v;
}

static void publish(struct churn *ch, struct version *v)
{
	cw_publish(ch->w, v);
	cw_commit_rv(ch->w, ch->rv);
	if (rand_r(&ch->seed) % 4 == 0)
		cw_reclaim(ch->w, 64);
}

/* Prepared and given up: readers may meet the entry, never a version. */
static void abort_pod(struct churn *ch)
{
	struct version *v = create_pod(ch);

	cw_abort(ch->w, v);
	ch->rv--;
	ch->dead[ch->ndead++] = ch->live[--ch->nlive];
}

static void churn_step(struct churn *ch)
{
	if (rand_r(&ch->seed) % 5 == 0)
		abort_pod(ch);
	publish(ch, delete_pod(ch));
	publish(ch, update_pod(ch));
	publish(ch, create_pod(ch));
	publish(ch, update_pod(ch));
}

static struct churn *churn_open(void)
{
	struct cache_options opt = {.size_max = UINT64_C(1) << 30,
				    .journal_min = 100,
				    .journal_max = 100,
				    .pod_type = T_POD,
				    .node_type = T_NODE};
	struct churn *ch = calloc(1, sizeof(*ch));
	struct version_in in = {0};
	uint8_t id[16] = {0};
	char name[SEG_NAME_MAX];
	struct version *v;
	struct err e;

	ck_assert_ptr_nonnull(ch);
	ch->seed = test_seed();
	ch->rv = RV_START;
	for (ch->ndead = 0; ch->ndead < NAMES; ch->ndead++)
		ch->dead[ch->ndead] = ch->ndead;
	model_name(name);
	seg_unlink(name, NULL);
	if (cw_create(&ch->w, name, 1, id, ch->rv, &opt, &e))
		ck_abort_msg("cw_create: %s", e.msg);
	memset(ch->owner[0], 0xab, 16);
	ck_assert_int_eq(cw_prepare_create(ch->w, T_SET, STR("ns"), STR("owner"), ch->owner[0], 1,
					   ++ch->rv, &in, &v),
			 0);
	publish(ch, v);
	while (ch->nlive < PODS)
		publish(ch, create_pod(ch));
	while (ch->rv % 4 != 2)
		publish(ch, update_pod(ch));
	return ch;
}

static void churn_close(struct churn *ch)
{
	char name[SEG_NAME_MAX];
	struct err e;

	cw_set_readers(ch->w, NULL, 0);
	for (int i = 0; i < 5; i++)
		cw_reclaim(ch->w, 1000);
	if (cw_verify(ch->w, &e))
		ck_abort_msg("cw_verify: %s", e.msg);
	model_name(name);
	cw_close(ch->w);
	seg_unlink(name, NULL);
	free(ch);
}

/* --- Readers as processes, killed at random ----------------------------------------- */

static struct shared *shared_open(void)
{
	struct shared *s =
		mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(s, MAP_FAILED);
	return s;
}

static void reader_process(struct shared *s, int i, const char *name)
{
	struct reader r = {.shared = s, .seed = (unsigned)getpid()};
	struct err e;

	if (cache_attach(&r.c, name, &s->reader[i], &e)) {
		fprintf(stderr, "reader: %s\n", e.msg);
		_exit(2);
	}
	read_until_stopped(&r);
	if (r.wrong)
		fprintf(stderr, "reader: %s\n", r.wrong);
	_exit(r.wrong ? 1 : 0);
}

static pid_t start_reader(struct shared *s, int i)
{
	char name[SEG_NAME_MAX];
	pid_t pid;

	model_name(name);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		reader_process(s, i, name);
	return pid;
}

static void expect_end(pid_t pid, bool killed)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	if (!killed || !WIFSIGNALED(status))
		ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0,
			      "a reader ended with status 0x%x", status);
}

static void report_ages(const struct shared *s)
{
	fprintf(stderr,
		"%" PRIu64 " sections, %" PRIu64 " versions, age 0: %" PRIu64 ", 1: %" PRIu64
		", more: %" PRIu64 "\n",
		s->sections, s->versions, s->age[0], s->age[1], s->age[2] + s->age[3]);
	ck_assert_uint_gt(s->sections, 10);
	ck_assert_uint_eq(s->age[2] + s->age[3], 0);
}

/* In turn with membarriers and with fences of the readers' own. */
START_TEST(readers_killed_at_random)
{
	struct shared *s = shared_open();
	struct churn *ch;
	struct prcu_reader *words[READERS];
	int64_t end = clock_mono_ns() + INT64_C(1200000000);
	pid_t pid[READERS];
	int kills = 0;

	if (_i)
		setenv("WEFT_NO_MEMBARRIER", "1", 1);
	ch = churn_open();
	ck_assert(!_i || !cw_cache(ch->w)->h->gp.membarrier);
	for (int i = 0; i < READERS; i++) {
		words[i] = &s->reader[i];
		pid[i] = start_reader(s, i);
	}
	cw_set_readers(ch->w, words, READERS);
	while (clock_mono_ns() < end) {
		for (int n = 0; n < 2000; n++)
			churn_step(ch);
		if (rand_r(&ch->seed) % 4 == 0) {
			int i = rand_r(&ch->seed) % READERS;

			kill(pid[i], SIGKILL);
			expect_end(pid[i], true);
			s->reader[i] = (struct prcu_reader){0}; /* as who retires it would */
			pid[i] = start_reader(s, i);
			kills++;
		}
	}
	s->stop = true;
	for (int i = 0; i < READERS; i++)
		expect_end(pid[i], false);
	fprintf(stderr, "%d readers killed, rv %" PRIu64 "\n", kills, ch->rv);
	report_ages(s);
	churn_close(ch);
	munmap(s, sizeof(*s));
}
END_TEST

/* --- Readers as threads ------------------------------------------------------------- */

static void *reader_thread(void *arg)
{
	struct reader *r = arg;

	read_until_stopped(r);
	return NULL;
}

START_TEST(readers_in_threads)
{
	struct shared *s = shared_open();
	struct churn *ch = churn_open();
	struct prcu_reader *words[READERS];
	int64_t end = clock_mono_ns() + INT64_C(1000000000);
	struct reader r[READERS] = {0};
	pthread_t thread[READERS];
	struct err e;

	if (prcu_register_process(&cw_cache(ch->w)->h->gp, &e))
		ck_abort_msg("%s", e.msg);
	for (int i = 0; i < READERS; i++) {
		words[i] = &s->reader[i];
		r[i] = (struct reader){.shared = s, .seed = ch->seed + (unsigned)i};
		ck_assert_int_eq(cache_thread(&r[i].c, cw_cache(ch->w), words[i]), 0);
	}
	cw_set_readers(ch->w, words, READERS);
	for (int i = 0; i < READERS; i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, reader_thread, &r[i]), 0);
	while (clock_mono_ns() < end)
		churn_step(ch);
	s->stop = true;
	for (int i = 0; i < READERS; i++) {
		pthread_join(thread[i], NULL);
		ck_assert_msg(!r[i].wrong, "%s", r[i].wrong);
		cache_detach(r[i].c);
	}
	report_ages(s);
	churn_close(ch);
	munmap(s, sizeof(*s));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cache_readers");
	TCase *t = tcase_create("cache_readers");

	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, readers_killed_at_random, 0, 2);
	tcase_add_test(t, readers_in_threads);
	suite_add_tcase(s, t);
	return run_suite(s);
}

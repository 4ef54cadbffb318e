/*
 * bench_lookup.c - finding one of a million objects by type, namespace and
 * name: from another process, through a read-only mapping and grace periods
 * across processes, against liburcu's cds_lfht within one process.
 *
 * Both have the same objects, are asked for the same names in the same random
 * order, hash and compare the whole key, and enter a read section for each
 * lookup.  Runs alternate; rates are for a second of CPU.
 *
 * usage: bench_lookup [RUNS [OBJECTS]]
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <urcu.h>
#include <urcu/rculfhash.h>
#include <xxhash.h>

#include "bench/bench.h"
#include "weft/cache_write.h"

#define NAME_MAX_LEN 48
#define TYPE	     7
#define NS	     "default"

/* The reader's own segment. */
struct reader {
	struct prcu_reader word;
	double rate;
};

/* What is asked for, in the order in which it is. */
struct name {
	uint8_t n;
	char p[NAME_MAX_LEN - 1];
};

struct key {
	uint16_t type;
	struct str ns, name;
};

/* CPU seconds of this thread: what others do on the machine is not counted. */
static double cpu_now(void)
{
	return (double)clock_thread_ns() / 1e9;
}

static struct name *names; /* in order of creation */
static struct name *asked; /* the same, shuffled */
static uint32_t objects = 1000000;

static inline uint32_t key_hash(const struct key *k)
{
	uint64_t h = XXH3_64bits_withSeed(k->name.p, k->name.n, k->type);

	return (uint32_t)(h ^ XXH3_64bits(k->ns.p, k->ns.n));
}

static inline struct key key_of(const struct name *name)
{
	return (struct key){TYPE, STR(NS), {name->p, name->n}};
}

static void make_names(void)
{
	struct dice dice = {bench_seed()};

	names = calloc(objects, sizeof(*names));
	asked = calloc(objects, sizeof(*asked));
	weft_assert(names && asked);
	for (uint32_t i = 0; i < objects; i++) {
		int n = snprintf(names[i].p, sizeof(names[i].p), "nginx-deployment-7fb96c846b-%07x",
				 i * 2654435761u >> 4);

		names[i].n = (uint8_t)n;
		asked[i] = names[i];
	}
	for (uint32_t i = objects - 1; i > 0; i--) {
		uint32_t j = dice_below(&dice, i + 1);
		struct name swap = asked[i];

		asked[i] = asked[j];
		asked[j] = swap;
	}
}

/* --- weft ------------------------------------------------------------------------- */

static struct cache_writer *fill_cache(const char *segment)
{
	static const uint8_t cluster[16] = {1};
	const struct cache_options options = {.pod_type = TYPE, .node_type = TYPE + 1};
	struct version_in in = {.grace_s = -1};
	struct cache_writer *w;
	uint8_t uid[16] = {0};
	struct err e;

	if (cw_create(&w, segment, 1, cluster, objects, &options, &e))
		weft_fatal("%s", e.msg);
	for (uint32_t i = 0; i < objects; i++) {
		struct key k = key_of(&names[i]);
		struct entry *entry;

		memcpy(uid, &i, sizeof(i));
		weft_assert(
			!cw_restore(w, k.type, k.ns, k.name, uid, 0, i + 1, i + 1, &in, &entry));
	}
	cw_restore_done(w);
	return w;
}

/* Million lookups a second, in this process, over its own mapping. */
static double look_up_in_cache(const char *segment, struct reader *r)
{
	uint32_t found = 0;
	double start = 0;
	struct cache *c;
	struct err e;

	if (cache_attach(&c, segment, &r->word, &e))
		weft_fatal("%s", e.msg);
	for (int warm = 1; warm >= 0; warm--) {
		found = 0;
		start = cpu_now();
		for (uint32_t i = 0; i < objects; i++) {
			struct key k = key_of(&asked[i]);

			cache_lock(c);
			found += cache_find(c, k.type, k.ns, k.name) != NULL;
			cache_unlock(c);
		}
		start = cpu_now() - start;
	}
	weft_assert(found == objects);
	cache_detach(c);
	return objects / start / 1e6;
}

static double from_another_process(const char *segment, struct reader *r)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		r->rate = look_up_in_cache(segment, r);
		_exit(0);
	}
	weft_assert(waitpid(pid, &status, 0) == pid && status == 0);
	return r->rate;
}

/* --- cds_lfht ----------------------------------------------------------------------- */

struct object {
	struct cds_lfht_node node;
	struct str ns;
	uint16_t type;
	uint8_t name_len;
	char name[];
};

static struct cds_lfht *fill_lfht(void)
{
	unsigned long buckets = 1;
	struct cds_lfht *ht;

	while (buckets < objects)
		buckets *= 2;
	ht = cds_lfht_new(buckets, 1, 0, CDS_LFHT_AUTO_RESIZE, NULL);
	weft_assert(ht);
	for (uint32_t i = 0; i < objects; i++) {
		struct key k = key_of(&names[i]);
		struct object *o = malloc(sizeof(*o) + k.name.n + 1);

		weft_assert(o);
		o->ns = k.ns;
		o->type = k.type;
		o->name_len = (uint8_t)k.name.n;
		memcpy(o->name, k.name.p, k.name.n);
		cds_lfht_node_init(&o->node);
		rcu_read_lock();
		cds_lfht_add(ht, key_hash(&k), &o->node);
		rcu_read_unlock();
	}
	return ht;
}

static int is_lfht_object(struct cds_lfht_node *node, const void *key)
{
	const struct object *o = caa_container_of(node, struct object, node);
	const struct key *k = key;

	return o->type == k->type && str_eq((struct str){o->name, o->name_len}, k->name) &&
	       str_eq(o->ns, k->ns);
}

static double look_up_in_lfht(struct cds_lfht *ht)
{
	uint32_t found = 0;
	double start = 0;

	for (int warm = 1; warm >= 0; warm--) {
		found = 0;
		start = cpu_now();
		for (uint32_t i = 0; i < objects; i++) {
			struct key k = key_of(&asked[i]);
			struct cds_lfht_iter iter;

			rcu_read_lock();
			cds_lfht_lookup(ht, key_hash(&k), is_lfht_object, &k, &iter);
			found += cds_lfht_iter_get_node(&iter) != NULL;
			rcu_read_unlock();
		}
		start = cpu_now() - start;
	}
	weft_assert(found == objects);
	return objects / start / 1e6;
}

int main(int argc, char **argv)
{
	struct bench lfht = {.name = "lookup-lfht",
			     .what = "liburcu's cds_lfht within one process",
			     .unit = "M lookups/s"};
	struct bench weft = {.name = "lookup",
			     .what = "objects found by key from another process",
			     .unit = "M lookups/s"};
	int runs = bench_runs(argc, argv, 5);
	char segment[SEG_NAME_MAX];
	struct cache_writer *w;
	struct cds_lfht *ht;
	struct reader *r;

	if (argc > 2)
		objects = (uint32_t)atoi(argv[2]);
	make_names();
	r = mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	snprintf(segment, sizeof(segment), "/weft.bench-%d.cache", (int)getpid());
	w = fill_cache(segment);
	rcu_register_thread();
	ht = fill_lfht();
	for (int i = 0; i < runs; i++) {
		bench_add(&lfht, look_up_in_lfht(ht));
		bench_add(&weft, from_another_process(segment, r));
	}
	seg_unlink(segment, NULL);
	cw_close(w);
	weft.target = bench_report(&lfht);
	return bench_report(&weft) < weft.target;
}

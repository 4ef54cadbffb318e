/*
 * bench_store.c - the store's whole way of a write, through rings, log and
 * cache: a client thread sends requests without waiting for each reply, the
 * store runs in the main thread, its log's thread syncs real files.
 *
 *   bench_store [RUNS] [OBJECTS] [DIR]
 *
 * DIR is where the log goes (default: the current directory).
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>

#include "bench.h"
#include "procs/store/ports.h"
#include "procs/store/recover.h"

#define RING	(4u << 20)
#define INBOX	(1u << 20)
#define SLOT	7
#define NODES	10000u
#define BULK	4096u
#define VALUE_N 300u

struct rings {
	struct ring_in requests, replies;
	_Atomic int done;
	struct ring_out *out, *inbox;
};

static struct world {
	struct files *dir;
	struct log *log;
	struct log_thread *thread;
	struct store s;
	struct committer c;
	struct ports ports;
	struct recovery r;
	struct rings *x;
	struct ring send, receive;
	int bell;
	uint64_t seq, answered, failed;
	uint32_t objects;
	uint32_t *entries; /* pods */
	uint64_t *rvs;
} w;

/* --- The client --------------------------------------------------------------------- */

static struct msg_scratch scratch;

static void take_replies(void)
{
	struct str bytes;
	struct msg m;

	while (ring_peek(&w.receive, &bytes) > 0) {
		if (!msg_decode(bytes, &m, &scratch, NULL) && m.kind == MSG_reply) {
			w.answered++;
			w.failed += m.reply.status != 0 || m.reply.skipped.n;
		}
		ring_next(&w.receive);
	}
	ring_release(&w.receive);
}

static void client_pause(void)
{
	ring_ring(&w.send);
	take_replies();
	usleep(20);
}

static void request(struct msg *m)
{
	struct msg_request *q = msg_request(m);
	uint32_t n = (uint32_t)msg_size(m);
	void *at;

	q->seq = ++w.seq;
	q->generation = w.r.generation;
	while (!(at = ring_reserve(&w.send, n)))
		client_pause();
	ring_trim(&w.send, (uint32_t)msg_encode(m, at));
	ring_commit(&w.send);
	if (w.seq % 256 == 0) {
		ring_ring(&w.send);
		take_replies();
	}
}

static void *client_main(void *arg)
{
	void (*work)(void) = *(void (**)(void))arg;

	work();
	ring_ring(&w.send);
	while (w.answered < w.seq)
		client_pause();
	atomic_store(&w.x->done, 1);
	ring_ring(&w.send);
	if (write(w.bell, &(uint64_t){1}, 8) != 8)
		abort();
	return NULL;
}

/* --- The store ---------------------------------------------------------------------- */

static void serve(void)
{
	struct pollfd fd = {.fd = w.bell, .events = POLLIN};
	uint64_t turns = 0;

	while (!atomic_load(&w.x->done)) {
		bool did = ports_drain(&w.ports);

		did |= commit_turn(&w.c);
		if (++turns % 16 == 0)
			cw_reclaim(w.s.w, 65536);
		if (did || !ports_sleep(&w.ports))
			continue;
		if (poll(&fd, 1, w.ports.blocked ? 1 : 100) > 0)
			bell_clear(w.bell);
		ports_awake(&w.ports);
	}
}

struct took {
	double wall, cpu;
};

static struct took run(void (*work)(void))
{
	struct took t = {bench_now(), bench_cpu()};
	pthread_t thread;

	atomic_store(&w.x->done, 0);
	w.failed = 0;
	if (pthread_create(&thread, NULL, client_main, &work))
		exit(1);
	serve();
	pthread_join(thread, NULL);
	if (w.failed)
		fprintf(stderr, "%llu requests failed\n", (unsigned long long)w.failed);
	t.wall = bench_now() - t.wall;
	t.cpu = bench_cpu() - t.cpu;
	return t;
}

static void must(int rc, const struct err *e)
{
	if (rc) {
		fprintf(stderr, "bench_store: %s\n", e->msg);
		exit(1);
	}
}

static void *shared(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		exit(1);
	return p;
}

static void open_rings(void)
{
	w.x = shared(sizeof(*w.x));
	w.x->out = shared(ring_bytes(RING));
	w.x->inbox = shared(ring_bytes(INBOX));
	ring_init(w.x->out, RING);
	ring_init(w.x->inbox, INBOX);
	ring_producer(&w.send, w.x->out, &w.x->requests, w.bell);
	ring_consumer(&w.receive, w.x->inbox, &w.x->replies, INBOX, -1);
	port_open(&w.ports, SLOT, PROC_REPLICASET, 0, 1, w.x->out, &w.x->requests, RING, w.x->inbox,
		  &w.x->replies, -1);
	w.ports.port[SLOT].routed = false;
	ports_retarget(&w.ports);
}

static void open_world(const char *dir)
{
	struct commit_hooks hooks = ports_hooks(&w.ports);
	static char name[SEG_NAME_MAX];
	struct err e = {0};

	snprintf(name, sizeof(name), "/weft.bench-%d", getpid());
	w.bell = bell_create(&e);
	must(file_dir_open(&w.dir, dir, &e), &e);
	must(data_identify(w.dir, w.r.cluster_id, &e), &e);
	must(log_open(&w.log, w.dir, w.r.cluster_id, LOG_SEGMENT_DEFAULT, &e), &e);
	w.r.s = &w.s;
	w.r.log = w.log;
	w.r.segment_name = name;
	w.r.generation = 1;
	w.r.options = (struct cache_options){
		.pod_type = TYPE_POD, .node_type = TYPE_NODE, .grow_ahead = true};
	must(recover(&w.r, &e), &e);
	must(log_thread_start(&w.thread, w.log, w.bell, NULL, &e), &e);
	commit_init(&w.c, &w.s, w.thread, w.s.rv, &hooks);
	ports_init(&w.ports, &w.s, &w.c, 1);
	open_rings();
	log_info("recovered resourceVersion %llu", (unsigned long long)w.s.rv);
}

static void remove_one(void *fd, const char *name)
{
	unlinkat(*(int *)fd, name, 0);
}

static void remove_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY);

	w.dir->ops->list(w.dir, remove_one, &fd, NULL);
	close(fd);
	rmdir(dir);
}

static void close_world(const char *dir)
{
	log_thread_stop(w.thread);
	log_close(w.log);
	ports_free(&w.ports);
	commit_free(&w.c);
	store_free(&w.s);
	cw_close(w.r.w);
	seg_unlink(w.r.segment_name, NULL);
	remove_dir(dir);
	file_dir_close(w.dir);
}

/* --- Objects one by one ------------------------------------------------------------- */

static struct str part(const char *text)
{
	static zone *z;
	struct buf json = {0}, out = {0};
	struct str s;
	value v;

	z = z ? z : zone_new();
	for (; *text; text++)
		buf_putc(&json, *text == '\'' ? '"' : *text);
	if (json_decode(z, buf_str(&json), &v, NULL, NULL))
		abort();
	v_encode(&out, &v);
	s = zone_str(z, buf_str(&out));
	buf_free(&json);
	buf_free(&out);
	return s;
}

/* {"v": VALUE_N bytes that begin with `n`}, made in place. */
static struct str value_of(uint64_t n)
{
	static char bytes[6 + VALUE_N + 1];

	memcpy(bytes, "\x81\xa1v\xda", 4);
	bytes[4] = (char)(VALUE_N >> 8);
	bytes[5] = (char)VALUE_N;
	if (!bytes[6])
		memset(bytes + 6, 'x', VALUE_N);
	for (int i = 15; i >= 0; i--, n >>= 4)
		bytes[6 + i] = "0123456789abcdef"[n & 15];
	return (struct str){bytes, 6 + VALUE_N};
}

/* object-0000000 and so on.  The client has to be quicker than the store. */
static struct str name_of(uint32_t n)
{
	static char text[] = "object-0000000";

	for (int i = 13; i >= 7; i--, n /= 10)
		text[i] = (char)('0' + n % 10);
	return (struct str){text, sizeof(text) - 1};
}

static void make_namespace(void)
{
	struct msg m = {.kind = MSG_create,
			.create = {.type = TYPE_NAMESPACE, .name = STR("default")}};

	request(&m);
}

static void create_each(void)
{
	for (uint32_t i = 0; i < w.objects; i++) {
		struct msg m = {.kind = MSG_create,
				.create = {.type = TYPE_CONFIGMAP,
					   .ns = STR("default"),
					   .name = name_of(i),
					   .rest = value_of(i)}};

		request(&m);
	}
}

static void update(uint32_t i)
{
	struct msg m = {.kind = MSG_update,
			.update = {.type = TYPE_CONFIGMAP,
				   .ns = STR("default"),
				   .name = name_of(i),
				   .mask = 1u << PART_REST,
				   .rest = value_of(w.seq)}};

	request(&m);
}

static void update_in_order(void)
{
	for (uint32_t i = 0; i < w.objects; i++)
		update(i);
}

static void update_at_random(void)
{
	struct dice dice = {bench_seed()};

	for (uint32_t i = 0; i < w.objects; i++)
		update(dice_below(&dice, w.objects));
}

/* --- Many at once ------------------------------------------------------------------- */

static void create_pods(void)
{
	struct msg m = {
		.kind = MSG_create_many,
		.create_many = {
			.type = TYPE_POD,
			.ns = STR("default"),
			.prefix = STR("nginx-66b6c48dd5-"),
			.meta = part("{'generateName':'nginx-66b6c48dd5-'}"),
			.labels = part("{'app':'nginx','pod-template-hash':'66b6c48dd5'}"),
			.spec = part(
				"{'containers':[{'name':'nginx','image':'nginx:1.14.2','ports':"
				"[{'containerPort':80,'protocol':'TCP'}],'resources':{}}],"
				"'restartPolicy':'Always','terminationGracePeriodSeconds':30}"),
			.status = part("{'phase':'Pending','qosClass':'BestEffort'}"),
		}};

	for (uint32_t i = 0; i < w.objects; i += BULK) {
		m.create_many.count = w.objects - i < BULK ? w.objects - i : BULK;
		request(&m);
	}
}

static void collect_pods(void)
{
	const struct cache *c = w.s.c;
	struct cache_iter it;
	const struct entry *e;
	uint32_t n = 0;

	cache_iter_init(&it, c, TYPE_POD, (struct str){0}, (struct str){0}, (struct str){0});
	while (n < w.objects && (e = cache_iter_next(&it))) {
		w.entries[n] = cache_entry_ref(c, e).u;
		w.rvs[n++] = cache_newest(c, e)->rv;
	}
	if (n != w.objects)
		fprintf(stderr, "%u pods of %u\n", n, w.objects);
}

static void bind_pods(void)
{
	static uint32_t node_of[BULK];
	struct buf nodes = {0};
	zone *z = zone_new();

	for (uint32_t i = 0; i < w.objects; i += BULK) {
		uint32_t n = w.objects - i < BULK ? w.objects - i : BULK;
		value list = v_array();
		struct msg m;

		for (uint32_t k = 0; k < 1024; k++)
			v_append(z, &list,
				 v_str(zone_printf(z, "node-%u", (i / BULK * 1024 + k) % NODES)));
		for (uint32_t k = 0; k < n; k++)
			node_of[k] = k % 1024;
		nodes.n = 0;
		v_encode(&nodes, &list);
		m = (struct msg){.kind = MSG_bind_many,
				 .bind_many = {.nodes = buf_str(&nodes),
					       .entries = {w.entries + i, n},
					       .rvs = {w.rvs + i, n},
					       .node_of = {node_of, n}}};
		request(&m);
		zone_reset(z);
	}
	buf_free(&nodes);
	zone_free(z);
}

/* A running pod: two times and an address differ. */
static struct str running(zone *z)
{
	value status = v_map(), list = v_array(), ready = v_map();
	struct buf out = {0};

	v_set(z, &status, "phase", v_cstr("Running"));
	v_set(z, &ready, "type", v_cstr("Ready"));
	v_set(z, &ready, "status", v_cstr("True"));
	v_set(z, &ready, "lastTransitionTime", v_hole(z, HOLE_TIME, 0, STR("")));
	v_append(z, &list, ready);
	v_set(z, &status, "conditions", list);
	v_set(z, &status, "podIP", v_hole(z, HOLE_IPV4, 1, STR("")));
	v_set(z, &status, "startTime", v_hole(z, HOLE_TIME, 2, STR("")));
	v_encode(&out, &status);
	return buf_str(&out);
}

static void status_pods(void)
{
	static uint32_t holes[3 * BULK];
	zone *z = zone_new();
	struct str status = running(z);

	for (uint32_t i = 0; i < w.objects; i += BULK) {
		uint32_t n = w.objects - i < BULK ? w.objects - i : BULK;
		struct msg m;

		for (uint32_t k = 0; k < n; k++) {
			holes[3 * k] = holes[3 * k + 2] = 1700000000u;
			holes[3 * k + 1] = 0x0a000000u + i + k;
		}
		m = (struct msg){.kind = MSG_status_many,
				 .status_many = {.type = TYPE_POD,
						 .status = status,
						 .nholes = 3,
						 .entries = {w.entries + i, n},
						 .rvs = {w.rvs + i, n},
						 .holes = {holes, 3 * n}}};
		request(&m);
	}
	zone_free(z);
}

static void delete_pods(void)
{
	for (uint32_t i = 0; i < w.objects; i += BULK) {
		uint32_t n = w.objects - i < BULK ? w.objects - i : BULK;
		struct msg m = {.kind = MSG_delete_many,
				.delete_many = {.type = TYPE_POD,
						.grace = 0,
						.entries = {w.entries + i, n},
						.rvs = {w.rvs + i, n}}};

		request(&m);
	}
}

/* --- Figures ------------------------------------------------------------------------ */

enum { CREATE, ORDER, RANDOM, PODS, BIND, STATUS, DELETE, FIGURES };

static struct bench figures[FIGURES] = {
	[CREATE] = {.name = "store_create",
		    .what = "durable creates of 300 bytes, pipelined",
		    .unit = "M/s",
		    .target = 0},
	[ORDER] = {.name = "store_update_order",
		   .what = "durable updates in order",
		   .unit = "M/s",
		   .target = 1},
	[RANDOM] = {.name = "store_update_random",
		    .what = "durable updates at random",
		    .unit = "M/s",
		    .target = 1},
	[PODS] = {.name = "store_create_many",
		  .what = "pods of a template",
		  .unit = "M/s",
		  .target = 1.5},
	[BIND] = {.name = "store_bind_many", .what = "pods bound", .unit = "M/s", .target = 1.5},
	[STATUS] = {.name = "store_status_many",
		    .what = "pods' statuses",
		    .unit = "M/s",
		    .target = 1.5},
	[DELETE] = {.name = "store_delete_many",
		    .what = "pods deleted at once",
		    .unit = "M/s",
		    .target = 1.5},
};

static void measure(int which, void (*work)(void))
{
	struct took t = run(work);

	bench_add(&figures[which], w.objects / t.wall / 1e6);
	printf("  %-20s %6.2f M/s, %5.2f us of CPU each (client included)\n", figures[which].name,
	       w.objects / t.wall / 1e6, t.cpu / w.objects * 1e6);
	fflush(stdout);
}

static void one_run(const char *dir)
{
	uint64_t before;

	w.seq = w.answered = w.failed = 0;
	open_world(dir);
	run(make_namespace);
	measure(CREATE, create_each);
	measure(ORDER, update_in_order);
	measure(RANDOM, update_at_random);
	before = atomic_load(&cache_arena_stats(w.s.c)->reserved);
	measure(PODS, create_pods);
	collect_pods();
	measure(BIND, bind_pods);
	collect_pods();
	measure(STATUS, status_pods);
	printf("  cache: %.0f bytes for each pod, its history of three versions included\n",
	       (double)(atomic_load(&cache_arena_stats(w.s.c)->reserved) - before) / w.objects);
	collect_pods();
	measure(DELETE, delete_pods);
	close_world(dir);
}

int main(int argc, char **argv)
{
	int runs = bench_runs(argc, argv, 3);
	char dir[512];

	w.objects = argc > 2 ? (uint32_t)atoi(argv[2]) : 1000000;
	w.entries = calloc(w.objects, sizeof(*w.entries));
	w.rvs = calloc(w.objects, sizeof(*w.rvs));
	for (int i = 0; i < runs; i++) {
		snprintf(dir, sizeof(dir), "%s/bench-store-%d-%d", argc > 3 ? argv[3] : ".",
			 getpid(), i);
		one_run(dir);
	}
	for (int i = 0; i < FIGURES; i++)
		bench_report(&figures[i]);
	return 0;
}

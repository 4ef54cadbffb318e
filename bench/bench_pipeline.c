/*
 * bench_pipeline.c - the bare pipeline that weft's cluster is held against: a store and
 * three processes that create pods, bind them and say that they run, as msgpack through
 * rings; a hash index, a version for each write, a log that is synced before anybody hears
 * of a write.  Nothing else: no checks, no order, no owners, no clients.  Its memory and
 * its file are there before the time begins, as a cluster's are that has run for a while.
 *
 * usage: bench_pipeline [RUNS [PODS]]
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "bench/bench.h"
#include "ipc/mp.h"
#include "weft/ring.h"

#define RING_SIZE  (1u << 20)
#define RECORD_MAX 96
#define LOG_MAX	   (RECORD_MAX + 8)
#define TURN	   1024 /* records read from a process before the next has its turn */
#define NODES	   10000

/* What a record says: [op, uid, number, name]. */
enum op { CREATE, BIND, STATUS, OPS };

struct record {
	uint64_t op, uid, number; /* of the node, of the address */
	struct str name;
};

/* --- Rings -------------------------------------------------------------------------- */

struct link {
	struct ring_in in;
	struct ring_out out; /* last: its data follow */
};

#define LINK_BYTES  (sizeof(struct link) + RING_SIZE)
#define LINKS_BYTES (2 * OPS * LINK_BYTES)

static char *links; /* shared by all */

static struct link *to_store(int op)
{
	return (struct link *)(links + 2 * (size_t)op * LINK_BYTES);
}

static struct link *from_store(int op)
{
	return (struct link *)(links + (2 * (size_t)op + 1) * LINK_BYTES);
}

static int store_bell, bell[OPS];

static uint32_t put(char *at, const struct record *r)
{
	char *p = at;

	mp_pack_array(&p, 4);
	mp_pack_uint64(&p, r->op);
	mp_pack_uint64(&p, r->uid);
	mp_pack_uint64(&p, r->number);
	mp_pack_str(&p, r->name.n);
	mp_append(&p, r->name.p, r->name.n);
	return (uint32_t)(p - at);
}

static void get(struct str bytes, struct record *r)
{
	const char *p = bytes.p, *end = bytes.p + bytes.n;
	struct mp_item it[5];

	for (int i = 0; i < 5; i++)
		weft_assert(mp_next(&p, end, &it[i]));
	*r = (struct record){it[1].u, it[2].u, it[3].u, {it[4].p, it[4].n}};
}

static void wait_bell(int fd, int ms)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};

	poll(&ready, 1, ms);
	bell_clear(fd);
}

static bool try_send(struct ring *r, const struct record *rec)
{
	char *at = ring_reserve(r, RECORD_MAX);

	if (at)
		ring_trim(r, put(at, rec));
	return at;
}

static void put_wait(struct ring *r, const struct record *rec)
{
	while (!try_send(r, rec)) {
		ring_commit(r);
		ring_ring(r);
		usleep(100);
	}
}

/* --- The three processes ------------------------------------------------------------ */

/* Spread over the index as random uids are. */
static uint64_t uid_of(uint64_t i)
{
	i = (i ^ i >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	i = (i ^ i >> 27) * UINT64_C(0x94d049bb133111eb);
	return i ^ i >> 31;
}

static void create_all(struct ring *out, uint32_t pods)
{
	char name[64];

	for (uint32_t i = 1; i <= pods; i++) {
		struct record r = {CREATE, uid_of(i), 0, {name, 0}};

		r.name.n = (uint32_t)snprintf(name, sizeof(name),
					      "nginx-deployment-5d59d67564-%08x", i);
		put_wait(out, &r);
	}
	ring_commit(out);
	ring_ring(out);
}

/* Each pod that comes gets the next number: a node, or an address. */
static void answer_all(enum op op, struct ring *in, struct ring *out, uint32_t pods)
{
	uint64_t done = 0;
	struct str bytes;

	while (done < pods) {
		struct record r;
		int k = 0;

		for (; k < TURN && ring_peek(in, &bytes) == 1; k++, done++) {
			get(bytes, &r);
			r = (struct record){op, r.uid, op == BIND ? done % NODES : done, STR("")};
			put_wait(out, &r);
			ring_next(in);
		}
		ring_release(in);
		ring_commit(out);
		ring_ring(out);
		if (!k && ring_sleep(in)) {
			wait_bell(bell[op], 1000);
			ring_awake(in);
		}
	}
}

static pid_t start(enum op op, uint32_t pods)
{
	struct ring in, out;
	pid_t pid = fork();

	if (pid)
		return pid;
	ring_producer(&out, &to_store(op)->out, &to_store(op)->in, store_bell);
	weft_assert(!ring_consumer(&in, &from_store(op)->out, &from_store(op)->in, RING_SIZE,
				   bell[op]));
	if (op == CREATE)
		create_all(&out, pods);
	else
		answer_all(op, &in, &out, pods);
	_exit(0);
}

/* --- The store ---------------------------------------------------------------------- */

struct version {
	struct version *prev;
	uint64_t rv, uid, number;
	enum op op;
	char name[36];
};

/* Writes of one sync, and what the others hear of them then. */
struct batch {
	struct buf log;
	struct buf heard[OPS]; /* uids, for the process that is next */
};

struct store {
	struct ring in[OPS], out[OPS];
	struct version **index; /* by uid, open addressing */
	uint64_t mask, rv;
	struct version *arena, *next; /* next: the first that is free */
	struct batch batch[2], *filling, *flying;
	/* The log's thread. */
	pthread_mutex_t lock;
	pthread_cond_t work;
	bool submitted, synced, over;
	int fd;
};

static void *write_log(void *arg)
{
	struct store *s = arg;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		while (!s->submitted && !s->over)
			pthread_cond_wait(&s->work, &s->lock);
		if (s->over)
			break;
		s->submitted = false;
		pthread_mutex_unlock(&s->lock);
		weft_assert(write(s->fd, s->flying->log.p, s->flying->log.n) ==
			    (ssize_t)s->flying->log.n);
		weft_assert(!fdatasync(s->fd));
		pthread_mutex_lock(&s->lock);
		s->synced = true;
		weft_assert(write(store_bell, &(uint64_t){1}, 8) == 8);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static struct version **place(struct store *s, uint64_t uid)
{
	uint64_t i = uid & s->mask;

	while (s->index[i] && s->index[i]->uid != uid)
		i = (i + 1) & s->mask;
	return &s->index[i];
}

static void apply(struct store *s, struct str bytes)
{
	struct version *v = s->next++, **at;
	struct record r;

	get(bytes, &r);
	at = place(s, r.uid);
	*v = (struct version){
		.prev = *at, .rv = ++s->rv, .uid = r.uid, .number = r.number, .op = r.op};
	memcpy(v->name, r.name.p, r.name.n < sizeof(v->name) ? r.name.n : sizeof(v->name));
	*at = v;
	buf_add(&s->filling->log, &v->rv, sizeof(v->rv));
	buf_add(&s->filling->log, bytes.p, bytes.n);
	if (r.op < STATUS)
		buf_add(&s->filling->heard[r.op + 1], &r.uid, sizeof(r.uid));
}

static bool drain(struct store *s)
{
	bool any = false;
	struct str bytes;

	for (int op = 0; op < OPS; op++) {
		for (int k = 0; k < TURN && ring_peek(&s->in[op], &bytes) == 1; k++) {
			apply(s, bytes);
			ring_next(&s->in[op]);
			any = true;
		}
		ring_release(&s->in[op]);
	}
	return any;
}

/* Tell who is next what is synced: as much as its ring holds; true: all of it. */
static bool tell(struct store *s, struct batch *b)
{
	bool all = true;

	for (int op = BIND; op < OPS; op++) {
		size_t k = 0;

		for (; k < b->heard[op].n; k += 8) {
			struct record r = {.op = (uint64_t)op};

			memcpy(&r.uid, b->heard[op].p + k, 8);
			if (!try_send(&s->out[op], &r))
				break;
		}
		memmove(b->heard[op].p, b->heard[op].p + k, b->heard[op].n - k);
		b->heard[op].n -= k;
		all = all && !b->heard[op].n;
		ring_commit(&s->out[op]);
		ring_ring(&s->out[op]);
	}
	return all;
}

/* The batch that was synced is told; the one that was filled is written.  True if something
 * was done. */
static bool commit(struct store *s)
{
	bool synced;

	pthread_mutex_lock(&s->lock);
	synced = s->synced;
	pthread_mutex_unlock(&s->lock);
	if (s->flying && (!synced || !tell(s, s->flying)))
		return false;
	s->flying = NULL;
	if (!s->filling->log.n)
		return false;
	pthread_mutex_lock(&s->lock);
	s->flying = s->filling;
	s->synced = false;
	s->submitted = true;
	pthread_cond_signal(&s->work);
	pthread_mutex_unlock(&s->lock);
	s->filling = s->filling == &s->batch[0] ? &s->batch[1] : &s->batch[0];
	s->filling->log.n = 0;
	return true;
}

static void rest(struct store *s)
{
	bool asleep = true;

	for (int op = 0; op < OPS; op++)
		asleep = ring_sleep(&s->in[op]) && asleep;
	if (asleep)
		wait_bell(store_bell, 1);
	for (int op = 0; op < OPS; op++)
		ring_awake(&s->in[op]);
}

static void serve(struct store *s, uint64_t writes)
{
	while (s->rv < writes || s->flying || s->filling->log.n) {
		bool did = drain(s);

		if (!commit(s) && !did)
			rest(s);
	}
}

/* Zeroes that are in memory and stay the store's own when the others are forked. */
static void *memory(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	weft_assert(p != MAP_FAILED);
	return p;
}

/* A file that has been written once: `bytes` long, all on the disk. */
static int log_file(size_t bytes)
{
	static const char zeroes[1 << 20];
	int fd = open("bench_pipeline.log", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	weft_assert(fd >= 0);
	unlink("bench_pipeline.log");
	for (size_t n = 0; n < bytes; n += sizeof(zeroes))
		weft_assert(write(fd, zeroes, sizeof(zeroes)) == sizeof(zeroes));
	weft_assert(!fdatasync(fd) && !lseek(fd, 0, SEEK_SET));
	return fd;
}

static size_t slots_for(uint32_t pods)
{
	size_t slots = 1;

	while (slots < 2 * (size_t)pods)
		slots *= 2;
	return slots;
}

static void store_init(struct store *s, uint32_t pods)
{
	*s = (struct store){.lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER};
	s->mask = slots_for(pods) - 1;
	s->index = memory((s->mask + 1) * sizeof(*s->index));
	s->arena = s->next = memory(OPS * (size_t)pods * sizeof(*s->arena));
	s->fd = log_file(OPS * (size_t)pods * LOG_MAX);
	s->filling = &s->batch[0];
	for (int op = 0; op < OPS; op++) {
		weft_assert(!ring_consumer(&s->in[op], &to_store(op)->out, &to_store(op)->in,
					   RING_SIZE, store_bell));
		ring_producer(&s->out[op], &from_store(op)->out, &from_store(op)->in, bell[op]);
	}
}

/* --- Figures ------------------------------------------------------------------------ */

static double cpu_s(void)
{
	struct rusage own, children;

	getrusage(RUSAGE_SELF, &own);
	getrusage(RUSAGE_CHILDREN, &children);
	return (double)(own.ru_utime.tv_sec + own.ru_stime.tv_sec + children.ru_utime.tv_sec +
			children.ru_stime.tv_sec) +
	       (double)(own.ru_utime.tv_usec + own.ru_stime.tv_usec + children.ru_utime.tv_usec +
			children.ru_stime.tv_usec) /
		       1e6;
}

static void one_run(uint32_t pods, struct bench *rate, struct bench *cpu)
{
	double at, used;
	struct store s;
	pthread_t log;
	pid_t pid[OPS];
	int status;

	links = mmap(NULL, LINKS_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	weft_assert(links != MAP_FAILED);
	store_bell = bell_create(NULL);
	for (int op = 0; op < OPS; op++) {
		bell[op] = bell_create(NULL);
		ring_init(&to_store(op)->out, RING_SIZE);
		ring_init(&from_store(op)->out, RING_SIZE);
	}
	store_init(&s, pods);
	at = bench_now();
	used = cpu_s();
	for (int op = OPS - 1; op >= 0; op--)
		pid[op] = start(op, pods);
	weft_assert(!pthread_create(&log, NULL, write_log, &s));
	serve(&s, OPS * (uint64_t)pods);
	bench_add(rate, pods / (bench_now() - at));
	pthread_mutex_lock(&s.lock);
	s.over = true;
	pthread_cond_signal(&s.work);
	pthread_mutex_unlock(&s.lock);
	pthread_join(log, NULL);
	for (int op = 0; op < OPS; op++)
		weft_assert(waitpid(pid[op], &status, 0) == pid[op] && !status);
	bench_add(cpu, (cpu_s() - used) * 1e6 / pods);
	for (int i = 0; i < 2; i++) {
		buf_free(&s.batch[i].log);
		for (int op = 0; op < OPS; op++)
			buf_free(&s.batch[i].heard[op]);
	}
	for (int op = 0; op < OPS; op++)
		close(bell[op]);
	close(store_bell);
	close(s.fd);
	munmap(s.index, (s.mask + 1) * sizeof(*s.index));
	munmap(s.arena, OPS * (size_t)pods * sizeof(*s.arena));
	munmap(links, LINKS_BYTES);
}

int main(int argc, char **argv)
{
	struct bench rate = {
		.name = "pipeline",
		.what = "pods created, bound and running in a bare pipeline, which does nothing else",
		.unit = "pods/s",
	};
	struct bench cpu = {.name = "pipeline/cpu",
			    .what = "of all its processes, for each pod",
			    .unit = "us",
			    .goal = BENCH_LOWER};
	uint32_t pods = argc > 2 ? (uint32_t)atoi(argv[2]) : 1000 * 1000;

	for (int n = bench_runs(argc, argv, 3); n > 0; n--)
		one_run(pods, &rate, &cpu);
	bench_report(&rate);
	bench_report(&cpu);
	return 0;
}

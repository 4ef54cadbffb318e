/*
 * bench_ring.c - work items through a ring: one process encodes a msgpack
 * message for each item into the ring, another decodes it there and looks at
 * what it says.  Both ends sleep when they have nothing to do, as weft's
 * processes do.
 *
 * usage: bench_ring [RUNS [ITEMS]]
 */
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "bench/bench.h"
#include "weft/msg.h"
#include "weft/ring.h"

#define RING_SIZE (1u << 20)
#define BATCH	  64 /* items published, or given back, at once */

struct shared {
	struct ring_in in;
	uint64_t sum;
	struct ring_out out;
};

static void wait_bell(int bell)
{
	struct pollfd fd = {.fd = bell, .events = POLLIN};

	poll(&fd, 1, 1000);
	bell_clear(bell);
}

static bool put_item(struct ring *r, uint32_t entry)
{
	struct msg m = {.kind = MSG_work, .work = {.generation = 1, .type = 7}};
	char *p;

	m.work.entries = (struct u32s){&entry, 1};
	p = ring_reserve(r, (uint32_t)msg_size(&m));
	if (!p)
		return false;
	ring_trim(r, (uint32_t)msg_encode(&m, p));
	return true;
}

/* A full ring: the consumer is behind, so let it run. */
static void produce(struct ring *r, uint32_t items)
{
	uint32_t i = 0;

	while (i < items) {
		bool full = false;

		for (int k = 0; k < BATCH && i < items && !full; k++) {
			full = !put_item(r, i);
			i += !full;
		}
		ring_commit(r);
		ring_ring(r);
		if (full)
			sched_yield();
	}
}

/* Returns the sum of the entries of all items. */
static uint64_t consume(struct ring *r, uint32_t items)
{
	struct msg_scratch scratch = {0};
	uint64_t sum = 0;
	uint32_t done = 0;
	struct str bytes;
	struct msg m;

	while (done < items) {
		int k = 0;

		for (; k < BATCH && ring_peek(r, &bytes) == 1; k++) {
			if (msg_decode(bytes, &m, &scratch, NULL) || m.kind != MSG_work)
				weft_fatal("bad item");
			sum += m.work.entries.p[0];
			ring_next(r);
		}
		ring_release(r);
		done += (uint32_t)k;
		if (!k && ring_sleep(r)) {
			wait_bell(r->bell);
			ring_awake(r);
		}
	}
	buf_free(&scratch.mem);
	return sum;
}

/* Million items a second. */
static double one_run(uint32_t items)
{
	size_t size = sizeof(struct shared) + RING_SIZE;
	struct shared *s =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int bell = bell_create(NULL), status;
	struct ring r;
	double start;
	pid_t pid;

	weft_assert(s != MAP_FAILED && bell >= 0);
	ring_init(&s->out, RING_SIZE);
	start = bench_now();
	pid = fork();
	if (!pid) {
		weft_assert(ring_consumer(&r, &s->out, &s->in, RING_SIZE, bell) == WEFT_OK);
		s->sum = consume(&r, items);
		_exit(0);
	}
	ring_producer(&r, &s->out, &s->in, bell);
	produce(&r, items);
	weft_assert(waitpid(pid, &status, 0) == pid && status == 0);
	start = bench_now() - start;
	weft_assert(s->sum == (uint64_t)items * (items - 1) / 2);
	munmap(s, size);
	close(bell);
	return items / start / 1e6;
}

int main(int argc, char **argv)
{
	struct bench b = {
		.name = "ring",
		.what = "msgpack work items, encoded by one process and decoded by another",
		.unit = "M items/s",
		.target = 10,
	};
	uint32_t items = argc > 2 ? (uint32_t)atoi(argv[2]) : 10 * 1000 * 1000;

	for (int n = bench_runs(argc, argv, 5); n > 0; n--)
		bench_add(&b, one_run(items));
	bench_report(&b);
	return 0;
}

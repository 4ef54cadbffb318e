/*
 * hostile.c - does to a process's own segment and ring what a process gone wild
 * might: `hostile DATA PROCESS/SHARD HOW SEED MILLISECONDS`.  The process itself
 * should be stopped meanwhile, as its ring has one writer; its heartbeat is kept
 * for it unless that is what is damaged.
 *
 *   ring       records that are no messages, lengths that cannot be
 *   heads      positions of both of its rings' ends
 *   false      requests that are well formed and false (hostile.h)
 *   readers    its reader words: it seems to be in a read section
 *   heartbeat  a time far ahead
 *   counters   rubbish in every counter
 *   segment    rubbish everywhere in its segment, the header included
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "procs/supervisor/supervisor.h"
#include "shm/cache_priv.h"
#include "tests/fault/hostile.h"
#include "weft/proc.h"

struct victim {
	const struct control *control;
	const struct slot *slot;
	uint32_t index;
	struct proc_segment *own;
	size_t bytes;
	struct ring out;
	struct cache cache;
	struct hostile h;
};

/* --- Attaching, without the checks that would refuse us ----------------------------- */

static void *map_segment(const char *name, bool writable, size_t *bytes)
{
	int fd = shm_open(name, writable ? O_RDWR : O_RDONLY, 0);
	off_t n = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
	void *p = n ? mmap(NULL, (size_t)n, writable ? PROT_READ | PROT_WRITE : PROT_READ,
			   MAP_SHARED, fd, 0)
		    : MAP_FAILED;

	if (p == MAP_FAILED)
		weft_fatal("cannot map '%s'", name);
	close(fd);
	if (bytes)
		*bytes = (size_t)n;
	return p;
}

static uint32_t find_slot(const struct control *control, const char *who)
{
	for (uint32_t i = 0; i < PROC_SLOTS; i++) {
		const struct slot *s = &control->slots[i];
		char name[32];

		snprintf(name, sizeof(name), "%s/%u", proc_kind_info(s->kind)->name, s->shard);
		if (atomic_load(&s->state) == SLOT_RUNNING && strcmp(name, who) == 0)
			return i;
	}
	weft_fatal("no process '%s' runs", who);
}

static void attach(struct victim *v, const char *data, const char *who)
{
	struct datadir dir;
	struct err e = {0};
	char name[SEG_NAME_MAX];
	uint32_t incarnation;

	if (datadir_find(&dir, data, &e))
		weft_fatal("%s", e.msg);
	proc_name_control(name, dir.cluster);
	v->control = map_segment(name, false, NULL);
	v->index = find_slot(v->control, who);
	v->slot = &v->control->slots[v->index];
	incarnation = atomic_load(&v->slot->incarnation);
	proc_name_proc(name, dir.cluster, v->index, incarnation);
	v->own = map_segment(name, true, &v->bytes);
	if (v->slot->kind != PROC_STORE) {
		proc_name_inbox(name, dir.cluster, v->index, incarnation);
		ring_producer(&v->out, &v->own->out,
			      &((struct inbox_segment *)map_segment(name, false, NULL))->requests,
			      -1);
	}
	proc_name_cache(name, dir.cluster, atomic_load(&v->control->generation));
	v->cache.base = map_segment(name, false, NULL);
	v->cache.h = (struct cache_header *)v->cache.base;
	v->cache.reader = &v->own->readers[PRCU_READERS_MAX - 1]; /* nobody else's, as a rule */
	prcu_register_process(&v->cache.h->gp, NULL);
	v->h.c = &v->cache;
	v->h.generation = atomic_load(&v->control->generation);
	v->h.epoch = SHARD_EPOCH(atomic_load(&v->control->maps[v->slot->kind].now));
}

/* --- Doing harm --------------------------------------------------------------------- */

static void beat(struct victim *v)
{
	atomic_store(&v->own->heartbeat_ns, proc_mono_ns());
}

static void put(struct victim *v, const char *p, uint32_t n)
{
	void *at = n ? ring_reserve(&v->out, n) : NULL;

	if (!at)
		return;
	memcpy(at, p, n);
	ring_commit(&v->out);
}

static void harm_ring(struct victim *v)
{
	struct buf text = {0};

	beat(v);
	hostile_raw(&v->h, &text, 1 + hostile_below(&v->h, 200));
	put(v, text.p, (uint32_t)text.n);
	/* The next length, before it is published. */
	if (hostile_one_in(&v->h, 8)) {
		uint64_t at = atomic_load(&v->own->out.head) & (v->own->out.size - 1);

		*(uint32_t *)(v->own->out.data + at) = (uint32_t)hostile_number(&v->h);
		atomic_fetch_add(&v->own->out.head, 64);
		v->out.pos = atomic_load(&v->own->out.head);
	}
	buf_free(&text);
}

static void harm_heads(struct victim *v)
{
	beat(v);
	atomic_store(&v->own->out.head, hostile_number(&v->h));
	atomic_store(&v->own->inbox.tail, hostile_number(&v->h));
	atomic_store(&v->own->inbox.asleep, (uint32_t)hostile_number(&v->h));
	atomic_store(&v->own->inbox.overflow_seen, (uint32_t)hostile_number(&v->h));
	v->own->out.size = (uint32_t)hostile_number(&v->h);
}

static void harm_false(struct victim *v)
{
	struct msg m;
	char *p;

	beat(v);
	cache_lock(&v->cache);
	if (!v->h.nknown || hostile_one_in(&v->h, 50)) {
		v->h.nknown = 0;
		for (uint16_t t = 1; t < TYPE_MAX; t++)
			hostile_look(&v->h, t);
	}
	hostile_message(&v->h, &m);
	cache_unlock(&v->cache);
	if (!msg_request(&m))
		return;
	p = malloc(msg_size(&m));
	put(v, p, (uint32_t)msg_encode(&m, p));
	free(p);
}

static void harm_readers(struct victim *v)
{
	beat(v);
	for (int i = 0; i < PRCU_READERS_MAX; i++)
		atomic_store(&v->own->readers[i].word, 1);
}

static void harm_heartbeat(struct victim *v)
{
	atomic_store(&v->own->heartbeat_ns, INT64_MAX - (int64_t)hostile_below(&v->h, 1000));
}

static void harm_counters(struct victim *v)
{
	_Atomic uint64_t *n = (_Atomic uint64_t *)&v->own->counters;

	beat(v);
	for (size_t i = 0; i < sizeof(v->own->counters) / sizeof(*n); i++)
		atomic_store(&n[i], hostile_one_in(&v->h, 4) ? hostile_number(&v->h)
							     : cache_rv(&v->cache));
	atomic_store(&v->own->generation, (uint32_t)hostile_number(&v->h));
	atomic_store(&v->own->listen_port, (uint32_t)hostile_number(&v->h));
	for (int k = 0; k < PROC_KIND_COUNT; k++)
		atomic_store(&v->own->epochs[k], (uint32_t)hostile_number(&v->h));
	atomic_store(&v->own->made_generation, (uint32_t)hostile_number(&v->h));
	atomic_store(&v->own->stalled_slot, hostile_number(&v->h));
	atomic_store(&v->own->hostile_slot, hostile_number(&v->h));
}

static void harm_segment(struct victim *v)
{
	for (int i = 0; i < 4096; i++)
		((char *)v->own)[hostile_below(&v->h, (uint32_t)v->bytes)] =
			(char)hostile_below(&v->h, 256);
}

static const struct {
	const char *name;
	void (*fn)(struct victim *v);
	uint32_t pause_us; /* between two */
} harms[] = {{"ring", harm_ring, 20},
	     {"heads", harm_heads, 1000},
	     {"false", harm_false, 20},
	     {"readers", harm_readers, 1000},
	     {"heartbeat", harm_heartbeat, 1000},
	     {"counters", harm_counters, 1000},
	     {"segment", harm_segment, 1000}};

int main(int argc, char **argv)
{
	static struct victim v;
	int64_t until;

	if (argc != 6)
		weft_fatal("usage: hostile DATA PROCESS/SHARD HOW SEED MILLISECONDS");
	v.h.random = strtoull(argv[4], NULL, 10);
	attach(&v, argv[1], argv[2]);
	until = proc_mono_ns() + strtoll(argv[5], NULL, 10) * 1000000;
	for (size_t i = 0; i < countof(harms); i++) {
		uint32_t incarnation = atomic_load(&v.slot->incarnation);

		if (strcmp(harms[i].name, argv[3]))
			continue;
		/* Until it was ended, or for as long as was said. */
		while (proc_mono_ns() < until && atomic_load(&v.slot->state) == SLOT_RUNNING &&
		       atomic_load(&v.slot->incarnation) == incarnation) {
			harms[i].fn(&v);
			usleep(harms[i].pause_us);
		}
		return 0;
	}
	weft_fatal("there is no harm '%s'", argv[3]);
}

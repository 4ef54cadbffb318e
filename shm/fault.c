/* fault.c - points at which a test does harm: what fault.h promises. */
#include "weft/fault.h"

#ifdef WEFT_FAULTS

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "weft/base.h"

_Static_assert(FAULT_COUNT <= FAULT_SLOTS_MAX, "the file holds all points");
_Static_assert(FAULT_SLOTS_AT + FAULT_SLOTS_MAX * sizeof(struct fault_slot) <= FAULT_FILE_BYTES,
	       "the file holds all points");

static struct fault_head *head;
static uint32_t my_kind;
static uint64_t my_salt;
static _Atomic uint64_t passes[FAULT_COUNT]; /* of this process */

/* --- The file ------------------------------------------------------------------- */

static struct fault_slot *slot_of(enum fault f)
{
	return (struct fault_slot *)((char *)head + FAULT_SLOTS_AT) + f;
}

/* Whoever comes first; those who do it at the same time write the same. */
static void name_points(void)
{
	static const char *const names[] = {
#define FAULT(name, where) [FAULT_##name] = #name,
#include "weft/faults.def"
#undef FAULT
	};

	for (int f = 0; f < FAULT_COUNT; f++) {
		weft_assert(strlen(names[f]) < sizeof(slot_of(f)->name));
		memcpy(slot_of(f)->name, names[f], strlen(names[f]) + 1);
	}
	head->count = FAULT_COUNT;
	head->slot_bytes = sizeof(struct fault_slot);
	/* [fault.R1] pairs with [fault.A1]: the names are there. */
	atomic_store_explicit(&head->magic, FAULT_MAGIC, memory_order_release);
}

/* Before main(): also whoever never becomes a process of a cluster. */
__attribute__((constructor)) static void map_file(void)
{
	const char *path = getenv("WEFT_FAULT_FILE");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *p = MAP_FAILED;

	if (fd >= 0) {
		p = mmap(NULL, FAULT_FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		close(fd);
	}
	if (p == MAP_FAILED)
		return;
	head = p;
	/* [fault.A1] pairs with [fault.R1] */
	if (atomic_load_explicit(&head->magic, memory_order_acquire) != FAULT_MAGIC)
		name_points();
}

struct fault_head *fault_file(void)
{
	return head;
}

void fault_process(uint32_t kind_bit, uint32_t slot, uint32_t incarnation)
{
	my_kind = kind_bit;
	my_salt = (uint64_t)incarnation << 32 | slot;
}

void fault_clock(struct clock_page *page)
{
	if (!head)
		return;
	/* Relaxed: each is read alone. */
	atomic_store_explicit(&page->wall_offset_ns, atomic_load(&head->wall_offset_ns),
			      memory_order_relaxed);
	atomic_store_explicit(&page->mono_offset_ns, atomic_load(&head->mono_offset_ns),
			      memory_order_relaxed);
}

/* --- Chance ------------------------------------------------------------------------ */

static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

/* One less, unless it is 0 already; false then. */
static bool take_one(_Atomic uint32_t *n)
{
	uint32_t have = atomic_load(n);

	while (have && have != FAULT_FOR_EVER)
		if (atomic_compare_exchange_weak(n, &have, have - 1))
			return true;
	return have != 0;
}

/* --- What a point does -------------------------------------------------------------- */

static void sleep_us(uint32_t us)
{
	struct timespec t = {us / 1000000, (long)(us % 1000000) * 1000};

	nanosleep(&t, NULL);
}

static void hold(struct fault_slot *s)
{
	while (atomic_load(&s->action) == FAULT_HOLD)
		sleep_us(1000);
}

static void give_way(uint32_t most_us, uint64_t random)
{
	if (random & 1)
		sched_yield();
	else
		sleep_us((uint32_t)((random >> 8) % (most_us + UINT64_C(1))));
}

static bool fire(struct fault_slot *s, uint32_t action, uint64_t random)
{
	atomic_fetch_add(&s->fired, 1);
	switch ((enum fault_action)action) {
	case FAULT_NONE:
		break;
	case FAULT_KILL:
		fault_disk_lock();
		kill(getpid(), SIGKILL);
		pause();
		break;
	case FAULT_STOP:
		kill(getpid(), SIGSTOP);
		break;
	case FAULT_WAIT:
		sleep_us(s->arg);
		break;
	case FAULT_YIELD:
		give_way(s->arg, random);
		break;
	case FAULT_FAIL:
		errno = (int)s->arg;
		return true;
	case FAULT_HOLD:
		hold(s);
		break;
	}
	return false;
}

bool fault_pass(enum fault f)
{
	int saved = errno;
	struct fault_slot *s;
	uint32_t action;
	uint64_t random;
	bool fails;

	if (!head)
		return false;
	s = slot_of(f);
	/* The test stored it after the other fields. */
	action = atomic_load_explicit(&s->action, memory_order_acquire);
	if (action != FAULT_NONE && !(s->kinds & my_kind))
		return false;
	atomic_fetch_add_explicit(&s->hits, 1, memory_order_relaxed);
	random = mix(mix(mix(head->seed ^ (uint64_t)f << 56) ^ my_salt) ^
		     atomic_fetch_add_explicit(&passes[f], 1, memory_order_relaxed));
	if (action == FAULT_NONE || take_one(&s->skip) || (uint32_t)random > s->chance ||
	    !take_one(&s->times))
		return false;
	fails = fire(s, action, random >> 32);
	if (!fails)
		errno = saved;
	return fails;
}

#endif

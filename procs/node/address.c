/* address.c - addresses for pods and nodes; see address.h. */
#include "procs/node/address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "procs/kube/peek.h"

#define BLOCK	  256u
#define ROUND_MIN 65536u
#define ROOM_MIN  65536u /* addresses above a predecessor's mark that are worth it */

int addresses_init(struct addresses *a, struct str cidr, uint32_t share, uint32_t shares)
{
	char text[64], *slash;
	long bits;
	uint32_t ip;

	if (cidr.n >= sizeof(text))
		return WEFT_EINVAL;
	snprintf(text, sizeof(text), STR_FMT, STR_ARG(cidr));
	slash = strchr(text, '/');
	if (!slash)
		return WEFT_EINVAL;
	*slash = 0;
	bits = strtol(slash + 1, NULL, 10);
	ip = address_parse(str_of(text));
	if (!ip || bits < 4 || bits > 30)
		return WEFT_EINVAL;
	*a = (struct addresses){.share = share, .shares = shares ? shares : 1};
	a->count = 1u << (32 - bits);
	a->first = ip & ~(a->count - 1);
	a->holder = calloc(a->count, sizeof(*a->holder));
	weft_assert(a->holder);
	return 0;
}

void addresses_free(struct addresses *a)
{
	free(a->holder);
	*a = (struct addresses){0};
}

/* --- The mark ----------------------------------------------------------------------- */

#define LEFT_WORD(epoch, mark) ((uint64_t)(epoch) << 32 | (mark))
#define LEFT_EPOCH(word)       ((uint32_t)((word) >> 32))
#define LEFT_MARK(word)	       ((uint32_t)(word))

/* What is below the floor others may hold. */
static void leave(struct addresses *a)
{
	uint32_t mark = a->mark > a->floor ? a->mark : a->floor;

	/* Whoever reads it has seen our end, and all requests before that. */
	if (a->left)
		atomic_store_explicit(a->left, LEFT_WORD(a->epoch, mark), memory_order_relaxed);
}

static void raise_mark(struct addresses *a, uint32_t i)
{
	if (i < a->mark)
		return;
	a->mark = i + 1;
	if (a->mark > a->floor)
		leave(a);
}

bool addresses_above(struct addresses *a, uint64_t left, uint32_t epoch)
{
	uint32_t mark = LEFT_MARK(left);

	if (LEFT_EPOCH(left) != epoch || !mark || mark > a->count ||
	    (a->count - mark) / a->shares < ROOM_MIN)
		return false;
	a->next = a->floor = mark;
	return true;
}

void addresses_known(struct addresses *a)
{
	a->floor = 0;
	leave(a);
}

void addresses_leave(struct addresses *a, _Atomic uint64_t *to, uint32_t epoch)
{
	a->left = to;
	a->epoch = epoch;
	leave(a);
}

/* --- Taken, marked, given back ------------------------------------------------------ */

/* The first and last address of a range have other uses by custom. */
static bool may_take(const struct addresses *a, uint32_t i)
{
	return i != 0 && i != a->count - 1 && i / BLOCK % a->shares == a->share && !a->holder[i];
}

static void set_holder(struct addresses *a, uint32_t i, uint32_t holder)
{
	a->held += (holder != 0) - (a->holder[i] != 0);
	a->holder[i] = holder;
	a->full = a->full && holder;
	if (holder)
		raise_mark(a, i);
}

/* Under a floor: upwards, and never round, as what is below may be held. */
static uint32_t take_above(struct addresses *a, uint32_t holder)
{
	while (a->next < a->count) {
		uint32_t i = a->next++;

		if (may_take(a, i)) {
			set_holder(a, i, holder);
			return a->first + i;
		}
	}
	return 0;
}

/* Addresses are taken in rounds of so many of the range: four times what is held, so that one
 * is not used again soon, and no more, as each that was ever used takes memory. */
static uint32_t round_of(const struct addresses *a)
{
	uint64_t unit = (uint64_t)BLOCK * a->shares;
	uint64_t n = ((ROUND_MIN + 4 * (uint64_t)a->held) / BLOCK + 1) * unit;

	return n < a->count ? (uint32_t)n : a->count;
}

static uint32_t take_round(struct addresses *a, uint32_t holder)
{
	uint32_t round = round_of(a);

	for (uint32_t tries = 0; !a->full && tries < a->count; tries++) {
		uint32_t i = a->next++ % round;

		if (i % BLOCK == 0 && i / BLOCK % a->shares != a->share) {
			a->next += BLOCK - 1;
			tries += BLOCK - 1;
			continue;
		}
		if (may_take(a, i)) {
			set_holder(a, i, holder);
			return a->first + i;
		}
	}
	a->full = true;
	return 0;
}

uint32_t address_take(struct addresses *a, uint32_t holder)
{
	return a->floor ? take_above(a, holder) : take_round(a, holder);
}

void address_mark(struct addresses *a, uint32_t ip, uint32_t holder)
{
	uint32_t i = ip - a->first;

	if (ip >= a->first && i < a->count)
		set_holder(a, i, holder);
}

void address_note(struct addresses *a, uint32_t ip, uint32_t holder)
{
	uint32_t i = ip - a->first;

	if (ip >= a->first && i < a->count && !a->holder[i])
		set_holder(a, i, holder);
}

void address_give(struct addresses *a, uint32_t ip, uint32_t holder)
{
	uint32_t i = ip - a->first;

	if (ip >= a->first && i < a->count && a->holder[i] == holder)
		set_holder(a, i, 0);
}

/* --- Of a text, and of a node ------------------------------------------------------- */

uint32_t address_parse(struct str text)
{
	char buf[16];
	struct in_addr in;

	if (!text.n || text.n >= sizeof(buf))
		return 0;
	memcpy(buf, text.p, text.n);
	buf[text.n] = 0;
	return inet_pton(AF_INET, buf, &in) == 1 ? ntohl(in.s_addr) : 0;
}

uint32_t address_of_node(struct str status)
{
	struct peek list = peek_of(peek_get(status, STR("addresses")));
	uint32_t ip = 0;

	for (uint32_t n = peek_array(&list); n && !ip; n--) {
		struct str one = peek_raw(&list);
		struct peek type = peek_of(peek_get(one, STR("type")));
		struct peek address = peek_of(peek_get(one, STR("address")));

		if (str_eq(peek_str(&type), STR("InternalIP")))
			ip = address_parse(peek_str(&address));
	}
	return ip;
}

uint32_t address_settle(struct addresses *a, uint32_t ip, uint32_t shown, uint32_t holder)
{
	if (!shown)
		return ip ? ip : address_take(a, holder);
	if (shown != ip) {
		address_give(a, ip, holder);
		address_mark(a, shown, holder);
	}
	return shown;
}

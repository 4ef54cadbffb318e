/*
 * ipc_random.h - what the tests of the codecs share: a generator with a printed
 * seed (WEFT_SEED sets it), random values, and the runner.
 */
#ifndef IPC_RANDOM_H
#define IPC_RANDOM_H

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/suite.h"
#include "weft/json.h"

static uint64_t rnd_state;

static inline void rnd_seed(void)
{
	const char *seed = getenv("WEFT_SEED");

	rnd_state =
		seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL) * 1000 + (uint64_t)getpid();
	printf("WEFT_SEED=%llu\n", (unsigned long long)rnd_state);
	fflush(stdout);
	rnd_state = rnd_state * 2 + 1;
}

static inline uint64_t rnd64(void)
{
	uint64_t x = (rnd_state += 0x9e3779b97f4a7c15u);

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static inline uint32_t rnd(uint32_t n)
{
	return (uint32_t)(rnd64() % n);
}

/* A number whose size in bits is random, so that small ones are frequent. */
static inline uint64_t rnd_sized(void)
{
	return rnd64() >> rnd(64);
}

/* Up to `max` characters: plain, such as have to be escaped, and wide ones. */
static inline struct str rnd_str(zone *z, uint32_t max)
{
	/* clang-format off */
	static const char *const pieces[] = {
		"a", "Z", "9", " ", "-", ":", "#", "\"", "\\", "/", "<", ">", "&", "\n", "\t", "\r",
		"\b", "\f", "\x01", "\x1f", "\x7f", "\xc3\xa9", "\xe2\x82\xac", "\xe2\x80\xa8",
		"\xe2\x80\xa9", "\xf0\x9f\x98\x80", "yes", "null", "0x1f", "010", "1e3", "<<", "{", "[",
	};
	/* clang-format on */
	struct str s = zone_printf(z, "%*s", (int)(4 * max), "");
	char *p = (char *)s.p;
	bool tame = rnd(2);

	for (uint32_t n = rnd(max + 1); n; n--) {
		const char *piece = pieces[rnd(tame ? 5 : countof(pieces))];

		memcpy(p, piece, strlen(piece));
		p += strlen(piece);
	}
	return (struct str){s.p, (uint32_t)(p - s.p)};
}

/* A double that is not whole: whole ones read back as integers. */
static inline double rnd_double(void)
{
	double d = ((double)(int64_t)rnd64() + 0.5) / (double)(1 + rnd_sized());

	return d == (double)(int64_t)d ? 0.1 : d;
}

static inline value rnd_value(zone *z, unsigned depth);

static inline value rnd_container(zone *z, unsigned depth)
{
	bool map = rnd(2);
	value v = map ? v_map() : v_array();

	for (uint32_t i = 0, n = rnd(20) ? rnd(6) : rnd(60); i < n; i++) {
		if (map)
			v_setn(z, &v, rnd_str(z, 6), rnd_value(z, depth - 1));
		else
			v_append(z, &v, rnd_value(z, depth - 1));
	}
	return v;
}

static inline value rnd_value(zone *z, unsigned depth)
{
	switch (rnd(depth ? 12 : 8)) {
	case 0:
		return v_null();
	case 1:
		return v_bool(rnd(2));
	case 2:
		return v_int((int64_t)(rnd_sized() >> 1));
	case 3:
		return v_int(-(int64_t)(rnd_sized() >> 1));
	case 4:
		return v_float(rnd_double());
	case 5:
	case 6:
		return v_str(rnd_str(z, 20));
	case 7:
		return v_str(rnd_str(z, 300));
	default:
		return rnd_container(z, depth);
	}
}

/* All tests of one file; returns main()'s status. */
static inline int run_tests(const char *name, void (*add)(TCase *tc))
{
	Suite *s = suite_create(name);
	TCase *tc = tcase_create(name);

	rnd_seed();
	tcase_set_timeout(tc, 60);
	add(tc);
	suite_add_tcase(s, tc);
	return run_suite(s);
}

#define ck_str_is(s, text)                                                                         \
	do {                                                                                       \
		struct str got_ = (s);                                                             \
		ck_assert_msg(str_eq(got_, str_of(text)), "\"%.*s\" is not \"%s\"", STR_ARG(got_), \
			      text);                                                               \
	} while (0)

#endif

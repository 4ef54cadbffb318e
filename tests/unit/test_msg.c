/*
 * test_msg.c - messages: random ones of every kind round trip, and nothing that
 * is cut short or damaged does harm.
 */
#include "ipc_random.h"
#include "weft/msg.h"

static zone *z;

static void set_up(void)
{
	z = zone_new();
}

static void tear_down(void)
{
	zone_free(z);
}

static const enum msg_kind kinds[] = {
#define MSG(name, num) MSG_##name,
#define FIELD(kind, field)
#define END(name)
#include "weft/messages.def"
#undef MSG
#undef FIELD
#undef END
#undef REQUEST_FIELDS
};

/* --- Random and equal, field by field --------------------------------------------- */

#define fill_U8(f)   (*(f) = (uint8_t)rnd_sized())
#define fill_U16(f)  (*(f) = (uint16_t)rnd_sized())
#define fill_U32(f)  (*(f) = (uint32_t)rnd_sized())
#define fill_U64(f)  (*(f) = rnd_sized())
#define fill_I32(f)  (*(f) = (int32_t)(rnd(2) ? rnd_sized() : -rnd_sized()))
#define fill_I64(f)  (*(f) = (int64_t)(rnd(2) ? rnd_sized() : -rnd_sized()))
#define fill_BOOL(f) (*(f) = rnd(2))
#define fill_STR(f)  (*(f) = rnd_str(z, rnd(10) ? 40 : 70000))
#define fill_UID(f)  (*(f) = rnd(2) ? STR("0123456789abcdef") : STR(""))

static void *random_array(uint32_t each, uint32_t *n)
{
	*n = rnd(3) ? rnd(20) : rnd(2) ? 0 : rnd(30000);

	uint8_t *p = zone_alloc(z, (size_t)each * *n + 1);

	for (size_t i = 0; i < (size_t)each * *n; i++)
		p[i] = (uint8_t)rnd64();
	return p;
}

static void fill_U32S(struct u32s *f)
{
	f->p = random_array(4, &f->n);
}

static void fill_U64S(struct u64s *f)
{
	f->p = random_array(8, &f->n);
}

#define same_U8(a, b)	((a) == (b))
#define same_U16(a, b)	((a) == (b))
#define same_U32(a, b)	((a) == (b))
#define same_U64(a, b)	((a) == (b))
#define same_I32(a, b)	((a) == (b))
#define same_I64(a, b)	((a) == (b))
#define same_BOOL(a, b) ((a) == (b))
#define same_STR(a, b)	str_eq(a, b)
#define same_UID(a, b)	str_eq(a, b)
#define same_U32S(a, b) ((a).n == (b).n && memcmp((a).p, (b).p, 4ul * (a).n) == 0)
#define same_U64S(a, b) ((a).n == (b).n && memcmp((a).p, (b).p, 8ul * (a).n) == 0)

static struct msg random_msg(enum msg_kind kind)
{
	struct msg m = {.kind = kind};

	switch (kind) {
#define MSG(name, num)     \
	case MSG_##name: { \
		struct msg_##name *x = &m.name;
#define FIELD(kind, field) fill_##kind(&x->field);
#define END(name) \
	break;    \
	}
#include "weft/messages.def"
#undef MSG
#undef FIELD
#undef END
#undef REQUEST_FIELDS
	}
	return m;
}

static bool same_msg(const struct msg *a, const struct msg *b)
{
	if (a->kind != b->kind)
		return false;
	switch (a->kind) {
#define MSG(name, num)     \
	case MSG_##name: { \
		const struct msg_##name *x = &a->name, *y = &b->name;
#define FIELD(kind, field)                    \
	if (!same_##kind(x->field, y->field)) \
		return false;
#define END(name)    \
	return true; \
	}
#include "weft/messages.def"
#undef MSG
#undef FIELD
#undef END
#undef REQUEST_FIELDS
	}
	return false;
}

/* Encoded at exactly its size, so that a sanitizer sees every byte too many. */
static struct str encoded(const struct msg *m)
{
	size_t max = msg_size(m), n;
	char *p = malloc(max);
	struct str s;

	n = msg_encode(m, p);
	ck_assert_uint_le(n, max);
	s = zone_str(z, (struct str){p, (uint32_t)n});
	free(p);
	return s;
}

/* A copy that ends where its memory ends. */
static struct str exact(struct str s, uint32_t n)
{
	char *p = malloc(n ? n : 1);

	memcpy(p, s.p, n);
	return (struct str){p, n};
}

/* --- Tests -------------------------------------------------------------------------- */

START_TEST(random_round_trip)
{
	struct msg_scratch scratch = {0};
	struct err e;

	for (int i = 0; i < 2000; i++) {
		struct msg m = random_msg(kinds[rnd(countof(kinds))]), back;

		memset(&back, 0xa5, sizeof(back));
		ck_assert_msg(msg_decode(encoded(&m), &back, &scratch, &e) == WEFT_OK, "%s", e.msg);
		ck_assert_msg(same_msg(&m, &back), "%s", msg_name(m.kind));
		zone_reset(z);
	}
	buf_free(&scratch.mem);
}
END_TEST

START_TEST(every_truncation_is_refused)
{
	struct msg_scratch scratch = {0};

	for (size_t k = 0; k < countof(kinds); k++) {
		struct msg m = random_msg(kinds[k]), back;
		struct str bytes = encoded(&m);

		for (uint32_t n = 0; n < bytes.n; n += 1 + n / 300) {
			struct str cut = exact(bytes, n);

			ck_assert_int_eq(msg_decode(cut, &back, &scratch, NULL), WEFT_EINVAL);
			free((char *)cut.p);
		}
	}
	buf_free(&scratch.mem);
}
END_TEST

static void decode_flipped(struct str bytes, uint32_t bit, struct msg_scratch *scratch)
{
	struct str damaged = exact(bytes, bytes.n);
	struct buf text = {0};
	struct msg back;

	((char *)damaged.p)[bit / 8] ^= (char)(1 << bit % 8);
	if (msg_decode(damaged, &back, scratch, NULL) == WEFT_OK) {
		ck_assert_ptr_nonnull(strstr(msg_name(back.kind), ""));
		msg_print(&text, &back);
		encoded(&back);
	}
	buf_free(&text);
	free((char *)damaged.p);
}

/* Refused, or a message like any other. */
START_TEST(every_bit_flip_does_no_harm)
{
	struct msg_scratch scratch = {0};

	for (size_t k = 0; k < countof(kinds); k++) {
		struct msg m = random_msg(kinds[k]);
		struct str bytes = encoded(&m);

		for (uint32_t bit = 0; bit < 8 * bytes.n; bit += 1 + bit / 400)
			decode_flipped(bytes, bit, &scratch);
		zone_reset(z);
	}
	buf_free(&scratch.mem);
}
END_TEST

START_TEST(rubbish_is_refused)
{
	static const struct {
		const char *bytes;
		uint32_t n;
		const char *word;
	} bad[] = {
		{"", 0, "not a message"},
		{"\x80", 1, "not a message"},
		{"\x90", 1, "not a message"},
		{"\x91\xc0", 2, "not a message"},
		{"\x91\x63", 2, "unknown kind 99"},
		{"\x92\x21\x01", 3, "work: 1 fields"},
		{"\x94\x21\x01\xa0\xc4\x00", 6, "field 'type'"},
		{"\x94\x21\x01\x01\xc4\x02xx", 8, "field 'entries'"},
		{"\x94\x21\x01\xce\x00\x01\x00\x00\xc4\x00", 10, "field 'type'"}, /* 65536 */
		{"\x94\x21\xff\x01\xc4\x00", 6, "field 'generation'"},		  /* -1 */
		{"\x94\x21\x01\x01\xc4\x00\x00", 7, "too many"},
	};
	struct msg_scratch scratch = {0};
	struct msg m;
	struct err e;

	for (size_t i = 0; i < countof(bad); i++) {
		ck_assert_int_eq(msg_decode((struct str){bad[i].bytes, bad[i].n}, &m, &scratch, &e),
				 WEFT_EINVAL);
		ck_assert_msg(strstr(e.msg, bad[i].word) != NULL, "'%s' does not say '%s'", e.msg,
			      bad[i].word);
	}
	buf_free(&scratch.mem);
}
END_TEST

/* Arrays are aligned and no longer in the record when they have been decoded. */
START_TEST(arrays_leave_the_record)
{
	static const uint32_t entries[] = {1, 2, 3};
	static const uint64_t rvs[] = {10, 20, 30};
	struct msg m = {.kind = MSG_delete_many}, back;
	struct msg_scratch scratch = {0};
	struct str bytes;

	m.delete_many.entries = (struct u32s){entries, 3};
	m.delete_many.rvs = (struct u64s){rvs, 3};
	bytes = encoded(&m);
	ck_assert_int_eq(msg_decode(bytes, &back, &scratch, NULL), WEFT_OK);
	memset((char *)bytes.p, 0xff, bytes.n);
	ck_assert_uint_eq((uintptr_t)back.delete_many.rvs.p % 8, 0);
	ck_assert_mem_eq(back.delete_many.entries.p, entries, sizeof(entries));
	ck_assert_mem_eq(back.delete_many.rvs.p, rvs, sizeof(rvs));
	buf_free(&scratch.mem);
}
END_TEST

static bool contains(const struct buf *b, const char *text)
{
	return memmem(b->p, b->n, text, strlen(text)) != NULL;
}

START_TEST(printed_for_people)
{
	static const uint32_t entries[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
	struct msg work = {.kind = MSG_work, .work = {.generation = 2, .type = 7}},
		   remove = {.kind = MSG_remove, .remove = {.seq = 1, .grace = -1}};
	struct buf out = {0};

	work.work.entries = (struct u32s){entries, 10};
	msg_print(&out, &work);
	ck_str_is(buf_str(&out),
		  "work{generation:2, type:7, entries:[1, 2, 3, 4, 5, 6, 7, 8, ... 10 in all]}");
	out.n = 0;
	remove.remove.ns = STR("default");
	remove.remove.name = STR("a\"b");
	remove.remove.uid = STR("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10");
	msg_print(&out, &remove);
	ck_assert(contains(&out, "ns:\"default\", name:<3 bytes>, uid:"));
	ck_assert(contains(&out, "uid:01020304-0506-0708-090a-0b0c0d0e0f10"));
	buf_free(&out);
}
END_TEST

START_TEST(requests_share_their_first_fields)
{
	for (size_t k = 0; k < countof(kinds); k++) {
		struct msg m = {.kind = kinds[k]};
		struct msg_request *r = msg_request(&m);

		ck_assert_int_eq(r != NULL, kinds[k] < 32);
		if (!r)
			continue;
		*r = (struct msg_request){.seq = 1, .generation = 2, .epoch = 3, .cause = 4};
		ck_assert_uint_eq(m.create.seq, 1);
		ck_assert_uint_eq(m.create.generation, 2);
		ck_assert_uint_eq(m.create.epoch, 3);
		ck_assert_uint_eq(m.create.cause, 4);
	}
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, random_round_trip);
	tcase_add_test(tc, every_truncation_is_refused);
	tcase_add_test(tc, every_bit_flip_does_no_harm);
	tcase_add_test(tc, rubbish_is_refused);
	tcase_add_test(tc, arrays_leave_the_record);
	tcase_add_test(tc, printed_for_people);
	tcase_add_test(tc, requests_share_their_first_fields);
}

int main(void)
{
	return run_tests("msg", add);
}

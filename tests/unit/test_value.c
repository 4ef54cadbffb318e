/*
 * test_value.c - values: changing them, their msgpack form, templates.
 */
#include <math.h>

#include "ipc_random.h"

static zone *z;

static void set_up(void)
{
	z = zone_new();
}

static void tear_down(void)
{
	zone_free(z);
}

static struct str encoded(const value *v)
{
	struct buf b = {0};
	struct str s;

	v_encode(&b, v);
	s = zone_str(z, buf_str(&b));
	buf_free(&b);
	return s;
}

/* --- Reading and changing ----------------------------------------------------- */

START_TEST(absent_is_absent)
{
	value s = v_cstr("x"), m = v_map();

	ck_assert_ptr_null(v_get(NULL, "a"));
	ck_assert_ptr_null(v_get(&s, "a"));
	ck_assert_ptr_null(v_at(&m, 0));
	ck_assert_ptr_null(v_path(&m, "a.b"));
	ck_assert_int_eq(v_as_int(&s, 7), 7);
	ck_assert_uint_eq(v_len(&s), 0);
	ck_assert(v_is_null(NULL));
	ck_assert(v_as_bool(&s, true));
	ck_str_is(v_get_str(&m, "a"), "");
	ck_assert(!v_del(&m, "a"));
	v_each(el, &s)
		ck_abort();
	v_each_kv(kv, NULL)
		ck_abort();
}
END_TEST

START_TEST(numbers_as_int)
{
	value big = v_uint(UINT64_MAX), whole = v_float(3.0), part = v_float(3.5),
	      huge = v_float(9223372036854775808.0), low = v_float(-9223372036854775808.0),
	      nan = v_float(NAN);

	ck_assert_int_eq(v_as_int(&big, -1), -1);
	ck_assert_int_eq(v_as_int(&whole, -1), 3);
	ck_assert_int_eq(v_as_int(&part, -1), -1);
	ck_assert_int_eq(v_as_int(&huge, -1), -1);
	ck_assert_int_eq(v_as_int(&low, -1), INT64_MIN);
	ck_assert_int_eq(v_as_int(&nan, -1), -1);
}
END_TEST

START_TEST(paths_make_maps)
{
	value m = v_map(), *spec = v_map_at(z, &m, "spec");

	v_append(z, v_array_at(z, spec, "list"), v_int(1));
	v_set(z, &m, "gone", v_null());
	v_map_at(z, &m, "gone");
	v_set(z, &m, "odd", v_cstr("no map"));
	v_set(z, v_map_at(z, &m, "odd"), "key", v_int(1));
	ck_assert_uint_eq(v_len(v_path(&m, "spec.list")), 1);
	ck_assert(v_is_map(v_get(&m, "gone")));
	ck_assert(v_is_map(v_get(&m, "odd")));
	ck_assert_uint_eq(v_len(&m), 3);
}
END_TEST

/* A map against a plain table of what should be in it. */
START_TEST(random_map)
{
	value m = v_map();
	int64_t model[50];
	int live = 0;

	memset(model, -1, sizeof(model));
	for (int i = 0; i < 20000; i++) {
		uint32_t k = rnd(50);
		struct str key = zone_printf(z, "k%u", k);

		if (rnd(3)) {
			v_setn(z, &m, key, v_int(i));
			live += model[k] < 0;
			model[k] = i;
		} else {
			ck_assert_int_eq(v_deln(&m, key), model[k] >= 0);
			live -= model[k] >= 0;
			model[k] = -1;
		}
		ck_assert_int_eq(v_len(&m), live);
		ck_assert_int_eq(v_as_int(v_getn(&m, key), -1), model[k]);
	}
}
END_TEST

START_TEST(random_array)
{
	value a = v_array();
	int64_t model[200];
	uint32_t n = 0;

	for (int i = 0; i < 20000; i++) {
		if (n < countof(model) && rnd(2)) {
			v_append(z, &a, v_int(i));
			model[n++] = i;
		} else if (n) {
			uint32_t at = rnd(n);

			v_remove(&a, at);
			memmove(&model[at], &model[at + 1], (--n - at) * sizeof(*model));
		}
		ck_assert_uint_eq(v_len(&a), n);
		for (uint32_t k = 0; k < n; k += 1 + rnd(20))
			ck_assert_int_eq(v_as_int(v_at(&a, k), -1), model[k]);
	}
}
END_TEST

/* Two copies of one container that both grow do not see each other. */
START_TEST(copies_grow_apart)
{
	value a = v_array(), b, c;

	for (int i = 0; i < 5; i++)
		v_append(z, &a, v_int(i));
	b = c = a;
	for (int i = 0; i < 40; i++) {
		v_append(z, &b, v_int(100 + i));
		v_append(z, &c, v_int(200 + i));
	}
	ck_assert_uint_eq(v_len(&a), 5);
	for (int i = 0; i < 40; i++) {
		ck_assert_int_eq(v_as_int(v_at(&b, 5 + i), -1), 100 + i);
		ck_assert_int_eq(v_as_int(v_at(&c, 5 + i), -1), 200 + i);
	}
}
END_TEST

START_TEST(order_of_members_does_not_matter)
{
	value a = v_map(), b = v_map(), one = v_int(1), whole = v_float(1.0);

	v_set(z, &a, "x", v_int(1));
	v_set(z, &a, "y", v_int(2));
	v_set(z, &b, "y", v_int(2));
	v_set(z, &b, "x", v_int(1));
	ck_assert(v_equal(&a, &b));
	v_set(z, &b, "x", v_int(3));
	ck_assert(!v_equal(&a, &b));
	ck_assert(!v_equal(&one, &whole));
}
END_TEST

/* --- msgpack ---------------------------------------------------------------------- */

START_TEST(random_round_trip)
{
	for (int i = 0; i < 3000; i++) {
		value v = rnd_value(z, 5), back, copy;
		struct str bytes = encoded(&v);

		ck_assert_int_eq(v_decode(z, bytes, &back), WEFT_OK);
		ck_assert(v_equal(&v, &back));
		ck_assert(str_eq(encoded(&back), bytes));
		copy = v_copy(z, &v);
		ck_assert(v_equal(&v, &copy));
		if (i % 50 == 0)
			zone_reset(z);
	}
}
END_TEST

/* What msgpack-c itself writes is read, in every width that it has. */
START_TEST(widths_of_msgpack)
{
	static const uint64_t numbers[] = {
		0, 127, 128, 255, 256, 65535, 65536, UINT32_MAX, 1ull << 32, INT64_MAX, UINT64_MAX};
	static const uint32_t lengths[] = {0, 15, 16, 31, 32, 255, 256, 65535, 65536};
	msgpack_sbuffer sb;
	msgpack_packer pk;
	value v;

	for (size_t i = 0; i < countof(numbers); i++) {
		msgpack_sbuffer_init(&sb);
		msgpack_packer_init(&pk, &sb, msgpack_sbuffer_write);
		msgpack_pack_array(&pk, 2);
		msgpack_pack_uint64(&pk, numbers[i]);
		msgpack_pack_int64(&pk, -(int64_t)(numbers[i] >> 1));
		ck_assert_int_eq(v_decode(z, (struct str){sb.data, sb.size}, &v), WEFT_OK);
		ck_assert_uint_eq(v_at(&v, 0)->via.u64, numbers[i]);
		ck_assert_int_eq(v_as_int(v_at(&v, 1), 1), -(int64_t)(numbers[i] >> 1));
		msgpack_sbuffer_destroy(&sb);
	}
	for (size_t i = 0; i < countof(lengths); i++) {
		value a = v_array(), back;

		v_append(z, &a, v_str(zone_printf(z, "%*s", (int)lengths[i], "")));
		for (uint32_t k = 0; k < lengths[i]; k++)
			v_append(z, &a, v_null());
		ck_assert_int_eq(v_decode(z, encoded(&a), &back), WEFT_OK);
		ck_assert(v_equal(&a, &back));
	}
}
END_TEST

START_TEST(malformed_is_refused)
{
	static const struct {
		const char *bytes;
		uint32_t n;
	} bad[] = {
		{"", 0},	     /* nothing */
		{"\xc1", 1},	     /* no such type */
		{"\xc0\xc0", 2},     /* two values */
		{"\xa2x", 2},	     /* a string cut short */
		{"\x81\x01\x02", 3}, /* a key that is no string */
		{"\x81\xa1k", 3},    /* a member without value */
		{"\xc4\x01x", 3},    /* bin */
		{"\xd4\x08\x01", 3}, /* an extension that is no hole */
		{"\xd4\x00\x01", 3},
		{"\xd5\x01\x01\x01", 4},     /* a hole with too much in it */
		{"\xc7\x00\x07", 3},	     /* a hole without its salt */
		{"\xdd\xff\xff\xff\xff", 5}, /* a length far beyond the end */
		{"\xdf\xff\xff\xff\xff", 5},
		{"\x92\xdd\x00\x00\x00\x02\xc0", 7}, /* lengths that add up to too much */
		{"\xda\x00", 2},
		{"\xcf\x00", 2},
	};
	value v;

	for (size_t i = 0; i < countof(bad); i++)
		ck_assert_int_eq(v_decode(z, (struct str){bad[i].bytes, bad[i].n}, &v),
				 WEFT_EINVAL);
}
END_TEST

START_TEST(depth_is_bounded)
{
	char bytes[VALUE_DEPTH_MAX + 2];
	value v;

	memset(bytes, 0x91, sizeof(bytes));
	bytes[VALUE_DEPTH_MAX] = (char)0xc0;
	ck_assert_int_eq(v_decode(z, (struct str){bytes, VALUE_DEPTH_MAX + 1}, &v), WEFT_OK);
	bytes[VALUE_DEPTH_MAX] = (char)0x91;
	bytes[VALUE_DEPTH_MAX + 1] = (char)0xc0;
	ck_assert_int_eq(v_decode(z, (struct str){bytes, VALUE_DEPTH_MAX + 2}, &v), WEFT_EINVAL);
}
END_TEST

/* Cut short it is always refused; with a bit turned it may mean something else,
 * but then that can be written and read again. */
START_TEST(damaged_does_no_harm)
{
	for (int i = 0; i < 300; i++) {
		value v = rnd_value(z, 4), back, again;
		struct str bytes = encoded(&v), damaged;
		struct buf json = {0};

		for (uint32_t n = 0; n < bytes.n; n += 1 + rnd(10))
			ck_assert_int_eq(v_decode(z, (struct str){bytes.p, n}, &back), WEFT_EINVAL);
		for (int k = 0; k < 40; k++) {
			damaged = zone_str(z, bytes);
			((char *)damaged.p)[rnd(damaged.n)] ^= (char)(1 << rnd(8));
			if (v_decode(z, damaged, &back))
				continue;
			ck_assert_int_eq(v_decode(z, encoded(&back), &again), WEFT_OK);
			ck_assert_int_eq(json_from_msgpack(&json, damaged, NULL), WEFT_OK);
			json.n = 0;
		}
		buf_free(&json);
		zone_reset(z);
	}
}
END_TEST

/* --- uids and templates ------------------------------------------------------------- */

START_TEST(uids)
{
	static const char *const bad[] = {
		"",
		"12345678-1234-1234-1234-1234567890a",
		"12345678-1234-1234-1234-1234567890abc",
		"12345678x1234-1234-1234-1234567890ab",
		"g2345678-1234-1234-1234-1234567890ab",
	};
	uint8_t uid[16], back[16];
	char text[37];

	for (int i = 0; i < 1000; i++) {
		for (int k = 0; k < 16; k++)
			uid[k] = (uint8_t)rnd(256);
		uid_format(uid, text);
		ck_assert(uid_parse(str_of(text), back));
		ck_assert_mem_eq(uid, back, 16);
	}
	ck_assert(uid_parse(STR("ABCDEF00-0000-0000-0000-000000000001"), uid));
	uid_format(uid, text);
	ck_assert_str_eq(text, "abcdef00-0000-0000-0000-000000000001");
	for (size_t i = 0; i < countof(bad); i++)
		ck_assert(!uid_parse(str_of(bad[i]), uid));
}
END_TEST

START_TEST(suffix_follows_the_first_bytes)
{
	uint8_t uid[16] = {0};
	char out[5];

	uid_suffix5(uid, out);
	ck_assert_mem_eq(out, "bbbbb", 5);
	uid[0] = 27;
	uid_suffix5(uid, out);
	ck_assert_mem_eq(out, "bbbcb", 5);
	uid[9] = 200;
	uid_suffix5(uid, out);
	ck_assert_mem_eq(out, "bbbcb", 5);
}
END_TEST

START_TEST(suffix_is_set)
{
	uint8_t uid[16];
	char last[5], out[5];

	for (uint32_t step = 0, place = 0; place < UID_SUFFIXES; place += step) {
		memset(uid, (int)(step % 256), sizeof(uid));
		uid_set_suffix5(uid, place);
		uid_suffix5(uid, out);
		ck_assert_mem_eq(out, place ? out : "22222", 5);
		ck_assert(!place || memcmp(last, out, 5) < 0);
		for (int i = 4; i < 16; i++)
			ck_assert_uint_eq(uid[i], step % 256);
		memcpy(last, out, 5);
		step += 7;
	}
	memset(uid, 255, sizeof(uid));
	uid_set_suffix5(uid, UID_SUFFIXES - 1);
	uid_suffix5(uid, out);
	ck_assert_mem_eq(out, "zzzzz", 5);
}
END_TEST

static const uint32_t hole_numbers[] = {1700000000, 0x0a010203, 42, 0};
static const uint8_t hole_uid[16] = {27, 0, 0, 0, 5};

static struct hole_values holes(void)
{
	return (struct hole_values){.holes = hole_numbers,
				    .nholes = countof(hole_numbers),
				    .uid = hole_uid,
				    .name = STR("web-1"),
				    .node = STR("n<1>")};
}

static value template(void)
{
	value m = v_map();

	v_set(z, &m, "time", v_hole(z, HOLE_TIME, 0, STR("")));
	v_set(z, &m, "never", v_hole(z, HOLE_TIME, 3, STR("")));
	v_set(z, &m, "ip", v_hole(z, HOLE_IPV4, 1, STR("")));
	v_set(z, &m, "n", v_hole(z, HOLE_UINT, 2, STR("")));
	v_set(z, &m, "out", v_hole(z, HOLE_UINT, 9, STR("")));
	v_set(z, &m, "name", v_hole(z, HOLE_NAME, 0, STR("pod/")));
	v_set(z, &m, "gen", v_hole(z, HOLE_UID5, 0, STR("web-")));
	v_set(z, &m, "node", v_hole(z, HOLE_NODE, 0, STR("")));
	v_append(z, v_array_at(z, &m, "list"), v_hole(z, HOLE_UINT, 2, STR("")));
	return m;
}

static const char filled_json[] =
	"{\"time\":\"2023-11-14T22:13:20Z\",\"never\":null,\"ip\":\"10.1.2.3\",\"n\":42,"
	"\"out\":null,\"name\":\"pod/web-1\",\"gen\":\"web-bbbcb\","
	"\"node\":\"n\\u003c1\\u003e\",\"list\":[42]}";

/* Filled in the tree, by the printer of trees, and by that of stored bytes. */
START_TEST(holes_are_filled)
{
	struct hole_values h = holes();
	value t = template(), back;
	struct str bytes = encoded(&t);
	struct buf json = {0};

	ck_assert_int_eq(json_from_msgpack(&json, bytes, &h), WEFT_OK);
	ck_str_is(buf_str(&json), filled_json);
	json.n = 0;
	json_encode(&json, &t, &h);
	ck_str_is(buf_str(&json), filled_json);
	json.n = 0;
	ck_assert_int_eq(v_decode(z, bytes, &back), WEFT_OK);
	v_fill(z, &back, &h);
	json_encode(&json, &back, NULL);
	ck_str_is(buf_str(&json), filled_json);
	json.n = 0;
	ck_assert_int_eq(json_from_msgpack(&json, bytes, NULL), WEFT_OK);
	ck_str_is(buf_str(&json),
		  "{\"time\":null,\"never\":null,\"ip\":null,\"n\":null,\"out\":null,"
		  "\"name\":null,\"gen\":null,\"node\":null,\"list\":[null]}");
	buf_free(&json);
}
END_TEST

START_TEST(uid64_differs_by_salt_and_uid)
{
	struct hole_values h = holes();
	uint8_t other[16] = {1};
	value a = v_hole(z, HOLE_UID64, 0, STR("c://")), b = v_hole(z, HOLE_UID64, 1, STR("c://")),
	      c = v_hole(z, HOLE_UID64, 0, STR("c://"));

	v_fill(z, &a, &h);
	v_fill(z, &b, &h);
	h.uid = other;
	v_fill(z, &c, &h);
	ck_assert_uint_eq(v_as_str(&a).n, 4 + 64);
	ck_assert(!v_equal(&a, &b) && !v_equal(&a, &c));
	for (uint32_t i = 4; i < 4 + 64; i++)
		ck_assert_ptr_nonnull(strchr("0123456789abcdef", v_as_str(&a).p[i]));
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, absent_is_absent);
	tcase_add_test(tc, numbers_as_int);
	tcase_add_test(tc, paths_make_maps);
	tcase_add_test(tc, random_map);
	tcase_add_test(tc, random_array);
	tcase_add_test(tc, copies_grow_apart);
	tcase_add_test(tc, order_of_members_does_not_matter);
	tcase_add_test(tc, random_round_trip);
	tcase_add_test(tc, widths_of_msgpack);
	tcase_add_test(tc, malformed_is_refused);
	tcase_add_test(tc, depth_is_bounded);
	tcase_add_test(tc, damaged_does_no_harm);
	tcase_add_test(tc, uids);
	tcase_add_test(tc, suffix_follows_the_first_bytes);
	tcase_add_test(tc, suffix_is_set);
	tcase_add_test(tc, holes_are_filled);
	tcase_add_test(tc, uid64_differs_by_salt_and_uid);
}

int main(void)
{
	return run_tests("value", add);
}

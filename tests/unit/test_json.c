/*
 * test_json.c - JSON in and out, against Go's encoding/json, which is what
 * Kubernetes' clients and servers use.
 */
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

static struct str printed(const value *v)
{
	struct buf b = {0};
	struct str s;

	json_encode(&b, v, NULL);
	s = zone_str(z, buf_str(&b));
	buf_free(&b);
	return s;
}

/* Through msgpack's bytes and not the tree. */
static struct str printed_from_bytes(const value *v)
{
	struct buf bytes = {0}, json = {0};
	struct str s;

	v_encode(&bytes, v);
	ck_assert_int_eq(json_from_msgpack(&json, buf_str(&bytes), NULL), WEFT_OK);
	s = zone_str(z, buf_str(&json));
	buf_free(&bytes);
	buf_free(&json);
	return s;
}

START_TEST(random_round_trip)
{
	for (int i = 0; i < 3000; i++) {
		value v = rnd_value(z, 5), back;
		struct str text = printed(&v);
		struct json_notes notes;
		struct err e;

		ck_assert(str_eq(text, printed_from_bytes(&v)));
		ck_assert_msg(json_decode(z, text, &back, &notes, &e) == WEFT_OK, "%s", e.msg);
		ck_assert_uint_eq(notes.nduplicate, 0);
		ck_assert_msg(v_equal(&v, &back), STR_FMT, STR_ARG(text));
		if (i % 50 == 0)
			zone_reset(z);
	}
}
END_TEST

/* Text in, and what it is printed as. */
static const struct {
	const char *in, *out;
} same[] = {
	{" [ 1 , -1 , 0 ] ", "[1,-1,0]"},
	{" 12", "12"},
	{"\t12 \r\n", "12"},
	{"\"a\"\n", "\"a\""},
	{"-0", "0"},
	{"9223372036854775807", "9223372036854775807"},
	{"-9223372036854775808", "-9223372036854775808"},
	/* Beyond int64 it is a double: the shortest digits, then zeros. */
	{"9223372036854775808", "9223372036854776000"},
	{"12345678901234567890123", "1.2345678901234568e+22"},
	{"1.0", "1"},
	{"1e3", "1000"},
	{"-0.0", "0"},
	{"-1e-999", "0"},
	{"0.1", "0.1"},
	{"1e20", "100000000000000000000"},
	{"1e21", "1e+21"},
	{"0.000001", "0.000001"},
	{"0.0000001", "1e-7"},
	{"1e-10", "1e-10"},
	{"1.5e300", "1.5e+300"},
	{"5e-324", "5e-324"},
	{"1.7976931348623157e308", "1.7976931348623157e+308"},
	{"3.14159", "3.14159"},
	{"\"\\u003c\\u2028\\/\\u00e9\"", "\"\\u003c\\u2028/\xc3\xa9\""},
	{"\"<&>\"", "\"\\u003c\\u0026\\u003e\""},
	{"\"\\u0000\\u001f\\b\\f\\n\\r\\t\\\"\\\\\"", "\"\\u0000\\u001f\\b\\f\\n\\r\\t\\\"\\\\\""},
	{"\"\\ud83d\\ude00\"", "\"\xf0\x9f\x98\x80\""},
	/* Half a pair, either half, and what only looks like one. */
	{"\"\\ud83d\\u0041\\ude00\"", "\"\xef\xbf\xbd"
				      "A\xef\xbf\xbd\""},
	{"\"\\uD83D\\ud83d\\uDE00\"", "\"\xef\xbf\xbd\xf0\x9f\x98\x80\""},
	{"\"\\\\ud83d\"", "\"\\\\ud83d\""},
	{"{}", "{}"},
	{"[]", "[]"},
	{"{\"a\":[{},[],null,true,false]}", "{\"a\":[{},[],null,true,false]}"},
	{"\"100m\"", "\"100m\""},
};

START_TEST(forms)
{
	const char *want = same[_i].out;
	struct err e;
	value v;

	ck_assert_msg(json_decode(z, str_of(same[_i].in), &v, NULL, &e) == WEFT_OK, "%s", e.msg);
	ck_str_is(printed(&v), want);
	ck_str_is(printed_from_bytes(&v), want);
}
END_TEST

/* Text, where it is wrong, and a word of the message. */
static const struct {
	const char *in, *at, *word;
} wrong[] = {
	{"", "byte 0", "premature"},
	{"  ", "byte 2", "premature"},
	{"{\"a\":1", "byte 6", "premature"},
	{"[1,]", "byte 4", ""},
	{"{\"a\":}", "byte 6", ""},
	{"{a:1}", "", ""},
	{"{1:1}", "", ""},
	{"1 2", "byte 2", "trailing"},
	{"9.3\"", "byte 3", "trailing"},
	{"[] \"b", "byte 3", "trailing"},
	{"{}\"", "byte 2", "trailing"},
	{"1\"a", "byte 1", "trailing"},
	{"{}]", "byte 2", "trailing"},
	{"true nul", "byte 5", "trailing"},
	{"\"a\" \xc3\xa9", "byte 4", "trailing"},
	{"01", "", ""},
	{"+1", "", ""},
	{".5", "", ""},
	{"1.", "", ""},
	{"NaN", "", ""},
	{"1e999", "", "out of range"},
	{"-1e999", "", "out of range"},
	{"// x\n1", "", "comment"},
	{"\"a\nb\"", "", ""},
	{"\"\\x\"", "", ""},
	{"'a'", "", ""},
	{"\"\xff\"", "byte 1", "UTF-8"},
	{"\"\xc0\x80\"", "byte 1", "UTF-8"},	 /* longer than needed */
	{"\"\xed\xa0\x80\"", "byte 1", "UTF-8"}, /* a surrogate */
	{"\"\xf4\x90\x80\x80\"", "byte 1", "UTF-8"},
	{"\"\xe2\x82", "byte 1", "UTF-8"},
	{"\xef\xbb\xbf{}", "", ""}, /* a byte order mark */
};

START_TEST(errors)
{
	struct err e = {0};
	value v;

	ck_assert_int_eq(json_decode(z, str_of(wrong[_i].in), &v, NULL, &e), WEFT_EINVAL);
	ck_assert_msg(strstr(e.msg, wrong[_i].at) && strstr(e.msg, wrong[_i].word),
		      "'%s' says neither '%s' nor '%s'", e.msg, wrong[_i].at, wrong[_i].word);
	ck_assert_int_eq(json_decode(z, str_of(wrong[_i].in), &v, NULL, NULL), WEFT_EINVAL);
}
END_TEST

START_TEST(duplicates_are_noted)
{
	static const char text[] =
		"{\"spec\":{\"replicas\":1,\"replicas\":2,\"replicas\":3,"
		"\"containers\":[{\"n\":1},{\"image\":\"a\",\"image\":\"b\"}]},\"x\":1,\"x\":2}";
	static const char *const paths[] = {"spec.containers[1].image", "spec.replicas", "x"};
	struct json_notes notes;
	value v;

	ck_assert_int_eq(json_decode(z, str_of(text), &v, &notes, NULL), WEFT_OK);
	ck_assert_uint_eq(notes.nduplicate, countof(paths));
	for (size_t i = 0; i < countof(paths); i++)
		ck_str_is(notes.duplicate[i], paths[i]);
	ck_assert_int_eq(v_as_int(v_path(&v, "spec.replicas"), 0), 3);
	ck_str_is(printed(&v), "{\"spec\":{\"replicas\":3,\"containers\":[{\"n\":1},"
			       "{\"image\":\"b\"}]},\"x\":2}");
}
END_TEST

/* Many keys, each twice: the work stays in proportion, and so do the notes. */
START_TEST(many_keys)
{
	enum { N = 50000 };
	struct json_notes notes;
	struct buf text = {0};
	value v;

	buf_putc(&text, '{');
	for (int i = 0; i < 2 * N; i++)
		buf_printf(&text, "%s\"k%d\":%d", i ? "," : "", i % N, i);
	buf_putc(&text, '}');
	ck_assert_int_eq(json_decode(z, buf_str(&text), &v, &notes, NULL), WEFT_OK);
	ck_assert_uint_eq(v_len(&v), N);
	ck_assert_uint_eq(notes.nduplicate, 100);
	ck_assert_int_eq(v_as_int(v_get(&v, "k0"), 0), N);
	buf_free(&text);
}
END_TEST

START_TEST(depth_is_bounded)
{
	char text[2 * VALUE_DEPTH_MAX + 8];
	struct err e;
	value v;

	for (uint32_t n = VALUE_DEPTH_MAX; n <= VALUE_DEPTH_MAX + 2; n++) {
		memset(text, '[', n);
		memset(text + n, ']', n);
		ck_assert_int_eq(json_decode(z, (struct str){text, 2 * n}, &v, NULL, &e),
				 n <= VALUE_DEPTH_MAX + 1 ? WEFT_OK : WEFT_EINVAL);
	}
	ck_assert_ptr_nonnull(strstr(e.msg, "too deep"));
}
END_TEST

/* Whatever a damaged text says, it is refused or printed and read again. */
START_TEST(damaged_does_no_harm)
{
	for (int i = 0; i < 400; i++) {
		value v = rnd_value(z, 4), back, again;
		struct str text = printed(&v), damaged;

		for (int k = 0; k < 30; k++) {
			damaged = zone_str(z, text);
			((char *)damaged.p)[rnd(damaged.n)] ^= (char)(1 << rnd(8));
			if (json_decode(z, damaged, &back, NULL, NULL))
				continue;
			ck_assert_int_eq(json_decode(z, printed(&back), &again, NULL, NULL),
					 WEFT_OK);
			ck_assert(str_eq(printed(&back), printed(&again)));
		}
		zone_reset(z);
	}
}
END_TEST

START_TEST(bad_bytes_leave_the_output_alone)
{
	struct buf out = {0};

	buf_puts(&out, "kept");
	ck_assert_int_eq(json_from_msgpack(&out, STR("\x92\xa1x"), NULL), WEFT_EINVAL);
	ck_assert_int_eq(json_from_msgpack(&out, STR(""), NULL), WEFT_EINVAL);
	ck_assert_int_eq(json_from_msgpack(&out, STR("\x01\x01"), NULL), WEFT_EINVAL);
	ck_str_is(buf_str(&out), "kept");
	buf_free(&out);
}
END_TEST

/* Printed anew or from what is kept, by whatever digest: the same text. */
START_TEST(shared_texts_are_what_is_printed)
{
	uint32_t numbers[] = {1700000000, 0x0a000001, 7};
	uint8_t uid[16] = {1, 2, 3};
	struct hole_values h = {.holes = numbers, .nholes = 3, .uid = uid, .name = STR("n\"<")};
	struct kept *x = calloc(1, sizeof(*x));
	struct buf bytes = {0}, anew = {0}, kept = {0};

	for (int i = 0; i < 2000; i++) {
		value v = v_map(), some = rnd_value(z, 4);

		v_set(z, &v, "some", some);
		v_set(z, &v, "time", v_hole(z, HOLE_TIME, 0, STR("")));
		v_set(z, &v, "name", v_hole(z, HOLE_NAME, 0, STR("pre&")));
		v_set(z, &v, "number", v_hole(z, HOLE_UINT, 2, STR("")));
		v_set(z, &v, "none", v_hole(z, HOLE_UINT, 9, STR("")));
		v_set(z, &v, "more", rnd_value(z, 4));
		bytes.n = 0;
		v_encode(&bytes, &v);
		for (int again = 0; again < 4; again++) {
			numbers[2]++;
			anew.n = kept.n = 0;
			ck_assert_int_eq(json_from_msgpack(&anew, buf_str(&bytes), &h), WEFT_OK);
			/* few digests: other bytes lie where these would */
			ck_assert_int_eq(json_from_shared(x, &kept, buf_str(&bytes), i % 5, &h),
					 WEFT_OK);
			ck_assert(str_eq(buf_str(&anew), buf_str(&kept)));
		}
		ck_assert_uint_le(x->size, KEPT_MOST + (1 << 20));
		zone_reset(z);
	}
	kept.n = 0;
	for (int again = 0; again < 3; again++)
		ck_assert_int_eq(json_from_shared(x, &kept,
						  STR("\x92\xa1xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
						      "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
						  3, &h),
				 WEFT_EINVAL);
	ck_assert_uint_eq(kept.n, 0);
	kept_free(x);
	free(x);
	buf_free(&bytes);
	buf_free(&anew);
	buf_free(&kept);
}
END_TEST

static bool is_kept(const struct kept *x, uint64_t hash)
{
	return x->text[hash % KEPT_PLACES] != NULL;
}

START_TEST(shared_texts_are_bounded)
{
	struct kept *x = calloc(1, sizeof(*x));
	struct buf bytes = {0}, out = {0};
	char text[20000];
	value v;

	memset(text, 'x', sizeof(text));
	v = v_str((struct str){text, sizeof(text)});
	v_encode(&bytes, &v);
	json_from_shared(x, &out, buf_str(&bytes), 1, NULL);
	ck_assert(!is_kept(x, 1)); /* asked for once: it may never be again */
	json_from_shared(x, &out, buf_str(&bytes), 1, NULL);
	ck_assert(is_kept(x, 1));
	for (uint64_t hash = 2; hash < 2000; hash++)
		for (int again = 0; again < 2; again++) {
			out.n = 0;
			json_from_shared(x, &out, buf_str(&bytes), hash, NULL);
			ck_assert_uint_le(x->size, KEPT_MOST + 3 * sizeof(text));
		}
	ck_assert(!is_kept(x, 1) && is_kept(x, 1999)); /* it has begun anew */
	kept_free(x);
	free(x);
	buf_free(&bytes);
	buf_free(&out);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, random_round_trip);
	tcase_add_loop_test(tc, forms, 0, countof(same));
	tcase_add_loop_test(tc, errors, 0, countof(wrong));
	tcase_add_test(tc, duplicates_are_noted);
	tcase_add_test(tc, many_keys);
	tcase_add_test(tc, depth_is_bounded);
	tcase_add_test(tc, damaged_does_no_harm);
	tcase_add_test(tc, bad_bytes_leave_the_output_alone);
	tcase_add_test(tc, shared_texts_are_what_is_printed);
	tcase_add_test(tc, shared_texts_are_bounded);
}

int main(void)
{
	return run_tests("json", add);
}

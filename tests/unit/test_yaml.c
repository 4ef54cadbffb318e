/*
 * test_yaml.c - YAML as sigs.k8s.io/yaml reads it.  What is expected here was
 * given by that library (its v1.6.0), as JSON.
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

static struct str as_json(const value *v)
{
	struct buf b = {0};
	struct str s;

	json_encode(&b, v, NULL);
	s = zone_str(z, buf_str(&b));
	buf_free(&b);
	return s;
}

static const struct {
	const char *yaml, *json;
} same[] = {
	{"", "null"},
	{"---\n", "null"},
	{"# only a comment\n", "null"},
	{"a: 1\n---\nb: 2", "{\"a\":1}"},
	{"%YAML 1.1\n---\na: 1\n...\nb: 2", "{\"a\":1}"},
	{"{\"a\": [1, {\"b\": null}]}", "{\"a\":[1,{\"b\":null}]}"},
	/* booleans and null */
	{"[y, Yes, on, TRUE, n, No, Off, false]", "[true,true,true,true,false,false,false,false]"},
	{"['yes', \"true\", tRUE, yEs]", "[\"yes\",\"true\",\"tRUE\",\"yEs\"]"},
	{"a: ~\nb:\nc: null\nd: ''", "{\"a\":null,\"b\":null,\"c\":null,\"d\":\"\"}"},
	/* integers */
	{"[010, 0o10, 0x1F, 0X1F, 0b11, 1_000, -0x10, +5, -0b11, 0777]",
	 "[8,8,31,31,3,1000,-16,5,-3,511]"},
	{"[0b2, 0o8, 0x, 0x1p4, 1:30, 60:00]",
	 "[\"0b2\",\"0o8\",\"0x\",\"0x1p4\",\"1:30\",\"60:00\"]"},
	{"[9223372036854775807, -9223372036854775808]",
	 "[9223372036854775807,-9223372036854775808]"},
	/* floats */
	{"[1e3, 1.5, .5, 1., 089, 08, 1_0.5, 0.1e1, 1E5]", "[1000,1.5,0.5,1,89,8,10.5,1,100000]"},
	{"[1e400, inf, nan, +, .]", "[\"1e400\",\"inf\",\"nan\",\"+\",\".\"]"},
	{"a: 1.10", "{\"a\":1.1}"},
	/* dates stay text */
	{"[2001-01-01, 2001-12-14t21:59:43.10-05:00]",
	 "[\"2001-01-01\",\"2001-12-14t21:59:43.10-05:00\"]"},
	/* keys */
	{"1: a\n2.5: b\nyes: c\n0x10: d",
	 "{\"1\":\"a\",\"2.5\":\"b\",\"true\":\"c\",\"16\":\"d\"}"},
	{"1e10: a\n123456789.5: b\n0.1: c",
	 "{\"1e+10\":\"a\",\"1.2345679e+08\":\"b\",\"0.1\":\"c\"}"},
	{"1e60: a", "{\".inf\":\"a\"}"},
	{"? a\n: b\n? c", "{\"a\":\"b\",\"c\":null}"},
	/* tags */
	{"[!!str 5, !!int '5', !!float 3, !foo bar, ! yes]", "[\"5\",5,3,\"bar\",\"yes\"]"},
	/* several lines */
	{"a: |\n  x\n  y\nb: >-\n  x\n  y\nc: |+\n  x\n\n",
	 "{\"a\":\"x\\ny\\n\",\"b\":\"x y\",\"c\":\"x\\n\\n\"}"},
	{"a: \"\\u00e9\\x41\\n\"\nb: 'it''s'", "{\"a\":\"\xc3\xa9"
					       "A\\n\",\"b\":\"it's\"}"},
	/* anchors and merging: in order, what comes later counts */
	{"a: &x {b: 1}\nc: *x", "{\"a\":{\"b\":1},\"c\":{\"b\":1}}"},
	{"- &a x\n- &a y\n- *a", "[\"x\",true,true]"},
	{"a: &x {b: 1}\nd:\n  <<: *x\n  e: 2", "{\"a\":{\"b\":1},\"d\":{\"b\":1,\"e\":2}}"},
	{"{a: 1, <<: {a: 2, b: 3}}", "{\"a\":2,\"b\":3}"},
	{"<<: [{a: 1},{a: 2, b: 2}]\nc: 3", "{\"a\":1,\"b\":2,\"c\":3}"},
	{"'<<': {a: 1}", "{\"\\u003c\\u003c\":{\"a\":1}}"},
	{"a: <<", "{\"a\":\"\\u003c\\u003c\"}"},
};

START_TEST(forms)
{
	struct err e = {0};
	value v, want;

	ck_assert_msg(yaml_decode(z, str_of(same[_i].yaml), &v, NULL, &e) == WEFT_OK, "%s", e.msg);
	ck_assert_int_eq(json_decode(z, str_of(same[_i].json), &want, NULL, NULL), WEFT_OK);
	/* The order of merged members is ours. */
	ck_assert_msg(v_equal(&v, &want), "%s\ngives " STR_FMT "\nnot %s", same[_i].yaml,
		      STR_ARG(as_json(&v)), same[_i].json);
}
END_TEST

static const struct {
	const char *yaml, *line, *word;
} wrong[] = {
	{"a: 1\nb: c: d", "line 2", "mapping values"},
	{"\ta: 1", "line 1", ""},
	{"a: [1", "", ""},
	{"a: @x", "line 1", ""},
	{"a: .nan", "line 1", "number"},
	{"a: 1\nb: -.inf", "line 2", "number"},
	{"~: a", "line 1", "null"},
	{"x:\n  ? [a]\n  : b", "line 2", "key"},
	{"12345678901234567890: a", "", "range"},
	{"a: !!int x", "", "tag"},
	{"a: !!binary aGVsbG8=", "", "binary"},
	{"a: *x", "", "no anchor"},
	{"a: &a [*a]", "", "itself"},
	{"a: &a {b: {<<: *a}}", "", "itself"},
	{"<<: 5", "", "<<"},
	{"<<: [1]", "", "<<"},
	{"a: \"\xff\"", "", ""},
};

START_TEST(errors)
{
	struct err e = {0};
	value v;

	ck_assert_int_eq(yaml_decode(z, str_of(wrong[_i].yaml), &v, NULL, &e), WEFT_EINVAL);
	ck_assert_msg(strstr(e.msg, wrong[_i].line) && strstr(e.msg, wrong[_i].word),
		      "'%s' says neither '%s' nor '%s'", e.msg, wrong[_i].line, wrong[_i].word);
}
END_TEST

/* Nine levels of nine aliases each: 9^9 values if it were let. */
START_TEST(billion_laughs)
{
	struct buf text = {0};
	struct err e = {0};
	value v;

	buf_puts(&text, "a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
	for (int i = 1; i < 9; i++) {
		buf_printf(&text, "a%d: &a%d [", i, i);
		for (int k = 0; k < 9; k++)
			buf_printf(&text, "%s*a%d", k ? "," : "", i - 1);
		buf_puts(&text, "]\n");
	}
	ck_assert_int_eq(yaml_decode(z, buf_str(&text), &v, NULL, &e), WEFT_EINVAL);
	ck_assert_ptr_nonnull(strstr(e.msg, "too much"));
	buf_free(&text);
}
END_TEST

START_TEST(depth_is_bounded)
{
	char text[300];
	struct err e = {0};
	value v;

	memset(text, '[', 140);
	memset(text + 140, ']', 140);
	ck_assert_int_eq(yaml_decode(z, (struct str){text, 280}, &v, NULL, &e), WEFT_EINVAL);
	ck_assert_ptr_nonnull(strstr(e.msg, "too deep"));
}
END_TEST

/* Aliases are copies: to change one leaves the other. */
START_TEST(aliases_are_not_shared)
{
	value v;

	ck_assert_int_eq(yaml_decode(z, STR("a: &x {b: {c: 1}}\nd: *x"), &v, NULL, NULL), WEFT_OK);
	v_set(z, v_path(&v, "a.b"), "c", v_int(2));
	ck_assert_int_eq(v_as_int(v_path(&v, "d.b.c"), 0), 1);
}
END_TEST

START_TEST(duplicates_are_noted)
{
	struct json_notes notes;
	value v;

	ck_assert_int_eq(yaml_decode(z,
				     STR("a:\n- {b: 1, b: 2}\nc: 1\nc: 2\nd: {<<: {x: 1}, x: 2}"),
				     &v, &notes, NULL),
			 WEFT_OK);
	ck_assert_uint_eq(notes.nduplicate, 2);
	ck_str_is(notes.duplicate[0], "a[0].b");
	ck_str_is(notes.duplicate[1], "c");
}
END_TEST

static void collect(void *arg, struct str path, unsigned line)
{
	buf_printf(arg, STR_FMT "@%u ", STR_ARG(path), line);
}

START_TEST(lines_of_keys)
{
	static const char text[] = "data: /x\nnodes:\n  count: 3\n\n  rules:\n  - image: a\n"
				   "    ready: 1s\n  - image: b\nlast: {x: 1, w: {z: 2}}\n";
	struct buf seen = {0};
	value v;

	ck_assert_int_eq(yaml_decode_lines(z, str_of(text), &v, collect, &seen, NULL), WEFT_OK);
	ck_str_is(buf_str(&seen), "data@1 nodes@2 nodes.count@3 nodes.rules@5 "
				  "nodes.rules[0].image@6 nodes.rules[0].ready@7 "
				  "nodes.rules[1].image@8 last@9 last.x@9 last.w@9 last.w.z@9 ");
	buf_free(&seen);
}
END_TEST

START_TEST(encoded_form)
{
	static const char want[] =
		"name: web\nports:\n- port: 80\n  name: \"yes\"\nempty: {}\nnone: []\n"
		"text: |\n  a\n  b\nnil: null\nt: true\nz: \"010\"\n";
	struct buf out = {0};
	value v;

	ck_assert_int_eq(yaml_decode(z, str_of(want), &v, NULL, NULL), WEFT_OK);
	yaml_encode(&out, &v);
	ck_str_is(buf_str(&out), want);
	buf_free(&out);
}
END_TEST

START_TEST(random_round_trip)
{
	for (int i = 0; i < 1000; i++) {
		value v = rnd_value(z, 4), back;
		struct buf out = {0};
		struct err e = {0};

		yaml_encode(&out, &v);
		ck_assert_msg(yaml_decode(z, buf_str(&out), &back, NULL, &e) == WEFT_OK,
			      "%s in\n%.*s", e.msg, (int)out.n, out.p);
		ck_assert_msg(v_equal(&v, &back), STR_FMT "\n" STR_FMT "\n%.*s",
			      STR_ARG(as_json(&v)), STR_ARG(as_json(&back)), (int)out.n, out.p);
		buf_free(&out);
		if (i % 50 == 0)
			zone_reset(z);
	}
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_loop_test(tc, forms, 0, countof(same));
	tcase_add_loop_test(tc, errors, 0, countof(wrong));
	tcase_add_test(tc, billion_laughs);
	tcase_add_test(tc, depth_is_bounded);
	tcase_add_test(tc, aliases_are_not_shared);
	tcase_add_test(tc, duplicates_are_noted);
	tcase_add_test(tc, lines_of_keys);
	tcase_add_test(tc, encoded_form);
	tcase_add_test(tc, random_round_trip);
}

int main(void)
{
	return run_tests("yaml", add);
}

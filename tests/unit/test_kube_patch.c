/* test_kube_patch.c - the three kinds of patches against what Kubernetes'
 * libraries made of the same. */
#include "facts.h"
#include "weft/kube.h"

static zone *z;

static const struct kube_resource *resource_of(const char *kind)
{
	struct str group = str_of(strcmp(kind, "Deployment") ? "" : "apps");

	return kube_by_kind(group, STR("v1"), str_of(kind));
}

static int apply(const char *how, value *obj, const value *patch, struct str *message)
{
	if (strcmp(how, "json") == 0)
		return kube_patch_json(z, obj, patch, message);
	if (strcmp(how, "merge") == 0)
		return kube_patch_merge(z, obj, patch, message);
	return kube_patch_strategic(z, resource_of(how), obj, patch, message);
}

static struct str unescape_lines(const char *text)
{
	char *out = zone_alloc(z, strlen(text) + 1);
	uint32_t n = 0;

	for (const char *p = text; *p; p++) {
		bool newline = p[0] == '\\' && p[1] == 'n';

		out[n++] = newline ? '\n' : *p;
		p += newline;
	}
	return (struct str){out, n};
}

/* How it is patched (or the kind), object, patch, result; "!" and the message
 * of an error, "!!" where the patch is malformed. */
static void check_fact(char **column)
{
	value obj = facts_json(z, column[1]), before = v_copy(z, &obj), patch, expected;
	const char *what = column[3];
	struct str message = STR("");
	int err;

	if (json_decode(z, str_of(column[2]), &patch, NULL, NULL) != 0)
		return; /* refused before it comes here */
	err = apply(column[0], &obj, &patch, &message);
	if (*what == '!') {
		struct str words = unescape_lines(what + 1 + (what[1] == '!'));

		ck_assert_msg(err, "%s on %s is taken", column[2], column[0]);
		ck_assert_msg(str_eq(message, words), "%s:\nis  " STR_FMT "\nnot " STR_FMT,
			      column[2], STR_ARG(message), STR_ARG(words));
		ck_assert(v_equal(&obj, &before));
		ck_assert(what[1] != '!' || err == WEFT_EINVAL);
		return;
	}
	ck_assert_msg(!err, "%s: " STR_FMT, column[2], STR_ARG(message));
	expected = facts_json(z, what);
	if (!v_equal(&obj, &expected)) {
		struct buf b = {0};

		json_encode(&b, &obj, NULL);
		ck_abort_msg("%s on %s\nis  %.*s\nnot %s", column[2], column[0], (int)b.n, b.p,
			     what);
	}
}

START_TEST(results_are_those_of_kubernetes)
{
	z = zone_new();
	ck_assert_int_ge(facts_read("tests/parity/patches.tsv", check_fact), 180);
	zone_free(z);
}
END_TEST

/* --- Random patches ----------------------------------------------------------------- */

static value random_value(int depth)
{
	static const char *const keys[] = {"a",
					   "b",
					   "spec",
					   "containers",
					   "name",
					   "$patch",
					   "$retainKeys",
					   "$setElementOrder/containers",
					   "$deleteFromPrimitiveList/a",
					   "finalizers",
					   "metadata"};
	static const char *const words[] = {"x", "delete", "replace", "merge", "a"};
	value v;

	switch (rand() % (depth ? 6 : 3)) {
	case 0:
		return v_int(rand() % 3);
	case 1:
		return v_cstr(words[rand() % (int)countof(words)]);
	case 2:
		return v_null();
	case 3:
		v = v_array();
		for (int n = rand() % 4; n > 0; n--)
			v_append(z, &v, random_value(depth - 1));
		return v;
	}
	v = v_map();
	for (int n = rand() % 4; n > 0; n--)
		v_set(z, &v, keys[rand() % (int)countof(keys)], random_value(depth - 1));
	return v;
}

/* Nothing crashes, and after an error the object is as it was. */
START_TEST(random_patches)
{
	static const char *const how[] = {"Pod", "merge", "Deployment", "json"};

	srand(facts_seed());
	z = zone_new();
	for (int round = 0; round < 30000; round++) {
		value obj = random_value(5), patch = random_value(5), before;
		struct str message;

		if (!v_is_map(&obj))
			continue;
		before = v_copy(z, &obj);
		if (apply(how[rand() % (int)countof(how)], &obj, &patch, &message) != 0)
			ck_assert(v_equal(&obj, &before));
		zone_reset(z);
	}
	zone_free(z);
}
END_TEST

/* A merge patch that turns one object into another: made from the two, it does. */
static value difference(const value *from, const value *to)
{
	value patch = v_map();

	v_each_kv(kv, from)
		if (!v_getn(to, v_as_str(&kv->key)))
			v_setn(z, &patch, v_as_str(&kv->key), v_null());
	v_each_kv(kv, to) {
		value *was = v_getn(from, v_as_str(&kv->key));

		if (v_is_map(was) && v_is_map(&kv->val))
			v_setn(z, &patch, v_as_str(&kv->key), difference(was, &kv->val));
		else if (!was || !v_equal(was, &kv->val))
			v_setn(z, &patch, v_as_str(&kv->key), kv->val);
	}
	return patch;
}

static bool without_nulls(const value *v)
{
	v_each_kv(kv, v)
		if (v_is_null(&kv->val) || !without_nulls(&kv->val))
			return false;
	return true;
}

START_TEST(a_difference_merges_to_its_target)
{
	int done = 0;

	srand(facts_seed());
	z = zone_new();
	while (done < 3000) {
		value a = random_value(4), b = random_value(4), patch;
		struct str message;

		if (v_is_map(&a) && v_is_map(&b) && without_nulls(&a) && without_nulls(&b)) {
			patch = difference(&a, &b);
			ck_assert_int_eq(kube_patch_merge(z, &a, &patch, &message), 0);
			ck_assert(v_equal(&a, &b));
			done++;
		}
		zone_reset(z);
	}
	zone_free(z);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("kube_patch");
	TCase *tc = tcase_create("patch");

	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, results_are_those_of_kubernetes);
	tcase_add_test(tc, random_patches);
	tcase_add_test(tc, a_difference_merges_to_its_target);
	suite_add_tcase(s, tc);
	return facts_main(s);
}

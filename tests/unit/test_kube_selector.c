/* test_kube_selector.c - label selectors, field selectors' grammar. */
#include "facts.h"
#include "weft/kube.h"

static zone *z;

static const struct kube_resource *resource_of(const char *name)
{
	static const struct {
		const char *name, *group, *resource;
	} special[] = {
		{"events.k8s.io", "events.k8s.io", "events"},
		{"rc", "", "replicationcontrollers"},
		{"csr", "certificates.k8s.io", "certificatesigningrequests"},
		{"pcr", "certificates.k8s.io", "podcertificaterequests"},
		{"ctb", "certificates.k8s.io", "clustertrustbundles"},
		{"jobs", "batch", "jobs"},
		{"deployments", "apps", "deployments"},
		{"replicasets", "apps", "replicasets"},
	};

	for (size_t i = 0; i < countof(special); i++)
		if (strcmp(name, special[i].name) == 0)
			return kube_resource(str_of(special[i].group), STR("v1"),
					     str_of(special[i].resource));
	return kube_resource(STR(""), STR("v1"), str_of(name));
}

/* A query's labelSelector and the error it got, or kind, fieldSelector, error. */
static void check_fact(char **column)
{
	struct kube_field_selector *fields;
	struct kube_selector *labels;
	struct str message = STR("");

	if (*column[0] == 'L')
		kube_selector_parse(z, str_of(column[1]), &labels, &message);
	else
		kube_fields_parse(z, resource_of(column[1]), str_of(column[2]), &fields, &message);
	ck_assert_text(message, column[*column[0] == 'L' ? 2 : 3]);
}

START_TEST(errors_are_those_of_kubernetes)
{
	z = zone_new();
	ck_assert_int_ge(facts_read("tests/parity/selectors.tsv", check_fact), 200);
	zone_free(z);
}
END_TEST

static bool matches(const char *text, const char *labels_json)
{
	value labels = facts_json(z, labels_json);
	struct kube_selector *s;
	struct str message;
	struct buf b = {0};
	bool stored, tree;

	ck_assert_msg(kube_selector_parse(z, str_of(text), &s, &message) == 0, "%s", text);
	v_encode(&b, &labels);
	stored = kube_selector_match(s, buf_str(&b));
	tree = kube_selector_match_value(s, &labels);
	ck_assert_msg(stored == tree, "%s on %s", text, labels_json);
	buf_free(&b);
	return tree;
}

START_TEST(matching)
{
	static const struct {
		const char *text, *labels;
		bool match;
	} facts[] = {
		{"", "{}", true},
		{"a=b", "{\"a\":\"b\"}", true},
		{"a=b", "{\"a\":\"c\"}", false},
		{"a=b", "{}", false},
		{"a!=b", "{}", true},
		{"a!=b", "{\"a\":\"b\"}", false},
		{"a in (b,c)", "{\"a\":\"c\"}", true},
		{"a in (b,c)", "{\"x\":\"y\",\"a\":\"d\"}", false},
		{"a notin (b,c)", "{}", true},
		{"a notin (b,c)", "{\"a\":\"b\"}", false},
		{"a", "{\"a\":\"\"}", true},
		{"!a", "{\"a\":\"\"}", false},
		{"!a", "{\"b\":\"\"}", true},
		{"a=", "{\"a\":\"\"}", true},
		{"a=", "{}", false},
		{"a in ()", "{\"a\":\"\"}", true},
		{"a>5", "{\"a\":\"6\"}", true},
		{"a>5", "{\"a\":\"5\"}", false},
		{"a<5", "{\"a\":\"-1\"}", true},
		{"a<5", "{\"a\":\"x\"}", false},
		{"a<5", "{}", false},
		{"a=b,c!=d,!e", "{\"a\":\"b\",\"c\":\"x\"}", true},
		{"a=b,c!=d,!e", "{\"a\":\"b\",\"e\":\"x\"}", false},
	};

	z = zone_new();
	for (size_t i = 0; i < countof(facts); i++)
		ck_assert_msg(matches(facts[i].text, facts[i].labels) == facts[i].match,
			      "'%s' on %s", facts[i].text, facts[i].labels);
	zone_free(z);
}
END_TEST

START_TEST(absent_labels)
{
	struct kube_selector *s;
	struct str message;

	z = zone_new();
	ck_assert_int_eq(kube_selector_parse(z, STR("!a"), &s, &message), 0);
	ck_assert(kube_selector_match(s, STR("")));
	ck_assert(kube_selector_match_value(s, NULL));
	ck_assert_int_eq(kube_selector_parse(z, STR("a"), &s, &message), 0);
	ck_assert(!kube_selector_match(s, STR("")));
	zone_free(z);
}
END_TEST

START_TEST(canonical_text)
{
	struct kube_selector *s;
	struct str message;

	z = zone_new();
	ck_assert_int_eq(kube_selector_parse(z,
					     STR(" z , b in (y,x,y), !c,a==1,d!=e , f>2,"
						 "g notin()"),
					     &s, &message),
			 0);
	ck_assert_text(kube_selector_print(z, s), "a==1,b in (x,y),!c,d!=e,f>2,g notin (),z");
	zone_free(z);
}
END_TEST

START_TEST(from_objects)
{
	value sel, labels, empty = v_map();
	struct kube_selector *s;
	struct str message = STR("");

	z = zone_new();
	ck_assert_int_eq(kube_selector_from(z, NULL, &s, &message), 0);
	ck_assert(!kube_selector_match_value(s, &empty) && !kube_selector_empty(s));
	ck_assert_int_eq(kube_selector_from(z, &empty, &s, &message), 0);
	ck_assert(kube_selector_match_value(s, &empty) && kube_selector_empty(s));
	sel = facts_json(z, "{\"matchLabels\":{\"app\":\"web\"},\"matchExpressions\":["
			    "{\"key\":\"tier\",\"operator\":\"In\",\"values\":[\"a\",\"b\"]},"
			    "{\"key\":\"old\",\"operator\":\"DoesNotExist\"}]}");
	ck_assert_int_eq(kube_selector_from(z, &sel, &s, &message), 0);
	ck_assert_text(kube_selector_print(z, s), "app=web,!old,tier in (a,b)");
	labels = facts_json(z, "{\"app\":\"web\",\"tier\":\"b\"}");
	ck_assert(kube_selector_match_value(s, &labels));
	sel = facts_json(z, "{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"Is\"}]}");
	ck_assert_int_eq(kube_selector_from(z, &sel, &s, &message), WEFT_EINVAL);
	ck_assert_text(message, "\"Is\" is not a valid label selector operator");
	sel = facts_json(z, "{\"b\":\"2\",\"a\":\"1\"}");
	ck_assert_text(kube_selector_print(z, kube_selector_from_map(z, &sel)), "a=1,b=2");
	zone_free(z);
}
END_TEST

/* What is printed reads back as what it was. */
START_TEST(random_texts)
{
	static const char alphabet[] = "aab=!,()<> in notin 5-/.";

	srand(facts_seed());
	z = zone_new();
	for (int round = 0; round < 100000; round++) {
		char text[16];
		uint32_t n = (uint32_t)(rand() % 16);
		struct kube_selector *s, *again;
		struct str message, once;

		for (uint32_t i = 0; i < n; i++)
			text[i] = alphabet[rand() % (int)(sizeof alphabet - 1)];
		if (kube_selector_parse(z, (struct str){text, n}, &s, &message) == 0) {
			once = kube_selector_print(z, s);
			ck_assert_msg(kube_selector_parse(z, once, &again, &message) == 0,
				      "'%.*s' printed as '" STR_FMT "'", (int)n, text,
				      STR_ARG(once));
			ck_assert(str_eq(once, kube_selector_print(z, again)));
		}
		zone_reset(z);
	}
	zone_free(z);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("kube_selector");
	TCase *tc = tcase_create("selector");

	tcase_add_test(tc, errors_are_those_of_kubernetes);
	tcase_add_test(tc, matching);
	tcase_add_test(tc, absent_labels);
	tcase_add_test(tc, canonical_text);
	tcase_add_test(tc, from_objects);
	tcase_add_test(tc, random_texts);
	suite_add_tcase(s, tc);
	return facts_main(s);
}

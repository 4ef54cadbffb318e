/* test_kube_table.c - columns and cells against those that Kubernetes showed. */
#include "facts.h"
#include "weft/kube.h"

static zone *z;

static const struct kube_resource *find(char **column)
{
	const struct kube_resource *r =
		kube_resource(str_of(column[0]), str_of(column[1]), str_of(column[2]));

	ck_assert_msg(r, "%s/%s %s", column[0], column[1], column[2]);
	return r;
}

static void check_equal(char **column, const value *is, const char *expected)
{
	value wanted = facts_json(z, expected);
	struct buf b = {0};

	if (v_equal(is, &wanted))
		return;
	json_encode(&b, is, NULL);
	ck_abort_msg("%s %s:\nis  %.*s\nnot %s", column[2], column[4] ? column[4] : "", (int)b.n,
		     b.p, expected);
}

/* Group, version, resource, [[name, type, format, priority] ...]. */
static void check_columns(char **column)
{
	value columns = kube_table_columns(z, find(column)), got = v_array();

	v_each(c, &columns) {
		value one = v_array();

		v_append(z, &one, *v_get(c, "name"));
		v_append(z, &one, *v_get(c, "type"));
		v_append(z, &one, *v_get(c, "format"));
		v_append(z, &one, *v_get(c, "priority"));
		v_append(z, &got, one);
	}
	check_equal(column, &got, column[3]);
}

START_TEST(columns_are_those_of_kubernetes)
{
	z = zone_new();
	ck_assert_int_ge(facts_read("tests/parity/columns.tsv", check_columns), 55);
	zone_free(z);
}
END_TEST

/* Group, version, resource, time, object, [cell ...]. */
static void check_cells(char **column)
{
	value obj = facts_json(z, column[4]);
	value cells = kube_table_cells(z, find(column), &obj, (uint32_t)atoll(column[3]));

	check_equal(column, &cells, column[5]);
}

START_TEST(cells_are_those_of_kubernetes)
{
	z = zone_new();
	ck_assert_int_ge(facts_read("tests/parity/cells.tsv", check_cells), 100);
	zone_free(z);
}
END_TEST

/* Ages of a ConfigMap made at second 1,000,000,000. */
START_TEST(ages)
{
	static const struct {
		int64_t age_s;
		const char *text;
	} facts[] = {
		{-5, "<invalid>"},     {-1, "0s"},	  {0, "0s"},
		{119, "119s"},	       {120, "2m"},	  {121, "2m1s"},
		{599, "9m59s"},	       {600, "10m"},	  {10799, "179m"},
		{10800, "3h"},	       {10860, "3h1m"},	  {28799, "7h59m"},
		{28800, "8h"},	       {172799, "47h"},	  {172800, "2d"},
		{176400, "2d1h"},      {691199, "7d23h"}, {691200, "8d"},
		{63071999, "729d"},    {63072000, "2y"},  {63158400, "2y1d"},
		{252287999, "7y364d"}, {252288000, "8y"}, {400000000, "12y"},
	};
	const struct kube_resource *r = kube_resource(STR(""), STR("v1"), STR("configmaps"));
	value obj, cells;

	z = zone_new();
	obj = facts_json(z, "{\"metadata\":{\"name\":\"a\",\"creationTimestamp\":"
			    "\"2001-09-09T01:46:40Z\"}}");
	for (size_t i = 0; i < countof(facts); i++) {
		cells = kube_table_cells(z, r, &obj, (uint32_t)(1000000000 + facts[i].age_s));
		ck_assert_text(v_as_str(v_at(&cells, 2)), facts[i].text);
	}
	zone_free(z);
}
END_TEST

/* Whatever an object looks like, every column has its cell. */
START_TEST(strange_objects)
{
	static const char *const objects[] = {
		"{}",
		"{\"metadata\":1,\"spec\":\"x\",\"status\":[]}",
		("{\"metadata\":{\"name\":{}},\"spec\":{\"containers\":{\"a\":1},\"ports\":[1],"
		 "\"template\":[]},\"status\":{\"conditions\":{},\"containerStatuses\":[[],7]}}"),
	};
	uint32_t n;
	const struct kube_resource *r = kube_resources(&n);

	z = zone_new();
	for (uint32_t i = 0; i < n; i++) {
		for (size_t k = 0; k < countof(objects); k++) {
			value obj = facts_json(z, objects[k]);
			value columns = kube_table_columns(z, &r[i]);
			value cells = kube_table_cells(z, &r[i], &obj, 1000);

			ck_assert_uint_le(v_len(&columns), v_len(&cells));
		}
	}
	zone_free(z);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("kube_table");
	TCase *tc = tcase_create("table");

	tcase_add_test(tc, columns_are_those_of_kubernetes);
	tcase_add_test(tc, cells_are_those_of_kubernetes);
	tcase_add_test(tc, ages);
	tcase_add_test(tc, strange_objects);
	suite_add_tcase(s, tc);
	return facts_main(s);
}

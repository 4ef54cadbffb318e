/* test_kube_schema.c - the generated tables: complete, sorted, and found. */
#include <stdlib.h>

#include "tests/unit/suite.h"
#include "weft/kube.h"
#include "weft/schema.h"

START_TEST(every_resource_is_found_by_its_names)
{
	uint32_t n;
	const struct kube_resource *r = kube_resources(&n);

	ck_assert_uint_ge(n, 60);
	for (uint32_t i = 0; i < n; i++) {
		ck_assert_ptr_eq(kube_resource(str_of(r[i].group), str_of(r[i].version),
					       str_of(r[i].resource)),
				 &r[i]);
		ck_assert_ptr_eq(
			kube_by_kind(str_of(r[i].group), str_of(r[i].version), str_of(r[i].kind)),
			&r[i]);
		ck_assert_ptr_nonnull(r[i].schema);
		if (r[i].stored_version)
			ck_assert_ptr_eq(kube_by_type(r[i].type), &r[i]);
		else if (r[i].type)
			ck_assert_str_eq(kube_by_type(r[i].type)->kind, r[i].kind);
	}
}
END_TEST

START_TEST(every_field_is_found_by_its_name)
{
	uint32_t n;
	const struct kube_schema *types = kube_schemas(&n);

	ck_assert_uint_ge(n, 500);
	for (uint32_t i = 0; i < n; i++) {
		ck_assert_ptr_eq(kube_schema_named(str_of(types[i].name)), &types[i]);
		for (uint32_t f = 0; f < types[i].nfields; f++)
			ck_assert_ptr_eq(schema_field(&types[i], types[i].fields[f].name),
					 &types[i].fields[f]);
		ck_assert_ptr_null(schema_field(&types[i], STR("no such field")));
		ck_assert_ptr_null(schema_field(&types[i], STR("")));
	}
}
END_TEST

START_TEST(facts_of_a_deployment)
{
	const struct kube_resource *r = kube_by_type(TYPE_DEPLOYMENT);
	const struct kube_schema *pod = kube_schema_named(STR("io.k8s.api.core.v1.PodSpec"));
	const struct kube_field *f = schema_field(pod, STR("containers"));

	ck_assert_str_eq(r->api_version, "apps/v1");
	ck_assert_str_eq(r->resource, "deployments");
	ck_assert_str_eq(r->list_kind, "DeploymentList");
	ck_assert_str_eq(r->short_names[0], "deploy");
	ck_assert_str_eq(r->categories[0], "all");
	ck_assert_uint_ne(r->verbs & VERB_WATCH, 0);
	ck_assert_str_eq(kube_subresource(r, STR("scale"))->group, "autoscaling");
	ck_assert_ptr_null(kube_subresource(r, STR("nothing")));
	ck_assert(f->required);
	ck_assert_uint_eq(f->patch, PATCH_MERGE);
	ck_assert_str_eq(f->merge_key, "name");
	ck_assert_uint_eq(f->type->kind, SCHEMA_LIST);
	ck_assert_str_eq(f->type->item->name, "io.k8s.api.core.v1.Container");
	ck_assert_ptr_eq(schema_member(r->schema, STR("spec")),
			 kube_schema_named(STR("io.k8s.api.apps.v1.DeploymentSpec")));
}
END_TEST

START_TEST(kinds_of_several_versions_share_a_number)
{
	const struct kube_resource *v1 =
		kube_by_kind(STR("autoscaling"), STR("v1"), STR("HorizontalPodAutoscaler"));
	const struct kube_resource *v2 =
		kube_by_kind(STR("autoscaling"), STR("v2"), STR("HorizontalPodAutoscaler"));

	ck_assert_uint_eq(v1->type, v2->type);
	ck_assert(!v1->stored_version && v2->stored_version);
	ck_assert(kube_type_in_memory(TYPE_EVENT) && kube_type_in_memory(TYPE_LEASE));
	ck_assert(!kube_type_in_memory(TYPE_POD));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("kube_schema");
	TCase *tc = tcase_create("schema");

	tcase_add_test(tc, every_resource_is_found_by_its_names);
	tcase_add_test(tc, every_field_is_found_by_its_name);
	tcase_add_test(tc, facts_of_a_deployment);
	tcase_add_test(tc, kinds_of_several_versions_share_a_number);
	suite_add_tcase(s, tc);
	return run_suite(s);
}

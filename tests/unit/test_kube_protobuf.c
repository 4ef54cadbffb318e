/*
 * test_kube_protobuf.c - bodies in protobuf against the JSON that they mean;
 * messages cut, changed and made at random.
 */
#include <stdlib.h>
#include "tests/unit/suite.h"
#include "weft/json.h"
#include "weft/kube.h"

static zone *z;

static void setup(void)
{
	z = zone_new();
}

static void teardown(void)
{
	zone_free(z);
}

/* --- Writing messages --------------------------------------------------------------- */

static void put_varint(struct buf *b, uint64_t n)
{
	for (; n >= 0x80; n >>= 7)
		buf_putc(b, (char)(n | 0x80));
	buf_putc(b, (char)n);
}

static void put_bytes(struct buf *b, unsigned field, struct str s)
{
	put_varint(b, field << 3 | 2);
	put_varint(b, s.n);
	buf_addstr(b, s);
}

static void put_int(struct buf *b, unsigned field, int64_t n)
{
	put_varint(b, field << 3);
	put_varint(b, (uint64_t)n);
}

/* Puts what was written into *inner as a message of *b. */
static void put_message(struct buf *b, unsigned field, struct buf *inner)
{
	put_bytes(b, field, buf_str(inner));
	inner->n = 0;
}

static void put_envelope(struct buf *b, const char *api_version, const char *kind, struct buf *raw)
{
	struct buf meta = {0};

	buf_add(b, "k8s\0", 4);
	put_bytes(&meta, 1, str_of(api_version));
	put_bytes(&meta, 2, str_of(kind));
	put_message(b, 1, &meta);
	put_message(b, 2, raw);
	buf_free(&meta);
}

/* A Pod with what is written in a way of its own: map, repeated message,
 * inlined probe handler and volume source, quantity, int-or-string, time. */
static void put_pod(struct buf *out)
{
	struct buf pod = {0}, spec = {0}, a = {0}, b = {0}, c = {0};

	put_bytes(&a, 1, STR("web"));
	put_int(&b, 1, 1700000000);
	put_message(&a, 8, &b); /* creationTimestamp */
	put_bytes(&b, 1, STR("app"));
	put_bytes(&b, 2, STR("nginx"));
	put_message(&a, 11, &b); /* labels */
	put_message(&pod, 1, &a);

	put_bytes(&a, 1, STR("v"));
	put_bytes(&b, 2, STR("")); /* volumeSource.emptyDir */
	put_message(&a, 2, &b);
	put_message(&spec, 1, &a);

	put_bytes(&a, 1, STR("c"));
	put_bytes(&a, 2, STR("nginx"));
	put_bytes(&c, 1, STR("cpu"));
	{
		struct buf quantity = {0};

		put_bytes(&quantity, 1, STR("100m"));
		put_message(&c, 2, &quantity);
		buf_free(&quantity);
	}
	put_message(&b, 2, &c); /* resources.requests */
	put_message(&a, 8, &b);
	{
		struct buf port = {0}, get = {0}, handler = {0};

		put_int(&port, 1, 1); /* a string */
		put_bytes(&port, 3, STR("http"));
		put_message(&get, 2, &port);
		put_message(&handler, 2, &get); /* httpGet */
		put_message(&b, 1, &handler);
		put_int(&b, 2, 5);	 /* initialDelaySeconds */
		put_message(&a, 10, &b); /* livenessProbe */
		buf_free(&port);
		buf_free(&get);
		buf_free(&handler);
	}
	put_message(&spec, 2, &a);
	put_int(&spec, 4, 30);	/* terminationGracePeriodSeconds */
	put_int(&spec, 999, 1); /* unknown: skipped */
	put_message(&pod, 2, &spec);
	put_envelope(out, "v1", "Pod", &pod);
	buf_free(&pod);
	buf_free(&spec);
	buf_free(&a);
	buf_free(&b);
	buf_free(&c);
}

/* --- Tests -------------------------------------------------------------------------- */

START_TEST(a_pod_is_what_its_json_is)
{
	static const char json[] =
		"{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"web\","
		"\"creationTimestamp\":\"2023-11-14T22:13:20Z\",\"labels\":{\"app\":\"nginx\"}},"
		"\"spec\":{\"volumes\":[{\"name\":\"v\",\"emptyDir\":{}}],\"containers\":[{\"name\":"
		"\"c\",\"image\":\"nginx\",\"resources\":{\"requests\":{\"cpu\":\"100m\"}},"
		"\"livenessProbe\":{\"httpGet\":{\"port\":\"http\"},\"initialDelaySeconds\":5}}],"
		"\"terminationGracePeriodSeconds\":30}}";
	struct buf b = {0};
	struct str why;
	value got, want;

	put_pod(&b);
	ck_assert_int_eq(kube_protobuf_decode(z, buf_str(&b), &got, &why), WEFT_OK);
	ck_assert_int_eq(json_decode(z, str_of(json), &want, NULL, NULL), WEFT_OK);
	ck_assert(v_equal(&got, &want));
	buf_free(&b);
}
END_TEST

START_TEST(a_secret_is_base64)
{
	struct buf b = {0}, secret = {0}, entry = {0};
	struct str why;
	value got;

	put_bytes(&entry, 1, STR("k"));
	put_bytes(&entry, 2, STR("\0\1\2"));
	put_message(&secret, 2, &entry);
	put_envelope(&b, "v1", "Secret", &secret);
	ck_assert_int_eq(kube_protobuf_decode(z, buf_str(&b), &got, &why), WEFT_OK);
	ck_assert(str_eq(v_as_str(v_path(&got, "data.k")), STR("AAEC")));
	buf_free(&b);
	buf_free(&secret);
	buf_free(&entry);
}
END_TEST

START_TEST(rubbish_is_refused)
{
	struct buf b = {0}, raw = {0};
	struct str why;
	value got;

	ck_assert_int_eq(kube_protobuf_decode(z, STR(""), &got, &why), WEFT_EINVAL);
	ck_assert_int_eq(kube_protobuf_decode(z, STR("{}"), &got, &why), WEFT_EINVAL);
	put_envelope(&b, "v1", "Nope", &raw);
	ck_assert_int_eq(kube_protobuf_decode(z, buf_str(&b), &got, &why), WEFT_EINVAL);
	buf_free(&b);
	buf_free(&raw);
}
END_TEST

/* Cut anywhere, any byte changed: an answer, and no read outside. */
START_TEST(damage_is_harmless)
{
	const char *env = getenv("WEFT_SEED");
	unsigned seed = env ? (unsigned)strtoul(env, NULL, 10) : (unsigned)clock_wall_ns();
	struct buf b = {0};
	struct str why;
	value got;

	printf("seed %u\n", seed);
	put_pod(&b);
	for (int i = 0; i < 20000; i++) {
		uint32_t n = (uint32_t)(i < (int)b.n ? (size_t)i : b.n);
		char *copy = malloc(n ? n : 1); /* a sanitizer sees reads beyond it */

		memcpy(copy, b.p, n);
		for (int k = rand_r(&seed) % 4; n && k > 0; k--)
			copy[(unsigned)rand_r(&seed) % n] = (char)rand_r(&seed);
		(void)kube_protobuf_decode(z, (struct str){copy, n}, &got, &why);
		zone_reset(z);
		free(copy);
	}
	buf_free(&b);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("kube_protobuf");
	TCase *tc = tcase_create("decode");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_pod_is_what_its_json_is);
	tcase_add_test(tc, a_secret_is_base64);
	tcase_add_test(tc, rubbish_is_refused);
	tcase_add_test(tc, damage_is_harmless);
	suite_add_tcase(s, tc);
	return run_suite(s);
}

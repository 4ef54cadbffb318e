/*
 * test_apiserver_certs.c - keys and certificates: made once, the owner's alone,
 * good for what they are for.
 */
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "procs/apiserver/api.h"
#include "tests/unit/suite.h"

static char dir[64];

static void setup(void)
{
	snprintf(dir, sizeof(dir), "/tmp/weft-certs-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void teardown(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	ck_assert_int_eq(system(command), 0);
}

static gnutls_x509_crt_t import(struct str pem)
{
	gnutls_datum_t d = {(unsigned char *)pem.p, pem.n};
	gnutls_x509_crt_t crt;

	ck_assert_int_eq(gnutls_x509_crt_init(&crt), 0);
	ck_assert_int_eq(gnutls_x509_crt_import(crt, &d, GNUTLS_X509_FMT_PEM), 0);
	return crt;
}

static mode_t mode_of(const char *name)
{
	char path[256];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	ck_assert_int_eq(stat(path, &st), 0);
	return st.st_mode & 0777;
}

START_TEST(files_are_the_owners)
{
	static const char *const secret[] = {"pki/ca.key", "pki/apiserver.key", "pki/admin.key",
					     "pki/sa.key", "kubeconfig"};
	struct pki pki;
	struct err e;

	ck_assert_int_eq(pki_open(&pki, dir, "127.0.0.1", &e), WEFT_OK);
	ck_assert_int_eq(pki_write_kubeconfig(&pki, dir, "https://127.0.0.1:1", &e), WEFT_OK);
	ck_assert_int_eq(mode_of("pki"), 0700);
	for (size_t i = 0; i < countof(secret); i++)
		ck_assert_int_eq(mode_of(secret[i]), 0600);
	pki_free(&pki);
}
END_TEST

START_TEST(they_are_made_once)
{
	struct pki one, two;
	struct err e;

	ck_assert_int_eq(pki_open(&one, dir, "127.0.0.1", &e), WEFT_OK);
	ck_assert_int_eq(pki_open(&two, dir, "127.0.0.1", &e), WEFT_OK);
	ck_assert(str_eq(one.ca_cert, two.ca_cert) && str_eq(one.server_cert, two.server_cert));
	ck_assert(str_eq(one.sa_key, two.sa_key));
	pki_free(&two);
	/* A new address needs a new serving certificate, by the same authority. */
	ck_assert_int_eq(pki_open(&two, dir, "192.0.2.7", &e), WEFT_OK);
	ck_assert(str_eq(one.ca_cert, two.ca_cert) && !str_eq(one.server_cert, two.server_cert));
	pki_free(&one);
	pki_free(&two);
}
END_TEST

static void remove_file(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	ck_assert_int_eq(unlink(path), 0);
}

/* An authority's key alone is what a first start leaves that ends too soon; with
 * anything that came of it, the certificate was lost. */
START_TEST(making_that_was_cut_short_is_done_again)
{
	struct pki pki;
	struct err e;

	ck_assert_int_eq(pki_open(&pki, dir, "127.0.0.1", &e), WEFT_OK);
	pki_free(&pki);
	remove_file("pki/ca.crt");
	ck_assert_int_eq(pki_open(&pki, dir, "127.0.0.1", &e), WEFT_ECORRUPT);
	for (size_t i = 0; i < 5; i++)
		remove_file((const char *[]){"pki/apiserver.crt", "pki/apiserver.key",
					     "pki/admin.crt", "pki/admin.key", "pki/sa.key"}[i]);
	ck_assert_int_eq(pki_open(&pki, dir, "127.0.0.1", &e), WEFT_OK);
	pki_free(&pki);
}
END_TEST

START_TEST(they_are_good_for_their_purpose)
{
	gnutls_x509_crt_t ca, server, admin;
	char text[64];
	size_t n = sizeof(text);
	unsigned status;
	struct pki pki;
	struct err e;

	ck_assert_int_eq(pki_open(&pki, dir, "192.0.2.7,example.test", &e), WEFT_OK);
	ca = import(pki.ca_cert);
	server = import(pki.server_cert);
	admin = import(pki.admin_cert);
	ck_assert_int_eq(gnutls_x509_crt_list_verify(&server, 1, &ca, 1, NULL, 0, 0, &status), 0);
	ck_assert_uint_eq(status, 0);
	ck_assert_int_eq(gnutls_x509_crt_list_verify(&admin, 1, &ca, 1, NULL, 0, 0, &status), 0);
	ck_assert_uint_eq(status, 0);
	ck_assert(gnutls_x509_crt_check_hostname(server, "localhost"));
	ck_assert(gnutls_x509_crt_check_hostname(server, "127.0.0.1"));
	ck_assert(gnutls_x509_crt_check_hostname(server, "192.0.2.7"));
	ck_assert(gnutls_x509_crt_check_hostname(server, "example.test"));
	ck_assert(gnutls_x509_crt_check_hostname(server, "kubernetes.default.svc"));
	ck_assert(!gnutls_x509_crt_check_hostname(server, "example.com"));
	ck_assert_int_eq(gnutls_x509_crt_get_dn_by_oid(admin, GNUTLS_OID_X520_ORGANIZATION_NAME, 0,
						       0, text, &n),
			 0);
	ck_assert_str_eq(text, "system:masters");
	gnutls_x509_crt_deinit(ca);
	gnutls_x509_crt_deinit(server);
	gnutls_x509_crt_deinit(admin);
	pki_free(&pki);
}
END_TEST

/* Several start at once: all have the same. */
START_TEST(one_of_many_makes_them)
{
	struct pki pki;
	struct err e;
	int status, failed = 0;

	for (int i = 0; i < 4; i++) {
		if (fork())
			continue;
		status = pki_open(&pki, dir, "127.0.0.1", &e);
		_exit(status ? 1 : 0);
	}
	while (wait(&status) > 0)
		failed += status != 0;
	ck_assert_int_eq(failed, 0);
	ck_assert_int_eq(pki_open(&pki, dir, "127.0.0.1", &e), WEFT_OK);
	pki_free(&pki);
}
END_TEST

START_TEST(a_directory_without_rights_is_an_error)
{
	struct pki pki;
	struct err e;

	ck_assert_int_ne(pki_open(&pki, "/proc/nowhere", NULL, &e), WEFT_OK);
	ck_assert_ptr_nonnull(strstr(e.msg, "/proc/nowhere"));
}
END_TEST

/* A port that somebody else has is refused; a sibling's is joined. */
START_TEST(a_port_is_one_clusters)
{
	char other[64] = "/tmp/weft-certs-XXXXXX", addr[64], command[128];
	struct err e = {0};
	struct pki pki;
	int one, two, port;

	ck_assert_int_eq(pki_open(&pki, dir, NULL, &e), WEFT_OK);
	pki_free(&pki);
	ck_assert_ptr_nonnull(mkdtemp(other));
	ck_assert_int_eq(pki_open(&pki, other, NULL, &e), WEFT_OK);
	pki_free(&pki);
	one = listen_open(dir, "127.0.0.1:0", &port, &e);
	ck_assert_int_ge(one, 0);
	snprintf(addr, sizeof(addr), "127.0.0.1:%d", port);
	two = listen_open(dir, addr, &port, &e);
	ck_assert_int_ge(two, 0);
	ck_assert_int_lt(listen_open(other, addr, &port, &e), 0);
	ck_assert_ptr_nonnull(strstr(e.msg, "in use"));
	ck_assert_int_lt(listen_open(other, "127.0.0.1", &port, &e), 0);
	ck_assert_int_lt(listen_open(other, "127.0.0.1:70000", &port, &e), 0);
	close(one);
	close(two);
	snprintf(command, sizeof(command), "rm -rf '%s'", other);
	ck_assert_int_eq(system(command), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("apiserver_certs");
	TCase *tc = tcase_create("pki");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, files_are_the_owners);
	tcase_add_test(tc, they_are_made_once);
	tcase_add_test(tc, making_that_was_cut_short_is_done_again);
	tcase_add_test(tc, they_are_good_for_their_purpose);
	tcase_add_test(tc, one_of_many_makes_them);
	tcase_add_test(tc, a_directory_without_rights_is_an_error);
	tcase_add_test(tc, a_port_is_one_clusters);
	suite_add_tcase(s, tc);
	return run_suite(s);
}

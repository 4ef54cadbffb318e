/*
 * test_apiserver_conn.c - connections: what is sent arrives, whatever TLS has to
 * say in between.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "procs/apiserver/api.h"
#include "procs/apiserver/conn.h"
#include "tests/unit/suite.h"

static char dir[64];
static struct pki pki;
static struct conns *all;
static struct buf wire; /* of the client, not yet sent */
static gnutls_session_t tls;
static gnutls_certificate_credentials_t cred;
static int fd;
static bool chose_h2;

/* The server: sends back what comes. */
static void echo(struct conn *c)
{
	chose_h2 = conn_speaks(c, "h2");
	while (conn_read(c) && conn_in(c).n) {
		struct str in = conn_in(c);

		conn_write(c, in.p, in.n);
		conn_took(c, in.n);
	}
}

static void nothing(struct conn *c)
{
}

static void opened(struct conn *c, bool plain)
{
}

static bool patient(const struct conn *c)
{
	return true;
}

static const struct conn_ops ops = {.size = sizeof(struct conn),
				    .opened = opened,
				    .proceed = echo,
				    .closed = nothing,
				    .patient = patient};

static void turns(int n)
{
	while (n--) {
		conns_turn(all, clock_mono_ns());
		usleep(1000);
	}
}

/* All that the client has said since the last time goes as one piece. */
static void flush(void)
{
	if (wire.n)
		ck_assert_int_eq(send(fd, wire.p, wire.n, 0), (ssize_t)wire.n);
	wire.n = 0;
}

static ssize_t push(gnutls_transport_ptr_t arg, const void *p, size_t n)
{
	buf_add(&wire, p, n);
	return (ssize_t)n;
}

static int serve(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(at);
	int door = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct err e;

	ck_assert_int_eq(bind(door, (struct sockaddr *)&at, sizeof(at)), 0);
	ck_assert_int_eq(listen(door, 1), 0);
	ck_assert_int_eq(getsockname(door, (struct sockaddr *)&at, &n), 0);
	ck_assert_int_eq(conns_open(&all, &ops, NULL, pki.server_cert.p, pki.server_key.p,
				    pki.ca_cert.p, &e),
			 WEFT_OK);
	ck_assert_int_eq(conns_listen(all, door, false, &e), WEFT_OK);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fcntl(fd, F_SETFL, O_NONBLOCK);
}

/* A client that offers to speak `alpn`; what came of its handshake. */
static int connect_client(const char *alpn)
{
	gnutls_datum_t offer = {(unsigned char *)alpn, alpn ? (unsigned)strlen(alpn) : 0};
	int code = GNUTLS_E_AGAIN;

	ck_assert_int_eq(serve(), 0);
	ck_assert_int_eq(gnutls_init(&tls, GNUTLS_CLIENT | GNUTLS_NONBLOCK), 0);
	gnutls_certificate_allocate_credentials(&cred);
	gnutls_set_default_priority(tls);
	gnutls_credentials_set(tls, GNUTLS_CRD_CERTIFICATE, cred);
	gnutls_transport_set_int(tls, fd);
	gnutls_transport_set_push_function(tls, push);
	if (alpn)
		gnutls_alpn_set_protocols(tls, &offer, 1, 0);
	for (int i = 0; i < 1000 && code == GNUTLS_E_AGAIN; i++) {
		code = gnutls_handshake(tls);
		flush();
		turns(1);
	}
	return code;
}

static void expect(const char *text)
{
	char got[64];
	size_t n = 0;

	for (int i = 0; i < 1000 && n < strlen(text); i++) {
		ssize_t r = gnutls_record_recv(tls, got + n, sizeof(got) - n);

		ck_assert(r > 0 || r == GNUTLS_E_AGAIN);
		n += r > 0 ? (size_t)r : 0;
		turns(1);
	}
	ck_assert_int_eq(n, strlen(text));
	ck_assert_int_eq(memcmp(got, text, n), 0);
}

static void setup(void)
{
	struct err e;

	snprintf(dir, sizeof(dir), "/tmp/weft-conn-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(pki_open(&pki, dir, "127.0.0.1", &e), WEFT_OK);
}

static void teardown(void)
{
	char command[128];

	gnutls_deinit(tls);
	gnutls_certificate_free_credentials(cred);
	conns_close(all);
	close(fd);
	buf_free(&wire);
	pki_free(&pki);
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	ck_assert_int_eq(system(command), 0);
}

START_TEST(what_is_sent_comes_back)
{
	ck_assert_int_eq(connect_client(NULL), 0);
	gnutls_record_send(tls, "one", 3);
	gnutls_record_send(tls, "two", 3);
	flush();
	expect("onetwo");
}
END_TEST

START_TEST(new_keys_lose_nothing)
{
	ck_assert_int_eq(connect_client(NULL), 0);
	gnutls_record_send(tls, "one", 3);
	ck_assert_int_eq(gnutls_session_key_update(tls, GNUTLS_KU_PEER), 0);
	gnutls_record_send(tls, "two", 3);
	flush();
	expect("onetwo");
}
END_TEST

START_TEST(client_and_server_agree_what_to_speak)
{
	static const struct {
		const char *alpn;
		bool h2;
	} cases[] = {{NULL, false}, {"http/1.1", false}, {"h2", true}};

	ck_assert_int_eq(connect_client(cases[_i].alpn), 0);
	gnutls_record_send(tls, "x", 1);
	flush();
	expect("x");
	ck_assert_int_eq(chose_h2, cases[_i].h2);
}
END_TEST

START_TEST(who_speaks_something_else_is_refused)
{
	ck_assert_int_eq(connect_client("gopher"), GNUTLS_E_FATAL_ALERT_RECEIVED);
	ck_assert_int_eq(gnutls_alert_get(tls), GNUTLS_A_NO_APPLICATION_PROTOCOL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("apiserver_conn");
	TCase *tc = tcase_create("conn");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, what_is_sent_comes_back);
	tcase_add_test(tc, new_keys_lose_nothing);
	tcase_add_loop_test(tc, client_and_server_agree_what_to_speak, 0, 3);
	tcase_add_test(tc, who_speaks_something_else_is_refused);
	suite_add_tcase(s, tc);
	return run_suite(s);
}

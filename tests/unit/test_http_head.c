/*
 * test_http_head.c - heads of requests and chunked bodies: what is understood,
 * what is refused and how, and that it does not matter how bytes are cut.
 */
#include <stdio.h>
#include <stdlib.h>
#include "tests/unit/suite.h"
#include "weft/http_head.h"

static zone *z;

static void setup(void)
{
	z = zone_new();
}

static void teardown(void)
{
	zone_free(z);
}

#define ck_str(s, text) \
	ck_assert_msg(str_eq((s), str_of(text)), "'" STR_FMT "' is not '%s'", STR_ARG(s), text)

/* A head of its own size: a sanitizer sees reads beyond it. */
static int parse(const char *text, struct head *h, struct head_refusal *why)
{
	struct str whole = zone_str(z, str_of(text));
	size_t seen = 0, n = head_end(whole, &seen);

	ck_assert_msg(n > 0 && n <= whole.n, "no end in '%s'", text);
	whole.n = (uint32_t)n;
	return head_parse(z, whole, h, why);
}

START_TEST(a_request_is_understood)
{
	struct head_refusal why;
	struct head h;

	ck_assert(!parse("POST /api/v1/pods?a=b%20c HTTP/1.1\r\nHost: x\r\nACCEPT:\t a, b \r\n"
			 "Content-Length: 12\r\nEmpty:\r\nExpect: 100-Continue\r\n\r\nbody",
			 &h, &why));
	ck_str(h.method, "POST");
	ck_str(h.target, "/api/v1/pods?a=b%20c");
	ck_str(head_get(&h, "accept"), "a, b");
	ck_assert_int_eq(head_get(&h, "accept").p[4], '\0');
	ck_str(head_get(&h, "empty"), "");
	ck_assert_ptr_nonnull(head_get(&h, "empty").p);
	ck_assert_ptr_null(head_get(&h, "none").p);
	ck_assert_int_eq(h.length, 12);
	ck_assert(h.expects && !h.close && !h.http10);
}
END_TEST

/* Each is a request that some client sends. */
static const struct {
	const char *text, *target;
	int64_t length;
	bool close, http10;
} good[] = {
	{"GET / HTTP/1.1\nHost: x\n\n", "/", 0, false, false},
	{"GET /a HTTP/1.0\r\n\r\n", "/a", 0, true, true},
	{"GET http://h:1/a?b HTTP/1.1\r\nHost: h\r\n\r\n", "/a?b", 0, false, false},
	{"GET https://h HTTP/1.1\r\nHost: h\r\n\r\n", "/", 0, false, false},
	{"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "*", 0, false, false},
	{"GET /a HTTP/1.1\r\nHost:\r\nConnection: Upgrade, Close\r\n\r\n", "/a", 0, true, false},
	{"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\nContent-Length: 3\r\n\r\n",
	 "/a", -1, true, false},
	{"POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", "/a", 3,
	 true, true},
	{"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", "/a", 3,
	 false, false},
	{"GET /a%2fb HTTP/1.1\r\nHost: h\r\n\r\n", "/a%2fb", 0, false, false},
	{"GET /\xc3\xa9?% HTTP/1.1\r\nHost: h\r\nX: \xff\r\n\r\n", "/\xc3\xa9?%", 0, false, false},
};

START_TEST(what_clients_send_is_understood)
{
	struct head_refusal why;
	struct head h;

	ck_assert_msg(!parse(good[_i].text, &h, &why), "%s: %d", good[_i].text, why.code);
	ck_str(h.target, good[_i].target);
	ck_assert_int_eq(h.length, good[_i].length);
	ck_assert_int_eq(h.close, good[_i].close);
	ck_assert_int_eq(h.http10, good[_i].http10);
}
END_TEST

/* What kube-apiserver answers to each (but for the folded line, which it takes). */
static const struct {
	const char *text;
	int code;
	const char *reason;
} bad[] = {
	{"\r\n\r\n", 400, ""},
	{"GET\r\n\r\n", 400, ""},
	{"GET /\r\n\r\n", 400, ""},
	{"GET / HTTP/1.1 x\r\nHost: x\r\n\r\n", 400, ""},
	{"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400, ""},
	{" GET / HTTP/1.1\r\nHost: x\r\n\r\n", 400, ""},
	{"GET / HTTP/9.9\r\n\r\n", 505, "unsupported protocol version"},
	{"GET / HTTP/1\r\n\r\n", 400, ""},
	{"GET / http/1.1\r\n\r\n", 400, ""},
	{"G(T / HTTP/1.1\r\nHost: x\r\n\r\n", 400, ""},
	{"GET a HTTP/1.1\r\nHost: x\r\n\r\n", 400, ""},
	{"GET /a\x01 HTTP/1.1\r\nHost: x\r\n\r\n", 400, ""},
	{"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400, ""},
	{"GET /% HTTP/1.1\r\nHost: x\r\n\r\n", 400, ""},
	{"GET / HTTP/1.1\r\n\r\n", 400, "missing required Host header"},
	{"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400, ""},
	{"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "malformed Host header"},
	{"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400, ""},
	{"GET / HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n", 400, ""},
	{"GET / HTTP/1.1\r\nHost: x\r\nA : y\r\n\r\n", 400, "invalid header name"},
	{"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400, ""},
	{"GET / HTTP/1.1\r\nHost: x\r\nA: y\x01z\r\n\r\n", 400, ""},
	{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", 400, ""},
	{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\n", 400, ""},
	{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n", 400, ""},
	{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", 400, ""},
	{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400, ""},
	{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\n", 400, ""},
	{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n",
	 400, ""},
	{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n"
	 "Transfer-Encoding: chunked\r\n\r\n",
	 400, ""},
	{"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n", 400,
	 "invalid header name"},
	{"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n\r\n", 501,
	 "Unsupported transfer encoding"},
	{"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: "
	 "identity\r\n\r\n",
	 501, "Unsupported transfer encoding"},
	{"GET / HTTP/1.1\r\nHost: x\r\nExpect: the best\r\n\r\n", 417, ""},
	{"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: nonsense\r\n\r\n", 501,
	 "Unsupported transfer encoding"},
	{"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501,
	 "Unsupported transfer encoding"},
};

START_TEST(what_is_wrong_is_refused)
{
	struct head_refusal why;
	struct head h;

	ck_assert_msg(parse(bad[_i].text, &h, &why) == WEFT_EINVAL, "'%s' is taken", bad[_i].text);
	ck_assert_int_eq(why.code, bad[_i].code);
	ck_assert_str_eq(why.reason, bad[_i].reason);
}
END_TEST

/* Who asks before the body is told to go on; who has no body, or is too old to know
 * that answer, is not. */
static const struct {
	const char *text;
	bool expects;
} asking[] = {
	{"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", true},
	{"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n",
	 true},
	{"GET / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n", false},
	{"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", false},
};

START_TEST(who_asks_is_told_to_go_on)
{
	struct head_refusal why;
	struct head h;

	ck_assert(!parse(asking[_i].text, &h, &why));
	ck_assert_int_eq(h.expects, asking[_i].expects);
}
END_TEST

START_TEST(the_end_is_found_however_bytes_come)
{
	static const char text[] = "GET / HTTP/1.1\r\nA: b\n\r\nrest";
	size_t seen = 0, n;

	for (uint32_t have = 0; have < sizeof(text) - 1; have++) {
		n = head_end((struct str){text, have}, &seen);
		ck_assert_uint_eq(n, have < 23 ? 0 : 23);
		ck_assert_uint_le(seen, have);
	}
	seen = 0;
	ck_assert_uint_eq(head_end(STR("\n"), &seen), 1);
	seen = 0;
	ck_assert_uint_eq(head_end(STR("\r\n"), &seen), 2);
}
END_TEST

/* --- Chunks ------------------------------------------------------------------------- */

/* Reads `text` in pieces of random size; the body and how it ended. */
static enum chunks_state read_chunks(struct str text, unsigned *seed, struct buf *body,
				     size_t *left, const char **wrong)
{
	struct chunks c = {0};
	enum chunks_state state = CHUNKS_MORE;
	uint32_t at = 0;

	body->n = 0;
	while (at < text.n && state == CHUNKS_MORE) {
		uint32_t n = 1 + (uint32_t)rand_r(seed) % (text.n - at);
		char *exact = malloc(n);
		struct str in = {exact, n}, data;

		memcpy(exact, text.p + at, n);
		while ((state = chunks_take(&c, &in, &data)) == CHUNKS_DATA)
			buf_addstr(body, data);
		at += n - in.n;
		ck_assert(state != CHUNKS_MORE || !in.n);
		free(exact);
	}
	*left = text.n - at;
	*wrong = c.wrong;
	return state;
}

static const struct {
	const char *text;
	enum chunks_state state;
	const char *body;
	size_t left; /* bytes behind the end */
	const char *wrong;
} chunked[] = {
	{"0\r\n\r\n", CHUNKS_END, "", 0, NULL},
	{"5\r\nhello\r\n0\r\n\r\nGET", CHUNKS_END, "hello", 3, NULL},
	{"2;a=b\r\nhe\r\n00003 \r\nllo\r\n0;x\r\nA: b\r\nC: d\r\n\r\n", CHUNKS_END, "hello", 0,
	 NULL},
	{"5\t\r\nhello\r\n0\r\nA: b\n\n", CHUNKS_END, "hello", 0, NULL},
	{"5;5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n", CHUNKS_END, "hello", 0, NULL},
	{"5\r\nhel", CHUNKS_MORE, "hel", 0, NULL},
	{"zz\r\n", CHUNKS_BAD, "", 3, "invalid byte in chunk length"},
	{"-1\r\n", CHUNKS_BAD, "", 3, "invalid byte in chunk length"},
	{" 5\r\n", CHUNKS_BAD, "", 3, "invalid byte in chunk length"},
	{"0x5\r\n", CHUNKS_BAD, "", 3, "invalid byte in chunk length"},
	{"5 5\r\n", CHUNKS_BAD, "", 2, "invalid byte in chunk length"},
	{"5 ;a\r\n", CHUNKS_BAD, "", 3, "invalid byte in chunk length"},
	{"\r\n", CHUNKS_BAD, "", 0, "empty hex number for chunk length"},
	{";a\r\n", CHUNKS_BAD, "", 0, "empty hex number for chunk length"},
	{"ffffffffffffffff\r\n", CHUNKS_BAD, "", 2, "http chunk length too large"},
	{"5\nhello\r\n0\r\n\r\n", CHUNKS_BAD, "", 12, "chunked line ends with bare LF"},
	{"5;a\nhello", CHUNKS_BAD, "", 5, "chunked line ends with bare LF"},
	{"5\r\r\nhello", CHUNKS_BAD, "", 6, "invalid CR in chunked line"},
	{"5;\ra\r\nhello", CHUNKS_BAD, "", 7, "invalid CR in chunked line"},
	{"2\r\nabc\r\n", CHUNKS_BAD, "ab", 2, "malformed chunked encoding"},
	{"2\r\nab\n0\r\n\r\n", CHUNKS_BAD, "ab", 5, "malformed chunked encoding"},
	{"2\r\nab\r\r\n", CHUNKS_BAD, "ab", 1, "malformed chunked encoding"},
	{"2\r\nab0\r\n\r\n", CHUNKS_BAD, "ab", 4, "malformed chunked encoding"},
	{"0\r\nGET\r\n\r\n", CHUNKS_BAD, "", 2, "malformed MIME header: missing colon"},
	{"0\r\nGET / HTTP/1.1\r\n", CHUNKS_BAD, "", 12, "malformed MIME header line"},
	{"0\r\n: b\r\n\r\n", CHUNKS_BAD, "", 6, "malformed MIME header line"},
	{"0\r\nA: b\rc\r\n\r\n", CHUNKS_BAD, "", 4, "malformed MIME header line"},
};

START_TEST(chunks_are_put_together)
{
	unsigned seed = 7;
	struct buf body = {0};
	const char *wrong;
	size_t left;

	for (int round = 0; round < 50; round++) {
		enum chunks_state state =
			read_chunks(str_of(chunked[_i].text), &seed, &body, &left, &wrong);

		ck_assert_int_eq(state, chunked[_i].state);
		ck_str(buf_str(&body), chunked[_i].body);
		ck_assert_uint_eq(left, chunked[_i].left);
		ck_assert_pstr_eq(wrong, chunked[_i].wrong);
	}
	buf_free(&body);
}
END_TEST

/* Whatever is cut into chunks comes out as it was. */
START_TEST(random_bodies_come_back)
{
	const char *given = getenv("WEFT_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)clock_wall_ns();
	struct buf body = {0}, text = {0}, out = {0};
	const char *wrong;
	size_t left;

	printf("seed %u\n", seed);
	for (int round = 0; round < 500; round++) {
		body.n = text.n = 0;
		for (int n = rand_r(&seed) % 2000; n > 0; n--)
			buf_putc(&body, (char)rand_r(&seed));
		for (size_t at = 0; at < body.n;) {
			size_t n = 1 + (size_t)rand_r(&seed) % (body.n - at);

			buf_printf(&text, rand_r(&seed) % 2 ? "%zx\r\n" : "%zX;x\r\n", n);
			buf_add(&text, body.p + at, n);
			buf_puts(&text, "\r\n");
			at += n;
		}
		buf_puts(&text, "0\r\n\r\n");
		ck_assert_int_eq(read_chunks(buf_str(&text), &seed, &out, &left, &wrong),
				 CHUNKS_END);
		ck_assert(str_eq(buf_str(&out), buf_str(&body)) && !left);
	}
	buf_free(&body);
	buf_free(&text);
	buf_free(&out);
}
END_TEST

/* Nothing without end is read: lines beside the data are bounded. */
START_TEST(endless_lines_are_refused)
{
	static const char *const starts[] = {"1;", "0\r\nA: "};
	struct chunks c = {0};
	struct str in = str_of(starts[_i]), data;
	enum chunks_state state = chunks_take(&c, &in, &data);

	for (int n = 0; n < 100000 && state == CHUNKS_MORE; n++) {
		in = STR("x");
		state = chunks_take(&c, &in, &data);
	}
	ck_assert_int_eq(state, CHUNKS_BAD);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("http_head");
	TCase *t = tcase_create("head");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_request_is_understood);
	tcase_add_loop_test(t, what_clients_send_is_understood, 0, countof(good));
	tcase_add_loop_test(t, what_is_wrong_is_refused, 0, countof(bad));
	tcase_add_loop_test(t, who_asks_is_told_to_go_on, 0, countof(asking));
	tcase_add_test(t, the_end_is_found_however_bytes_come);
	tcase_add_loop_test(t, chunks_are_put_together, 0, countof(chunked));
	tcase_add_test(t, random_bodies_come_back);
	tcase_add_loop_test(t, endless_lines_are_refused, 0, 2);
	suite_add_tcase(s, t);
	return run_suite(s);
}

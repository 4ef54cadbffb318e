/*
 * etcd_load.c - durable updates of etcd at random over many keys, as its own clients
 * send them: gRPC over HTTP/2, many requests open on each of a few connections.
 *
 *   etcd_load PORT [OBJECTS [SECONDS]]        on 127.0.0.1
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <sys/socket.h>

#include "bench/bench.h"

#define CONNECTIONS 8
#define OPEN	    128 /* requests on each */
#define VALUE_N	    300
#define TXN	    128 /* puts of a transaction: etcd takes no more */

static struct link {
	int fd;
	nghttp2_session *session;
	uint32_t open;
} links[CONNECTIONS];

static uint64_t sent, done, failed;
static uint32_t objects = 1000000;
static double until; /* 0: `goal` requests */
static uint64_t goal;
static struct dice dice;
static bool filling;

/* --- Messages: protocol buffers by hand, five bytes of gRPC before them ------------- */

static void put_varint(struct buf *b, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		buf_putc(b, (char)(v | 0x80));
	buf_putc(b, (char)v);
}

static void put_bytes(struct buf *b, uint32_t field, const void *p, size_t n)
{
	put_varint(b, field << 3 | 2);
	put_varint(b, n);
	buf_add(b, p, n);
}

/* A PutRequest: key = 1, value = 2. */
static void put_put(struct buf *b, uint32_t i)
{
	static char value[VALUE_N];
	char key[32];

	memset(value, 'x', sizeof(value));
	snprintf(value, sizeof(value), "%016llx", (unsigned long long)sent);
	put_bytes(b, 1, key, (size_t)snprintf(key, sizeof(key), "object-%07u", i));
	put_bytes(b, 2, value, sizeof(value));
}

/* A TxnRequest whose success (2) holds RequestOps with a PutRequest (2) each. */
static void put_txn(struct buf *b, uint32_t from)
{
	struct buf put = {0}, op = {0};

	for (uint32_t i = from; i < from + TXN && i < objects; i++) {
		put.n = op.n = 0;
		put_put(&put, i);
		put_bytes(&op, 2, put.p, put.n);
		put_bytes(b, 2, op.p, op.n);
	}
	buf_free(&put);
	buf_free(&op);
}

static struct buf *next_message(void)
{
	struct buf *b = calloc(1, sizeof(*b)), body = {0};
	uint32_t n;

	if (filling)
		put_txn(&body, (uint32_t)sent * TXN);
	else
		put_put(&body, dice_below(&dice, objects));
	n = htonl((uint32_t)body.n);
	buf_putc(b, 0); /* not compressed */
	buf_add(b, &n, sizeof(n));
	buf_add(b, body.p, body.n);
	buf_free(&body);
	return b;
}

/* --- HTTP/2 ------------------------------------------------------------------------- */

static ssize_t on_send(nghttp2_session *s, const uint8_t *p, size_t n, int flags, void *arg)
{
	ssize_t rc = send(((struct link *)arg)->fd, p, n, MSG_NOSIGNAL);

	if (rc < 0)
		return errno == EAGAIN ? NGHTTP2_ERR_WOULDBLOCK : NGHTTP2_ERR_CALLBACK_FAILURE;
	return rc;
}

static ssize_t on_body(nghttp2_session *s, int32_t id, uint8_t *out, size_t room, uint32_t *flags,
		       nghttp2_data_source *source, void *arg)
{
	struct buf *b = source->ptr;
	size_t n = b->n - b->cap < room ? b->n - b->cap : room; /* cap: how much has gone */

	memcpy(out, b->p + b->cap, n);
	b->cap += n;
	if (b->cap == b->n)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

static void submit(struct link *l)
{
#define NV(n, v)                                                            \
	{                                                                   \
		(uint8_t *)(n), (uint8_t *)(v), sizeof(n) - 1, strlen(v), 0 \
	}
	const nghttp2_nv put[] = {
		NV(":method", "POST"),
		NV(":scheme", "http"),
		NV(":path", filling ? "/etcdserverpb.KV/Txn" : "/etcdserverpb.KV/Put"),
		NV(":authority", "127.0.0.1"),
		NV("content-type", "application/grpc"),
		NV("te", "trailers")};
#undef NV
	struct buf *b = next_message();
	nghttp2_data_provider body = {.source.ptr = b, .read_callback = on_body};

	b->cap = 0;
	if (nghttp2_submit_request(l->session, NULL, put, countof(put), &body, b) < 0)
		weft_fatal("nghttp2_submit_request");
	sent++;
	l->open++;
}

static bool more(void)
{
	return goal ? sent < goal : bench_now() < until;
}

static void fill_up(struct link *l)
{
	while (l->open < OPEN && more())
		submit(l);
}

static int on_header(nghttp2_session *s, const nghttp2_frame *f, const uint8_t *name, size_t n,
		     const uint8_t *v, size_t nv, uint8_t flags, void *arg)
{
	if (n == 11 && memcmp(name, "grpc-status", 11) == 0 && (nv != 1 || *v != '0'))
		failed++;
	return 0;
}

static int on_close(nghttp2_session *s, int32_t id, uint32_t error, void *arg)
{
	struct buf *b = nghttp2_session_get_stream_user_data(s, id);

	failed += error != 0;
	done++;
	((struct link *)arg)->open--;
	free(b->p);
	free(b);
	return 0;
}

static void dial(struct link *l, uint16_t port)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	nghttp2_session_callbacks *cbs;
	int one = 1;

	l->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (l->fd < 0 || connect(l->fd, (struct sockaddr *)&to, sizeof(to)))
		weft_fatal("cannot connect to port %u", port);
	setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	fcntl(l->fd, F_SETFL, O_NONBLOCK);
	nghttp2_session_callbacks_new(&cbs);
	nghttp2_session_callbacks_set_send_callback(cbs, on_send);
	nghttp2_session_callbacks_set_on_header_callback(cbs, on_header);
	nghttp2_session_callbacks_set_on_stream_close_callback(cbs, on_close);
	nghttp2_session_client_new(&l->session, cbs, l);
	nghttp2_session_callbacks_del(cbs);
	nghttp2_submit_settings(l->session, NGHTTP2_FLAG_NONE, NULL, 0);
	if (nghttp2_session_send(l->session))
		weft_fatal("cannot send");
}

static void receive(struct link *l)
{
	static uint8_t in[256 << 10];
	ssize_t n = recv(l->fd, in, sizeof(in), 0);

	if (n == 0 || (n < 0 && errno != EAGAIN) ||
	    (n > 0 && nghttp2_session_mem_recv(l->session, in, (size_t)n) < 0))
		weft_fatal("etcd ended the connection");
}

/* Until nothing more is to be sent and all is answered; requests a second. */
static double run(void)
{
	double start = bench_now();

	sent = done = 0;
	while (more() || done < sent) {
		struct pollfd fds[CONNECTIONS];

		for (uint32_t i = 0; i < CONNECTIONS; i++) {
			fill_up(&links[i]);
			if (nghttp2_session_send(links[i].session))
				weft_fatal("cannot send");
			fds[i] = (struct pollfd){.fd = links[i].fd, .events = POLLIN};
			if (nghttp2_session_want_write(links[i].session))
				fds[i].events |= POLLOUT;
		}
		poll(fds, CONNECTIONS, 1000);
		for (uint32_t i = 0; i < CONNECTIONS; i++)
			if (fds[i].revents & (POLLIN | POLLHUP | POLLERR))
				receive(&links[i]);
	}
	return (double)done / (bench_now() - start);
}

int main(int argc, char **argv)
{
	struct bench b = {.name = "etcd/update",
			  .what = "etcd: durable updates of 300 bytes at random, over gRPC",
			  .unit = "M/s"};
	uint16_t port = argc > 1 ? (uint16_t)atoi(argv[1]) : 2379;
	double seconds = argc > 3 ? atof(argv[3]) : 4;

	dice.state = bench_seed();
	objects = argc > 2 ? (uint32_t)atoi(argv[2]) : objects;
	for (uint32_t i = 0; i < CONNECTIONS; i++)
		dial(&links[i], port);
	filling = true;
	goal = (objects + TXN - 1) / TXN;
	run();
	filling = false;
	goal = 0;
	for (int i = 0; i < 3; i++) {
		until = bench_now() + seconds;
		bench_add(&b, run() / 1e6);
	}
	if (failed)
		weft_fatal("%llu requests failed", (unsigned long long)failed);
	bench_report(&b);
	return 0;
}

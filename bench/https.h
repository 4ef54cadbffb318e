/*
 * https.h - what the benchmarks of the API server share: a cluster of their own,
 * and a client that costs little: TLS from memory, one recv() for all records that
 * wait, one send() for a request.
 *
 * Failures end the program with a message; a cluster that was started is stopped
 * at exit.
 */
#ifndef WEFT_BENCH_HTTPS_H
#define WEFT_BENCH_HTTPS_H

#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "bench.h"

#define die(...) (fprintf(stderr, __VA_ARGS__), fputc('\n', stderr), exit(1))

/* --- A cluster --------------------------------------------------------------------- */

static struct {
	char dir[64]; /* empty: somebody else's cluster */
	pid_t pid;
	char host[128], port[16];
	char *token;
	gnutls_certificate_credentials_t cred;
} https;

static inline char *https_read_file(const char *path)
{
	struct buf b = {0};
	FILE *f = fopen(path, "r");
	char piece[4096];
	size_t n;

	if (!f)
		die("cannot read %s", path);
	while ((n = fread(piece, 1, sizeof(piece), f)))
		buf_add(&b, piece, n);
	fclose(f);
	buf_putc(&b, '\0');
	return b.p;
}

/* The base64 text behind "key: ". */
static inline gnutls_datum_t https_datum(const char *text, const char *key)
{
	const char *at = strstr(text, key);
	gnutls_datum_t in, out = {0};

	if (!at)
		return out;
	at += strlen(key) + 2;
	in = (gnutls_datum_t){(unsigned char *)at, (unsigned)strcspn(at, "\n},\" ")};
	if (gnutls_base64_decode2(&in, &out))
		die("the kubeconfig's %s is no base64", key);
	return out;
}

static inline void https_use_kubeconfig(const char *path)
{
	char *text = https_read_file(path), *at = strstr(text, "https://");
	gnutls_datum_t cert = https_datum(text, "client-certificate-data");
	gnutls_datum_t key = https_datum(text, "client-key-data");

	if (!at || sscanf(at, "https://%127[^:]:%15[0-9]", https.host, https.port) != 2)
		die("%s names no server", path);
	gnutls_certificate_allocate_credentials(&https.cred);
	if (cert.size && gnutls_certificate_set_x509_key_mem(https.cred, &cert, &key,
							     GNUTLS_X509_FMT_PEM) < 0)
		die("%s: its certificate is not good", path);
	at = strstr(text, "token: ");
	if (at) {
		at += strlen("token: ");
		https.token = strndup(at, strcspn(at, "\n},\" "));
	}
	gnutls_free(cert.data);
	gnutls_free(key.data);
	free(text);
}

static inline void https_stop(void)
{
	char command[128];

	if (!https.dir[0])
		return;
	kill(https.pid, SIGTERM);
	waitpid(https.pid, NULL, 0);
	snprintf(command, sizeof(command), "rm -rf '%s'", https.dir);
	if (system(command))
		fprintf(stderr, "cannot remove %s\n", https.dir);
	https.dir[0] = '\0';
}

static inline void https_on_signal(int sig)
{
	exit(1);
}

/* A new cluster; `config`: the text of its configuration. */
static inline void https_start(const char *config)
{
	const char *weft = getenv("WEFT") ? getenv("WEFT") : "build/weft";
	char path[128], conf[128], line[512] = "", where[256];
	int out[2];
	FILE *f;

	strcpy(https.dir, "/tmp/weft-bench-XXXXXX");
	if (!mkdtemp(https.dir) || pipe(out))
		die("no directory for a cluster");
	snprintf(path, sizeof(path), "%s/data", https.dir);
	snprintf(conf, sizeof(conf), "%s/config.yaml", https.dir);
	f = fopen(conf, "w");
	if (!f || fputs(config, f) < 0 || fclose(f))
		die("cannot write %s", conf);
	signal(SIGINT, https_on_signal);
	signal(SIGTERM, https_on_signal);
	https.pid = fork();
	if (!https.pid) {
		dup2(out[1], 1);
		dup2(open("/dev/null", O_WRONLY), 2);
		execl(weft, weft, "up", "--data", path, "--listen", "127.0.0.1:0", "-c", conf,
		      (char *)NULL);
		_exit(127);
	}
	atexit(https_stop);
	close(out[1]);
	f = fdopen(out[0], "r");
	if (!f || !fgets(line, sizeof(line), f) ||
	    sscanf(line, "ready %*s %255s", where) != 1)
		die("%s did not start", weft);
	https_use_kubeconfig(where);
}

/* CPU seconds and resident bytes of one of our cluster's processes; false if it is
 * somebody else's. */
static inline bool https_usage(const char *process, double *cpu_s, double *bytes)
{
	const char *weft = getenv("WEFT") ? getenv("WEFT") : "build/weft";
	char command[512];
	unsigned long user, sys, pages;
	FILE *f;
	int n;

	if (!https.dir[0])
		return false;
	snprintf(command, sizeof(command),
		 "p=$('%s' status --data '%s/data' | awk '$1 == \"%s\" { print $2 }'); "
		 "awk '{ print $14, $15 }' /proc/$p/stat; "
		 "awk '/^Private/ { n += $2 } END { print n }' /proc/$p/smaps_rollup",
		 weft, https.dir, process);
	f = popen(command, "r");
	n = f ? fscanf(f, "%lu %lu %lu", &user, &sys, &pages) : 0;
	if (f)
		pclose(f);
	if (n != 3)
		die("nothing is known of %s", process);
	*cpu_s = (double)(user + sys) / (double)sysconf(_SC_CLK_TCK);
	*bytes = (double)pages * 1024;
	return true;
}

/* --- A connection -------------------------------------------------------------------- */

#define HTTPS_PIECE (256u << 10)

struct https_conn {
	int fd;
	gnutls_session_t tls;
	struct buf in, wire;
	const char *raw; /* received, not yet decrypted */
	size_t raw_n;
	bool blocking; /* the handshake is still to be done */
};

static inline ssize_t https_pull(gnutls_transport_ptr_t arg, void *p, size_t n)
{
	struct https_conn *c = arg;

	if (c->blocking)
		return recv(c->fd, p, n, 0);
	if (!c->raw_n) {
		gnutls_transport_set_errno(c->tls, EAGAIN);
		return -1;
	}
	if (n > c->raw_n)
		n = c->raw_n;
	memcpy(p, c->raw, n);
	c->raw += n;
	c->raw_n -= n;
	return (ssize_t)n;
}

static inline ssize_t https_push(gnutls_transport_ptr_t arg, const void *p, size_t n)
{
	struct https_conn *c = arg;

	if (c->blocking)
		return send(c->fd, p, n, MSG_NOSIGNAL);
	buf_add(&c->wire, p, n);
	return (ssize_t)n;
}

static inline int https_connect(void)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *ai;
	int fd, one = 1;

	if (getaddrinfo(https.host, https.port, &hints, &ai))
		die("%s is not known", https.host);
	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, ai->ai_addr, ai->ai_addrlen))
		die("cannot connect to %s:%s: %s", https.host, https.port, strerror(errno));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	freeaddrinfo(ai);
	return fd;
}

/* Connected, shaken hands with, and no longer blocking. */
static inline void https_open(struct https_conn *c)
{
	int code;

	*c = (struct https_conn){.fd = https_connect(), .blocking = true};
	gnutls_init(&c->tls, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL | GNUTLS_NONBLOCK);
	gnutls_set_default_priority(c->tls);
	gnutls_credentials_set(c->tls, GNUTLS_CRD_CERTIFICATE, https.cred);
	gnutls_transport_set_ptr(c->tls, c);
	gnutls_transport_set_pull_function(c->tls, https_pull);
	gnutls_transport_set_push_function(c->tls, https_push);
	do
		code = gnutls_handshake(c->tls);
	while (code < 0 && !gnutls_error_is_fatal(code));
	if (code < 0)
		die("TLS: %s", gnutls_strerror(code));
	c->blocking = false;
	fcntl(c->fd, F_SETFL, fcntl(c->fd, F_GETFL) | O_NONBLOCK);
}

static inline void https_close(struct https_conn *c)
{
	close(c->fd);
	gnutls_deinit(c->tls);
	buf_free(&c->in);
	buf_free(&c->wire);
}

/* One request with a body (n may be 0). */
static inline void https_send(struct https_conn *c, const char *method, const char *path,
			      const char *body, size_t n)
{
	struct buf text = {0};
	size_t at = 0;

	buf_printf(&text, "%s %s HTTP/1.1\r\nHost: x\r\n", method, path);
	if (https.token)
		buf_printf(&text, "Authorization: Bearer %s\r\n", https.token);
	if (n)
		buf_printf(&text, "Content-Type: application/json\r\nContent-Length: %zu\r\n", n);
	buf_puts(&text, "\r\n");
	buf_add(&text, body, n);
	while (at < text.n) {
		ssize_t r = gnutls_record_send(c->tls, text.p + at, text.n - at);

		if (r <= 0)
			die("TLS: %s", gnutls_strerror((int)r));
		at += (size_t)r;
	}
	buf_free(&text);
	for (at = 0; at < c->wire.n;) {
		ssize_t r = send(c->fd, c->wire.p + at, c->wire.n - at, MSG_NOSIGNAL);
		struct pollfd fd = {.fd = c->fd, .events = POLLOUT};

		if (r > 0)
			at += (size_t)r;
		else if (errno == EAGAIN)
			poll(&fd, 1, 1000);
		else
			die("the server closed a connection");
	}
	c->wire.n = 0;
}

/* What has come, appended to c->in; how many bytes (0: nothing now). */
static inline size_t https_receive(struct https_conn *c)
{
	static __thread char pool[HTTPS_PIECE];
	size_t before = c->in.n;
	ssize_t n = recv(c->fd, pool, sizeof(pool), 0);

	if (n == 0 || (n < 0 && errno != EAGAIN))
		die("the server closed a connection");
	c->raw = pool;
	c->raw_n = n > 0 ? (size_t)n : 0;
	while (n > 0) {
		buf_reserve(&c->in, 16384);
		n = gnutls_record_recv(c->tls, c->in.p + c->in.n, 16384);
		if (n > 0)
			c->in.n += (size_t)n;
		else if (n == GNUTLS_E_INTERRUPTED)
			n = 1;
		else if (n != GNUTLS_E_AGAIN)
			die("TLS: %s", n ? gnutls_strerror((int)n) : "the end of a stream");
	}
	return c->in.n - before;
}

/* Bytes of the head at the start of `in`, 0 if it is not whole; *code, *length
 * (-1: in chunks). */
static inline size_t https_head(const struct buf *in, int *code, long *length)
{
	const char *end = in->n ? memmem(in->p, in->n, "\r\n\r\n", 4) : NULL, *at;
	size_t n = end ? (size_t)(end + 4 - in->p) : 0;

	if (!n)
		return 0;
	*code = atoi(in->p + 9);
	*length = -1;
	at = memmem(in->p, n, "\r\nContent-Length: ", 18);
	if (at)
		*length = atol(at + 18);
	return n;
}

/* Wait for the next answer's whole body, which is left in c->in (with a NUL behind
 * it); its code. */
static inline int https_answer(struct https_conn *c)
{
	struct pollfd fd = {.fd = c->fd, .events = POLLIN};
	int code = 0;
	long length = 0;
	size_t head;

	while (!(head = https_head(&c->in, &code, &length)) || c->in.n < head + (size_t)length) {
		if (head && length < 0)
			die("an answer in chunks");
		if (!https_receive(c) && poll(&fd, 1, 60000) <= 0)
			die("no answer");
	}
	memmove(c->in.p, c->in.p + head, (size_t)length);
	c->in.n = (size_t)length;
	buf_putc(&c->in, '\0');
	c->in.n--;
	return code;
}

/* One request and its answer. */
static inline int https_ask(struct https_conn *c, const char *method, const char *path,
			    const char *body)
{
	c->in.n = 0;
	https_send(c, method, path, body, body ? strlen(body) : 0);
	return https_answer(c);
}

#endif

/*
 * client.h - what the files of the HTTP client share.
 */
#ifndef LOAD_CLIENT_H
#define LOAD_CLIENT_H

#include "bench/load/http.h"

struct session; /* http2.c: a connection that requests share */

struct client {
	const struct target *target;
	struct addrinfo *address;
	int epoll;
	uint64_t received;
	bool expecting; /* something was asked for, or the last wait was short */
	struct session *sessions;
	/* What came through the socket and GnuTLS has not taken yet: bytes[0..], of the
	 * wire that is being received from. */
	const char *raw;
	size_t raw_n;
	char bytes[256 << 10];
};

/* A request to be sent. */
struct message {
	const char *method, *kind;
	struct str path, body;
};

/* A way to speak HTTP. */
struct protocol {
	size_t size; /* of its structure, which begins with a struct conn */
	bool (*open)(struct conn *c, const char **why);
	void (*close)(struct conn *c);
	void (*send)(struct conn *c, const struct message *m);
};
extern const struct protocol http1, http2;

struct conn {
	struct client *cl;
	const struct protocol *speaks;
	bool broken, open; /* open: a request is */
	struct answer answer;
	struct buf body; /* what of it had to be kept */
	data_cb data;
	answer_cb cb;
	void *arg;
};

/* Its answer's body goes on as it comes. */
static inline bool conn_streams(const struct conn *c)
{
	return c->data && c->answer.status / 100 == 2;
}
/* The request, if one is open, is answered with c->answer. */
void conn_finish(struct conn *c);
/* The connection broke. */
void conn_broke(struct conn *c);

/* Deal with what is to be sent, and with what comes within wait_ns (wire.c). */
void wires_turn(struct client *cl, int64_t wait_ns);
/* Send what was asked for since the last call (http2.c). */
void sessions_send(struct client *cl);
void sessions_free(struct client *cl);

#endif

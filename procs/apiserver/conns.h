/*
 * conns.h - what conn.c and conns.c share.
 */
#ifndef WEFT_APISERVER_CONNS_H
#define WEFT_APISERVER_CONNS_H

#include "procs/apiserver/conn.h"

#define DOORS_MAX 2

/* A listening socket. */
struct door {
	int fd;
	bool plain;
};

struct conns {
	const struct conn_ops *ops;
	void *arg;
	int epoll;
	struct door doors[DOORS_MAX];
	uint32_t ndoors;
	int64_t doors_shut_ns; /* without descriptors: until then; 0: open */
	struct conn *oldest, *newest;
	struct conn *again, **again_end;
	struct conn *dead;
	uint32_t n;
	int64_t now_ns;
	gnutls_certificate_credentials_t cred;
	gnutls_priority_t priority;
	struct buf spare; /* for the next connection that reads */
	struct buf wire;  /* encrypted, for the next send() */
	const char *raw;  /* of `pool`: received, not yet seen by GnuTLS */
	size_t raw_n;
	char pool[CONN_PIECE];
};

void conns_link(struct conn *c); /* as the newest */
void conns_unlink(struct conn *c);
/* Something came or went. */
void conns_moved(struct conn *c);

/* A connection that was accepted. */
void conn_new(struct conns *all, int fd, bool plain);
void conn_free(struct conn *c);
/* Something may have changed: get on as far as it can now. */
void conn_proceed(struct conn *c);

#endif

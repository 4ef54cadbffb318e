/*
 * wire.h - a connection as bytes: a socket, TLS (GnuTLS), and what goes and comes.
 * What is said on it is the business of http1.c and http2.c.
 */
#ifndef LOAD_WIRE_H
#define LOAD_WIRE_H

#include "bench/load/http.h"

struct wire;

struct wire_ops {
	const char *alpn; /* what is to be spoken; NULL: not said */
	/* Room for at least WIRE_ROOM bytes, and then how many of it were filled. */
	char *(*room)(void *arg);
	void (*received)(void *arg, size_t n);
	/* Nothing comes or goes any more. */
	void (*broke)(void *arg);
};

#define WIRE_ROOM (16u << 10) /* TLS: no record has more */

/* Connect (blocking, with the handshake); NULL: *why says why not. */
struct wire *wire_open(struct client *cl, const struct wire_ops *ops, void *arg, const char **why);
void wire_close(struct wire *w);
/* Bytes to be sent, with what wire_send() is called for next; no copy is kept. */
struct buf *wire_out(struct wire *w);
/* Send what is in wire_out(); the rest when the socket can take it. */
void wire_send(struct wire *w);
/* True if all is sent, and wire_out() may be filled anew. */
bool wire_sent(const struct wire *w);

#endif

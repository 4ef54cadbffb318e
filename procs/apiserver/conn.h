/*
 * conn.h - connections: sockets, TLS, and what is on its way in and out.
 *
 * One thread.  A connection is registered with epoll once, for edges; from then
 * on a request costs one recv() and one send(): what came is read in one piece
 * for all records in it, and what goes is encrypted into one piece.  An idle
 * connection keeps no buffer.
 *
 * The layer above (protocol.h) owns what follows struct conn in its own structure.
 * It is called, `proceed`, whenever something may have changed: bytes came, all
 * was sent, the client went.  It asks for bytes when it has a use for them
 * (conn_read), so a client that sends faster than it is served waits in the
 * kernel; and it makes the next piece of a large answer when the last one is
 * gone (conn_drained), so a slow reader costs one piece of memory.
 */
#ifndef WEFT_APISERVER_CONN_H
#define WEFT_APISERVER_CONN_H

#include <gnutls/gnutls.h>
#include "weft/base.h"

#define CONN_PIECE (64u << 10) /* bytes read, or given to conn_write(), at once */

struct conns; /* all of them, and the doors they come through */

struct conn {
	struct conns *all;
	struct conn *older, *newer; /* by when something last came or went */
	struct conn *again_next;
	int64_t moved_ns;     /* when that was */
	int fd;		      /* -1: closed, freed at the end of the turn */
	gnutls_session_t tls; /* NULL: without */
	struct buf in, out;   /* read and not taken; encrypted and not sent */
	size_t in_at, out_at;
	bool handshaking, greeted; /* greeted: bytes have come */
	bool readable;		   /* recv() may have something */
	bool hup;		   /* the client sends no more, or is gone */
	bool end;		   /* nothing more comes: all was read */
	bool broken;		   /* nor can anything be sent: `end`, too */
	bool lingering;		   /* answered; what still comes is thrown away */
	bool again;
};

struct conn_ops {
	size_t size; /* of the structure that begins with a struct conn */
	void (*opened)(struct conn *c, bool plain);
	void (*proceed)(struct conn *c);
	/* It is closed: forget it. */
	void (*closed)(struct conn *c);
	/* True: no wonder that nothing moves.  Otherwise two minutes of silence end
	 * a connection. */
	bool (*patient)(const struct conn *c);
};

/* `pem_*` are the server's certificate and key and the authority of clients',
 * all NUL-terminated. */
int conns_open(struct conns **out, const struct conn_ops *ops, void *arg, const char *pem_cert,
	       const char *pem_key, const char *pem_ca, struct err *e);
void *conns_arg(const struct conns *all);
/* Take connections from a listening socket, which is owned from now on. */
int conns_listen(struct conns *all, int fd, bool plain, struct err *e);
/* Readable when conns_turn() has something to do. */
int conns_fd(const struct conns *all);
/* Serve what is there; when to be called again (monotonic ns; 0: no wish). */
int64_t conns_turn(struct conns *all, int64_t now_ns);
/* Some asked to be called again, or were dropped, since the last turn. */
bool conns_waiting(const struct conns *all);
/* Calls `fn` for each connection, which may not drop any. */
void conns_each(struct conns *all, void (*fn)(struct conn *c));
/* Takes those that wait at the doors, and closes these. */
void conns_close_doors(struct conns *all);
void conns_close(struct conns *all);

/* What client and server agreed to speak while shaking hands (ALPN): "h2", or
 * "http/1.1", which is also meant by those that name nothing. */
bool conn_speaks(const struct conn *c, const char *protocol);
/* Bytes that were read and not taken. */
static inline struct str conn_in(const struct conn *c)
{
	return (struct str){c->in.p + c->in_at, (uint32_t)(c->in.n - c->in_at)};
}
void conn_took(struct conn *c, size_t n);
/* Read more; true: something came, or the end (c->end). */
bool conn_read(struct conn *c);
/* Send; what the socket does not take is kept. */
void conn_write(struct conn *c, const void *p, size_t n);
/* True if all has been sent (or never will be). */
bool conn_drained(struct conn *c);
/* Call proceed() in the next turn. */
void conn_again(struct conn *c);
/* Send what is left, then close: the client may still be sending, and is to read
 * its answer all the same. */
void conn_finish(struct conn *c);
/* Close now.  `c` is not freed before the end of the turn. */
void conn_drop(struct conn *c);

#endif

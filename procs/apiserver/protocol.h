/*
 * protocol.h - a connection and its requests, whichever HTTP is spoken on it.
 *
 * http.c has the connections and finds out what is spoken, http1.c and http2.c
 * speak it, request.c has what the life of a request is in both.
 */
#ifndef WEFT_APISERVER_PROTOCOL_H
#define WEFT_APISERVER_PROTOCOL_H

#include "procs/apiserver/api.h"
#include "procs/apiserver/conn.h"

#define BODY_DRAINED_MAX (64u << 20) /* bytes of a body too big that are still read */
#define RUN_MAX		 16	     /* requests or pieces of one connection in a row */

/* A way to speak HTTP.  `q` has a connection (q->http) in all of them. */
struct protocol {
	/* Something may have changed (conn.h): get on. */
	void (*proceed)(struct http *h);
	/* q has its answer, possibly before its handler has returned. */
	void (*answer)(struct request *q);
	/* q's stream is idle no more; proceed() will be called. */
	void (*wake)(struct request *q);
	/* See stream_push(); q's stream is idle. */
	bool (*push)(struct request *q, const struct buf *chunk);
	/* The process ends: say so to clients that keep their connection. */
	void (*drain)(struct http *h);
	/* See struct conn_ops. */
	void (*closed)(struct http *h);
	bool (*patient)(const struct http *h);
};

extern const struct protocol http1, http2;

struct http1 {
	enum {
		PHASE_HEAD,
		PHASE_BODY,
		PHASE_HANDLING,
		PHASE_WAITING,
		PHASE_SENDING,
		PHASE_STREAMING
	} phase;
	struct request *q; /* from BODY on */
	size_t seen;	   /* HEAD: how far its end was looked for */
	uint64_t left;	   /* BODY: bytes that are still to come */
	struct chunks chunks;
	bool last; /* no request after this one */
	unsigned run;
};

struct http2 {
	struct nghttp2_session *session;
	struct request *open; /* by `next` */
	size_t head_bytes;    /* of theirs */
	bool resuming;	      /* some are to go on that had nothing to say */
};

struct http {
	struct conn c;		       /* first */
	const struct protocol *speaks; /* NULL until hands are shaken */
	struct peer peer;
	union {
		struct http1 one;
		struct http2 two;
	};
};

static inline struct api *http_api(const struct http *h)
{
	return conns_arg(h->c.all);
}

/* --- request.c ---------------------------------------------------------------------- */

/* A request that comes on h; NULL: that no client sent. */
struct request *request_new(struct api *api, struct http *h);
/* Its head is known: q->head.method and .target become verb, path and query. */
void request_take_head(struct request *q);
/* A piece of its body came: kept, unless that is too big. */
void request_take_body(struct request *q, struct str data);
/* The body is not worth reading to its end.  Most that are too big are read and
 * forgotten, as many clients read no answer before they have sent all; one that
 * asks first need not send anything. */
bool request_not_worth_reading(const struct request *q);
/* Its answer is 413. */
enum outcome request_too_big(struct request *q);
/* All of it is there.  True: it has its answer; else protocol.answer() follows. */
bool request_handle(struct request *q);
/* Its answer begins: counts it. */
void request_answers(struct request *q);
/* A piece of its stream is about to go. */
void request_streams(const struct request *q);
/* The header lines that all answers have, and its own: at most LINES_MAX. */
#define LINES_MAX (HEADERS_MAX + 3)
uint32_t request_lines(const struct request *q, struct header *lines);
/* Done with it. */
void request_free(struct request *q);
/* Its client is gone, or does not want it any more; what is on its way to the store
 * goes on.  It is not the protocol's any more. */
void request_abandon(struct request *q);

#endif

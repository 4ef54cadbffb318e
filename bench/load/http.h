/*
 * http.h - an HTTP client for load: many connections over TLS (GnuTLS) in
 * one thread, each with one request open at a time and kept between requests.  Over
 * HTTP/2 (opt.streams) connections are streams, and share those of the network.
 *
 * It does no more than a load generator needs, since every microsecond spent
 * here is one that the server under test does not get on a small machine: no
 * redirects, no compression, no cookies.
 */
#ifndef LOAD_HTTP_H
#define LOAD_HTTP_H

#include "weft/base.h"

struct target; /* a cluster, from a kubeconfig: address and credentials; constant */
struct client; /* a thread's connections */
struct conn;

/* What a connection tells its user.  `arg` is the one of http_send(). */
struct answer {
	int status;	 /* HTTP's; 0: the connection broke before the answer was whole */
	struct str body; /* valid until the callback returns; empty for streams */
	struct str retry_after;
};
typedef void (*answer_cb)(void *arg, struct conn *c, const struct answer *a);
/* A piece of a stream's body. */
typedef void (*data_cb)(void *arg, struct conn *c, struct str piece);

/* Reads server, CA, client certificate or token of the current context.  Exits
 * with a message if that cannot be done. */
struct target *target_open(const char *kubeconfig);

struct client *client_new(const struct target *t);
void client_free(struct client *cl);
/* Connect (blocking, with the handshake): a connection, or NULL with the reason
 * in *why (may be NULL).  conn_close() frees it; never call that from a callback. */
struct conn *conn_open(struct client *cl, const char **why);
void conn_close(struct conn *c);
bool conn_broken(const struct conn *c);

/* Send one request; `kind` is the body's Content-Type (NULL: no body).  With
 * `data`, the body of a 2xx answer goes there piece by piece as it comes.  `cb`
 * is called once, from client_turn(); the connection can be used again in it.
 * Not while another request is open on it. */
void http_send(struct conn *c, const char *method, struct str path, const char *kind,
	       struct str body, data_cb data, answer_cb cb, void *arg);
/* Wait up to `wait_ns` for something to come and deal with it.  Not from a callback. */
void client_turn(struct client *cl, int64_t wait_ns);

/* One request, waited for: for what is prepared before and looked at after.  The
 * body lives until the next call.  Not from a callback. */
struct answer http_call(struct client *cl, struct conn *c, const char *method, struct str path,
			struct str body);

/* Bytes received, decrypted, by all connections. */
uint64_t client_received(const struct client *cl);

#endif

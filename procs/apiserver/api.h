/*
 * api.h - what the files of the API server share.
 *
 * One thread.  Connections (conn.c) have no thread of their own but are served
 * inside the loop of the process library, so a request, the cache and the ring
 * to the store are touched by one thread only and need no lock.  More cores are
 * used by more apiserver processes on the same port.
 *
 * A request goes through:  head and body read -> who is it (auth.c) -> which
 * resource and verb (route.c) -> what it accepts (negotiate.c) -> its handler.
 * A handler returns an `enum outcome`:
 *   ANSWERED   q->code, q->out and headers are the answer
 *   WAITING    the connection sleeps; request_answer() will be called later
 *   STREAMING  q->stream produces the body piece by piece
 */
#ifndef WEFT_APISERVER_API_H
#define WEFT_APISERVER_API_H

#include <gnutls/abstract.h>
#include <xxhash.h>
#include "weft/http_head.h"
#include "weft/json.h"
#include "weft/kube.h"
#include "weft/proc.h"

#define BODY_MAX    (3u << 20)	/* bytes of a request body */
#define CHUNK_SIZE  (48u << 10) /* what a stream makes in one go */
#define HEADERS_MAX 12
#define KEY_MAX	    512 /* bytes of namespace and name of an object */

enum method { METHOD_GET, METHOD_POST, METHOD_PUT, METHOD_PATCH, METHOD_DELETE, METHOD_OTHER };
enum outcome { ANSWERED, WAITING, STREAMING };
enum media { MEDIA_JSON, MEDIA_YAML };
enum shape { SHAPE_OBJECT, SHAPE_TABLE, SHAPE_PARTIAL };

struct api;
struct http;
struct request;

/* A copy with a NUL behind it. */
static inline struct str zone_text(zone *z, struct str s)
{
	return zone_printf(z, STR_FMT, STR_ARG(s));
}

/* --- Who asks (auth.c) ------------------------------------------------------------ */

#define GROUPS_MAX   16
#define KNOWN_TOKENS 256  /* that are remembered */
#define GRANTS_KNOWN 4096 /* likewise */

struct user {
	struct str name, uid;
	struct str groups[GROUPS_MAX];
	uint32_t ngroups;
	bool anonymous;
	bool masters; /* in group system:masters: may do everything */
	/* Of a ServiceAccount's token: what it is bound to; empty otherwise. */
	struct str pod_name, pod_uid;
};

/* Per connection: the client certificate is looked at once. */
struct peer {
	bool checked, valid;
	zone *z; /* the strings of `user` */
	struct user user;
};

/* Finds out who sends `q`: token, else client certificate, else anonymous.
 * False: a credential was given and is not good (401). */
bool auth_identify(struct request *q);
/* If q is sent in another's name (Impersonate-User) and may be, q->user is that
 * one (impersonate.c).  False: an error was answered. */
bool auth_impersonate(struct request *q);
/* True if q->user may do what q asks; else *why says (Kubernetes' words). */
bool auth_allowed(struct request *q, struct str *why);
bool user_in_group(const struct user *u, const char *group);
const struct user *user_copy(zone *z, const struct user *u);
void peer_free(struct peer *peer);

/* --- Keys and certificates (certs.c, token.c) ------------------------------------- */

struct pki {
	struct str ca_cert, ca_key; /* PEM, NUL-terminated */
	struct str server_cert, server_key;
	struct str admin_cert, admin_key;
	struct str sa_key; /* signs ServiceAccount tokens */
};

/* Reads DIR/pki, making what is not there; of several processes one makes it.
 * `hosts` are further names and addresses for the serving certificate,
 * separated by commas. */
int pki_open(struct pki *pki, const char *dir, const char *hosts, struct err *e);
/* Writes DIR/kubeconfig (mode 0600) for `server` ("https://127.0.0.1:6443")
 * unless it says the same already. */
int pki_write_kubeconfig(const struct pki *pki, const char *dir, const char *server, struct err *e);
void pki_free(struct pki *pki);

/* --- Where it listens (listen.c) ---------------------------------------------------- */

/* A listening socket on "ADDR:PORT", shared with the other apiservers of the
 * cluster on `dir` and with nobody else.  Port 0: the port that the cluster
 * has, else a free one.  *port is what it got. */
int listen_open(const char *dir, const char *addr, int *port, struct err *e);

/* --- Options of a request (query.c) ------------------------------------------------- */

struct param {
	struct str key, value;
};

/* A query string's pairs, decoded; in the zone. */
struct query {
	struct param *list;
	uint32_t n;
};
void query_parse(zone *z, struct str text, struct query *out);
/* "%2C" decoded (and "+" as a space), in the zone, with a NUL behind it. */
struct str url_decode(zone *z, struct str s, bool plus);
/* The first value; .p is NULL if the key is absent. */
struct str query_get(const struct query *q, const char *key);
bool query_has(const struct query *q, const char *key);
/* As Kubernetes reads booleans: absent, "0" and "false" are false. */
bool query_bool(const struct query *q, const char *key);
/* WEFT_EINVAL with Go's words in *message. */
int query_int(zone *z, const struct query *q, const char *key, int64_t absent, int64_t *out,
	      struct str *message);

/* --- What is asked for (route.c) ---------------------------------------------------- */

enum target_kind {
	TARGET_NONE,	   /* no such path: "404 page not found" */
	TARGET_PLAIN,	   /* a fixed path: /version, /healthz ... */
	TARGET_GROUPS,	   /* /api or /apis */
	TARGET_GROUP,	   /* /apis/G */
	TARGET_VERSION,	   /* /api/v1, /apis/G/V */
	TARGET_UNKNOWN,	   /* below a group version, but not a resource */
	TARGET_COLLECTION, /* .../pods */
	TARGET_OBJECT,	   /* .../pods/NAME */
	TARGET_SUB,	   /* .../pods/NAME/SUB */
};

struct target {
	enum target_kind kind;
	bool legacy; /* /api, not /apis */
	bool watch;  /* the old form /api/v1/watch/... */
	struct str group, version, ns, name, sub;
	struct str rest; /* what follows SUB ("a/b" of .../proxy/a/b) */
	const struct kube_resource *r;
	const struct kube_subresource *s;
};

/* `path` is decoded and lives longer than *out. */
void route_parse(struct str path, struct target *out);
/* Does what q asks for (q->user is known). */
enum outcome route_handle(struct request *q);

/* --- A body made piece by piece ----------------------------------------------------- */

enum stream_state {
	STREAM_MORE,   /* something was added to *out */
	STREAM_END,    /* that was all (what was added is still sent) */
	STREAM_IDLE,   /* nothing now; ask again after stream_wake() */
	STREAM_BROKEN, /* the connection is to be cut */
};

struct stream_ops {
	/* Append about CHUNK_SIZE bytes at most. */
	enum stream_state (*fill)(struct request *q, void *arg, struct buf *out);
	void (*close)(struct request *q, void *arg); /* also if it was cut */
};

/* Let an idle stream's fill be called again. */
void stream_wake(struct request *q);

/* One piece for many idle streams, made once: chunk_begin(), add to it,
 * chunk_end(), push.  False: the stream has not yet sent what it had, and nothing
 * of this; wake it. */
#define CHUNK_ROOM 10
void chunk_begin(struct buf *out);
void chunk_end(struct buf *out);
bool stream_push(struct request *q, const struct buf *chunk);

/* --- A request ---------------------------------------------------------------------- */

struct header {
	const char *name;
	struct str value; /* in the zone, NUL-terminated */
};

struct request {
	struct api *api;
	struct http *http; /* its connection; NULL: gone */
	struct peer *peer;
	zone *z;
	struct request *next; /* free list; http2.c: of its connection */

	/* what came */
	struct head head;
	enum method method;
	struct str verb_name; /* "GET" */
	struct str path;
	struct query query;
	struct buf body;
	uint64_t got; /* bytes of it that came */
	bool too_big;
	const struct user *user;
	struct token *token;	/* that it came with; NULL: none */
	struct user other_user; /* in whose name it was sent */
	struct target t;
	int64_t began_ns;

	/* what is wanted */
	enum media media;
	enum shape shape;
	bool pretty;

	/* the answer */
	int code;
	struct buf out;
	const char *content_type;
	struct header headers[HEADERS_MAX];
	uint32_t nheaders;
	size_t warned;	/* bytes of warnings */
	bool cacheable; /* by its URL, for ever */
	const struct stream_ops *stream;
	void *stream_arg;
	void *next_step; /* of a handler that goes on after a change */

	/* life */
	bool answered, stream_ended;
	bool idle;	    /* its stream has nothing to say until stream_wake() */
	bool dry;	    /* it found nothing to say when it was last asked */
	uint32_t in_flight; /* requests to the store that have not been answered */
	size_t sent;	    /* of `out` */

	/* http2.c */
	int32_t id;	       /* of the stream that it is */
	struct request **link; /* to it */
	size_t head_bytes;     /* that came */
	bool head_too_big;     /* and was not kept */
	bool waiting;	       /* for its answer */
	bool given_up;	       /* answered before all of it has come */
	bool resume;	       /* its stream was idle, and goes on */
};

/* A request header's value, empty if absent. */
struct str request_header(const struct request *q, const char *name);
/* The session of its connection; NULL: without TLS. */
gnutls_session_t request_tls(const struct request *q);
/* Adds a header to the answer; the value is copied. */
void answer_header(struct request *q, const char *name, struct str value);
/* Warning: 299 - "text" */
void answer_warn(struct request *q, struct str text);
/* The answer is a Status value: its code and body. */
enum outcome answer_status(struct request *q, value status);
/* A value as the client wants it (JSON or YAML, pretty). */
enum outcome answer_value(struct request *q, int code, const value *v);
/* q->out holds compact JSON: made pretty or YAML if wanted. */
enum outcome answer_json(struct request *q, int code);
enum outcome answer_text(struct request *q, int code, struct str text);
/* "404 page not found" in plain text. */
enum outcome answer_no_page(struct request *q);
enum outcome answer_bad_request(struct request *q, struct str message);
enum outcome answer_not_found(struct request *q);
/* 422 about an option of the request: `kind` is ListOptions, CreateOptions ... */
enum outcome answer_bad_option(struct request *q, const char *kind, const char *field,
			       const char *reason, struct str why);
/* 500 without a reason, as Go errors that nobody expected are told. */
enum outcome answer_plain_error(struct request *q, struct str message);
/* The options that q's method takes: CreateOptions, UpdateOptions ... */
const char *options_kind(const struct request *q);
/* A failed request to the store, by its code: one table. */
enum outcome answer_store_error(struct request *q, int code, struct str name, struct str message);
enum outcome answer_stream(struct request *q, int code, const struct stream_ops *ops, void *arg);

/* After WAITING: q->code, q->out, q->stream are set now; send them. */
void request_answer(struct request *q);

/* Indented as kube-apiserver does for people (two spaces). */
void json_indent(struct buf *out, struct str compact);
/* Keys in byte order, below too. */
void value_sort_keys(value *v);

/* --- Content negotiation (negotiate.c) ---------------------------------------------- */

/* One clause of an Accept header. */
struct accept {
	struct str type; /* "application/json" */
	struct str as, group, version;
};
/* Calls `take` for each clause until it returns true; false if none did.  An
 * empty header is one clause of any type. */
bool accept_each(struct str header, bool (*take)(void *arg, const struct accept *a), void *arg);
/* Sets media, shape and pretty from the headers; WEFT_EINVAL: 406 was answered.
 * `transforms`: tables and partial objects may be asked for. */
int negotiate(struct request *q, bool transforms, bool collection);

/* --- The process -------------------------------------------------------------------- */

struct feed;  /* feed.c */
struct token; /* token.c */
struct watch;
struct sending;

struct turn; /* turn.c */

/* What a feed asks for, besides type and namespace. */
enum lead { LEAD_ALL, LEAD_NAME, LEAD_NODE, LEADS };

#define FEED_PLACES 4096
struct feed_count {
	uint32_t n[2][LEADS]; /* of all namespaces; of one */
};
#define TURN_PLACES 1024

struct api {
	struct proc *p;
	struct conns *conns;
	struct buf piece;  /* of an answer, on its way to its connection */
	struct buf frames; /* the same of HTTP/2 */
	struct pki pki;
	gnutls_privkey_t token_key; /* token.c; made from pki.sa_key when first used */
	gnutls_pubkey_t token_pub;
	struct token *known_tokens[KNOWN_TOKENS];
	XXH128_hash_t granted[GRANTS_KNOWN]; /* rbac.c */
	char address[300];		     /* "127.0.0.1:6443" */
	struct request *free;		     /* requests to use again */
	uint32_t nfree;
	struct sending *waiting, **waiting_end;	       /* for room in the ring (store.c) */
	struct turn *turns[TURN_PLACES], *turns_ready; /* turn.c */
	bool run;				       /* connections have something to do */
	int64_t due_ns; /* and want to be looked at then at the latest; 0: no wish */
	zone *scratch;	/* for one item; reset after it */
	struct kube_texts texts;
	uint64_t requests[METHOD_OTHER + 1][6]; /* answered, by code / 100 */
	uint64_t watches;
	uint64_t open; /* requests that have begun and not ended, watches too */
	bool draining; /* about to end: no new connections */

	bool ready;	      /* and has said so: the default namespace is there */
	bool bootstrapped;    /* bootstrap.c has done its work; */
	int64_t bootstrap_ns; /* until then, when it looks again */

	/* watch.c, feed.c */
	uint64_t followed; /* resourceVersion up to which idle watches were told */
	uint64_t step;	   /* the follower's, each in a read section */
	struct feed *feeds[FEED_PLACES];
	struct feed_count *nfeeds; /* of each type */
	uint32_t ntypes;
	struct watch *all;
	struct watch *ahead; /* have seen more than the follower, and wait for it */
	int64_t look_again_ns;
};

static inline struct cache *api_cache(struct api *api)
{
	return proc_cache(api->p);
}

/* --- Handlers: one file each -------------------------------------------------------- */

enum outcome discovery_groups(struct request *q);
enum outcome discovery_group(struct request *q);
enum outcome discovery_version(struct request *q);
enum outcome plain_handle(struct request *q); /* plain.c: /version, /healthz ... */
bool plain_path(struct str path);
bool plain_public(struct str path); /* may be read without credentials */

#endif

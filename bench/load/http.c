/* http.c - an HTTP client for load: requests and answers, whichever way they go. */
#include "bench/load/http.h"

#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "bench/load/client.h"
#include "bench/load/load.h"
#include "bench/load/target.h"

struct client *client_new(const struct target *t)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct client *cl = calloc(1, sizeof(*cl));

	if (!cl)
		weft_fatal("no memory");
	cl->target = t;
	cl->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (cl->epoll < 0 || getaddrinfo(t->host, t->port, &hints, &cl->address))
		weft_fatal("cannot resolve %s", t->host);
	return cl;
}

void client_free(struct client *cl)
{
	sessions_free(cl);
	freeaddrinfo(cl->address);
	close(cl->epoll);
	free(cl);
}

uint64_t client_received(const struct client *cl)
{
	return cl->received;
}

/* --- Connections ------------------------------------------------------------------- */

struct conn *conn_open(struct client *cl, const char **why)
{
	const struct protocol *p = opt.streams ? &http2 : &http1;
	struct conn *c = calloc(1, p->size);

	if (!c)
		weft_fatal("no memory");
	c->cl = cl;
	c->speaks = p;
	if (p->open(c, why))
		return c;
	conn_close(c);
	return NULL;
}

void conn_close(struct conn *c)
{
	if (!c)
		return;
	c->speaks->close(c);
	buf_free(&c->body);
	free(c);
}

bool conn_broken(const struct conn *c)
{
	return c->broken;
}

void conn_finish(struct conn *c)
{
	if (!c->open)
		return;
	c->open = false;
	c->cb(c->arg, c, &c->answer);
}

void conn_broke(struct conn *c)
{
	c->broken = true;
	c->answer = (struct answer){0};
	conn_finish(c);
}

void http_send(struct conn *c, const char *method, struct str path, const char *kind,
	       struct str body, data_cb data, answer_cb cb, void *arg)
{
	weft_assert(!c->open && !c->broken);
	c->open = true;
	c->data = data;
	c->cb = cb;
	c->arg = arg;
	c->speaks->send(c, &(struct message){method, kind, path, body});
}

void client_turn(struct client *cl, int64_t wait_ns)
{
	sessions_send(cl);
	wires_turn(cl, wait_ns);
}

/* --- One call ----------------------------------------------------------------------- */

struct call {
	bool answered;
	struct answer answer;
	struct buf body;
};

static void called(void *arg, struct conn *c, const struct answer *a)
{
	struct call *call = arg;

	call->answered = true;
	call->answer = *a;
	call->body.n = 0;
	buf_addstr(&call->body, a->body);
	call->answer.body = buf_str(&call->body);
}

struct answer http_call(struct client *cl, struct conn *c, const char *method, struct str path,
			struct str body)
{
	static struct call call;
	bool patch = strcmp(method, "PATCH") == 0;

	call.answered = false;
	http_send(c, method, path,
		  !body.n ? NULL
		  : patch ? "application/merge-patch+json"
			  : "application/json",
		  body, NULL, called, &call);
	while (!call.answered)
		client_turn(cl, 100000000);
	return call.answer;
}

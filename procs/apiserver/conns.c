/*
 * conns.c - all connections: the doors they come through, turns, silence.
 */
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "procs/apiserver/conns.h"

#define CONNS_MAX      16384
#define EVENTS	       256
#define ACCEPTS_A_TURN 64 /* a handshake costs as much as 30 requests */
#define SILENCE_NS     (120 * INT64_C(1000000000))
#define FULL_NS	       (100 * INT64_C(1000000)) /* without descriptors: until the next try */
/* The fastest cipher that the client has, and the group that clients send a key
 * for without being asked (a second round would double the handshake). */
#define PRIORITIES                                                                   \
	"NORMAL:%SERVER_PRECEDENCE:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-CIPHER-ALL:" \
	"+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:-GROUP-ALL:+GROUP-X25519:"     \
	"+GROUP-SECP256R1:+GROUP-SECP384R1:+GROUP-SECP521R1"

/* --- By age ------------------------------------------------------------------------- */

void conns_unlink(struct conn *c)
{
	*(c->older ? &c->older->newer : &c->all->oldest) = c->newer;
	*(c->newer ? &c->newer->older : &c->all->newest) = c->older;
}

void conns_link(struct conn *c)
{
	struct conns *all = c->all;

	c->newer = NULL;
	c->older = all->newest;
	*(all->newest ? &all->newest->newer : &all->oldest) = c;
	all->newest = c;
}

void conns_moved(struct conn *c)
{
	c->moved_ns = c->all->now_ns;
	if (c == c->all->newest)
		return;
	conns_unlink(c);
	conns_link(c);
}

/* --- Doors -------------------------------------------------------------------------- */

/* Room for one more: the connection that has been idle for longest goes. */
static bool make_room(struct conns *all)
{
	for (struct conn *c = all->oldest; c; c = c->newer) {
		if (all->ops->patient(c))
			continue;
		conn_drop(c);
		return true;
	}
	return false;
}

static void watch_doors(struct conns *all, bool open)
{
	for (uint32_t i = 0; i < all->ndoors; i++) {
		struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &all->doors[i]};

		(void)epoll_ctl(all->epoll, open ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, all->doors[i].fd,
				&ev);
	}
	all->doors_shut_ns = open ? 0 : all->now_ns + FULL_NS;
}

/* accept() failed as there is no room for one more. */
static bool no_room(int errnum)
{
	return errnum == EMFILE || errnum == ENFILE || errnum == ENOBUFS || errnum == ENOMEM;
}

static void accept_some(struct conns *all, const struct door *d)
{
	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		int fd = accept4(d->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		bool full = fd < 0 ? no_room(errno) : all->n >= CONNS_MAX;

		if (fd < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (full && !make_room(all)) {
			watch_doors(all, false); /* or epoll would tell of it all the time */
			if (fd >= 0)
				close(fd);
			return;
		}
		if (fd >= 0)
			conn_new(all, fd, d->plain);
	}
}

static const struct door *as_door(const struct conns *all, const void *p)
{
	for (uint32_t i = 0; i < all->ndoors; i++)
		if (p == &all->doors[i])
			return &all->doors[i];
	return NULL;
}

int conns_listen(struct conns *all, int fd, bool plain, struct err *e)
{
	struct door *d = &all->doors[all->ndoors];
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = d};

	weft_assert(all->ndoors < DOORS_MAX);
	*d = (struct door){fd, plain};
	if (epoll_ctl(all->epoll, EPOLL_CTL_ADD, fd, &ev))
		return err_errno(e, errno, "epoll");
	all->ndoors++;
	return WEFT_OK;
}

void conns_close_doors(struct conns *all)
{
	for (uint32_t i = 0; i < all->ndoors; i++) {
		accept_some(all, &all->doors[i]);
		close(all->doors[i].fd);
	}
	all->ndoors = 0;
	all->doors_shut_ns = 0;
}

/* --- Turns -------------------------------------------------------------------------- */

static void take_event(struct conn *c, uint32_t events)
{
	if (c->fd < 0)
		return;
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		c->readable = true;
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		c->hup = true;
	conn_proceed(c);
}

static int take_events(struct conns *all)
{
	struct epoll_event ev[EVENTS];
	int n = epoll_wait(all->epoll, ev, EVENTS, 0);

	for (int i = 0; i < n; i++) {
		const struct door *d = as_door(all, ev[i].data.ptr);

		if (d)
			accept_some(all, d);
		else
			take_event(ev[i].data.ptr, ev[i].events);
	}
	return n;
}

/* Those that asked to be called again before this turn. */
static void call_again(struct conns *all)
{
	struct conn *c = all->again, *next;

	all->again = NULL;
	all->again_end = &all->again;
	for (; c; c = next) {
		next = c->again_next;
		c->again = false;
		conn_proceed(c);
	}
}

static void bury(struct conns *all)
{
	struct conn **link = &all->dead, *c;

	while ((c = *link)) {
		if (c->again) { /* still on that list: next turn */
			link = &c->newer;
			continue;
		}
		*link = c->newer;
		conn_free(c);
	}
}

/* End those in which nothing moved for too long; when the next one is due. */
static int64_t end_silent(struct conns *all)
{
	struct conn *c;

	while ((c = all->oldest)) {
		int64_t due = c->moved_ns + SILENCE_NS;

		if (due > all->now_ns)
			return due;
		if (!c->lingering && all->ops->patient(c))
			conns_moved(c);
		else
			conn_drop(c);
	}
	return 0;
}

static int64_t sooner(int64_t a, int64_t b)
{
	return !a ? b : !b ? a : a < b ? a : b;
}

bool conns_waiting(const struct conns *all)
{
	return all->again || all->dead;
}

int64_t conns_turn(struct conns *all, int64_t now_ns)
{
	int64_t due;
	int n;

	all->now_ns = now_ns;
	if (all->doors_shut_ns && now_ns >= all->doors_shut_ns)
		watch_doors(all, true);
	call_again(all);
	n = take_events(all);
	due = end_silent(all);
	bury(all);
	if (all->again || n == EVENTS)
		return now_ns;
	return sooner(due, all->doors_shut_ns);
}

/* --- All ---------------------------------------------------------------------------- */

static void raise_descriptor_limit(void)
{
	struct rlimit lim;

	if (!getrlimit(RLIMIT_NOFILE, &lim) && lim.rlim_cur < lim.rlim_max) {
		lim.rlim_cur = lim.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &lim);
	}
}

static int load_keys(struct conns *all, const char *pem_cert, const char *pem_key,
		     const char *pem_ca, struct err *e)
{
	gnutls_datum_t cert = {(unsigned char *)pem_cert, (unsigned)strlen(pem_cert)};
	gnutls_datum_t key = {(unsigned char *)pem_key, (unsigned)strlen(pem_key)};
	gnutls_datum_t ca = {(unsigned char *)pem_ca, (unsigned)strlen(pem_ca)};
	int code = gnutls_certificate_allocate_credentials(&all->cred);

	if (!code)
		code = gnutls_certificate_set_x509_trust_mem(all->cred, &ca, GNUTLS_X509_FMT_PEM);
	if (code >= 0)
		code = gnutls_certificate_set_x509_key_mem(all->cred, &cert, &key,
							   GNUTLS_X509_FMT_PEM);
	if (code >= 0)
		code = gnutls_priority_init(&all->priority, PRIORITIES, NULL);
	return code >= 0 ? WEFT_OK : err_set(e, WEFT_ESYS, "TLS: %s", gnutls_strerror(code));
}

int conns_open(struct conns **out, const struct conn_ops *ops, void *arg, const char *pem_cert,
	       const char *pem_key, const char *pem_ca, struct err *e)
{
	struct conns *all = calloc(1, sizeof(*all));
	int ret;

	weft_assert(all);
	raise_descriptor_limit();
	all->ops = ops;
	all->arg = arg;
	all->again_end = &all->again;
	all->now_ns = clock_mono_ns();
	all->epoll = epoll_create1(EPOLL_CLOEXEC);
	ret = all->epoll < 0 ? err_errno(e, errno, "epoll")
			     : load_keys(all, pem_cert, pem_key, pem_ca, e);
	if (ret) {
		conns_close(all);
		return ret;
	}
	*out = all;
	return WEFT_OK;
}

void conns_each(struct conns *all, void (*fn)(struct conn *c))
{
	for (struct conn *c = all->oldest; c; c = c->newer)
		fn(c);
}

void *conns_arg(const struct conns *all)
{
	return all->arg;
}

int conns_fd(const struct conns *all)
{
	return all->epoll;
}

void conns_close(struct conns *all)
{
	conns_close_doors(all);
	while (all->oldest)
		conn_drop(all->oldest);
	call_again(all);
	bury(all);
	if (all->epoll >= 0)
		close(all->epoll);
	if (all->cred)
		gnutls_certificate_free_credentials(all->cred);
	if (all->priority)
		gnutls_priority_deinit(all->priority);
	buf_free(&all->spare);
	buf_free(&all->wire);
	free(all);
}

/*
 * listen.c - one port for all apiservers of a cluster, and for nobody else.
 *
 * SO_REUSEPORT lets any process of the same user join a port, another cluster's
 * too.  So the apiservers of a cluster keep a list of who of them listens where
 * (DIR/pki/listeners, under a lock); a port that is taken is joined only if one
 * of them has it.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>
#include "procs/apiserver/api.h"

#define BACKLOG 1024

/* --- Processes ---------------------------------------------------------------------- */

/* Start time of a process in clock ticks (field 22 of its stat), 0 if it is not
 * there: tells it from a later one with its pid. */
static unsigned long long start_ticks(long pid)
{
	char path[64], text[1024];
	unsigned long long ticks = 0;
	size_t n;
	char *at;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	at = strrchr(text, ')');
	/* After the name: state is field 3, so field 22 is the 20th from there. */
	for (int field = 2; at && field < 22; field++) {
		at = strchr(at, ' ');
		if (at)
			at++;
	}
	if (at)
		ticks = strtoull(at, NULL, 10);
	return ticks;
}

/* --- The list of listeners ---------------------------------------------------------- */

struct listener {
	long pid;
	unsigned long long ticks;
	int port;
	char addr[256]; /* as it was configured: "127.0.0.1:0" */
};

#define LISTENERS_MAX 128

/* Those in the file that still run.  *last is the port that somebody listened on
 * for `addr`, running or not; 0 if nobody did. */
static int listeners_read(int fd, const char *addr, struct listener list[LISTENERS_MAX], int *last)
{
	char text[32768];
	ssize_t got = pread(fd, text, sizeof(text) - 1, 0);
	char *line, *save = NULL;
	int n = 0;

	*last = 0;
	text[got > 0 ? got : 0] = '\0';
	for (line = strtok_r(text, "\n", &save); line && n < LISTENERS_MAX - 1;
	     line = strtok_r(NULL, "\n", &save)) {
		struct listener *l = &list[n];

		if (sscanf(line, "%ld %llu %d %255s", &l->pid, &l->ticks, &l->port, l->addr) != 4)
			continue;
		if (!strcmp(l->addr, addr))
			*last = l->port;
		if (l->ticks && start_ticks(l->pid) == l->ticks)
			n++;
	}
	return n;
}

static void listeners_write(int fd, const struct listener *list, int n)
{
	struct buf b = {0};

	for (int i = 0; i < n; i++)
		buf_printf(&b, "%ld %llu %d %s\n", list[i].pid, list[i].ticks, list[i].port,
			   list[i].addr);
	if (ftruncate(fd, 0) || pwrite(fd, b.p, b.n, 0) != (ssize_t)b.n)
		log_warn("cannot note who listens: %s", strerror(errno));
	buf_free(&b);
}

/* --- Sockets ------------------------------------------------------------------------ */

/* A listening socket; WEFT_EBUSY if the port is taken. */
static int bind_to(const struct addrinfo *ai, int port, bool shared, int *fd, struct err *e)
{
	struct sockaddr_storage addr;
	int one = 1, why;

	memcpy(&addr, ai->ai_addr, ai->ai_addrlen);
	if (ai->ai_family == AF_INET6)
		((struct sockaddr_in6 *)&addr)->sin6_port = htons((uint16_t)port);
	else
		((struct sockaddr_in *)&addr)->sin_port = htons((uint16_t)port);
	*fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (*fd < 0)
		return err_errno(e, errno, "socket");
	setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(*fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (shared)
		setsockopt(*fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	if (!bind(*fd, (struct sockaddr *)&addr, ai->ai_addrlen) && !listen(*fd, BACKLOG))
		return WEFT_OK;
	why = errno;
	close(*fd);
	*fd = -1;
	return why == EADDRINUSE ? WEFT_EBUSY : err_errno(e, why, "bind");
}

static int port_of(int fd)
{
	struct sockaddr_storage addr;
	socklen_t n = sizeof(addr);

	if (getsockname(fd, (struct sockaddr *)&addr, &n))
		return 0;
	return ntohs(addr.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&addr)->sin6_port
						: ((struct sockaddr_in *)&addr)->sin_port);
}

/* Bind, knowing who of us listens: a free port is found out by binding it alone
 * first, one that a sibling has is joined. */
static int bind_as_one_of(const struct addrinfo *ai, const struct listener *list, int n, int *port,
			  int *fd, struct err *e)
{
	int ret;

	for (int i = 0; i < n; i++)
		if (*port && list[i].port == *port)
			return bind_to(ai, *port, true, fd, e);
	ret = bind_to(ai, *port, false, fd, e);
	if (ret)
		return ret;
	*port = port_of(*fd);
	close(*fd);
	return bind_to(ai, *port, true, fd, e);
}

static int resolve(const char *addr, char *host, size_t host_size, int *port, struct addrinfo **ai,
		   struct err *e)
{
	const struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
				       .ai_socktype = SOCK_STREAM};
	const char *colon = strrchr(addr, ':');
	size_t n = colon ? (size_t)(colon - addr) : 0;
	char *end;
	int ret;

	*port = colon ? (int)strtol(colon + 1, &end, 10) : -1;
	if (*port < 0 || *port > 65535 || end == colon + 1 || *end || n >= host_size)
		return err_set(e, WEFT_EINVAL, "listen address '%s' is not ADDRESS:PORT", addr);
	if (n > 1 && addr[0] == '[' && addr[n - 1] == ']')
		addr++, n -= 2;
	memcpy(host, addr, n);
	host[n] = '\0';
	ret = getaddrinfo(n ? host : NULL, "0", &hints, ai);
	if (ret)
		return err_set(e, WEFT_EINVAL, "listen address '%s': %s", addr, gai_strerror(ret));
	return WEFT_OK;
}

int listen_open(const char *dir, const char *addr, int *port, struct err *e)
{
	struct listener list[LISTENERS_MAX];
	char path[1024], host[256];
	struct addrinfo *ai = NULL;
	int fd = -1, file, n, last, ret;

	ret = resolve(addr, host, sizeof(host), port, &ai, e);
	if (ret)
		return -1;
	snprintf(path, sizeof(path), "%s/pki/listeners", dir);
	file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (file < 0 || flock(file, LOCK_EX)) {
		err_errno(e, errno, "lock '%s'", path);
		goto out;
	}
	n = listeners_read(file, addr, list, &last);
	ret = WEFT_EBUSY;
	if (!*port && last) { /* the one that clients know, if it can still be had */
		*port = last;
		ret = bind_as_one_of(ai, list, n, port, &fd, e);
		*port = ret ? 0 : *port;
	}
	if (ret)
		ret = bind_as_one_of(ai, list, n, port, &fd, e);
	if (ret == WEFT_EBUSY)
		err_set(e, ret,
			"%s is in use by another program: stop it, or choose another "
			"address with --listen",
			addr);
	else if (ret)
		err_wrap(e, "listen on %s", addr);
	if (ret)
		goto out;
	list[n] = (struct listener){getpid(), start_ticks(getpid()), *port, ""};
	snprintf(list[n].addr, sizeof(list[n].addr), "%s", addr);
	n++;
	listeners_write(file, list, n);
out:
	if (file >= 0)
		close(file);
	freeaddrinfo(ai);
	return fd;
}

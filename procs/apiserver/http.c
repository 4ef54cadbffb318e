/*
 * http.c - connections and the life of a request, on libmicrohttpd.
 *
 * The daemon has no thread: its epoll descriptor is watched by the process
 * loop, and http_turn() lets it work.  A request that waits for the store, and
 * a stream with nothing to say, is suspended: it costs no time until it is
 * resumed.  As libmicrohttpd does not look at a suspended connection, clients
 * of streams that go away are noticed through an epoll of our own.
 */
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>
#include "procs/apiserver/http.h"
#include "weft/fault.h"

#define CONNECTIONS_MAX 16384
#define CONNECTION_MEMORY (32u << 10) /* zeroed with each request */
#define CONNECTION_IDLE_S 120
#define BODY_DRAINED_MAX (64u << 20) /* bytes of a body too big that are still read */
#define REQUESTS_KEPT 256	   /* free ones, with their zone */
#define DRAIN_ACCEPTS 4		   /* rounds of taking connections before the door is closed */
#define DRAIN_LEAST_NS (30 * 1000000) /* for those whose request is on its way */
#define DRAIN_MOST_NS (1000 * 1000000)
#define BUFFER_KEPT (256u << 10)   /* larger buffers are not kept */

/* --- Requests ------------------------------------------------------------------------ */

static struct request *request_new(struct api *api, const char *uri)
{
	struct request *q = api->free;
	zone *z;
	struct str text;
	const char *mark;

	if (q) {
		api->free = q->next;
		api->nfree--;
		z = q->z;
		*q = (struct request){.z = z, .body = q->body, .out = q->out, .chunk = q->chunk};
	} else {
		q = calloc(1, sizeof(*q));
		weft_assert(q);
		q->z = zone_new();
	}
	q->api = api;
	api->open++;
	q->body.n = q->out.n = q->chunk.n = 0;
	q->began_ns = clock_mono_ns();
	text = zone_str(q->z, str_of(uri));
	mark = memchr(text.p, '?', text.n);
	q->path = text;
	if (mark)
		q->path.n = (uint32_t)(mark - text.p);
	/* Not libmicrohttpd's own, which ends at a %00. */
	q->path = url_decode(q->z, q->path, false);
	if (mark)
		query_parse(q->z,
			    (struct str){mark + 1, text.n - (uint32_t)(mark + 1 - text.p)},
			    &q->query);
	return q;
}

static void buf_trim(struct buf *b)
{
	if (b->cap > BUFFER_KEPT)
		buf_free(b);
}

static void request_free(struct request *q)
{
	struct api *api = q->api;

	api->open--;
	buf_trim(&q->body);
	buf_trim(&q->out);
	buf_trim(&q->chunk);
	if (api->nfree >= REQUESTS_KEPT) {
		buf_free(&q->body);
		buf_free(&q->out);
		buf_free(&q->chunk);
		zone_free(q->z);
		free(q);
		return;
	}
	zone_reset(q->z);
	q->next = api->free;
	api->free = q;
	api->nfree++;
}

struct request *request_internal(struct api *api, const char *path)
{
	static const struct user self = {.name = STR("system:apiserver"),
					 .groups = {STR("system:masters")},
					 .ngroups = 1,
					 .masters = true};
	struct request *q = request_new(api, path);

	q->path = str_of(path);
	q->method = METHOD_POST;
	q->user = &self;
	q->gone = true; /* there is nobody to answer */
	return q;
}

struct str request_header(const struct request *q, const char *name)
{
	const char *v = MHD_lookup_connection_value(q->conn, MHD_HEADER_KIND, name);

	return v ? str_of(v) : (struct str){"", 0};
}

static enum method method_of(struct str name)
{
	static const char *const names[] = {
		[METHOD_GET] = "GET",	  [METHOD_POST] = "POST",     [METHOD_PUT] = "PUT",
		[METHOD_PATCH] = "PATCH", [METHOD_DELETE] = "DELETE",
	};

	for (size_t i = 0; i < countof(names); i++)
		if (str_eq(name, str_of(names[i])))
			return (enum method)i;
	return METHOD_OTHER;
}

/* --- Streams ---------------------------------------------------------------------------- */

/* libmicrohttpd asks for the next piece of a streamed body. */
static ssize_t stream_read(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct request *q = cls;
	size_t n;

	if (q->hup)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (q->chunk_at == q->chunk.n) {
		q->chunk.n = q->chunk_at = 0;
		if (q->stream_ended)
			return MHD_CONTENT_READER_END_OF_STREAM;
		switch (q->stream->fill(q, q->stream_arg, &q->chunk)) {
		case STREAM_MORE:
			break;
		case STREAM_END:
			q->stream_ended = true;
			if (!q->chunk.n)
				return MHD_CONTENT_READER_END_OF_STREAM;
			break;
		case STREAM_IDLE:
			if (q->chunk.n)
				break;
			q->suspended = true;
			MHD_suspend_connection(q->conn);
			return 0;
		case STREAM_BROKEN:
			return MHD_CONTENT_READER_END_WITH_ERROR;
		}
	}
	n = q->chunk.n - q->chunk_at;
	if (n > max)
		n = max;
	fault_at(api_stream);
	memcpy(buf, q->chunk.p + q->chunk_at, n);
	q->chunk_at += n;
	return (ssize_t)n;
}

static void request_resume(struct request *q)
{
	if (!q->suspended)
		return;
	q->suspended = false;
	q->api->run = true;
	MHD_resume_connection(q->conn);
}

void stream_wake(struct request *q)
{
	request_resume(q);
}

/* A stream may sleep for an hour: learn of it when its client goes. */
static void stream_watch_client(struct request *q)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(q->conn, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct epoll_event ev = {.events = EPOLLRDHUP | EPOLLET, .data.ptr = q};

	if (info)
		(void)epoll_ctl(q->api->hup_epoll, EPOLL_CTL_ADD, info->connect_fd, &ev);
}

static void stream_close(struct request *q)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(q->conn, MHD_CONNECTION_INFO_CONNECTION_FD);

	if (info)
		(void)epoll_ctl(q->api->hup_epoll, EPOLL_CTL_DEL, info->connect_fd, NULL);
	if (q->stream->close)
		q->stream->close(q, q->stream_arg);
	q->stream = NULL;
}

static void hup_ready(void *arg, uint32_t events)
{
	struct api *api = arg;
	struct epoll_event ev[64];
	int n = epoll_wait(api->hup_epoll, ev, countof(ev), 0);

	for (int i = 0; i < n; i++) {
		struct request *q = ev[i].data.ptr;

		q->hup = true;
		request_resume(q);
	}
}

/* --- Answers ------------------------------------------------------------------------------ */

static void count_answer(struct request *q)
{
	struct api *api = q->api;
	unsigned class = (unsigned)q->code / 100;

	api->requests[q->method][class < 6 ? class : 0]++;
	atomic_fetch_add_explicit(&proc_counters(api->p)->http_requests, 1, memory_order_relaxed);
}

static struct MHD_Response *make_response(struct request *q)
{
	if (q->stream)
		return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, CHUNK_SIZE,
							 stream_read, q, NULL);
	/* The buffer lives as long as the request: to the end of the sending. */
	return MHD_create_response_from_buffer(q->out.n, q->out.n ? q->out.p : "",
					       MHD_RESPMEM_PERSISTENT);
}

static enum MHD_Result send_answer(struct request *q)
{
	struct MHD_Response *resp = make_response(q);
	enum MHD_Result ret;

	if (!resp)
		return MHD_NO;
	MHD_add_response_header(resp, "Content-Type",
				q->content_type ? q->content_type : "application/json");
	MHD_add_response_header(resp, "Cache-Control",
				q->cacheable ? "public, immutable" : "no-cache, private");
	if (q->api->draining)
		MHD_add_response_header(resp, "Connection", "close");
	for (uint32_t i = 0; i < q->nheaders; i++)
		MHD_add_response_header(resp, q->headers[i].name, q->headers[i].value.p);
	if (q->stream)
		stream_watch_client(q);
	count_answer(q);
	fault_at(api_answer);
	ret = MHD_queue_response(q->conn, (unsigned)q->code, resp);
	MHD_destroy_response(resp);
	return ret;
}

void request_answer(struct request *q)
{
	q->answered = true;
	if (q->gone && !q->in_flight) {
		if (q->stream && q->stream->close)
			q->stream->close(q, q->stream_arg);
		request_free(q);
		return;
	}
	request_resume(q);
}

/* --- libmicrohttpd's callbacks ---------------------------------------------------------------- */

/* The request line has been read: the one place that sees the query undecoded. */
static void *on_uri(void *cls, const char *uri, struct MHD_Connection *conn)
{
	return request_new(cls, uri);
}

/* A body that is not worth reading to its end.  Most that are too big are read
 * and forgotten, as many clients read no answer before they have sent all; one
 * that asks first need not send anything. */
static bool body_announced_too_big(const struct request *q)
{
	struct str length = request_header(q, "Content-Length");
	unsigned long long n = length.n ? strtoull(length.p, NULL, 10) : 0;

	return n > BODY_DRAINED_MAX || (n > BODY_MAX && request_header(q, "Expect").n);
}

static enum outcome answer_too_big(struct request *q)
{
	struct str why = zone_printf(q->z, "Request entity too large: limit is %u", BODY_MAX);

	return answer_status(q, kube_status(q->z, 413, "RequestEntityTooLarge", why));
}

static void on_head(struct request *q, struct MHD_Connection *conn, const char *method)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(conn, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	q->head_seen = true;
	q->conn = conn;
	q->peer = info ? info->socket_context : NULL;
	q->verb_name = zone_str(q->z, str_of(method));
	q->method = method_of(q->verb_name);
}

static void on_body(struct request *q, const char *data, size_t n)
{
	if (q->too_big || q->body.n + n > BODY_MAX) {
		q->too_big = true;
		q->body.n = 0;
		return;
	}
	buf_add(&q->body, data, n);
}

/* The request is whole: handle it. */
static enum MHD_Result on_whole(struct request *q)
{
	enum outcome how;

	q->handled = true;
	how = q->too_big ? answer_too_big(q) : route_handle(q);
	if (how == WAITING && !q->answered) {
		q->suspended = true;
		MHD_suspend_connection(q->conn);
		return MHD_YES;
	}
	q->answered = true;
	return send_answer(q);
}

static enum MHD_Result on_access(void *cls, struct MHD_Connection *conn, const char *url,
				 const char *method, const char *version, const char *data,
				 size_t *data_n, void **con_cls)
{
	struct request *q = *con_cls;

	if (!q)
		return MHD_NO;
	if (!q->head_seen) {
		on_head(q, conn, method);
		if (body_announced_too_big(q)) {
			q->handled = q->answered = true;
			answer_too_big(q);
			return send_answer(q);
		}
		return MHD_YES;
	}
	if (*data_n) {
		on_body(q, data, *data_n);
		*data_n = 0;
		return MHD_YES;
	}
	if (!q->handled)
		return on_whole(q);
	if (q->answered) /* resumed after WAITING */
		return send_answer(q);
	return MHD_YES;
}

/* The answer has been sent, or the connection broke. */
static void on_completed(void *cls, struct MHD_Connection *conn, void **con_cls,
			 enum MHD_RequestTerminationCode why)
{
	struct request *q = *con_cls;

	*con_cls = NULL;
	if (!q)
		return;
	if (q->stream && q->conn)
		stream_close(q);
	q->gone = true;
	if (!q->in_flight && !q->suspended)
		request_free(q);
}

static void on_connection(void *cls, struct MHD_Connection *conn, void **socket_context,
			  enum MHD_ConnectionNotificationCode what)
{
	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		*socket_context = calloc(1, sizeof(struct peer));
	} else if (*socket_context) {
		peer_free(*socket_context);
		*socket_context = NULL;
	}
}

static void on_log(void *cls, const char *fmt, va_list ap)
{
	char text[512];
	size_t n;

	vsnprintf(text, sizeof(text), fmt, ap);
	n = strlen(text);
	if (n && text[n - 1] == '\n')
		text[n - 1] = '\0';
	log_debug("http: %s", text);
}

/* --- The daemon ------------------------------------------------------------------------------------ */

static void raise_descriptor_limit(void)
{
	struct rlimit lim;

	if (!getrlimit(RLIMIT_NOFILE, &lim) && lim.rlim_cur < lim.rlim_max) {
		lim.rlim_cur = lim.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &lim);
	}
}

/* A connection without TLS, on loopback: whoever can open it may do everything. */
static void on_plain_connection(void *cls, struct MHD_Connection *conn, void **socket_context,
				enum MHD_ConnectionNotificationCode what)
{
	static const struct user local = {.name = STR("system:local"),
					  .groups = {STR("system:masters"),
						     STR("system:authenticated")},
					  .ngroups = 2,
					  .masters = true};
	struct peer *peer;

	on_connection(cls, conn, socket_context, what);
	peer = *socket_context;
	if (peer)
		*peer = (struct peer){.checked = true, .valid = true, .user = local};
}

static struct MHD_Daemon *start_daemon(struct api *api, int fd, bool plain)
{
	const struct MHD_OptionItem tls[] = {
		{MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)api->pki.server_cert.p},
		{MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)api->pki.server_key.p},
		{MHD_OPTION_HTTPS_MEM_TRUST, 0, (void *)api->pki.ca_cert.p},
		{MHD_OPTION_END, 0, NULL},
	};
	const struct MHD_OptionItem none[] = {{MHD_OPTION_END, 0, NULL}};
	unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;

	return MHD_start_daemon(
		flags | (plain ? 0 : MHD_USE_TLS), 0, NULL, NULL, on_access, api,
		MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
		MHD_OPTION_LISTEN_SOCKET, fd,
		MHD_OPTION_URI_LOG_CALLBACK, on_uri, api,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, api,
		MHD_OPTION_NOTIFY_CONNECTION, plain ? on_plain_connection : on_connection, api,
		MHD_OPTION_ARRAY, plain ? none : tls,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)CONNECTION_IDLE_S,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
		MHD_OPTION_END);
}

static void on_http(void *arg, uint32_t events)
{
	struct api *api = arg;

	api->run = true;
}

int http_start(struct api *api, int fd, bool plain, struct err *e)
{
	const union MHD_DaemonInfo *info;
	struct MHD_Daemon *d;

	if (!api->ndaemons) {
		raise_descriptor_limit();
		api->waiting_end = &api->waiting;
		api->hup_epoll = epoll_create1(EPOLL_CLOEXEC);
		if (api->hup_epoll < 0)
			return err_errno(e, errno, "epoll");
		proc_watch_fd(api->p, api->hup_epoll, EPOLLIN, hup_ready, api);
	}
	d = start_daemon(api, fd, plain);
	info = d ? MHD_get_daemon_info(d, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
	if (!info)
		return err_set(e, WEFT_ESYS, "cannot start the HTTP server");
	api->daemons[api->ndaemons++] = d;
	proc_watch_fd(api->p, info->epoll_fd, EPOLLIN, on_http, api);
	api->run = true;
	return WEFT_OK;
}

int64_t http_turn(struct api *api, int64_t now_ns)
{
	MHD_UNSIGNED_LONG_LONG timeout_ms;

	if (!api->run && !(api->due_ns && now_ns >= api->due_ns))
		return api->due_ns;
	api->run = false;
	api->due_ns = 0;
	for (uint32_t i = 0; i < api->ndaemons; i++) {
		int64_t due;

		MHD_run(api->daemons[i]);
		if (MHD_get_timeout(api->daemons[i], &timeout_ms) != MHD_YES)
			continue;
		api->run |= !timeout_ms;
		due = now_ns + (int64_t)timeout_ms * 1000000;
		if (!api->due_ns || due < api->due_ns)
			api->due_ns = due;
	}
	return api->run ? now_ns : api->due_ns;
}

/* The kernel hands new connections to any of the processes on the port, and
 * resets those that wait for one that goes: take all that wait, close the door
 * at once, and serve whoever is in. */
void http_drain(struct api *api)
{
	int64_t began = clock_mono_ns(), now = began;
	MHD_socket door;

	api->draining = true;
	for (uint32_t i = 0; i < api->ndaemons; i++) {
		for (int k = 0; k < DRAIN_ACCEPTS; k++)
			MHD_run(api->daemons[i]);
		door = MHD_quiesce_daemon(api->daemons[i]);
		if (door != MHD_INVALID_SOCKET)
			close(door);
	}
	while (now - began < DRAIN_LEAST_NS ||
	       (api->open > api->watches && now - began < DRAIN_MOST_NS)) {
		api->run = true;
		proc_turn(api->p, 0);
		usleep(1000);
		now = clock_mono_ns();
	}
}

void http_stop(struct api *api)
{
	for (uint32_t i = 0; i < api->ndaemons; i++)
		MHD_stop_daemon(api->daemons[i]);
	if (api->hup_epoll >= 0)
		close(api->hup_epoll);
}

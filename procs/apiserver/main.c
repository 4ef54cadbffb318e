/*
 * main.c - the API server process.
 */
#include <stdio.h>
#include <stdlib.h>
#include "procs/apiserver/bootstrap.h"
#include "procs/apiserver/http.h"
#include "procs/apiserver/rbac.h"
#include "procs/apiserver/store.h"
#include "procs/apiserver/token.h"
#include "procs/apiserver/turn.h"
#include "procs/apiserver/verbs.h"
#include "procs/apiserver/watch.h"

static int64_t sooner(int64_t a, int64_t b)
{
	return !a ? b : !b ? a : a < b ? a : b;
}

static int64_t on_turn(void *arg, int64_t now_ns)
{
	struct api *api = arg;
	int64_t again;

	store_turn(api);
	turns_go_on(api);
	http_turn(api, now_ns);
	again = sooner(bootstrap_turn(api, now_ns), watch_turn(api, now_ns));
	again = sooner(again, log_turn(api, now_ns));
	if (api->turns_ready)
		return now_ns;
	return sooner(again, http_due(api, now_ns)); /* of streams that were woken, too */
}

/* The only changes that are routed to us. */
static void on_work(void *arg, uint16_t type, struct u32s entries)
{
	rbac_changed(arg);
}

/* The cache may be another one now: what was read from it by position is found
 * again. */
static void on_resync(void *arg)
{
	rbac_changed(arg);
	watch_resync(arg);
}

/* The address for clients on this machine: a wildcard is reached by loopback. */
static void client_address(const char *listen, int port, char *out, size_t n)
{
	const char *colon = strrchr(listen, ':');
	int host_n = colon ? (int)(colon - listen) : 0;
	bool any = !host_n || !strncmp(listen, "0.0.0.0", 7) || !strncmp(listen, "[::]", 4);

	if (any)
		snprintf(out, n, "127.0.0.1:%d", port);
	else
		snprintf(out, n, "%.*s:%d", host_n, listen, port);
}

/* Names that the serving certificate has beside the usual ones. */
static struct str certificate_hosts(zone *z, const char *address, const struct api *api)
{
	const char *colon = strrchr(address, ':');
	struct str host = {address, colon ? (uint32_t)(colon - address) : 0};
	struct str cidr = v_as_str(v_path(proc_config(api->p), "services.cidr"));
	unsigned a = 10, b = 0, c = 0, d = 0;

	if (host.n > 2 && host.p[0] == '[') {
		host.p++;
		host.n -= 2;
	}
	if (cidr.n)
		sscanf(zone_text(z, cidr).p, "%u.%u.%u.%u", &a, &b, &c, &d);
	return zone_printf(z, STR_FMT ",%u.%u.%u.%u", STR_ARG(host), a, b, c, d + 1);
}

/* The port without TLS, if the configuration wants one: on loopback only. */
static void start_plain(struct api *api, const char *dir, struct err *e)
{
	struct str listen = v_get_str(proc_config(api->p), "listenPlain");
	int fd, port;

	if (!listen.n)
		return;
	listen = zone_text(api->scratch, listen);
	if (strncmp(listen.p, "127.", 4) && strncmp(listen.p, "[::1]:", 6) &&
	    strncmp(listen.p, "localhost:", 10)) {
		log_error("listenPlain: %s is not a loopback address", listen.p);
		exit(1);
	}
	fd = listen_open(dir, listen.p, &port, e);
	if (fd < 0 || http_start(api, fd, true, e)) {
		log_error("%s", e->msg);
		exit(1);
	}
}

static void start(struct api *api, struct err *e)
{
	const char *dir = proc_control(api->p)->data_dir;
	struct str listen = v_get_str(proc_config(api->p), "listen");
	char server[340];
	int fd, port;

	listen = zone_text(api->scratch, listen.n ? listen : STR("127.0.0.1:6443"));
	client_address(listen.p, 0, api->address, sizeof(api->address));
	if (pki_open(&api->pki, dir, certificate_hosts(api->scratch, api->address, api).p, e)) {
		log_error("%s", e->msg);
		exit(PROC_EXIT_HOPELESS);
	}
	fd = listen_open(dir, listen.p, &port, e);
	if (fd < 0) {
		log_error("%s", e->msg);
		exit(PROC_EXIT_HOPELESS);
	}
	client_address(listen.p, port, api->address, sizeof(api->address));
	snprintf(server, sizeof(server), "https://%s", api->address);
	if (pki_write_kubeconfig(&api->pki, dir, server, e))
		weft_fatal("apiserver: %s", e->msg);
	if (http_start(api, fd, false, e))
		weft_fatal("apiserver: %s", e->msg);
	start_plain(api, dir, e);
	atomic_store_explicit(&proc_own(api->p)->listen_port, (uint32_t)port, memory_order_relaxed);
	zone_reset(api->scratch);
}

int apiserver_main(void)
{
	static struct api api;
	const struct proc_handlers handlers = {.ready_later = true,
					       .waits_awake = true,
					       .on_work = on_work,
					       .on_turn = on_turn,
					       .on_resync = on_resync,
					       .arg = &api};
	struct err e = {0};
	int ret;

	api.p = proc_start(PROC_APISERVER);
	api.scratch = zone_new();
	watch_start(&api);
	start(&api, &e);
	ret = proc_run(api.p, &handlers);
	http_drain(&api);
	http_stop(&api);
	tokens_forget(&api);
	return ret;
}

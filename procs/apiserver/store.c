/*
 * store.c - requests to the store, and what its refusals mean to a client.
 */
#include "procs/apiserver/store.h"
#include "weft/fault.h"

#define MANAGER_MAX 128u /* bytes of a field manager's name */

/* One request on its way. */
struct sending {
	struct request *q;
	struct sending *next;
	uint32_t generation; /* of the cache that `m` and what `arg` holds were read from */
	struct msg m;
	store_cb cb;
	void *arg;
};

static bool store_is_up(const struct api *api)
{
	return atomic_load_explicit(&proc_control(api->p)->store_up, memory_order_acquire) != 0;
}

static enum outcome answer_store_away(struct request *q)
{
	value status = kube_status(q->z, 503, "ServiceUnavailable",
				   STR("the store is being restarted; try again"));

	v_set(q->z, v_map_at(q->z, &status, "details"), "retryAfterSeconds", v_int(1));
	return answer_status(q, status);
}

static void on_reply(void *arg, const struct msg_reply *reply)
{
	struct sending *s = arg;

	s->q->in_flight--;
	fault_at(api_reply);
	s->cb(s->q, s->arg, reply);
}

/* True: sent, or answered because it never can be. */
static bool try_send(struct sending *s)
{
	struct msg_reply refused = {0};
	int ret = proc_send(s->q->api->p, &s->m, on_reply, s);

	if (ret == WEFT_EAGAIN)
		return false;
	if (!ret)
		return true;
	refused.status = ret;
	on_reply(s, &refused);
	return true;
}

enum outcome store_send(struct request *q, const struct msg *m, store_cb cb, void *arg)
{
	struct api *api = q->api;
	struct sending *s;

	if (!store_is_up(api))
		return answer_store_away(q);
	s = zone_alloc(q->z, sizeof(*s));
	*s = (struct sending){
		.q = q, .generation = proc_generation(api->p), .m = *m, .cb = cb, .arg = arg};
	q->in_flight++;
	fault_at(api_send);
	if (api->waiting || !try_send(s)) {
		*api->waiting_end = s;
		api->waiting_end = &s->next;
	}
	return WAITING;
}

/* References in a request, and in what waits for its reply, would name other objects in
 * another generation. */
static bool may_send(const struct sending *s)
{
	const struct api *api = s->q->api;

	return store_is_up(api) && s->generation == proc_generation(api->p);
}

void store_turn(struct api *api)
{
	struct sending *s;

	while ((s = api->waiting)) {
		struct msg_reply away = {.status = WEFT_EAGAIN};
		struct sending *next = s->next;

		if (may_send(s)) {
			if (!try_send(s))
				return;
		} else {
			on_reply(s, &away);
		}
		api->waiting = next;
		if (!next)
			api->waiting_end = &api->waiting;
	}
}

static bool manager_too_long(struct request *q)
{
	if (query_get(&q->query, "fieldManager").n <= MANAGER_MAX)
		return false;
	answer_bad_option(
		q, options_kind(q), "fieldManager", "FieldValueTooLong",
		zone_printf(q->z, "Too long: may not be more than %u bytes", MANAGER_MAX));
	return true;
}

int dry_run_parse(struct request *q, bool *dry_run)
{
	struct str text = query_get(&q->query, "dryRun");

	*dry_run = str_eq(text, STR("All"));
	if (manager_too_long(q))
		return WEFT_EINVAL;
	if (!text.n || *dry_run)
		return WEFT_OK;
	answer_bad_option(
		q, options_kind(q), "dryRun", "FieldValueNotSupported",
		zone_printf(q->z, "Unsupported value: [\"" STR_FMT "\"]: supported values: \"All\"",
			    STR_ARG(text)));
	return WEFT_EINVAL;
}

/* --- Refusals ----------------------------------------------------------------------- */

/* How a store's code is told to clients whose request has no better words. */
static const struct {
	int code;
	int http;
	const char *reason;
	const char *message; /* NULL: the store's own */
	int retry_s;
} refusals[] = {
	{WEFT_EINVAL, 422, "Invalid", NULL, 0},
	{WEFT_EFORBIDDEN, 403, "Forbidden", NULL, 0},
	{WEFT_EAGAIN, 503, "ServiceUnavailable", "the store is being restarted; try again", 1},
	{WEFT_EFENCED, 503, "ServiceUnavailable", "the store is being restarted; try again", 1},
	{WEFT_ELOST, 504, "Timeout",
	 "the store ended before it answered: the request may or may "
	 "not have been carried out",
	 1},
	{WEFT_ETOOBIG, 413, "RequestEntityTooLarge", "the object is too large to be stored", 0},
	{WEFT_EFULL, 500, "InternalError", "Internal error occurred: the cache is full", 0},
	{WEFT_ENOMEM, 500, "InternalError", "Internal error occurred: the cache is full", 0},
	{WEFT_ENOSPC, 500, "InternalError",
	 "Internal error occurred: no space left for the log of writes", 0},
	{WEFT_EIO, 500, "InternalError",
	 "Internal error occurred: the log of writes cannot be written", 0},
};

static enum outcome answer_refusal(struct request *q, int code, struct str message)
{
	value status;

	for (size_t i = 0; i < countof(refusals); i++) {
		if (refusals[i].code != code)
			continue;
		if (refusals[i].message && (!message.n || code == WEFT_ELOST))
			message = str_of(refusals[i].message);
		status = kube_status(q->z, refusals[i].http, refusals[i].reason, message);
		if (refusals[i].retry_s)
			v_set(q->z, v_map_at(q->z, &status, "details"), "retryAfterSeconds",
			      v_int(refusals[i].retry_s));
		return answer_status(q, status);
	}
	return answer_status(
		q, kube_status(q->z, 500, "InternalError",
			       zone_printf(q->z, "Internal error occurred: " STR_FMT "%s%s",
					   STR_ARG(message), message.n ? ": " : "",
					   weft_strerror(code))));
}

enum outcome answer_store_error(struct request *q, int code, struct str name, struct str message)
{
	const struct kube_resource *r = q->t.r;

	message = zone_str(q->z, message);
	switch (code) {
	case WEFT_EEXIST:
		return answer_status(q, kube_status_already_exists(q->z, r, name));
	case WEFT_ENOENT:
		return answer_status(q, kube_status_not_found(q->z, r, name));
	case WEFT_ECONFLICT:
		return answer_status(
			q,
			kube_status_conflict(q->z, r, name,
					     STR("the object has been modified; please apply your "
						 "changes to the latest version and try again")));
	case WEFT_EUID:
		return answer_status(q, kube_status_conflict(q->z, r, name,
							     message.n ? message
								       : STR("Precondition failed: "
									     "another object has "
									     "this name now")));
	case WEFT_EFORBIDDEN:
		return answer_status(q, kube_status_forbidden(q->z, r, name, message));
	default:
		return answer_refusal(q, code, message);
	}
}

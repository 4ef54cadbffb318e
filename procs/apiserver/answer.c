/*
 * answer.c - answers in the forms that clients ask for.
 */
#include "procs/apiserver/api.h"

/* Clients refuse heads that are too large: behind so many bytes of warnings the rest
 * of them are cut to so many characters. */
#define WARNED_MAX  4096
#define WARNING_CUT 256

void answer_header(struct request *q, const char *name, struct str value)
{
	if (q->nheaders < HEADERS_MAX)
		q->headers[q->nheaders++] = (struct header){name, zone_text(q->z, value)};
}

/* The first characters of a text (UTF-8). */
static struct str cut_short(struct str text, uint32_t chars)
{
	uint32_t n = 0;

	for (; n < text.n; n++)
		if ((text.p[n] & 0xc0) != 0x80 && !chars--)
			break;
	return (struct str){text.p, n};
}

void answer_warn(struct request *q, struct str text)
{
	struct buf b = {0};

	if (q->warned + text.n > WARNED_MAX)
		text = cut_short(text, WARNING_CUT);
	q->warned += text.n;
	buf_puts(&b, "299 - ");
	json_quote(&b, text);
	answer_header(q, "Warning", buf_str(&b));
	buf_free(&b);
}

/* --- JSON for people --------------------------------------------------------------- */

static void newline(struct buf *out, unsigned depth)
{
	buf_putc(out, '\n');
	while (depth--)
		buf_add(out, "  ", 2);
}

/* The end of the string that begins at `at`. */
static const char *string_end(const char *at, const char *end)
{
	for (at++; at < end && *at != '"'; at++)
		if (*at == '\\')
			at++;
	return at < end ? at + 1 : end;
}

void json_indent(struct buf *out, struct str compact)
{
	const char *at = compact.p, *end = compact.p + compact.n;
	unsigned depth = 0;

	while (at < end) {
		const char *stop = at + 1;

		switch (*at) {
		case '"':
			stop = string_end(at, end);
			buf_add(out, at, (size_t)(stop - at));
			break;
		case '{':
		case '[':
			buf_putc(out, *at);
			if (stop < end && (*stop == '}' || *stop == ']'))
				buf_putc(out, *stop++);
			else
				newline(out, ++depth);
			break;
		case '}':
		case ']':
			newline(out, depth ? --depth : 0);
			buf_putc(out, *at);
			break;
		case ',':
			buf_putc(out, ',');
			newline(out, depth);
			break;
		case ':':
			buf_add(out, ": ", 2);
			break;
		default:
			buf_putc(out, *at);
		}
		at = stop;
	}
}

static int key_order(const void *a, const void *b)
{
	const msgpack_object_kv *x = a, *y = b;

	return str_cmp(v_as_str(&x->key), v_as_str(&y->key));
}

void value_sort_keys(value *v)
{
	if (v_is_map(v))
		qsort(v->via.map.ptr, v->via.map.size, sizeof(*v->via.map.ptr), key_order);
	v_each_kv(kv, v)
		value_sort_keys(&kv->val);
	v_each(el, v)
		value_sort_keys(el);
}

static void make_yaml(struct request *q)
{
	value v;

	if (json_decode(q->z, buf_str(&q->out), &v, NULL, NULL))
		return;
	value_sort_keys(&v);
	q->out.n = 0;
	yaml_encode(&q->out, &v);
	q->content_type = "application/yaml";
}

static void make_pretty(struct request *q)
{
	struct buf pretty = {0};

	buf_reserve(&pretty, q->out.n * 2);
	json_indent(&pretty, buf_str(&q->out));
	buf_free(&q->out);
	q->out = pretty;
}

/* --- Answers ------------------------------------------------------------------------ */

enum outcome answer_json(struct request *q, int code)
{
	q->code = code;
	if (q->media == MEDIA_YAML)
		make_yaml(q);
	else if (q->pretty)
		make_pretty(q);
	else
		buf_putc(&q->out, '\n');
	return ANSWERED;
}

enum outcome answer_value(struct request *q, int code, const value *v)
{
	q->out.n = 0;
	json_encode(&q->out, v, NULL);
	return answer_json(q, code);
}

enum outcome answer_status(struct request *q, value status)
{
	int code = (int)v_get_int(&status, "code", 200);
	int64_t retry = v_as_int(v_path(&status, "details.retryAfterSeconds"), 0);

	if (retry > 0)
		answer_header(q, "Retry-After", zone_printf(q->z, "%lld", (long long)retry));
	return answer_value(q, code, &status);
}

enum outcome answer_text(struct request *q, int code, struct str text)
{
	q->code = code;
	q->content_type = "text/plain; charset=utf-8";
	answer_header(q, "X-Content-Type-Options", STR("nosniff"));
	q->out.n = 0;
	buf_addstr(&q->out, text);
	return ANSWERED;
}

enum outcome answer_no_page(struct request *q)
{
	return answer_text(q, 404, STR("404 page not found\n"));
}

enum outcome answer_bad_request(struct request *q, struct str message)
{
	return answer_status(q, kube_status_bad_request(q->z, message));
}

enum outcome answer_not_found(struct request *q)
{
	value status = kube_status(q->z, 404, "NotFound",
				   STR("the server could not find the requested resource"));

	v_map_at(q->z, &status, "details");
	return answer_status(q, status);
}

enum outcome answer_bad_option(struct request *q, const char *kind, const char *field,
			       const char *reason, struct str why)
{
	zone *z = q->z;
	value status = kube_status(z, 422, "Invalid",
				   zone_printf(z, "%s.meta.k8s.io \"\" is invalid: %s: " STR_FMT,
					       kind, field, STR_ARG(why)));
	value details = v_map(), cause = v_map();

	v_set(z, &cause, "reason", v_cstr(reason));
	v_set(z, &cause, "message", v_str(why));
	v_set(z, &cause, "field", v_cstr(field));
	v_set(z, &details, "group", v_cstr("meta.k8s.io"));
	v_set(z, &details, "kind", v_cstr(kind));
	v_append(z, v_array_at(z, &details, "causes"), cause);
	v_set(z, &status, "details", details);
	return answer_status(q, status);
}

enum outcome answer_plain_error(struct request *q, struct str message)
{
	value status = kube_status(q->z, 500, "", message);

	v_del(&status, "reason");
	return answer_status(q, status);
}

const char *options_kind(const struct request *q)
{
	static const char *const kinds[] = {
		[METHOD_GET] = "GetOptions",	   [METHOD_POST] = "CreateOptions",
		[METHOD_PUT] = "UpdateOptions",	   [METHOD_PATCH] = "PatchOptions",
		[METHOD_DELETE] = "DeleteOptions", [METHOD_OTHER] = "Options",
	};

	return kinds[q->method];
}

enum outcome answer_stream(struct request *q, int code, const struct stream_ops *ops, void *arg)
{
	q->code = code;
	q->stream = ops;
	q->stream_arg = arg;
	return STREAMING;
}

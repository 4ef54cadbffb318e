/* status.c - Kubernetes' error bodies: metav1.Status values. */
#include <stdarg.h>
#include <stdio.h>

#include "weft/kube.h"

/* --- Causes ---------------------------------------------------------------------- */

__attribute__((format(printf, 2, 0), nonnull(2))) static struct str vprint(zone *z, const char *fmt,
									   va_list ap)
{
	va_list again;
	char *p;
	int n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	p = zone_alloc(z, (size_t)n + 1);
	vsnprintf(p, (size_t)n + 1, fmt, ap);
	return (struct str){p, (uint32_t)n};
}

void kube_error_add(struct kube_errors *e, struct str field, const char *reason, const char *fmt,
		    ...)
{
	va_list ap;

	if (e->n == e->cap) {
		uint32_t cap = e->cap ? e->cap * 2 : 8;
		struct kube_cause *more = zone_alloc(e->z, cap * sizeof(*more));

		if (e->n)
			memcpy(more, e->list, e->n * sizeof(*more));
		e->list = more;
		e->cap = cap;
	}
	va_start(ap, fmt);
	e->list[e->n++] = (struct kube_cause){
		.field = field,
		.reason = str_of(reason),
		.message = vprint(e->z, fmt, ap),
	};
	va_end(ap);
}

/* --- Statuses ---------------------------------------------------------------------- */

/* "deployments.apps", "pods". */
static struct str qualified(zone *z, const char *name, const struct kube_resource *r)
{
	return *r->group ? zone_printf(z, "%s.%s", name, r->group) : str_of(name);
}

/* details is NULL for none. */
static value failure(zone *z, int code, const char *reason, struct str message,
		     const value *details)
{
	value s = v_map();

	v_set(z, &s, "kind", v_cstr("Status"));
	v_set(z, &s, "apiVersion", v_cstr("v1"));
	v_set(z, &s, "metadata", v_map());
	v_set(z, &s, "status", v_cstr("Failure"));
	v_set(z, &s, "message", v_str(message));
	if (*reason)
		v_set(z, &s, "reason", v_cstr(reason));
	if (details)
		v_set(z, &s, "details", *details);
	v_set(z, &s, "code", v_int(code));
	return s;
}

static value details_of(zone *z, struct str name, const char *group, const char *kind)
{
	value d = v_map();

	if (name.n)
		v_set(z, &d, "name", v_str(name));
	if (*group)
		v_set(z, &d, "group", v_cstr(group));
	v_set(z, &d, "kind", v_cstr(kind));
	return d;
}

/* A failure that concerns one object of a resource. */
static value about(zone *z, const struct kube_resource *r, struct str name, int code,
		   const char *reason, struct str message)
{
	value d = details_of(z, name, r->group, r->resource);

	return failure(z, code, reason, message, &d);
}

value kube_status(zone *z, int code, const char *reason, struct str message)
{
	return failure(z, code, reason, message, NULL);
}

value kube_status_not_found(zone *z, const struct kube_resource *r, struct str name)
{
	value none = v_map();

	if (!r)
		return failure(z, 404, "NotFound",
			       STR("the server could not find the requested resource"), &none);
	return about(z, r, name, 404, "NotFound",
		     zone_printf(z, STR_FMT " \"" STR_FMT "\" not found",
				 STR_ARG(qualified(z, r->resource, r)), STR_ARG(name)));
}

value kube_status_already_exists(zone *z, const struct kube_resource *r, struct str name)
{
	return about(z, r, name, 409, "AlreadyExists",
		     zone_printf(z, STR_FMT " \"" STR_FMT "\" already exists",
				 STR_ARG(qualified(z, r->resource, r)), STR_ARG(name)));
}

value kube_status_conflict(zone *z, const struct kube_resource *r, struct str name, struct str why)
{
	return about(
		z, r, name, 409, "Conflict",
		zone_printf(
			z, "Operation cannot be fulfilled on " STR_FMT " \"" STR_FMT "\": " STR_FMT,
			STR_ARG(qualified(z, r->resource, r)), STR_ARG(name), STR_ARG(why)));
}

value kube_status_forbidden(zone *z, const struct kube_resource *r, struct str name, struct str why)
{
	struct str what;

	if (!r)
		return failure(z, 403, "Forbidden",
			       zone_printf(z, "forbidden: " STR_FMT, STR_ARG(why)), NULL);
	what = qualified(z, r->resource, r);
	if (name.n)
		what = zone_printf(z, STR_FMT " \"" STR_FMT "\"", STR_ARG(what), STR_ARG(name));
	return about(
		z, r, name, 403, "Forbidden",
		zone_printf(z, STR_FMT " is forbidden: " STR_FMT, STR_ARG(what), STR_ARG(why)));
}

value kube_status_bad_request(zone *z, struct str message)
{
	return failure(z, 400, "BadRequest", message, NULL);
}

value kube_status_expired(zone *z, struct str message)
{
	return failure(z, 410, "Expired", message, NULL);
}

value kube_status_method_not_allowed(zone *z, const struct kube_resource *r, struct str verb)
{
	value none = v_map(), d;

	if (!r)
		return failure(
			z, 405, "MethodNotAllowed",
			STR("the server does not allow this method on the requested resource"),
			&none);
	d = details_of(z, (struct str){0}, r->group, r->resource);
	return failure(z, 405, "MethodNotAllowed",
		       zone_printf(z,
				   STR_FMT " is not supported on resources of kind \"" STR_FMT "\"",
				   STR_ARG(verb), STR_ARG(qualified(z, r->resource, r))),
		       &d);
}

/* --- Invalid ------------------------------------------------------------------------ */

static bool said_before(const struct kube_errors *e, uint32_t i)
{
	for (uint32_t k = 0; k < i; k++)
		if (str_eq(e->list[k].field, e->list[i].field) &&
		    str_eq(e->list[k].message, e->list[i].message))
			return true;
	return false;
}

/* "field: message", or all of them in brackets, each once. */
static struct str sum_up(zone *z, const struct kube_errors *e)
{
	struct buf b = {0};
	uint32_t said = 0;
	struct str out;

	for (uint32_t i = 0; i < e->n; i++) {
		if (said_before(e, i))
			continue;
		buf_printf(&b, "%s" STR_FMT ": " STR_FMT, said++ ? ", " : "",
			   STR_ARG(e->list[i].field), STR_ARG(e->list[i].message));
	}
	out = said > 1 ? zone_printf(z, "[" STR_FMT "]", STR_ARG(buf_str(&b)))
		       : zone_str(z, buf_str(&b));
	buf_free(&b);
	return out;
}

value kube_status_invalid(zone *z, const struct kube_resource *r, struct str name,
			  const struct kube_errors *errs)
{
	value d = details_of(z, name, r->group, r->kind), causes = v_array();

	for (uint32_t i = 0; i < errs->n; i++) {
		value c = v_map();

		v_set(z, &c, "reason", v_str(errs->list[i].reason));
		v_set(z, &c, "message", v_str(errs->list[i].message));
		v_set(z, &c, "field", v_str(errs->list[i].field));
		v_append(z, &causes, c);
	}
	v_set(z, &d, "causes", causes);
	return failure(z, 422, "Invalid",
		       zone_printf(z, STR_FMT " \"" STR_FMT "\" is invalid: " STR_FMT,
				   STR_ARG(qualified(z, r->kind, r)), STR_ARG(name),
				   STR_ARG(sum_up(z, errs))),
		       &d);
}

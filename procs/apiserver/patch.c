/*
 * patch.c - PATCH in its three forms; server-side apply is refused with 415.
 */
#include <strings.h>
#include "procs/apiserver/body.h"
#include "procs/apiserver/patch.h"
#include "procs/apiserver/verbs.h"

#define OPERATIONS_MAX 10000u /* of a JSON patch */

/* --- The patch ---------------------------------------------------------------------- */

static const struct {
	const char *type;
	enum patch_form form;
} forms[] = {
	{"application/json-patch+json", PATCH_JSON},
	{"application/merge-patch+json", PATCH_JSON_MERGE},
	{"application/strategic-merge-patch+json", PATCH_STRATEGIC},
};

static bool is_apply(struct str type)
{
	struct str apply = STR("application/apply-patch+");

	return type.n > apply.n && !strncasecmp(type.p, apply.p, apply.n);
}

static enum outcome answer_unsupported(struct request *q, struct str type)
{
	struct str why = is_apply(type)
				 ? STR("415: Unsupported Media Type: weft has no server-side "
				       "apply; use a merge or a strategic merge patch")
				 : STR("415: Unsupported Media Type");
	value status = kube_status(q->z, 415, "UnsupportedMediaType", why);

	v_map_at(q->z, &status, "details");
	return answer_status(q, status);
}

static void answer_too_many(struct request *q, uint32_t n)
{
	answer_status(q, kube_status(q->z, 413, "RequestEntityTooLarge",
				     zone_printf(q->z,
						 "Request entity too large: The allowed maximum "
						 "operations in a JSON patch is %u, got %u",
						 OPERATIONS_MAX, n)));
}

int patch_read(struct request *q, struct patch *p)
{
	struct str type = request_header(q, "Content-Type");
	const char *semi = memchr(type.p, ';', type.n);
	struct err e = {0};

	*p = (struct patch){.form = PATCH_NO_FORM};
	if (semi)
		type.n = (uint32_t)(semi - type.p);
	for (size_t i = 0; i < countof(forms); i++)
		if (type.n == strlen(forms[i].type) && !strncasecmp(type.p, forms[i].type, type.n))
			p->form = forms[i].form;
	if (p->form == PATCH_NO_FORM) {
		answer_unsupported(q, type);
		return WEFT_EINVAL;
	}
	if (json_decode(q->z, buf_str(&q->body), &p->body, &p->notes, &e)) {
		answer_bad_request(q, STR("invalid JSON patch"));
		return WEFT_EINVAL;
	}
	if (p->form == PATCH_JSON && v_len(&p->body) > OPERATIONS_MAX) {
		answer_too_many(q, v_len(&p->body));
		return WEFT_EINVAL;
	}
	if (p->form == PATCH_JSON_MERGE && v_is_array(&p->body)) {
		answer_bad_request(q,
				   STR("error decoding patch: json: cannot unmarshal array into Go "
				       "value of type map[string]interface {}"));
		return WEFT_EINVAL;
	}
	if (p->form == PATCH_JSON && !v_is_array(&p->body)) {
		answer_bad_request(
			q, STR("error decoding patch: json: cannot unmarshal object into Go "
			       "value of type []handlers.jsonPatchOp"));
		return WEFT_EINVAL;
	}
	return WEFT_OK;
}

/* A patch that is malformed, makes no sense to Kubernetes' libraries (which it
 * answers as its own failure), or does not fit the object. */
static int answer_does_not_apply(struct request *q, int code, struct str why)
{
	value status;

	if (code == WEFT_EINVAL) {
		answer_bad_request(q, why);
		return WEFT_EINVAL;
	}
	if (code == WEFT_ESYS) {
		answer_status(q, kube_status(q->z, 500, "", why));
		return WEFT_EINVAL;
	}
	status = kube_status(q->z, 422, "Invalid",
			     STR("the server rejected our request due to an error in our request"));
	v_map_at(q->z, &status, "details");
	answer_status(q, status);
	return WEFT_EINVAL;
}

int patch_apply(struct request *q, const struct kube_resource *r, const struct patch *p, value *obj)
{
	value body = v_copy(q->z, &p->body);
	struct str why = STR("");
	int ret = WEFT_EINVAL;

	switch (p->form) {
	case PATCH_JSON:
		ret = kube_patch_json(q->z, obj, &body, &why);
		break;
	case PATCH_JSON_MERGE:
		ret = kube_patch_merge(q->z, obj, &body, &why);
		break;
	case PATCH_STRATEGIC:
		ret = kube_patch_strategic(q->z, r, obj, &body, &why);
		break;
	case PATCH_NO_FORM:
		break;
	}
	return ret ? answer_does_not_apply(q, ret, why) : WEFT_OK;
}

/* --- The request -------------------------------------------------------------------- */

struct patching {
	struct change ch;
	struct patch patch;
	bool warned;
};

/* A patch may not make another thing of an object.  WEFT_EINVAL: answered. */
static int check_nature(struct request *q, const struct kube_resource *r, const value *obj,
			struct str uid)
{
	struct str kind = v_get_str(obj, "kind"), version = v_get_str(obj, "apiVersion");
	struct str got = v_as_str(v_path(obj, "metadata.uid"));
	struct kube_errors errs = {.z = q->z};

	if (!str_is(kind, r->kind) || !str_is(version, r->api_version)) {
		answer_bad_request(
			q, zone_printf(q->z,
				       "a patch cannot change kind and apiVersion (%s in "
				       "%s) to " STR_FMT " in " STR_FMT,
				       r->kind, r->api_version, STR_ARG(kind), STR_ARG(version)));
		return WEFT_EINVAL;
	}
	if (!got.n || str_eq(got, uid))
		return WEFT_OK;
	kube_error_add(&errs, STR("metadata.uid"), "FieldValueInvalid",
		       "Invalid value: \"" STR_FMT "\": field is immutable", STR_ARG(got));
	answer_status(q, kube_status_invalid(q->z, r, q->t.name, &errs));
	return WEFT_EINVAL;
}

/* For an error's text: what the patch makes of the object as it is now. */
static value patched_again(struct request *q, void *arg)
{
	struct patching *p = arg;
	value obj = write_state(q, &p->ch);

	(void)patch_apply(q, p->ch.r, &p->patch, &obj);
	return obj;
}

static int make_patched(struct request *q, void *arg, value *old, value *obj)
{
	struct patching *p = arg;
	const struct remake again = {patched_again, p};
	struct str uid = v_as_str(v_path(old, "metadata.uid"));
	struct str rv = v_as_str(v_path(old, "metadata.resourceVersion"));
	uint32_t headers = q->nheaders;

	if (patch_apply(q, p->ch.r, &p->patch, old))
		return WEFT_EINVAL;
	*obj = *old;
	if (!str_eq(v_as_str(v_path(obj, "metadata.resourceVersion")), rv))
		p->ch.once = true; /* the patch names a version */
	if (body_check(q, p->ch.r, obj, &p->patch.notes, &again) ||
	    check_nature(q, p->ch.r, obj, uid))
		return WEFT_EINVAL;
	if (p->warned)
		q->nheaders = headers; /* said at the first attempt */
	p->warned = true;
	return WEFT_OK;
}

static int make_patched_checked(struct request *q, void *arg, value *old, value *obj)
{
	struct patching *p = arg;
	value before = v_map(), *meta = v_get(old, "metadata");

	if (meta)
		v_set(q->z, &before, "metadata", v_copy(q->z, meta));
	if (make_patched(q, arg, old, obj))
		return WEFT_EINVAL;
	return check_identity(q, &p->ch, obj, &before);
}

enum outcome object_patch(struct request *q)
{
	struct patching *p = zone_alloc(q->z, sizeof(*p));

	*p = (struct patching){.ch = {.r = q->t.r,
				      .ns = q->t.ns,
				      .name = q->t.name,
				      .sub = q->t.sub,
				      .make = make_patched_checked,
				      .arg = p}};
	if (negotiate(q, true, false) || patch_read(q, &p->patch) ||
	    dry_run_parse(q, &p->ch.dry_run))
		return ANSWERED;
	return write_change(q, &p->ch);
}

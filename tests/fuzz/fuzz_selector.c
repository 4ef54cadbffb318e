/* fuzz_selector.c - an accepted selector prints to one that reads back as the
 * same, and matches stored labels as it does their tree.  Input: the selector's
 * text, a newline, then labels as msgpack. */
#include "weft/kube.h"

static void check_labels(zone *z, struct str text, struct str labels)
{
	struct kube_selector *s, *again;
	struct str message, printed;
	value tree;

	if (kube_selector_parse(z, text, &s, &message) != WEFT_OK) {
		weft_assert(message.n);
		return;
	}
	printed = kube_selector_print(z, s);
	weft_assert(kube_selector_parse(z, printed, &again, &message) == WEFT_OK);
	weft_assert(str_eq(printed, kube_selector_print(z, again)));
	if (v_decode(z, labels, &tree) == WEFT_OK && v_is_map(&tree))
		weft_assert(kube_selector_match(s, labels) == kube_selector_match_value(s, &tree));
	else
		(void)kube_selector_match(s, labels);
}

static void check_fields(zone *z, struct str text)
{
	struct kube_field_selector *f;
	struct str message;

	if (kube_fields_parse(z, kube_by_type(TYPE_POD), text, &f, &message) == WEFT_OK)
		(void)kube_fields_required(f, "metadata.name");
	else
		weft_assert(message.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data, *end = size ? memchr(p, '\n', size) : NULL;
	uint32_t n = end ? (uint32_t)(end - p) : (uint32_t)size;
	struct str labels = end ? (struct str){end + 1, (uint32_t)size - n - 1} : STR("");
	zone *z = zone_new();

	check_labels(z, (struct str){p, n}, labels);
	check_fields(z, (struct str){p, n});
	zone_free(z);
	return 0;
}

/*
 * selector.h - a parsed label selector, for the files that make and match it.
 */
#ifndef WEFT_KUBE_SELECTOR_H
#define WEFT_KUBE_SELECTOR_H

#include "weft/kube.h"

enum selector_op {
	OP_IN,
	OP_NOT_IN,
	OP_EQUALS,
	OP_DOUBLE_EQUALS,
	OP_NOT_EQUALS,
	OP_EXISTS,
	OP_NOT_EXISTS,
	OP_GREATER,
	OP_LESS,
};

struct requirement {
	struct str key;
	enum selector_op op;
	struct str *values; /* sorted, each once */
	uint32_t nvalues;
	int64_t bound; /* OP_GREATER, OP_LESS */
};

/* Matches what fulfils all requirements; `nothing` matches nothing at all. */
struct kube_selector {
	bool nothing;
	uint32_t n, cap;
	struct requirement *r; /* sorted by key */
};

/* Check a requirement and add it.  WEFT_EINVAL with *message. */
int selector_add(zone *z, struct kube_selector *s, const struct requirement *r,
		 struct str *message);
/* Put a value where it belongs, unless it is there. */
void requirement_value(zone *z, struct requirement *r, struct str v);
void selector_sort(struct kube_selector *s);

#endif

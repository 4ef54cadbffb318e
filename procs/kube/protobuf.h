/*
 * protobuf.h - the numbers of fields in Kubernetes' protobuf form.
 *
 * Made from procs/kube/schema/protobuf.txt; what a field's type is, the schema
 * knows.
 */
#ifndef WEFT_KUBE_PROTOBUF_H
#define WEFT_KUBE_PROTOBUF_H

#include <stdbool.h>
#include <stddef.h>

struct proto_field {
	unsigned short number;
	bool wrapped;	     /* a list inside a message of its own */
	const char *name;    /* in JSON; NULL: */
	const char *inlined; /* the fields of this type stand in its place */
};

struct proto_type {
	const char *name; /* "io.k8s.api.core.v1.Pod" */
	const struct proto_field *fields;
	unsigned nfields;
};

extern const struct proto_type proto_types[]; /* by name */
extern const unsigned proto_type_count;

#endif

/*
 * scalar.h - Kubernetes' scalars that have a syntax of their own.
 *
 * Each gives the canonical text in *out, or false and, in *why, the words of
 * Go's parser.  Results live in the zone or are `text` itself.
 */
#ifndef KUBE_SCALAR_H
#define KUBE_SCALAR_H

#include "weft/value.h"

/* RFC 3339 with an optional fraction -> UTC, whole seconds. */
bool scalar_time(zone *z, struct str text, struct str *out, struct str *why);
/* RFC 3339 with exactly six digits of fraction -> UTC, microseconds. */
bool scalar_microtime(zone *z, struct str text, struct str *out, struct str *why);
/* Standard base64 with padding; line breaks are left out. */
bool scalar_base64(zone *z, struct str text, struct str *out, struct str *why);
/* The bytes behind canonical base64. */
struct str scalar_base64_bytes(zone *z, struct str text);
/* A quantity, as a string or a number. */
bool scalar_quantity(zone *z, const value *v, struct str *out, struct str *why);

#endif

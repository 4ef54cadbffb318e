/*
 * json.h - JSON and YAML to and from values (value.h).
 *
 * Numbers follow Kubernetes: a number without fraction and exponent that fits
 * int64 is an integer, everything else a double, printed in the shortest form
 * that reads back the same, as Go does (1.0 as 1, from 1e21 on and below 1e-6
 * with an exponent).  Nothing else is interpreted: quantities, int-or-string
 * and base64 stay as they were written.
 *
 * Strings are written as Go's encoding/json and so kube-apiserver write them:
 * <, >, &, U+2028 and U+2029 as \u003c and so on.
 */
#ifndef WEFT_JSON_H
#define WEFT_JSON_H

#include "weft/kept.h"
#include "weft/value.h"

/* Fields that stood twice in one object: the last one wins, and the path of
 * each ("spec.replicas", "spec.containers[0].image") is noted here, once, and
 * of no more than 100. */
struct json_notes {
	struct str *duplicate; /* in the zone */
	uint32_t nduplicate;
};

/* Exactly one JSON text, UTF-8, nested at most VALUE_DEPTH_MAX deep.
 * WEFT_EINVAL with a message that says what is wrong and at which byte.
 * Strings are copied into the zone.  `notes` may be NULL. */
int json_decode(zone *z, struct str text, value *out, struct json_notes *notes, struct err *e);

/* Compact JSON.  Holes are filled from `h` (NULL: they become null). */
void json_encode(struct buf *out, const value *v, const struct hole_values *h);
/* The same straight from msgpack bytes, without building a tree: how LISTs and
 * watches print what is stored.  WEFT_EINVAL (and `out` as before) for bytes
 * that are not one well-formed value. */
int json_from_msgpack(struct buf *out, struct str bytes, const struct hole_values *h);

/* As json_from_msgpack(), of bytes that many objects may have in common: their JSON, holes
 * left out, is kept in `x` when it is printed again.  `hash` is a digest of the bytes
 * (which are compared, too).  `x` may be NULL. */
int json_from_shared(struct kept *x, struct buf *out, struct str bytes, uint64_t hash,
		     const struct hole_values *h);

/* A quoted JSON string. */
void json_quote(struct buf *out, struct str s);
/* How many bytes of `text` are UTF-8 from its start: text.n if all are. */
uint32_t utf8_valid_prefix(struct str text);

/* The first YAML document of `text` (JSON is YAML too), with YAML 1.1's core
 * types as Kubernetes reads them (yes/no/on/off are strings in 1.2 but
 * booleans for sigs.k8s.io/yaml; follow that one).  Anchors and aliases are
 * expanded up to a bound.  Errors name the line.  An empty text is null. */
int yaml_decode(zone *z, struct str text, value *out, struct json_notes *notes, struct err *e);
void yaml_encode(struct buf *out, const value *v);

/* For configuration files: like yaml_decode, and calls `cb` for each mapping
 * key with its dotted path and line (1-based), so that unknown keys can be
 * refused with their line. */
int yaml_decode_lines(zone *z, struct str text, value *out,
		      void (*cb)(void *arg, struct str path, unsigned line), void *arg,
		      struct err *e);

#endif

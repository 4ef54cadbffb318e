/*
 * object.h - what the files that put objects together share.
 */
#ifndef WEFT_KUBE_OBJECT_H
#define WEFT_KUBE_OBJECT_H

#include "weft/kube.h"

/* What the holes of this version's parts are filled from. */
struct hole_values object_holes(const struct cache *c, const struct entry *e,
				const struct version *v);

/* True if the part that holds metadata leaves this member to entry, version or
 * PART_LABELS. */
bool object_meta_elsewhere(struct str key);

#endif

/*
 * place.h - where schedulers may get in each other's way.
 *
 * A bind is decided from what was known at one resourceVersion (`seen`).  Whether it still
 * holds when it is done depends on what others have bound meanwhile, not anywhere, but at
 * certain places: the node, and for rules about other pods the namespaces that these are
 * in.  A place is a number.  The store remembers of each who bound there last, and when
 * (several places may share one memory: that costs a retry, no more).
 *
 *   place             is marked by                        keeps off, if others came since
 *   a node            each bind to it                     binds to it
 *   a namespace       each bind of a pod in it            requests that name it as a guard
 *   PLACE_ANYWHERE    each bind                           the same
 *   apart: namespace  requests that name it as a mark     binds of pods in it
 *   PLACE_APART_ALL   the same                            each bind
 *
 * Guards are the namespaces that a pod's own rules speak of (affinity, spread), marks those
 * that its required anti-affinity closes to others.
 */
#ifndef WEFT_PLACE_H
#define WEFT_PLACE_H

#include <xxhash.h>

#include "weft/base.h"

#define PLACE_ANYWHERE	UINT64_C(1)
#define PLACE_APART_ALL UINT64_C(2)

static inline uint64_t place_node(struct str name)
{
	return XXH3_64bits(name.p, name.n);
}

static inline uint64_t place_namespace(struct str ns)
{
	return XXH3_64bits_withSeed(ns.p, ns.n, 1);
}

static inline uint64_t place_apart(struct str ns)
{
	return XXH3_64bits_withSeed(ns.p, ns.n, 2);
}

#endif

/* tables.h - what kubegen makes (see gen/) and resource.c looks things up in. */
#ifndef KUBE_TABLES_H
#define KUBE_TABLES_H

#include "weft/kube.h"
#include "weft/schema.h"

extern const struct kube_resource kube_resource_table[]; /* by group, version, name */
extern const uint32_t kube_nresources;
extern const struct kube_resource *const kube_type_table[TYPE_MAX]; /* stored versions */

#endif

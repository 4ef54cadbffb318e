/* prepare.h - the strategy steps of single kinds (prepare_kinds.c), for prepare.c. */
#ifndef KUBE_PREPARE_H
#define KUBE_PREPARE_H

#include "weft/kube.h"

/* obj[key] becomes what it is in `old`, absent included. */
void prepare_take(zone *z, value *obj, const value *old, const char *key);

void prepare_pod_create(zone *z, value *obj);
void prepare_pod_status(zone *z, value *obj, const value *old);
/* All of the old pod but the resources of its containers. */
void prepare_pod_resize(zone *z, value *obj, const value *old);
void prepare_namespace_create(zone *z, value *obj);
void prepare_namespace_update(zone *z, value *obj, const value *old);
void prepare_secret_update(zone *z, value *obj, const value *old);
void prepare_service_update(zone *z, value *obj, const value *old);
void prepare_volume_create(zone *z, value *obj);
void prepare_volume_status(zone *z, value *obj, const value *old);
void prepare_deployment_status(zone *z, value *obj, const value *old);
void prepare_daemonset_create(zone *z, value *obj);
void prepare_daemonset_update(zone *z, value *obj, const value *old);
void prepare_daemonset_status(zone *z, value *obj, const value *old);
void prepare_job_create(zone *z, value *obj);
void prepare_csr_update(zone *z, value *obj, const value *old);

#endif

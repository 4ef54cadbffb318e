/* replicaset.h - the ReplicaSet controller's process. */
#ifndef WEFT_REPLICASET_H
#define WEFT_REPLICASET_H

#include <stdio.h>

#include "weft/kube.h"
#include "weft/proc.h"

int replicaset_main(void);

#endif

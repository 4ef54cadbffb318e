/*
 * route.h - who looks at a change: proc_routes (proc.h), applied to each
 * published version.  An object goes to a port once for each batch, however
 * many of its dependents changed.
 */
#ifndef WEFT_STORE_ROUTE_H
#define WEFT_STORE_ROUTE_H

#include "procs/store/ports.h"

/* Some versions ahead of the next two: only a hint. */
void route_ahead(void *ports, const struct version *v);
/* Around cw_publish(): an object that changes its owner concerns both. */
void route_before(void *ports, const struct version *v);
void route_after(void *ports, const struct version *v);
/* Send what was collected, and forget it. */
void route_flush(struct ports *p);

/* Put a message into an inbox, not yet visible; false if there is no room. */
bool port_send(struct port *t, const struct msg *m);

#endif

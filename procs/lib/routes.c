/*
 * routes.c - who looks at what: the store routes each change by this table.
 *
 * A controller gets its objects (SELF), what they control (CONTROLLER: the
 * owner's entry is routed, so that a burst of dependents' changes is one item),
 * and what may have to come or go (ORPHAN, RELABELLED).
 */
#include "weft/kube.h"
#include "weft/proc.h"

const struct route proc_routes[] = {
	/* For those who watch through it. */
	{PROC_APISERVER, ROUTE_FOLLOW, 0, 0},
	/* Who may do what: answers that it keeps. */
	{PROC_APISERVER, ROUTE_ALL, TYPE_ROLE, 0},
	{PROC_APISERVER, ROUTE_ALL, TYPE_CLUSTERROLE, 0},
	{PROC_APISERVER, ROUTE_ALL, TYPE_ROLEBINDING, 0},
	{PROC_APISERVER, ROUTE_ALL, TYPE_CLUSTERROLEBINDING, 0},

	{PROC_NAMESPACE, ROUTE_SELF, TYPE_NAMESPACE, 0},
	/* What each namespace has to have; few, so that every shard may see them. */
	{PROC_NAMESPACE, ROUTE_ALL, TYPE_SERVICEACCOUNT, 0},
	{PROC_NAMESPACE, ROUTE_ALL, TYPE_CONFIGMAP, 0},

	{PROC_DEPLOYMENT, ROUTE_SELF, TYPE_DEPLOYMENT, 0},
	{PROC_DEPLOYMENT, ROUTE_CONTROLLER, TYPE_REPLICASET, TYPE_DEPLOYMENT},
	{PROC_DEPLOYMENT, ROUTE_ORPHAN, TYPE_REPLICASET, 0},
	{PROC_DEPLOYMENT, ROUTE_RELABELLED, TYPE_REPLICASET, TYPE_DEPLOYMENT},

	{PROC_REPLICASET, ROUTE_SELF, TYPE_REPLICASET, 0},
	{PROC_REPLICASET, ROUTE_CONTROLLER, TYPE_POD, TYPE_REPLICASET},
	{PROC_REPLICASET, ROUTE_ORPHAN, TYPE_POD, 0},
	{PROC_REPLICASET, ROUTE_RELABELLED, TYPE_POD, TYPE_REPLICASET},
	/* What one has refused may have room now. */
	{PROC_REPLICASET, ROUTE_ALL, TYPE_RESOURCEQUOTA, 0},

	{PROC_SCHEDULER, ROUTE_FOLLOW, TYPE_POD, 0},
	{PROC_SCHEDULER, ROUTE_FOLLOW, TYPE_NODE, 0},

	{PROC_NODE, ROUTE_ON_NODE, TYPE_POD, 0},
	{PROC_NODE, ROUTE_NODE_SELF, TYPE_NODE, 0},

	/* The pods of a node are found through the node, its Lease when it is due. */
	{PROC_NODELIFECYCLE, ROUTE_NODE_SELF, TYPE_NODE, 0},
	{PROC_NODELIFECYCLE, ROUTE_LOST, TYPE_POD, 0},

	{PROC_GC, ROUTE_OWNED, 0, 0},
	/* It removes the old ones. */
	{PROC_GC, ROUTE_SELF, TYPE_EVENT, 0},
};

const uint32_t proc_route_count = countof(proc_routes);

/*
 * quota_priv.h - what is kept of a namespace's quotas, for the files that reckon
 * (quota.c) and those that ask (quota_check.c, quota_status.c).
 */
#ifndef WEFT_STORE_QUOTA_PRIV_H
#define WEFT_STORE_QUOTA_PRIV_H

#include "procs/store/quota.h"

_Static_assert(TYPE_MAX <= 64, "a set of types is one word");

#define CHARGES 64 /* remembered for a namespace: objects of one template are charged alike */

/* One name of a quota's spec.hard. */
struct resource {
	struct str name;
	uint16_t type; /* whose objects take of it; 0: nobody's */
	value hard;
	struct kube_amount limit, used;
};

struct quota {
	struct str name;
	value spec;
	uint32_t first, n; /* in the namespace's resources, in the order of their names */
};

/* What objects of one form take, of each of the namespace's resources. */
struct charge {
	uint64_t key; /* of the form; 0: free */
	bool lacking; /* does not state what some quota wants stated */
	struct kube_amount *take;
};

/* Pods that are charged until a second, and what is given back after it. */
struct due {
	uint32_t at_s;
	uint32_t pods;
	struct kube_amount *take;
};

struct quota_ns {
	struct str name; /* malloc()ed */
	bool stale;	 /* to be counted before anything is read off; not followed until then */
	bool dirty;	 /* something may have to be written */
	uint64_t types;	 /* 1 << type: whose objects are charged */
	zone *z;	 /* all below that is not malloc()ed */
	struct quota *quotas; /* in the order of their names */
	uint32_t nquotas;
	struct resource *resources;
	uint32_t nresources;
	struct charge charges[CHARGES];
	uint32_t now_s;	 /* pods that were due before are over */
	struct due *due; /* malloc()ed, by at_s */
	uint32_t ndue, due_cap;
};

struct quotas {
	struct quota_ns **list; /* in the order of their names */
	uint32_t n, cap;
	bool changed;	  /* some namespace is stale or dirty */
	bool settling;	  /* versions are our own */
	bool known;	  /* `last` is what `last_ns` has */
	uint32_t last_ns; /* of the version followed last */
	struct quota_ns *last;
	zone *z; /* while a charge is worked out */
};

struct quota_ns *ns_find(const struct quotas *q, struct str name);
/* Bring the namespace up to date; NULL if it has no quota any more. */
struct quota_ns *ns_settle(struct store *s, struct quota_ns *ns);

/* Is the pod over: ended, or due before the namespace's present? */
bool pod_is_over(const struct quota_ns *ns, const struct version *v);
/* What an object takes; good until the next call for this namespace. */
const struct charge *charge_of_version(struct store *s, struct quota_ns *ns, uint16_t type,
				       const struct version *v, bool over);
const struct charge *charge_of_parts(struct store *s, struct quota_ns *ns,
				     const struct kube_charged *o);

#endif

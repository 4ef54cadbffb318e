/*
 * item.h - which objects a request concerns, and how one of them is printed.
 * All functions that take a cache are called inside a read section.
 */
#ifndef WEFT_APISERVER_ITEM_H
#define WEFT_APISERVER_ITEM_H

#include "procs/apiserver/api.h"

/* --- Which -------------------------------------------------------------------------- */

/* Namespace, labelSelector and fieldSelector of a list or watch. */
struct filter {
	uint16_t type;
	bool one_ns;
	struct str ns;
	struct str name;		    /* .n > 0: only the object of this name */
	struct str node;		    /* .n > 0: only pods of this node */
	struct kube_selector *labels;	    /* NULL: all */
	struct kube_field_selector *fields; /* NULL: all */
};

/* From q's options; what is made lies in z.  WEFT_EINVAL: an error was answered. */
int filter_parse(struct request *q, zone *z, struct filter *f);
bool filter_covers(const struct filter *f, const struct cache *c, const struct entry *e);
/* Is v's pod on the node that is asked for, if one is?  A pod never leaves its node, so of
 * another one's no state matches. */
bool filter_on_node(const struct filter *f, const struct cache *c, const struct version *v);
/* What the label selector said of the last object, for the next that has the same
 * labels.  Good within one read section; zero-initialise. */
struct filter_last {
	uint32_t labels; /* labelset_ref; 0: nothing was asked yet */
	bool matched;
};

/* Labels and fields; v is not NULL.  `last`: NULL where one object is looked at. */
bool filter_matches(const struct filter *f, const struct cache *c, const struct entry *e,
		    const struct version *v, struct filter_last *last);
/* No selector but the namespace. */
bool filter_is_plain(const struct filter *f);

/* --- How ---------------------------------------------------------------------------- */

enum include { INCLUDE_METADATA, INCLUDE_NONE, INCLUDE_OBJECT };

/* The form in which objects of one request are printed. */
struct form {
	const struct kube_resource *r;
	enum shape shape;
	enum include include; /* tables: what stands beside the cells */
};

int form_parse(struct request *q, struct form *f); /* WEFT_EINVAL: answered */
/* One object as an element of a list: an object, or a row of a table. */
void item_add(struct buf *out, struct api *api, const struct form *f, const struct entry *e,
	      const struct version *v);
/* One object by itself: the object, a table of one row, or partial metadata.
 * `columns`: print the definitions of a table's columns. */
void item_add_whole(struct buf *out, struct api *api, const struct form *f, const struct entry *e,
		    const struct version *v, bool columns);
/* This as a watch event: {"type":...,"object":...} and a newline. */
void item_add_event(struct buf *out, struct api *api, const struct form *f, const char *type,
		    const struct entry *e, const struct version *v, bool columns);
/* The same for an object that is not (yet) in the cache. */
void item_add_value(struct buf *out, struct api *api, const struct form *f, value *obj,
		    bool columns);
/* "columnDefinitions":[...] */
void item_add_columns(struct buf *out, struct api *api, const struct form *f);

/* The object that the request's path names (or the one of `entry`, if not 0), live or as it
 * was at version rv, if not 0, as a tree in the request's zone; false: there is none.  Opens a
 * read section itself. */
bool item_read(struct request *q, uint32_t entry, uint64_t rv, value *obj);

/* Answers `code` with the object as write rv left it (its tombstone too) or, if that state was
 * let go, the next one.  False, and nothing is answered: the object was deleted, and so much
 * was written since that nothing of it is there.  Opens a read section itself. */
bool answer_object(struct request *q, int code, uint32_t entry, uint64_t rv);
/* Answers with an object that was made here (dry runs, reviews). */
enum outcome answer_made(struct request *q, int code, value *obj);

#endif

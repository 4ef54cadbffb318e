/*
 * options.h - ListOptions and the resourceVersion rules, and continue tokens.
 */
#ifndef WEFT_APISERVER_OPTIONS_H
#define WEFT_APISERVER_OPTIONS_H

#include "procs/apiserver/api.h"

/* Where a paged list goes on.  rv 0: at whatever is newest then. */
struct continue_at {
	uint64_t rv;
	struct str ns, name; /* the last object that was listed */
	int64_t left;	     /* objects after it; -1: not counted */
};

/* The token's text, in the zone. */
struct str continue_encode(zone *z, const struct continue_at *at);
/* WEFT_EINVAL with *message for anything that is no token of ours. */
int continue_decode(zone *z, struct str token, struct continue_at *at, struct str *message);

/* q's resourceVersion as a number; 0 if unset or "0".  Waits for nothing.
 * WEFT_EINVAL: an error was answered (not a number, or newer than the cache). */
int options_version(struct request *q, bool is_list, uint64_t *rv);

enum match { MATCH_UNSET, MATCH_NOT_OLDER, MATCH_EXACT };

/* What a list or a watch may be told. */
struct list_options {
	int64_t limit;
	bool has_version; /* resourceVersion was given and is not empty */
	uint64_t version;
	enum match match;
	bool is_watch;
	bool bookmarks;
	bool send_initial, has_send_initial;
	int64_t timeout_s; /* 0: none */
	bool continues;
	struct continue_at from;
};
/* WEFT_EINVAL: an error was answered. */
int options_parse(struct request *q, bool is_watch, struct list_options *o);

/* 410: what was asked for has been forgotten. */
enum outcome answer_expired(struct request *q, struct str message);

#endif

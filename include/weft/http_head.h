/*
 * http_head.h - what a client's bytes say, by HTTP/1.1: the head of a request, and a
 * body in chunks.  Functions of bytes alone; they trust nothing.
 *
 * What is refused, and in which words, is what Go's net/http does in
 * kube-apiserver: somebody who speaks to both sees no difference.  What two readers
 * could take for different requests is refused, or nothing is read behind it.
 */
#ifndef WEFT_HTTP_HEAD_H
#define WEFT_HTTP_HEAD_H

#include "weft/value.h"

#define HEAD_MAX (1u << 20) /* bytes of a head */

struct head_line {
	struct str name, value; /* value: without blanks around it, with a NUL behind it */
};

struct head {
	struct str method, target; /* target: path and query, as they came */
	struct head_line *lines;   /* zero to begin with; head_add() */
	uint32_t nlines;
	int64_t length; /* of the body; 0 if none is announced, -1: in chunks */
	bool http10;
	bool close;   /* the connection ends with the answer */
	bool expects; /* 100-continue */
};

/* Why a head is refused; `reason` may be empty. */
struct head_refusal {
	int code;
	const char *reason;
};

/* How long the head at the start of `in` is, its empty line included; 0 while
 * that has not come.  *seen: how far earlier calls have looked. */
size_t head_end(struct str in, size_t *seen);

/* Reads a whole head.  `text` (which ends with the empty line) is changed and
 * pointed into: it lives as long as *h.  WEFT_EINVAL: refused. */
int head_parse(zone *z, struct str text, struct head *h, struct head_refusal *why);

/* One more line; name and value live as long as *h. */
void head_add(zone *z, struct head *h, struct str name, struct str value);
/* A path and query that head_parse() takes. */
bool head_target_good(struct str target);
/* Lines of this name, in whatever case. */
bool head_is(const struct head_line *line, const char *name);
/* The value of the first line of this name; .p is NULL if there is none. */
struct str head_get(const struct head *h, const char *name);

/* --- Chunks ------------------------------------------------------------------------ */

/* Where a body in chunks has been read to; zero to begin with. */
struct chunks {
	enum { CHUNK_SIZE_LINE, CHUNK_DATA, CHUNK_DATA_END, CHUNK_TRAILER } at;
	uint64_t left;	   /* of this chunk's data */
	uint32_t digits;   /* of its size */
	uint32_t line;	   /* bytes of the present line, without its end */
	uint32_t trailer;  /* bytes behind the last chunk */
	bool cr;	   /* the line can only end now */
	bool blank;	   /* behind the size: no digit follows */
	bool extension;	   /* of its size's line was reached */
	bool named;	   /* the trailer's line has its colon */
	const char *wrong; /* CHUNKS_BAD: what */
};

enum chunks_state { CHUNKS_MORE, CHUNKS_DATA, CHUNKS_END, CHUNKS_BAD };

/* Reads on: moves *in over what was read.  CHUNKS_DATA: *data is a piece of the
 * body (call again); CHUNKS_MORE: *in is used up; CHUNKS_END: that was all. */
enum chunks_state chunks_take(struct chunks *c, struct str *in, struct str *data);

#endif

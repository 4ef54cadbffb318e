/*
 * msg.h - messages between processes: structures, encoders, decoders and a
 * printer, all made from messages.def.
 *
 * A decoded message borrows: strings and arrays point into the record or into
 * a scratch buffer of the decoder, valid until the record is released or the
 * next msg_decode() with the same scratch.
 */
#ifndef WEFT_MSG_H
#define WEFT_MSG_H

#include "weft/base.h"

struct u32s {
	const uint32_t *p;
	uint32_t n;
};
struct u64s {
	const uint64_t *p;
	uint32_t n;
};

enum propagation {
	PROPAGATION_DEFAULT, /* the type's own: Background for all but a few */
	PROPAGATION_BACKGROUND,
	PROPAGATION_FOREGROUND,
	PROPAGATION_ORPHAN,
};

typedef uint8_t msg_U8;
typedef uint16_t msg_U16;
typedef uint32_t msg_U32;
typedef uint64_t msg_U64;
typedef int32_t msg_I32;
typedef int64_t msg_I64;
typedef bool msg_BOOL;
typedef struct str msg_STR;
typedef struct str msg_UID;
typedef struct u32s msg_U32S;
typedef struct u64s msg_U64S;

#define MSG(name, num)	   struct msg_##name {
#define FIELD(kind, field) msg_##kind field;
#define END(name) \
	}         \
	;
#include "weft/messages.def"
#undef MSG
#undef FIELD
#undef END
#undef REQUEST_FIELDS

enum msg_kind {
#define MSG(name, num) MSG_##name = num,
#define FIELD(kind, field)
#define END(name)
#include "weft/messages.def"
#undef MSG
#undef FIELD
#undef END
#undef REQUEST_FIELDS
};

struct msg {
	enum msg_kind kind;
	union {
#define MSG(nm, num) struct msg_##nm nm;
#define FIELD(kind, field)
#define END(nm)
#include "weft/messages.def"
#undef MSG
#undef FIELD
#undef END
#undef REQUEST_FIELDS
	};
};

/* Room for what a decoded message's arrays need; zero-initialise, reuse. */
struct msg_scratch {
	struct buf mem;
};

/* Upper bound of the encoded size, so that it can be built in place in a ring. */
size_t msg_size(const struct msg *m);
/* Encode at `p` (msg_size() bytes are there); returns the bytes used. */
size_t msg_encode(const struct msg *m, char *p);
/* WEFT_EINVAL for anything that is not exactly one message of a known kind
 * with fields of the right types. */
int msg_decode(struct str bytes, struct msg *out, struct msg_scratch *scratch, struct err *e);
/* "create{seq:1, type:7, ns:"default", ...}": for logs and tests. */
void msg_print(struct buf *out, const struct msg *m);
const char *msg_name(enum msg_kind kind);
/* The request's common fields, or NULL for what is no request. */
struct msg_request {
	uint64_t seq;
	uint32_t generation, epoch;
	uint64_t cause;
};
struct msg_request *msg_request(struct msg *m);

#endif

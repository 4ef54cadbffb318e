/*
 * record.h - the log's records: structures, encoder, decoder and printer, all
 * made from records.def.
 *
 * A decoded record borrows: strings and arrays point into the batch, which has
 * to be 4-byte aligned.
 */
#ifndef WEFT_STORE_RECORD_H
#define WEFT_STORE_RECORD_H

#include "weft/msg.h"

/* n uids, 16 bytes each. */
struct uids {
	const uint8_t (*p)[16];
	uint32_t n;
};

typedef uint8_t rec_U8;
typedef uint16_t rec_U16;
typedef uint32_t rec_U32;
typedef uint64_t rec_U64;
typedef int32_t rec_I32;
typedef struct str rec_STR;
typedef struct str rec_UID;
typedef struct uids rec_UIDS;
typedef struct u32s rec_U32S;

#define REC(name, num)	   struct rec_##name {
#define FIELD(kind, field) rec_##kind field;
#define END(name) \
	}         \
	;
#include "procs/store/records.def"
#undef REC
#undef FIELD
#undef END
#undef RECORD_FIELDS

enum rec_kind {
#define REC(name, num) REC_##name = num,
#define FIELD(kind, field)
#define END(name)
#include "procs/store/records.def"
#undef REC
#undef FIELD
#undef END
#undef RECORD_FIELDS
};

struct rec {
	enum rec_kind kind;
	union {
#define REC(nm, num) struct rec_##nm nm;
#define FIELD(kind, field)
#define END(nm)
#include "procs/store/records.def"
#undef REC
#undef FIELD
#undef END
#undef RECORD_FIELDS
	};
};

/* Append `r` to the batch in `out` (a multiple of 8 bytes long, and so left). */
void rec_encode(struct buf *out, const struct rec *r);
/* Take the record at the start of *bytes off.  1, 0 at the end, or
 * WEFT_ECORRUPT for what is no record of a known kind. */
int rec_decode(struct str *bytes, struct rec *out);
/* "gone{rv:12, cause:3, ...}" for logs and tests. */
void rec_print(struct buf *out, const struct rec *r);
const char *rec_name(enum rec_kind kind);

#endif

/*
 * base.h - what every part of weft shares: result codes, errors that collect
 * context, borrowed strings, assertions, logging and time.
 *
 * Result codes.  A function that can fail returns `int`: 0 for success or one
 * of the negative codes below.  Codes of other libraries (errno, LMDB, GnuTLS)
 * are translated where they enter.  Functions that also explain take a
 * `struct err *` as their last argument; it may be NULL.
 *
 * Assertions.  weft_assert() is always on: it guards what must hold for the
 * shared memory to stay sound.  weft_debug_assert() compiles away unless
 * WEFT_DEBUG is defined, but is always type-checked.
 */
#ifndef WEFT_BASE_H
#define WEFT_BASE_H

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* --- Result codes ------------------------------------------------------ */

/* X(NAME, number, sentence for people).  The numbers cross process
 * boundaries in replies, so they are never reused. */
#define WEFT_CODES(X)                                       \
	X(OK, 0, "success")                                 \
	X(ENOMEM, -1, "out of memory")                      \
	X(EFULL, -2, "no room")                             \
	X(EEXIST, -3, "already exists")                     \
	X(ENOENT, -4, "not found")                          \
	X(ECONFLICT, -5, "changed meanwhile")               \
	X(EINVAL, -6, "invalid")                            \
	X(EFENCED, -7, "belongs to another shard now")      \
	X(EGONE, -8, "too old")                             \
	X(EIO, -9, "input/output error")                    \
	X(ENOSPC, -10, "no space left on the device")       \
	X(EAGAIN, -11, "try again")                         \
	X(ELAYOUT, -12, "made by another version or build") \
	X(EBUSY, -13, "in use")                             \
	X(EFORBIDDEN, -14, "forbidden")                     \
	X(ECORRUPT, -15, "damaged")                         \
	X(ELOST, -16, "outcome unknown")                    \
	X(ETOOBIG, -17, "too large")                        \
	X(EUID, -18, "another object of the same name")     \
	X(ESYS, -19, "system error")

enum weft_code {
#define X(name, num, text) WEFT_##name = num,
	WEFT_CODES(X)
#undef X
};

/* The sentence for `code`, never NULL, static. */
const char *weft_strerror(int code);

/* The code for an errno value: ENOSPC -> WEFT_ENOSPC, EIO -> WEFT_EIO,
 * ENOMEM -> WEFT_ENOMEM, ENOENT, EEXIST, EAGAIN, EBUSY alike; any other is
 * WEFT_ESYS. */
int weft_code_from_errno(int errnum);

/* --- Errors with context ----------------------------------------------- */

/* An error as it rises: the origin sets it, each level above may put its own
 * words in front ("open log: preallocate 'x': No space left on device"). */
struct err {
	int code;
	char msg[1024];
};

/* Set code and message; returns `code`, so `return err_set(...)` reads well.
 * `e` may be NULL. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* As err_set, with ": " and strerror(errnum) appended. */
int err_errno(struct err *e, int errnum, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Put "fmt: " in front of the message; returns e->code. */
int err_wrap(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* --- Borrowed strings --------------------------------------------------- */

/* Bytes that somebody else owns; not necessarily NUL-terminated. */
struct str {
	const char *p;
	uint32_t n;
};

#define STR(lit)   ((struct str){"" lit, sizeof(lit) - 1})
#define STR_FMT	   "%.*s"
#define STR_ARG(s) (int)(s).n, (s).p

static inline struct str str_of(const char *cstr)
{
	return (struct str){cstr, cstr ? (uint32_t)strlen(cstr) : 0};
}

static inline bool str_eq(struct str a, struct str b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* str_eq(s, str_of(word)), where most words of a table differ in their first byte. */
static inline bool str_is(struct str s, const char *word)
{
	if (s.n && word && s.p[0] != word[0])
		return false;
	return str_eq(s, str_of(word));
}

/* Byte-wise order, shorter first on a common prefix: Go's and etcd's. */
static inline int str_cmp(struct str a, struct str b)
{
	uint32_t n = a.n < b.n ? a.n : b.n;
	int c = n ? memcmp(a.p, b.p, n) : 0;

	return c ? c : (a.n > b.n) - (a.n < b.n);
}

/* Without the blanks and tabs around it. */
static inline struct str str_trim(struct str s)
{
	while (s.n && (*s.p == ' ' || *s.p == '\t'))
		s.p++, s.n--;
	while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

/* What is before the first `sep`; *rest becomes what is behind it.  Without one, all and
 * nothing. */
static inline struct str str_cut(struct str *rest, char sep)
{
	const char *at = rest->n ? (const char *)memchr(rest->p, sep, rest->n) : NULL;
	struct str head = {rest->p, at ? (uint32_t)(at - rest->p) : rest->n};
	uint32_t used = at ? head.n + 1 : head.n;

	rest->p += used;
	rest->n -= used;
	return head;
}

/* --- Directories ----------------------------------------------------------- */

/* What names the directory has now, it has after a loss of power: a file's own
 * sync does not promise that. */
int names_sync(const char *dir, struct err *e);

/* --- Growing byte buffers ----------------------------------------------- */

/* A private, growing buffer.  Zero-initialise; buf_free() when done.  A
 * failed allocation aborts: private memory for one request is small, and
 * what is large (bodies, lists) is bounded by its caller. */
struct buf {
	char *p;
	size_t n, cap;
};

void buf_reserve(struct buf *b, size_t more);
void buf_add(struct buf *b, const void *p, size_t n);
void buf_puts(struct buf *b, const char *cstr);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_free(struct buf *b);

static inline void buf_putc(struct buf *b, char c)
{
	if (b->n == b->cap)
		buf_reserve(b, 1);
	b->p[b->n++] = c;
}

static inline void buf_addstr(struct buf *b, struct str s)
{
	buf_add(b, s.p, s.n);
}

static inline struct str buf_str(const struct buf *b)
{
	return (struct str){b->p, (uint32_t)b->n};
}

/* --- Limits -------------------------------------------------------------- */

/* Let this process, and those that it starts, open as many descriptors as it may ask for. */
void weft_raise_descriptors(void);

/* --- Assertions ---------------------------------------------------------- */

_Noreturn void weft_die(const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#define weft_fatal(...) weft_die(__FILE__, __LINE__, __VA_ARGS__)
#define weft_assert(x)                                                            \
	do {                                                                      \
		if (__builtin_expect(!(x), 0))                                    \
			weft_die(__FILE__, __LINE__, "assertion failed: %s", #x); \
	} while (0)
#ifdef WEFT_DEBUG
#define weft_debug_assert(x) weft_assert(x)
#else
#define weft_debug_assert(x) ((void)sizeof(!(x)))
#endif

#define likely_true(x)	__builtin_expect(!!(x), 1)
#define likely_false(x) __builtin_expect(!!(x), 0)
#define countof(a)	(sizeof(a) / sizeof((a)[0]))
#define align_up(n, a)	(((n) + (a)-1) & ~((__typeof__(n))(a)-1))
#define CACHE_LINE	64
#define cache_aligned	__attribute__((aligned(CACHE_LINE)))

/* Asks for the cache line at `p`, which may be any address.  The empty statement is
 * there to be seen: gcc takes a function that does nothing but prefetch for one that
 * does nothing, and leaves calls of it out. */
static inline void prefetch(const void *p)
{
	__builtin_prefetch(p);
	__asm__ volatile("");
}

/* A key's home in a table of `places`, a power of two; neighbours do not stay together
 * (Fibonacci hashing: Knuth, TAOCP 6.4). */
static inline uint32_t home_of(uint64_t key, uint32_t places)
{
	return (uint32_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (places - 1);
}

/* --- Logging -------------------------------------------------------------- */

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* One line to stderr: "<level> message".  The supervisor reads its children's
 * stderr and adds time, process and pid.  The level is set by WEFT_LOG
 * (debug, info, warn, error; default info).  Never blocks on anything but the
 * pipe; async-signal-unsafe. */
void log_msg(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_debug(...) log_msg(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)  log_msg(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_msg(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_msg(LOG_ERROR, __VA_ARGS__)

/* --- Time ------------------------------------------------------------------ */

/* The one source of time.  Objects carry wall time, timers run on monotonic
 * time.  Both come from the kernel unless clock_set_source() put a page of
 * virtual time in their place (a mapping of the control segment). */
struct clock_page {
	_Atomic int64_t wall_offset_ns; /* added to CLOCK_REALTIME */
	_Atomic int64_t mono_offset_ns; /* added to CLOCK_MONOTONIC */
};

int64_t clock_wall_ns(void); /* since 1970-01-01T00:00:00Z */
int64_t clock_mono_ns(void);
/* Some ms late, for a tenth of the price; not to be compared with the one above. */
int64_t clock_mono_rough_ns(void);
/* CPU that this thread has used; never virtual.  A fault in a virtual machine's host is part of
 * it, waiting for a core is not. */
int64_t clock_thread_ns(void);
static inline uint32_t clock_wall_s(void)
{
	return (uint32_t)(clock_wall_ns() / 1000000000);
}
void clock_set_source(const struct clock_page *page); /* NULL: the kernel's */

/* "2006-01-02T15:04:05Z" (20 bytes and a NUL). */
void time_format(uint32_t wall_s, char out[21]);
/* "2006-01-02T15:04:05.000000Z", MicroTime (27 bytes and a NUL). */
void time_format_micro(int64_t wall_ns, char out[28]);
/* RFC 3339 with zone and optional fraction; WEFT_EINVAL when it is not.  Times
 * that do not fit (before 1678, after 2261) are INT64_MIN or INT64_MAX. */
int time_parse(struct str text, int64_t *wall_ns);

#endif

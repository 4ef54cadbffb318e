/* base.c - codes, errors, buffers, logging, time: what base.h promises. */
#include "weft/base.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* --- Result codes ------------------------------------------------------ */

const char *weft_strerror(int code)
{
	switch (code) {
#define X(name, num, text) \
	case num:          \
		return text;
		WEFT_CODES(X)
#undef X
	}
	return "unknown error";
}

int weft_code_from_errno(int errnum)
{
	static const struct {
		int from, to;
	} map[] = {
		{0, WEFT_OK},
		{ENOMEM, WEFT_ENOMEM},
		{ENOSPC, WEFT_ENOSPC},
		{EDQUOT, WEFT_ENOSPC},
		{EIO, WEFT_EIO},
		{ENOENT, WEFT_ENOENT},
		{EEXIST, WEFT_EEXIST},
		{EAGAIN, WEFT_EAGAIN},
		{EBUSY, WEFT_EBUSY},
		{EACCES, WEFT_EFORBIDDEN},
		{EPERM, WEFT_EFORBIDDEN},
		{EROFS, WEFT_EFORBIDDEN},
	};

	for (size_t i = 0; i < countof(map); i++)
		if (map[i].from == errnum)
			return map[i].to;
	return WEFT_ESYS;
}

/* --- Errors with context ----------------------------------------------- */

int err_set(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	if (!e)
		return code;
	e->code = code;
	va_start(ap, fmt);
	vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	va_end(ap);
	return code;
}

int err_errno(struct err *e, int errnum, const char *fmt, ...)
{
	int code = weft_code_from_errno(errnum);
	va_list ap;
	int n;

	if (!e)
		return code;
	e->code = code;
	va_start(ap, fmt);
	n = vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(e->msg))
		snprintf(e->msg + n, sizeof(e->msg) - (size_t)n, ": %s", strerror(errnum));
	return code;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
	char outer[sizeof(e->msg)], inner[sizeof(e->msg)];
	va_list ap;

	if (!e)
		return WEFT_ESYS;
	va_start(ap, fmt);
	vsnprintf(outer, sizeof(outer), fmt, ap);
	va_end(ap);
	memcpy(inner, e->msg, sizeof(inner));
	if (snprintf(e->msg, sizeof(e->msg), "%s: %s", outer, inner) >= (int)sizeof(e->msg))
		memcpy(e->msg + sizeof(e->msg) - 4, "...", 4);
	return e->code;
}

/* --- Directories ----------------------------------------------------------- */

int names_sync(const char *dir, struct err *e)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = fd < 0 || fsync(fd) ? err_errno(e, errno, "sync directory '%s'", dir) : WEFT_OK;

	if (fd >= 0)
		close(fd);
	return rc;
}

/* --- Growing byte buffers ----------------------------------------------- */

void buf_reserve(struct buf *b, size_t more)
{
	size_t need = b->n + more, cap = b->cap ? b->cap : 256;

	if (need <= b->cap)
		return;
	while (cap < need)
		cap *= 2;
	b->p = realloc(b->p, cap);
	if (!b->p)
		weft_fatal("out of memory for a buffer of %zu bytes", cap);
	b->cap = cap;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
	if (!n)
		return;
	buf_reserve(b, n);
	memcpy(b->p + b->n, p, n);
	b->n += n;
}

void buf_puts(struct buf *b, const char *cstr)
{
	buf_add(b, cstr, strlen(cstr));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;

	buf_reserve(b, 128); /* most are shorter */
	va_start(ap, fmt);
	n = vsnprintf(b->p + b->n, b->cap - b->n, fmt, ap);
	va_end(ap);
	weft_assert(n >= 0);
	if ((size_t)n >= b->cap - b->n) {
		buf_reserve(b, (size_t)n + 1);
		va_start(ap, fmt);
		vsnprintf(b->p + b->n, (size_t)n + 1, fmt, ap);
		va_end(ap);
	}
	b->n += (size_t)n;
}

void buf_free(struct buf *b)
{
	free(b->p);
	*b = (struct buf){0};
}

/* --- Assertions and logging ----------------------------------------------- */

static const char *const level_names[] = {
	[LOG_DEBUG] = "debug", [LOG_INFO] = "info", [LOG_WARN] = "warn", [LOG_ERROR] = "error"};

static enum log_level log_threshold(void)
{
	static _Atomic int cached = -1;
	int level = atomic_load_explicit(&cached, memory_order_relaxed);
	const char *want;

	if (level >= 0)
		return (enum log_level)level;
	want = getenv("WEFT_LOG");
	level = LOG_INFO;
	for (size_t i = 0; want && i < countof(level_names); i++)
		if (strcmp(want, level_names[i]) == 0)
			level = (int)i;
	atomic_store_explicit(&cached, level, memory_order_relaxed);
	return (enum log_level)level;
}

/* One write() for the whole line, so that lines of several processes on one
 * descriptor do not mix. */
static void log_line(enum log_level level, const char *fmt, va_list ap)
{
	char line[2048];
	int n = snprintf(line, sizeof(line), "%s ", level_names[level]);

	n += vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
	if (n > (int)sizeof(line) - 2)
		n = (int)sizeof(line) - 2;
	for (int i = 0; i < n; i++)
		if (line[i] == '\n')
			line[i] = ' ';
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return; /* nobody is left to tell */
}

void log_msg(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	if (level < log_threshold())
		return;
	va_start(ap, fmt);
	log_line(level, fmt, ap);
	va_end(ap);
}

void weft_die(const char *file, int line, const char *fmt, ...)
{
	char msg[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	log_msg(LOG_ERROR, "%s:%d: %s", file, line, msg);
	abort();
}

/* --- Time ------------------------------------------------------------------ */

static const struct clock_page *clock_source;

void clock_set_source(const struct clock_page *page)
{
	clock_source = page;
}

static int64_t clock_read(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t clock_wall_ns(void)
{
	int64_t t = clock_read(CLOCK_REALTIME);

	if (clock_source)
		t += atomic_load_explicit(&clock_source->wall_offset_ns, memory_order_relaxed);
	return t;
}

static int64_t read_mono(clockid_t clock)
{
	int64_t t = clock_read(clock);

	if (clock_source)
		t += atomic_load_explicit(&clock_source->mono_offset_ns, memory_order_relaxed);
	return t;
}

int64_t clock_mono_ns(void)
{
	return read_mono(CLOCK_MONOTONIC);
}

int64_t clock_mono_rough_ns(void)
{
	return read_mono(CLOCK_MONOTONIC_COARSE);
}

int64_t clock_thread_ns(void)
{
	return clock_read(CLOCK_THREAD_CPUTIME_ID);
}

/* Two digits at `p`. */
static void put2(char *p, unsigned n)
{
	p[0] = (char)('0' + n / 10);
	p[1] = (char)('0' + n % 10);
}

/* By hand, as LISTs print millions of times: strftime() takes ten times as long. */
void time_format(uint32_t wall_s, char out[21])
{
	/* Days since 0000-03-01: years begin in March, so that the leap day is
	 * their last.  An era is 400 years. */
	unsigned day_s = wall_s % 86400, days = wall_s / 86400 + 719468;
	unsigned era = days / 146097, era_day = days % 146097, era_year, year_day, month;

	era_year = (era_day - era_day / 1460 + era_day / 36524 - era_day / 146096) / 365;
	year_day = era_day - (365 * era_year + era_year / 4 - era_year / 100);
	month = (5 * year_day + 2) / 153; /* 0: March */
	memcpy(out, "0000-00-00T00:00:00Z", 21);
	era_year += era * 400 + (month >= 10);
	put2(out, era_year / 100);
	put2(out + 2, era_year % 100);
	put2(out + 5, month < 10 ? month + 3 : month - 9);
	put2(out + 8, year_day - (153 * month + 2) / 5 + 1);
	put2(out + 11, day_s / 3600);
	put2(out + 14, day_s / 60 % 60);
	put2(out + 17, day_s % 60);
}

void time_format_micro(int64_t wall_ns, char out[28])
{
	char sec[21];

	time_format((uint32_t)(wall_ns / 1000000000), sec);
	snprintf(out, 28, "%.19s.%06uZ", sec, (unsigned)(wall_ns / 1000 % 1000000));
}

/* Reads exactly `n` digits; false if they are not all digits. */
static bool take_digits(const char **p, const char *end, int n, int *out)
{
	*out = 0;
	for (; n > 0; n--, (*p)++) {
		if (*p >= end || **p < '0' || **p > '9')
			return false;
		*out = *out * 10 + (**p - '0');
	}
	return true;
}

static bool take_char(const char **p, const char *end, char c)
{
	if (*p >= end || **p != c)
		return false;
	(*p)++;
	return true;
}

static bool take_fraction(const char **p, const char *end, int64_t *ns)
{
	int64_t unit = 100000000;

	*ns = 0;
	if (!take_char(p, end, '.'))
		return true;
	if (*p >= end || **p < '0' || **p > '9')
		return false;
	for (; *p < end && **p >= '0' && **p <= '9'; (*p)++, unit /= 10)
		*ns += (**p - '0') * unit;
	return true;
}

static bool take_zone(const char **p, const char *end, int64_t *offset_s)
{
	int sign, h, m;

	*offset_s = 0;
	if (take_char(p, end, 'Z'))
		return true;
	sign = take_char(p, end, '+') ? 1 : take_char(p, end, '-') ? -1 : 0;
	if (!sign || !take_digits(p, end, 2, &h) || !take_char(p, end, ':') ||
	    !take_digits(p, end, 2, &m) || h > 23 || m > 59)
		return false;
	*offset_s = sign * (h * 3600 + m * 60);
	return true;
}

/* Years before 1678 and after 2261 do not fit. */
static int64_t to_ns(int64_t s, int64_t ns)
{
	if (s >= INT64_MAX / 1000000000)
		return INT64_MAX;
	if (s <= INT64_MIN / 1000000000)
		return INT64_MIN;
	return s * 1000000000 + ns;
}

int time_parse(struct str text, int64_t *wall_ns)
{
	const char *p = text.p, *end = text.p + text.n;
	struct tm tm = {0}, check;
	int64_t ns, zone;
	time_t t;

	if (!take_digits(&p, end, 4, &tm.tm_year) || !take_char(&p, end, '-') ||
	    !take_digits(&p, end, 2, &tm.tm_mon) || !take_char(&p, end, '-') ||
	    !take_digits(&p, end, 2, &tm.tm_mday) || !take_char(&p, end, 'T') ||
	    !take_digits(&p, end, 2, &tm.tm_hour) || !take_char(&p, end, ':') ||
	    !take_digits(&p, end, 2, &tm.tm_min) || !take_char(&p, end, ':') ||
	    !take_digits(&p, end, 2, &tm.tm_sec) || !take_fraction(&p, end, &ns) ||
	    !take_zone(&p, end, &zone) || p != end)
		return WEFT_EINVAL;
	if (tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 59)
		return WEFT_EINVAL;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	check = tm;
	t = timegm(&check); /* normalises: a 31st of June shows */
	if (check.tm_mday != tm.tm_mday || check.tm_mon != tm.tm_mon)
		return WEFT_EINVAL;
	*wall_ns = to_ns((int64_t)t - zone, ns);
	return 0;
}

/* --- Limits ------------------------------------------------------------------------- */

void weft_raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

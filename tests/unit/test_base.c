/* test_base.c - codes, errors, strings, buffers, logging and time. */
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/suite.h"
#include "weft/base.h"

/* --- Codes and errors ------------------------------------------------------------ */

START_TEST(every_code_has_its_sentence)
{
#define X(name, num, text) ck_assert_str_eq(weft_strerror(num), text);
	WEFT_CODES(X)
#undef X
	ck_assert_str_eq(weft_strerror(12345), "unknown error");
}
END_TEST

START_TEST(codes_from_errno)
{
	ck_assert_int_eq(weft_code_from_errno(0), WEFT_OK);
	ck_assert_int_eq(weft_code_from_errno(ENOSPC), WEFT_ENOSPC);
	ck_assert_int_eq(weft_code_from_errno(EDQUOT), WEFT_ENOSPC);
	ck_assert_int_eq(weft_code_from_errno(EIO), WEFT_EIO);
	ck_assert_int_eq(weft_code_from_errno(ENOMEM), WEFT_ENOMEM);
	ck_assert_int_eq(weft_code_from_errno(ENOENT), WEFT_ENOENT);
	ck_assert_int_eq(weft_code_from_errno(EEXIST), WEFT_EEXIST);
	ck_assert_int_eq(weft_code_from_errno(EAGAIN), WEFT_EAGAIN);
	ck_assert_int_eq(weft_code_from_errno(EBUSY), WEFT_EBUSY);
	ck_assert_int_eq(weft_code_from_errno(EACCES), WEFT_EFORBIDDEN);
	ck_assert_int_eq(weft_code_from_errno(EXDEV), WEFT_ESYS);
}
END_TEST

START_TEST(errors_collect_context)
{
	struct err e = {0};

	ck_assert_int_eq(err_errno(&e, ENOSPC, "write '%s'", "x"), WEFT_ENOSPC);
	ck_assert_str_eq(e.msg, "write 'x': No space left on device");
	ck_assert_int_eq(err_wrap(&e, "open log %d", 7), WEFT_ENOSPC);
	ck_assert_str_eq(e.msg, "open log 7: write 'x': No space left on device");
	ck_assert_int_eq(err_set(&e, WEFT_EINVAL, "no"), WEFT_EINVAL);
	ck_assert_str_eq(e.msg, "no");
	ck_assert_int_eq(err_set(NULL, WEFT_EFULL, "no"), WEFT_EFULL);
	ck_assert_int_eq(err_errno(NULL, EIO, "no"), WEFT_EIO);
}
END_TEST

START_TEST(long_errors_are_cut_and_say_so)
{
	struct err e;
	char many[2000];

	memset(many, 'a', sizeof(many) - 1);
	many[sizeof(many) - 1] = '\0';
	err_set(&e, WEFT_EIO, "%s", many);
	ck_assert_uint_eq(strlen(e.msg), sizeof(e.msg) - 1);
	err_errno(&e, EIO, "%s", many);
	ck_assert_uint_eq(strlen(e.msg), sizeof(e.msg) - 1);
	err_wrap(&e, "outer");
	ck_assert_uint_eq(strlen(e.msg), sizeof(e.msg) - 1);
	ck_assert(strncmp(e.msg, "outer: aaa", 10) == 0);
	ck_assert_str_eq(e.msg + sizeof(e.msg) - 5, "a...");
}
END_TEST

/* --- Strings and buffers ----------------------------------------------------------- */

START_TEST(strings_order_bytewise)
{
	static const char *const sorted[] = {"", "A", "a", "a-b", "a.b", "a0", "aa", "b", "\xff"};

	for (size_t i = 0; i < countof(sorted); i++)
		for (size_t k = 0; k < countof(sorted); k++) {
			struct str a = str_of(sorted[i]), b = str_of(sorted[k]);
			int c = str_cmp(a, b);

			ck_assert_int_eq((c > 0) - (c < 0), (i > k) - (i < k));
			ck_assert_int_eq(str_eq(a, b), i == k);
		}
	ck_assert(str_eq(STR("abc"), str_of("abc")));
	ck_assert(str_eq(str_of(NULL), STR("")));
	ck_assert(str_is(STR("abc"), "abc") && !str_is(STR("abc"), "abd"));
	ck_assert(!str_is(STR("ab"), "abc") && !str_is(STR("abc"), "ab"));
	ck_assert(!str_is(STR("a\0b"), "a") && !str_is(STR("a"), "") && !str_is(STR(""), "a"));
	ck_assert(str_is(STR(""), "") && str_is(STR(""), NULL) && !str_is(STR("a"), NULL));
}
END_TEST

START_TEST(buffers_grow)
{
	struct buf b = {0};
	char want[20];

	buf_add(&b, NULL, 0);
	for (int i = 0; i < 10000; i++) {
		buf_printf(&b, "%05d", i);
		buf_putc(&b, ' ');
		buf_puts(&b, "x");
		buf_addstr(&b, STR("yz"));
	}
	ck_assert_uint_eq(b.n, 10000 * 9);
	for (int i = 0; i < 10000; i += 37) {
		snprintf(want, sizeof(want), "%05d xyz", i);
		ck_assert(memcmp(b.p + i * 9, want, 9) == 0);
	}
	ck_assert_uint_eq(buf_str(&b).n, b.n);
	b.n = 0;
	buf_printf(&b, "%0300d|", 1); /* longer than most */
	for (int i = 1; i < 2000; i++)
		buf_printf(&b, "%*s|", i, "x");
	ck_assert_uint_eq(b.n, 301 + 1999 * 1000 + 1999);
	ck_assert(memcmp(b.p + b.n - 3, " x|", 3) == 0);
	buf_free(&b);
	ck_assert(!b.p && !b.n && !b.cap);
}
END_TEST

START_TEST(alignment)
{
	ck_assert_uint_eq(align_up(0u, 16), 0);
	ck_assert_uint_eq(align_up(1u, 16), 16);
	ck_assert_uint_eq(align_up(16u, 16), 16);
	ck_assert_uint_eq(align_up(UINT64_C(0x100000001), 4096), UINT64_C(0x100001000));
}
END_TEST

/* --- Logging ------------------------------------------------------------------------ */

/* What fn writes to stderr in a process of its own; *status is how it ends. */
static struct str logged_by(void (*fn)(void), const char *level, int *status)
{
	static char out[8192];
	ssize_t n, all = 0;
	int fds[2];
	pid_t pid;

	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	if (!pid) {
		dup2(fds[1], STDERR_FILENO);
		close(fds[1]);
		setenv("WEFT_LOG", level, 1);
		signal(SIGABRT, SIG_DFL);
		fn();
		_exit(0);
	}
	close(fds[1]);
	while ((n = read(fds[0], out + all, sizeof(out) - (size_t)all)) > 0)
		all += n;
	close(fds[0]);
	ck_assert_int_eq(waitpid(pid, status, 0), pid);
	return (struct str){out, (uint32_t)all};
}

static void log_each_level(void)
{
	log_debug("one %d", 1);
	log_info("two\nlines");
	log_warn("three");
	log_error("four");
}

START_TEST(levels_are_filtered)
{
	int status;

	ck_assert(str_eq(logged_by(log_each_level, "debug", &status),
			 STR("debug one 1\ninfo two lines\nwarn three\nerror four\n")));
	ck_assert(str_eq(logged_by(log_each_level, "warn", &status),
			 STR("warn three\nerror four\n")));
	ck_assert(str_eq(logged_by(log_each_level, "nonsense", &status),
			 STR("info two lines\nwarn three\nerror four\n")));
}
END_TEST

static void log_much(void)
{
	char many[5000];

	memset(many, 'm', sizeof(many) - 1);
	many[sizeof(many) - 1] = '\0';
	log_error("%s", many);
}

START_TEST(long_lines_are_cut)
{
	int status;
	struct str out = logged_by(log_much, "info", &status);

	ck_assert_uint_lt(out.n, 2100);
	ck_assert_int_eq(out.p[out.n - 1], '\n');
}
END_TEST

static void break_an_assertion(void)
{
	weft_assert(1 + 1 == 3);
}

START_TEST(assertions_name_the_place)
{
	int status;
	struct str out = logged_by(break_an_assertion, "error", &status);

	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	ck_assert(memmem(out.p, out.n, "test_base.c:", 12));
	ck_assert(memmem(out.p, out.n, "assertion failed: 1 + 1 == 3", 28));
}
END_TEST

/* --- Time --------------------------------------------------------------------------- */

START_TEST(formats)
{
	char sec[21], micro[28];

	time_format(0, sec);
	ck_assert_str_eq(sec, "1970-01-01T00:00:00Z");
	time_format(1709210096, sec);
	ck_assert_str_eq(sec, "2024-02-29T12:34:56Z");
	time_format(UINT32_MAX, sec);
	ck_assert_str_eq(sec, "2106-02-07T06:28:15Z");
	time_format_micro(INT64_C(1709210096000007999), micro);
	ck_assert_str_eq(micro, "2024-02-29T12:34:56.000007Z");
}
END_TEST

START_TEST(parses)
{
	static const struct {
		const char *text;
		int64_t ns;
	} good[] = {
		{"1970-01-01T00:00:00Z", 0},
		{"2024-02-29T12:34:56Z", INT64_C(1709210096000000000)},
		{"2024-02-29T12:34:56.5Z", INT64_C(1709210096500000000)},
		{"2024-02-29T12:34:56.000007Z", INT64_C(1709210096000007000)},
		{"2024-02-29T12:34:56.1234567891Z", INT64_C(1709210096123456789)},
		{"2024-02-29T13:34:56+01:00", INT64_C(1709210096000000000)},
		{"2024-02-29T07:04:56-05:30", INT64_C(1709210096000000000)},
		{"1969-12-31T23:59:59Z", INT64_C(-1000000000)},
		{"9999-12-31T23:59:59Z", INT64_MAX},
		{"0001-01-01T00:00:00Z", INT64_MIN},
	};
	int64_t ns;

	for (size_t i = 0; i < countof(good); i++) {
		ck_assert_msg(time_parse(str_of(good[i].text), &ns) == 0, "%s", good[i].text);
		ck_assert_msg(ns == good[i].ns, "%s: %lld", good[i].text, (long long)ns);
	}
}
END_TEST

START_TEST(refuses_what_is_no_time)
{
	static const char *const bad[] = {
		"",
		"2024",
		"2024-02-29",
		"2024-02-29T12:34:56",
		"2024-02-29 12:34:56Z",
		"2023-02-29T12:34:56Z",
		"2024-13-01T00:00:00Z",
		"2024-00-01T00:00:00Z",
		"2024-01-00T00:00:00Z",
		"2024-01-32T00:00:00Z",
		"2024-06-31T00:00:00Z",
		"2024-01-01T24:00:00Z",
		"2024-01-01T00:60:00Z",
		"2024-01-01T00:00:60Z",
		"2024-01-01T00:00:00.Z",
		"2024-01-01T00:00:00Zx",
		"2024-01-01T00:00:00+0100",
		"2024-01-01T00:00:00+24:00",
		"24-01-01T00:00:00Z",
		"2024-1-1T00:00:00Z",
	};
	int64_t ns;

	for (size_t i = 0; i < countof(bad); i++)
		ck_assert_msg(time_parse(str_of(bad[i]), &ns) == WEFT_EINVAL, "%s", bad[i]);
}
END_TEST

START_TEST(format_and_parse_agree)
{
	char text[28];
	int64_t ns;

	for (int64_t t = 0; t < UINT32_MAX; t += 7654321) {
		time_format_micro(t * 1000000000 + 123456000, text);
		ck_assert_int_eq(time_parse(str_of(text), &ns), 0);
		ck_assert_int_eq(ns, t * 1000000000 + 123456000);
	}
}
END_TEST

START_TEST(time_can_be_virtual)
{
	static struct clock_page page;
	int64_t wall = clock_wall_ns(), mono = clock_mono_ns();
	const int64_t week = INT64_C(7) * 86400 * 1000000000;

	ck_assert_int_le(mono, clock_mono_ns());
	clock_set_source(&page);
	atomic_store(&page.wall_offset_ns, week);
	atomic_store(&page.mono_offset_ns, 2 * week);
	ck_assert_int_ge(clock_wall_ns(), wall + week);
	ck_assert_int_lt(clock_wall_ns(), wall + week + week);
	ck_assert_int_ge(clock_mono_ns(), mono + 2 * week);
	ck_assert_int_ge(clock_mono_rough_ns(), mono + 2 * week - 100000000);
	ck_assert_int_le(clock_mono_rough_ns(), clock_mono_ns());
	ck_assert_uint_eq(clock_wall_s() / 86400, (uint64_t)(wall + week) / 1000000000 / 86400);
	clock_set_source(NULL);
	ck_assert_int_lt(clock_wall_ns(), wall + week);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("base");
	TCase *tc = tcase_create("base");

	tcase_add_test(tc, every_code_has_its_sentence);
	tcase_add_test(tc, codes_from_errno);
	tcase_add_test(tc, errors_collect_context);
	tcase_add_test(tc, long_errors_are_cut_and_say_so);
	tcase_add_test(tc, strings_order_bytewise);
	tcase_add_test(tc, buffers_grow);
	tcase_add_test(tc, alignment);
	tcase_add_test(tc, levels_are_filtered);
	tcase_add_test(tc, long_lines_are_cut);
	tcase_add_test(tc, assertions_name_the_place);
	tcase_add_test(tc, formats);
	tcase_add_test(tc, parses);
	tcase_add_test(tc, refuses_what_is_no_time);
	tcase_add_test(tc, format_and_parse_agree);
	tcase_add_test(tc, time_can_be_virtual);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}

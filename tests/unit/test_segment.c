/* test_segment.c - segments: who may attach to what, growing, removing. */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/pages.h"
#include "tests/unit/suite.h"
#include "weft/segment.h"

#define LAYOUT	  0x1234u
#define SIZE	  8192u
#define SIZE_MAX_ (UINT64_C(1) << 20)

static char name[SEG_NAME_MAX], prefix[32];
static struct err e;

static void setup(void)
{
	memset(&e, 0, sizeof(e));
	snprintf(prefix, sizeof(prefix), "/weft.test%d.", (int)getpid());
	snprintf(name, sizeof(name), "%sseg", prefix);
	seg_unlink_all(prefix, NULL); /* of one that failed, whose pid was ours */
}

static void teardown(void)
{
	seg_unlink_all(prefix, NULL);
}

static void create_up_to(struct seg *s, uint64_t size_max)
{
	ck_assert_msg(!seg_create(s, name, SEG_CACHE, LAYOUT, SIZE, size_max, &e), "%s", e.msg);
}

static void create(struct seg *s)
{
	create_up_to(s, SIZE_MAX_);
}

static int open_again(void)
{
	struct seg s;
	int rc = seg_open(&s, name, SEG_CACHE, LAYOUT, false, &e);

	if (!rc)
		seg_close(&s);
	return rc;
}

/* Attaching is refused with this code, and the message has these words. */
static void refused(int code, const char *words)
{
	char want[1200];

	ck_assert_int_eq(open_again(), code);
	ck_assert_int_eq(e.code, code);
	snprintf(want, sizeof(want), "segment '%s': ", name);
	ck_assert_msg(strncmp(e.msg, want, strlen(want)) == 0, "%s", e.msg);
	ck_assert_msg(strstr(e.msg, words), "'%s' is not in: %s", words, e.msg);
}

/* --- Creating and attaching --------------------------------------------------------- */

START_TEST(readers_see_what_the_owner_writes)
{
	struct seg w, r;

	create(&w);
	memcpy(w.base + 5000, "hello", 6);
	ck_assert_int_eq(seg_open(&r, name, SEG_CACHE, LAYOUT, false, &e), 0);
	ck_assert(!r.writable && r.base != w.base);
	ck_assert_uint_eq(r.size_max, SIZE_MAX_);
	ck_assert_str_eq(r.base + 5000, "hello");
	ck_assert_int_eq(seg_header(&r)->creator_pid, getpid());
	ck_assert_str_eq(seg_header(&r)->name, name);
	ck_assert_uint_eq(seg_header(&r)->kind, SEG_CACHE);
	seg_close(&r);
	seg_close(&w);
}
END_TEST

START_TEST(a_second_writer_may_open_writable)
{
	struct seg w, r;

	create(&w);
	ck_assert_int_eq(seg_open(&r, name, SEG_CACHE, LAYOUT, true, &e), 0);
	memcpy(r.base + 6000, "there", 6);
	ck_assert_str_eq(w.base + 6000, "there");
	seg_close(&r);
	seg_close(&w);
}
END_TEST

START_TEST(readers_cannot_write)
{
	struct seg w, r;
	int status;
	pid_t pid;

	create(&w);
	ck_assert_int_eq(seg_open(&r, name, SEG_CACHE, LAYOUT, false, &e), 0);
	pid = fork();
	if (!pid) {
		struct rlimit none = {0, 0};

		setrlimit(RLIMIT_CORE, &none);
		signal(SIGSEGV, SIG_DFL);
		r.base[5000] = 1;
		_exit(0);
	}
	waitpid(pid, &status, 0);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	seg_close(&r);
	seg_close(&w);
}
END_TEST

START_TEST(mode_is_0600_whatever_the_umask)
{
	struct stat st;
	struct seg s;

	umask(0);
	create(&s);
	fstat(s.fd, &st);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(st.st_size, SIZE);
	seg_close(&s);
}
END_TEST

START_TEST(a_name_that_is_taken_is_left_alone)
{
	struct seg s, other;

	create(&s);
	ck_assert_int_eq(seg_create(&other, name, SEG_CACHE, LAYOUT, SIZE, SIZE_MAX_, &e),
			 WEFT_EEXIST);
	ck_assert(strstr(e.msg, name));
	ck_assert_int_eq(open_again(), 0);
	seg_close(&s);
}
END_TEST

START_TEST(bad_arguments)
{
	static char longest[SEG_NAME_MAX + 1] = "/";
	const char *const names[] = {"", "/", "noslash", "/a/b", longest};
	struct seg s;

	memset(longest + 1, 'x', SEG_NAME_MAX - 1);
	for (size_t i = 0; i < countof(names); i++) {
		ck_assert_int_eq(seg_create(&s, names[i], SEG_CACHE, 1, SIZE, SIZE, &e),
				 WEFT_EINVAL);
		ck_assert_int_eq(seg_open(&s, names[i], SEG_CACHE, 1, false, &e), WEFT_EINVAL);
	}
	ck_assert_int_eq(seg_create(&s, name, SEG_CACHE, 1, 8, SIZE, &e), WEFT_EINVAL);
	ck_assert_int_eq(seg_create(&s, name, SEG_CACHE, 1, SIZE + 1, SIZE, &e), WEFT_EINVAL);
	ck_assert_int_eq(seg_open(&s, name, SEG_CACHE, 1, false, &e), WEFT_ENOENT);
}
END_TEST

/* --- Refusals ----------------------------------------------------------------------- */

START_TEST(refuses_nothing)
{
	refused(WEFT_ENOENT, "No such file");
}
END_TEST

START_TEST(refuses_what_is_not_finished)
{
	struct seg s;
	int fd = shm_open(name, O_CREAT | O_RDWR, 0600);

	refused(WEFT_EAGAIN, "not finished");
	ck_assert_int_eq(ftruncate(fd, SIZE), 0);
	refused(WEFT_EAGAIN, "not finished");
	close(fd);
	shm_unlink(name);
	create(&s);
	atomic_store(&seg_header(&s)->magic, 0);
	refused(WEFT_EAGAIN, "not finished");
	seg_close(&s);
}
END_TEST

START_TEST(refuses_what_differs)
{
	struct seg s;

	create(&s);
	atomic_store(&seg_header(&s)->magic, 0xbadbad);
	refused(WEFT_ELAYOUT, "magic is badbad, must be 77656674736567a1");
	atomic_store(&seg_header(&s)->magic, SEG_MAGIC);
	seg_header(&s)->kind = SEG_PROC;
	refused(WEFT_ELAYOUT, "kind is 3, this one has 2");
	seg_header(&s)->kind = SEG_CACHE;
	seg_header(&s)->layout = 0x777;
	refused(WEFT_ELAYOUT, "layout is 777, this one has 1234");
	seg_header(&s)->layout = LAYOUT;
	seg_header(&s)->build ^= 1;
	refused(WEFT_ELAYOUT, "build is ");
	seg_header(&s)->build ^= 1;
	ck_assert_int_eq(open_again(), 0);
	seg_close(&s);
}
END_TEST

START_TEST(refuses_what_others_can_touch)
{
	static const mode_t modes[] = {0640, 0604, 0660, 0666, 0601, 0700};
	struct seg s;

	create(&s);
	for (size_t i = 0; i < countof(modes); i++) {
		char words[64];

		ck_assert_int_eq(fchmod(s.fd, modes[i]), 0);
		snprintf(words, sizeof(words), "mode %04o, must be 0600", modes[i]);
		refused(WEFT_EFORBIDDEN, words);
	}
	ck_assert_int_eq(fchmod(s.fd, 0600), 0);
	if (geteuid() == 0) {
		ck_assert_int_eq(fchown(s.fd, 4242, (gid_t)-1), 0);
		refused(WEFT_EFORBIDDEN, "belongs to uid 4242, not to 0");
	}
	seg_close(&s);
}
END_TEST

START_TEST(refuses_what_is_short)
{
	struct seg s;

	create(&s);
	atomic_store(&seg_header(&s)->size, 10 * SIZE);
	refused(WEFT_ECORRUPT, "damaged: has 8192 bytes, its header says 81920");
	atomic_store(&seg_header(&s)->size, 8);
	refused(WEFT_ECORRUPT, "damaged");
	atomic_store(&seg_header(&s)->size, SIZE);
	ck_assert_int_eq(open_again(), 0);
	seg_header(&s)->size_max = SIZE / 2;
	refused(WEFT_ECORRUPT, "at most 4096");
	seg_header(&s)->size_max = SIZE_MAX_;
	ck_assert_int_eq(ftruncate(s.fd, 4096), 0);
	refused(WEFT_ECORRUPT, "has 4096 bytes, its header says 8192");
	ck_assert_int_eq(ftruncate(s.fd, 40), 0);
	refused(WEFT_ECORRUPT, "has 40 bytes");
	seg_close(&s);
}
END_TEST

/* Growing works the same whoever does it. */
static void create_growing(struct seg *s, uint64_t size_max, bool ahead)
{
	create_up_to(s, size_max);
	if (ahead)
		ck_assert_int_eq(seg_grow_ahead(s, &e), 0);
}

/* --- Growing ------------------------------------------------------------------------ */

START_TEST(grows_in_place)
{
	struct seg s, r;
	char *base;

	create_growing(&s, SIZE_MAX_, _i);
	ck_assert_int_eq(seg_open(&r, name, SEG_CACHE, LAYOUT, false, &e), 0);
	base = s.base;
	ck_assert_int_eq(seg_grow(&s, 64 * 1024, &e), 0);
	ck_assert_ptr_eq(s.base, base);
	ck_assert_uint_eq(seg_header(&r)->size, 64 * 1024);
	s.base[60000] = 'x';
	ck_assert_int_eq(r.base[60000], 'x');
	ck_assert_int_eq(seg_grow(&s, 4096, &e), 0); /* has that much already */
	ck_assert_uint_eq(seg_header(&r)->size, 64 * 1024);
	ck_assert_int_eq(seg_grow(&s, SIZE_MAX_ + 1, &e), WEFT_ENOMEM);
	ck_assert(strstr(e.msg, "at most 1048576"));
	ck_assert_int_eq(seg_grow(&s, SIZE_MAX_, &e), 0);
	ck_assert_int_eq(open_again(), 0);
	seg_close(&r);
	seg_close(&s);
}
END_TEST

/* A limit on file sizes stands for a machine without memory: both make
 * posix_fallocate() fail. */
START_TEST(growing_that_fails_changes_nothing)
{
	struct rlimit limit = {16 * 1024, RLIM_INFINITY};
	struct stat st;
	struct seg s, other;

	create_growing(&s, SIZE_MAX_, _i);
	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	ck_assert_int_eq(seg_grow(&s, 64 * 1024, &e), WEFT_ENOMEM);
	ck_assert_int_eq(e.code, WEFT_ENOMEM);
	ck_assert(strstr(e.msg, "grow to 65536 bytes"));
	ck_assert_uint_eq(seg_header(&s)->size, SIZE);
	fstat(s.fd, &st);
	ck_assert_int_eq(st.st_size, SIZE);
	ck_assert_int_eq(seg_grow(&s, 16 * 1024, &e), 0);
	ck_assert_uint_eq(seg_header(&s)->size, 16 * 1024);
	s.base[16000] = 1;
	/* and a segment that cannot be created leaves nothing behind */
	seg_unlink(name, NULL);
	ck_assert_int_ne(seg_create(&other, name, SEG_CACHE, LAYOUT, 64 * 1024, SIZE_MAX_, &e), 0);
	ck_assert(strstr(e.msg, "reserve 65536 bytes"));
	ck_assert_int_eq(seg_open(&other, name, SEG_CACHE, LAYOUT, false, &e), WEFT_ENOENT);
	seg_close(&s);
}
END_TEST

/* Steps of all sizes, each usable at once, while a thread works ahead. */
START_TEST(what_is_grown_ahead_is_there)
{
	uint64_t size = SIZE;
	struct seg s;

	create_growing(&s, SIZE_MAX_, true);
	for (unsigned i = 0; size < SIZE_MAX_; i++) {
		uint64_t before = size;

		size += 4096 * (1 + i % 17);
		size = size < SIZE_MAX_ ? size : SIZE_MAX_;
		ck_assert_int_eq(seg_grow(&s, size, &e), 0);
		ck_assert_uint_eq(seg_header(&s)->size, size);
		for (uint64_t at = before; at < size; at += 4096)
			ck_assert_int_eq(s.base[at]++, 0);
	}
	seg_close(&s);
}
END_TEST

/* Of the pages of the segment's file that this process has mapped: kB that lie in huge
 * pages, which its mapping in /proc/self/smaps tells. */
static long huge_kb(const struct seg *s)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	bool ours = false;
	long kb = -1;
	char line[512];

	ck_assert_ptr_nonnull(f);
	while (kb < 0 && fgets(line, sizeof(line), f)) {
		unsigned long from, to;

		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			ours = from == (uintptr_t)s->base;
		else if (ours)
			sscanf(line, "ShmemPmdMapped: %ld", &kb);
	}
	fclose(f);
	return kb;
}

/* Is `what` in the machine's setting for huge pages of shared memory?  (Some kernels are built
 * without.) */
static bool shmem_setting(const char *what)
{
	char text[128] = "";
	FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "r");

	if (f && !fgets(text, sizeof(text), f))
		text[0] = 0;
	if (f)
		fclose(f);
	return strstr(text, what);
}

/* Can this machine give huge pages at all?  "deny" means what it says. */
static bool has_huge_pages(void)
{
	return shmem_setting("[") && !shmem_setting("[deny]");
}

#define LARGE (UINT64_C(16) << 20)

/* In steps as an arena takes them: what huge pages cover is zero, the reader's view is the
 * owner's, and both have mapped them as such. */
START_TEST(grows_in_huge_pages)
{
	struct seg s, r;

	create_growing(&s, LARGE, _i);
	ck_assert_int_eq(seg_open(&r, name, SEG_CACHE, LAYOUT, false, &e), 0);
	ck_assert_uint_eq((uintptr_t)s.base % SEG_HUGE, 0);
	ck_assert_uint_eq((uintptr_t)r.base % SEG_HUGE, 0);
	for (uint64_t size = SIZE; size < LARGE;) {
		uint64_t next = seg_next(size) < LARGE ? seg_next(size) : LARGE;

		ck_assert_int_eq(seg_grow(&s, next, &e), 0);
		for (uint64_t at = size; at < next; at += 4096) {
			ck_assert_int_eq(s.base[at], 0);
			s.base[at] = (char)(at / 4096);
			ck_assert_int_eq(r.base[at], (char)(at / 4096));
		}
		size = next;
	}
	if (has_huge_pages() && huge_kb(&s) == 0)
		printf("this machine gave no huge page\n");
	else if (has_huge_pages())
		ck_assert_int_gt(huge_kb(&r), 0);
	seg_close(&r);
	seg_close(&s);
}
END_TEST

/* While small pages are cheaper, none is huge, unless the machine makes them so by itself.  On
 * a slow machine small pages may turn out to be slow, too: then a huge one is right again, and
 * if that is slow it is the turn of fewer small ones than here at first. */
START_TEST(grows_in_small_pages)
{
	struct seg s;

	create_growing(&s, LARGE, _i);
	s.pages.small = 1000;
	ck_assert_int_eq(seg_grow(&s, SEG_HUGE, &e), 0);
	ck_assert_int_eq(seg_grow(&s, LARGE, &e), 0);
	for (uint64_t at = SEG_HUGE; at < LARGE; at += 4096)
		ck_assert_int_eq(s.base[at]++, 0);
	if (s.pages.small <= PAGES_SMALL_MAX)
		printf("small pages were slow on this machine\n");
	else if (shmem_setting("[never]") || shmem_setting("[advise]"))
		ck_assert_int_eq(huge_kb(&s), 0);
	seg_close(&s);
	ck_assert_uint_lt(s.pages.small, 1000);
}
END_TEST

/* No memory for the second huge page: the file is as long as before, and what can be had
 * still is. */
START_TEST(huge_pages_that_cannot_be_had_change_nothing)
{
	struct rlimit limit = {SEG_HUGE + SEG_PAGE, RLIM_INFINITY};
	struct stat st;
	struct seg s;

	create_growing(&s, LARGE, _i);
	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	ck_assert_int_eq(seg_grow(&s, SEG_HUGE, &e), 0);
	ck_assert_int_eq(seg_grow(&s, 2 * SEG_HUGE, &e), WEFT_ENOMEM);
	fstat(s.fd, &st);
	ck_assert_int_eq(st.st_size, SEG_HUGE);
	ck_assert_uint_eq(seg_header(&s)->size, SEG_HUGE);
	ck_assert_int_eq(seg_grow(&s, SEG_HUGE + SEG_PAGE, &e), 0);
	limit.rlim_cur = RLIM_INFINITY;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	ck_assert_int_eq(seg_grow(&s, LARGE, &e), 0);
	for (uint64_t at = SEG_HUGE; at < LARGE; at += 4096)
		ck_assert_int_eq(s.base[at]++, 0);
	seg_close(&s);
}
END_TEST

/* How many small pieces follow, each as quick as it can be, until a huge page is tried. */
static unsigned small_pieces(struct seg_pages *p)
{
	unsigned n = 0;

	for (; !pages_huge(p); n++)
		pages_took(p, SEG_HUGE, 0);
	return n;
}

START_TEST(slow_huge_pages_are_not_asked_for)
{
	const int64_t slow = PAGES_SLOW_NS + 1;
	struct seg_pages p = {0};

	for (unsigned n = PAGES_SMALL_MIN; n <= 4 * PAGES_SMALL_MAX; n *= 2) {
		ck_assert(pages_huge(&p));
		pages_took(&p, SEG_HUGE, slow);
		ck_assert_uint_eq(small_pieces(&p), n < PAGES_SMALL_MAX ? n : PAGES_SMALL_MAX);
	}
	/* Small ones that are no quicker are not what to wait for. */
	pages_took(&p, SEG_HUGE, slow);
	pages_took(&p, SEG_HUGE, 0);
	ck_assert(!pages_huge(&p));
	pages_took(&p, SEG_HUGE, slow);
	ck_assert(pages_huge(&p));
	/* A quick huge page is followed by huge ones, and the next slow one by few small. */
	pages_took(&p, 8 * SEG_HUGE, 4 * slow);
	ck_assert(pages_huge(&p));
	pages_took(&p, 8 * SEG_HUGE, 8 * slow);
	ck_assert_uint_eq(small_pieces(&p), PAGES_SMALL_MIN);
}
END_TEST

/* --- Removing ----------------------------------------------------------------------- */

START_TEST(unlink_all_takes_its_prefix_only)
{
	char other[SEG_NAME_MAX];
	struct seg s;

	for (int i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "%s%d", prefix, i);
		create(&s);
		seg_close(&s);
	}
	snprintf(other, sizeof(other), "/weft.test%dx.seg", (int)getpid());
	ck_assert_int_eq(seg_create(&s, other, SEG_PROC, 1, SIZE, SIZE, &e), 0);
	seg_close(&s);
	ck_assert_int_eq(seg_unlink_all(prefix, &e), 5);
	ck_assert_int_eq(seg_unlink_all(prefix, &e), 0);
	ck_assert_int_eq(seg_open(&s, other, SEG_PROC, 1, false, &e), 0);
	seg_close(&s);
	ck_assert_int_eq(seg_unlink(other, &e), 0);
	ck_assert_int_eq(seg_unlink(other, &e), 0);
	ck_assert_int_eq(seg_unlink_all("/", &e), WEFT_EINVAL);
	ck_assert_int_eq(seg_unlink_all("", &e), WEFT_EINVAL);
}
END_TEST

START_TEST(what_nobody_holds_is_swept)
{
	char mine[SEG_NAME_MAX], part[SEG_NAME_MAX], left[SEG_NAME_MAX];
	struct seg held, other, gone;

	snprintf(mine, sizeof(mine), "%smine.control", prefix);
	snprintf(left, sizeof(left), "%sleft.control", prefix);
	snprintf(part, sizeof(part), "%sleft.cache", prefix);
	ck_assert_int_eq(seg_create(&held, mine, SEG_CONTROL, 1, SIZE, SIZE, &e), 0);
	seg_hold(&held);
	ck_assert_int_eq(seg_create(&gone, left, SEG_CONTROL, 1, SIZE, SIZE, &e), 0);
	seg_hold(&gone);
	ck_assert_int_eq(seg_create(&other, part, SEG_CACHE, 1, SIZE, SIZE, &e), 0);
	ck_assert_int_eq(seg_sweep(prefix, ".control"), 0); /* all new */
	sleep(SEG_SWEEP_S + 2); /* the time of a file's last change cannot be set */
	ck_assert_int_eq(seg_sweep(prefix, ".control"), 0); /* all held */
	seg_close(&gone);				    /* as when its maker dies */
	ck_assert_int_eq(seg_sweep(prefix, ".control"), 1);
	seg_close(&other);
	ck_assert_int_eq(seg_open(&other, part, SEG_CACHE, 1, false, &e), WEFT_ENOENT);
	ck_assert_int_eq(seg_open(&other, left, SEG_CONTROL, 1, false, &e), WEFT_ENOENT);
	ck_assert_int_eq(seg_open(&other, mine, SEG_CONTROL, 1, false, &e), 0);
	seg_close(&other);
	seg_close(&held);
	seg_unlink(mine, NULL);
}
END_TEST

START_TEST(a_mapping_outlives_its_name)
{
	struct seg s;

	create(&s);
	ck_assert_int_eq(seg_unlink(name, &e), 0);
	ck_assert_int_eq(seg_grow(&s, 16 * 1024, &e), 0);
	s.base[16000] = 1;
	seg_close(&s);
	seg_close(&s); /* harmless */
}
END_TEST

/* --- Signatures --------------------------------------------------------------------- */

START_TEST(signature_depends_on_every_word)
{
	uint64_t words[] = {sizeof(int), 8, 64, 1}, other[4];
	uint32_t sig = seg_signature(words, 4);

	ck_assert_uint_eq(seg_signature(words, 4), sig);
	ck_assert_uint_ne(seg_signature(words, 3), sig);
	for (int i = 0; i < 4; i++) {
		memcpy(other, words, sizeof(words));
		other[i]++;
		ck_assert_uint_ne(seg_signature(other, 4), sig);
	}
}
END_TEST

START_TEST(build_id_is_that_of_this_executable)
{
	uint64_t mine = weft_build_id(), theirs = 0;
	int fds[2];

	ck_assert_uint_ne(mine, 0);
	ck_assert_int_eq(pipe(fds), 0);
	if (!fork()) {
		theirs = weft_build_id();
		_exit(write(fds[1], &theirs, sizeof(theirs)) != sizeof(theirs));
	}
	ck_assert_int_eq(read(fds[0], &theirs, sizeof(theirs)), sizeof(theirs));
	ck_assert_uint_eq(mine, theirs);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("segment");
	TCase *tc = tcase_create("segment");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, readers_see_what_the_owner_writes);
	tcase_add_test(tc, a_second_writer_may_open_writable);
	tcase_add_test(tc, readers_cannot_write);
	tcase_add_test(tc, mode_is_0600_whatever_the_umask);
	tcase_add_test(tc, a_name_that_is_taken_is_left_alone);
	tcase_add_test(tc, bad_arguments);
	tcase_add_test(tc, refuses_nothing);
	tcase_add_test(tc, refuses_what_is_not_finished);
	tcase_add_test(tc, refuses_what_differs);
	tcase_add_test(tc, refuses_what_others_can_touch);
	tcase_add_test(tc, refuses_what_is_short);
	tcase_add_loop_test(tc, grows_in_place, 0, 2);
	tcase_add_loop_test(tc, growing_that_fails_changes_nothing, 0, 2);
	tcase_add_test(tc, what_is_grown_ahead_is_there);
	tcase_add_loop_test(tc, grows_in_huge_pages, 0, 2);
	tcase_add_loop_test(tc, grows_in_small_pages, 0, 2);
	tcase_add_loop_test(tc, huge_pages_that_cannot_be_had_change_nothing, 0, 2);
	tcase_add_test(tc, slow_huge_pages_are_not_asked_for);
	tcase_add_test(tc, unlink_all_takes_its_prefix_only);
	tcase_add_test(tc, a_mapping_outlives_its_name);
	tcase_add_test(tc, signature_depends_on_every_word);
	tcase_add_test(tc, build_id_is_that_of_this_executable);
	suite_add_tcase(suite, tc);
	tc = tcase_create("sweep");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 4 * SEG_SWEEP_S);
	tcase_add_test(tc, what_nobody_holds_is_swept);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}

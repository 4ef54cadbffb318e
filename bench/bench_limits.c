/*
 * bench_limits.c - what the machine itself can do: memory copied by one core, and
 * files appended to and synced, one after another, as the store's log does it.
 * No benchmark beside it can be faster than these.
 *
 *   bench_limits [RUNS] [DIR]
 */
#include <fcntl.h>

#include "bench.h"

#define COPY   (256u << 20)
#define SMALL  4096u
#define LARGE  (1u << 20)
#define SYNCS  500
#define PIECES 64

static const char *file_dir = ".";

/* GB/s from one half of a gigabyte to the other, larger than any cache. */
static double copy_rate(void)
{
	static char *from, *to;
	double start;

	if (!from) {
		from = malloc(COPY);
		to = malloc(COPY);
		if (!from || !to)
			weft_fatal("no memory to copy");
		memset(from, 1, COPY);
		memset(to, 2, COPY);
	}
	start = bench_cpu();
	memcpy(to, from, COPY);
	__asm__ volatile("" : : "r"(to) : "memory");
	return COPY / (bench_cpu() - start) / 1e9;
}

/* Seconds to write `n` pieces into a preallocated file, each synced. */
static double append(uint32_t piece, uint32_t n)
{
	static char bytes[LARGE];
	char name[512];
	double start;
	int fd;

	snprintf(name, sizeof(name), "%s/bench-limits-%d", file_dir, (int)getpid());
	fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0 || posix_fallocate(fd, 0, (off_t)piece * n))
		weft_fatal("cannot make a file in %s", file_dir);
	unlink(name);
	memset(bytes, 7, sizeof(bytes));
	/* Once over it, so that the file's blocks are written: the log recycles its own. */
	for (uint32_t i = 0; i < n; i++)
		if (pwrite(fd, bytes, piece, (off_t)piece * i) != (ssize_t)piece)
			weft_fatal("cannot write in %s", file_dir);
	fdatasync(fd);
	start = bench_now();
	for (uint32_t i = 0; i < n; i++)
		if (pwrite(fd, bytes, piece, (off_t)piece * i) != (ssize_t)piece || fdatasync(fd))
			weft_fatal("cannot sync in %s", file_dir);
	start = bench_now() - start;
	close(fd);
	return start;
}

int main(int argc, char **argv)
{
	struct bench copy = {
	    .name = "limit_memcpy", .what = "memory copied by one core", .unit = "GB/s"};
	struct bench sync = {
	    .name = "limit_sync", .what = "4 KiB written and synced, one by one", .unit = "/s"};
	struct bench bulk = {
	    .name = "limit_append", .what = "1 MiB written and synced, one by one", .unit = "MB/s"};
	int runs = bench_runs(argc, argv, 5);

	file_dir = argc > 2 ? argv[2] : ".";
	for (int i = 0; i < runs; i++) {
		bench_add(&copy, copy_rate());
		bench_add(&sync, SYNCS / append(SMALL, SYNCS));
		bench_add(&bulk, (double)LARGE * PIECES / append(LARGE, PIECES) / 1e6);
	}
	bench_report(&copy);
	bench_report(&sync);
	bench_report(&bulk);
	return 0;
}

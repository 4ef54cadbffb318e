/*
 * bench_limits.c - what the machine itself can do: memory copied by one core,
 * files appended to and synced, one after another, as the store's log does it, and
 * as many bytes as an event has under TLS sent to 1,000 sockets of another process.
 * No benchmark beside it can be faster than these.
 *
 *   bench_limits [RUNS] [DIR]
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "bench.h"

#define COPY	(256u << 20)
#define SMALL	4096u
#define LARGE	(1u << 20)
#define SYNCS	500
#define PIECES	64
#define SOCKETS 1000
#define RECORD	1450u /* bytes of an event under TLS */
#define ROUNDS	20

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

/* --- Sockets ------------------------------------------------------------------------ */

/* The other process: reads each connection in turn, as fast as it can. */
static void read_all(int *fd)
{
	char bytes[RECORD];

	for (;;)
		for (int i = 0; i < SOCKETS; i++)
			if (recv(fd[i], bytes, RECORD, MSG_WAITALL) <= 0)
				_exit(0);
}

/* Pairs of connections over loopback. */
static void connect_all(int *out, int *in)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(a);
	int door = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(door, (struct sockaddr *)&a, n) || listen(door, 1) ||
	    getsockname(door, (struct sockaddr *)&a, &n))
		weft_fatal("no socket");
	for (int i = 0; i < SOCKETS; i++) {
		in[i] = socket(AF_INET, SOCK_STREAM, 0);
		if (in[i] < 0 || connect(in[i], (struct sockaddr *)&a, n))
			weft_fatal("no socket");
		out[i] = accept(door, NULL, NULL);
	}
	close(door);
}

static void close_all(const int *fd)
{
	for (int i = 0; i < SOCKETS; i++)
		close(fd[i]);
}

/* Microseconds of the sender's CPU for each record. */
static double send_us(void)
{
	static const char record[RECORD];
	int out[SOCKETS], in[SOCKETS];
	double start;
	pid_t pid;

	connect_all(out, in);
	pid = fork();
	if (!pid) {
		close_all(out);
		read_all(in);
	}
	close_all(in);
	start = bench_cpu();
	for (int r = 0; r < ROUNDS; r++) {
		for (int i = 0; i < SOCKETS; i++)
			if (send(out[i], record, RECORD, MSG_NOSIGNAL) != RECORD)
				weft_fatal("cannot send");
		usleep(10000);
	}
	start = bench_cpu() - start;
	close_all(out);
	waitpid(pid, NULL, 0);
	return start * 1e6 / ROUNDS / SOCKETS;
}

int main(int argc, char **argv)
{
	struct bench copy = {
		.name = "limit_memcpy", .what = "memory copied by one core", .unit = "GB/s"};
	struct bench sync = {
		.name = "limit_sync", .what = "4 KiB written and synced, one by one", .unit = "/s"};
	struct bench bulk = {.name = "limit_append",
			     .what = "1 MiB written and synced, one by one",
			     .unit = "MB/s"};
	struct bench sent = {.name = "limit_send",
			     .what = "1,450 bytes to each of 1,000 sockets, CPU of the sender",
			     .unit = "us each",
			     .goal = BENCH_LOWER};
	int runs = bench_runs(argc, argv, 5);

	weft_raise_descriptors();
	file_dir = argc > 2 ? argv[2] : ".";
	for (int i = 0; i < runs; i++) {
		bench_add(&copy, copy_rate());
		bench_add(&sync, SYNCS / append(SMALL, SYNCS));
		bench_add(&bulk, (double)LARGE * PIECES / append(LARGE, PIECES) / 1e6);
		bench_add(&sent, send_us());
	}
	bench_report(&copy);
	bench_report(&sync);
	bench_report(&bulk);
	bench_report(&sent);
	return 0;
}

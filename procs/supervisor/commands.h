/*
 * commands.h - what the command line offers; each takes its own arguments
 * (argv[0] is the command's name) and returns the exit status: 0, 1 (failed) or
 * 2 (wrong usage).
 */
#ifndef PROCS_SUPERVISOR_COMMANDS_H
#define PROCS_SUPERVISOR_COMMANDS_H

#include <getopt.h>

#include "procs/supervisor/supervisor.h"

struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *usage; /* arguments */
	const char *brief; /* one line */
	const char *help;  /* the rest */
};

int command_up(int argc, char **argv);
int command_status(int argc, char **argv);
int command_top(int argc, char **argv);
int command_scale(int argc, char **argv);
int command_journal(int argc, char **argv);

/* "weft: <what>" and a pointer to `weft help NAME`, on stderr; returns 2. */
int command_usage(const char *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* getopt_long(), but a wrong option is told as command_usage() tells it; then '?'. */
int command_option(int argc, char **argv, const char *letters, const struct option *options);
/* "weft: <what>" on stderr; returns 1. */
int command_failed(const struct err *e);

/* Find the running cluster of `data` (NULL: the default directory): an error
 * says how to start one. */
int command_cluster(struct datadir *d, const char *data, struct err *e);

/* --- Looking at a running cluster from outside (view.c) ----------------------------- */

/* Places in PROC_COUNTERS. */
enum view_counter {
#define X(n, t) COUNTER_##n,
	PROC_COUNTERS(X)
#undef X
};

struct view_row {
	uint32_t slot, kind, shard, incarnation, state, restarts;
	int32_t pid;
	uint32_t generation;
	int64_t up_ms, beat_ms; /* age of the last heartbeat; -1: none yet */
	uint64_t out_used, out_size, in_used, in_size;
	uint64_t counter[64]; /* in the order of PROC_COUNTERS */
};

struct view {
	struct datadir dir;
	struct seg control_seg;
	const struct control *control;
	uint32_t nrows;
	struct view_row row[PROC_SLOTS];
};

/* Map the control segment of `data`'s cluster. */
int view_open(struct view *v, const char *data, struct err *e);
/* Read every process's state of now; only maps segments, asks nobody. */
void view_read(struct view *v);
void view_close(struct view *v);
/* The slot's state in a word, for people. */
const char *view_state(const struct view_row *row);
uint32_t view_counter_count(void);
const char *view_counter_name(uint32_t i);
const char *view_counter_text(uint32_t i);
/* A line for each kind that is scaled by itself: how many there are, and may be. */
void view_print_bounds(const struct view *v);

#endif

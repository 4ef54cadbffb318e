/*
 * mains.h - the main function of each process kind, `name`_main(), run in a
 * fresh process after its title is set; it returns the exit status.
 *
 * They are weak: a test links the library without any process, and a build
 * without a process's folder still runs the others.  kinds.c puts them into
 * the table of kinds, where one that is missing is NULL.
 */
#ifndef PROCS_LIB_MAINS_H
#define PROCS_LIB_MAINS_H

#include "weft/proc.h"

#define X(N, name, c, o, i, s, p) int name##_main(void) __attribute__((weak));
PROC_KINDS(X)
#undef X

#endif

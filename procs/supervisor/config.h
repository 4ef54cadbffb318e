/*
 * config.h - the configuration of a cluster: a YAML file whose every key is in
 * one table (config.c), from which come validation, defaults and the
 * documented file that `weft help config` prints.
 *
 * Children get it as JSON in the control segment, complete: defaults are filled
 * in, times are milliseconds and sizes bytes, both as numbers.
 */
#ifndef PROCS_SUPERVISOR_CONFIG_H
#define PROCS_SUPERVISOR_CONFIG_H

#include "procs/supervisor/autoscale.h"
#include "weft/proc.h"
#include "weft/value.h"

struct config {
	zone *z;
	value all; /* complete */
	/* What the supervisor itself needs, out of `all`. */
	uint32_t count[PROC_KIND_COUNT];
	struct {
		uint32_t min, max; /* 0, 0: the count is set by hand alone */
	} bounds[PROC_KIND_COUNT];
	struct autoscale_rules autoscale;
	int64_t stall_ms, stop_ms;
	struct str data;
	struct str log_level;
};

/* Read `text` (the file `name`; empty text: all defaults).  WEFT_EINVAL with
 * "name:line: key: what is wrong".  config_free() in any case. */
int config_read(struct config *c, const char *name, struct str text, struct err *e);
/* The same from a file; NULL: all defaults. */
int config_load(struct config *c, const char *path, struct err *e);
void config_free(struct config *c);

/* Override one key, as an option of the command line does; `option` names it
 * in errors. */
int config_set(struct config *c, const char *option, const char *key, const char *text,
	       struct err *e);

/* Every key with its default and what it is for, as a YAML file. */
void config_print(struct buf *out);
/* Calls `cb` for each key of the table. */
void config_each_key(void (*cb)(void *arg, const char *path, const char *absent, const char *help),
		     void *arg);

/* "127.0.0.1:6443", "[::1]:0": splits; false if malformed. */
bool config_listen_split(struct str text, struct str *host, uint16_t *port);

#endif

/* main.c - the one executable: a command of the user's, or (by its title,
 * "weft: replicaset/1") a process that the supervisor started. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "procs/supervisor/commands.h"

#define VERSION "0.1.0"
#define TITLE	"weft: "

static int command_version(int argc, char **argv);
static int command_help(int argc, char **argv);

static const struct command commands[] = {
	{"up", command_up, "[-c CONFIG.yaml] [--data DIR] [--nodes N] [--listen ADDR:PORT]",
	 "run a cluster in the foreground",
	 "Starts every process and prints one line, `ready` with the address and the path of a\n"
	 "kubeconfig, once it serves.  Ctrl-C or SIGTERM stops it in order; what was acknowledged\n"
	 "is there when it is started again on the same directory.\n\n"
	 "  -c, --config FILE   configuration; `weft help config` shows every key\n"
	 "  --data DIR          directory of everything that lasts; default /var/lib/weft for root,\n"
	 "                      $XDG_DATA_HOME/weft for others\n"
	 "  --nodes N           simulated nodes (default 3)\n"
	 "  --listen ADDR:PORT  of the API (default 127.0.0.1:6443); port 0 picks a free one\n"},
	{"status", command_status, "[--data DIR] [--json]", "show the processes of a cluster",
	 "QUEUE is what waits for a process and WAITS for how long; OUT and IN say how full its\n"
	 "rings to and from the store are.  Exit status 0 if all processes run, 1 if one does not\n"
	 "or no cluster runs.\n\n"
	 "  --data DIR  the cluster's directory; default as for `weft up`\n"
	 "  --json      every counter, and the cache's memory\n"},
	{"top", command_top, "[--data DIR] [-n COUNT]", "show them live, with rates and memory",
	 "Once a second, until Ctrl-C or until the cluster stops.  It only reads shared memory, so\n"
	 "it works while a process hangs.  Above the processes: the cache's memory by what it holds,\n"
	 "how far back in the journal a watch can go, how far the checkpoint is behind, and what\n"
	 "the store writes.  OWN MiB is what a process has for itself; QUEUE, WAITS, OUT and IN are\n"
	 "as in `weft status`.\n\n"
	 "  --data DIR       the cluster's directory; default as for `weft up`\n"
	 "  -n, --count N    end after N pages\n"},
	{"scale", command_scale, "[--data DIR] PROCESS=N...",
	 "change how many processes of a kind run",
	 "While the cluster runs: `weft scale replicaset=4 gc=2` (or `replicaset 4 gc 2`).  Returns\n"
	 "when the new numbers are in force.  `weft status` shows the names; the store and the\n"
	 "checkpoint are always one.  The next `weft up` starts what its configuration says.\n\n"
	 "  --data DIR  the cluster's directory; default as for `weft up`\n"},
	{"journal", command_journal, "[--data DIR] [--after RESOURCEVERSION] [-f]",
	 "print every change with its cause",
	 "One JSON object a line: the resourceVersion, the object, `by` which kind of process (and\n"
	 "in which slot of `weft status --json`) it was written, and `because` of which\n"
	 "resourceVersion: that of the object which the writer was looking at.  What has left the\n"
	 "window is told as `missed`.  It only reads shared memory, and holds nobody up.\n\n"
	 "  --data DIR     the cluster's directory; default as for `weft up`\n"
	 "  --after N      changes after this resourceVersion; default: all that are there\n"
	 "  -f, --follow   go on with those to come, until Ctrl-C or until the cluster stops\n"},
	{"version", command_version, "", "print the version", ""},
	{"help", command_help, "[COMMAND | config]", "explain a command, or the configuration", ""},
};

int command_usage(const char *command, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "weft: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, " (see `weft help%s%s`)\n", command ? " " : "", command ? command : "");
	return 2;
}

int command_option(int argc, char **argv, const char *letters, const struct option *options)
{
	int opt;

	opterr = 0;
	opt = getopt_long(argc, argv, letters, options, NULL);
	if (opt != ':' && opt != '?')
		return opt;
	if (opt == ':')
		command_usage(argv[0], "'%s' needs a value", argv[optind - 1]);
	else if (optopt)
		command_usage(argv[0], "there is no option '-%c'", optopt);
	else
		command_usage(argv[0], "there is no option '%s'", argv[optind - 1]);
	return '?';
}

int command_failed(const struct err *e)
{
	fprintf(stderr, "weft: %s\n", e->msg);
	return 1;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < countof(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

static int command_version(int argc, char **argv)
{
	if (argc > 1)
		return command_usage("version", "'%s' is not expected", argv[1]);
	printf("weft " VERSION " (build %016llx)\n", (unsigned long long)weft_build_id());
	return 0;
}

static void list_commands(FILE *out)
{
	fprintf(out,
		"usage: weft COMMAND [ARGUMENTS]\n\n"
		"A Kubernetes cluster on one machine, its nodes simulated; kubectl is the client.\n\n");
	for (size_t i = 0; i < countof(commands); i++)
		fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].brief);
	fprintf(out,
		"\n`weft help COMMAND` says more; `weft help config` prints every configuration key.\n");
}

static int command_help(int argc, char **argv)
{
	const struct command *c;

	if (argc < 2) {
		list_commands(stdout);
		return 0;
	}
	if (strcmp(argv[1], "config") == 0) {
		struct buf out = {0};

		config_print(&out);
		fwrite(out.p, 1, out.n, stdout);
		buf_free(&out);
		return 0;
	}
	c = find_command(argv[1]);
	if (!c)
		return command_usage(NULL, "there is no command '%s'", argv[1]);
	printf("usage: weft %s %s\n\n%c%s.\n%s%s", c->name, c->usage, c->brief[0] - 'a' + 'A',
	       c->brief + 1, *c->help ? "\n" : "", c->help);
	return 0;
}

static bool asks_for_help(int argc, char **argv)
{
	for (int i = 2; i < argc; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return true;
	return false;
}

/* "weft: replicaset/1": run that process. */
static int run_process(const char *title)
{
	const char *name = title + strlen(TITLE);
	int kind = proc_kind_by_name((struct str){name, (uint32_t)strcspn(name, "/")});
	char comm[16];

	if (kind < 0 || !proc_kind_info((enum proc_kind)kind)->main) {
		log_error("there is no process '%s' in this build", name);
		return 2;
	}
	snprintf(comm, sizeof(comm), "weft:%s", name);
	prctl(PR_SET_NAME, comm);
	return proc_kind_info((enum proc_kind)kind)->main();
}

int main(int argc, char **argv)
{
	const struct command *c;

	if (argc > 0 && strncmp(argv[0], TITLE, strlen(TITLE)) == 0)
		return run_process(argv[0]);
	if (argc < 2) {
		list_commands(stderr);
		return 2;
	}
	c = find_command(argv[1]);
	if (!c && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
		c = find_command("help");
	if (!c && strcmp(argv[1], "--version") == 0)
		c = find_command("version");
	if (!c)
		return command_usage(NULL, "there is no command '%s'", argv[1]);
	if (asks_for_help(argc, argv))
		return command_help(2, (char *[]){"help", (char *)c->name});
	return c->run(argc - 1, argv + 1);
}

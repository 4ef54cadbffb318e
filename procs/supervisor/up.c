/* up.c - `weft up`. */
#include "procs/supervisor/commands.h"

#include <stdio.h>
#include <stdlib.h>

/* Where data goes: the option, else the configuration, else the default. */
static int choose_data(const struct config *c, const char *option, char out[512], struct err *e)
{
	int n;

	if (!option && !c->data.n)
		return datadir_default(out, e);
	n = option ? snprintf(out, 512, "%s", option)
		   : snprintf(out, 512, STR_FMT, STR_ARG(c->data));
	return n > 0 && n < 512 ? 0
				: err_set(e, WEFT_EINVAL, "the data directory's path is too long");
}

int command_up(int argc, char **argv)
{
	static const struct option options[] = {{"config", required_argument, NULL, 'c'},
						{"data", required_argument, NULL, 'd'},
						{"nodes", required_argument, NULL, 'n'},
						{"listen", required_argument, NULL, 'l'},
						{0}};
	const char *file = NULL, *data = NULL, *nodes = NULL, *listen = NULL;
	struct config config = {0};
	struct err e = {0};
	char path[512];
	int opt, rc;

	while ((opt = command_option(argc, argv, ":c:", options)) != -1) {
		if (opt == 'c')
			file = optarg;
		else if (opt == 'd')
			data = optarg;
		else if (opt == 'n')
			nodes = optarg;
		else if (opt == 'l')
			listen = optarg;
		else
			return 2;
	}
	if (optind < argc)
		return command_usage("up", "'%s' is not expected", argv[optind]);
	rc = config_load(&config, file, &e);
	if (!rc && nodes)
		rc = config_set(&config, "--nodes", "nodes.count", nodes, &e);
	if (!rc && listen)
		rc = config_set(&config, "--listen", "listen", listen, &e);
	if (!rc)
		rc = choose_data(&config, data, path, &e);
	if (!rc)
		return supervisor_run(&config, path);
	config_free(&config);
	command_failed(&e);
	return rc == WEFT_EINVAL ? 2 : 1;
}

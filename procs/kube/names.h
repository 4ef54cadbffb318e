/*
 * names.h - the forms of names in Kubernetes, and its words for what is wrong.
 *
 * Each function adds the texts (static strings) of what is wrong with `s`.
 */
#ifndef KUBE_NAMES_H
#define KUBE_NAMES_H

#include "weft/base.h"

#define TEXTS_MAX 8

struct texts {
	const char *text[TEXTS_MAX];
	uint32_t n;
};

typedef void name_check(struct texts *t, struct str s);

name_check names_subdomain;    /* RFC 1123 subdomain: most objects' names */
name_check names_label;	       /* RFC 1123 label: namespaces, containers, volumes */
name_check names_path_segment; /* anything that may be one part of a path */
name_check names_qualified;    /* label keys, taints, finalizers */
name_check names_label_value;
name_check names_config_key; /* keys of ConfigMaps and Secrets */
name_check names_port;	     /* named ports */
name_check names_env;	     /* environment variables */
name_check names_http_header;
name_check names_percent; /* "25%" */
name_check names_ip;	  /* an IPv4 or IPv6 address */
name_check names_cidr;
name_check names_search_domain; /* a subdomain that may have underscores */
name_check names_cron_job;	/* a subdomain that leaves room for Jobs' names */
name_check names_any;		/* no rule */

#endif

/* target.h - inside of struct target, for http.c. */
#ifndef LOAD_TARGET_H
#define LOAD_TARGET_H

#include <gnutls/gnutls.h>

struct target {
	char host[256], port[8];
	char authorization[4096]; /* the header, or empty */
	gnutls_certificate_credentials_t credentials;
};

#endif

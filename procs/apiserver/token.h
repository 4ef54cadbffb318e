/*
 * token.h - ServiceAccount tokens: JSON web tokens signed with ES256.
 */
#ifndef WEFT_APISERVER_TOKEN_H
#define WEFT_APISERVER_TOKEN_H

#include "procs/apiserver/api.h"

/* What a token is bound to. */
struct bound {
	bool there, uid_good;
	struct str name;
	uint8_t uid[16];
};

/* A token that we have signed; constant but for the references. */
struct token {
	unsigned refs; /* requests, and the table of those that are known */
	zone *z;
	struct str text;
	struct user user;
	int64_t begins_s, ends_s; /* wall */
	bool issued_here;
	struct str ns;
	struct bound account, pod;
};

/* The token of this text, if it is one of ours, in time, and its ServiceAccount
 * (and the pod it is bound to) still exist; NULL: *why says what is wrong.  To be
 * given back with token_drop(). */
struct token *token_check(struct api *api, struct str text, struct str *why);
void token_drop(struct token *t); /* may be NULL */
/* Frees what is remembered of tokens. */
void tokens_forget(struct api *api);

/* GET /.well-known/openid-configuration, /openid/v1/jwks: what others need to
 * check our tokens. */
enum outcome openid_configuration(struct request *q);
enum outcome openid_keys(struct request *q);

#endif

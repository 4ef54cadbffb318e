/*
 * token.h - ServiceAccount tokens: JSON web tokens signed with ES256.
 */
#ifndef WEFT_APISERVER_TOKEN_H
#define WEFT_APISERVER_TOKEN_H

#include "procs/apiserver/api.h"

/* True if `token` is one of ours, in time, and its ServiceAccount (and the pod
 * it is bound to) still exist: then *u is its user; strings are in the zone. */
bool token_user(struct api *api, zone *z, struct str token, struct user *u);
/* Frees what is remembered of tokens. */
void tokens_forget(struct api *api);
/* Does the work of token_user; *why says what is wrong. */
bool token_check(struct api *api, zone *z, struct str token, struct user *u, struct str *why);

/* GET /.well-known/openid-configuration, /openid/v1/jwks: what others need to
 * check our tokens. */
enum outcome openid_configuration(struct request *q);
enum outcome openid_keys(struct request *q);

#endif

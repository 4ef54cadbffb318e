/* target.c - a cluster to put load on, from its kubeconfig. */
#include <stdio.h>
#include <string.h>

#include "bench/load/http.h"
#include "bench/load/target.h"
#include "weft/json.h"

static struct str read_file(zone *z, const char *path)
{
	struct buf text = {0};
	FILE *f = fopen(path, "r");
	char piece[4096];
	struct str s;
	size_t n;

	if (!f)
		weft_fatal("cannot read %s", path);
	while ((n = fread(piece, 1, sizeof(piece), f)) > 0)
		buf_add(&text, piece, n);
	fclose(f);
	s = zone_str(z, buf_str(&text));
	buf_free(&text);
	return s;
}

/* The element of `list` that is called `name`: its member `what`. */
static value *named(value *config, const char *list, struct str name, const char *what)
{
	v_each(el, v_get(config, list))
		if (str_eq(v_get_str(el, "name"), name))
			return v_get(el, what);
	weft_fatal("the kubeconfig has no %s '" STR_FMT "'", what, STR_ARG(name));
}

/* `key`-data, or the file that `key` names; empty if there is neither. */
static struct str pem(zone *z, const value *v, const char *key)
{
	struct str data = v_get_str(v, zone_printf(z, "%s-data", key).p);
	struct str file = v_get_str(v, key);
	gnutls_datum_t in = {(unsigned char *)data.p, data.n}, out;

	if (!data.n)
		return file.n ? read_file(z, zone_printf(z, STR_FMT, STR_ARG(file)).p) : file;
	if (gnutls_base64_decode2(&in, &out))
		weft_fatal("the kubeconfig's %s-data is not base64", key);
	data = zone_str(z, (struct str){(char *)out.data, out.size});
	gnutls_free(out.data);
	return data;
}

static gnutls_datum_t datum(struct str s)
{
	return (gnutls_datum_t){(unsigned char *)s.p, s.n};
}

static void set_credentials(struct target *t, zone *z, const value *cluster, const value *user)
{
	gnutls_datum_t ca = datum(pem(z, cluster, "certificate-authority"));
	gnutls_datum_t crt = datum(pem(z, user, "client-certificate"));
	gnutls_datum_t key = datum(pem(z, user, "client-key"));
	struct str token = v_get_str(user, "token");

	if (gnutls_certificate_allocate_credentials(&t->credentials))
		weft_fatal("no memory for credentials");
	if (ca.size)
		gnutls_certificate_set_x509_trust_mem(t->credentials, &ca, GNUTLS_X509_FMT_PEM);
	if (crt.size && gnutls_certificate_set_x509_key_mem(t->credentials, &crt, &key,
							    GNUTLS_X509_FMT_PEM) < 0)
		weft_fatal("the kubeconfig's client certificate cannot be used");
	if (token.n)
		snprintf(t->authorization, sizeof(t->authorization), "Bearer " STR_FMT,
			 STR_ARG(token));
}

static void set_address(struct target *t, struct str server)
{
	char text[sizeof(t->host) + sizeof(t->port) + 16], *host = text, *port;

	snprintf(text, sizeof(text), STR_FMT, STR_ARG(server));
	if (strncmp(text, "https://", 8) != 0)
		weft_fatal("the server '%s' does not speak TLS", text);
	host += 8;
	host[strcspn(host, "/")] = '\0';
	port = strrchr(host, ':');
	if (port)
		*port++ = '\0';
	snprintf(t->host, sizeof(t->host), "%.255s", host);
	snprintf(t->port, sizeof(t->port), "%.7s", port ? port : "443");
}

struct target *target_open(const char *kubeconfig)
{
	struct target *t = calloc(1, sizeof(*t));
	zone *z = zone_new();
	value config, *context, *cluster;
	struct err e = {0};

	if (!t || yaml_decode(z, read_file(z, kubeconfig), &config, NULL, &e))
		weft_fatal("%s: %s", kubeconfig, e.msg);
	context = named(&config, "contexts", v_get_str(&config, "current-context"), "context");
	cluster = named(&config, "clusters", v_get_str(context, "cluster"), "cluster");
	set_address(t, v_get_str(cluster, "server"));
	set_credentials(t, z, cluster, named(&config, "users", v_get_str(context, "user"), "user"));
	zone_free(z);
	return t;
}

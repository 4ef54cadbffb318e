/*
 * certs.c - keys and certificates of its own making, and the admin's
 * kubeconfig.
 *
 * DIR/pki holds ca, apiserver and admin as .crt and .key, and sa.key; all keys
 * and directories are the owner's alone.  The first apiserver makes what is
 * missing under a lock; the others, and later starts, read it.  Keys are ECDSA
 * P-256: making all of them takes a few milliseconds.
 */
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "procs/apiserver/api.h"

#define YEAR_S	     (365 * 24 * 3600)
#define CA_YEARS     10
#define RENEW_S	     (30 * 24 * 3600) /* a certificate with less left is made anew */
#define SERIAL_BYTES 16
#define DIR_LEN	     1024
#define PATH_LEN     (DIR_LEN + 64)

/* --- Files -------------------------------------------------------------------------- */

static int read_all(const char *path, struct str *out)
{
	gnutls_datum_t d;

	if (gnutls_load_file(path, &d))
		return WEFT_ENOENT;
	/* GnuTLS is given C strings. */
	char *p = malloc(d.size + 1u);

	weft_assert(p);
	memcpy(p, d.data, d.size);
	p[d.size] = '\0';
	*out = (struct str){p, d.size};
	gnutls_free(d.data);
	return WEFT_OK;
}

/* A whole file or none: written beside, synced, renamed. */
static int write_all(const char *path, struct str text, mode_t mode, struct err *e)
{
	char tmp[PATH_LEN + 16];
	int fd, bad;

	snprintf(tmp, sizeof(tmp), "%s.new", path);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	if (fd < 0)
		return err_errno(e, errno, "create '%s'", tmp);
	bad = fchmod(fd, mode) || write(fd, text.p, text.n) != (ssize_t)text.n || fsync(fd);
	if (close(fd) || bad || rename(tmp, path)) {
		int why = errno;

		unlink(tmp);
		return err_errno(e, why, "write '%s'", path);
	}
	return WEFT_OK;
}

/* --- Making certificates ------------------------------------------------------------ */

static int tls_err(struct err *e, int ret, const char *what)
{
	return err_set(e, WEFT_ESYS, "%s: %s", what, gnutls_strerror(ret));
}

/* What a certificate is for. */
struct cert_wish {
	const char *file;    /* "apiserver" */
	const char *name;    /* common name */
	const char *org;     /* organisation, or NULL */
	const char *purpose; /* key purpose OID; NULL: an authority */
	const char *hosts;   /* more names and addresses, by commas; NULL: no names */
	struct str *cert, *key;
};

static void add_host(gnutls_x509_crt_t crt, const char *host)
{
	unsigned char ip[16];

	if (inet_pton(AF_INET, host, ip) == 1)
		gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, ip, 4,
						     GNUTLS_FSAN_APPEND);
	else if (inet_pton(AF_INET6, host, ip) == 1)
		gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, ip, 16,
						     GNUTLS_FSAN_APPEND);
	else if (*host)
		gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_DNSNAME, host,
						     (unsigned)strlen(host), GNUTLS_FSAN_APPEND);
}

static void add_hosts(gnutls_x509_crt_t crt, const char *more)
{
	static const char *const always[] = {
		"localhost",
		"127.0.0.1",
		"::1",
		"10.0.0.1",
		"kubernetes",
		"kubernetes.default",
		"kubernetes.default.svc",
		"kubernetes.default.svc.cluster.local",
	};
	char host[256];
	char *copy = strdup(more ? more : ""), *save = NULL;

	for (size_t i = 0; i < countof(always); i++)
		add_host(crt, always[i]);
	if (!gethostname(host, sizeof(host)))
		add_host(crt, host);
	for (char *h = copy ? strtok_r(copy, ", ", &save) : NULL; h;
	     h = strtok_r(NULL, ", ", &save))
		add_host(crt, h);
	free(copy);
}

static void set_serial(gnutls_x509_crt_t crt)
{
	unsigned char serial[SERIAL_BYTES];

	gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof(serial));
	serial[0] &= 0x7f;
	serial[0] |= 0x40;
	gnutls_x509_crt_set_serial(crt, serial, sizeof(serial));
}

static void set_key_id(gnutls_x509_crt_t crt, gnutls_x509_crt_t from, bool authority)
{
	unsigned char id[64];
	size_t n = sizeof(id);

	if (gnutls_x509_crt_get_key_id(from, 0, id, &n))
		return;
	if (authority)
		gnutls_x509_crt_set_authority_key_id(crt, id, n);
	else
		gnutls_x509_crt_set_subject_key_id(crt, id, n);
}

static void fill_cert(gnutls_x509_crt_t crt, const struct cert_wish *w)
{
	time_t now = (time_t)clock_wall_s();

	gnutls_x509_crt_set_version(crt, 3);
	set_serial(crt);
	gnutls_x509_crt_set_activation_time(crt, now - 3600);
	gnutls_x509_crt_set_expiration_time(crt, now + (time_t)CA_YEARS * YEAR_S);
	gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, w->name,
				      (unsigned)strlen(w->name));
	if (w->org)
		gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_ORGANIZATION_NAME, 0, w->org,
					      (unsigned)strlen(w->org));
	if (!w->purpose) {
		gnutls_x509_crt_set_basic_constraints(crt, 1, -1);
		gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN |
							   GNUTLS_KEY_DIGITAL_SIGNATURE);
		return;
	}
	gnutls_x509_crt_set_basic_constraints(crt, 0, -1);
	gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_DIGITAL_SIGNATURE);
	gnutls_x509_crt_set_key_purpose_oid(crt, w->purpose, 0);
	if (w->hosts)
		add_hosts(crt, w->hosts);
}

static int new_key(gnutls_x509_privkey_t *key)
{
	int ret = gnutls_x509_privkey_init(key);

	if (!ret)
		ret = gnutls_x509_privkey_generate(
			*key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
	return ret;
}

static int export_pem(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key, const char *dir,
		      const struct cert_wish *w, struct err *e)
{
	char path[PATH_LEN];
	gnutls_datum_t pem = {0};
	int ret = gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &pem);

	if (ret)
		return tls_err(e, ret, "export a key");
	snprintf(path, sizeof(path), "%s/%s.key", dir, w->file);
	ret = write_all(path, (struct str){(char *)pem.data, pem.size}, 0600, e);
	gnutls_free(pem.data);
	if (ret || !crt)
		return ret;
	ret = gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem);
	if (ret)
		return tls_err(e, ret, "export a certificate");
	snprintf(path, sizeof(path), "%s/%s.crt", dir, w->file);
	ret = write_all(path, (struct str){(char *)pem.data, pem.size}, 0644, e);
	gnutls_free(pem.data);
	return ret;
}

/* Make key and certificate, signed by the authority in `pki` (or by itself). */
static int make_cert(const struct pki *pki, const char *dir, const struct cert_wish *w,
		     struct err *e)
{
	gnutls_x509_privkey_t key = NULL, ca_key = NULL;
	gnutls_x509_crt_t crt = NULL, ca = NULL;
	gnutls_datum_t d;
	int ret = new_key(&key);

	if (!ret)
		ret = gnutls_x509_crt_init(&crt);
	if (ret)
		goto out;
	fill_cert(crt, w);
	gnutls_x509_crt_set_key(crt, key);
	set_key_id(crt, crt, false);
	if (w->purpose) {
		ret = gnutls_x509_crt_init(&ca);
		if (!ret)
			ret = gnutls_x509_privkey_init(&ca_key);
		d = (gnutls_datum_t){(unsigned char *)pki->ca_cert.p, pki->ca_cert.n};
		if (!ret)
			ret = gnutls_x509_crt_import(ca, &d, GNUTLS_X509_FMT_PEM);
		d = (gnutls_datum_t){(unsigned char *)pki->ca_key.p, pki->ca_key.n};
		if (!ret)
			ret = gnutls_x509_privkey_import(ca_key, &d, GNUTLS_X509_FMT_PEM);
		if (ret)
			goto out;
		set_key_id(crt, ca, true);
	}
	ret = gnutls_x509_crt_sign2(crt, ca ? ca : crt, ca_key ? ca_key : key, GNUTLS_DIG_SHA256,
				    0);
out:
	ret = ret ? tls_err(e, ret, "make a certificate") : export_pem(crt, key, dir, w, e);
	if (ca)
		gnutls_x509_crt_deinit(ca);
	if (ca_key)
		gnutls_x509_privkey_deinit(ca_key);
	if (crt)
		gnutls_x509_crt_deinit(crt);
	if (key)
		gnutls_x509_privkey_deinit(key);
	return ret;
}

static gnutls_x509_crt_t cert_read(struct str pem)
{
	gnutls_x509_crt_t crt = NULL;
	gnutls_datum_t d = {(unsigned char *)pem.p, pem.n};

	if (gnutls_x509_crt_init(&crt))
		return NULL;
	if (!gnutls_x509_crt_import(crt, &d, GNUTLS_X509_FMT_PEM))
		return crt;
	gnutls_x509_crt_deinit(crt);
	return NULL;
}

static gnutls_x509_privkey_t key_read(struct str pem)
{
	gnutls_x509_privkey_t key = NULL;
	gnutls_datum_t d = {(unsigned char *)pem.p, pem.n};

	if (gnutls_x509_privkey_init(&key))
		return NULL;
	if (!gnutls_x509_privkey_import(key, &d, GNUTLS_X509_FMT_PEM))
		return key;
	gnutls_x509_privkey_deinit(key);
	return NULL;
}

/* The key is the certificate's. */
static bool belongs(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key)
{
	unsigned char a[64], b[64];
	size_t an = sizeof(a), bn = sizeof(b);

	return !gnutls_x509_crt_get_key_id(crt, GNUTLS_KEYID_USE_SHA256, a, &an) &&
	       !gnutls_x509_privkey_get_key_id(key, GNUTLS_KEYID_USE_SHA256, b, &bn) && an == bn &&
	       !memcmp(a, b, an);
}

static bool signed_by(gnutls_x509_crt_t crt, struct str authority)
{
	gnutls_x509_crt_t ca = cert_read(authority);
	unsigned status = 1;
	bool good;

	if (!ca)
		return false;
	good = !gnutls_x509_crt_verify(crt, &ca, 1, 0, &status) &&
	       !(status & (GNUTLS_CERT_SIGNER_NOT_FOUND | GNUTLS_CERT_SIGNATURE_FAILURE));
	gnutls_x509_crt_deinit(ca);
	return good;
}

/* The certificate names every host in `more`. */
static bool names_hosts(gnutls_x509_crt_t crt, const char *more)
{
	char *copy = strdup(more ? more : ""), *save = NULL;
	bool good = true;

	for (char *h = copy ? strtok_r(copy, ", ", &save) : NULL; h && good;
	     h = strtok_r(NULL, ", ", &save))
		good = gnutls_x509_crt_check_hostname(crt, h) != 0;
	free(copy);
	return good;
}

/* What was read is what is wished for: a pair, of our authority, for all hosts,
 * and it lasts (an authority is not made anew for its age). */
static bool pair_serves(const struct pki *pki, const struct cert_wish *w)
{
	gnutls_x509_crt_t crt = cert_read(*w->cert);
	gnutls_x509_privkey_t key = key_read(*w->key);
	bool good = crt && key && belongs(crt, key);

	if (good && w->purpose)
		good = signed_by(crt, pki->ca_cert) && names_hosts(crt, w->hosts) &&
		       gnutls_x509_crt_get_expiration_time(crt) > (time_t)clock_wall_s() + RENEW_S;
	if (crt)
		gnutls_x509_crt_deinit(crt);
	if (key)
		gnutls_x509_privkey_deinit(key);
	return good;
}

/* What all trust is not replaced behind anybody's back. */
static int refuse_damaged(const char *dir, const char *file, struct err *e)
{
	return err_set(e, WEFT_ECORRUPT,
		       "'%s/%s' is missing, damaged or of another pair: restore it, or remove '%s' "
		       "to make new keys (every client then needs the new kubeconfig)",
		       dir, file, dir);
}

/* The making of an authority was cut short: its key is there, which comes first,
 * and nothing that came of it. */
static bool is_unfinished(const char *dir)
{
	static const char *const later[] = {"ca.crt", "apiserver.key", "admin.key", "sa.key"};
	char path[PATH_LEN];

	for (size_t i = 0; i < countof(later); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, later[i]);
		if (!access(path, F_OK))
			return false;
	}
	return true;
}

/* Read the pair, or make it first. */
static int need_cert(const struct pki *pki, const char *dir, const struct cert_wish *w,
		     struct err *e)
{
	char cert[PATH_LEN], key[PATH_LEN];
	bool has_cert, has_key;
	int ret;

	snprintf(cert, sizeof(cert), "%s/%s.crt", dir, w->file);
	snprintf(key, sizeof(key), "%s/%s.key", dir, w->file);
	has_cert = !read_all(cert, w->cert);
	has_key = !read_all(key, w->key);
	if (has_cert && has_key && pair_serves(pki, w))
		return WEFT_OK;
	if (!w->purpose && (has_cert || has_key) && !is_unfinished(dir))
		return refuse_damaged(dir, has_cert ? "ca.key" : "ca.crt", e);
	if (has_cert && has_key)
		log_info("'%s' is made anew: it ends soon, lacks a name, or is damaged", cert);
	free((char *)w->cert->p);
	free((char *)w->key->p);
	*w->cert = *w->key = (struct str){NULL, 0};
	ret = make_cert(pki, dir, w, e);
	if (!ret && (read_all(cert, w->cert) || read_all(key, w->key)))
		ret = err_set(e, WEFT_EIO, "read '%s'", cert);
	return ret;
}

/* The key that signs ServiceAccount tokens has no certificate. */
static int need_token_key(struct pki *pki, const char *dir, struct err *e)
{
	char path[PATH_LEN];
	gnutls_x509_privkey_t key = NULL;
	int ret;

	snprintf(path, sizeof(path), "%s/sa.key", dir);
	if (!read_all(path, &pki->sa_key)) {
		key = key_read(pki->sa_key);
		if (!key)
			return refuse_damaged(dir, "sa.key", e);
		gnutls_x509_privkey_deinit(key);
		return WEFT_OK;
	}
	ret = new_key(&key);
	ret = ret ? tls_err(e, ret, "make a key")
		  : export_pem(NULL, key, dir, &(struct cert_wish){.file = "sa"}, e);
	if (key)
		gnutls_x509_privkey_deinit(key);
	if (!ret && read_all(path, &pki->sa_key))
		ret = err_set(e, WEFT_EIO, "read '%s'", path);
	return ret;
}

int pki_open(struct pki *pki, const char *dir, const char *hosts, struct err *e)
{
	char path[DIR_LEN], lock_path[PATH_LEN];
	const struct cert_wish wishes[] = {
		{"ca", "weft-ca", NULL, NULL, NULL, &pki->ca_cert, &pki->ca_key},
		{"apiserver", "kube-apiserver", NULL, GNUTLS_KP_TLS_WWW_SERVER, hosts,
		 &pki->server_cert, &pki->server_key},
		{"admin", "kubernetes-admin", "system:masters", GNUTLS_KP_TLS_WWW_CLIENT, NULL,
		 &pki->admin_cert, &pki->admin_key},
	};
	int lock, ret = WEFT_OK;

	*pki = (struct pki){0};
	if (snprintf(path, sizeof(path), "%s/pki", dir) >= (int)sizeof(path))
		return err_set(e, WEFT_EINVAL, "data directory '%s': name too long", dir);
	if (mkdir(path, 0700) && errno != EEXIST)
		return err_errno(e, errno, "create '%s'", path);
	snprintf(lock_path, sizeof(lock_path), "%s/lock", path);
	lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (lock < 0 || flock(lock, LOCK_EX)) {
		ret = err_errno(e, errno, "lock '%s'", lock_path);
		goto out;
	}
	for (size_t i = 0; i < countof(wishes) && !ret; i++)
		ret = need_cert(pki, path, &wishes[i], e);
	if (!ret)
		ret = need_token_key(pki, path, e);
	if (!ret)
		ret = names_sync(path, e);
	if (!ret)
		ret = names_sync(dir, e);
out:
	if (lock >= 0)
		close(lock);
	if (ret)
		pki_free(pki);
	return ret;
}

void pki_free(struct pki *pki)
{
	struct str *const all[] = {&pki->ca_cert,    &pki->ca_key,     &pki->server_cert,
				   &pki->server_key, &pki->admin_cert, &pki->admin_key,
				   &pki->sa_key};

	for (size_t i = 0; i < countof(all); i++) {
		free((char *)all[i]->p);
		*all[i] = (struct str){NULL, 0};
	}
}

/* --- kubeconfig --------------------------------------------------------------------- */

static void add_base64(struct buf *out, struct str text)
{
	gnutls_datum_t in = {(unsigned char *)text.p, text.n}, b64 = {0};

	weft_assert(!gnutls_base64_encode2(&in, &b64));
	buf_add(out, b64.data, b64.size);
	gnutls_free(b64.data);
}

static void kubeconfig_text(const struct pki *pki, const char *server, struct buf *b)
{
	buf_puts(b, "apiVersion: v1\nkind: Config\ncurrent-context: weft\n"
		    "clusters:\n- name: weft\n  cluster:\n    certificate-authority-data: ");
	add_base64(b, pki->ca_cert);
	buf_printf(b,
		   "\n    server: %s\n"
		   "contexts:\n- name: weft\n  context:\n    cluster: weft\n    user: admin\n"
		   "users:\n- name: admin\n  user:\n    client-certificate-data: ",
		   server);
	add_base64(b, pki->admin_cert);
	buf_puts(b, "\n    client-key-data: ");
	add_base64(b, pki->admin_key);
	buf_putc(b, '\n');
}

int pki_write_kubeconfig(const struct pki *pki, const char *dir, const char *server, struct err *e)
{
	char path[PATH_LEN];
	struct buf text = {0};
	struct str old = {NULL, 0};
	int ret = WEFT_OK;

	snprintf(path, sizeof(path), "%s/kubeconfig", dir);
	kubeconfig_text(pki, server, &text);
	if (read_all(path, &old) || !str_eq(old, buf_str(&text)))
		ret = write_all(path, buf_str(&text), 0600, e);
	free((char *)old.p);
	buf_free(&text);
	return ret;
}

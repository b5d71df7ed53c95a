// Gives GStreamer's webrtcbin an ECDSA certificate in place of its RSA certificate.
//
// The DTLS of visage (dimpl 0.9) takes ECDSA certificates only. GStreamer (1.22 and its main branch in 2026,
// ext/dtls/gstdtlscertificate.c) always makes an RSA key, and webrtcbin has no property for another one: with `pem` of its
// dtlssrtpdec, the fingerprint in the offer also covers the private key. This library replaces the key at the moment at which
// GStreamer puts it into the certificate. watch.sh builds and preloads it.
#define _GNU_SOURCE
#define OPENSSL_SUPPRESS_DEPRECATED
#include <dlfcn.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

int EVP_PKEY_assign(EVP_PKEY *pkey, int type, void *key) {
  int (*next)(EVP_PKEY *, int, void *) = dlsym(RTLD_NEXT, "EVP_PKEY_assign");
  if (type != EVP_PKEY_RSA) return next(pkey, type, key);
  EC_KEY *ec = EC_KEY_new_by_curve_name(NID_X9_62_prime256v1);
  if (!ec || !EC_KEY_generate_key(ec) || !next(pkey, EVP_PKEY_EC, ec)) {
    EC_KEY_free(ec);
    return 0;
  }
  // pkey owns the key that it is given; this one is not used.
  RSA_free(key);
  return 1;
}

#pragma once

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <cstdlib>
#include <memory>
#include <string>

namespace darkroom::testing {

// A certificate authority, made for a test, and what it signs. All in PEM.
class TestAuthority {
 public:
  struct Issued {
    std::string certificate;
    std::string key;
  };

  TestAuthority() : key_(EVP_EC_gen("P-256")), certificate_(NewCertificate("a test's authority")) {
    X509_set_issuer_name(certificate_.get(), X509_get_subject_name(certificate_.get()));
    X509_set_pubkey(certificate_.get(), key_.get());
    AddExtension(certificate_.get(), NID_basic_constraints, "critical,CA:TRUE");
    X509_sign(certificate_.get(), key_.get(), EVP_sha256());
  }

  std::string certificate() const { return Pem(certificate_.get()); }

  // `names`: as OpenSSL writes alternative names: "IP:127.0.0.1", "URI:spiffe://example.org/x".
  Issued Issue(const std::string& names) const {
    const Key key(EVP_EC_gen("P-256"));
    const Certificate leaf = NewCertificate("a test's leaf");
    X509_set_issuer_name(leaf.get(), X509_get_subject_name(certificate_.get()));
    X509_set_pubkey(leaf.get(), key.get());
    AddExtension(leaf.get(), NID_subject_alt_name, names.c_str());
    X509_sign(leaf.get(), key_.get(), EVP_sha256());
    return {Pem(leaf.get()), Pem(key.get())};
  }

 private:
  struct Free {
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
    void operator()(X509* certificate) const { X509_free(certificate); }
    void operator()(BIO* bio) const { BIO_free(bio); }
  };
  using Key = std::unique_ptr<EVP_PKEY, Free>;
  using Certificate = std::unique_ptr<X509, Free>;

  static Certificate NewCertificate(const char* name) {
    static int serial = 0;
    Certificate certificate(X509_new());
    X509_set_version(certificate.get(), X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 24 * 3600);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(name), -1, -1, 0);
    return certificate;
  }

  static void AddExtension(X509* certificate, int nid, const char* value) {
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, nid, value);
    if (extension == nullptr) std::abort();
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
  }

  template <typename T>
  static std::string Pem(T* thing) {
    const std::unique_ptr<BIO, Free> bio(BIO_new(BIO_s_mem()));
    if constexpr (std::is_same_v<T, X509>) {
      PEM_write_bio_X509(bio.get(), thing);
    } else {
      PEM_write_bio_PrivateKey(bio.get(), thing, nullptr, nullptr, 0, nullptr, nullptr);
    }
    char* text = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &text);
    return std::string(text, static_cast<size_t>(size));
  }

  Key key_;
  Certificate certificate_;
};

}  // namespace darkroom::testing

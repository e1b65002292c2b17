#include "gateway/tls.h"

#include <openssl/pem.h>
#include <openssl/x509.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "gateway/limits.h"
#include "grpcpp/security/tls_certificate_provider.h"
#include "grpcpp/security/tls_credentials_options.h"

namespace darkroom {
namespace {

struct CloseFile {
  void operator()(FILE* file) const { std::fclose(file); }
};
struct FreeCertificate {
  void operator()(X509* certificate) const { X509_free(certificate); }
};
struct FreeKey {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
using File = std::unique_ptr<FILE, CloseFile>;
using Certificate = std::unique_ptr<X509, FreeCertificate>;
using Key = std::unique_ptr<EVP_PKEY, FreeKey>;

absl::Status Invalid(const std::string& path, const std::string& what) {
  return Error(absl::StatusCode::kFailedPrecondition, "TLS_FILES_INVALID",
               absl::StrCat(path, " ", what));
}

absl::StatusOr<File> Open(const std::string& path) {
  File file(std::fopen(path.c_str(), "re"));
  if (file == nullptr) return Invalid(path, absl::StrCat("cannot be read: ", std::strerror(errno)));
  return file;
}

absl::StatusOr<Certificate> ReadCertificate(const std::string& path) {
  auto file = Open(path);
  if (!file.ok()) return file.status();
  Certificate certificate(PEM_read_X509(file->get(), nullptr, nullptr, nullptr));
  if (certificate == nullptr) return Invalid(path, "has no certificate in PEM");
  return certificate;
}

// A key with a passphrase is refused instead of asked for at a terminal.
int NoPassphrase(char*, int, int, void*) { return -1; }

absl::Status CheckFiles(const TlsFiles& files) {
  auto certificate = ReadCertificate(files.certificate);
  if (!certificate.ok()) return certificate.status();
  auto file = Open(files.key);
  if (!file.ok()) return file.status();
  const Key key(PEM_read_PrivateKey(file->get(), nullptr, &NoPassphrase, nullptr));
  if (key == nullptr) return Invalid(files.key, "has no private key in PEM without a passphrase");
  if (X509_check_private_key(certificate->get(), key.get()) != 1) {
    return Invalid(files.key, absl::StrCat("is not the key of ", files.certificate));
  }
  if (files.client_ca.empty()) return absl::OkStatus();
  return ReadCertificate(files.client_ca).status();
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> ListenerCredentials(
    const TlsFiles& files) {
  if (files.certificate.empty()) return grpc::InsecureServerCredentials();
  if (absl::Status status = CheckFiles(files); !status.ok()) return status;
  const auto provider = std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
      files.key, files.certificate, files.client_ca, gateway_limits::kTlsReloadSeconds);
  grpc::experimental::TlsServerCredentialsOptions options(provider);
  options.watch_identity_key_cert_pairs();
  if (files.client_ca.empty()) {
    options.set_cert_request_type(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  } else {
    options.watch_root_certs();
    options.set_cert_request_type(files.require_client_certificate
                                      ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                                      : GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return grpc::experimental::TlsServerCredentials(options);
}

}  // namespace darkroom

#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "grpcpp/security/server_credentials.h"

namespace darkroom {

// The files of a listener's TLS. Empty `certificate`: no TLS.
struct TlsFiles {
  std::string certificate;  // PEM: the server's chain, its own first
  std::string key;          // PEM: its private key
  // PEM: who signs clients' certificates. Empty: clients are asked for none.
  std::string client_ca;
  bool require_client_certificate = false;
};

// Credentials that follow the files while the server runs: a new certificate is used from about a
// second after its files were replaced, for new connections. Without TLS: none.
//
// FAILED_PRECONDITION (TLS_FILES_INVALID) when a file cannot be read, is no PEM of its kind, or the
// key is not the certificate's; names the path, for the operator.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> ListenerCredentials(const TlsFiles& files);

}  // namespace darkroom

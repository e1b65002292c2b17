#pragma once

#include <string>

#include "CLI/App.hpp"
#include "absl/status/statusor.h"
#include "client/client.h"

namespace darkroom::cli {

// How the server is reached, and who says so.
struct ConnectionFlags {
  std::string server = "127.0.0.1:50051";
  std::string admin_server;
  std::string tenant;
  std::string key_file;
  bool tls = false;
  std::string ca_file;
  std::string certificate_file;
  std::string certificate_key_file;
};

void AddConnectionFlags(CLI::App& app, ConnectionFlags& flags);

// Reads the files. INVALID_ARGUMENT: FILE_UNREADABLE; KEY_UNPROTECTED for a key that would cross a
// network without TLS.
absl::StatusOr<Client::Options> ResolveConnection(const ConnectionFlags& flags);

}  // namespace darkroom::cli

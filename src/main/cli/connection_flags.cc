#include "main/cli/connection_flags.h"

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/resource_name.h"
#include "main/cli/output.h"
#include "main/limits.h"

namespace darkroom::cli {
namespace {

constexpr char kDefaultPort[] = ":50051";

// Empty when it is one.
std::string IsTenantId(const std::string& text) {
  return IsValidId(text) ? "" : "must be 1 to 63 characters of a-z, 0-9 and -";
}

absl::StatusOr<std::string> ReadText(const std::string& path) {
  if (path.empty()) return std::string();
  std::ifstream file(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file.is_open() || text.empty() || text.size() > kCredentialFileBytesMax) {
    return absl::Status(
        Error(absl::StatusCode::kInvalidArgument, "FILE_UNREADABLE",
              absl::StrCat("\"", Printable(path, 200),
                           "\" is not a file of 1 byte to 1 MiB that can be read")));
  }
  return text;
}

bool IsLoopback(const std::string& server) {
  return absl::StartsWith(server, "127.") || absl::StartsWith(server, "localhost:") ||
         absl::StartsWith(server, "[::1]:");
}

}  // namespace

void AddConnectionFlags(CLI::App& app, ConnectionFlags& flags) {
  app.add_option("--server", flags.server,
                 "HOST or HOST:PORT of the server (default 127.0.0.1:50051)")
      ->envname("DARKROOM_SERVER");
  app.add_option("--admin-server", flags.admin_server,
                 "HOST:PORT of its operators' API (default: the next port)")
      ->envname("DARKROOM_ADMIN_SERVER");
  app.add_option("--tenant", flags.tenant,
                 "Whose the call is (default: the key's, or without one local)")
      ->envname("DARKROOM_TENANT")
      ->check(CLI::Validator(IsTenantId, "ID"));
  app.add_option("--key-file", flags.key_file,
                 "File with the API key or token (or the key itself in DARKROOM_KEY)")
      ->envname("DARKROOM_KEY_FILE");
  app.add_flag("--tls", flags.tls, "Connect with TLS (implied by --ca-file)");
  app.add_option("--ca-file", flags.ca_file, "PEM: who signs the server's certificate")
      ->envname("DARKROOM_CA_FILE");
  app.add_option("--cert-file", flags.certificate_file, "PEM: this client's own certificate");
  app.add_option("--cert-key-file", flags.certificate_key_file, "PEM: its private key");
}

absl::StatusOr<Client::Options> ResolveConnection(const ConnectionFlags& flags) {
  Client::Options options;
  options.server = flags.server;
  if (!absl::StrContains(options.server, ":")) options.server += kDefaultPort;
  options.admin_server = flags.admin_server;
  options.tenant = flags.tenant;
  // From the environment, because other users see command lines.
  if (const char* key = std::getenv("DARKROOM_KEY"); key != nullptr) options.credential = key;
  options.tls = flags.tls || !flags.ca_file.empty() || !flags.certificate_file.empty();
  const struct {
    const std::string& path;
    std::string& text;
  } files[] = {{flags.key_file, options.credential},
               {flags.ca_file, options.ca},
               {flags.certificate_file, options.certificate},
               {flags.certificate_key_file, options.key}};
  for (const auto& file : files) {
    if (file.path.empty()) continue;
    auto text = ReadText(file.path);
    if (!text.ok()) return text.status();
    file.text = *std::move(text);
  }
  absl::StripAsciiWhitespace(&options.credential);
  if (!options.credential.empty() && !options.tls &&
      !(IsLoopback(options.server) &&
        (options.admin_server.empty() || IsLoopback(options.admin_server)))) {
    return absl::Status(Error(absl::StatusCode::kInvalidArgument, "KEY_UNPROTECTED",
                              "a key is sent to another machine with TLS only; add --tls, or "
                              "--ca-file with who signs the server's certificate"));
  }
  return options;
}

}  // namespace darkroom::cli

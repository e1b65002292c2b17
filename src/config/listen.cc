#include "config/listen.h"

#include <charconv>
#include <string>
#include <string_view>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "config/limits.h"

namespace darkroom {
namespace {

constexpr char kGrpcDefault[] = "127.0.0.1:50051";

absl::Status Invalid(const std::string& field, const std::string& given,
                     const std::string& wanted) {
  return Error(absl::StatusCode::kInvalidArgument, "CONFIG_VALUE_INVALID",
               absl::StrCat(field, " is \"", given, "\"; it ", wanted))
      .Field(field, wanted);
}

absl::Status Missing(const std::string& field, const std::string& why) {
  return Error(absl::StatusCode::kInvalidArgument, "CONFIG_FIELD_MISSING",
               absl::StrCat(field, " is not set; ", why))
      .Field(field, why);
}

bool IsLoopback(std::string_view host) {
  if (host == "localhost" || host == "[::1]") return true;
  constexpr std::string_view kLoopbackNetwork = "127.";
  return host.substr(0, kLoopbackNetwork.size()) == kLoopbackNetwork &&
         host.find_first_not_of("0123456789.") == std::string_view::npos;
}

// The port of "address:port"; -1 where there is none.
int PortOf(const std::string& address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0) return -1;
  int port = -1;
  const char* end = address.data() + address.size();
  const auto parsed = std::from_chars(address.data() + colon + 1, end, port);
  return parsed.ec == std::errc() && parsed.ptr == end && port >= 0 && port <= kConfigPortMax ? port
                                                                                              : -1;
}

// `is_guarded`: calls are encrypted and authenticated.
absl::Status CheckAddress(const std::string& field, const std::string& address, bool is_guarded) {
  const int port = PortOf(address);
  if (port < 0) {
    return Invalid(
        field, address,
        absl::StrCat("must be an address and a port, 0 to 65535; nearest: \"", kGrpcDefault, "\""));
  }
  if (is_guarded || IsLoopback(std::string_view(address).substr(0, address.rfind(':')))) {
    return absl::OkStatus();
  }
  return Invalid(field, address,
                 absl::StrCat("must be a loopback address where calls are not both encrypted "
                              "(listen.tls) and authenticated (authentication); nearest: "
                              "\"127.0.0.1:",
                              port, "\""));
}

absl::StatusOr<Config::Tls> ResolveTls(const v1::TlsConfig& proto) {
  if (proto.certificate().empty() && (!proto.key().empty() || !proto.client_ca().empty())) {
    return Missing("listen.tls.certificate",
                   "it is the server's own, without which there is no TLS");
  }
  if (!proto.certificate().empty() && proto.key().empty()) {
    return Missing("listen.tls.key", "it is the certificate's private key");
  }
  if (proto.require_client_certificate() && proto.client_ca().empty()) {
    return Missing("listen.tls.client_ca", "clients' certificates are checked with it");
  }
  return Config::Tls{proto.certificate(), proto.key(), proto.client_ca(),
                     proto.require_client_certificate()};
}

// The port after the other, which is nobody's to find where that is a free one.
std::string AdminDefault(const std::string& grpc) {
  const int port = PortOf(grpc);
  return absl::StrCat("127.0.0.1:", port == 0 || port == kConfigPortMax ? 0 : port + 1);
}

}  // namespace

absl::StatusOr<Config::Listen> ResolveListen(const v1::DaemonConfig& proto) {
  Config::Listen listen;
  auto tls = ResolveTls(proto.listen().tls());
  if (!tls.ok()) return tls.status();
  listen.tls = *std::move(tls);
  const bool is_guarded = !listen.tls.certificate.empty() && proto.has_authentication();
  listen.grpc = proto.listen().grpc().empty() ? kGrpcDefault : proto.listen().grpc();
  if (auto status = CheckAddress("listen.grpc", listen.grpc, is_guarded); !status.ok()) {
    return status;
  }
  listen.admin = proto.listen().admin();
  if (listen.admin.empty()) listen.admin = AdminDefault(listen.grpc);
  if (auto status = CheckAddress("listen.admin", listen.admin, is_guarded); !status.ok()) {
    return status;
  }
  return listen;
}

}  // namespace darkroom

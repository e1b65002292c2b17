#include "gateway/listen_address.h"

#include <arpa/inet.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace darkroom {
namespace {

absl::Status Invalid(std::string_view reason, std::string_view address, std::string_view rule) {
  return Error(absl::StatusCode::kInvalidArgument, reason,
               absl::StrCat("cannot listen on \"", std::string(address), "\": ", std::string(rule)))
      .Field("listen.grpc", rule);
}

}  // namespace

absl::StatusOr<std::string> CheckedListenAddress(std::string_view address) {
  constexpr std::string_view kShape =
      "it must be HOST:PORT with a port of 0 to 65535, for example 127.0.0.1:50051 or [::1]:50051";
  constexpr std::string_view kLoopbackOnly =
      "without TLS only loopback addresses are served; nearest: 127.0.0.1 or [::1]";
  const size_t colon = address.rfind(':');
  if (colon == std::string_view::npos || address.size() > 300) {
    return Invalid("LISTEN_ADDRESS_INVALID", address.substr(0, 300), kShape);
  }
  std::string host(address.substr(0, colon));
  const std::string port_text(address.substr(colon + 1));
  int port = -1;
  if (!absl::SimpleAtoi(port_text, &port) || port < 0 || port > 65535) {
    return Invalid("LISTEN_ADDRESS_INVALID", address, kShape);
  }
  if (host == "localhost") host = "127.0.0.1";

  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) {
    if ((ntohl(v4.s_addr) >> 24) != 127) {
      return Invalid("LISTEN_NOT_LOOPBACK", address, kLoopbackOnly);
    }
    return absl::StrCat(host, ":", port);
  }
  in6_addr v6{};
  if (host.size() > 2 && host.front() == '[' && host.back() == ']' &&
      inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &v6) == 1) {
    if (!IN6_IS_ADDR_LOOPBACK(&v6)) return Invalid("LISTEN_NOT_LOOPBACK", address, kLoopbackOnly);
    return absl::StrCat(host, ":", port);
  }
  // A name could resolve to anything, tomorrow to something else.
  return Invalid(host.empty() ? "LISTEN_ADDRESS_INVALID" : "LISTEN_NOT_LOOPBACK", address,
                 host.empty() ? kShape : kLoopbackOnly);
}

}  // namespace darkroom

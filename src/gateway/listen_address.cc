#include "gateway/listen_address.h"

#include <arpa/inet.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace darkroom {
namespace {

absl::Status Invalid(std::string_view reason, std::string_view address, std::string_view field,
                     std::string_view rule) {
  return Error(absl::StatusCode::kInvalidArgument, reason,
               absl::StrCat("cannot listen on \"", std::string(address), "\": ", std::string(rule)))
      .Field(field, rule);
}

// Whether `host` is an address, as a host of a URL has it, and only this machine reaches it.
struct Host {
  bool is_address = false;
  bool is_loopback = false;
};
Host Look(const std::string& host) {
  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) {
    return {true, (ntohl(v4.s_addr) >> 24) == 127};
  }
  in6_addr v6{};
  if (host.size() > 2 && host.front() == '[' && host.back() == ']' &&
      inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &v6) == 1) {
    return {true, static_cast<bool>(IN6_IS_ADDR_LOOPBACK(&v6))};
  }
  return {};
}

}  // namespace

absl::StatusOr<std::string> CheckedListenAddress(std::string_view address, Reach reach,
                                                 std::string_view field) {
  constexpr std::string_view kShape =
      "it must be ADDRESS:PORT with a port of 0 to 65535, for example 127.0.0.1:50051 or "
      "[::1]:50051";
  constexpr std::string_view kLoopbackOnly =
      "without TLS and authentication only loopback addresses are served; nearest: 127.0.0.1 or "
      "[::1]";
  const size_t colon = address.rfind(':');
  if (colon == std::string_view::npos || address.size() > 300) {
    return Invalid("LISTEN_ADDRESS_INVALID", address.substr(0, 300), field, kShape);
  }
  std::string host(address.substr(0, colon));
  const std::string port_text(address.substr(colon + 1));
  int port = -1;
  if (!absl::SimpleAtoi(port_text, &port) || port < 0 || port > 65535) {
    return Invalid("LISTEN_ADDRESS_INVALID", address, field, kShape);
  }
  if (host == "localhost") host = "127.0.0.1";
  const Host looked = Look(host);
  // A name could resolve to anything, tomorrow to something else.
  const bool is_name = !looked.is_address && !host.empty();
  if (is_name && reach == Reach::kLoopback) {
    return Invalid("LISTEN_NOT_LOOPBACK", address, field, kLoopbackOnly);
  }
  if (!looked.is_address) return Invalid("LISTEN_ADDRESS_INVALID", address, field, kShape);
  if (reach == Reach::kLoopback && !looked.is_loopback) {
    return Invalid("LISTEN_NOT_LOOPBACK", address, field, kLoopbackOnly);
  }
  return absl::StrCat(host, ":", port);
}

}  // namespace darkroom

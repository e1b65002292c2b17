#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace darkroom {

// Who can reach an address.
enum class Reach {
  kLoopback,  // this machine's processes only
  kAnyone,    // fit only for a listener with TLS, where every caller says who it is
};

// Checks "host:port" to listen on and returns it as gRPC wants it: an IPv4 or IPv6 address
// ("127.0.0.1:50051", "[::1]:0") or "localhost", which becomes 127.0.0.1. Port 0 picks a free one.
// `field`: what the configuration calls it.
//
// INVALID_ARGUMENT: LISTEN_ADDRESS_INVALID, or with Reach::kLoopback LISTEN_NOT_LOOPBACK for an
// address that others could reach, because without TLS and keys anybody could use the server.
absl::StatusOr<std::string> CheckedListenAddress(std::string_view address, Reach reach,
                                                 std::string_view field);

}  // namespace darkroom

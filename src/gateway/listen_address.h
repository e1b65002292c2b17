#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace darkroom {

// Checks "host:port" to listen on and returns it as gRPC wants it: an IPv4 or IPv6 loopback address
// ("127.0.0.1:50051", "[::1]:0") or "localhost", which becomes 127.0.0.1. Port 0 picks a free one.
//
// INVALID_ARGUMENT: LISTEN_ADDRESS_INVALID, or LISTEN_NOT_LOOPBACK for an address that others could
// reach, because without TLS and keys anybody could use the server.
absl::StatusOr<std::string> CheckedListenAddress(std::string_view address);

}  // namespace darkroom

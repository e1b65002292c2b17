#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace darkroom {

// "tenants/{tenant}/generations/{generation}". Ids are [a-z0-9-], 1 to 63 characters, so that a
// name can never be a path.
struct GenerationName {
  std::string tenant;
  std::string generation;

  std::string ToString() const;
  // INVALID_ARGUMENT with reason RESOURCE_NAME_INVALID; `field` is the request field it came in.
  static absl::StatusOr<GenerationName> Parse(std::string_view name, std::string_view field);
};

// "tenants/{tenant}/assets/{sha256}", the digest in lower-case hex.
struct AssetName {
  std::string tenant;
  std::string sha256;

  std::string ToString() const;
  // INVALID_ARGUMENT (RESOURCE_NAME_INVALID), as above.
  static absl::StatusOr<AssetName> Parse(std::string_view name, std::string_view field);
};

// 64 lower-case hex digits.
bool IsSha256Hex(std::string_view text);

// [a-z0-9-]{1,63}
bool IsValidId(std::string_view id);

// A new generation id: 26 characters, sorting by creation time, then random (a lower-case ULID).
// `wall_ms`: milliseconds since the Unix epoch; `random`: 80 random bits in its low parts.
std::string NewGenerationId(int64_t wall_ms, uint64_t random_high, uint64_t random_low);

}  // namespace darkroom

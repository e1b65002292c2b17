#pragma once

#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/error.h"
#include "base/wall_time.h"
#include "darkroom/v1/tenant.pb.h"

namespace darkroom {

// What every KeyStore does alike.

// When the key opens nothing any more; nothing for never.
inline std::optional<absl::Time> EndOf(const v1::ApiKey& key) {
  if (key.has_revoke_time()) return FromTimestamp(key.revoke_time());
  if (key.has_expire_time()) return FromTimestamp(key.expire_time());
  return std::nullopt;
}

inline absl::Status KeyMissing() {
  return Error(absl::StatusCode::kNotFound, "KEY_NOT_FOUND", "there is no such key");
}

}  // namespace darkroom

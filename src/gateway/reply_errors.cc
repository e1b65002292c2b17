#include "gateway/reply_errors.h"

#include <string>

#include "base/error.h"
#include "base/logging.h"

namespace darkroom {

absl::Status GenerationNotFound() {
  return Error(absl::StatusCode::kNotFound, "GENERATION_NOT_FOUND", "there is no such generation");
}

absl::Status TenantNotFound() {
  return Error(absl::StatusCode::kNotFound, "TENANT_NOT_FOUND", "there is no such tenant");
}

absl::Status AssetNotFound() {
  return Error(absl::StatusCode::kNotFound, "ASSET_NOT_FOUND",
               "there is no such asset; it may have expired");
}

absl::Status KeyNotFound() {
  return Error(absl::StatusCode::kNotFound, "KEY_NOT_FOUND", "there is no such key");
}

absl::Status CallCancelled() {
  return Error(absl::StatusCode::kCancelled, "CALL_CANCELLED", "the call was cancelled");
}

absl::Status ForClient(const absl::Status& status) {
  if (status.ok()) return status;
  const std::string reason = ErrorReason(status);
  if (reason == "GENERATION_NOT_FOUND") return GenerationNotFound();
  if (reason == "ASSET_NOT_FOUND") return AssetNotFound();
  if (reason == "KEY_NOT_FOUND") return KeyNotFound();
  if (reason == "TENANT_NOT_FOUND") return TenantNotFound();
  if (!reason.empty()) return status;
  spdlog::error("internal error hidden from a client: {}", status.ToString());
  return Error(absl::StatusCode::kInternal, "INTERNAL",
               "the server failed to handle the call; its log tells more");
}

}  // namespace darkroom

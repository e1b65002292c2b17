#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "darkroom/v1/asset.pb.h"
#include "gateway/call.h"

namespace darkroom {

// The bytes of one upload as they come in, checked piece by piece. Nothing outlives it.
//
// Thread: one at a time.
class Upload {
 public:
  // `in_flight` bounds the bytes of all uploads and must outlive it.
  Upload(Budget& in_flight, int64_t bytes_max) : in_flight_(in_flight), bytes_max_(bytes_max) {}

  // The next message. INVALID_ARGUMENT: UPLOAD_OUT_OF_ORDER (metadata first, once),
  // UPLOAD_TOO_LARGE, UPLOAD_PIECE_TOO_LARGE. RESOURCE_EXHAUSTED (UPLOADS_TOO_LARGE): too many at
  // once.
  absl::Status Add(const v1::UploadAssetRequest& message);
  // After the last message: the whole. INVALID_ARGUMENT: UPLOAD_INCOMPLETE, UPLOAD_DIGEST_MISMATCH.
  absl::StatusOr<std::string> Finish();

  // "tenants/{tenant}" as the client named it. REQUIRES: metadata was added.
  const std::string& parent() const { return metadata_.parent(); }
  bool has_metadata() const { return has_metadata_; }

 private:
  absl::Status AddMetadata(const v1::UploadAssetRequest::Metadata& metadata);
  absl::Status TooLarge(int64_t bytes) const;

  Budget& in_flight_;
  const int64_t bytes_max_;
  Budget::Permit permit_;
  bool has_metadata_ = false;
  v1::UploadAssetRequest::Metadata metadata_;
  int64_t reserved_ = 0;
  std::string bytes_;
};

}  // namespace darkroom

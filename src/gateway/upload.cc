#include "gateway/upload.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/resource_name.h"
#include "base/sha256.h"
#include "gateway/limits.h"

namespace darkroom {
namespace {

namespace limits = gateway_limits;

absl::Status Invalid(std::string_view reason, const std::string& message, std::string_view field,
                     const std::string& rule) {
  return Error(absl::StatusCode::kInvalidArgument, reason, message).Field(field, rule);
}

}  // namespace

absl::Status Upload::TooLarge(int64_t bytes) const {
  return Invalid(
      "UPLOAD_TOO_LARGE",
      absl::StrCat("the upload has ", bytes, " bytes; at most ", bytes_max_, " are allowed"),
      "metadata.size_bytes", absl::StrCat("must be at most ", bytes_max_));
}

absl::Status Upload::AddMetadata(const v1::UploadAssetRequest::Metadata& metadata) {
  const int64_t size = metadata.size_bytes();
  if (size < 0) {
    return Invalid("UPLOAD_SIZE_INVALID", absl::StrCat("metadata.size_bytes is ", size),
                   "metadata.size_bytes", "must be 0 or more; nearest: 0");
  }
  if (size > bytes_max_) return TooLarge(size);
  if (!metadata.sha256().empty() && !IsSha256Hex(metadata.sha256())) {
    return Invalid("UPLOAD_DIGEST_INVALID", "metadata.sha256 is no SHA-256", "metadata.sha256",
                   "must be empty or 64 digits of 0-9 and a-f");
  }
  // Of one that does not say, the most that it may become.
  reserved_ = size > 0 ? size : bytes_max_;
  auto permit = in_flight_.TryTake(reserved_);
  if (!permit) {
    return Error(absl::StatusCode::kResourceExhausted, "UPLOADS_TOO_LARGE",
                 "too many uploads are under way; try again shortly, and say size_bytes")
        .Quota("upload_bytes",
               absl::StrCat("at most ", limits::kUploadBytesInFlightMax, " bytes at once"))
        .RetryAfter(absl::Milliseconds(limits::kRetryBusyMs));
  }
  permit_ = *std::move(permit);
  has_metadata_ = true;
  metadata_ = metadata;
  return absl::OkStatus();
}

absl::Status Upload::Add(const v1::UploadAssetRequest& message) {
  if (message.has_metadata() == has_metadata_ ||
      message.part_case() == v1::UploadAssetRequest::PART_NOT_SET) {
    return Invalid("UPLOAD_OUT_OF_ORDER", "an upload is one message of metadata, then data",
                   "metadata", "must come first and once");
  }
  if (message.has_metadata()) return AddMetadata(message.metadata());
  const std::string& data = message.data();
  if (data.size() > static_cast<size_t>(limits::kUploadPieceBytesMax)) {
    return Invalid("UPLOAD_PIECE_TOO_LARGE",
                   absl::StrCat("a piece has ", data.size(), " bytes; at most ",
                                limits::kUploadPieceBytesMax, " are allowed"),
                   "data", absl::StrCat("must be at most ", limits::kUploadPieceBytesMax));
  }
  const auto total = static_cast<int64_t>(bytes_.size() + data.size());
  if (total > bytes_max_) return TooLarge(total);
  if (total > reserved_) {
    return Invalid("UPLOAD_SIZE_MISMATCH",
                   absl::StrCat("the upload is longer than the ", reserved_, " bytes announced"),
                   "metadata.size_bytes", "must be the size of the whole, or 0");
  }
  bytes_ += data;
  return absl::OkStatus();
}

absl::StatusOr<std::string> Upload::Finish() {
  if (!has_metadata_) {
    return Invalid("UPLOAD_OUT_OF_ORDER", "the upload ended before its metadata", "metadata",
                   "must come first and once");
  }
  if (metadata_.size_bytes() > 0 && static_cast<int64_t>(bytes_.size()) != metadata_.size_bytes()) {
    return Invalid("UPLOAD_SIZE_MISMATCH",
                   absl::StrCat("the upload has ", bytes_.size(), " of ", metadata_.size_bytes(),
                                " bytes announced"),
                   "metadata.size_bytes", "must be the size of the whole, or 0");
  }
  if (!metadata_.sha256().empty() && Sha256Hex(bytes_) != metadata_.sha256()) {
    return Invalid("UPLOAD_DIGEST_MISMATCH", "the upload does not have the announced SHA-256",
                   "metadata.sha256", "must be the digest of the whole, or empty");
  }
  return std::move(bytes_);
}

}  // namespace darkroom

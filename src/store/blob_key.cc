#include "store/blob_key.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/resource_name.h"
#include "store/limits.h"

namespace darkroom {

absl::Status CheckBlobKey(std::string_view key) {
  int parts = 0;
  bool is_valid = true;
  for (size_t start = 0; is_valid && start <= key.size();) {
    const size_t end = std::min(key.find('/', start), key.size());
    is_valid =
        ++parts <= store_limits::kBlobKeyPartsMax && IsValidId(key.substr(start, end - start));
    start = end + 1;
  }
  if (is_valid) return absl::OkStatus();
  return Error(absl::StatusCode::kInvalidArgument, "BLOB_KEY_INVALID",
               absl::StrCat("a blob's key must be 1 to ", store_limits::kBlobKeyPartsMax,
                            " parts joined by /, each 1 to 63 characters of a-z, 0-9 and -"));
}

absl::Status BlobNotFound() {
  return Error(absl::StatusCode::kNotFound, "BLOB_NOT_FOUND", "there are no such bytes");
}

}  // namespace darkroom

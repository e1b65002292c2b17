#include "store/asset_rules.h"

#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "store/page_token.h"

namespace darkroom {
namespace {

// Ids hold no '/', so that no token of another list fits.
GenerationStore::ListQuery AsListQuery(const AssetStore::ListQuery& query) {
  return {absl::StrCat(query.tenant, "/assets"), {}, query.page_size, query.page_token};
}

}  // namespace

absl::Status AssetMissing() {
  return Error(absl::StatusCode::kNotFound, "ASSET_NOT_FOUND",
               "there is no such asset; it may have expired");
}

absl::Status AssetDamaged() {
  return Error(absl::StatusCode::kDataLoss, "STORE_CORRUPT",
               "a stored asset is damaged and cannot be read");
}

absl::Status AssetQuotaExceeded(int64_t used_bytes, int64_t quota_bytes) {
  return Error(absl::StatusCode::kResourceExhausted, "ASSET_QUOTA_EXCEEDED",
               absl::StrCat("the tenant's assets have ", used_bytes, " of ", quota_bytes,
                            " bytes; delete some or let them expire"))
      .Quota("asset_bytes_per_tenant", absl::StrCat("at most ", quota_bytes, " bytes"));
}

std::string MakeAssetPageToken(const std::string& key, const AssetStore::ListQuery& query,
                               int64_t ordinal) {
  return MakePageToken(key, AsListQuery(query), absl::StrCat(ordinal));
}

absl::StatusOr<int64_t> ReadAssetPageToken(const std::string& key,
                                           const AssetStore::ListQuery& query) {
  int64_t ordinal = std::numeric_limits<int64_t>::max();
  if (query.page_token.empty()) return ordinal;
  const auto last = ReadPageToken(key, AsListQuery(query));
  if (!last.ok()) return last.status();
  // Signed by this store, so that it can only be a number.
  if (!absl::SimpleAtoi(*last, &ordinal))
    return absl::InternalError("a page token without a place");
  return ordinal;
}

std::string AssetBlobKey(const std::string& tenant, const std::string& sha256) {
  return absl::StrCat("tenants/", tenant, "/assets/", sha256.substr(0, 2), "/", sha256.substr(2));
}

}  // namespace darkroom

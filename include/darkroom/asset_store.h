#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "darkroom/v1/asset.pb.h"

namespace darkroom {

// Durable records of uploaded pictures; their bytes are blobs (blob.h). Part of a GenerationStore,
// with its thread, its transactions and its way to break. An asset whose time is over is not there,
// whether or not it has been purged.
class AssetStore {
 public:
  virtual ~AssetStore() = default;

  // Records `asset`, whose name, digest, size, media type and pixels are set, to expire at
  // `expire`. When the tenant has these bytes already, only postpones their end. The asset as it is
  // now. RESOURCE_EXHAUSTED (ASSET_QUOTA_EXCEEDED) when the tenant's assets would exceed
  // `quota_bytes`.
  virtual absl::StatusOr<v1::Asset> PutAsset(const v1::Asset& asset, absl::Time now,
                                             absl::Time expire, int64_t quota_bytes) = 0;
  // NOT_FOUND (ASSET_NOT_FOUND), also of those below.
  virtual absl::StatusOr<v1::Asset> GetAsset(const std::string& tenant, const std::string& sha256,
                                             absl::Time now) = 0;
  // Postpones its end to `expire`; never brings it forward.
  virtual absl::Status TouchAsset(const std::string& tenant, const std::string& sha256,
                                  absl::Time now, absl::Time expire) = 0;
  virtual absl::Status DeleteAsset(const std::string& tenant, const std::string& sha256,
                                   absl::Time now) = 0;

  struct ListQuery {
    std::string tenant;
    int page_size = 50;
    std::string page_token;
  };
  struct ListPage {
    std::vector<v1::Asset> assets;  // newest first
    std::string next_page_token;    // empty on the last page
  };
  // INVALID_ARGUMENT (PAGE_TOKEN_INVALID).
  virtual absl::StatusOr<ListPage> ListAssets(const ListQuery& query, absl::Time now) = 0;

  // Removes up to `max` assets whose time was over at `now`. Their names, so that the caller
  // deletes the blobs.
  virtual absl::StatusOr<std::vector<std::string>> PurgeAssets(absl::Time now, int max) = 0;
};

}  // namespace darkroom

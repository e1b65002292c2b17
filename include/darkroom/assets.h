#pragma once

#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "darkroom/asset_store.h"
#include "darkroom/payload.h"
#include "darkroom/v1/asset.pb.h"

namespace darkroom {

// What the gateway asks about uploaded pictures. `tenant` is the caller's own, so that another
// tenant's asset is simply missing. Thread-safe; no call blocks; callbacks run exactly once, on a
// thread that is not the caller's, and must not block.
class Assets {
 public:
  template <typename T>
  using Done = absl::AnyInvocable<void(T) &&>;

  virtual ~Assets() = default;

  // Checks that it is a picture, and is done once it is durable. The same bytes again give the same
  // asset, and postpone its end. Errors of PictureDecoder; RESOURCE_EXHAUSTED
  // (ASSET_QUOTA_EXCEEDED, DISK_FULL).
  virtual void UploadAsset(const std::string& tenant, Payload bytes,
                           Done<absl::StatusOr<v1::Asset>> done) = 0;
  // NOT_FOUND (ASSET_NOT_FOUND), also of those below.
  virtual void GetAsset(const std::string& tenant, const std::string& sha256,
                        Done<absl::StatusOr<v1::Asset>> done) = 0;
  virtual void ListAssets(const AssetStore::ListQuery& query,
                          Done<absl::StatusOr<AssetStore::ListPage>> done) = 0;
  // The bytes as uploaded. A use: it postpones the asset's end.
  virtual void ReadAsset(const std::string& tenant, const std::string& sha256,
                         Done<absl::StatusOr<Payload>> done) = 0;
  virtual void DeleteAsset(const std::string& tenant, const std::string& sha256,
                           Done<absl::Status> done) = 0;
};

}  // namespace darkroom

#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "darkroom/assets.h"
#include "darkroom/engine.h"
#include "darkroom/v1/asset.pb.h"
#include "gateway/call.h"
#include "gateway/upload.h"
#include "google/protobuf/empty.pb.h"

namespace darkroom {

// What every method of AssetService means, as api.h does for the other services. Another tenant's
// asset and a missing one give the same bytes.
class AssetApi {
 public:
  template <typename T>
  using Reply = Callback<absl::StatusOr<T>>;
  using CallPtr = std::shared_ptr<Call>;

  // `assets` may be null: every method then answers that there are none. Must outlive all replies.
  AssetApi(Assets* assets, int64_t upload_bytes_max);

  // A new upload of this server's.
  std::unique_ptr<Upload> NewUpload() {
    return std::make_unique<Upload>(uploads_, upload_bytes_max_);
  }
  // Whether an upload may begin where its metadata wants it.
  absl::Status CheckUpload(const Call& call, const Upload& upload) const;
  void FinishUpload(CallPtr call, Upload& upload, Reply<v1::Asset> reply);

  void GetAsset(CallPtr call, v1::GetAssetRequest request, Reply<v1::Asset> reply);
  void ListAssets(CallPtr call, v1::ListAssetsRequest request, Reply<v1::ListAssetsResponse> reply);
  void DeleteAsset(CallPtr call, v1::DeleteAssetRequest request,
                   Reply<google::protobuf::Empty> reply);
  // All of the bytes, for the transport to cut.
  void DownloadAsset(CallPtr call, v1::DownloadAssetRequest request, Reply<Payload> reply);

 private:
  Assets* const assets_;
  const int64_t upload_bytes_max_;
  Budget uploads_;
};

}  // namespace darkroom

#include "gateway/asset_api.h"

#include <string>
#include <utility>

#include "base/error.h"
#include "base/resource_name.h"
#include "base/tenant_key.h"
#include "gateway/field_errors.h"
#include "gateway/limits.h"
#include "gateway/paging.h"
#include "gateway/parent.h"
#include "gateway/reply_errors.h"

namespace darkroom {
namespace {

namespace limits = gateway_limits;

absl::Status NoAssets() {
  return Error(absl::StatusCode::kUnimplemented, "PICTURES_UNSUPPORTED",
               "this server takes no pictures");
}

// The digest of an asset of the caller's own tenant.
absl::StatusOr<std::string> OwnAsset(const Assets* assets, const Call& call,
                                     std::string_view name) {
  if (assets == nullptr) return NoAssets();
  auto parsed = AssetName::Parse(name.substr(0, limits::kResourceNameBytesMax), "name");
  if (!parsed.ok()) return parsed.status();
  if (parsed->tenant == kOwnTenant) parsed->tenant = call.caller.tenant;
  if (parsed->tenant != call.caller.tenant) return AssetNotFound();
  return parsed->sha256;
}

}  // namespace

AssetApi::AssetApi(Assets* assets, int64_t upload_bytes_max)
    : assets_(assets),
      upload_bytes_max_(upload_bytes_max),
      uploads_(limits::kUploadBytesInFlightMax) {}

absl::Status AssetApi::CheckUpload(const Call& call, const Upload& upload) const {
  if (assets_ == nullptr) return NoAssets();
  return CheckParent(call, upload.parent(), "metadata.parent");
}

void AssetApi::FinishUpload(CallPtr call, Upload& upload, Reply<v1::Asset> reply) {
  auto bytes = upload.Finish();
  if (!bytes.ok()) return std::move(reply)(bytes.status());
  assets_->UploadAsset(call->caller.tenant, Payload::Copy(*bytes), std::move(reply));
}

void AssetApi::GetAsset(CallPtr call, v1::GetAssetRequest request, Reply<v1::Asset> reply) {
  const auto sha256 = OwnAsset(assets_, *call, request.name());
  if (!sha256.ok()) return std::move(reply)(sha256.status());
  assets_->GetAsset(call->caller.tenant, *sha256, std::move(reply));
}

void AssetApi::ListAssets(CallPtr call, v1::ListAssetsRequest request,
                          Reply<v1::ListAssetsResponse> reply) {
  if (assets_ == nullptr) return std::move(reply)(NoAssets());
  if (absl::Status status = CheckParent(*call, request.parent(), "parent"); !status.ok()) {
    return std::move(reply)(status);
  }
  FieldErrors errors;
  AssetStore::ListQuery query;
  query.tenant = call->caller.tenant;
  query.page_size = CheckedPageSize(request.page_size(), errors);
  query.page_token = CheckedPageToken(request.page_token(), errors);
  if (!errors.empty()) return std::move(reply)(errors.ToStatus());
  assets_->ListAssets(
      query, [reply = std::move(reply)](absl::StatusOr<AssetStore::ListPage> page) mutable {
        if (!page.ok()) return std::move(reply)(page.status());
        v1::ListAssetsResponse response;
        for (v1::Asset& asset : page->assets) *response.add_assets() = std::move(asset);
        response.set_next_page_token(page->next_page_token);
        std::move(reply)(std::move(response));
      });
}

void AssetApi::DeleteAsset(CallPtr call, v1::DeleteAssetRequest request,
                           Reply<google::protobuf::Empty> reply) {
  const auto sha256 = OwnAsset(assets_, *call, request.name());
  if (!sha256.ok()) return std::move(reply)(sha256.status());
  assets_->DeleteAsset(call->caller.tenant, *sha256,
                       [reply = std::move(reply)](absl::Status status) mutable {
                         if (!status.ok()) return std::move(reply)(status);
                         std::move(reply)(google::protobuf::Empty());
                       });
}

void AssetApi::DownloadAsset(CallPtr call, v1::DownloadAssetRequest request, Reply<Payload> reply) {
  const auto sha256 = OwnAsset(assets_, *call, request.name());
  if (!sha256.ok()) return std::move(reply)(sha256.status());
  assets_->ReadAsset(call->caller.tenant, *sha256, std::move(reply));
}

}  // namespace darkroom

#include "engine/local_assets.h"

#include <future>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/resource_name.h"
#include "base/sha256.h"
#include "engine/limits.h"
#include "spdlog/spdlog.h"
#include "store/asset_rules.h"

namespace darkroom::engine {
namespace {

absl::Status Busy() {
  return Error(absl::StatusCode::kResourceExhausted, "SERVER_BUSY",
               "the server has too many calls waiting; try again soon")
      .RetryAfter(absl::Milliseconds(200));
}

}  // namespace

LocalAssets::LocalAssets(Options options, StoreThread& store, BlobStore& blobs,
                         PictureDecoder& decoder, Clock& clock)
    : options_(std::move(options)),
      store_(store),
      blobs_(blobs),
      decoder_(decoder),
      clock_(clock),
      queue_(1, kAssetQueueMax) {}

absl::Time LocalAssets::Expiry() const {
  return clock_.WallTime() + absl::Nanoseconds(options_.retention_ns);
}

absl::Status LocalAssets::Write(std::function<absl::Status(AssetStore&)> body) {
  // Shared with the store's thread: a store that stops drops the closures, and with them the
  // promise.
  auto promise = std::make_shared<std::promise<absl::Status>>();
  auto future = promise->get_future();
  auto result = std::make_shared<absl::Status>();
  const bool posted = store_.Post(StoreThread::Write{
      [body = std::move(body), result](GenerationStore& store) { *result = body(store.assets()); },
      [promise, result](const absl::Status& committed) {
        promise->set_value(committed.ok() ? *result : committed);
      }});
  promise.reset();
  if (!posted) return Busy();
  try {
    return future.get();
  } catch (const std::future_error&) {
    return Busy();
  }
}

template <typename T>
void LocalAssets::Post(std::function<T()> work, Done<T> done) {
  auto shared = std::make_shared<Done<T>>(std::move(done));
  const bool posted = queue_.TryPost([work = std::move(work), shared] {
    T result = work();
    std::move (*shared)(std::move(result));
  });
  if (!posted) std::move (*shared)(T(Busy()));
}

absl::StatusOr<v1::Asset> LocalAssets::Store(const std::string& tenant, const Payload& bytes,
                                             const Picture& picture) {
  v1::Asset asset;
  const std::string sha256 = Sha256Hex(bytes.bytes());
  asset.set_name(AssetName{tenant, sha256}.ToString());
  asset.set_sha256(sha256);
  asset.set_size_bytes(static_cast<int64_t>(bytes.size()));
  asset.set_media_type(picture.media_type);
  asset.set_width(picture.width);
  asset.set_height(picture.height);
  asset.set_has_alpha(picture.has_alpha);
  const std::string key = AssetBlobKey(tenant, sha256);
  // Also whether there is such a tenant any more: what is stored here while it is being deleted
  // would be found by a later one of the same name.
  if (const auto quota = options_.quota_bytes(tenant); !quota.ok()) return quota.status();
  if (absl::Status put = blobs_.Put(key, bytes.bytes()); !put.ok()) return put;
  auto stored = std::make_shared<absl::StatusOr<v1::Asset>>(absl::InternalError("not run"));
  absl::Status written = Write([this, tenant, asset, stored](AssetStore& store) -> absl::Status {
    const auto quota = options_.quota_bytes(tenant);
    if (!quota.ok()) return quota.status();
    *stored = store.PutAsset(asset, clock_.WallTime(), Expiry(), *quota);
    return stored->status();
  });
  if (written.ok()) return *stored;
  // Only refused when the tenant did not have it, or is gone itself: nothing else names these
  // bytes.
  const std::string reason = ErrorReason(written);
  if (reason == "ASSET_QUOTA_EXCEEDED" || reason == "TENANT_NOT_FOUND") {
    blobs_.Delete(key).IgnoreError();
  }
  return written;
}

void LocalAssets::UploadAsset(const std::string& tenant, Payload bytes,
                              Done<absl::StatusOr<v1::Asset>> done) {
  auto shared = std::make_shared<Done<absl::StatusOr<v1::Asset>>>(std::move(done));
  decoder_.Decode(bytes, PictureUse::kCheck,
                  [this, tenant, bytes, shared](absl::StatusOr<Picture> picture) {
                    if (!picture.ok()) return std::move(*shared)(picture.status());
                    Post<absl::StatusOr<v1::Asset>>(
                        [this, tenant, bytes, checked = *std::move(picture)] {
                          return Store(tenant, bytes, checked);
                        },
                        std::move(*shared));
                  });
}

void LocalAssets::GetAsset(const std::string& tenant, const std::string& sha256,
                           Done<absl::StatusOr<v1::Asset>> done) {
  auto shared = std::make_shared<Done<absl::StatusOr<v1::Asset>>>(std::move(done));
  const bool posted =
      store_.Post(StoreThread::Read{[this, tenant, sha256, shared](GenerationStore& store) {
        std::move (*shared)(store.assets().GetAsset(tenant, sha256, clock_.WallTime()));
      }});
  if (!posted) std::move (*shared)(Busy());
}

void LocalAssets::ListAssets(const AssetStore::ListQuery& query,
                             Done<absl::StatusOr<AssetStore::ListPage>> done) {
  auto shared = std::make_shared<Done<absl::StatusOr<AssetStore::ListPage>>>(std::move(done));
  const bool posted = store_.Post(StoreThread::Read{[this, query, shared](GenerationStore& store) {
    std::move (*shared)(store.assets().ListAssets(query, clock_.WallTime()));
  }});
  if (!posted) std::move (*shared)(Busy());
}

void LocalAssets::ReadAsset(const std::string& tenant, const std::string& sha256,
                            Done<absl::StatusOr<Payload>> done) {
  Post<absl::StatusOr<Payload>>(
      [this, tenant, sha256]() -> absl::StatusOr<Payload> {
        const absl::Status used = Write([this, tenant, sha256](AssetStore& store) {
          return store.TouchAsset(tenant, sha256, clock_.WallTime(), Expiry());
        });
        if (!used.ok()) return used;
        return blobs_.Get(AssetBlobKey(tenant, sha256));
      },
      std::move(done));
}

void LocalAssets::DeleteAsset(const std::string& tenant, const std::string& sha256,
                              Done<absl::Status> done) {
  Post<absl::Status>(
      [this, tenant, sha256] {
        absl::Status deleted = Write([this, tenant, sha256](AssetStore& store) {
          return store.DeleteAsset(tenant, sha256, clock_.WallTime());
        });
        if (!deleted.ok()) return deleted;
        const absl::Status removed = blobs_.Delete(AssetBlobKey(tenant, sha256));
        if (!removed.ok()) spdlog::error("an asset's bytes could not be deleted");
        return deleted;
      },
      std::move(done));
}

void LocalAssets::DeleteTenantBytes(const std::string& tenant, Done<absl::Status> done) {
  // Behind every upload that was under way.
  queue_.Post([this, tenant, done = std::move(done)]() mutable {
    std::move(done)(blobs_.Delete(absl::StrCat("tenants/", tenant)));
  });
}

void LocalAssets::Purge() {
  queue_.TryPost([this] {
    auto names = std::make_shared<std::vector<std::string>>();
    const absl::Status purged = Write([this, names](AssetStore& store) {
      auto expired = store.PurgeAssets(clock_.WallTime(), kPurgeMax);
      if (!expired.ok()) return expired.status();
      *names = *std::move(expired);
      return absl::OkStatus();
    });
    if (!purged.ok()) return;
    for (const std::string& text : *names) {
      const auto name = AssetName::Parse(text, "name");
      if (!name.ok()) continue;
      const absl::Status removed = blobs_.Delete(AssetBlobKey(name->tenant, name->sha256));
      if (!removed.ok()) spdlog::error("an asset's bytes could not be purged");
    }
  });
}

}  // namespace darkroom::engine

#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/clock.h"
#include "darkroom/assets.h"
#include "darkroom/blob.h"
#include "darkroom/picture_decoder.h"
#include "engine/work_queue.h"
#include "store/store_thread.h"

namespace darkroom::engine {

// Uploaded pictures on the store and the blob store of this daemon.
//
// What changes an asset runs on one thread, one after the other, each to its end: bytes and record
// of an asset cannot be made and deleted at the same time. The bytes are there before the record
// and go after it, so that whatever is named can be read, also after a crash in between.
class LocalAssets final : public Assets {
 public:
  struct Options {
    int64_t retention_ns = 24LL * 3600 * 1'000'000'000;  // after the last use
    // Bytes of one tenant's; its error refuses the upload. Called on any thread, must not block.
    std::function<absl::StatusOr<int64_t>(const std::string& tenant)> quota_bytes;
  };
  // All must outlive it; it must go before `store` stops.
  LocalAssets(Options options, StoreThread& store, BlobStore& blobs, PictureDecoder& decoder,
              Clock& clock);

  void UploadAsset(const std::string& tenant, Payload bytes,
                   Done<absl::StatusOr<v1::Asset>> done) override;
  void GetAsset(const std::string& tenant, const std::string& sha256,
                Done<absl::StatusOr<v1::Asset>> done) override;
  void ListAssets(const AssetStore::ListQuery& query,
                  Done<absl::StatusOr<AssetStore::ListPage>> done) override;
  void ReadAsset(const std::string& tenant, const std::string& sha256,
                 Done<absl::StatusOr<Payload>> done) override;
  void DeleteAsset(const std::string& tenant, const std::string& sha256,
                   Done<absl::Status> done) override;

  // Deletes the bytes of everything that the tenant has, generations included; records are the
  // caller's to delete, afterwards. Thread-safe, never blocks; `done` runs as other callbacks do.
  void DeleteTenantBytes(const std::string& tenant, Done<absl::Status> done);

  // Deletes what has expired; to be called now and then. Never blocks.
  void Purge();

 private:
  // Runs `body` in the store's next transaction and waits until it is durable.
  absl::Status Write(std::function<absl::Status(AssetStore&)> body);
  template <typename T>
  void Post(std::function<T()> work, Done<T> done);
  absl::StatusOr<v1::Asset> Store(const std::string& tenant, const Payload& bytes,
                                  const Picture& picture);
  absl::Time Expiry() const;

  const Options options_;
  StoreThread& store_;
  BlobStore& blobs_;
  PictureDecoder& decoder_;
  Clock& clock_;
  WorkQueue queue_;
};

}  // namespace darkroom::engine

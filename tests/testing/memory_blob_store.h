#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/mutex.h"
#include "darkroom/blob.h"
#include "store/blob_key.h"

namespace darkroom::testing {

// A BlobStore in memory, of a fixed size. Thread-safe.
class MemoryBlobStore final : public BlobStore {
 public:
  explicit MemoryBlobStore(int64_t capacity_bytes = int64_t{1} << 30)
      : capacity_bytes_(capacity_bytes) {}

  absl::Status Put(std::string_view key, std::string_view bytes) override {
    if (absl::Status status = CheckBlobKey(key); !status.ok()) return status;
    MutexLock lock(mutex_);
    const auto old = blobs_.find(key);
    const int64_t used = used_bytes_ + static_cast<int64_t>(bytes.size()) -
                         (old == blobs_.end() ? 0 : static_cast<int64_t>(old->second.size()));
    if (used > capacity_bytes_) {
      return Error(absl::StatusCode::kResourceExhausted, "DISK_FULL", "the store's disk is full");
    }
    used_bytes_ = used;
    blobs_.insert_or_assign(std::string(key), Payload::Copy(bytes));
    return absl::OkStatus();
  }

  absl::StatusOr<Payload> Get(std::string_view key) override {
    if (absl::Status status = CheckBlobKey(key); !status.ok()) return status;
    MutexLock lock(mutex_);
    const auto blob = blobs_.find(key);
    if (blob == blobs_.end()) return BlobNotFound();
    return blob->second;
  }

  absl::Status Delete(std::string_view key) override {
    if (absl::Status status = CheckBlobKey(key); !status.ok()) return status;
    const std::string folder = std::string(key) + "/";
    MutexLock lock(mutex_);
    for (auto it = blobs_.lower_bound(key); it != blobs_.end();) {
      // In order of bytes "a-b" comes between "a" and "a/b".
      const bool is_key = it->first == key;
      const bool is_below = it->first.compare(0, folder.size(), folder) == 0;
      if (!is_key && !is_below) {
        if (it->first.compare(0, key.size(), key) != 0) break;
        ++it;
        continue;
      }
      used_bytes_ -= static_cast<int64_t>(it->second.size());
      it = blobs_.erase(it);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<int64_t> FreeBytes() override {
    MutexLock lock(mutex_);
    return capacity_bytes_ - used_bytes_;
  }

 private:
  const int64_t capacity_bytes_;
  Mutex mutex_;
  std::map<std::string, Payload, std::less<>> blobs_ ABSL_GUARDED_BY(mutex_);
  int64_t used_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace darkroom::testing

#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/resource_name.h"
#include "base/wall_time.h"
#include "darkroom/asset_store.h"
#include "store/asset_rules.h"
#include "store/limits.h"

namespace darkroom::testing {

// The assets of a MemoryStore: what its disk keeps of them.
struct MemoryAssetRows {
  struct Row {
    int64_t ordinal = 0;
    v1::Asset asset;
    absl::Time expire;
  };
  std::map<std::pair<std::string, std::string>, Row> rows;  // tenant, digest
  int64_t last_ordinal = 0;
};

class MemoryAssets final : public AssetStore {
 public:
  // `undo`: how the store takes back what is not committed.
  MemoryAssets(MemoryAssetRows& disk, std::vector<std::function<void()>>& undo)
      : disk_(disk), undo_(undo) {}

  absl::StatusOr<v1::Asset> PutAsset(const v1::Asset& asset, absl::Time now, absl::Time expire,
                                     int64_t quota_bytes) override {
    const auto name = AssetName::Parse(asset.name(), "name");
    if (!name.ok()) return name.status();
    if (TouchAsset(name->tenant, name->sha256, now, expire).ok()) {
      return GetAsset(name->tenant, name->sha256, now);
    }
    Remember();
    disk_.rows.erase({name->tenant, name->sha256});
    int64_t used = 0;
    for (const auto& [key, row] : disk_.rows) {
      if (key.first == name->tenant && row.expire > now) used += row.asset.size_bytes();
    }
    if (asset.size_bytes() > quota_bytes - used) return AssetQuotaExceeded(used, quota_bytes);
    auto& row = disk_.rows[{name->tenant, name->sha256}];
    row = {++disk_.last_ordinal, asset, expire};
    *row.asset.mutable_create_time() = ToTimestamp(now);
    return GetAsset(name->tenant, name->sha256, now);
  }

  absl::StatusOr<v1::Asset> GetAsset(const std::string& tenant, const std::string& sha256,
                                     absl::Time now) override {
    const auto it = disk_.rows.find({tenant, sha256});
    if (it == disk_.rows.end() || it->second.expire <= now) return AssetMissing();
    v1::Asset asset = it->second.asset;
    *asset.mutable_expire_time() = ToTimestamp(it->second.expire);
    return asset;
  }

  absl::Status TouchAsset(const std::string& tenant, const std::string& sha256, absl::Time now,
                          absl::Time expire) override {
    if (auto present = GetAsset(tenant, sha256, now); !present.ok()) return present.status();
    Remember();
    auto& row = disk_.rows.at({tenant, sha256});
    row.expire = std::max(row.expire, expire);
    return absl::OkStatus();
  }

  absl::Status DeleteAsset(const std::string& tenant, const std::string& sha256,
                           absl::Time now) override {
    if (auto present = GetAsset(tenant, sha256, now); !present.ok()) return present.status();
    Remember();
    disk_.rows.erase({tenant, sha256});
    return absl::OkStatus();
  }

  absl::StatusOr<ListPage> ListAssets(const ListQuery& query, absl::Time now) override {
    const auto before = ReadAssetPageToken(kKey, query);
    if (!before.ok()) return before.status();
    std::map<int64_t, std::string, std::greater<>> newest;
    for (const auto& [key, row] : disk_.rows) {
      if (key.first == query.tenant && row.expire > now && row.ordinal < *before) {
        newest[row.ordinal] = key.second;
      }
    }
    ListPage page;
    int64_t last = 0;
    for (const auto& [ordinal, sha256] : newest) {
      if (static_cast<int>(page.assets.size()) ==
          std::clamp(query.page_size, 1, store_limits::kPageSizeMax)) {
        page.next_page_token = MakeAssetPageToken(kKey, query, last);
        break;
      }
      last = ordinal;
      page.assets.push_back(*GetAsset(query.tenant, sha256, now));
    }
    return page;
  }

  absl::StatusOr<std::vector<std::string>> PurgeAssets(absl::Time now, int max) override {
    Remember();
    std::vector<std::string> names;
    for (auto it = disk_.rows.begin();
         it != disk_.rows.end() && static_cast<int>(names.size()) < max;) {
      if (it->second.expire > now) {
        ++it;
        continue;
      }
      names.push_back(AssetName{it->first.first, it->first.second}.ToString());
      it = disk_.rows.erase(it);
    }
    return names;
  }

  // How many went, at most `max`.
  int64_t RemoveAssetsOf(const std::string& tenant, int max) {
    Remember();
    int64_t gone = 0;
    for (auto it = disk_.rows.begin(); it != disk_.rows.end() && gone < max;) {
      const bool own = it->first.first == tenant;
      gone += own ? 1 : 0;
      it = own ? disk_.rows.erase(it) : std::next(it);
    }
    return gone;
  }

 private:
  static constexpr char kKey[] = "memory";

  void Remember() {
    undo_.push_back([this, before = disk_] { disk_ = before; });
  }

  MemoryAssetRows& disk_;
  std::vector<std::function<void()>>& undo_;
};

}  // namespace darkroom::testing

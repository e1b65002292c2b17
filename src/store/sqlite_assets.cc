#include "store/sqlite_assets.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/resource_name.h"
#include "base/wall_time.h"
#include "store/asset_rules.h"
#include "store/limits.h"

namespace darkroom {

const std::array<const char*, SqliteAssets::kSqlCount> SqliteAssets::kSql = {
    "SELECT expire_nanos, content FROM assets WHERE tenant = ? AND sha256 = ? AND expire_nanos > ?",
    "INSERT INTO assets(tenant, sha256, size_bytes, expire_nanos, content) VALUES (?, ?, ?, ?, ?)",
    "UPDATE assets SET expire_nanos = max(expire_nanos, ?) WHERE tenant = ? AND sha256 = ?",
    "DELETE FROM assets WHERE tenant = ? AND sha256 = ?",
    "SELECT coalesce(sum(size_bytes), 0) FROM assets WHERE tenant = ? AND expire_nanos > ?",
    "SELECT ordinal, expire_nanos, content FROM assets WHERE tenant = ? AND expire_nanos > ? AND "
    "ordinal < ? ORDER BY ordinal DESC LIMIT ?",
    "SELECT tenant, sha256 FROM assets WHERE expire_nanos <= ? ORDER BY expire_nanos LIMIT ?",
};

namespace {

absl::StatusOr<v1::Asset> Decode(int64_t expire_nanos, std::string_view content) {
  v1::Asset asset;
  if (!asset.ParseFromString(std::string(content))) return AssetDamaged();
  *asset.mutable_expire_time() = ToTimestamp(absl::FromUnixNanos(expire_nanos));
  return asset;
}

}  // namespace

absl::Status SqliteAssets::Prepare(std::string page_token_key) {
  page_token_key_ = std::move(page_token_key);
  for (size_t i = 0; i < kSqlCount; ++i) statements_[i] = connection_.Prepare(kSql[i]);
  return Status();
}

absl::StatusOr<v1::Asset> SqliteAssets::PutAsset(const v1::Asset& asset, absl::Time now,
                                                 absl::Time expire, int64_t quota_bytes) {
  const auto name = AssetName::Parse(asset.name(), "name");
  if (!name.ok()) return name.status();
  auto present = GetAsset(name->tenant, name->sha256, now);
  if (!absl::IsNotFound(present.status())) {
    if (!present.ok()) return present;
    const absl::Status touched = TouchAsset(name->tenant, name->sha256, now, expire);
    if (!touched.ok()) return touched;
    return GetAsset(name->tenant, name->sha256, now);
  }
  // One whose time is over and that was not purged yet makes room for itself.
  SqliteQuery(Statement(kDelete)).Bind(name->tenant).Bind(name->sha256).Run();
  int64_t used = 0;
  {
    SqliteQuery query(Statement(kUsedBytes));
    query.Bind(name->tenant).Bind(absl::ToUnixNanos(now));
    if (query.Next()) used = query.Int(0);
  }
  if (!Status().ok()) return Status();
  if (asset.size_bytes() > quota_bytes - used) return AssetQuotaExceeded(used, quota_bytes);
  v1::Asset stored = asset;
  *stored.mutable_create_time() = ToTimestamp(now);
  *stored.mutable_expire_time() = ToTimestamp(expire);
  const std::string content = stored.SerializeAsString();
  SqliteQuery(Statement(kInsert))
      .Bind(name->tenant)
      .Bind(name->sha256)
      .Bind(asset.size_bytes())
      .Bind(absl::ToUnixNanos(expire))
      .BindBytes(content)
      .Run();
  if (!Status().ok()) return Status();
  return stored;
}

absl::StatusOr<v1::Asset> SqliteAssets::GetAsset(const std::string& tenant,
                                                 const std::string& sha256, absl::Time now) {
  SqliteQuery query(Statement(kSelect));
  query.Bind(tenant).Bind(sha256).Bind(absl::ToUnixNanos(now));
  const bool found = query.Next();
  if (!Status().ok()) return Status();
  if (!found) return AssetMissing();
  return Decode(query.Int(0), query.Text(1));
}

absl::Status SqliteAssets::TouchAsset(const std::string& tenant, const std::string& sha256,
                                      absl::Time now, absl::Time expire) {
  if (auto present = GetAsset(tenant, sha256, now); !present.ok()) return present.status();
  SqliteQuery(Statement(kTouch)).Bind(absl::ToUnixNanos(expire)).Bind(tenant).Bind(sha256).Run();
  return Status();
}

absl::Status SqliteAssets::DeleteAsset(const std::string& tenant, const std::string& sha256,
                                       absl::Time now) {
  if (auto present = GetAsset(tenant, sha256, now); !present.ok()) return present.status();
  SqliteQuery(Statement(kDelete)).Bind(tenant).Bind(sha256).Run();
  return Status();
}

absl::StatusOr<AssetStore::ListPage> SqliteAssets::ListAssets(const ListQuery& query,
                                                              absl::Time now) {
  const auto before = ReadAssetPageToken(page_token_key_, query);
  if (!before.ok()) return before.status();
  const int size = std::clamp(query.page_size, 1, store_limits::kPageSizeMax);
  ListPage page;
  int64_t last = 0;
  SqliteQuery rows(Statement(kList));
  rows.Bind(query.tenant).Bind(absl::ToUnixNanos(now)).Bind(*before).Bind(size + 1);
  while (rows.Next()) {
    if (static_cast<int>(page.assets.size()) == size) {
      page.next_page_token = MakeAssetPageToken(page_token_key_, query, last);
      break;
    }
    auto asset = Decode(rows.Int(1), rows.Text(2));
    if (!asset.ok()) return asset.status();
    last = rows.Int(0);
    page.assets.push_back(*std::move(asset));
  }
  if (!Status().ok()) return Status();
  return page;
}

absl::StatusOr<std::vector<std::string>> SqliteAssets::PurgeAssets(absl::Time now, int max) {
  std::vector<AssetName> expired;
  {
    SqliteQuery query(Statement(kExpired));
    query.Bind(absl::ToUnixNanos(now)).Bind(std::max(max, 0));
    while (query.Next()) {
      expired.push_back({std::string(query.Text(0)), std::string(query.Text(1))});
    }
  }
  std::vector<std::string> names;
  for (const AssetName& name : expired) {
    SqliteQuery(Statement(kDelete)).Bind(name.tenant).Bind(name.sha256).Run();
    names.push_back(name.ToString());
  }
  if (!Status().ok()) return Status();
  return names;
}

}  // namespace darkroom

#pragma once

#include <array>
#include <memory>
#include <string>

#include "darkroom/asset_store.h"
#include "store/sqlite_connection.h"

namespace darkroom {

// The assets' part of a SqliteStore: works on its connection, in its transactions.
class SqliteAssets final : public AssetStore {
 public:
  // `connection` must outlive it. Statements are prepared by Prepare.
  explicit SqliteAssets(SqliteConnection& connection) : connection_(connection) {}

  // `page_token_key`: as the generations' lists have it.
  absl::Status Prepare(std::string page_token_key);

  absl::StatusOr<v1::Asset> PutAsset(const v1::Asset& asset, absl::Time now, absl::Time expire,
                                     int64_t quota_bytes) override;
  absl::StatusOr<v1::Asset> GetAsset(const std::string& tenant, const std::string& sha256,
                                     absl::Time now) override;
  absl::Status TouchAsset(const std::string& tenant, const std::string& sha256, absl::Time now,
                          absl::Time expire) override;
  absl::Status DeleteAsset(const std::string& tenant, const std::string& sha256,
                           absl::Time now) override;
  absl::StatusOr<ListPage> ListAssets(const ListQuery& query, absl::Time now) override;
  absl::StatusOr<std::vector<std::string>> PurgeAssets(absl::Time now, int max) override;

 private:
  enum Sql : size_t {
    kSelect,
    kInsert,
    kTouch,
    kDelete,
    kUsedBytes,
    kList,
    kExpired,
    kSqlCount,
  };
  static const std::array<const char*, kSqlCount> kSql;

  const absl::Status& Status() const { return connection_.status(); }
  SqliteStatement& Statement(Sql sql) { return *statements_[sql]; }

  SqliteConnection& connection_;
  std::array<std::unique_ptr<SqliteStatement>, kSqlCount> statements_;
  std::string page_token_key_;
};

}  // namespace darkroom

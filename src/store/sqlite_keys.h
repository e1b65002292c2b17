#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "darkroom/key_store.h"
#include "store/sqlite_connection.h"

namespace darkroom {

// The keys' part of a SqliteStore: works on its connection, in its transactions.
class SqliteKeys final : public KeyStore {
 public:
  // `connection` must outlive it. Statements are prepared by Prepare.
  explicit SqliteKeys(SqliteConnection& connection) : connection_(connection) {}
  absl::Status Prepare();

  absl::Status PutKey(const v1::ApiKeyRecord& record) override;
  absl::StatusOr<v1::ApiKeyRecord> GetKey(const std::string& name) override;
  absl::StatusOr<std::vector<v1::ApiKeyRecord>> AllKeys() override;
  absl::StatusOr<int64_t> CountKeys(const std::string& tenant) override;
  absl::StatusOr<std::vector<std::string>> RemoveKeysOf(const std::string& tenant) override;
  absl::StatusOr<std::vector<std::string>> PurgeKeys(absl::Time before) override;

 private:
  enum Sql : size_t {
    kPut,
    kSelect,
    kAll,
    kCount,
    kCountTenant,
    kOfTenant,
    kEnded,
    kDelete,
    kSqlCount
  };
  static const std::array<const char*, kSqlCount> kSql;

  const absl::Status& Status() const { return connection_.status(); }
  // Removes what `query` names.
  absl::StatusOr<std::vector<std::string>> RemoveSelected(SqliteQuery& query);
  SqliteStatement& Statement(Sql sql) { return *statements_[sql]; }

  SqliteConnection& connection_;
  std::array<std::unique_ptr<SqliteStatement>, kSqlCount> statements_;
};

}  // namespace darkroom

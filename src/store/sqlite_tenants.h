#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "darkroom/tenant_store.h"
#include "store/sqlite_connection.h"

namespace darkroom {

// The tenants' part of a SqliteStore: works on its connection, in its transactions.
class SqliteTenants final : public TenantStore {
 public:
  // `connection` must outlive it. Statements are prepared by Prepare.
  explicit SqliteTenants(SqliteConnection& connection) : connection_(connection) {}
  absl::Status Prepare();

  absl::Status PutTenant(const v1::TenantRecord& record) override;
  absl::StatusOr<v1::TenantRecord> GetTenant(const std::string& name) override;
  absl::StatusOr<v1::TenantRecord> FindTenantRequest(const std::string& request_id) override;
  absl::StatusOr<std::vector<v1::TenantRecord>> AllTenants() override;
  absl::StatusOr<int64_t> CountTenants() override;
  absl::Status RemoveTenant(const std::string& name) override;
  absl::StatusOr<int64_t> CountUnfinished(const std::string& name) override;
  absl::StatusOr<int64_t> PurgeContent(const std::string& name, int max) override;

 private:
  enum Sql : size_t {
    kPut,
    kSelect,
    kSelectRequest,
    kAll,
    kCount,
    kDelete,
    kCountUnfinished,
    // Of PurgeContent, in this order: events are found by their generations.
    kDeleteEvents,
    kDeleteGenerations,
    kDeleteRequests,
    kDeleteAssets,
    kSqlCount
  };
  static const std::array<const char*, kSqlCount> kSql;

  const absl::Status& Status() const { return connection_.status(); }
  SqliteStatement& Statement(Sql sql) { return *statements_[sql]; }
  absl::StatusOr<v1::TenantRecord> SelectOne(Sql sql, const std::string& value);

  SqliteConnection& connection_;
  std::array<std::unique_ptr<SqliteStatement>, kSqlCount> statements_;
};

}  // namespace darkroom

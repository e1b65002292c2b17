#include "store/sqlite_tenants.h"

#include "absl/strings/strip.h"
#include "base/error.h"
#include "store/tenant_rules.h"

namespace darkroom {
namespace {

absl::StatusOr<v1::TenantRecord> Parse(std::string_view content) {
  v1::TenantRecord record;
  if (!record.ParseFromArray(content.data(), static_cast<int>(content.size()))) {
    return Error(absl::StatusCode::kDataLoss, "STORE_CORRUPT",
                 "the store has a tenant that it did not write");
  }
  return record;
}

}  // namespace

const std::array<const char*, SqliteTenants::kSqlCount> SqliteTenants::kSql = {
    "INSERT INTO tenants(name, request_id, content) VALUES (?, ?, ?) ON CONFLICT(name) DO UPDATE "
    "SET request_id = excluded.request_id, content = excluded.content",
    "SELECT content FROM tenants WHERE name = ?",
    "SELECT content FROM tenants WHERE request_id = ? AND request_id <> ''",
    "SELECT content FROM tenants ORDER BY name",
    "SELECT count(*) FROM tenants",
    "DELETE FROM tenants WHERE name = ?",
    "SELECT count(*) FROM generations WHERE tenant = ? AND end_nanos IS NULL",
    "DELETE FROM events WHERE generation IN "
    "(SELECT ordinal FROM generations WHERE tenant = ? ORDER BY id LIMIT ?)",
    "DELETE FROM generations WHERE ordinal IN "
    "(SELECT ordinal FROM generations WHERE tenant = ? ORDER BY id LIMIT ?)",
    "DELETE FROM requests WHERE tenant = ?1 AND request_id IN "
    "(SELECT request_id FROM requests WHERE tenant = ?1 ORDER BY request_id LIMIT ?2)",
    "DELETE FROM assets WHERE ordinal IN "
    "(SELECT ordinal FROM assets WHERE tenant = ? ORDER BY sha256 LIMIT ?)",
};

absl::Status SqliteTenants::Prepare() {
  for (size_t i = 0; i < kSqlCount; ++i) statements_[i] = connection_.Prepare(kSql[i]);
  return Status();
}

absl::Status SqliteTenants::PutTenant(const v1::TenantRecord& record) {
  const std::string content = record.SerializeAsString();
  SqliteQuery(Statement(kPut))
      .Bind(record.tenant().name())
      .Bind(record.request_id())
      .BindBytes(content)
      .Run();
  return Status();
}

absl::StatusOr<v1::TenantRecord> SqliteTenants::SelectOne(Sql sql, const std::string& value) {
  SqliteQuery query(Statement(sql));
  query.Bind(value);
  const bool found = query.Next();
  if (!Status().ok()) return Status();
  if (!found) return TenantMissing();
  return Parse(query.Text(0));
}

absl::StatusOr<v1::TenantRecord> SqliteTenants::GetTenant(const std::string& name) {
  return SelectOne(kSelect, name);
}

absl::StatusOr<v1::TenantRecord> SqliteTenants::FindTenantRequest(const std::string& request_id) {
  return SelectOne(kSelectRequest, request_id);
}

absl::StatusOr<std::vector<v1::TenantRecord>> SqliteTenants::AllTenants() {
  std::vector<v1::TenantRecord> records;
  SqliteQuery query(Statement(kAll));
  while (query.Next()) {
    auto record = Parse(query.Text(0));
    if (!record.ok()) return record.status();
    records.push_back(*std::move(record));
  }
  if (!Status().ok()) return Status();
  return records;
}

absl::StatusOr<int64_t> SqliteTenants::CountTenants() {
  SqliteQuery query(Statement(kCount));
  const int64_t count = query.Next() ? query.Int(0) : 0;
  if (!Status().ok()) return Status();
  return count;
}

absl::Status SqliteTenants::RemoveTenant(const std::string& name) {
  SqliteQuery(Statement(kDelete)).Bind(name).Run();
  return Status();
}

absl::StatusOr<int64_t> SqliteTenants::CountUnfinished(const std::string& name) {
  const std::string tenant = TenantIdOf(name);
  SqliteQuery query(Statement(kCountUnfinished));
  query.Bind(tenant);
  const int64_t count = query.Next() ? query.Int(0) : 0;
  if (!Status().ok()) return Status();
  return count;
}

absl::StatusOr<int64_t> SqliteTenants::PurgeContent(const std::string& name, int max) {
  const std::string tenant = TenantIdOf(name);
  int64_t gone = 0;
  for (const Sql sql : {kDeleteEvents, kDeleteGenerations, kDeleteRequests, kDeleteAssets}) {
    SqliteQuery(Statement(sql)).Bind(tenant).Bind(max).Run();
    if (!Status().ok()) return Status();
    gone += connection_.Changes();
  }
  return gone;
}

}  // namespace darkroom

#include "store/sqlite_keys.h"

#include "base/error.h"
#include "store/key_rules.h"

namespace darkroom {
namespace {

absl::StatusOr<v1::ApiKeyRecord> Parse(std::string_view content) {
  v1::ApiKeyRecord record;
  if (!record.ParseFromArray(content.data(), static_cast<int>(content.size()))) {
    return Error(absl::StatusCode::kDataLoss, "STORE_CORRUPT",
                 "the store has a key that it did not write");
  }
  return record;
}

}  // namespace

const std::array<const char*, SqliteKeys::kSqlCount> SqliteKeys::kSql = {
    "INSERT INTO api_keys(name, tenant, end_nanos, content) VALUES (?, ?, ?, ?) "
    "ON CONFLICT(name) DO UPDATE SET tenant = excluded.tenant, end_nanos = excluded.end_nanos, "
    "content = excluded.content",
    "SELECT content FROM api_keys WHERE name = ?",
    "SELECT content FROM api_keys ORDER BY name",
    "SELECT count(*) FROM api_keys",
    "SELECT count(*) FROM api_keys WHERE tenant = ?",
    "SELECT name FROM api_keys WHERE tenant = ?",
    "SELECT name FROM api_keys WHERE end_nanos < ?",
    "DELETE FROM api_keys WHERE name = ?",
};

absl::Status SqliteKeys::Prepare() {
  for (size_t i = 0; i < kSqlCount; ++i) statements_[i] = connection_.Prepare(kSql[i]);
  return Status();
}

absl::Status SqliteKeys::PutKey(const v1::ApiKeyRecord& record) {
  const std::string content = record.SerializeAsString();
  const auto end = EndOf(record.key());
  SqliteQuery query(Statement(kPut));
  query.Bind(record.key().name()).Bind(record.key().tenant());
  if (end) {
    query.Bind(absl::ToUnixNanos(*end));
  } else {
    query.BindNull();
  }
  query.BindBytes(content).Run();
  return Status();
}

absl::StatusOr<v1::ApiKeyRecord> SqliteKeys::GetKey(const std::string& name) {
  SqliteQuery query(Statement(kSelect));
  query.Bind(name);
  const bool found = query.Next();
  if (!Status().ok()) return Status();
  if (!found) return KeyMissing();
  return Parse(query.Text(0));
}

absl::StatusOr<std::vector<v1::ApiKeyRecord>> SqliteKeys::AllKeys() {
  std::vector<v1::ApiKeyRecord> records;
  SqliteQuery query(Statement(kAll));
  while (query.Next()) {
    auto record = Parse(query.Text(0));
    if (!record.ok()) return record.status();
    records.push_back(*std::move(record));
  }
  if (!Status().ok()) return Status();
  return records;
}

absl::StatusOr<int64_t> SqliteKeys::CountKeys(const std::string& tenant) {
  SqliteQuery query(Statement(tenant.empty() ? kCount : kCountTenant));
  if (!tenant.empty()) query.Bind(tenant);
  const int64_t count = query.Next() ? query.Int(0) : 0;
  if (!Status().ok()) return Status();
  return count;
}

absl::StatusOr<std::vector<std::string>> SqliteKeys::RemoveSelected(SqliteQuery& query) {
  std::vector<std::string> names;
  while (query.Next()) names.emplace_back(query.Text(0));
  for (const std::string& name : names) SqliteQuery(Statement(kDelete)).Bind(name).Run();
  if (!Status().ok()) return Status();
  return names;
}

absl::StatusOr<std::vector<std::string>> SqliteKeys::RemoveKeysOf(const std::string& tenant) {
  SqliteQuery query(Statement(kOfTenant));
  query.Bind(tenant);
  return RemoveSelected(query);
}

absl::StatusOr<std::vector<std::string>> SqliteKeys::PurgeKeys(absl::Time before) {
  SqliteQuery query(Statement(kEnded));
  query.Bind(absl::ToUnixNanos(before));
  return RemoveSelected(query);
}

}  // namespace darkroom

#include "store/sqlite_connection.h"

#include <sqlite3.h>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "spdlog/spdlog.h"
#include "store/limits.h"

namespace darkroom {
namespace {

absl::Status FromCode(int code) {
  switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return Error(absl::StatusCode::kFailedPrecondition, "STORE_IN_USE",
                   "the store's database is open in another process; each server "
                   "needs a store "
                   "folder of its own");
    case SQLITE_FULL:
      return Error(absl::StatusCode::kResourceExhausted, "DISK_FULL",
                   "the store's disk is full; the server must be restarted once "
                   "there is space");
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return Error(absl::StatusCode::kDataLoss, "STORE_CORRUPT",
                   "the store's database is damaged or is no database");
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
      return Error(absl::StatusCode::kFailedPrecondition, "STORE_NOT_WRITABLE",
                   "the store's database cannot be opened for writing");
    default:
      return Error(absl::StatusCode::kUnavailable, "STORE_BROKEN",
                   "the store failed and takes nothing more until the server is "
                   "restarted");
  }
}

}  // namespace

SqliteStatement::~SqliteStatement() { sqlite3_finalize(statement_); }

SqliteQuery::~SqliteQuery() {
  // A statement that writes and was not stepped to its end commits here, and may fail here. After a
  // failed step this repeats its error, which has broken the connection already.
  const int code = sqlite3_reset(statement_.statement_);
  if (code != SQLITE_OK) statement_.connection_.Fail(code);
  sqlite3_clear_bindings(statement_.statement_);
}

SqliteQuery& SqliteQuery::Bind(int64_t value) {
  const int code = sqlite3_bind_int64(statement_.statement_, ++bound_, value);
  if (code != SQLITE_OK) statement_.connection_.Fail(code);
  return *this;
}

SqliteQuery& SqliteQuery::Bind(std::string_view text) {
  const int code = sqlite3_bind_text64(statement_.statement_, ++bound_, text.data(), text.size(),
                                       SQLITE_STATIC, SQLITE_UTF8);
  if (code != SQLITE_OK) statement_.connection_.Fail(code);
  return *this;
}

SqliteQuery& SqliteQuery::BindBytes(std::string_view bytes) {
  // A null pointer would bind NULL instead of no bytes.
  const char* data = bytes.empty() ? "" : bytes.data();
  const int code =
      sqlite3_bind_blob64(statement_.statement_, ++bound_, data, bytes.size(), SQLITE_STATIC);
  if (code != SQLITE_OK) statement_.connection_.Fail(code);
  return *this;
}

SqliteQuery& SqliteQuery::BindNull() {
  const int code = sqlite3_bind_null(statement_.statement_, ++bound_);
  if (code != SQLITE_OK) statement_.connection_.Fail(code);
  return *this;
}

bool SqliteQuery::Next() {
  if (!statement_.connection_.status().ok()) return false;
  const int code = sqlite3_step(statement_.statement_);
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) statement_.connection_.Fail(code);
  return false;
}

int64_t SqliteQuery::Int(int column) const {
  return sqlite3_column_int64(statement_.statement_, column);
}

bool SqliteQuery::IsNull(int column) const {
  return sqlite3_column_type(statement_.statement_, column) == SQLITE_NULL;
}

std::string_view SqliteQuery::Text(int column) const {
  const void* data = sqlite3_column_blob(statement_.statement_, column);
  if (data == nullptr) return {};
  return {static_cast<const char*>(data),
          static_cast<size_t>(sqlite3_column_bytes(statement_.statement_, column))};
}

absl::StatusOr<std::unique_ptr<SqliteConnection>> SqliteConnection::Open(const std::string& path,
                                                                         const std::string& vfs) {
  std::unique_ptr<SqliteConnection> connection(new SqliteConnection());
  // One thread owns the connection, so SQLite need not lock.
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                    SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_EXRESCODE;
  const int code = sqlite3_open_v2(path.c_str(), &connection->database_, flags,
                                   vfs.empty() ? nullptr : vfs.c_str());
  if (code != SQLITE_OK) {
    connection->Fail(code);
    return connection->status();
  }
  sqlite3* const database = connection->database_;
  sqlite3_db_config(database, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(database, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  sqlite3_extended_result_codes(database, 1);

  // Exclusive locking comes before the write-ahead log, so that its index is in this process's
  // memory rather than in a shared file.
  connection->Execute("PRAGMA locking_mode = EXCLUSIVE");
  connection->Execute("PRAGMA temp_store = MEMORY");
  // Prompts of deleted generations are overwritten where that costs no further write.
  connection->Execute("PRAGMA secure_delete = FAST");
  connection->Execute(
      absl::StrCat("PRAGMA cache_size = -", store_limits::kPageCacheBytesMax / 1024).c_str());
  if (!connection->status().ok()) return connection->status();
  return connection;
}

const absl::Status& SqliteConnection::StartWriteAheadLog() {
  // Each commit syncs the log, as with FULL. EXTRA also syncs the folder once the journal of the
  // switch to the log is deleted: were it to come back after a power loss, it would undo all that
  // was written since.
  Execute("PRAGMA synchronous = EXTRA");
  Execute(absl::StrCat("PRAGMA journal_size_limit = ", store_limits::kWalBytesMax).c_str());
  {
    // The pragma answers with the mode that it got, which is the old one where it could not switch.
    const auto statement = Prepare("PRAGMA journal_mode = WAL");
    if (statement == nullptr) return status_;
    SqliteQuery query(*statement);
    const bool is_wal = query.Next() && query.Text(0) == "wal";
    if (status_.ok() && !is_wal) Fail(SQLITE_CANTOPEN);
  }
  if (!status_.ok()) return status_;
  sqlite3_wal_hook(
      database_,
      [](void* self, sqlite3*, const char*, int pages) {
        static_cast<SqliteConnection*>(self)->wal_pages_ = pages;
        return SQLITE_OK;
      },
      this);
  return status_;
}

SqliteConnection::~SqliteConnection() {
  if (database_ == nullptr) return;
  if (!status_.ok()) {
    // After a failed sync the log's pages may be gone from the cache; copying them into the
    // database now could replace good pages by bad ones. The next start recovers from what is on
    // disk.
    sqlite3_db_config(database_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  }
  sqlite3_close_v2(database_);
}

const absl::Status& SqliteConnection::Execute(const char* sql) {
  if (!status_.ok()) return status_;
  const int code = sqlite3_exec(database_, sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) Fail(code);
  return status_;
}

int64_t SqliteConnection::QueryInt(const char* sql) {
  const auto statement = Prepare(sql);
  if (statement == nullptr) return 0;
  SqliteQuery query(*statement);
  return query.Next() ? query.Int(0) : 0;
}

std::unique_ptr<SqliteStatement> SqliteConnection::Prepare(const char* sql) {
  if (!status_.ok()) return nullptr;
  sqlite3_stmt* statement = nullptr;
  const int code =
      sqlite3_prepare_v3(database_, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (code != SQLITE_OK) {
    Fail(code);
    return nullptr;
  }
  return std::unique_ptr<SqliteStatement>(new SqliteStatement(*this, statement));
}

int64_t SqliteConnection::Changes() const { return sqlite3_changes64(database_); }

int64_t SqliteConnection::LastInsertRow() const { return sqlite3_last_insert_rowid(database_); }

const absl::Status& SqliteConnection::Checkpoint() {
  if (!status_.ok()) return status_;
  const int code =
      sqlite3_wal_checkpoint_v2(database_, nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
  if (code != SQLITE_OK) {
    Fail(code);
  } else {
    wal_pages_ = 0;
  }
  return status_;
}

void SqliteConnection::Fail(int code) {
  if (!status_.ok()) return;
  status_ = FromCode(code);
  // SQLite's own words name tables and system calls, which is for operators and not for clients.
  spdlog::error(
      "store: SQLite result {} ({}), system error {}; the store is "
      "closed for good",
      code, database_ != nullptr ? sqlite3_errmsg(database_) : sqlite3_errstr(code),
      database_ != nullptr ? sqlite3_system_errno(database_) : 0);
}

}  // namespace darkroom

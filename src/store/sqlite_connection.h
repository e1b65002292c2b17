#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

struct sqlite3;
struct sqlite3_stmt;

namespace darkroom {

class SqliteConnection;

// A prepared statement, made once and run many times.
class SqliteStatement {
 public:
  ~SqliteStatement();
  SqliteStatement(const SqliteStatement&) = delete;
  SqliteStatement& operator=(const SqliteStatement&) = delete;

 private:
  friend class SqliteConnection;
  friend class SqliteQuery;
  SqliteStatement(SqliteConnection& connection, sqlite3_stmt* statement)
      : connection_(connection), statement_(statement) {}

  SqliteConnection& connection_;
  sqlite3_stmt* const statement_;
};

// One run of a statement; makes the statement ready for the next when destroyed. Bound text and
// bytes are not copied and must outlive it. At most one per statement at a time.
//
//   SqliteQuery query(*select_);
//   query.Bind(tenant).Bind(id);
//   while (query.Next()) Use(query.Int(0), query.Text(1));
//   if (!connection.status().ok()) return connection.status();
class SqliteQuery {
 public:
  explicit SqliteQuery(SqliteStatement& statement) : statement_(statement) {}
  ~SqliteQuery();
  SqliteQuery(const SqliteQuery&) = delete;
  SqliteQuery& operator=(const SqliteQuery&) = delete;

  // Binds the next parameter, from the first on.
  SqliteQuery& Bind(int64_t value);
  SqliteQuery& Bind(std::string_view text);
  SqliteQuery& BindBytes(std::string_view bytes);
  SqliteQuery& BindNull();

  // Whether there is another row. False also when the connection is broken, which its status tells;
  // a broken connection is not touched.
  bool Next();
  // For a statement without rows.
  void Run() { (void)Next(); }

  int64_t Int(int column) const;
  bool IsNull(int column) const;
  // Text or bytes; valid until the next call of Next.
  std::string_view Text(int column) const;

 private:
  SqliteStatement& statement_;
  int bound_ = 0;
};

// One connection to an SQLite database, with a sticky status: the first result code that is not
// success breaks it for good, and from then on nothing reaches the file any more. Callers that
// foresee conflicts (a row that exists, or does not) look before they write.
//
// Thread: one at a time.
class SqliteConnection {
 public:
  // Opens or creates the file and takes it for itself alone, writing nothing yet. `path` must not
  // lead through symbolic links. `vfs`: name of a registered sqlite3_vfs, empty for the default.
  // FAILED_PRECONDITION (STORE_IN_USE): another connection has it. DATA_LOSS (STORE_CORRUPT): it is
  // not a database.
  static absl::StatusOr<std::unique_ptr<SqliteConnection>> Open(const std::string& path,
                                                                const std::string& vfs);
  ~SqliteConnection();
  SqliteConnection(const SqliteConnection&) = delete;
  SqliteConnection& operator=(const SqliteConnection&) = delete;

  // Switches to a write-ahead log and to syncing it at every commit. Before the first write, and
  // after the caller has seen that the database is its own: the file changes.
  const absl::Status& StartWriteAheadLog();

  // OK, or what broke the connection: RESOURCE_EXHAUSTED (DISK_FULL), DATA_LOSS (STORE_CORRUPT),
  // UNAVAILABLE (STORE_BROKEN).
  const absl::Status& status() const { return status_; }

  // Runs statements that give no rows.
  const absl::Status& Execute(const char* sql);
  // The one number that `sql` gives; 0 when the connection is broken or there is none.
  int64_t QueryInt(const char* sql);
  // Null when the connection is broken.
  std::unique_ptr<SqliteStatement> Prepare(const char* sql);
  // Rows that the last INSERT, UPDATE or DELETE changed.
  int64_t Changes() const;
  int64_t LastInsertRow() const;

  // Pages that the write-ahead log held after the last commit.
  int wal_pages() const { return wal_pages_; }
  // Copies the write-ahead log into the database. SQLite's own automatic way ignores errors.
  const absl::Status& Checkpoint();

 private:
  friend class SqliteQuery;
  SqliteConnection() = default;
  // Breaks the connection.
  void Fail(int code);

  sqlite3* database_ = nullptr;
  absl::Status status_;
  int wal_pages_ = 0;
};

}  // namespace darkroom

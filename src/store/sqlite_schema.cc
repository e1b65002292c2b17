#include "store/sqlite_schema.h"

#include <openssl/rand.h>

#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "store/limits.h"

namespace darkroom {
namespace {

// "DkRm" in the file's header says whose database it is.
constexpr int64_t kApplicationId = 0x446b526d;

// A generation is a message, kept as bytes; what queries search for is in columns beside it. The
// ordinal is the order of creation, which does not depend on anyone's clock.
//
// `request_id` of a generation is empty for none. A request whose generation is gone is kept until
// it expires, and found by the index on `requests` when it has.
absl::Status CreateTables(SqliteConnection& connection) {
  connection.Execute(R"sql(
    CREATE TABLE server(
      id INTEGER PRIMARY KEY CHECK (id = 1),
      boot INTEGER NOT NULL,
      page_token_key BLOB NOT NULL) STRICT;

    CREATE TABLE generations(
      ordinal INTEGER PRIMARY KEY,
      tenant TEXT NOT NULL,
      id TEXT NOT NULL,
      state INTEGER NOT NULL,
      create_nanos INTEGER NOT NULL,
      end_nanos INTEGER,
      request_id TEXT NOT NULL,
      last_sequence INTEGER NOT NULL,
      event_count INTEGER NOT NULL,
      etag TEXT NOT NULL,
      content BLOB NOT NULL) STRICT;
    CREATE UNIQUE INDEX generations_by_id ON generations(tenant, id);
    CREATE INDEX generations_by_state ON generations(tenant, state, id);
    CREATE INDEX generations_unfinished ON generations(ordinal) WHERE end_nanos IS NULL;
    CREATE INDEX generations_ended ON generations(end_nanos) WHERE end_nanos IS NOT NULL;

    CREATE TABLE requests(
      tenant TEXT NOT NULL,
      request_id TEXT NOT NULL,
      hash TEXT NOT NULL,
      generation_id TEXT NOT NULL,
      create_nanos INTEGER NOT NULL,
      orphan INTEGER NOT NULL,
      PRIMARY KEY (tenant, request_id)) STRICT, WITHOUT ROWID;
    CREATE INDEX requests_expiring ON requests(create_nanos) WHERE orphan = 1;

    CREATE TABLE events(
      generation INTEGER NOT NULL,
      sequence INTEGER NOT NULL,
      content BLOB NOT NULL,
      PRIMARY KEY (generation, sequence)) STRICT, WITHOUT ROWID;
  )sql");

  char key[32];
  if (RAND_bytes(reinterpret_cast<unsigned char*>(key), sizeof(key)) != 1) {
    return absl::InternalError("the system gave no random bytes");
  }
  if (const auto insert = connection.Prepare("INSERT INTO server VALUES (1, 0, ?)")) {
    SqliteQuery(*insert).BindBytes({key, sizeof(key)}).Run();
  }
  return connection.status();
}

// An asset is a message, as a generation is; its expiry is beside it, because every use moves it.
absl::Status CreateAssets(SqliteConnection& connection) {
  return connection.Execute(R"sql(
    CREATE TABLE assets(
      ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
      tenant TEXT NOT NULL,
      sha256 TEXT NOT NULL,
      size_bytes INTEGER NOT NULL,
      expire_nanos INTEGER NOT NULL,
      content BLOB NOT NULL) STRICT;
    CREATE UNIQUE INDEX assets_by_digest ON assets(tenant, sha256);
    CREATE INDEX assets_expiring ON assets(expire_nanos);
  )sql");
}

// A key is a message; its end is beside it, so that ended ones are found.
absl::Status CreateKeys(SqliteConnection& connection) {
  return connection.Execute(R"sql(
    CREATE TABLE api_keys(
      name TEXT NOT NULL PRIMARY KEY,
      tenant TEXT NOT NULL,
      end_nanos INTEGER,
      content BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE INDEX api_keys_by_tenant ON api_keys(tenant);
    CREATE INDEX api_keys_ended ON api_keys(end_nanos) WHERE end_nanos IS NOT NULL;
  )sql");
}

// A tenant is a message; the id of the request that made it is beside it, empty for none.
absl::Status CreateTenants(SqliteConnection& connection) {
  return connection.Execute(R"sql(
    CREATE TABLE tenants(
      name TEXT NOT NULL PRIMARY KEY,
      request_id TEXT NOT NULL,
      content BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX tenants_by_request ON tenants(request_id) WHERE request_id <> '';
  )sql");
}

using Migration = absl::Status (*)(SqliteConnection&);

// kMigrations[n] brings version n to version n + 1. Entries are never changed once released, only
// appended.
constexpr Migration kMigrations[] = {CreateTables, CreateAssets, CreateKeys, CreateTenants};
constexpr int64_t kVersion = std::size(kMigrations);

// An empty file is new, and so is one whose first transaction never committed.
absl::Status CheckOwner(SqliteConnection& connection, int64_t version) {
  const int64_t application_id = connection.QueryInt("PRAGMA application_id");
  const int64_t tables = connection.QueryInt("SELECT count(*) FROM sqlite_schema");
  if (!connection.status().ok()) return connection.status();
  const bool is_new = application_id == 0 && tables == 0 && version == 0;
  if (application_id != kApplicationId && !is_new) {
    return Error(absl::StatusCode::kFailedPrecondition, "STORE_FOREIGN",
                 "the database in the store's folder was made by another program");
  }
  if (version > kVersion) {
    return Error(
        absl::StatusCode::kFailedPrecondition, "STORE_VERSION_UNSUPPORTED",
        absl::StrCat("the store has schema version ", version,
                     ", made by a newer server; this one knows versions up to ", kVersion));
  }
  return absl::OkStatus();
}

// Finds damage before any client is served, where that takes no longer than a restart may.
absl::Status CheckPages(SqliteConnection& connection) {
  const int64_t bytes =
      connection.QueryInt("PRAGMA page_count") * connection.QueryInt("PRAGMA page_size");
  if (bytes > store_limits::kCheckedAtOpenBytesMax) return connection.status();
  const auto statement = connection.Prepare("PRAGMA quick_check(1)");
  if (statement == nullptr) return connection.status();
  SqliteQuery query(*statement);
  const bool is_sound = query.Next() && query.Text(0) == "ok";
  if (!connection.status().ok()) return connection.status();
  if (is_sound) return absl::OkStatus();
  return Error(absl::StatusCode::kDataLoss, "STORE_CORRUPT",
               absl::StrCat("the store's database is damaged: ", std::string(query.Text(0))));
}

}  // namespace

absl::Status PrepareSchema(SqliteConnection& connection) {
  const int64_t version = connection.QueryInt("PRAGMA user_version");
  if (absl::Status status = CheckOwner(connection, version); !status.ok()) return status;
  if (absl::Status status = connection.StartWriteAheadLog(); !status.ok()) return status;
  if (absl::Status status = CheckPages(connection); !status.ok()) return status;
  if (version == kVersion) return absl::OkStatus();

  connection.Execute("BEGIN IMMEDIATE");
  for (int64_t from = version; from < kVersion; ++from) {
    if (absl::Status status = kMigrations[from](connection); !status.ok()) return status;
  }
  connection.Execute(absl::StrCat("PRAGMA application_id = ", kApplicationId).c_str());
  connection.Execute(absl::StrCat("PRAGMA user_version = ", kVersion).c_str());
  return connection.Execute("COMMIT");
}

}  // namespace darkroom

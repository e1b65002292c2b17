#include "store/sqlite_store.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/resource_name.h"
#include "store/etag.h"
#include "store/folder.h"
#include "store/limits.h"
#include "store/page_token.h"
#include "store/sqlite_assets.h"
#include "store/sqlite_connection.h"
#include "store/sqlite_keys.h"
#include "store/sqlite_schema.h"
#include "store/sqlite_tenants.h"
#include "store/store_rules.h"

namespace darkroom {
namespace {

// The statements, prepared once when the store opens.
enum Sql : size_t {
  kBegin,
  kCommit,
  kRollback,
  kNextBoot,
  kSelectRequest,
  kInsertRequest,
  kOrphanRequest,
  kDeleteExpiredRequests,
  kSelectGeneration,
  kSelectPlace,
  kInsertGeneration,
  kUpdateGeneration,
  kDeleteGeneration,
  kSelectUnfinished,
  kSelectEnded,
  kListAll,
  kListState,
  kInsertEvent,
  kSelectEvents,
  kDeleteOldestEvents,
  kDeleteEvents,
  kSqlCount,
};

constexpr std::array<const char*, kSqlCount> kSql = {
    "BEGIN IMMEDIATE",
    "COMMIT",
    "ROLLBACK",
    "UPDATE server SET boot = boot + 1 RETURNING boot",
    "SELECT hash, generation_id FROM requests WHERE tenant = ? AND request_id "
    "= ?",
    "INSERT INTO requests(tenant, request_id, hash, generation_id, "
    "create_nanos, orphan) "
    "VALUES (?, ?, ?, ?, ?, 0)",
    "UPDATE requests SET orphan = 1 WHERE tenant = ? AND request_id = ?",
    "DELETE FROM requests WHERE (tenant, request_id) IN "
    "(SELECT tenant, request_id FROM requests WHERE orphan = 1 AND "
    "create_nanos < ? LIMIT ?)",
    "SELECT etag, content FROM generations WHERE tenant = ? AND id = ?",
    "SELECT ordinal, last_sequence, event_count, request_id FROM generations "
    "WHERE tenant = ? AND id = ?",
    "INSERT INTO generations(tenant, id, state, create_nanos, end_nanos, "
    "request_id, "
    "last_sequence, event_count, etag, content) VALUES (?, ?, ?, ?, ?, ?, 0, "
    "0, ?, ?)",
    "UPDATE generations SET state = ?, end_nanos = ?, last_sequence = ?, "
    "event_count = ?, "
    "etag = ?, content = ? WHERE ordinal = ?",
    "DELETE FROM generations WHERE ordinal = ?",
    "SELECT etag, content FROM generations WHERE end_nanos IS NULL ORDER BY "
    "ordinal",
    "SELECT tenant, id FROM generations WHERE end_nanos < ? ORDER BY end_nanos "
    "LIMIT ?",
    "SELECT id FROM generations WHERE tenant = ? AND id < ? ORDER BY id DESC "
    "LIMIT ?",
    "SELECT id FROM generations WHERE tenant = ? AND id < ? AND state = ? "
    "ORDER BY id DESC LIMIT ?",
    "INSERT INTO events(generation, sequence, content) VALUES (?, ?, ?)",
    "SELECT content FROM events WHERE generation = ? AND sequence > ? ORDER BY "
    "sequence",
    "DELETE FROM events WHERE generation = ?1 AND sequence IN "
    "(SELECT sequence FROM events WHERE generation = ?1 ORDER BY sequence "
    "LIMIT ?2)",
    "DELETE FROM events WHERE generation = ?",
};

static_assert(kSql.back() != nullptr, "a statement is missing");

// Above every id, whose characters are a-z, 0-9 and '-'.
constexpr char kAfterEveryId[] = "~";

absl::Status Corrupt() {
  return Error(absl::StatusCode::kDataLoss, "STORE_CORRUPT",
               "a stored generation is damaged and cannot be read");
}

// When a generation ended, for the purge; empty while it has not.
std::optional<int64_t> EndNanos(const v1::Generation& generation, const Clock& clock) {
  if (!IsEnded(generation.state())) return std::nullopt;
  if (!generation.has_end_time()) return absl::ToUnixNanos(clock.WallTime());
  return generation.end_time().seconds() * 1'000'000'000 + generation.end_time().nanos();
}

// Every method looks before it writes, so that a call that fails for a reason of the caller's has
// written nothing, and one that fails halfway has broken the connection and with it the
// transaction.
class SqliteStore final : public GenerationStore {
 public:
  SqliteStore(UniqueFd lock, std::unique_ptr<SqliteConnection> connection,
              const SqliteStoreOptions& options)
      : lock_(std::move(lock)),
        connection_(std::move(connection)),
        clock_(*options.clock),
        wal_pages_max_(options.wal_pages_max),
        assets_(*connection_),
        keys_(*connection_),
        tenants_(*connection_) {}

  absl::Status Prepare() {
    for (size_t i = 0; i < kSqlCount; ++i) statements_[i] = connection_->Prepare(kSql[i]);
    const auto select = connection_->Prepare("SELECT page_token_key FROM server");
    if (!Status().ok()) return Status();
    SqliteQuery query(*select);
    if (query.Next()) page_token_key_ = std::string(query.Text(0));
    if (absl::Status status = keys_.Prepare(); !status.ok()) return status;
    if (absl::Status status = tenants_.Prepare(); !status.ok()) return status;
    return assets_.Prepare(page_token_key_);
  }

  absl::Status Transact(absl::FunctionRef<absl::Status()> body) override;
  absl::StatusOr<int64_t> NextBoot() override;
  absl::StatusOr<Created> Create(const NewGeneration& create) override;
  absl::StatusOr<v1::Generation> FindRequest(const std::string& tenant,
                                             const std::string& request_id,
                                             const std::string& request_hash) override;
  absl::Status Update(const v1::Generation& generation,
                      absl::Span<const v1::GenerateEvent> events) override;
  absl::StatusOr<v1::Generation> Get(const std::string& name) override;
  absl::StatusOr<ListPage> List(const ListQuery& query) override;
  absl::StatusOr<std::vector<v1::GenerateEvent>> EventsAfter(const std::string& name,
                                                             int64_t after_sequence) override;
  absl::Status Delete(const std::string& name) override;
  absl::StatusOr<std::vector<v1::Generation>> Unfinished() override;
  absl::StatusOr<std::vector<std::string>> PurgeEnded(absl::Time before, int max) override;
  AssetStore& assets() override { return assets_; }
  KeyStore& keys() override { return keys_; }
  TenantStore& tenants() override { return tenants_; }

 private:
  // Where a generation's row is, and what is needed to add events to it.
  struct Place {
    int64_t ordinal = 0;
    int64_t last_sequence = 0;
    int64_t event_count = 0;
    std::string request_id;
  };

  const absl::Status& Status() const { return connection_->status(); }
  SqliteStatement& Statement(Sql sql) { return *statements_[sql]; }
  // Runs a write in the caller's transaction, or in one of its own.
  absl::Status Write(absl::FunctionRef<absl::Status()> body) {
    return in_transaction_ ? body() : Transact(body);
  }

  absl::StatusOr<Created> CreateInTransaction(const NewGeneration& create);
  void Insert(const GenerationName& name, const NewGeneration& create, const std::string& bytes,
              const std::string& etag);
  void AppendEvents(const Place& place, absl::Span<const v1::GenerateEvent> events);
  absl::StatusOr<Place> Find(const GenerationName& name);
  void Remove(const GenerationName& name, const Place& place);
  absl::StatusOr<std::vector<std::string>> ListIds(const ListQuery& query, int count);

  const UniqueFd lock_;
  const std::unique_ptr<SqliteConnection> connection_;
  const Clock& clock_;
  const int wal_pages_max_;
  // After the connection, so that they are finalized before it is closed.
  std::array<std::unique_ptr<SqliteStatement>, kSqlCount> statements_;
  SqliteAssets assets_;
  SqliteKeys keys_;
  SqliteTenants tenants_;
  std::string page_token_key_;
  bool in_transaction_ = false;
};

// A stored generation with its etag, which also shows damage: SQLite does not checksum its pages.
absl::StatusOr<v1::Generation> Decode(std::string_view etag, std::string_view content) {
  const std::string bytes(content);
  v1::Generation generation;
  if (Etag(bytes) != etag || !generation.ParseFromString(bytes)) return Corrupt();
  generation.set_etag(std::string(etag));
  return generation;
}

absl::Status SqliteStore::Transact(absl::FunctionRef<absl::Status()> body) {
  if (!Status().ok()) return Status();
  if (in_transaction_) return absl::InternalError("a transaction inside a transaction");
  SqliteQuery(Statement(kBegin)).Run();
  if (!Status().ok()) return Status();
  in_transaction_ = true;
  const absl::Status status = body();
  in_transaction_ = false;
  if (!Status().ok()) return Status();
  if (!status.ok()) {
    SqliteQuery(Statement(kRollback)).Run();
    return Status().ok() ? status : Status();
  }
  SqliteQuery(Statement(kCommit)).Run();
  if (!Status().ok()) return Status();
  // The commit is durable whatever becomes of the checkpoint, whose failure meets the next caller.
  if (connection_->wal_pages() >= wal_pages_max_) (void)connection_->Checkpoint();
  return absl::OkStatus();
}

absl::StatusOr<int64_t> SqliteStore::NextBoot() {
  int64_t boot = 0;
  const absl::Status status = Write([&] {
    SqliteQuery query(Statement(kNextBoot));
    if (query.Next()) boot = query.Int(0);
    return boot > 0 ? absl::OkStatus() : Corrupt();
  });
  if (!status.ok()) return status;
  return boot;
}

absl::StatusOr<GenerationStore::Created> SqliteStore::Create(const NewGeneration& create) {
  absl::StatusOr<Created> created = absl::UnknownError("not run");
  const absl::Status status = Write([&] {
    created = CreateInTransaction(create);
    return created.status();
  });
  if (!status.ok()) return status;
  return created;
}

absl::StatusOr<GenerationStore::Created> SqliteStore::CreateInTransaction(
    const NewGeneration& create) {
  const std::string bytes = CanonicalBytes(create.generation);
  if (absl::Status status = CheckCreate(create, bytes); !status.ok()) return status;
  const auto name = GenerationName::Parse(create.generation.name(), "name");
  if (!name.ok()) return name.status();

  if (!create.request_id.empty()) {
    auto first = FindRequest(name->tenant, create.request_id, create.request_hash);
    if (first.ok()) return Created{false, *std::move(first)};
    if (!absl::IsNotFound(first.status())) return first.status();
  }

  const auto place = Find(*name);
  if (place.ok()) return GenerationExists(create.generation.name());
  if (!Status().ok()) return Status();
  const std::string etag = Etag(bytes);
  Insert(*name, create, bytes, etag);
  if (!Status().ok()) return Status();
  Created created{true, create.generation};
  created.generation.set_etag(etag);
  return created;
}

absl::StatusOr<v1::Generation> SqliteStore::FindRequest(const std::string& tenant,
                                                        const std::string& request_id,
                                                        const std::string& request_hash) {
  if (!Status().ok()) return Status();
  GenerationName first{tenant, ""};
  bool is_same = false;
  {
    SqliteQuery query(Statement(kSelectRequest));
    query.Bind(tenant).Bind(request_id);
    if (query.Next()) {
      is_same = query.Text(0) == request_hash;
      first.generation = std::string(query.Text(1));
    }
  }
  if (!Status().ok()) return Status();
  if (first.generation.empty()) return RequestUnknown(request_id);
  if (!is_same) return RequestIdReused(request_id);
  auto generation = Get(first.ToString());
  if (absl::IsNotFound(generation.status())) return RequestOfDeletedGeneration(request_id);
  return generation;
}

void SqliteStore::Insert(const GenerationName& name, const NewGeneration& create,
                         const std::string& bytes, const std::string& etag) {
  const int64_t now_nanos = absl::ToUnixNanos(clock_.WallTime());
  const std::optional<int64_t> end_nanos = EndNanos(create.generation, clock_);
  {
    SqliteQuery query(Statement(kInsertGeneration));
    query.Bind(name.tenant).Bind(name.generation);
    query.Bind(int64_t{create.generation.state()}).Bind(now_nanos);
    end_nanos.has_value() ? query.Bind(*end_nanos) : query.BindNull();
    query.Bind(create.request_id).Bind(etag).BindBytes(bytes).Run();
  }
  if (create.request_id.empty()) return;
  SqliteQuery query(Statement(kInsertRequest));
  query.Bind(name.tenant).Bind(create.request_id).Bind(create.request_hash);
  query.Bind(name.generation).Bind(now_nanos).Run();
}

absl::StatusOr<SqliteStore::Place> SqliteStore::Find(const GenerationName& name) {
  if (!Status().ok()) return Status();
  SqliteQuery query(Statement(kSelectPlace));
  query.Bind(name.tenant).Bind(name.generation);
  if (query.Next()) {
    return Place{query.Int(0), query.Int(1), query.Int(2), std::string(query.Text(3))};
  }
  if (!Status().ok()) return Status();
  return GenerationNotFound(name.ToString());
}

absl::Status SqliteStore::Update(const v1::Generation& generation,
                                 absl::Span<const v1::GenerateEvent> events) {
  const auto name = GenerationName::Parse(generation.name(), "name");
  if (!name.ok()) return name.status();
  return Write([&]() -> absl::Status {
    auto place = Find(*name);
    if (!place.ok()) return place.status();
    const std::string bytes = CanonicalBytes(generation);
    if (absl::Status status = CheckUpdate(bytes, place->last_sequence, events); !status.ok()) {
      return status;
    }
    AppendEvents(*place, events);

    const std::string etag = Etag(bytes);
    const std::optional<int64_t> end_nanos = EndNanos(generation, clock_);
    const int64_t event_count = std::min(place->event_count + static_cast<int64_t>(events.size()),
                                         store_limits::kEventsPerGenerationMax);
    SqliteQuery query(Statement(kUpdateGeneration));
    query.Bind(int64_t{generation.state()});
    end_nanos.has_value() ? query.Bind(*end_nanos) : query.BindNull();
    query.Bind(events.empty() ? place->last_sequence : events.back().sequence());
    query.Bind(event_count).Bind(etag).BindBytes(bytes).Bind(place->ordinal).Run();
    return Status();
  });
}

void SqliteStore::AppendEvents(const Place& place, absl::Span<const v1::GenerateEvent> events) {
  for (const v1::GenerateEvent& event : events) {
    const std::string bytes = event.SerializeAsString();
    SqliteQuery query(Statement(kInsertEvent));
    query.Bind(place.ordinal).Bind(event.sequence()).BindBytes(bytes).Run();
  }
  const int64_t surplus = place.event_count + static_cast<int64_t>(events.size()) -
                          store_limits::kEventsPerGenerationMax;
  if (surplus <= 0) return;
  SqliteQuery(Statement(kDeleteOldestEvents)).Bind(place.ordinal).Bind(surplus).Run();
}

absl::StatusOr<v1::Generation> SqliteStore::Get(const std::string& name) {
  const auto parsed = GenerationName::Parse(name, "name");
  if (!parsed.ok()) return parsed.status();
  if (!Status().ok()) return Status();
  SqliteQuery query(Statement(kSelectGeneration));
  query.Bind(parsed->tenant).Bind(parsed->generation);
  if (query.Next()) return Decode(query.Text(0), query.Text(1));
  if (!Status().ok()) return Status();
  return GenerationNotFound(name);
}

// Up to `count` ids in the order of the list. Each state has an index of its own, so that a page
// costs what it holds, however rare the states asked for are.
absl::StatusOr<std::vector<std::string>> SqliteStore::ListIds(const ListQuery& query, int count) {
  std::string before = kAfterEveryId;
  if (!query.page_token.empty()) {
    auto last_id = ReadPageToken(page_token_key_, query);
    if (!last_id.ok()) return last_id.status();
    before = *std::move(last_id);
  }
  std::vector<std::string> ids;
  if (query.states.empty()) {
    SqliteQuery list(Statement(kListAll));
    list.Bind(query.tenant).Bind(before).Bind(count);
    while (list.Next()) ids.emplace_back(list.Text(0));
  }
  // As many queries as there are states, however often a client names one.
  const std::set<v1::Generation::State> states(query.states.begin(), query.states.end());
  for (const v1::Generation::State state : states) {
    if (!v1::Generation::State_IsValid(state)) continue;
    SqliteQuery list(Statement(kListState));
    list.Bind(query.tenant).Bind(before).Bind(int64_t{state}).Bind(count);
    while (list.Next()) ids.emplace_back(list.Text(0));
  }
  if (!Status().ok()) return Status();
  std::sort(ids.begin(), ids.end(), std::greater<>());
  if (ids.size() > static_cast<size_t>(count)) ids.resize(count);
  return ids;
}

absl::StatusOr<GenerationStore::ListPage> SqliteStore::List(const ListQuery& query) {
  if (!Status().ok()) return Status();
  const size_t page_size = ClampPageSize(query.page_size);
  // One more than the page holds tells whether there is a next one.
  const auto ids = ListIds(query, static_cast<int>(page_size) + 1);
  if (!ids.ok()) return ids.status();
  ListPage page;
  size_t bytes = 0;
  for (const std::string& id : *ids) {
    if (page.generations.size() == page_size || bytes >= store_limits::kPageBytesMax) {
      const size_t last = page.generations.size() - 1;
      page.next_page_token = MakePageToken(page_token_key_, query, (*ids)[last]);
      break;
    }
    auto generation = Get(GenerationName{query.tenant, id}.ToString());
    if (!generation.ok()) return generation.status();
    bytes += generation->ByteSizeLong();
    page.generations.push_back(*std::move(generation));
  }
  return page;
}

absl::StatusOr<std::vector<v1::GenerateEvent>> SqliteStore::EventsAfter(const std::string& name,
                                                                        int64_t after_sequence) {
  const auto parsed = GenerationName::Parse(name, "name");
  if (!parsed.ok()) return parsed.status();
  const auto place = Find(*parsed);
  if (!place.ok()) return place.status();
  std::vector<v1::GenerateEvent> events;
  SqliteQuery query(Statement(kSelectEvents));
  query.Bind(place->ordinal).Bind(after_sequence);
  while (query.Next()) {
    const std::string_view bytes = query.Text(0);
    if (!events.emplace_back().ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
      return Corrupt();
    }
  }
  if (!Status().ok()) return Status();
  return events;
}

absl::Status SqliteStore::Delete(const std::string& name) {
  const auto parsed = GenerationName::Parse(name, "name");
  if (!parsed.ok()) return parsed.status();
  return Write([&]() -> absl::Status {
    const auto place = Find(*parsed);
    if (!place.ok()) return place.status();
    Remove(*parsed, *place);
    return Status();
  });
}

void SqliteStore::Remove(const GenerationName& name, const Place& place) {
  SqliteQuery(Statement(kDeleteEvents)).Bind(place.ordinal).Run();
  SqliteQuery(Statement(kDeleteGeneration)).Bind(place.ordinal).Run();
  if (place.request_id.empty()) return;
  SqliteQuery(Statement(kOrphanRequest)).Bind(name.tenant).Bind(place.request_id).Run();
}

absl::StatusOr<std::vector<v1::Generation>> SqliteStore::Unfinished() {
  if (!Status().ok()) return Status();
  std::vector<v1::Generation> generations;
  SqliteQuery query(Statement(kSelectUnfinished));
  while (query.Next()) {
    auto generation = Decode(query.Text(0), query.Text(1));
    if (!generation.ok()) return generation.status();
    generations.push_back(*std::move(generation));
  }
  if (!Status().ok()) return Status();
  return generations;
}

absl::StatusOr<std::vector<std::string>> SqliteStore::PurgeEnded(absl::Time before, int max) {
  std::vector<std::string> names;
  const absl::Status status = Write([&]() -> absl::Status {
    std::vector<GenerationName> ended;
    {
      SqliteQuery query(Statement(kSelectEnded));
      query.Bind(absl::ToUnixNanos(before)).Bind(std::max(max, 0));
      while (query.Next()) {
        ended.push_back({std::string(query.Text(0)), std::string(query.Text(1))});
      }
    }
    for (const GenerationName& name : ended) {
      const auto place = Find(name);
      if (!place.ok()) return place.status();
      Remove(name, *place);
      names.push_back(name.ToString());
    }
    const absl::Time expired = clock_.WallTime() - store_limits::kRequestIdLifetime;
    SqliteQuery(Statement(kDeleteExpiredRequests))
        .Bind(absl::ToUnixNanos(expired))
        .Bind(std::max(max, 0))
        .Run();
    return Status();
  });
  if (!status.ok()) return status;
  return names;
}

}  // namespace

absl::StatusOr<std::unique_ptr<GenerationStore>> OpenSqliteStore(
    const std::string& folder, const SqliteStoreOptions& options) {
  const auto path = MakeFolder(folder);
  if (!path.ok()) return path.status();
  auto lock = LockFolder(*path);
  if (!lock.ok()) return lock.status();
  const auto free_bytes = FreeBytes(lock->get());
  if (!free_bytes.ok()) return free_bytes.status();
  if (*free_bytes < options.free_bytes_min) {
    return absl::Status(
        Error(absl::StatusCode::kResourceExhausted, "DISK_FULL",
              absl::StrCat("the store's disk has ", *free_bytes, " bytes free; at least ",
                           options.free_bytes_min, " are needed (store.free_bytes_min)")));
  }
  auto connection = SqliteConnection::Open(absl::StrCat(*path, "/darkroom.db"), options.vfs);
  if (!connection.ok()) return connection.status();
  if (absl::Status status = PrepareSchema(**connection); !status.ok()) return status;
  auto store = std::make_unique<SqliteStore>(*std::move(lock), *std::move(connection), options);
  if (absl::Status status = store->Prepare(); !status.ok()) return status;
  return store;
}

}  // namespace darkroom

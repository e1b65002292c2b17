#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/resource_name.h"
#include "darkroom/store.h"
#include "store/etag.h"
#include "store/limits.h"
#include "store/page_token.h"
#include "store/store_rules.h"
#include "testing/memory_assets.h"
#include "testing/memory_keys.h"
#include "testing/memory_tenants.h"

namespace darkroom::testing {

// What a MemoryStore keeps. It outlives the store, as a disk does: another store on the same disk
// is the daemon started again. Also the place to make the disk fail.
class MemoryDisk {
 public:
  // The commit after `count` more good ones fails, and breaks the store that made it.
  void FailCommitAfter(int count) { good_commits_left_ = count; }
  void Repair() { good_commits_left_.reset(); }
  int64_t commits() const { return commits_; }

 private:
  friend class MemoryStore;
  using Key = std::pair<std::string,
                        std::string>;  // tenant and id, or tenant and request id

  struct Row {
    int64_t ordinal = 0;
    v1::Generation generation;  // with its etag
    std::optional<absl::Time> end_time;
    std::string request_id;
    int64_t last_sequence = 0;
    std::map<int64_t, v1::GenerateEvent> events;
  };
  struct Request {
    std::string hash;
    std::string generation_id;
    absl::Time create_time;
    bool orphan = false;
  };

  MemoryAssetRows assets_;
  MemoryKeyRows keys_;
  MemoryTenantRows tenants_;
  std::map<Key, Row> rows_;
  std::map<int64_t, Key> unfinished_;
  std::map<Key, Request> requests_;
  int64_t boot_ = 0;
  int64_t last_ordinal_ = 0;
  int64_t commits_ = 0;
  std::optional<int> good_commits_left_;
};

// A GenerationStore without a disk, for the simulator and for tests of what stands on a store.
// Keeps the whole contract, checked by the same tests as the SQLite one.
class MemoryStore final : public GenerationStore {
 public:
  // `clock` must outlive the store.
  explicit MemoryStore(std::shared_ptr<MemoryDisk> disk, const Clock& clock = Clock::Real())
      : disk_(std::move(disk)), clock_(clock) {}
  // As after kill -9: what is not committed never was.
  ~MemoryStore() override { Undo(); }
  MemoryStore(const MemoryStore&) = delete;
  MemoryStore& operator=(const MemoryStore&) = delete;

  absl::Status Transact(absl::FunctionRef<absl::Status()> body) override {
    if (!broken_.ok()) return broken_;
    if (in_transaction_) return absl::InternalError("a transaction inside a transaction");
    in_transaction_ = true;
    absl::Status status = body();
    in_transaction_ = false;
    if (status.ok() && disk_->good_commits_left_.has_value() && --*disk_->good_commits_left_ < 0) {
      broken_ = absl::Status(Error(absl::StatusCode::kUnavailable, "STORE_BROKEN", "disk failed"));
      status = broken_;
    }
    if (status.ok()) {
      ++disk_->commits_;
      undo_.clear();
    } else {
      Undo();
    }
    return status;
  }

  absl::StatusOr<int64_t> NextBoot() override {
    int64_t boot = 0;
    const absl::Status status = Write([&] {
      undo_.push_back([disk = disk_.get()] { --disk->boot_; });
      boot = ++disk_->boot_;
      return absl::OkStatus();
    });
    if (!status.ok()) return status;
    return boot;
  }

  absl::StatusOr<Created> Create(const NewGeneration& create) override {
    Created created;
    const absl::Status status = Write([&]() -> absl::Status {
      const std::string bytes = CanonicalBytes(create.generation);
      if (absl::Status invalid = CheckCreate(create, bytes); !invalid.ok()) return invalid;
      const auto name = GenerationName::Parse(create.generation.name(), "name");
      if (!create.request_id.empty()) {
        auto first = FindRequest(name->tenant, create.request_id, create.request_hash);
        if (first.ok()) created = {false, *std::move(first)};
        if (!absl::IsNotFound(first.status())) return first.status();
      }
      const Key key{name->tenant, name->generation};
      if (disk_->rows_.contains(key)) return GenerationExists(create.generation.name());
      Row row;
      row.ordinal = ++disk_->last_ordinal_;
      row.request_id = create.request_id;
      SetContent(row, create.generation, bytes);
      created = {true, row.generation};
      Put(key, std::move(row));
      if (!create.request_id.empty()) {
        PutRequest({name->tenant, create.request_id},
                   Request{create.request_hash, key.second, clock_.WallTime()});
      }
      return absl::OkStatus();
    });
    if (!status.ok()) return status;
    return created;
  }

  absl::StatusOr<v1::Generation> FindRequest(const std::string& tenant,
                                             const std::string& request_id,
                                             const std::string& request_hash) override {
    if (!broken_.ok()) return broken_;
    const auto request = disk_->requests_.find({tenant, request_id});
    if (request == disk_->requests_.end()) return RequestUnknown(request_id);
    if (request->second.hash != request_hash) return RequestIdReused(request_id);
    const auto first = disk_->rows_.find({tenant, request->second.generation_id});
    if (first == disk_->rows_.end()) return RequestOfDeletedGeneration(request_id);
    return first->second.generation;
  }

  absl::Status Update(const v1::Generation& generation,
                      absl::Span<const v1::GenerateEvent> events) override {
    return Write([&]() -> absl::Status {
      const auto found = Find(generation.name());
      if (!found.ok()) return found.status();
      Row row = (*found)->second;
      const std::string bytes = CanonicalBytes(generation);
      if (absl::Status invalid = CheckUpdate(bytes, row.last_sequence, events); !invalid.ok()) {
        return invalid;
      }
      for (const v1::GenerateEvent& event : events) {
        row.events.emplace(event.sequence(), event);
        row.last_sequence = event.sequence();
      }
      while (row.events.size() > size_t{store_limits::kEventsPerGenerationMax}) {
        row.events.erase(row.events.begin());
      }
      SetContent(row, generation, bytes);
      Put((*found)->first, std::move(row));
      return absl::OkStatus();
    });
  }

  absl::StatusOr<v1::Generation> Get(const std::string& name) override {
    if (!broken_.ok()) return broken_;
    const auto found = Find(name);
    if (!found.ok()) return found.status();
    return (*found)->second.generation;
  }

  absl::StatusOr<ListPage> List(const ListQuery& query) override {
    if (!broken_.ok()) return broken_;
    auto row = disk_->rows_.lower_bound({query.tenant, "~"});
    if (!query.page_token.empty()) {
      const auto last_id = ReadPageToken(kPageTokenKey, query);
      if (!last_id.ok()) return last_id.status();
      row = disk_->rows_.lower_bound({query.tenant, *last_id});
    }
    const size_t page_size = ClampPageSize(query.page_size);
    ListPage page;
    std::string last_id;
    size_t bytes = 0;
    while (row != disk_->rows_.begin() && (--row)->first.first == query.tenant) {
      const v1::Generation& generation = row->second.generation;
      if (!query.states.empty() && std::find(query.states.begin(), query.states.end(),
                                             generation.state()) == query.states.end()) {
        continue;
      }
      if (page.generations.size() == page_size || bytes >= store_limits::kPageBytesMax) {
        page.next_page_token = MakePageToken(kPageTokenKey, query, last_id);
        break;
      }
      bytes += generation.ByteSizeLong();
      last_id = row->first.second;
      page.generations.push_back(generation);
    }
    return page;
  }

  absl::StatusOr<std::vector<v1::GenerateEvent>> EventsAfter(const std::string& name,
                                                             int64_t after_sequence) override {
    if (!broken_.ok()) return broken_;
    const auto found = Find(name);
    if (!found.ok()) return found.status();
    const auto& kept = (*found)->second.events;
    std::vector<v1::GenerateEvent> events;
    for (auto event = kept.upper_bound(after_sequence); event != kept.end(); ++event) {
      events.push_back(event->second);
    }
    return events;
  }

  absl::Status Delete(const std::string& name) override {
    return Write([&]() -> absl::Status {
      const auto found = Find(name);
      if (!found.ok()) return found.status();
      Remove((*found)->first);
      return absl::OkStatus();
    });
  }

  absl::StatusOr<std::vector<v1::Generation>> Unfinished() override {
    if (!broken_.ok()) return broken_;
    std::vector<v1::Generation> generations;
    for (const auto& [ordinal, key] : disk_->unfinished_) {
      generations.push_back(disk_->rows_.at(key).generation);
    }
    return generations;
  }

  absl::StatusOr<std::vector<std::string>> PurgeEnded(absl::Time before, int max) override {
    std::vector<std::string> names;
    const absl::Status status = Write([&] {
      std::vector<std::tuple<absl::Time, int64_t, Key>> ended;
      for (const auto& [key, row] : disk_->rows_) {
        if (row.end_time.has_value() && *row.end_time < before) {
          ended.emplace_back(*row.end_time, row.ordinal, key);
        }
      }
      std::sort(ended.begin(), ended.end());
      if (ended.size() > static_cast<size_t>(std::max(max, 0))) ended.resize(std::max(max, 0));
      for (const auto& [end_time, ordinal, key] : ended) {
        names.push_back(GenerationName{key.first, key.second}.ToString());
        Remove(key);
      }
      const absl::Time expired = clock_.WallTime() - store_limits::kRequestIdLifetime;
      std::vector<std::pair<absl::Time, Key>> orphans;
      for (const auto& [key, request] : disk_->requests_) {
        if (request.orphan && request.create_time < expired) {
          orphans.emplace_back(request.create_time, key);
        }
      }
      std::sort(orphans.begin(), orphans.end());
      if (orphans.size() > static_cast<size_t>(std::max(max, 0))) orphans.resize(std::max(max, 0));
      for (const auto& [create_time, key] : orphans) PutRequest(key, std::nullopt);
      return absl::OkStatus();
    });
    if (!status.ok()) return status;
    return names;
  }

  AssetStore& assets() override { return assets_; }
  KeyStore& keys() override { return keys_; }
  TenantStore& tenants() override { return tenants_; }

 private:
  using Key = MemoryDisk::Key;
  using Row = MemoryDisk::Row;
  using Request = MemoryDisk::Request;
  using Rows = std::map<Key, Row>;

  static constexpr char kPageTokenKey[] = "memory";

  absl::Status Write(absl::FunctionRef<absl::Status()> body) {
    return in_transaction_ ? body() : Transact(body);
  }

  absl::StatusOr<Rows::iterator> Find(const std::string& name) {
    const auto parsed = GenerationName::Parse(name, "name");
    if (!parsed.ok()) return parsed.status();
    const auto row = disk_->rows_.find({parsed->tenant, parsed->generation});
    if (row == disk_->rows_.end()) return GenerationNotFound(name);
    return row;
  }

  void SetContent(Row& row, const v1::Generation& generation, const std::string& bytes) {
    row.generation = generation;
    row.generation.set_etag(Etag(bytes));
    row.end_time.reset();
    if (!IsEnded(generation.state())) return;
    row.end_time = clock_.WallTime();
    if (generation.has_end_time()) {
      row.end_time = absl::FromUnixSeconds(generation.end_time().seconds()) +
                     absl::Nanoseconds(generation.end_time().nanos());
    }
  }

  // Replaces or, with nothing, removes a row, and notes how to take that back.
  // By value: the key may be that of the row which goes.
  void Put(Key key, std::optional<Row> row) {
    std::optional<Row> old;
    if (const auto it = disk_->rows_.find(key); it != disk_->rows_.end()) old = it->second;
    undo_.push_back([disk = disk_.get(), key, old] { Replace(*disk, key, old); });
    Replace(*disk_, key, std::move(row));
  }

  static void Replace(MemoryDisk& disk, const Key& key, std::optional<Row> row) {
    if (const auto it = disk.rows_.find(key); it != disk.rows_.end()) {
      disk.unfinished_.erase(it->second.ordinal);
      disk.rows_.erase(it);
    }
    if (!row.has_value()) return;
    if (!row->end_time.has_value()) disk.unfinished_.emplace(row->ordinal, key);
    disk.rows_.emplace(key, *std::move(row));
  }

  void PutRequest(const Key& key, std::optional<Request> request) {
    std::optional<Request> old;
    if (const auto it = disk_->requests_.find(key); it != disk_->requests_.end()) old = it->second;
    undo_.push_back([disk = disk_.get(), key, old] { ReplaceRequest(*disk, key, old); });
    ReplaceRequest(*disk_, key, std::move(request));
  }

  static void ReplaceRequest(MemoryDisk& disk, const Key& key, std::optional<Request> request) {
    disk.requests_.erase(key);
    if (request.has_value()) disk.requests_.emplace(key, *std::move(request));
  }

  void Remove(const Key& at) {
    const Key key = at;  // which may lie in the row that goes
    const std::string request_id = disk_->rows_.at(key).request_id;
    Put(key, std::nullopt);
    if (request_id.empty()) return;
    Request request = disk_->requests_.at({key.first, request_id});
    request.orphan = true;
    PutRequest({key.first, request_id}, std::move(request));
  }

  int64_t CountUnfinished(const std::string& tenant) const {
    return std::count_if(disk_->unfinished_.begin(), disk_->unfinished_.end(),
                         [&](const auto& entry) { return entry.second.first == tenant; });
  }

  int64_t PurgeContent(const std::string& tenant, int max) {
    std::vector<Key> rows;
    for (const auto& [key, row] : disk_->rows_) {
      if (key.first == tenant && static_cast<int>(rows.size()) < max) rows.push_back(key);
    }
    for (const Key& key : rows) Remove(key);
    std::vector<Key> requests;
    for (const auto& [key, request] : disk_->requests_) {
      if (key.first == tenant && request.orphan && static_cast<int>(requests.size()) < max) {
        requests.push_back(key);
      }
    }
    for (const Key& key : requests) PutRequest(key, std::nullopt);
    return static_cast<int64_t>(rows.size() + requests.size()) +
           assets_.RemoveAssetsOf(tenant, max);
  }

  void Undo() {
    for (; !undo_.empty(); undo_.pop_back()) undo_.back()();
  }

  const std::shared_ptr<MemoryDisk> disk_;
  const Clock& clock_;
  bool in_transaction_ = false;
  absl::Status broken_;
  std::vector<std::function<void()>> undo_;
  MemoryAssets assets_{disk_->assets_, undo_};
  MemoryKeys keys_{disk_->keys_, undo_};
  MemoryTenants tenants_{
      disk_->tenants_,
      undo_,
      {[this](const std::string& tenant) { return CountUnfinished(tenant); },
       [this](const std::string& tenant, int max) { return PurgeContent(tenant, max); }}};
};

}  // namespace darkroom::testing

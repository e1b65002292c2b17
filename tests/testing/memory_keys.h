#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "darkroom/key_store.h"
#include "store/key_rules.h"

namespace darkroom::testing {

// The keys of a MemoryStore, by name: what its disk keeps of them.
using MemoryKeyRows = std::map<std::string, v1::ApiKeyRecord>;

class MemoryKeys final : public KeyStore {
 public:
  // `undo`: how the store takes back what is not committed.
  MemoryKeys(MemoryKeyRows& disk, std::vector<std::function<void()>>& undo)
      : disk_(disk), undo_(undo) {}

  absl::Status PutKey(const v1::ApiKeyRecord& record) override {
    Remember();
    disk_[record.key().name()] = record;
    return absl::OkStatus();
  }

  absl::StatusOr<v1::ApiKeyRecord> GetKey(const std::string& name) override {
    const auto it = disk_.find(name);
    if (it == disk_.end()) return KeyMissing();
    return it->second;
  }

  absl::StatusOr<std::vector<v1::ApiKeyRecord>> AllKeys() override {
    std::vector<v1::ApiKeyRecord> records;
    for (const auto& [name, record] : disk_) records.push_back(record);
    return records;
  }

  absl::StatusOr<int64_t> CountKeys(const std::string& tenant) override {
    int64_t count = 0;
    for (const auto& [name, record] : disk_) {
      if (tenant.empty() || record.key().tenant() == tenant) ++count;
    }
    return count;
  }

  absl::StatusOr<std::vector<std::string>> RemoveKeysOf(const std::string& tenant) override {
    Remember();
    std::vector<std::string> names;
    for (const auto& [name, record] : disk_) {
      if (record.key().tenant() == tenant) names.push_back(name);
    }
    for (const std::string& name : names) disk_.erase(name);
    return names;
  }

  absl::StatusOr<std::vector<std::string>> PurgeKeys(absl::Time before) override {
    Remember();
    std::vector<std::string> names;
    for (const auto& [name, record] : disk_) {
      const auto end = EndOf(record.key());
      if (end && *end < before) names.push_back(name);
    }
    for (const std::string& name : names) disk_.erase(name);
    return names;
  }

 private:
  void Remember() {
    undo_.push_back([this, before = disk_] { disk_ = before; });
  }

  MemoryKeyRows& disk_;
  std::vector<std::function<void()>>& undo_;
};

}  // namespace darkroom::testing

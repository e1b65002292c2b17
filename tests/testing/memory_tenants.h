#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "darkroom/tenant_store.h"
#include "store/tenant_rules.h"

namespace darkroom::testing {

// The tenants of a MemoryStore, by name: what its disk keeps of them.
using MemoryTenantRows = std::map<std::string, v1::TenantRecord>;

class MemoryTenants final : public TenantStore {
 public:
  // What the rest of the store does for them, by {tenant}.
  struct Content {
    std::function<int64_t(const std::string& tenant)> unfinished;
    std::function<int64_t(const std::string& tenant, int max)> purge;
  };
  // `undo`: how the store takes back what is not committed.
  MemoryTenants(MemoryTenantRows& disk, std::vector<std::function<void()>>& undo, Content content)
      : disk_(disk), undo_(undo), content_(std::move(content)) {}

  absl::Status PutTenant(const v1::TenantRecord& record) override {
    Remember();
    disk_[record.tenant().name()] = record;
    return absl::OkStatus();
  }
  absl::StatusOr<v1::TenantRecord> GetTenant(const std::string& name) override {
    const auto it = disk_.find(name);
    if (it == disk_.end()) return TenantMissing();
    return it->second;
  }
  absl::StatusOr<v1::TenantRecord> FindTenantRequest(const std::string& request_id) override {
    for (const auto& [name, record] : disk_) {
      if (!request_id.empty() && record.request_id() == request_id) return record;
    }
    return TenantMissing();
  }
  absl::StatusOr<std::vector<v1::TenantRecord>> AllTenants() override {
    std::vector<v1::TenantRecord> records;
    for (const auto& [name, record] : disk_) records.push_back(record);
    return records;
  }
  absl::StatusOr<int64_t> CountTenants() override { return static_cast<int64_t>(disk_.size()); }
  absl::Status RemoveTenant(const std::string& name) override {
    Remember();
    disk_.erase(name);
    return absl::OkStatus();
  }
  absl::StatusOr<int64_t> CountUnfinished(const std::string& name) override {
    return content_.unfinished(TenantIdOf(name));
  }
  absl::StatusOr<int64_t> PurgeContent(const std::string& name, int max) override {
    return content_.purge(TenantIdOf(name), max);
  }

 private:
  void Remember() {
    undo_.push_back([this, before = disk_] { disk_ = before; });
  }

  MemoryTenantRows& disk_;
  std::vector<std::function<void()>>& undo_;
  const Content content_;
};

}  // namespace darkroom::testing

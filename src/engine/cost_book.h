#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "scheduler/types.h"

namespace darkroom::engine {

// What steps were measured to cost, kept from one start to the next: a worker's profile and what
// was learned since, by what decides it.
class CostBook {
 public:
  struct Key {
    std::string hardware;  // as the worker describes its device
    std::string model;     // digest of its weights
    std::string precision;
    int32_t degree = 1;  // accelerators that work on one picture together
    auto operator<=>(const Key&) const = default;
  };
  struct Entry {
    std::vector<scheduler::CostPoint> points;
    std::vector<scheduler::CostLearned> learned;
  };

  // Null when it is not known.
  const Entry* Find(const Key& key) const;
  // Beyond kCostEntriesMax another one is forgotten.
  void Set(const Key& key, Entry entry);
  bool empty() const { return entries_.empty() && errors_.empty(); }
  // How far predictions of whole jobs fell short (scheduler::CostError); none when not known.
  const std::vector<int64_t>& errors() const { return errors_; }
  void SetErrors(std::vector<int64_t> errors) { errors_ = std::move(errors); }

  // The book as a file's text, with a version and a checksum; and back. INVALID_ARGUMENT
  // (COSTS_DAMAGED) for anything that Format does not make.
  std::string Format() const;
  static absl::StatusOr<CostBook> Parse(std::string_view text);

 private:
  std::map<Key, Entry> entries_;
  std::vector<int64_t> errors_;
};

// An empty book when there is no file; INVALID_ARGUMENT (COSTS_DAMAGED), UNAVAILABLE
// (COSTS_UNREADABLE).
absl::StatusOr<CostBook> ReadCosts(const std::string& path);
// Replaces the file, so that it is the old one or the new one whatever happens. UNAVAILABLE
// (COSTS_UNWRITABLE).
absl::Status WriteCosts(const std::string& path, const std::string& text);

}  // namespace darkroom::engine

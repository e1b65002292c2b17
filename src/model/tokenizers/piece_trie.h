#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"

namespace darkroom {

// Finds the pieces of a vocabulary that a text begins with.
class PieceTrie {
 public:
  PieceTrie() = default;
  // Ids are positions. REQUIRES: pieces not empty and different.
  explicit PieceTrie(absl::Span<const std::string> pieces);

  // Calls `visit` for every piece that `text` begins with, the shortest first.
  void ForEachPrefix(std::string_view text,
                     absl::FunctionRef<void(size_t bytes, int32_t id)> visit) const;

 private:
  // In breadth-first order, so that a node's children lie side by side, sorted by their bytes:
  // those of node n are nodes first_child_[n] to first_child_[n + 1] - 1. Node 0 is the root.
  std::vector<uint32_t> first_child_;
  std::vector<uint8_t> byte_;
  std::vector<int32_t> id_;  // -1: no piece ends here
};

}  // namespace darkroom

#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "darkroom/ops.h"

namespace darkroom {

// Blocks [first, last) of a transformer, a part of one step. What the first block reads is made
// where a run begins with it, and the head runs where it ends with the last; any other run goes on
// from, and leaves, the rows between two blocks.
struct BlockRange {
  int first = 0;
  int last = 0;
  bool operator==(const BlockRange&) const = default;
};

// Rows of a packed matrix that belong together, and where they lie between two runs, f32
// [count, the matrix's columns], device memory.
struct ParkedRows {
  float* rows = nullptr;
  int64_t first = 0;
  int64_t count = 0;
};

// Into the matrix f32 [rows, columns], or out of it.
absl::Status Unpark(absl::Span<const ParkedRows> parked, const Tensor& matrix, Ops& ops,
                    Stream& stream);
absl::Status Park(absl::Span<const ParkedRows> parked, const Tensor& matrix, Ops& ops,
                  Stream& stream);

}  // namespace darkroom

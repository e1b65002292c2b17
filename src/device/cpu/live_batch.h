#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "darkroom/packed_batch.h"

namespace darkroom::cpu {

// What a batch holds right now, read from its device tables and checked against its capacities, so
// that a broken table is an error and not a stray write.
struct LiveBatch {
  int64_t rows = 0;
  int32_t sequences = 0;
};

// Live rows alone, for ops that know no sequences.
absl::StatusOr<int64_t> LiveRows(const char* op, const PackedBatch& batch);
// With row_to_sequence of every live row within sequences_max.
absl::StatusOr<int64_t> LiveRowsOfSequences(const char* op, const PackedBatch& batch);
// With live_sequences and boundaries: ascending from 0 to at most live_rows; prefix_boundaries, if
// there are any, ascending from 0 to at most boundaries[0].
absl::StatusOr<LiveBatch> LiveSequences(const char* op, const PackedBatch& batch);

}  // namespace darkroom::cpu

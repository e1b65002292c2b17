#include "device/cpu/live_batch.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace darkroom::cpu {

absl::StatusOr<int64_t> LiveRows(const char* op, const PackedBatch& batch) {
  const int64_t rows = *batch.live_rows;
  if (rows < 0 || rows > batch.capacity) {
    return absl::InvalidArgumentError(
        absl::StrCat(op, ": live_rows is ", rows, ", must be 0 to ", batch.capacity));
  }
  return rows;
}

absl::StatusOr<int64_t> LiveRowsOfSequences(const char* op, const PackedBatch& batch) {
  auto rows = LiveRows(op, batch);
  if (!rows.ok()) return rows.status();
  for (int64_t row = 0; row < *rows; ++row) {
    const int32_t sequence = batch.row_to_sequence[row];
    if (sequence < 0 || sequence >= batch.sequences_max) {
      return absl::InvalidArgumentError(absl::StrCat(op, ": row_to_sequence[", row, "] is ",
                                                     sequence, ", must be 0 to ",
                                                     batch.sequences_max - 1));
    }
  }
  return rows;
}

absl::StatusOr<LiveBatch> LiveSequences(const char* op, const PackedBatch& batch) {
  auto rows = LiveRows(op, batch);
  if (!rows.ok()) return rows.status();
  const LiveBatch live{*rows, *batch.live_sequences};
  if (live.sequences < 0 || live.sequences > batch.sequences_max) {
    return absl::InvalidArgumentError(absl::StrCat(op, ": live_sequences is ", live.sequences,
                                                   ", must be 0 to ", batch.sequences_max));
  }
  int64_t previous = 0;
  for (int32_t s = 0; live.sequences > 0 && s <= live.sequences; ++s) {
    const int64_t boundary = batch.boundaries[s];
    if (boundary < previous || boundary > live.rows) {
      return absl::InvalidArgumentError(absl::StrCat(op, ": boundaries[", s, "] is ", boundary,
                                                     ", must be ", previous, " to ", live.rows));
    }
    previous = boundary;
  }
  return live;
}

}  // namespace darkroom::cpu

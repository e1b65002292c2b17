#include "device/cpu/live_batch.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace darkroom::cpu {

namespace {

// table[0] to table[sequences] ascend within [0, end].
absl::Status CheckAscending(const char* op, const char* name, const int32_t* table,
                            int32_t sequences, int64_t end) {
  int64_t previous = 0;
  for (int32_t s = 0; s <= sequences; ++s) {
    if (table[s] < previous || table[s] > end) {
      return absl::InvalidArgumentError(absl::StrCat(op, ": ", name, "[", s, "] is ", table[s],
                                                     ", must be ", previous, " to ", end));
    }
    previous = table[s];
  }
  return absl::OkStatus();
}

}  // namespace

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
  if (live.sequences == 0) return live;
  absl::Status status =
      CheckAscending(op, "boundaries", batch.boundaries, live.sequences, live.rows);
  if (status.ok() && batch.prefix_boundaries != nullptr) {
    status = CheckAscending(op, "prefix_boundaries", batch.prefix_boundaries, live.sequences,
                            batch.boundaries[0]);
  }
  if (!status.ok()) return status;
  return live;
}

}  // namespace darkroom::cpu

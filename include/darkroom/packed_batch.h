#pragma once

#include <cstdint>

namespace darkroom {

// Rows that one adapter applies to. A job with several adapters has a range for each, with the same
// rows and levels 0, 1, ...; two ranges of one level have no row in common.
struct AdapterRange {
  int32_t row_begin = 0;
  int32_t row_end = 0;
  int32_t adapter =
      0;  // as Ops::BindAdapter was told; rows of one that is not bound stay as they are
  int32_t level = 0;
  float weight = 0.0f;
};

// Sequences of different lengths laid end to end as the rows of one matrix. A sequence is one CFG
// branch of one job. The host knows only capacities, which choose the launch (and on a GPU the
// captured graph); everything that changes from step to step lies in device tables that the kernels
// read. Rows at and beyond the live count are padding: they may hold anything and must never change
// a live row's bits.
struct PackedBatch {
  int64_t capacity = 0;       // rows of the bucket
  int32_t sequences_max = 0;  // capacity of the per-sequence tables

  // Device memory, owned by the caller for as long as the ops run.
  const int32_t* live_rows = nullptr;        // [1]
  const int32_t* live_sequences = nullptr;   // [1]
  const int32_t* boundaries = nullptr;       // [sequences_max + 1], first row of each, then the end
  const int32_t* row_to_sequence = nullptr;  // [capacity]

  // [sequences_max + 1] or null. With it a sequence is two runs of rows: first its prefix (text
  // tokens), rows prefix_boundaries[s] to prefix_boundaries[s + 1], then rows boundaries[s] to
  // boundaries[s + 1] (image tokens). All prefixes lie before all second runs: boundaries[0] is the
  // row at which those begin, the same whatever the prefixes' lengths, so that an op on one kind of
  // token runs on a contiguous part of the buffer. Live rows between the last prefix and
  // boundaries[0] are padding too; where an op reads row_to_sequence it must name a sequence there
  // (any). Only attention reads this table.
  const int32_t* prefix_boundaries = nullptr;

  const AdapterRange* adapters = nullptr;  // [*adapter_count], ascending by row
  const int32_t* adapter_count = nullptr;  // [1]; null with `adapters`: none
  int32_t adapter_levels = 0;              // more than any level; with `adapters` at least 1
};

}  // namespace darkroom

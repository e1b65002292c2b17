#pragma once

#include <cstdint>

namespace darkroom::kernels {

// As darkroom::AdapterRange.
struct AdapterRange {
  int32_t row_begin = 0;
  int32_t row_end = 0;
  int32_t adapter = 0;
  int32_t level = 0;
  float weight = 0.0f;
};

// The tables of a packed batch, all in device memory; their meaning is told in
// include/darkroom/packed_batch.h.
struct PackedBatch {
  int64_t capacity = 0;
  int32_t sequences_max = 0;
  const int32_t* live_rows = nullptr;
  const int32_t* live_sequences = nullptr;
  const int32_t* boundaries = nullptr;
  const int32_t* row_to_sequence = nullptr;
  const int32_t* prefix_boundaries = nullptr;  // or null
};

}  // namespace darkroom::kernels

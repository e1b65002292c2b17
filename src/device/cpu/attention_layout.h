#pragma once

#include <cstdint>

#include "device/cpu/gemm_layout.h"

namespace darkroom::cpu {

// Sizes of what the attention kernel works on. Blocks are counted from the start of each sequence,
// so they, and the order in which a query meets them, do not depend on batch-mates.
inline constexpr int kQueryBlock = kRowBlock;
inline constexpr int kKeyBlock = kDepthBlock;

// Scores' rows are the A operand of the second product, so a key block is one depth block. Padded
// to the widest panel (32).
inline constexpr int kWidestPanel = 32;
constexpr int64_t PaddedHeadDim(int64_t head_dim) { return RoundUp(head_dim, kWidestPanel); }

// K of one key block and head: panels of keys, [key panel][head_dim][panel width].
constexpr int64_t PackedKeyFloats(int64_t head_dim) { return kKeyBlock * PaddedHeadDim(head_dim); }
// V of one key block and head: panels of features, [feature panel][key][panel width].
constexpr int64_t PackedValueFloats(int64_t head_dim) {
  return kKeyBlock * PaddedHeadDim(head_dim);
}
// Scaled queries, the scores of one register tile's rows, and the running output.
constexpr int64_t AttentionScratchFloats(int64_t head_dim) {
  return RowBlockFloats(head_dim) + kRowBlock * kRowStride + kQueryBlock * PaddedHeadDim(head_dim);
}

}  // namespace darkroom::cpu

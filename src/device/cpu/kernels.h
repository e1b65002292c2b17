#pragma once

#include <cstdint>

#include "darkroom/tensor.h"
#include "device/cpu/isa.h"

namespace darkroom::cpu {

// The vectorised inner loops, one table per SIMD level, each compiled in a file of its own with
// that instruction set enabled. Everything that decides how work is split lies above them.
//
// Headers that those files include must not define anything but templates over the vector type, and
// must not drag in the standard library: an inline function or a static initialiser compiled with
// AVX-512 enabled could be the one that runs on a machine without it.

// out = residual + gate * act(sums + bias), or factor * act(sums + bias), over `n` columns.
struct EpilogueRow {
  const float* sums;     // padded to a multiple of 16
  const float* bias;     // padded to a multiple of 16
  const float* gate;     // or null: 1
  const void* residual;  // or null: 0; may be `out`
  const void* factor;    // or null: 1; may be `out`; not with gate or residual
  void* out;
  int64_t n;
  DType residual_dtype;
  DType factor_dtype;
  DType out_dtype;
};

// out = (x - mean) / sqrt(variance + epsilon) * (1 + scale) + shift
struct NormRow {
  const void* x;
  const float* scale;  // or null: 0
  const float* shift;  // or null: 0
  void* out;
  int64_t n;
  float epsilon;
  DType x_dtype;
  DType out_dtype;
};

// out = norm(x) * weight + bias
struct AffineNormRow {
  const void* x;
  const float* weight;
  const float* bias;  // or null: 0
  void* out;
  int64_t n;
  float epsilon;
  DType x_dtype;
  DType out_dtype;
  bool rms;
};

// In place: every head x = x / sqrt(mean(x^2) + epsilon) * weight, then turned: x[i] * cos[i] +
// x[i ^ 1] * sin[i].
struct HeadsRow {
  void* x;  // [heads, head_dim]
  int64_t heads;
  int64_t head_dim;
  const float* weight;  // or null: not normalised
  const float* cos;     // [head_dim], or null with sin: not turned
  const float* sin;     // the first of each pair negative
  float epsilon;
  DType dtype;
};

// out = x * scale + shift, then SiLU if asked.
struct AffineRowArgs {
  const void* x;
  const float* scale;
  const float* shift;
  void* out;
  int64_t n;
  DType x_dtype;
  DType out_dtype;
  bool silu;
};

// out = x + y
struct AddRowArgs {
  const void* x;
  const void* y;
  void* out;
  int64_t n;
  DType x_dtype;
  DType y_dtype;
  DType out_dtype;
};

// Per channel, over `rows` rows of `channels`: the mean, and the sum of squared distances to it.
struct ChannelStatsArgs {
  const void* x;
  DType x_dtype;
  int64_t rows;
  int64_t channels;
  float* mean;     // [channels]
  float* squares;  // [channels]
};

// Rows of K and V as the attention kernel reads them: one block of at most kKeyBlock keys of one
// head.
struct PackKeysArgs {
  const void* k;
  const void* v;
  DType k_dtype;
  DType v_dtype;
  int64_t row_stride;  // elements
  int keys;
  int64_t head_dim;
  float* packed_k;  // PackedKeyFloats()
  float* packed_v;  // PackedValueFloats()
};

// One head's block of queries against all key blocks of its sequence.
struct AttentionBlockArgs {
  const void* q;
  DType q_dtype;
  int64_t q_stride;  // elements
  int queries;       // at most kRowBlock
  int64_t keys;
  int64_t head_dim;
  float scale;
  // Added to the scaled score of query i and key j, both counted in the sequence: bias[j - i]; or
  // null. The bf16 kernel knows neither biases nor `causal`.
  const float* bias;
  int64_t first_query;  // the block's first, counted in the sequence
  bool causal;
  const float* packed_k;  // the first key block's
  const float* packed_v;
  int64_t packed_k_stride;  // floats between key blocks
  int64_t packed_v_stride;
  void* out;
  DType out_dtype;
  int64_t out_stride;  // elements
  float* scratch;      // AttentionScratchFloats(head_dim)
};

struct Kernels {
  // Width of the panels of B that gemm_tile reads (gemm_layout.h).
  int panel_width;

  void (*gemm_tile)(const float* a, int rows, int64_t depth, const float* b, int64_t panels,
                    float* c, int64_t c_stride);
  // The same with B in bf16: the bits that it would have widened to f32 before.
  void (*gemm_tile_bf16)(const float* a, int rows, int64_t depth, const uint16_t* b, int64_t panels,
                         float* c, int64_t c_stride);
  void (*epilogue)(const EpilogueRow& row);
  void (*epilogue_gelu_tanh)(const EpilogueRow& row);
  void (*epilogue_gelu)(const EpilogueRow& row);
  void (*epilogue_silu)(const EpilogueRow& row);
  void (*epilogue_quick_gelu)(const EpilogueRow& row);
  void (*epilogue_relu)(const EpilogueRow& row);
  // Between f32 and bf16, or a copy.
  void (*convert_row)(const void* from, DType from_dtype, void* to, DType to_dtype, int64_t n);
  void (*silu_row)(const void* from, DType from_dtype, void* to, DType to_dtype, int64_t n);
  void (*layer_norm_row)(const NormRow& row);
  void (*affine_norm_row)(const AffineNormRow& row);
  void (*norm_rope_heads)(const HeadsRow& row);
  void (*add_row)(const AddRowArgs& row);
  void (*affine_row)(const AffineRowArgs& row);
  void (*channel_stats)(const ChannelStatsArgs& args);
  void (*pack_keys)(const PackKeysArgs& args);
  void (*attention_block)(const AttentionBlockArgs& args);
  // The same with products of bf16, for q, k and v of bf16; null where the machine has no
  // instructions that gain by it.
  void (*pack_keys_bf16)(const PackKeysArgs& args);
  void (*attention_block_bf16)(const AttentionBlockArgs& args);
};

const Kernels& GenericKernels();
const Kernels& Avx2Kernels();
const Kernels& Avx512Kernels();
// Avx512Kernels with attention on AMX.
Kernels AmxKernels();
const Kernels& KernelsFor(SimdLevel level);

}  // namespace darkroom::cpu

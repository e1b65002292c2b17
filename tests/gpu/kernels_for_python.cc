// The kernels under C's calling convention, for the benchmark, which measures them beside PyTorch's
// in one process. Each returns null, or what is wrong. All pointers are the device's.
#include <string>

#include "kernels/ops/adapter_down/adapter_down.h"
#include "kernels/ops/attention/attention.h"
#include "kernels/ops/linear/linear.h"
#include "kernels/ops/qk_norm_rope/qk_norm_rope.h"
#include "kernels/ops/row_norm/row_norm.h"

namespace {

using namespace darkroom::kernels;  // NOLINT(google-build-using-namespace)

const char* Told(const Result& result) {
  static std::string message;
  if (result.ok()) return nullptr;
  message = result.message;
  return message.c_str();
}

constexpr DeviceTraits kHopper{90, 132};

}  // namespace

extern "C" {

// A batch: rows, sequences and their tables.
struct BenchBatch {
  int64_t rows;
  int32_t sequences;
  const int32_t* live_rows;
  const int32_t* live_sequences;
  const int32_t* boundaries;
  const int32_t* row_to_sequence;
};

static PackedBatch BatchOf(const BenchBatch& batch) {
  return {batch.rows,       batch.sequences,       batch.live_rows, batch.live_sequences,
          batch.boundaries, batch.row_to_sequence, nullptr};
}

// bf16 but for the gate. `kernel`: 0 the op's own choice, else LinearKernel's number with a tile.
const char* darkroom_linear(const BenchBatch* batch, const void* x, const void* weight,
                            const float* bias, const void* residual, const float* gate, void* out,
                            int64_t in_features, int64_t out_features, int activation, int kernel,
                            int tile_rows, int tile_columns, cudaStream_t stream) {
  LinearArgs args;
  args.batch = BatchOf(*batch);
  args.in_features = in_features;
  args.out_features = args.out_stride = args.gate_stride = out_features;
  args.x = x;
  args.weight = weight;
  args.bias = bias;
  args.residual = residual;
  args.gate = gate;
  args.activation = static_cast<Activation>(activation);
  args.out = out;
  args.x_dtype = args.weight_dtype = args.residual_dtype = args.out_dtype = DType::kBf16;
  if (kernel == 0) return Told(Linear(args, kHopper, stream));
  if (Result valid = ValidateLinear(args); !valid.ok()) return Told(valid);
  return Told(
      LinearWith(args, {static_cast<LinearKernel>(kernel), tile_rows, tile_columns, 132}, stream));
}

// bf16 linear with adapters of one rank, a multiple of 32, each on a run of rows of its own.
struct BenchAdapters {
  const AdapterRange* ranges;
  const int32_t* range_count;
  const LowRank* matrices;
  int32_t matrix_count;
  int32_t rank;
  void* hidden;
};
const char* darkroom_linear_adapters(const BenchBatch* batch, const void* x, const void* weight,
                                     void* out, int64_t in_features, int64_t out_features,
                                     const BenchAdapters* adapters, cudaStream_t stream) {
  LinearArgs args;
  args.batch = BatchOf(*batch);
  args.in_features = in_features;
  args.out_features = args.out_stride = out_features;
  args.x = x;
  args.weight = weight;
  args.out = out;
  args.x_dtype = args.weight_dtype = args.out_dtype = DType::kBf16;
  args.adapters = {.ranges = adapters->ranges,
                   .range_count = adapters->range_count,
                   .levels = 1,
                   .matrices = adapters->matrices,
                   .matrix_count = adapters->matrix_count,
                   .rank_max = adapters->rank,
                   .dtype = DType::kBf16,
                   .hidden = adapters->hidden};
  if (Result done = AdapterDown({.batch = args.batch,
                                 .in_features = in_features,
                                 .x = x,
                                 .x_dtype = DType::kBf16,
                                 .adapters = args.adapters},
                                stream);
      !done.ok()) {
    return Told(done);
  }
  return Told(Linear(args, kHopper, stream));
}

// bf16, rows of q, k and v beside each other. `kernel`: 0 the op's own choice, else
// AttentionKernel's number.
const char* darkroom_attention(const BenchBatch* batch, const void* qkv, void* out, int32_t heads,
                               int32_t head_dim, float scale, int causal, int kernel,
                               cudaStream_t stream) {
  const int64_t width = int64_t{heads} * head_dim;
  AttentionArgs args;
  args.batch = BatchOf(*batch);
  const auto* q = static_cast<const __nv_bfloat16*>(qkv);
  args.q = q;
  args.k = q + width;
  args.v = q + 2 * width;
  args.dtype = args.out_dtype = DType::kBf16;
  args.heads = heads;
  args.head_dim = head_dim;
  args.row_stride = 3 * width;
  args.scale = scale;
  args.causal = causal != 0;
  args.out = out;
  args.out_stride = width;
  if (kernel == 0) return Told(Attention(args, kHopper, stream));
  if (Result valid = ValidateAttention(args); !valid.ok()) return Told(valid);
  return Told(AttentionWith(args, static_cast<AttentionKernel>(kernel), stream));
}

// bf16 rows, modulated.
const char* darkroom_row_norm(const BenchBatch* batch, const void* x, const float* scale,
                              const float* shift, void* out, int64_t dim, cudaStream_t stream) {
  RowNormArgs args;
  args.batch = BatchOf(*batch);
  args.x = x;
  args.scale = scale;
  args.shift = shift;
  args.modulation_stride = dim;
  args.dim = dim;
  args.out = out;
  args.x_dtype = args.out_dtype = DType::kBf16;
  return Told(RowNorm(args, stream));
}

const char* darkroom_qk_norm_rope(const BenchBatch* batch, void* qkv, const float* weight,
                                  const float* cos, const float* sin, int32_t heads,
                                  int32_t head_dim, cudaStream_t stream) {
  QkNormRopeArgs args;
  args.batch = BatchOf(*batch);
  args.qkv = qkv;
  args.dtype = DType::kBf16;
  args.heads = heads;
  args.head_dim = head_dim;
  args.row_stride = int64_t{3} * heads * head_dim;
  args.q_weight = args.k_weight = weight;
  args.cos = cos;
  args.sin = sin;
  return Told(QkNormRope(args, stream));
}

}  // extern "C"

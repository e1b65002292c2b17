#include <algorithm>
#include <cmath>

#include "device/cpu/gemm_layout.h"
#include "device/cpu/live_batch.h"
#include "device/cpu/ops_internal.h"
#include "device/op_check.h"

namespace darkroom::cpu {
namespace {

// Rows of one task: a fixed number of elements, so that small ops are not cut into crumbs.
int64_t RowsPerTask(int64_t row_elements) {
  constexpr int64_t kTaskElements = 32 * 1024;
  return std::max<int64_t>(1, kTaskElements / row_elements);
}

// Pixels whose statistics are taken together. Fixed: it is part of the order of summation.
constexpr int64_t kStatsPixels = 256;

// Mean and sum of squared distances of `count` values, merged in a fixed order (Chan, Golub and
// LeVeque, 1979), in float64.
struct Moments {
  double count = 0.0;
  double mean = 0.0;
  double squares = 0.0;

  void Merge(double other_count, double other_mean, double other_squares) {
    const double total = count + other_count;
    const double delta = other_mean - mean;
    mean += delta * other_count / total;
    squares += other_squares + delta * delta * count * other_count / total;
    count = total;
  }
};

}  // namespace

absl::Status LayerNormModulate(Context& context, const LayerNormModulateArgs& args,
                               const PackedBatch& batch) {
  if (absl::Status status = CheckLayerNormModulate(args, batch); !status.ok()) return status;
  const bool modulated = args.shift || args.scale;
  const auto rows = modulated ? LiveRowsOfSequences("LayerNormModulate", batch)
                              : LiveRows("LayerNormModulate", batch);
  if (!rows.ok()) return rows.status();
  const int64_t dim = args.x.dims[1];
  const int64_t stride = args.modulation_stride != 0 ? args.modulation_stride : dim;
  const int64_t rows_per_task = RowsPerTask(dim);
  context.pool.ParallelFor(DivideUp(*rows, rows_per_task), [&](int64_t task, int) {
    const int64_t end = std::min(*rows, (task + 1) * rows_per_task);
    for (int64_t r = task * rows_per_task; r < end; ++r) {
      const int64_t modulation = modulated ? batch.row_to_sequence[r] * stride : 0;
      NormRow row{};
      row.x = args.x.as<char>() + r * dim * static_cast<int64_t>(ByteSize(args.x.dtype));
      row.out = args.out.as<char>() + r * dim * static_cast<int64_t>(ByteSize(args.out.dtype));
      row.scale = args.scale ? args.scale.as<float>() + modulation : nullptr;
      row.shift = args.shift ? args.shift.as<float>() + modulation : nullptr;
      row.n = dim;
      row.epsilon = args.epsilon;
      row.x_dtype = args.x.dtype;
      row.out_dtype = args.out.dtype;
      context.kernels.layer_norm_row(row);
    }
  });
  return absl::OkStatus();
}

absl::Status Norm(Context& context, const NormArgs& args, const PackedBatch& batch) {
  if (absl::Status status = CheckNorm(args, batch); !status.ok()) return status;
  const auto rows = LiveRows("Norm", batch);
  if (!rows.ok()) return rows.status();
  const int64_t dim = args.x.dims[1];
  const int64_t rows_per_task = RowsPerTask(dim);
  context.pool.ParallelFor(DivideUp(*rows, rows_per_task), [&](int64_t task, int) {
    const int64_t end = std::min(*rows, (task + 1) * rows_per_task);
    for (int64_t r = task * rows_per_task; r < end; ++r) {
      context.kernels.affine_norm_row(
          {.x = args.x.as<char>() + r * dim * static_cast<int64_t>(ByteSize(args.x.dtype)),
           .weight = args.weight.as<float>(),
           .bias = args.bias.as<float>(),
           .out = args.out.as<char>() + r * dim * static_cast<int64_t>(ByteSize(args.out.dtype)),
           .n = dim,
           .epsilon = args.epsilon,
           .x_dtype = args.x.dtype,
           .out_dtype = args.out.dtype,
           .rms = args.rms});
    }
  });
  return absl::OkStatus();
}

absl::Status QkNormRope(Context& context, const QkNormRopeArgs& args, const PackedBatch& batch) {
  if (absl::Status status = CheckQkNormRope(args, batch); !status.ok()) return status;
  const auto rows = LiveRows("QkNormRope", batch);
  if (!rows.ok()) return rows.status();
  const int64_t heads = args.qkv.dims[2];
  const int64_t head_dim = args.qkv.dims[3];
  const int64_t half = head_dim / 2;
  const int64_t stride = args.row_stride != 0 ? args.row_stride : 3 * heads * head_dim;
  const int64_t element = static_cast<int64_t>(ByteSize(args.qkv.dtype));
  // A row's cosines and sines as the kernel reads them, once for all of its heads.
  if (absl::Status status = context.workspace.Reserve(2 * head_dim * sizeof(float)); !status.ok()) {
    return status;
  }
  const int64_t rows_per_task = RowsPerTask(2 * heads * head_dim);
  context.pool.ParallelFor(DivideUp(*rows, rows_per_task), [&](int64_t task, int thread) {
    float* cos = args.cos ? context.workspace.thread<float>(thread) : nullptr;
    float* sin = args.cos ? cos + head_dim : nullptr;
    const int64_t end = std::min(*rows, (task + 1) * rows_per_task);
    for (int64_t r = task * rows_per_task; r < end; ++r) {
      for (int64_t i = 0; args.cos && i < head_dim; ++i) {
        const float sine = args.sin.as<float>()[r * half + i / 2];
        cos[i] = args.cos.as<float>()[r * half + i / 2];
        sin[i] = i % 2 == 0 ? -sine : sine;
      }
      for (int64_t which = 0; which < 2; ++which) {
        const Tensor& weight = which == 0 ? args.q_weight : args.k_weight;
        context.kernels.norm_rope_heads(
            {.x = args.qkv.as<char>() + (r * stride + which * heads * head_dim) * element,
             .heads = heads,
             .head_dim = head_dim,
             .weight = weight.as<float>(),
             .cos = cos,
             .sin = sin,
             .epsilon = args.epsilon,
             .dtype = args.qkv.dtype});
      }
    }
  });
  return absl::OkStatus();
}

absl::Status GroupNorm(Context& context, const GroupNormArgs& args) {
  if (absl::Status status = CheckGroupNorm(args); !status.ok()) return status;
  const int64_t pixels = args.x.dims[0] * args.x.dims[1];
  const int64_t channels = args.x.dims[2];
  const int64_t group_channels = channels / args.groups;
  const int64_t chunks = DivideUp(pixels, kStatsPixels);
  const int64_t in_bytes = channels * static_cast<int64_t>(ByteSize(args.x.dtype));
  const int64_t out_bytes = channels * static_cast<int64_t>(ByteSize(args.out.dtype));
  // Per chunk: means and squares of the channels; then scale and shift of the channels.
  if (absl::Status status =
          context.workspace.Reserve(0, (2 * chunks + 2) * channels * sizeof(float));
      !status.ok()) {
    return status;
  }
  float* stats = context.workspace.shared<float>();
  float* scale = stats + 2 * chunks * channels;
  float* shift = scale + channels;

  const auto chunk_pixels = [&](int64_t chunk) {
    return std::min(kStatsPixels, pixels - chunk * kStatsPixels);
  };
  context.pool.ParallelFor(chunks, [&](int64_t chunk, int) {
    context.kernels.channel_stats({.x = args.x.as<char>() + chunk * kStatsPixels * in_bytes,
                                   .x_dtype = args.x.dtype,
                                   .rows = chunk_pixels(chunk),
                                   .channels = channels,
                                   .mean = stats + 2 * chunk * channels,
                                   .squares = stats + (2 * chunk + 1) * channels});
  });
  context.pool.ParallelFor(args.groups, [&](int64_t group, int) {
    Moments moments;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      const float* mean = stats + 2 * chunk * channels;
      for (int64_t c = group * group_channels; c < (group + 1) * group_channels; ++c) {
        moments.Merge(static_cast<double>(chunk_pixels(chunk)), mean[c], mean[channels + c]);
      }
    }
    const double inverse = 1.0 / std::sqrt(moments.squares / moments.count + args.epsilon);
    for (int64_t c = group * group_channels; c < (group + 1) * group_channels; ++c) {
      const double gamma = args.gamma.as<float>()[c];
      scale[c] = static_cast<float>(gamma * inverse);
      shift[c] = static_cast<float>(args.beta.as<float>()[c] - moments.mean * gamma * inverse);
    }
  });
  const int64_t rows_per_task = RowsPerTask(channels);
  context.pool.ParallelFor(DivideUp(pixels, rows_per_task), [&](int64_t task, int) {
    const int64_t end = std::min(pixels, (task + 1) * rows_per_task);
    for (int64_t r = task * rows_per_task; r < end; ++r) {
      context.kernels.affine_row({.x = args.x.as<char>() + r * in_bytes,
                                  .scale = scale,
                                  .shift = shift,
                                  .out = args.out.as<char>() + r * out_bytes,
                                  .n = channels,
                                  .x_dtype = args.x.dtype,
                                  .out_dtype = args.out.dtype,
                                  .silu = args.silu});
    }
  });
  return absl::OkStatus();
}

}  // namespace darkroom::cpu

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "device/cpu/gemm_layout.h"
#include "device/cpu/half.h"
#include "device/cpu/matmul.h"
#include "oneapi/dnnl/dnnl.hpp"

namespace darkroom::cpu {
namespace {

// AMX multiplies a weight faster than memory delivers it, so a weight that is read once should
// serve many rows: as many as leave them room in the second-level cache (2 MiB wherever there is
// AMX) beside a column block of the weight, which all row tiles of the block go over.
int64_t Bf16RowBlock(int64_t depth) {
  constexpr int64_t kBytes = 768 * 1024;
  const int64_t fitting = kBytes / (depth * 2) / kBf16TileRows * kBf16TileRows;
  return std::clamp<int64_t>(fitting, 3 * kBf16TileRows, 10 * kBf16TileRows);
}

int64_t Bf16BlockColumns(int64_t depth) {
  constexpr int64_t kBytes = 512 * 1024;
  constexpr int64_t kStep = 64;
  const int64_t fitting = kBytes / (depth * 2) / kStep * kStep;
  return std::clamp<int64_t>(fitting, kStep, kColumnBlock);
}

// An f32 as itself, or as the nearest bf16.
template <typename T>
T Rounded(float value) {
  if constexpr (sizeof(T) == sizeof(float)) {
    return value;
  } else {
    return Bf16FromFloat(value);
  }
}

}  // namespace

absl::StatusOr<PackedMatrix> PackedMatrix::Make(
    Context& context, int64_t columns, int64_t depth, DType source, DType compute,
    absl::FunctionRef<void(int64_t column, float* values)> read,
    absl::FunctionRef<float(int64_t column)> bias) {
  PackedMatrix matrix;
  matrix.columns_ = columns;
  matrix.depth_ = depth;
  auto bias_values = context.AllocateWeight("bias", RoundUp(columns, kColumnBlock) * sizeof(float));
  if (!bias_values.ok()) return bias_values.status();
  matrix.bias_ = *std::move(bias_values);
  for (int64_t c = 0; c < columns && !matrix.bias_.present(); ++c) {
    static_cast<float*>(matrix.bias_.data())[c] = bias(c);
  }
  absl::Status packed;
  const bool bf16 = compute == DType::kBf16;
  matrix.native_bf16_ = bf16 && context.isa.bf16;
  matrix.rounds_rows_ = bf16 && !context.isa.bf16;
  if (matrix.native_bf16_) {
    packed = matrix.PackNativeBf16(context, read);
  } else if (bf16 || source == DType::kBf16) {
    matrix.panel_dtype_ = DType::kBf16;
    packed = matrix.PackPanels<uint16_t>(context, read);
  } else {
    packed = matrix.PackPanels<float>(context, read);
  }
  if (!packed.ok()) return packed;
  return matrix;
}

template <typename T>
absl::Status PackedMatrix::PackPanels(Context& context,
                                      absl::FunctionRef<void(int64_t column, float* values)> read) {
  const int width = context.kernels.panel_width;
  const int64_t panels = DivideUp(columns_, width);
  auto values = context.AllocateWeight(
      absl::StrCat("panels ", columns_, " x ", depth_, " by ", width, " of ", sizeof(T)),
      panels * width * depth_ * sizeof(T));
  if (!values.ok()) return values.status();
  values_ = *std::move(values);
  if (values_.present()) return absl::OkStatus();
  if (absl::Status status = context.workspace.Reserve(depth_ * sizeof(float)); !status.ok()) {
    return status;
  }
  T* to = static_cast<T*>(values_.data());
  context.pool.ParallelFor(panels, [&](int64_t panel, int thread) {
    float* column_values = context.workspace.thread<float>(thread);
    for (int64_t i = 0; i < width && panel * width + i < columns_; ++i) {
      read(panel * width + i, column_values);
      for (int64_t begin = 0; begin < depth_; begin += kDepthBlock) {
        T* first = to + PanelOffset(begin, panel * width + i, depth_, panels * width, width);
        const int64_t count = std::min<int64_t>(kDepthBlock, depth_ - begin);
        for (int64_t k = 0; k < count; ++k) first[k * width] = Rounded<T>(column_values[begin + k]);
      }
    }
  });
  return absl::OkStatus();
}

absl::Status PackedMatrix::PackNativeBf16(
    Context& context, absl::FunctionRef<void(int64_t column, float* values)> read) {
  row_block_ = Bf16RowBlock(depth_);
  block_columns_ = std::min(Bf16BlockColumns(depth_), columns_);
  const int64_t blocks = DivideUp(columns_, block_columns_);
  const int64_t last_columns = columns_ - (blocks - 1) * block_columns_;
  auto full = context.bf16_matmuls.Get(depth_, block_columns_);
  if (!full.ok()) return full.status();
  auto last = context.bf16_matmuls.Get(depth_, last_columns);
  if (!last.ok()) return last.status();
  bf16_full_ = *full;
  bf16_last_ = *last;
  bf16_block_bytes_ = RoundUp(std::max(bf16_full_->packed_bytes(), bf16_last_->packed_bytes()), 64);
  auto values = context.AllocateWeight(absl::StrCat("bf16 ", columns_, " x ", depth_),
                                       blocks * bf16_block_bytes_);
  if (!values.ok()) return values.status();
  values_ = *std::move(values);
  if (values_.present()) return absl::OkStatus();
  const size_t plain_bytes = block_columns_ * depth_ * sizeof(uint16_t);
  if (absl::Status status = context.workspace.Reserve(plain_bytes + depth_ * sizeof(float));
      !status.ok()) {
    return status;
  }
  const SequentialOpenMp sequential;
  uint16_t* plain = context.workspace.thread<uint16_t>(0);
  float* column_values = reinterpret_cast<float*>(context.workspace.thread<char>(0) +
                                                  RoundUp(plain_bytes, sizeof(float)));
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t begin = block * block_columns_;
    const int64_t count = std::min(block_columns_, columns_ - begin);
    for (int64_t c = 0; c < count; ++c) {
      read(begin + c, column_values);
      context.kernels.convert_row(column_values, DType::kF32, plain + c * depth_, DType::kBf16,
                                  depth_);
    }
    try {
      bf16_matmul(block).Pack(plain,
                              static_cast<char*>(values_.data()) + block * bf16_block_bytes_);
    } catch (const dnnl::error& error) {
      return absl::InternalError(absl::StrCat("oneDNN cannot pack a weight: ", error.what()));
    }
  }
  return absl::OkStatus();
}

}  // namespace darkroom::cpu

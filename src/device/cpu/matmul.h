#pragma once

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "darkroom/ops.h"
#include "darkroom/tensor.h"
#include "device/cpu/context.h"
#include "device/cpu/gemm_layout.h"

namespace darkroom::cpu {

// The one way matrices are multiplied here: linear layers give it rows of activations, convolutions
// give it patches of an image.
//
// Work is cut into tasks of kRowBlock rows by a range of column blocks; each sums kColumnBlock
// columns into scratch and finishes them (bias, activation, gate, residual) while they are in
// cache. f32 runs on our kernel on every ISA: a row's bits are the same whatever the number of
// rows, where oneDNN 2.6 without AVX-512 falls back to one whose are not, and it is faster too
// (tests/bench). bf16 runs on oneDNN's AMX and AVX-512 kernels in tiles of a fixed height; without
// such instructions on our f32 kernel, both factors rounded to bf16: half the memory, not faster.

// A matrix [columns, depth] in the layout that its kernel wants, with its bias.
class PackedMatrix {
 public:
  // `read(column, values)`: writes the `depth` elements of one output column as f32. Called by
  // several threads. `bias(column)` likewise. `source`: bf16 when every element is one: then they
  // are kept as such. RESOURCE_EXHAUSTED, or INTERNAL when oneDNN fails.
  static absl::StatusOr<PackedMatrix> Make(
      Context& context, int64_t columns, int64_t depth, DType source, DType compute,
      absl::FunctionRef<void(int64_t column, float* values)> read,
      absl::FunctionRef<float(int64_t column)> bias);

  int64_t columns() const { return columns_; }
  int64_t depth() const { return depth_; }
  // Products of bf16 by the machine's own instructions, else of f32.
  bool native_bf16() const { return native_bf16_; }
  // f32 products: whether elements of A are rounded to bf16 first.
  bool rounds_rows() const { return rounds_rows_; }
  const float* bias() const { return static_cast<const float*>(bias_.data()); }

  // Rows of A that one task takes, and columns that it finishes at once. They depend on the shape
  // alone.
  int64_t row_block() const { return row_block_; }
  int64_t block_columns() const { return block_columns_; }

  // f32 products: the dtype that its panels are kept in, f32 or bf16, and those that begin at
  // `column`, a multiple of kColumnBlock.
  DType panel_dtype() const { return panel_dtype_; }
  template <typename T>
  const T* panels(int64_t column) const {
    return static_cast<const T*>(values_.data()) + column * depth_;
  }

  // Native bf16: a column block's primitive and values.
  Bf16Matmul& bf16_matmul(int64_t block) const {
    return (block + 1) * block_columns_ <= columns_ ? *bf16_full_ : *bf16_last_;
  }
  const void* bf16_block(int64_t block) const {
    return static_cast<const char*>(values_.data()) + block * bf16_block_bytes_;
  }

 private:
  template <typename T>
  absl::Status PackPanels(Context& context,
                          absl::FunctionRef<void(int64_t column, float* values)> read);
  absl::Status PackNativeBf16(Context& context,
                              absl::FunctionRef<void(int64_t column, float* values)> read);

  int64_t columns_ = 0;
  int64_t depth_ = 0;
  bool native_bf16_ = false;
  bool rounds_rows_ = false;
  DType panel_dtype_ = DType::kF32;
  int64_t row_block_ = kRowBlock;
  int64_t block_columns_ = kColumnBlock;
  WeightMemory values_;
  WeightMemory bias_;
  int64_t bf16_block_bytes_ = 0;
  Bf16Matmul* bf16_full_ = nullptr;  // owned by the context
  Bf16Matmul* bf16_last_ = nullptr;
};

// Receives one row of A, piece by piece, in the layout of the kernel that will read it.
class RowWriter {
 public:
  // `rounds`: every element to the nearest bf16.
  RowWriter(const Kernels& kernels, float* block, int64_t row, bool rounds)
      : kernels_(kernels), f32_(block), row_(row), rounds_(rounds) {}
  RowWriter(const Kernels& kernels, uint16_t* row) : kernels_(kernels), bf16_(row) {}

  void Append(const void* from, DType dtype, int64_t n);
  void AppendZeros(int64_t n);

 private:
  const Kernels& kernels_;
  float* f32_ = nullptr;
  uint16_t* bf16_ = nullptr;
  int64_t row_ = 0;
  bool rounds_ = false;
  int64_t column_ = 0;
};

struct MatmulArgs {
  const PackedMatrix& weight;
  int64_t rows;
  // Appends row `row` of A, weight.depth() elements. Called by several threads.
  absl::FunctionRef<void(int64_t row, RowWriter& writer)> read_row;
  Activation activation = Activation::kNone;
  const float* gate = nullptr;  // row s at s * gate_stride, s = row_to_sequence[row]
  int64_t gate_stride = 0;
  const int32_t* row_to_sequence = nullptr;
  // Rows of `columns` elements each.
  const void* residual = nullptr;
  DType residual_dtype = DType::kF32;
  const void* factor = nullptr;  // not with gate or residual
  DType factor_dtype = DType::kF32;
  void* out;
  int64_t out_stride;  // elements
  DType out_dtype;
};

// out[r] = residual[r] + gate[seq(r)] * act(A[r] W^T + bias), or factor[r] * that.
absl::Status Matmul(Context& context, const MatmulArgs& args);

}  // namespace darkroom::cpu

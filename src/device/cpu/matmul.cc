#include "device/cpu/matmul.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "device/cpu/gemm_layout.h"

namespace darkroom::cpu {
namespace {

using EpilogueKernel = void (*)(const EpilogueRow&);

EpilogueKernel EpilogueFor(const Kernels& kernels, Activation activation) {
  switch (activation) {
    case Activation::kGeluTanh:
      return kernels.epilogue_gelu_tanh;
    case Activation::kGelu:
      return kernels.epilogue_gelu;
    case Activation::kSilu:
      return kernels.epilogue_silu;
    case Activation::kQuickGelu:
      return kernels.epilogue_quick_gelu;
    case Activation::kRelu:
      return kernels.epilogue_relu;
    case Activation::kNone:
      break;
  }
  return kernels.epilogue;
}

// One thread's scratch: the rows of A, the sums, and what oneDNN asks for.
class Scratch {
 public:
  static size_t Bytes(const PackedMatrix& weight) {
    size_t library_bytes = 0;
    if (weight.native_bf16()) {
      const int64_t blocks = DivideUp(weight.columns(), weight.block_columns());
      library_bytes = std::max(weight.bf16_matmul(0).scratch_bytes(),
                               weight.bf16_matmul(blocks - 1).scratch_bytes());
    }
    return RowBytes(weight) + SumBytes(weight) + library_bytes;
  }

  Scratch(const PackedMatrix& weight, char* memory)
      : rows_(memory),
        sums_(reinterpret_cast<float*>(memory + RowBytes(weight))),
        library_(memory + RowBytes(weight) + SumBytes(weight)) {}

  float* f32_rows() const { return reinterpret_cast<float*>(rows_); }
  uint16_t* bf16_rows() const { return reinterpret_cast<uint16_t*>(rows_); }
  float* sums() const { return sums_; }
  char* library() const { return library_; }

 private:
  static size_t RowBytes(const PackedMatrix& weight) {
    const size_t bytes = weight.native_bf16()
                             ? weight.row_block() * weight.depth() * sizeof(uint16_t)
                             : RowBlockFloats(weight.depth()) * sizeof(float);
    return RoundUp(bytes, 64);
  }
  // The epilogue reads whole vectors: up to one beyond the last sum.
  static size_t SumBytes(const PackedMatrix& weight) {
    return weight.row_block() * kColumnBlock * sizeof(float) + 64;
  }

  char* rows_;
  float* sums_;
  char* library_;
};

class MatmulRun {
 public:
  MatmulRun(Context& context, const MatmulArgs& args)
      : context_(context),
        args_(args),
        weight_(args.weight),
        f32_(!weight_.native_bf16()),
        epilogue_(EpilogueFor(context.kernels, args.activation)),
        column_blocks_(DivideUp(weight_.columns(), weight_.block_columns())) {}

  bool Run() {
    // Enough tasks to keep the threads level, and no more: each reads its rows of A anew. How
    // columns are shared out does not touch the order of any sum.
    const int64_t row_block = weight_.row_block();
    const int64_t row_blocks = DivideUp(args_.rows, row_block);
    const int64_t wanted = DivideUp(3 * context_.pool.threads(), row_blocks);
    const int64_t ranges = std::clamp<int64_t>(wanted, 1, column_blocks_);
    context_.pool.ParallelFor(row_blocks * ranges, [&](int64_t task, int thread) {
      const int64_t row = task / ranges * row_block;
      const int64_t range = task % ranges;
      RunTask(row, static_cast<int>(std::min(row_block, args_.rows - row)),
              range * column_blocks_ / ranges, (range + 1) * column_blocks_ / ranges, thread);
    });
    return !failed_.load(std::memory_order_relaxed);
  }

 private:
  void RunTask(int64_t row, int rows, int64_t block_begin, int64_t block_end, int thread) {
    const Scratch scratch(weight_, context_.workspace.thread<char>(thread));
    ReadRows(row, rows, scratch);
    for (int64_t block = block_begin; block < block_end; ++block) {
      const int64_t column = block * weight_.block_columns();
      const int64_t columns = std::min(weight_.block_columns(), weight_.columns() - column);
      if (f32_) {
        const int64_t panels = DivideUp(columns, context_.kernels.panel_width);
        if (weight_.panel_dtype() == DType::kBf16) {
          context_.kernels.gemm_tile_bf16(scratch.f32_rows(), rows, weight_.depth(),
                                          weight_.panels<uint16_t>(column), panels, scratch.sums(),
                                          kColumnBlock);
        } else {
          context_.kernels.gemm_tile(scratch.f32_rows(), rows, weight_.depth(),
                                     weight_.panels<float>(column), panels, scratch.sums(),
                                     kColumnBlock);
        }
      } else if (!MultiplyBf16(rows, block, columns, scratch, thread)) {
        failed_.store(true, std::memory_order_relaxed);
        return;
      }
      Finish(row, rows, column, columns, scratch.sums(), f32_ ? kColumnBlock : columns);
    }
  }

  void ReadRows(int64_t row, int rows, const Scratch& scratch) {
    if (f32_) {
      for (int r = 0; r < rows; ++r) {
        RowWriter writer(context_.kernels, scratch.f32_rows(), r, weight_.rounds_rows());
        args_.read_row(row + r, writer);
      }
      return;
    }
    uint16_t* to = scratch.bf16_rows();
    for (int r = 0; r < rows; ++r) {
      RowWriter writer(context_.kernels, to + r * weight_.depth());
      args_.read_row(row + r, writer);
    }
    // The last tile is whole whatever the number of rows.
    const int64_t whole = RoundUp(rows, kBf16TileRows);
    std::memset(to + rows * weight_.depth(), 0,
                (whole - rows) * weight_.depth() * sizeof(uint16_t));
  }

  bool MultiplyBf16(int rows, int64_t block, int64_t columns, const Scratch& scratch, int thread) {
    const SequentialOpenMp sequential;
    for (int64_t r = 0; r < rows; r += kBf16TileRows) {
      if (!weight_.bf16_matmul(block).Run(thread, scratch.bf16_rows() + r * weight_.depth(),
                                          weight_.bf16_block(block), scratch.sums() + r * columns,
                                          scratch.library())) {
        return false;
      }
    }
    return true;
  }

  void Finish(int64_t row, int rows, int64_t column, int64_t columns, const float* sums,
              int64_t sums_stride) {
    for (int r = 0; r < rows; ++r) {
      const int64_t at = (row + r) * weight_.columns() + column;
      EpilogueRow finish{};
      finish.sums = sums + r * sums_stride;
      finish.bias = weight_.bias() + column;
      if (args_.gate != nullptr) {
        finish.gate = args_.gate + args_.row_to_sequence[row + r] * args_.gate_stride + column;
      }
      if (args_.residual != nullptr) {
        finish.residual = static_cast<const char*>(args_.residual) +
                          at * static_cast<int64_t>(ByteSize(args_.residual_dtype));
        finish.residual_dtype = args_.residual_dtype;
      }
      if (args_.factor != nullptr) {
        finish.factor = static_cast<const char*>(args_.factor) +
                        at * static_cast<int64_t>(ByteSize(args_.factor_dtype));
        finish.factor_dtype = args_.factor_dtype;
      }
      finish.out =
          static_cast<char*>(args_.out) +
          ((row + r) * args_.out_stride + column) * static_cast<int64_t>(ByteSize(args_.out_dtype));
      finish.out_dtype = args_.out_dtype;
      finish.n = columns;
      epilogue_(finish);
    }
  }

  Context& context_;
  const MatmulArgs& args_;
  const PackedMatrix& weight_;
  const bool f32_;
  const EpilogueKernel epilogue_;
  const int64_t column_blocks_;
  std::atomic<bool> failed_{false};
};

}  // namespace

void RowWriter::Append(const void* from, DType dtype, int64_t n) {
  if (bf16_ != nullptr) {
    kernels_.convert_row(from, dtype, bf16_ + column_, DType::kBf16, n);
    column_ += n;
    return;
  }
  while (n > 0) {
    const int64_t count = std::min<int64_t>(n, kDepthBlock - column_ % kDepthBlock);
    float* to = f32_ + RowBlockOffset(row_, column_);
    if (rounds_ && dtype != DType::kBf16) {
      uint16_t rounded[kDepthBlock];
      kernels_.convert_row(from, dtype, rounded, DType::kBf16, count);
      kernels_.convert_row(rounded, DType::kBf16, to, DType::kF32, count);
    } else {
      kernels_.convert_row(from, dtype, to, DType::kF32, count);
    }
    from = static_cast<const char*>(from) + count * static_cast<int64_t>(ByteSize(dtype));
    column_ += count;
    n -= count;
  }
}

void RowWriter::AppendZeros(int64_t n) {
  if (bf16_ != nullptr) {
    std::memset(bf16_ + column_, 0, n * sizeof(uint16_t));
    column_ += n;
    return;
  }
  while (n > 0) {
    const int64_t count = std::min<int64_t>(n, kDepthBlock - column_ % kDepthBlock);
    std::memset(f32_ + RowBlockOffset(row_, column_), 0, count * sizeof(float));
    column_ += count;
    n -= count;
  }
}

absl::Status Matmul(Context& context, const MatmulArgs& args) {
  if (args.rows == 0) return absl::OkStatus();
  if (absl::Status status = context.workspace.Reserve(Scratch::Bytes(args.weight)); !status.ok()) {
    return status;
  }
  if (!MatmulRun(context, args).Run()) {
    return absl::InternalError("oneDNN failed in a bf16 matrix product");
  }
  return absl::OkStatus();
}

}  // namespace darkroom::cpu

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
    case Activation::kNone:
      break;
  }
  return kernels.epilogue;
}

// One thread's scratch: the rows of A, the sums, and what oneDNN asks for.
struct Scratch {
  static size_t RowBytes(const PackedMatrix& weight) {
    const size_t bytes = weight.compute() == DType::kF32
                             ? RowBlockFloats(weight.depth()) * sizeof(float)
                             : kRowBlock * weight.depth() * sizeof(uint16_t);
    return RoundUp(bytes, 64);
  }
  static constexpr size_t kSumBytes = size_t{kRowBlock} * kColumnBlock * sizeof(float);

  static size_t Bytes(const PackedMatrix& weight) {
    size_t library_bytes = 0;
    if (weight.compute() == DType::kBf16) {
      const int64_t blocks = DivideUp(weight.columns(), weight.bf16_block_columns());
      library_bytes = std::max(weight.bf16_matmul(0).scratch_bytes(),
                               weight.bf16_matmul(blocks - 1).scratch_bytes());
    }
    return RowBytes(weight) + kSumBytes + library_bytes;
  }

  Scratch(const PackedMatrix& weight, char* memory)
      : rows(memory),
        sums(reinterpret_cast<float*>(memory + RowBytes(weight))),
        library(memory + RowBytes(weight) + kSumBytes) {}

  char* rows;
  float* sums;
  char* library;
};

class MatmulRun {
 public:
  MatmulRun(Context& context, const MatmulArgs& args)
      : context_(context),
        args_(args),
        weight_(args.weight),
        f32_(weight_.compute() == DType::kF32),
        epilogue_(EpilogueFor(context.kernels, args.activation)),
        block_columns_(f32_ ? kColumnBlock : weight_.bf16_block_columns()),
        column_blocks_(DivideUp(weight_.columns(), block_columns_)) {}

  bool Run() {
    // Enough tasks to keep the threads level, and no more: each reads its rows of A anew. How
    // columns are shared out does not touch the order of any sum.
    const int64_t row_blocks = DivideUp(args_.rows, kRowBlock);
    const int64_t wanted = DivideUp(3 * context_.pool.threads(), row_blocks);
    const int64_t ranges = std::clamp<int64_t>(wanted, 1, column_blocks_);
    context_.pool.ParallelFor(row_blocks * ranges, [&](int64_t task, int thread) {
      const int64_t row = task / ranges * kRowBlock;
      const int64_t range = task % ranges;
      RunTask(row, static_cast<int>(std::min<int64_t>(kRowBlock, args_.rows - row)),
              range * column_blocks_ / ranges, (range + 1) * column_blocks_ / ranges, thread);
    });
    return !failed_.load(std::memory_order_relaxed);
  }

 private:
  void RunTask(int64_t row, int rows, int64_t block_begin, int64_t block_end, int thread) {
    const Scratch scratch(weight_, context_.workspace.thread<char>(thread));
    ReadRows(row, rows, scratch);
    for (int64_t block = block_begin; block < block_end; ++block) {
      const int64_t column = block * block_columns_;
      const int64_t columns = std::min(block_columns_, weight_.columns() - column);
      if (f32_) {
        const int width = context_.kernels.panel_width;
        context_.kernels.gemm_tile(reinterpret_cast<const float*>(scratch.rows), rows,
                                   weight_.depth(), weight_.panels(column),
                                   DivideUp(columns, width), scratch.sums, kColumnBlock);
      } else if (!MultiplyBf16(rows, block, scratch, thread)) {
        failed_.store(true, std::memory_order_relaxed);
        return;
      }
      Finish(row, rows, column, columns, scratch.sums);
    }
  }

  void ReadRows(int64_t row, int rows, const Scratch& scratch) {
    if (f32_) {
      for (int r = 0; r < rows; ++r) {
        RowWriter writer(context_.kernels, reinterpret_cast<float*>(scratch.rows), r);
        args_.read_row(row + r, writer);
      }
      return;
    }
    uint16_t* to = reinterpret_cast<uint16_t*>(scratch.rows);
    for (int r = 0; r < rows; ++r) {
      RowWriter writer(context_.kernels, to + r * weight_.depth());
      args_.read_row(row + r, writer);
    }
    // The last tile is whole whatever the number of rows.
    const int64_t whole = RoundUp(rows, kBf16TileRows);
    std::memset(to + rows * weight_.depth(), 0,
                (whole - rows) * weight_.depth() * sizeof(uint16_t));
  }

  bool MultiplyBf16(int rows, int64_t block, const Scratch& scratch, int thread) {
    const SequentialOpenMp sequential;
    const uint16_t* from = reinterpret_cast<const uint16_t*>(scratch.rows);
    for (int64_t r = 0; r < rows; r += kBf16TileRows) {
      if (!weight_.bf16_matmul(block).Run(thread, from + r * weight_.depth(),
                                          weight_.bf16_block(block),
                                          scratch.sums + r * kColumnBlock, scratch.library)) {
        return false;
      }
    }
    return true;
  }

  void Finish(int64_t row, int rows, int64_t column, int64_t columns, const float* sums) {
    for (int r = 0; r < rows; ++r) {
      const int64_t at = (row + r) * weight_.columns() + column;
      EpilogueRow finish{};
      finish.sums = sums + r * kColumnBlock;
      finish.bias = weight_.bias() + column;
      if (args_.gate != nullptr) {
        finish.gate = args_.gate + args_.row_to_sequence[row + r] * args_.gate_stride + column;
      }
      if (args_.residual != nullptr) {
        finish.residual = static_cast<const char*>(args_.residual) +
                          at * static_cast<int64_t>(ByteSize(args_.residual_dtype));
        finish.residual_dtype = args_.residual_dtype;
      }
      finish.out =
          static_cast<char*>(args_.out) + at * static_cast<int64_t>(ByteSize(args_.out_dtype));
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
  const int64_t block_columns_;
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
    kernels_.convert_row(from, dtype, f32_ + RowBlockOffset(row_, column_), DType::kF32, count);
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

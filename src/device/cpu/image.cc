#include <algorithm>
#include <cmath>
#include <cstring>

#include "device/cpu/gemm_layout.h"
#include "device/cpu/half.h"
#include "device/cpu/ops_internal.h"
#include "device/op_check.h"

namespace darkroom::cpu {
namespace {

// Elements of one task of an elementwise op.
constexpr int64_t kTaskElements = 32 * 1024;

const char* Address(const Tensor& tensor, int64_t element) {
  return tensor.as<const char>() + element * static_cast<int64_t>(ByteSize(tensor.dtype));
}

char* MutableAddress(const Tensor& tensor, int64_t element) {
  return tensor.as<char>() + element * static_cast<int64_t>(ByteSize(tensor.dtype));
}

}  // namespace

absl::Status Add(Context& context, const Tensor& x, const Tensor& y, const Tensor& out) {
  if (absl::Status status = CheckAdd(x, y, out); !status.ok()) return status;
  const int64_t columns = x.dim(-1);
  const int64_t rows = x.size() / columns;
  const int64_t y_rows = y.size() / columns;
  const int64_t rows_per_task = std::max<int64_t>(1, kTaskElements / columns);
  context.pool.ParallelFor(DivideUp(rows, rows_per_task), [&](int64_t task, int) {
    const int64_t end = std::min(rows, (task + 1) * rows_per_task);
    for (int64_t r = task * rows_per_task; r < end; ++r) {
      context.kernels.add_row({.x = Address(x, r * columns),
                               .y = Address(y, r % y_rows * columns),
                               .out = MutableAddress(out, r * columns),
                               .n = columns,
                               .x_dtype = x.dtype,
                               .y_dtype = y.dtype,
                               .out_dtype = out.dtype});
    }
  });
  return absl::OkStatus();
}

absl::Status Silu(Context& context, const Tensor& x, const Tensor& out) {
  if (absl::Status status = CheckSilu(x, out); !status.ok()) return status;
  const int64_t size = x.size();
  context.pool.ParallelFor(DivideUp(size, kTaskElements), [&](int64_t task, int) {
    const int64_t begin = task * kTaskElements;
    context.kernels.silu_row(Address(x, begin), x.dtype, MutableAddress(out, begin), out.dtype,
                             std::min(kTaskElements, size - begin));
  });
  return absl::OkStatus();
}

absl::Status Upsample2x(Context& context, const Tensor& x, const Tensor& out) {
  if (absl::Status status = CheckUpsample2x(x, out); !status.ok()) return status;
  const int64_t width = x.dims[1];
  const int64_t pixel_bytes = x.dims[2] * static_cast<int64_t>(ByteSize(x.dtype));
  context.pool.ParallelFor(x.dims[0], [&](int64_t y, int) {
    const char* from = x.as<const char>() + y * width * pixel_bytes;
    char* to = out.as<char>() + 4 * y * width * pixel_bytes;
    for (int64_t i = 0; i < width; ++i) {
      std::memcpy(to + 2 * i * pixel_bytes, from + i * pixel_bytes, pixel_bytes);
      std::memcpy(to + (2 * i + 1) * pixel_bytes, from + i * pixel_bytes, pixel_bytes);
    }
    std::memcpy(to + 2 * width * pixel_bytes, to, 2 * width * pixel_bytes);
  });
  return absl::OkStatus();
}

absl::Status ToPixels(Context& context, const Tensor& x, const Tensor& out) {
  if (absl::Status status = CheckToPixels(x, out); !status.ok()) return status;
  const int64_t size = x.size();
  context.pool.ParallelFor(DivideUp(size, kTaskElements), [&](int64_t task, int) {
    const int64_t end = std::min(size, (task + 1) * kTaskElements);
    for (int64_t i = task * kTaskElements; i < end; ++i) {
      const float value = ElementAt(x.data, x.dtype, i) / 2.0f + 0.5f;
      // Written so that a NaN becomes 0: its conversion to an integer would be undefined.
      const float clamped = value > 0.0f ? std::min(value, 1.0f) : 0.0f;
      out.as<uint8_t>()[i] = static_cast<uint8_t>(std::lrint(clamped * 255.0f));
    }
  });
  return absl::OkStatus();
}

}  // namespace darkroom::cpu

#include "model/transformers/parked_rows.h"

namespace darkroom {
namespace {

size_t BytesOf(const ParkedRows& part, const Tensor& matrix) {
  return static_cast<size_t>(part.count * matrix.dim(1)) * sizeof(float);
}

float* RowsOf(const ParkedRows& part, const Tensor& matrix) {
  return matrix.as<float>() + part.first * matrix.dim(1);
}

}  // namespace

absl::Status Unpark(absl::Span<const ParkedRows> parked, const Tensor& matrix, Ops& ops,
                    Stream& stream) {
  for (const ParkedRows& part : parked) {
    absl::Status status =
        ops.CopyOnDevice(RowsOf(part, matrix), part.rows, BytesOf(part, matrix), stream);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Park(absl::Span<const ParkedRows> parked, const Tensor& matrix, Ops& ops,
                  Stream& stream) {
  for (const ParkedRows& part : parked) {
    absl::Status status =
        ops.CopyOnDevice(part.rows, RowsOf(part, matrix), BytesOf(part, matrix), stream);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace darkroom

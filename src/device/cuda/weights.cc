#include "device/cuda/weights.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "device/cpu/half.h"
#include "device/cuda/element_writer.h"
#include "device/op_check.h"

namespace darkroom::cuda {
namespace {

absl::StatusOr<Matrix> MakeMatrix(int64_t in, int64_t out, DType stored, DType compute) {
  Matrix matrix{.in = in, .out = out, .stored = stored, .compute = compute};
  auto elements = DeviceMemory::Make(static_cast<size_t>(in * out) * ByteSize(stored));
  if (!elements.ok()) return elements.status();
  auto bias = DeviceMemory::Make(static_cast<size_t>(out) * sizeof(float));
  if (!bias.ok()) return bias.status();
  matrix.elements = *std::move(elements);
  matrix.bias = *std::move(bias);
  return matrix;
}

}  // namespace

absl::StatusOr<std::unique_ptr<LinearWeight>> PackLinear(absl::Span<const LinearPart> parts,
                                                         DType compute, CudaStream& stream) {
  if (absl::Status status = CheckPackLinear(parts, compute); !status.ok()) return status;
  const bool all_bf16 = std::all_of(parts.begin(), parts.end(), [](const LinearPart& part) {
    return part.weight.dtype == DType::kBf16;
  });
  int64_t out = 0;
  std::vector<int64_t> columns;
  for (const LinearPart& part : parts) {
    columns.push_back(part.weight.dims[0]);
    out += columns.back();
  }
  auto matrix =
      MakeMatrix(parts[0].weight.dims[1], out, all_bf16 ? DType::kBf16 : compute, compute);
  if (!matrix.ok()) return matrix.status();
  ElementWriter elements(matrix->elements.data(), matrix->stored, stream);
  ElementWriter bias(matrix->bias.data(), DType::kF32, stream);
  absl::Status status;
  for (const LinearPart& part : parts) {
    if (status.ok()) status = elements.Append(part.weight);
    if (!status.ok()) break;
    status = part.bias ? bias.Append(part.bias)
                       : bias.Append(part.weight.dims[0], [](int64_t) { return 0.0f; });
  }
  if (status.ok()) status = stream.Synchronize();
  if (!status.ok()) return status;
  return std::make_unique<CudaLinearWeight>(*std::move(matrix), std::move(columns));
}

absl::Status CudaLinearWeight::Bind(int32_t adapter, absl::Span<const AdapterPart> parts,
                                    CudaStream& stream) {
  if (absl::Status status = CheckBindAdapter(matrix_.in, columns_, adapter, parts); !status.ok()) {
    return status;
  }
  return adapters_.Bind(adapter, parts, {matrix_.in, columns_, matrix_.compute}, stream);
}

absl::StatusOr<std::unique_ptr<ConvWeight>> PackConv(const Tensor& weight, const Tensor& bias,
                                                     int stride, const ConvPadding& padding,
                                                     DType compute, CudaStream& stream) {
  if (absl::Status status = CheckPackConv(weight, bias, stride, padding, compute); !status.ok()) {
    return status;
  }
  const int64_t out = weight.dims[0];
  const int64_t channels = weight.dims[1];
  const int64_t taps = weight.dims[2] * weight.dims[3];
  auto matrix = MakeMatrix(channels * taps, out,
                           weight.dtype == DType::kBf16 ? DType::kBf16 : compute, compute);
  if (!matrix.ok()) return matrix.status();
  ElementWriter elements(matrix->elements.data(), matrix->stored, stream);
  absl::Status status;
  for (int64_t row = 0; row < out && status.ok(); ++row) {
    status = elements.Append(channels * taps, [&](int64_t i) {
      return cpu::ElementAt(weight.data, weight.dtype,
                            (row * channels + i % channels) * taps + i / channels);
    });
  }
  if (status.ok() && bias) {
    status = ElementWriter(matrix->bias.data(), DType::kF32, stream).Append(bias);
  }
  if (status.ok()) status = stream.Synchronize();
  if (!status.ok()) return status;
  return std::make_unique<CudaConvWeight>(*std::move(matrix), channels,
                                          static_cast<int>(weight.dims[2]), stride, padding);
}

}  // namespace darkroom::cuda

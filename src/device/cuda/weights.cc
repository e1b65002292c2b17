#include "device/cuda/weights.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "device/cpu/half.h"
#include "device/cuda/cuda_error.h"
#include "device/limits.h"
#include "device/op_check.h"

namespace darkroom::cuda {
namespace {

// Elements on their way to consecutive device memory in a matrix's dtype.
class ElementWriter {
 public:
  ElementWriter(void* to, DType stored, CudaStream& stream)
      : to_(static_cast<char*>(to)), stored_(stored), stream_(stream) {}

  // All of `from`, in host memory, aligned or not.
  absl::Status Append(const Tensor& from) {
    if (from.dtype == stored_) {
      const size_t bytes = from.bytes();
      absl::Status status = stream_.CopyToDevice(to_, from.data, bytes);
      to_ += bytes;
      return status;
    }
    const int64_t at_once = static_cast<int64_t>(kStagingBytes / ByteSize(stored_));
    for (int64_t first = 0; first < from.size(); first += at_once) {
      const int64_t count = std::min(at_once, from.size() - first);
      absl::Status status = Append(
          count, [&](int64_t i) { return cpu::ElementAt(from.data, from.dtype, first + i); });
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  template <typename Element>
  absl::Status Append(int64_t count, Element&& element) {
    host_.resize(static_cast<size_t>(count) * ByteSize(stored_));
    for (int64_t i = 0; i < count; ++i) {
      const float value = element(i);
      if (stored_ == DType::kF32) {
        std::memcpy(host_.data() + i * 4, &value, 4);
      } else {
        const uint16_t bits = cpu::Bf16FromFloat(value);
        std::memcpy(host_.data() + i * 2, &bits, 2);
      }
    }
    absl::Status status = stream_.CopyToDevice(to_, host_.data(), host_.size());
    to_ += host_.size();
    return status;
  }

 private:
  char* to_;
  const DType stored_;
  CudaStream& stream_;
  std::vector<char> host_;
};

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
  for (const LinearPart& part : parts) out += part.weight.dims[0];
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
  return std::make_unique<CudaLinearWeight>(*std::move(matrix));
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

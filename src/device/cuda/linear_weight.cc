#include "device/cuda/linear_weight.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "device/cpu/half.h"
#include "device/cuda/cuda_error.h"
#include "device/op_check.h"

namespace darkroom::cuda {
namespace {

// Element `i` of host memory that may be unaligned.
float ElementOf(const Tensor& tensor, int64_t i) {
  const char* at = tensor.as<const char>() + i * static_cast<int64_t>(ByteSize(tensor.dtype));
  if (tensor.dtype == DType::kF32) {
    float value;
    std::memcpy(&value, at, sizeof(value));
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, at, sizeof(bits));
  return tensor.dtype == DType::kBf16 ? cpu::Bf16ToFloat(bits) : cpu::F16ToFloat(bits);
}

absl::StatusOr<DeviceMemory> Upload(const void* data, size_t bytes) {
  auto memory = DeviceMemory::Make(bytes);
  if (!memory.ok()) return memory.status();
  if (absl::Status status =
          ToStatus(cudaMemcpy(memory->data(), data, bytes, cudaMemcpyHostToDevice), "PackLinear");
      !status.ok()) {
    return status;
  }
  return memory;
}

}  // namespace

absl::StatusOr<std::unique_ptr<LinearWeight>> PackLinear(absl::Span<const LinearPart> parts,
                                                         DType compute) {
  if (absl::Status status = CheckPackLinear(parts, compute); !status.ok()) return status;
  const bool all_bf16 = std::all_of(parts.begin(), parts.end(), [](const LinearPart& part) {
    return part.weight.dtype == DType::kBf16;
  });
  const DType stored = all_bf16 ? DType::kBf16 : compute;
  const size_t element = ByteSize(stored);
  std::vector<char> rows;
  std::vector<float> bias;
  for (const LinearPart& part : parts) {
    const int64_t count = part.weight.size();
    const size_t begin = rows.size();
    rows.resize(begin + static_cast<size_t>(count) * element);
    for (int64_t i = 0; i < count; ++i) {
      const float value = ElementOf(part.weight, i);
      char* to = rows.data() + begin + static_cast<size_t>(i) * element;
      if (stored == DType::kF32) {
        std::memcpy(to, &value, sizeof(value));
      } else {
        const uint16_t bits = cpu::Bf16FromFloat(value);
        std::memcpy(to, &bits, sizeof(bits));
      }
    }
    for (int64_t i = 0; i < part.weight.dims[0]; ++i) {
      bias.push_back(part.bias ? ElementOf(part.bias, i) : 0.0f);
    }
  }
  auto weight_memory = Upload(rows.data(), rows.size());
  if (!weight_memory.ok()) return weight_memory.status();
  auto bias_memory = Upload(bias.data(), bias.size() * sizeof(float));
  if (!bias_memory.ok()) return bias_memory.status();
  return std::make_unique<CudaLinearWeight>(parts[0].weight.dims[1],
                                            static_cast<int64_t>(bias.size()), stored, compute,
                                            *std::move(weight_memory), *std::move(bias_memory));
}

}  // namespace darkroom::cuda

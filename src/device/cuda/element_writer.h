#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "absl/status/status.h"
#include "darkroom/tensor.h"
#include "device/cpu/half.h"
#include "device/cuda/cuda_stream.h"
#include "device/limits.h"

namespace darkroom::cuda {

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

}  // namespace darkroom::cuda

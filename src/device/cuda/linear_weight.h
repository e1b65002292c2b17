#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "darkroom/ops.h"
#include "device/cuda/cuda_memory.h"

namespace darkroom::cuda {

// [out, in] in bf16 or f32, as it is: the kernels read it K-contiguous.
class CudaLinearWeight : public LinearWeight {
 public:
  CudaLinearWeight(int64_t in, int64_t out, DType stored, DType compute, DeviceMemory weight,
                   DeviceMemory bias)
      : in_(in),
        out_(out),
        stored_(stored),
        compute_(compute),
        weight_(std::move(weight)),
        bias_(std::move(bias)) {}

  int64_t in_features() const override { return in_; }
  int64_t out_features() const override { return out_; }
  DType stored() const { return stored_; }
  DType compute() const { return compute_; }
  const void* weight() const { return weight_.data(); }
  const float* bias() const { return static_cast<const float*>(bias_.data()); }  // zeros where none

 private:
  int64_t in_;
  int64_t out_;
  DType stored_;
  DType compute_;
  DeviceMemory weight_;
  DeviceMemory bias_;
};

// Copies the parts to the device, one below the other. What is all bf16 stays bf16.
absl::StatusOr<std::unique_ptr<LinearWeight>> PackLinear(absl::Span<const LinearPart> parts,
                                                         DType compute);

}  // namespace darkroom::cuda

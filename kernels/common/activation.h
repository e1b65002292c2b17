#pragma once

#include <cuda_runtime_api.h>

#include <cmath>
#include <cstdint>

namespace darkroom::kernels {

// In the order of darkroom::Activation (include/darkroom/ops.h), where they are told.
enum class Activation : uint8_t { kNone, kGeluTanh, kGelu, kSilu, kQuickGelu, kRelu };

__host__ __device__ inline float Sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

__host__ __device__ inline float Activate(Activation activation, float x) {
  switch (activation) {
    case Activation::kNone:
      return x;
    case Activation::kGeluTanh: {
      // (1 + tanh(u)) / 2 = sigmoid(2 u)
      constexpr float kTwoSqrtTwoOverPi = 1.5957691216057308f;
      return x * Sigmoid(kTwoSqrtTwoOverPi * fmaf(0.044715f * x * x, x, x));
    }
    case Activation::kGelu:
      return 0.5f * x * (1.0f + erff(x * 0.7071067811865476f));
    case Activation::kSilu:
      return x * Sigmoid(x);
    case Activation::kQuickGelu:
      return x * Sigmoid(1.702f * x);
    case Activation::kRelu:
      return x > 0.0f ? x : 0.0f;
  }
  return x;
}

}  // namespace darkroom::kernels

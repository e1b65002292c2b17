#pragma once

#include <cstdint>
#include <random>

#include "absl/types/span.h"
#include "darkroom/tensor.h"

namespace darkroom {

// Random numbers as PyTorch's CPU generator draws them, bit for bit, one tensor after another. The
// same on every instruction set: nothing here depends on the math library.
class NoiseGenerator {
 public:
  // torch.Generator().manual_seed(seed). Only the low 32 bits count, as in PyTorch.
  explicit NoiseGenerator(uint64_t seed) : generator_(static_cast<uint32_t>(seed)) {}

  // torch.randn(out.size(), dtype=float32), as PyTorch gives it on a CPU with AVX2.
  void Fill(absl::Span<float> out);
  // torch.randn(out.size(), dtype=bfloat16), widened, as PyTorch 2.15 gives it (earlier versions
  // drew in bfloat16 itself). REQUIRES: out.size() >= 16.
  void FillBf16(absl::Span<float> out);
  // One of the two.
  void Fill(DType dtype, absl::Span<float> out) {
    dtype == DType::kBf16 ? FillBf16(out) : Fill(out);
  }

 private:
  std::mt19937 generator_;
};

// The first float32 tensor of a fresh generator.
inline void FillNoise(uint64_t seed, absl::Span<float> out) { NoiseGenerator(seed).Fill(out); }

}  // namespace darkroom

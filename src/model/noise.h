#pragma once

#include <cstdint>

#include "absl/types/span.h"

namespace darkroom {

// Starting noise: fills `out` with the numbers that torch.randn(out.size(), dtype=float32) draws
// from a fresh CPU generator with this seed, bit for bit as PyTorch gives them on a CPU with AVX2.
// The same on every instruction set: nothing here depends on the math library.
void FillNoise(uint64_t seed, absl::Span<float> out);

}  // namespace darkroom

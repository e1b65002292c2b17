#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace darkroom::kernels {

// A side's place in a ring of stages that one side fills and the other empties, both in order: the
// stage, and the parity of how often the ring has gone round.
template <int kStages>
struct RingTurn {
  int stage = 0;
  uint32_t parity = 0;

  __device__ void Next() {
    if (++stage < kStages) return;
    stage = 0;
    parity ^= 1;
  }
};

}  // namespace darkroom::kernels

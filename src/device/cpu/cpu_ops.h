#pragma once

#include <memory>

#include "darkroom/ops.h"

namespace darkroom {

// The CPU backend: device memory is host memory, and an op has run when its call returns, so
// streams are always drained. Copies are plain copies.
//
// `threads` counts the calling thread and is clamped to what limits.h allows; it never changes a
// bit of any result. Instruction sets are chosen when the backend is made and capped by
// DNNL_MAX_CPU_ISA. Ops from different threads run one after the other.
std::unique_ptr<Ops> CreateCpuOps(int threads);

}  // namespace darkroom

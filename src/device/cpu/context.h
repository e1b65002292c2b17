#pragma once

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "device/cpu/bf16_matmul.h"
#include "device/cpu/isa.h"
#include "device/cpu/kernels.h"
#include "device/cpu/thread_pool.h"
#include "device/cpu/weight_arena.h"
#include "device/cpu/workspace.h"

namespace darkroom::cpu {

// What every op of one CPU backend shares. Ops hold `mutex` from check to end, so that two streams
// never mix in the pool or the workspace.
struct Context {
  explicit Context(int threads)
      : isa(DetectIsa()),
        kernels(KernelsFor(isa.simd)),
        pool(threads),
        workspace(threads),
        bf16_matmuls(threads) {}

  const CpuIsa isa;
  const Kernels& kernels;
  Mutex mutex;
  ThreadPool pool;
  Workspace workspace;
  Bf16MatmulCache bf16_matmuls;
  std::unique_ptr<WeightArena> weights;  // between BeginWeights and EndWeights

  // Where a packed weight goes now.
  absl::StatusOr<WeightMemory> AllocateWeight(std::string_view what, size_t bytes) const {
    return weights != nullptr ? weights->Allocate(what, bytes) : WeightMemory::Heap(bytes);
  }
};

}  // namespace darkroom::cpu

#pragma once

#include <cuda_runtime.h>

#include <cstdint>

// What a thread is to its warp and block, and what they do together. This folder is the only one
// with PTX and with CUDA's built-in functions: kernels call these wrappers, and a test-only
// emulator has the same headers, found first, so that the same kernel source runs on a CPU.

namespace darkroom::kernels::ptx {

inline constexpr int kWarpThreads = 32;
inline constexpr uint32_t kAllLanes = 0xffffffffu;

__device__ inline int Lane() { return static_cast<int>(threadIdx.x) % kWarpThreads; }
__device__ inline int Warp() { return static_cast<int>(threadIdx.x) / kWarpThreads; }

// The block's dynamic shared memory, whose size the launch gave; 1024-byte aligned.
__device__ inline uint8_t* SharedMemory() {
  extern __shared__ __align__(1024) uint8_t dynamic_shared_memory[];
  return dynamic_shared_memory;
}

// Every thread of the block has come here; what each wrote before is seen by all.
__device__ inline void SyncBlock() { __syncthreads(); }
// The same for the lanes of a warp.
__device__ inline void SyncWarp() { __syncwarp(); }
// The same for `threads` threads (whole warps) that name barrier `id`, 1 to 15.
__device__ inline void SyncNamed(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// Exchanges among the 32 lanes of a warp; all of them call it.
__device__ inline float ShuffleXor(float value, int lanes) {
  return __shfl_xor_sync(kAllLanes, value, lanes);
}
__device__ inline int32_t ShuffleUp(int32_t value, int by) {
  return __shfl_up_sync(kAllLanes, value, by);
}
__device__ inline int32_t ShuffleFrom(int32_t value, int lane) {
  return __shfl_sync(kAllLanes, value, lane);
}
__device__ inline uint32_t Ballot(bool vote) { return __ballot_sync(kAllLanes, vote); }

// Index of the lowest bit that is set; `bits` is not 0.
__device__ inline int LowestBit(uint32_t bits) { return __ffs(static_cast<int>(bits)) - 1; }

// 2^x by the special function unit: relative error 2^-22, 2^-inf = 0.
__device__ inline float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace darkroom::kernels::ptx

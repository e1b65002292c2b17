#pragma once

#include <cstdint>

// Copies from global to shared memory that run beside the thread (cp.async, sm_80). A thread
// commits its copies in groups and waits for groups; other threads see them after a barrier behind
// the wait.

namespace darkroom::kernels::ptx {

__device__ inline uint32_t SharedAddress(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// 16 bytes, both addresses 16-byte aligned. Where not `valid`, zeros, and `global` is not read.
__device__ inline void CopyAsync16(void* shared, const void* global, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(SharedAddress(shared)),
               "l"(global), "r"(valid ? 16 : 0)
               : "memory");
}

__device__ inline void CommitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Until at most the `kPending` groups that this thread committed last are still under way.
template <int kPending>
__device__ inline void WaitCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

}  // namespace darkroom::kernels::ptx

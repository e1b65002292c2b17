#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/emulator/simt.h"

// kernels/ptx/cp_async.h for the emulator.

namespace darkroom::kernels::ptx {

inline void CopyAsync16(void* shared, const void* global, bool valid) {
  constexpr size_t kBytes = 16;
  if (reinterpret_cast<uintptr_t>(shared) % kBytes != 0) {
    emulator::Fail("cp.async to a shared address that is not 16-byte aligned");
  }
  if (valid && reinterpret_cast<uintptr_t>(global) % kBytes != 0) {
    emulator::Fail("cp.async from a global address that is not 16-byte aligned");
  }
  std::memset(shared, 0xff, kBytes);
  emulator::QueueCopy([shared, global, valid] {
    if (valid) {
      std::memcpy(shared, global, kBytes);
    } else {
      std::memset(shared, 0, kBytes);
    }
  });
}

inline void CommitCopies() { emulator::CommitQueuedCopies(); }

template <int kPending>
void WaitCopies() {
  emulator::WaitForCopies(kPending);
}

}  // namespace darkroom::kernels::ptx

#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "kernels/emulator/simt.h"
#include "kernels/ptx/cp_async.h"
#include "kernels/ptx/tensor_map.h"

// kernels/ptx/hopper.h for the emulator. Bulk copies land when no thread can go on, products when
// the thread waits for them; neither may find its operands gone.

namespace darkroom::kernels::ptx {

inline constexpr int kWarpgroupThreads = 128;

struct alignas(8) Barrier {
  int32_t bytes;  // announced and not here yet
  int8_t count;
  int8_t missing;  // of this phase's arrivals
  uint8_t phase;
  uint8_t initialised;
};
inline constexpr uint8_t kBarrierInitialised = 0x5a;

inline void EndPhaseIfDone(Barrier* barrier) {
  if (barrier->missing != 0 || barrier->bytes != 0) return;
  barrier->missing = barrier->count;
  barrier->phase ^= 1;
}

inline void InitBarrier(Barrier* barrier, int count) {
  *barrier = {0, static_cast<int8_t>(count), static_cast<int8_t>(count), 0, kBarrierInitialised};
}
inline void FenceBarrierInit() {}
inline void ArriveExpecting(Barrier* barrier, uint32_t bytes) {
  if (barrier->initialised != kBarrierInitialised) emulator::Fail("a barrier nobody initialised");
  if (barrier->missing == 0) emulator::Fail("more arrivals than the barrier expects");
  barrier->bytes += static_cast<int32_t>(bytes);
  --barrier->missing;
  EndPhaseIfDone(barrier);
}
inline void Arrive(Barrier* barrier) { ArriveExpecting(barrier, 0); }
inline void WaitParity(Barrier* barrier, uint32_t parity) {
  if (barrier->initialised != kBarrierInitialised) emulator::Fail("a barrier nobody initialised");
  emulator::WaitUntil("mbarrier", [barrier, parity] { return barrier->phase != parity; });
}

// Where a byte lies under the 128-byte swizzle: by its address.
inline uint8_t* Swizzled(uintptr_t address) {
  return reinterpret_cast<uint8_t*>(address ^ ((address >> 7 & 7) << 4));
}

inline void BulkLoad(void* shared, const TensorMap& map, Barrier* barrier, int32_t row,
                     int32_t column) {
  constexpr int kBytes = 128;
  const auto to = reinterpret_cast<uintptr_t>(shared);
  if (to % 1024 != 0) emulator::Fail("a bulk copy to an address that is not 1024-byte aligned");
  std::memset(shared, 0xff, static_cast<size_t>(map.box_rows) * kBytes);
  emulator::QueueAsync([=] {
    for (int r = 0; r < map.box_rows; ++r) {
      for (int c = 0; c < kBytes / 2; ++c) {
        uint16_t value = 0;
        if (row + r < map.rows && column + c < map.columns) {
          std::memcpy(&value, map.data + 2 * ((int64_t{row} + r) * map.columns + column + c), 2);
        }
        std::memcpy(Swizzled(to + static_cast<uintptr_t>(r * kBytes + 2 * c)), &value, 2);
      }
    }
    barrier->bytes -= map.box_rows * kBytes;
    EndPhaseIfDone(barrier);
  });
}

inline uint64_t MatrixDescriptor(const void* shared) { return reinterpret_cast<uint64_t>(shared); }

inline void FenceProducts() {}
inline void CommitProducts() { emulator::CommitQueuedCopies(); }
template <int kPending>
void WaitProducts() {
  emulator::WaitForCopies(kPending);
}
template <int kRegisters>
void GiveRegisters() {}
template <int kRegisters>
void TakeRegisters() {}

inline float ElementOf(uint64_t descriptor, int row, int k) {
  uint16_t bits;
  std::memcpy(&bits, Swizzled(descriptor + static_cast<uint64_t>(row * 128 + 2 * k)), 2);
  return std::bit_cast<float>(uint32_t{bits} << 16);
}

template <int kElements>
void MultiplyWarpgroup(float (&d)[kElements], uint64_t a, uint64_t b, bool accumulate) {
  float* to = d;
  const int thread = static_cast<int>(threadIdx.x) % kWarpgroupThreads;
  emulator::QueueCopy([=] {
    for (int half = 0; half < 2; ++half) {
      const int row = thread / 32 * 16 + thread % 32 / 4 + 8 * half;
      float left[16];
      for (int k = 0; k < 16; ++k) left[k] = ElementOf(a, row, k);
      for (int i = 0; i < kElements; ++i) {
        if (i / 2 % 2 != half) continue;
        double sum = accumulate ? to[i] : 0.0;
        for (int k = 0; k < 16; ++k) {
          sum += static_cast<double>(left[k]) * ElementOf(b, i / 4 * 8 + thread % 4 * 2 + i % 2, k);
        }
        to[i] = static_cast<float>(sum);
      }
    }
  });
}

}  // namespace darkroom::kernels::ptx

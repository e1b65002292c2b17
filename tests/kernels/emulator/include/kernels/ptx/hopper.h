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
          std::memcpy(&value, map.data + 2 * ((int64_t{row} + r) * map.row_stride + column + c), 2);
        }
        std::memcpy(Swizzled(to + static_cast<uintptr_t>(r * kBytes + 2 * c)), &value, 2);
      }
    }
    barrier->bytes -= map.box_rows * kBytes;
    EndPhaseIfDone(barrier);
  });
}

inline uint64_t MatrixDescriptor(const void* shared) { return reinterpret_cast<uint64_t>(shared); }

// Columns' stride beside the address, which leaves the upper 16 bits alone.
inline uint64_t TransposedDescriptor(const void* shared, uint32_t columns_stride) {
  if (columns_stride % 1024 != 0) emulator::Fail("columns whose stride is no multiple of 1024");
  return reinterpret_cast<uint64_t>(shared) | uint64_t{columns_stride / 1024} << 48;
}

inline void FenceShared() {}
inline void FenceProducts() {}
inline void CommitProducts() { emulator::CommitQueuedCopies(); }
// Registers are read until the last lane's products have run.
template <int kPending>
void WaitProducts() {
  emulator::MeetWarp("wgmma wait", nullptr, [](void**, int) {});
  emulator::WaitForCopies(kPending);
  emulator::MeetWarp("wgmma waited", nullptr, [](void**, int) {});
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
  emulator::QueueProduct([=] {
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

// A lane's left operand, and those of the four lanes that hold its rows.
struct LeftOperand {
  const uint32_t* mine;
  const uint32_t* quad[4];
};

template <int kElements>
void MultiplyRows(float (&d)[kElements], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
  LeftOperand left{a, {}};
  emulator::MeetWarp("wgmma", &left, [](void** brought, int count) {
    for (int lane = 0; lane < count; ++lane) {
      for (int i = 0; i < 4; ++i) {
        static_cast<LeftOperand*>(brought[lane])->quad[i] =
            static_cast<LeftOperand*>(brought[lane / 4 * 4 + i])->mine;
      }
    }
  });
  float* to = d;
  const uint64_t columns_stride = (b >> 48) * 1024;
  const uint64_t address = b & ((uint64_t{1} << 48) - 1);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  emulator::QueueProduct([=] {
    for (int i = 0; i < kElements; ++i) {
      const int half = i / 2 % 2;
      const int column = i / 4 * 8 + lane % 4 * 2 + i % 2;
      const uint64_t from = address + static_cast<uint64_t>(column / 64) * columns_stride;
      double sum = accumulate ? to[i] : 0.0;
      for (int k = 0; k < 16; ++k) {
        const uint32_t pair = left.quad[k % 8 / 2][k / 8 * 2 + half];
        const float element = std::bit_cast<float>(k % 2 == 0 ? pair << 16 : pair & 0xffff0000u);
        sum += static_cast<double>(element) * ElementOf(from, k, column % 64);
      }
      to[i] = static_cast<float>(sum);
    }
  });
}

}  // namespace darkroom::kernels::ptx
